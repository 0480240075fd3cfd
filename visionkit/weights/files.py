"""Files read with a limit, and files written whole or not at all.

A write goes to a temporary file in the same folder, is flushed to the disk and takes the old file's place in
one step; whoever is killed in between leaves the old version and at most one file `.visionkit-tmp-PID-*`
(torture C5), which nobody reads and the next `sweep` takes away.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from ..errors import DataError, FileError

StrPath = str | os.PathLike[str]
TEMPORARY = ".visionkit-tmp-"

_REMEDIES = {
    errno.ENOSPC: "free some space and try again; the former version is untouched",
    errno.EDQUOT: "your quota is used up; the former version is untouched",
    errno.EFBIG: "the file grew past a size limit; the former version is untouched",
    errno.EACCES: "check the permissions",
    errno.EROFS: "choose a folder that can be written",
}


def file_error(error: OSError, path: StrPath, action: str) -> FileError:
    """The FileError that says what the system said about `path`, with the remedy."""
    reason = error.strerror or str(error)
    return FileError(f"cannot {action}: {reason}", file=path, remedy=_REMEDIES.get(error.errno or 0))


def open_regular(path: StrPath) -> BufferedReader:
    """Open a regular file for reading; a pipe, a device or a folder is refused and never waited for.

    Raises:
        FileError: it is missing, unreadable or not a regular file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        system = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise file_error(system, path, "open") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise FileError(f"expected a regular file, this is {kind}", file=path)
    return os.fdopen(handle, "rb")


def read_bytes(path: StrPath, limit: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        limit: most bytes to accept; None accepts any number.

    Raises:
        FileError: missing, unreadable, not a regular file, or larger than `limit`.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise FileError(f"{size:,} bytes are more than the limit of {limit:,}", file=path)
        try:
            data = file.read(size + 1 if limit is None else limit + 1)
        except OSError as error:
            raise file_error(error, path, "read") from None
    if limit is not None and len(data) > limit:
        raise FileError(f"grew past the limit of {limit:,} bytes while it was read", file=path)
    return data


def atomic_write(path: StrPath, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all; a new file's mode follows the umask, an old one keeps its mode.

    Args:
        path: the file; its folder must exist. A symbolic link is followed, not replaced.
        content: bytes, text (written as UTF-8), or a function that writes to the open binary file.

    Raises:
        FileError: the disk is full, the folder is missing or cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
                if callable(content):
                    content(file)
                else:
                    file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            os.replace(temporary, target)
        except BaseException:
            _discard(temporary)
            raise
        sync_folder(target.parent)
    except FileError:
        raise
    except OSError as error:
        raise file_error(error, path, "write") from None


def make_folder(path: StrPath) -> Path:
    """The absolute path of a folder, which is made, with its parents, where it is not there.

    Raises:
        FileError: it cannot be made.
    """
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(error, folder, "make the folder") from None
    return folder


def sweep(folder: Path) -> None:
    """Take away what killed or failing writers left in a folder: files and folders under temporary names.

    What cannot be removed now is left for the next sweep: it costs space and nothing else.
    """
    with contextlib.suppress(OSError):
        for left in sorted(folder.glob(f"{TEMPORARY}*")):
            _discard(left)


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync_folder(folder: StrPath) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:  # Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def safe_join(root: StrPath, name: str) -> Path:
    """`root/name`, provided that it lies inside `root` after all links are resolved.

    Raises:
        DataError: the name is empty, absolute, holds a NUL, or leaves `root`.
    """
    bad = None
    if not name or "\0" in name:
        bad = "a file name must not be empty or hold a NUL"
    elif PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        bad = "a file name must be relative to its folder"
    elif max(map(len, name.encode(errors="surrogatepass").split(b"/"))) > 255:
        bad = "a file name must not be longer than 255 bytes"
    if bad is None:
        try:
            path = Path(os.path.realpath(Path(root, name)))
            if path.is_relative_to(os.path.realpath(root)):
                return Path(root, name)
            bad = f"the file lies outside its folder {root}"
        except (OSError, ValueError) as error:
            bad = f"not a usable file name: {error}"
    raise DataError(bad, value=name)


def sha256(path: StrPath) -> str:
    """The SHA-256 of a regular file, in hexadecimal."""
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise file_error(error, path, "read") from None
