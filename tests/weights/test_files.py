import errno
import os
import resource
import subprocess
import sys
import threading

import pytest

from visionkit.errors import DataError, FileError
from visionkit.weights.files import (
    TEMPORARY,
    atomic_write,
    make_folder,
    read_bytes,
    safe_join,
    sha256,
    sweep,
)


def test_reads_regular_files_only(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert read_bytes(tmp_path / "a") == b"abc"
    assert read_bytes(tmp_path / "a", limit=3) == b"abc"
    with pytest.raises(FileError, match="limit of 2"):
        read_bytes(tmp_path / "a", limit=2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="pipe"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(FileError, match="folder"):
        read_bytes(tmp_path)
    with pytest.raises(FileError, match="No such file"):
        read_bytes(tmp_path / "b")
    with pytest.raises(FileError):
        read_bytes("/dev/zero", limit=10)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FileError):
        read_bytes(tmp_path / "loop")
    with pytest.raises(FileError):
        read_bytes("a\0b")


def test_atomic_write_follows_the_umask_and_keeps_modes(tmp_path):
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "new", b"1")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
        (tmp_path / "new").chmod(0o604)
        atomic_write(tmp_path / "new", lambda file: file.write(b"2"))
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(old)
    assert (tmp_path / "new").read_bytes() == b"2"
    atomic_write(tmp_path / "new", "ü")
    assert (tmp_path / "new").read_text("utf-8") == "ü"
    assert os.listdir(tmp_path) == ["new"]


def test_atomic_write_follows_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/f")
    atomic_write(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "f").read_bytes() == b"new"


def test_failing_writer_leaves_the_old_file(tmp_path):
    atomic_write(tmp_path / "f", b"old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        atomic_write(tmp_path / "f", fail)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_folder_is_made_with_its_parents_and_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_folder("a/b") == make_folder("a/b") == tmp_path / "a" / "b"
    atomic_write("file", b"")
    for name in ("file", "file/below"):
        with pytest.raises(FileError, match=f"{name}: cannot make the folder"):
            make_folder(name)


def test_full_disk_leaves_the_old_file(tmp_path):
    atomic_write(tmp_path / "f", b"old")
    code = f"""
import resource, signal
from visionkit.errors import FileError
from visionkit.weights.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write({str(tmp_path / "f")!r}, b"x" * 5000)
except FileError as error:
    print(error.exit_code, error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("5 ")
    assert "cannot write" in out
    assert (tmp_path / "f").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_temporary_file_that_cannot_be_removed_is_swept_up_later(tmp_path, monkeypatch):
    """The first cause is told, not that the tidying failed too; whatever else is there stays."""
    atomic_write(tmp_path / "f", b"old")

    def refuse(*args, **kwargs):
        raise OSError(errno.EIO, "second cause")

    def full(source, target):
        raise OSError(errno.ENOSPC, "first cause")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(FileError, match=r"first cause.*Free some space"):
            atomic_write(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    (tmp_path / f"{TEMPORARY}9-00" / "below").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        sweep(tmp_path)  # cannot look, and says nothing
    assert len(os.listdir(tmp_path)) == 3
    sweep(tmp_path)
    sweep(tmp_path / "none")
    assert os.listdir(tmp_path) == ["f"]


def test_missing_folder(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        atomic_write(tmp_path / "none" / "f", b"")


def test_two_writers_leave_one_whole_file(tmp_path):
    def write(letter):
        for _ in range(20):
            atomic_write(tmp_path / "f", letter * 10_000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set((tmp_path / "f").read_bytes())) == 1
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "C:\\x", "\\x", "", "a\0b", "a/../../x", "out", "x" * 5000, "\ud800"]
)
def test_safe_join_refuses(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(DataError):
        safe_join(root, name)


def test_safe_join_accepts(tmp_path):
    assert safe_join(tmp_path, "a/b ü.jpg") == tmp_path / "a" / "b ü.jpg"
    (tmp_path / "dir").mkdir()
    (tmp_path / "inside").symlink_to("dir")
    assert safe_join(tmp_path, "inside/x") == tmp_path / "inside" / "x"
    # A root that is itself a link, and names with `..` that stay inside.
    (tmp_path / "alias").symlink_to("dir")
    assert safe_join(tmp_path / "alias", "y/../x").name == "x"


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
