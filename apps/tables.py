"""Results of all sources in one file: a table in CSV, or a list in COCO's format for results."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionkit.errors import UsageError
from visionkit.vision.poses import Poses
from visionkit.vision.results import Detections
from visionkit.weights.files import file_error

from .results import Look, Take
from .sources import Inputs

if TYPE_CHECKING:
    from visionkit.io.video import Video


class Table:
    """A CSV file that grows: the header once, then the rows of every text."""

    def __init__(self, path: Path) -> None:
        self.path, self.begun = path, False

    def add(self, text: str) -> None:
        """Add the rows of a CSV text, whose first line is the header."""
        rows = text.partition("\n")[2] if self.begun else text
        try:
            # names of files may hold what no encoding can
            with self.path.open(
                "a" if self.begun else "w", encoding="utf-8", errors="backslashreplace"
            ) as file:
                file.write(rows)
        except OSError as error:
            raise file_error(error, self.path, "write") from None
        self.begun = True


def with_columns(found: Detections | Poses, **columns: Any) -> str:
    """The CSV of what was found, with other columns in front."""
    header, *rows = csv.reader(io.StringIO(found.to_csv()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *header])
    writer.writerows([*columns.values(), *row] for row in rows)
    return text.getvalue()


def new_file(path: str, inputs: Sequence[str], overwrite: bool) -> Path:
    """The absolute path of a file to write.

    Raises:
        UsageError: it is a source, or exists and may not be replaced.
    """
    target = Path(path).absolute()
    Inputs(inputs).spare(target)
    if target.is_file() and not overwrite:
        raise UsageError("this file exists", value=path, remedy="choose another, or add --overwrite")
    return target


class CsvFile:
    """The file of `--csv`: a row for every box, or every point of every pose, with file and frame in front.

    Args:
        path: the file.
        inputs: the sources.
        overwrite: replace it if it exists.

    Raises:
        UsageError: see `new_file`.
    """

    def __init__(self, path: str, inputs: Sequence[str], overwrite: bool) -> None:
        self._table = Table(new_file(path, inputs, overwrite))

    @property
    def written(self) -> Path | None:
        """The file, once it was begun."""
        return self._table.path if self._table.begun else None

    def still(self, source: str, seen: Look) -> None:
        """Add what was seen in a picture; its frame stays empty."""
        self._table.add(with_columns(seen.found, file=source, frame=""))

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Add what is seen in every frame."""
        yield lambda number, seen: self._table.add(with_columns(seen.found, file=video.name, frame=number))


class CocoFile:
    """The file of `--coco`: one list of results, whole after every picture and frame.

    `image_id` is the number that a picture is named by, as COCO's are (000000000139.jpg), if all sources are
    such pictures; else pictures and frames are counted from 1.

    Args:
        path, inputs, overwrite: as of `CsvFile`.
        category_ids: the original id of each class; of poses that of their one category.

    Raises:
        UsageError: see `new_file`.
    """

    def __init__(
        self, path: str, inputs: Sequence[str], overwrite: bool, category_ids: Sequence[int]
    ) -> None:
        self._path, self._category_ids = new_file(path, inputs, overwrite), category_ids
        stems = [Path(name).stem for name in inputs]
        self._named = all(stem.isascii() and stem.isdigit() for stem in stems) and len(set(stems)) == len(
            stems
        )
        self._counted = count(1)
        self._begun = self._filled = False

    @property
    def written(self) -> Path | None:
        """The file, once it was begun."""
        return self._path if self._begun else None

    def still(self, source: str, seen: Look) -> None:
        """Add what was seen in a picture."""
        self._add(int(Path(source).stem) if self._named else next(self._counted), seen.found)

    @contextmanager
    def moving(self, video: "Video", step: int) -> Iterator[Take]:
        """Add what is seen in every frame."""
        yield lambda number, seen: self._add(next(self._counted), seen.found)

    def _add(self, image_id: int, found: Detections | Poses) -> None:
        if isinstance(found, Poses):
            records = found.to_coco(image_id, self._category_ids[0])
        else:
            records = found.to_coco(image_id, self._category_ids)
        text = ",\n".join(map(json.dumps, records))
        try:
            with self._path.open("r+b" if self._begun else "wb") as file:
                if self._begun:
                    file.seek(-2, io.SEEK_END)  # the end of the list is written anew
                else:
                    file.write(b"[")
                file.write((",\n" * bool(self._filled and text) + text + "]\n").encode())
        except OSError as error:
            raise file_error(error, self._path, "write") from None
        self._begun, self._filled = True, self._filled or bool(text)
