"""What is wrong with a data set: collected in full, counted, written as JSON, and only then refused (C6)."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ..errors import DataError, shown
from ..weights.files import atomic_write

Severity = Literal["error", "dropped", "warning"]
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding.

    kind      a short name that is counted, such as "zero-box"; see the table of the reader
    place     a JSON pointer with the id, a line, or a file
    value     the offending value as text, cut to 80 characters; "" where there is none
    reason    a sentence
    severity  "error": the data set is refused; "dropped": the object was left out; "warning": used as it is
    """

    kind: str
    place: str
    value: str
    reason: str
    severity: Severity

    def __str__(self) -> str:
        found = f" (found {self.value})" if self.value else ""
        return f"{self.place}: {self.reason}{found}"


class RefusedError(DataError):
    """A data set that cannot be trusted; `problems` has every finding."""

    def __init__(self, reason: str, problems: "Problems") -> None:
        super().__init__(reason, file=problems.file)
        self.problems = problems


class Problems:
    """All findings about one data set, in the order they were met."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = os.fspath(file)
        self._found: list[Problem] = []

    def add(self, kind: str, place: str, reason: str, *value: object, severity: Severity = "error") -> None:
        """Note one finding, with the offending value if there is one."""
        text = shown(value[0]) if value else ""
        self._found.append(Problem(kind, place, text, reason, severity))

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def of(self, severity: Severity) -> list[Problem]:
        """The findings of one severity."""
        return [p for p in self._found if p.severity == severity]

    def counts(self) -> dict[str, int]:
        """How many findings of each kind."""
        return dict(Counter(p.kind for p in self._found))

    def summary(self) -> str:
        """The counts in a line, such as ``12 zero-box (dropped), 1 area-missing (warning)``."""
        counted = Counter((p.kind, p.severity) for p in self._found)
        return ", ".join(f"{count} {kind} ({severity})" for (kind, severity), count in counted.items())

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write every finding as JSON: the file, the counts per kind, and the list."""
        content = {"file": self.file, "counts": self.counts(), "problems": [asdict(p) for p in self._found]}
        atomic_write(Path(path), json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def refuse_errors(self) -> None:
        """Raise if anything found forbids the use of the data set.

        Raises:
            RefusedError: the first 20 errors in full, and the counts per kind.
        """
        errors = self.of("error")
        if not errors:
            return
        if len(errors) == 1:
            raise RefusedError(f"{errors[0]}", self)
        counts = ", ".join(f"{n} {kind}" for kind, n in Counter(p.kind for p in errors).items())
        lines = [f"  {problem}" for problem in errors[:SHOWN]]
        if len(errors) > SHOWN:
            lines.append(f"  and {len(errors) - SHOWN} more")
        raise RefusedError(f"{len(errors)} problems ({counts}):\n" + "\n".join(lines), self)
