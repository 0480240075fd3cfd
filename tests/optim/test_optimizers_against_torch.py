"""200 steps of every optimiser against torch in float64, to 1e-12 (torture N07)."""

import numpy as np
import pytest

from tests.oracles import run_torch
from visionkit import optim
from visionkit.nn import Parameter

STEPS = 200
CASES = {
    "sgd": (lambda p: optim.SGD(p, 0.01), "SGD(p, lr=0.01)"),
    "momentum": (
        lambda p: optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.02),
        "SGD(p, lr=0.01, momentum=0.9, weight_decay=0.02)",
    ),
    "nesterov": (
        lambda p: optim.SGD(p, 0.01, momentum=0.9, nesterov=True, weight_decay=0.02),
        "SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.02)",
    ),
    "adam": (lambda p: optim.Adam(p, 0.02, weight_decay=0.03), "Adam(p, lr=0.02, weight_decay=0.03)"),
    "adamw": (
        lambda p: optim.AdamW(p, 0.02, betas=(0.9, 0.99), weight_decay=0.03),
        "AdamW(p, lr=0.02, betas=(0.9, 0.99), weight_decay=0.03)",
    ),
    "adagrad": (lambda p: optim.AdaGrad(p, 0.1, weight_decay=0.01), "Adagrad(p, lr=0.1, weight_decay=0.01)"),
    "rmsprop": (
        lambda p: optim.RMSProp(p, 0.01, rho=0.95, weight_decay=0.01),
        "RMSprop(p, lr=0.01, alpha=0.95, weight_decay=0.01)",
    ),
}
SCRIPT = """
w0, b0, noise_w, noise_b = (torch.from_numpy(given[k]) for k in ("w", "b", "noise_w", "noise_b"))
for name, text in zip(given["names"], given["texts"]):
    w, b = w0.clone().requires_grad_(), b0.clone().requires_grad_()
    p = [w, b]
    optimiser = eval("torch.optim." + str(text))
    p = [{"params": [w]}, {"params": [b], "lr": 2 * optimiser.defaults["lr"], "weight_decay": 0.0}]
    optimiser = eval("torch.optim." + str(text))
    for step in range(len(noise_w)):
        optimiser.zero_grad()
        w.grad = noise_w[step] + torch.tanh(w.detach())
        b.grad = noise_b[step] + torch.tanh(b.detach())
        optimiser.step()
    result[f"{name}:w"], result[f"{name}:b"] = w, b
"""


@pytest.mark.peers
def test_two_hundred_steps_equal_torch() -> None:
    rng = np.random.default_rng(0)
    w0, b0 = rng.normal(size=(3, 4, 2, 2)), rng.normal(size=7)
    # Noise, because near a minimum some optimisers divide rounding errors by their own size.
    noise_w, noise_b = rng.normal(size=(STEPS, *w0.shape)), rng.normal(size=(STEPS, *b0.shape))
    texts = [text for _, text in CASES.values()]
    arrays = {"w": w0, "b": b0, "noise_w": noise_w, "noise_b": noise_b, "names": list(CASES), "texts": texts}
    expected = run_torch(SCRIPT, arrays)
    for name, (make, _) in CASES.items():
        w, b = Parameter(w0.copy()), Parameter(b0.copy())
        optimiser = make([{"params": [w]}, {"params": [b], "lr_scale": 2.0, "weight_decay": 0.0}])
        for step in range(STEPS):
            w.grad, b.grad = noise_w[step] + np.tanh(w.data), noise_b[step] + np.tanh(b.data)
            optimiser.step()
        for key, found in (("w", w.data), ("b", b.data)):
            reference = expected[f"{name}:{key}"]
            assert np.abs(found - reference).max() <= 1e-12 * np.abs(reference).max(), f"{name} {key}"
