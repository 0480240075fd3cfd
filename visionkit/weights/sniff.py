"""What a file really is, told from its content and never from its name (torture W07, W12).

Nothing is unpickled or unpacked to find out.
"""

import io
import zipfile

_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", "convert it to safetensors"),
    (b"\x93NUMPY", "a NumPy .npy array", "convert it to safetensors"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it first"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the weight file"),
    (b"\x89PNG\r\n", "a PNG picture", "give the weight file"),
)
_PICKLE = "a pickle (PyTorch, joblib), which can run code and is never loaded"
_CONVERT = "convert it to safetensors where you trust it"


def sniff(data: bytes) -> tuple[str, str] | None:
    """What the content is and what to do about it, or None where it looks like nothing known.

    Args:
        data: the content; its first bytes are enough except for ZIP archives, which are named by their
            list of members.
    """
    for magic, kind, remedy in _MAGIC:
        if data.startswith(magic):
            return kind, remedy
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _archive(data)
    if len(data) > 1 and data[0] == 0x80 and 2 <= data[1] <= 5:
        return _PICKLE, _CONVERT
    if len(data) > 3 and data[0] == 0x08 and data[2] == 0x12:  # ir_version, producer_name
        return "an ONNX model", "convert it to safetensors"
    start = data[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page", "the download failed; fetch it again"
    if start.startswith((b"[net]", b"[network]")):
        return "a Darknet description (.cfg)", "name it as the network and its weights by `--darknet-weights`"
    return None


def _archive(data: bytes) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        names = []
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file (ZIP with a pickle inside), which can run code and is never loaded", _CONVERT
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz archive", "convert it to safetensors"
    return "a ZIP archive", "unpack it first"
