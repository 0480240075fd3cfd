"""Any detection data set written as COCO, VOC or YOLO; the folder written is always a new one.

Pictures are copied byte for byte. Only two kinds are written anew, as PNG: pictures held in memory, and
turned photos whose boxes lie on the stored pixels (the other formats could not say so).
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

from visionkit.data.dataset import DetectionDataset, Record
from visionkit.errors import DataError, FileError, UnknownNameError
from visionkit.io.header import read_header
from visionkit.io.image import write_image
from visionkit.weights.files import atomic_write, file_error

from .coco import write_coco

StrPath = str | os.PathLike[str]


def convert(dataset: DetectionDataset, to: str, out: StrPath, *, split: str = "train") -> Path:
    """Write `dataset` as "coco", "voc" or "yolo" into a new folder.

    Returns:
        The folder.

    Raises:
        UnknownNameError: another format.
        FileError: the folder exists and is not empty, or cannot be written.
        DataError: a picture cannot be read, or two pictures would get the same name.
    """
    writers: dict[str, Callable[[DetectionDataset, Path, str], None]]
    writers = {"coco": _write_coco, "voc": _write_voc, "yolo": _write_yolo}
    if to not in writers:
        raise UnknownNameError("no such format", value=to, remedy=f"choose one of {', '.join(writers)}")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            reason = "the folder is not empty; nothing in it is overwritten"
            raise FileError(reason, file=folder, remedy="choose a new one")
        writers[to](dataset, folder, split)
    except FileError:
        raise
    except OSError as error:
        raise file_error(error, folder, "write") from None
    return folder


def _write_coco(dataset: DetectionDataset, folder: Path, split: str) -> None:
    names = _copy_pictures(dataset, folder / "images")
    document = dataset.to_coco()
    images = [{**row, "file_name": names[row["id"]]} for row in document["images"]]
    write_coco(folder / f"{split}.json", {**document, "images": images})


def _write_voc(dataset: DetectionDataset, folder: Path, split: str) -> None:
    names = _copy_pictures(dataset, folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for record in dataset.records:
        name = names[record.image_id]
        text = _voc_xml(record, name, dataset.names)
        atomic_write(folder / "Annotations" / f"{PurePosixPath(name).stem}.xml", text)
    stems = "".join(f"{PurePosixPath(name).stem}\n" for name in names.values())
    atomic_write(folder / "ImageSets" / "Main" / f"{split}.txt", stems)


def _write_yolo(dataset: DetectionDataset, folder: Path, split: str) -> None:
    names = _copy_pictures(dataset, folder / "images" / split)
    labels = folder / "labels" / split
    labels.mkdir(parents=True)
    for record in dataset.records:
        height, width = record.size
        lines = []
        for (left, top, right, bottom), class_id, crowd in _rows(record):
            if not crowd:  # YOLO has no crowds; as objects they would be wrong
                cx, cy = (left + right) / 2 / width, (top + bottom) / 2 / height
                w, h = (right - left) / width, (bottom - top) / height
                lines.append(f"{class_id} {cx:.8g} {cy:.8g} {w:.8g} {h:.8g}\n")
        atomic_write(labels / f"{PurePosixPath(names[record.image_id]).stem}.txt", "".join(lines))
    atomic_write(folder / "classes.txt", "".join(f"{_one_line(name)}\n" for name in dataset.names))


def _copy_pictures(dataset: DetectionDataset, folder: Path) -> dict[int, str]:
    """Copy all pictures into a flat folder; image id -> the name there."""
    folder.mkdir(parents=True)
    names: dict[int, str] = {}
    taken: set[str] = set()
    for index, record in enumerate(dataset.records):
        anew = record.path is None or read_header(record.path).shown_size != record.size
        name = PurePosixPath(record.file).name
        if anew:
            name = f"{PurePosixPath(name).stem}.png"
        if PurePosixPath(name).stem.casefold() in taken:
            name = f"{record.image_id}-{name}"
        stem = PurePosixPath(name).stem.casefold()
        if stem in taken:
            raise DataError("two pictures would get the same name", file=record.file, value=name)
        taken.add(stem)
        if anew:
            write_image(folder / name, dataset[index].image)
        elif record.path is not None:
            shutil.copyfile(record.path, folder / name)
        names[record.image_id] = name
    return names


def _rows(record: Record) -> list[tuple[tuple[float, float, float, float], int, bool]]:
    """(xyxy clipped to the picture, class_id, crowd) of each object."""
    height, width = record.size
    rows = []
    for box, class_id, crowd in zip(record.boxes, record.class_id, record.crowd, strict=True):
        left, top, right, bottom = (float(v) for v in box)
        clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
        rows.append((clipped, int(class_id), bool(crowd)))
    return rows


def _voc_xml(record: Record, name: str, names: tuple[str, ...]) -> str:
    height, width = record.size
    objects = "".join(
        f"  <object>\n    <name>{escape(names[class_id])}</name>\n    <difficult>{int(crowd)}</difficult>\n"
        f"    <bndbox><xmin>{left + 1:.8g}</xmin><ymin>{top + 1:.8g}</ymin>"
        f"<xmax>{right:.8g}</xmax><ymax>{bottom:.8g}</ymax></bndbox>\n  </object>\n"
        for (left, top, right, bottom), class_id, crowd in _rows(record)
    )
    return (
        f"<annotation>\n  <filename>{escape(name)}</filename>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"{objects}</annotation>\n"
    )


def _one_line(name: str) -> str:
    return " ".join(name.split())
