"""What can be set about a training run, besides network, criterion and data."""

from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from ..errors import UsageError
from ..graph.precision import kind_of
from ..nn import Module
from ..optim import schedule
from ..optim.schedule import Schedule

#: Settings that a resumed run may change: they touch no weight and no metric.
FREE = ("keep", "save_minutes")


@dataclass(frozen=True, slots=True)
class Settings:
    """The course of a training run.

    Attributes:
        epochs: passes over the training data.
        lr: the highest learning rate, reached after the warm-up.
        final_lr: the last learning rate, as a share of `lr`; a cosine lies between.
        warmup: steps of linear warm-up; None: 300, at most a tenth of all steps.
        betas, weight_decay: of AdamW; decay acts on weights of more than one axis only.
        clip: gradients are scaled down to this norm.
        ema_decay, ema_ramp: the average of the weights keeps decay * (1 - exp(-step / ramp)) at each step.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        metric: the number of the validation whose highest value makes `best.safetensors`.
        precision: what convolutions multiply, see `visionkit.graph.compile`; weights are float32 in any.
        freeze: patterns of parameter names (`backbone.*`) that stay as they are, batch-norm statistics too.
        keep: checkpoints to keep.
        save_minutes: save within epochs too, so many minutes apart; None saves at their ends.
    """

    epochs: int
    lr: float = 2e-3
    final_lr: float = 0.01
    warmup: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.03
    clip: float = 10.0
    ema_decay: float = 0.998
    ema_ramp: float = 200.0
    evaluate_every: int = 1
    metric: str = "AP"
    precision: str = "float32"
    freeze: tuple[str, ...] = ()
    keep: int = 3
    save_minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluate_every", "keep"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1", value=getattr(self, name))
        for name in ("lr", "clip"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise UsageError(f"{name} must be a positive number", value=value)

        kind_of(self.precision, training=True)

    def schedule(self, steps: int) -> Schedule:
        """The learning rate as a function of the step, for a run of so many steps."""
        warmup = min(300, steps // 10) if self.warmup is None else self.warmup
        return schedule.warmup(schedule.cosine(self.lr, steps, self.lr * self.final_lr), warmup)

    def as_dict(self) -> dict[str, Any]:
        """All settings by name, as JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def freeze(network: Module, patterns: tuple[str, ...]) -> list[str]:
    """Freeze the parameters whose names match a pattern; returns their names.

    A module all of whose own parameters are frozen goes into inference mode, so that its running
    statistics stay as well. Call it after `network.train()`.

    Raises:
        UsageError: a pattern matches nothing.
    """
    frozen = []
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                "no parameter matches", value=pattern, remedy=f"names are {names[0]} ... {names[-1]}"
            )
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad = False
            frozen.append(name)
    for path, module in network.named_modules():
        own = [name for name, _ in module.named_parameters()]
        if own and all((f"{path}.{name}" if path else name) in frozen for name in own):
            module.training = False
    return frozen
