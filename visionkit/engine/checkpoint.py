"""Checkpoints: one folder `step-N` each, written whole or not at all, found again only if undamaged.

A folder is filled under a temporary name, every file flushed to the disk, and renamed last; MANIFEST.json
holds the SHA-256 of each file. A damaged or half-written folder is passed over for the one before, with a
warning (torture T02-T05, T15, T21). To delete one is to rename it back and to sweep: a deletion that fails
half-way leaves nothing that looks like a checkpoint, and every later save tries again.
"""

import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError, VisionKitError, WeightsError
from ..weights import safetensors
from ..weights.files import TEMPORARY, atomic_write, file_error, read_bytes, sha256, sweep, sync_folder

FORMAT = 1
_FOLDER = re.compile(r"step-(\d+)")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that resuming needs: named groups of arrays and a JSON state with the key `step`."""

    state: dict[str, Any]
    groups: dict[str, Arrays]

    @property
    def step(self) -> int:
        """Optimiser steps taken."""
        return int(self.state["step"])


class Checkpoints:
    """The folder that holds the checkpoints of a run.

    Args:
        folder: made when the first checkpoint is saved.
        keep: how many to keep; older ones are deleted after a new one is safe.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = max(1, keep)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """The steps with a checkpoint, damaged or not, in rising order.

        Raises:
            FileError: the folder cannot be listed.
        """
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise file_error(error, self.folder, "list the checkpoints") from None
        return sorted(int(match[1]) for match in map(_FOLDER.fullmatch, names) if match)

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and delete those beyond `keep`. A step that is saved already stays as it is.

        Raises:
            FileError: it could not be written; those before are untouched.
        """
        step, target, steps = checkpoint.step, self.path(checkpoint.step), self.steps()
        try:
            if step in steps and self._damage(target) is None:
                return target
            for abandoned in (s for s in steps if s >= step):
                self._hide(abandoned)  # damaged, or passed over when the run was resumed before it
            sweep(self.folder)  # what could not be removed earlier may be the space that is missing now
            self._write(checkpoint)
            for old in [*(s for s in steps if s < step), step][: -self.keep]:
                with contextlib.suppress(OSError):  # nothing is lost; the next save tries again
                    self._hide(old)
        except FileError as error:
            raise FileError(
                f"checkpoint of step {step} was not saved: {error.reason}",
                file=target,
                remedy="see that the folder can be written (space, permissions, network) and resume; "
                "the checkpoints before it are untouched",
            ) from None
        except OSError as error:
            raise file_error(error, target, "save the checkpoint") from None
        finally:
            sweep(self.folder)
        return target

    def _write(self, checkpoint: Checkpoint) -> None:
        temporary = self._temporary()
        temporary.mkdir(parents=True)
        for name, arrays in checkpoint.groups.items():
            safetensors.write(temporary / f"{name}.safetensors", arrays)
        state = {"format": FORMAT, **checkpoint.state}
        atomic_write(temporary / "state.json", json.dumps(state, indent=1))
        manifest = {name: sha256(temporary / name) for name in sorted(os.listdir(temporary))}
        atomic_write(temporary / "MANIFEST.json", json.dumps(manifest, indent=1))
        sync_folder(temporary)
        os.rename(temporary, self.path(checkpoint.step))
        sync_folder(self.folder)

    def _hide(self, step: int) -> None:
        os.rename(self.path(step), self._temporary())

    def _temporary(self) -> Path:
        return self.folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"

    def latest(self, *, strict: bool = False) -> tuple[Checkpoint, list[str]]:
        """The newest undamaged checkpoint, and a warning for each newer one that was passed over.

        Args:
            strict: refuse to pass over a damaged one.

        Raises:
            WeightsError: there is none, or `strict` and the newest one is damaged.
        """
        warnings: list[str] = []
        for step in reversed(self.steps()):
            path = self.path(step)
            reason = self._damage(path)
            if reason is None:
                return self._read(path), warnings
            if strict:
                raise WeightsError(f"damaged checkpoint: {reason}", file=path)
            warnings.append(f"{path} is damaged and passed over: {reason}")
        reason = "; ".join(warnings) or "there is no checkpoint"
        raise WeightsError(f"nothing to resume from: {reason}", file=self.folder)

    def _damage(self, path: Path) -> str | None:
        """Why a checkpoint cannot be used, or None."""
        try:
            manifest = json.loads(read_bytes(path / "MANIFEST.json", 1_000_000))
            for name, digest in manifest.items():
                if Path(name).name != name:
                    return f"{name!r} is not a file name"
                if sha256(path / name) != digest:
                    return f"{name} has another SHA-256 than its manifest"
            if "state.json" not in manifest:
                return "state.json is missing from its manifest"
            state = json.loads(read_bytes(path / "state.json"))
            if not 1 <= state["format"] <= FORMAT:
                return f"format {state['format']} is newer than this program's {FORMAT}"
            if self.path(state["step"]) != path:
                return f"it holds step {state['step']}"
        except VisionKitError as error:
            return str(error)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def _read(self, path: Path) -> Checkpoint:
        names = [Path(name) for name in json.loads(read_bytes(path / "MANIFEST.json"))]
        return Checkpoint(
            state=json.loads(read_bytes(path / "state.json")),
            groups={n.stem: safetensors.read(path / n)[0] for n in names if n.suffix == ".safetensors"},
        )


def first_nonfinite(arrays: Arrays) -> str | None:
    """The name of the first array with a number that is not finite, or None."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return name
    return None
