"""The run folder: its configuration, metrics and logs.

`metrics.csv` and `config.toml` depend on data, configuration and seed alone, so that two runs can be
compared byte by byte; the clock, the host and paths go to `log.jsonl` and `timing.jsonl`.
"""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FileError
from ..weights.files import atomic_write, file_error, make_folder, sweep
from .checkpoint import Checkpoints
from .lock import Lock

Row = dict[str, float | int | None]


class RunFolder:
    """The folder of a training run; a context manager that holds its lock.

    Args:
        path: made on entry, with its parents.
        keep: checkpoints to keep.

    Raises:
        FileError: it cannot be made or written; found out on entry.
        LockedError: another run writes there.
    """

    def __init__(self, path: Path, keep: int = 3) -> None:
        self.path = path.absolute()
        self.checkpoints = Checkpoints(self.path / "checkpoints", keep)
        self._lock = Lock(self.path / "run.lock")

    def __enter__(self) -> "RunFolder":
        make_folder(self.path)
        self._lock.__enter__()
        try:
            self._tidy()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def _tidy(self) -> None:
        """Take away what a killed run left: temporary files, half a line at the end of a log."""
        self._sweep()
        for name in ("log.jsonl", "timing.jsonl"):
            _cut_half_line(self.path / name)

    def _sweep(self) -> None:
        for folder in (self.path, self.path / "plots", self.checkpoints.folder):
            sweep(folder)

    def __exit__(self, *exception: Any) -> None:
        try:
            self._sweep()
        finally:
            self._lock.__exit__(*exception)

    def write_config(self, sections: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the effective configuration as TOML."""
        atomic_write(self.path / "config.toml", toml(sections))

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write metrics.csv anew: whole lines of finished epochs only, whatever a killed run left."""
        columns: dict[str, None] = {}
        for row in rows:
            columns.update(dict.fromkeys(row))
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if row.get(c) is None else repr(row[c]) for c in columns])
        atomic_write(self.path / "metrics.csv", text.getvalue())

    def plot(self, rows: Sequence[Row]) -> None:
        """Draw the rows into plots/."""
        from .plots import draw

        draw(rows, self.path / "plots")

    def log(self, event: str, **facts: Any) -> None:
        """Append an event with the time to log.jsonl."""
        self._append("log.jsonl", {"time": _now(), "event": event, **facts})

    def timing(self, **facts: Any) -> None:
        """Append measurements with the time to timing.jsonl."""
        self._append("timing.jsonl", {"time": _now(), **facts})

    def _append(self, name: str, entry: Mapping[str, Any]) -> None:
        path = self.path / name
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise file_error(error, path, "write") from None


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Sections of plain values (text, numbers, booleans, lists of such; None is left out) as TOML."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        # A JSON value of these kinds is a TOML value too.
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _cut_half_line(path: Path) -> None:
    """Cut what follows the last line's end: the run was killed while it wrote."""
    try:
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise FileError(f"cannot repair the log: {error.strerror}", file=path) from None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
