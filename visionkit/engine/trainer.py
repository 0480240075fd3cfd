"""The training loop, over any network, criterion and source of batches.

Everything that decides the weights is a function of data, settings and seed: the schedule of the step, the
batches of (epoch, index), the evaluation of the averaged weights. A run that was killed and resumed ends
with the same bits as one that was not.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import DivergedError, UsageError
from ..graph import compile as compile_network
from ..kernels import dot
from ..kernels.jit import LANES
from ..kernels.narrow import BFLOAT16
from ..nn import Module
from ..optim import EMA, AdamW, Optimizer, clip_grad_norm, parameter_groups
from ..weights import safetensors
from .checkpoint import Arrays, Checkpoint, first_nonfinite
from .criterion import Losses, value_and_gradients
from .divergence import diverged
from .interrupt import Interrupted, Signals
from .progress import Progress, Silent
from .run import Row, RunFolder
from .settings import FREE, Settings, freeze
from .state import Batches, Position, Summary, differences


class Trainer:
    """Trains a network and keeps its run folder.

    Args:
        network: maps (B, H, W, C) pictures to one or several maps.
        criterion: `criterion(maps, batch) -> losses by name`, on Tensors. Where it has the method
            `value_and_gradients(maps, batch) -> (losses as numbers, gradients of their sum)`, on arrays,
            that is used instead.
        loader: the batches, see `Batches`.
        folder: the run folder.
        settings: epochs, learning rate and so on.
        validation: `validation(network) -> numbers by name`; called with the averaged weights in place.
        mean, scale: the network sees (pixel - mean) * scale.
        optimiser: made from the network; AdamW on `parameter_groups` if not given.
        metadata: `metadata(training summary) -> texts by name` for the weight files.
        identity: what a resumed run must agree on besides the settings, such as the data's hash.
        config: further sections for config.toml.
        progress: who is told how it goes.
        compiler: makes a plan from network and input shape; `visionkit.graph.compile` by default.
    """

    def __init__(
        self,
        network: Module,
        criterion: Any,
        loader: Batches,
        folder: Path | str,
        settings: Settings,
        *,
        validation: Callable[[Module], Mapping[str, float | None]] | None = None,
        mean: float = 0.0,
        scale: float = 1.0,
        optimiser: Callable[[Module], Optimizer] | None = None,
        metadata: Callable[[dict[str, Any]], dict[str, str]] | None = None,
        identity: Mapping[str, Any] | None = None,
        config: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Progress | None = None,
        compiler: Callable[..., Any] = compile_network,
    ) -> None:
        self.network = network.train()
        self.frozen = freeze(network, settings.freeze)
        self.criterion, self.loader, self.settings, self.validation = criterion, loader, settings, validation
        self.mean, self.scale = mean, scale
        self.run = RunFolder(Path(folder), settings.keep)
        self.progress = progress or Silent()
        self.optimiser = (optimiser or self._adamw)(network)
        self.ema = EMA(network, settings.ema_decay, settings.ema_ramp)
        self.metadata = metadata or (lambda summary: {"training": json.dumps(summary)})
        self.config = dict(config or {})
        self.identity = {
            **(identity or {}),
            "settings": {k: v for k, v in settings.as_dict().items() if k not in FREE},
            "network": {name: list(array.shape) for name, array in network.state_dict().items()},
            "steps_per_epoch": len(loader),
            "vector_width": LANES,
            **({"products": dot.form(BFLOAT16)} if settings.precision == "bfloat16" else {}),
            "version": __version__,
        }
        self._schedule = settings.schedule(len(loader) * settings.epochs)
        self._compiler = compiler
        self._plans: dict[tuple[int, ...], Any] = {}
        self._at = Position()
        self._saved = self._drawn = time.monotonic()

    def _adamw(self, network: Module) -> Optimizer:
        s = self.settings
        return AdamW(parameter_groups(network, s.weight_decay), lr=s.lr, betas=s.betas)

    def fit(self, *, resume: bool = False, override: bool = False, strict: bool = False) -> Summary:
        """Train to the end of the last epoch.

        Args:
            resume: go on from the newest undamaged checkpoint of the folder.
            override: resume although data, settings or program differ.
            strict: refuse to pass over a damaged checkpoint.

        Raises:
            Interrupted: by Ctrl-C or a polite signal, after saving.
            DivergedError: a loss or gradient is not finite; the checkpoints before are kept.
            LockedError: another run writes to the folder.
            UsageError: the folder holds another run, or resuming would change what it is.
            FileError: the folder cannot be written.
        """
        with self.run, Signals() as signals, closing(self.progress):
            try:
                if resume:
                    self._resume(override, strict)
                else:
                    self._begin()
                while self._at.epoch < self.settings.epochs:
                    signals.immediate = False
                    self._train_epoch(signals)
                    # Saved before the evaluation: whoever resumes here repeats it and finds the same.
                    self._save()
                    if signals.pending:
                        raise KeyboardInterrupt
                    signals.immediate = True
                    self._finish_epoch()
            except KeyboardInterrupt:
                self.run.log("interrupted", step=self._at.step)
                checkpoints = self.run.checkpoints
                raise Interrupted(
                    self.run.path, checkpoints.path(max(checkpoints.steps(), default=0))
                ) from None
            except DivergedError as error:
                self.run.log("diverged", step=self._at.step, message=str(error))
                raise
            self.run.log("done", step=self._at.step)
        return Summary(self.run.path, self._at.rows, self._at.best, self._at.best_epoch)

    # Beginning, saving, going on

    def _begin(self) -> None:
        if self.run.checkpoints.steps():
            raise UsageError(
                "the folder holds a run already",
                value=str(self.run.path),
                remedy=f"resume it (--resume {self.run.path}) or choose another folder",
            )
        self.run.write_config({**self.config, "settings": self.settings.as_dict()})
        self.run.log("start", frozen=self.frozen, lanes=LANES, version=__version__)
        self._save()

    def _save(self) -> None:
        """Save a checkpoint of this step, unless it is saved already."""
        at = self._at
        groups: dict[str, Arrays] = {
            "weights": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        for group, arrays in groups.items():
            if name := first_nonfinite(arrays):
                raise DivergedError(
                    f"{group}: {name} is not finite; nothing was saved", place=f"step {at.step}"
                )
        state = {**asdict(at), "ema_step": self.ema.step, "identity": self.identity}
        self.run.checkpoints.save(Checkpoint(state, groups))
        self._saved = time.monotonic()

    def _resume(self, override: bool, strict: bool) -> None:
        checkpoint, warnings = self.run.checkpoints.latest(strict=strict)
        state = checkpoint.state
        changes = differences(state["identity"], self.identity)
        if changes and not override:
            raise UsageError(
                f"the run was started otherwise: {'; '.join(changes)}",
                remedy="start a new run, or resume with --override if you know that it does not matter",
            )
        for text in [*warnings, *(f"overridden: {change}" for change in changes)]:
            self.progress.message(text)
        self.network.load_state_dict(checkpoint.groups["weights"])
        self.ema.load_state_dict(checkpoint.groups["ema"], state["ema_step"])
        self.optimiser.load_state_dict(checkpoint.groups["optimiser"])
        self._at = Position.of(state)
        self.run.write_config({**self.config, "settings": self.settings.as_dict()})
        self.run.write_metrics(self._at.rows)
        self.run.log("resume", step=self._at.step, warnings=warnings, overridden=changes)

    # The loop

    def _train_epoch(self, signals: Signals) -> None:
        at, steps = self._at, len(self.loader)
        self.progress.epoch(at.epoch, self.settings.epochs, steps, at.index)
        begin, waited, images = time.monotonic(), 0.0, 0
        batches = self.loader.batches(at.epoch, at.index)
        try:
            while at.index < steps:
                asked = time.monotonic()
                batch = next(batches)
                waited += time.monotonic() - asked
                losses = self._step(batch, last=at.index == steps - 1)
                for name, value in losses.items():
                    at.sums[name] = at.sums.get(name, 0.0) + value
                at.step += 1
                at.index += 1
                images += len(batch.images)
                self.progress.step(sum(losses.values()), len(batch.images))
                if signals.pending:
                    self._save()
                    raise KeyboardInterrupt
                minutes = self.settings.save_minutes
                if minutes is not None and time.monotonic() - self._saved > 60 * minutes:
                    self._save()
        finally:
            if hasattr(batches, "close"):
                batches.close()
        seconds = time.monotonic() - begin
        if images:
            self.run.timing(
                epoch=at.epoch + 1, seconds=round(seconds, 3), images_per_second=round(images / seconds, 3),
                waited_share=round(waited / seconds, 4),
            )  # fmt: skip

    def _step(self, batch: Any, last: bool) -> Losses:
        """One optimiser step; returns the losses."""
        plan = self._plan(batch.images.shape)
        plan.step = self._at.step  # dropout depends on the run's step, not on how often this plan ran
        with np.errstate(all="ignore"):  # what is not finite is looked for below
            losses, gradients = value_and_gradients(self.criterion, plan.forward(batch.images), batch)
        if not all(map(math.isfinite, losses.values())):
            raise self._diverged(batch, losses)
        plan.backward(gradients)
        norm = clip_grad_norm(self.network.parameters(), self.settings.clip)
        if not math.isfinite(norm):
            raise self._diverged(batch, {**losses, "gradient norm": norm})
        self.optimiser.lr = self._schedule(self._at.step)
        self.optimiser.step(ratios=last)
        self.ema.update()
        if last:
            ratios = [ratio for ratio in self.optimiser.update_ratios().values() if math.isfinite(ratio)]
            self._at.ratios = [float(f(ratios)) for f in (np.min, np.median, np.max)] if ratios else None
        return losses

    def _plan(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._plans:
            self._plans[shape] = self._compiler(
                self.network, shape, training=True, mean=self.mean, scale=self.scale,
                precision=self.settings.precision,
            )  # fmt: skip
        return self._plans[shape]

    def _diverged(self, batch: Any, losses: Losses) -> DivergedError:
        return diverged(
            self.network, batch.images, self.mean, self.scale,
            step=self._at.step, losses=losses, files=[str(f) for f in getattr(batch, "files", ())],
        )  # fmt: skip

    def _finish_epoch(self) -> None:
        """Evaluate, write metrics and weights, and move on to the next epoch."""
        at, settings = self._at, self.settings
        number = at.epoch + 1
        row: Row = {"epoch": number, "step": at.step}
        row |= {f"loss/{name}": total / len(self.loader) for name, total in at.sums.items()}
        row["lr"] = self.optimiser.lr
        if at.ratios:
            row |= dict(zip(("update/min", "update/median", "update/max"), at.ratios, strict=True))
        better = False
        with self.ema.swapped():
            if self.validation and (number % settings.evaluate_every == 0 or number == settings.epochs):
                scores = dict(self.validation(self.network))
                row |= scores
                value = scores.get(settings.metric)
                better = value is not None and (at.best is None or value > at.best)
                if better:
                    at.best, at.best_epoch = value, number
        at.rows.append(row)
        known = {key: value for key, value in self.identity.items() if key != "network"}
        summary = {"epoch": number, "epochs": settings.epochs, "step": at.step, **known}
        summary["metrics"] = {k: v for k, v in row.items() if k not in ("epoch", "step")}
        for name in ["best", "last"] if better else ["last"]:
            safetensors.write(
                self.run.path / f"{name}.safetensors", self.ema.state_dict(), self.metadata(summary)
            )
        self.run.write_metrics(at.rows)
        if number == settings.epochs or time.monotonic() - self._drawn > 60:
            self.run.plot(at.rows)
            self._drawn = time.monotonic()
        self.run.log("epoch", **row)
        self.progress.row(row)
        at.epoch, at.index, at.sums, at.ratios = number, 0, {}, None
