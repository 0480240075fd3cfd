"""Importing the package and asking for help cost nothing and leave nothing behind."""

import subprocess
import sys
import time

import pytest

import visionkit

HEAVY = ("numba", "llvmlite", "numpy", "cv2", "PIL", "matplotlib", "pycocotools", "safetensors", "tqdm")


def python(code: str) -> str:
    """The output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "code",
    ["import visionkit", "from visionkit.apps.cli import main; main(['--help']); main(['train', '--help'])"],
    ids=["import", "help"],
)
def test_nothing_heavy_is_imported(code):
    out = python(f"import sys; {code}; print(); print(*sys.modules)")
    loaded = {name.split(".")[0] for name in out.splitlines()[-1].split()}
    assert not loaded & set(HEAVY)


def test_import_opens_no_file_no_network_no_thread():
    """Only Python's own reading of modules is allowed (E14)."""
    code = """
import sys, threading
seen = []
def hook(event, args):
    if event == "open" and not str(args[0]).endswith((".py", ".pyc", ".pyi")):
        seen.append((event, str(args[0])))
    if event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename")):
        seen.append((event, ""))
sys.addaudithook(hook)
import visionkit
print(seen, threading.active_count())
"""
    assert python(code).strip() == "[] 1"


def test_importing_the_library_floors_writes_nothing(tmp_path):
    """Compiled kernels are looked for at the first call, not at import."""
    code = f"""
import os
os.environ["VISIONKIT_CACHE"] = {str(tmp_path)!r}
import visionkit as vk
vk.load, vk.draw, vk.compile, vk.Tensor
"""
    python(code)
    assert list(tmp_path.iterdir()) == []


def test_help_comes_in_a_fifth_of_a_second():
    """Above what an empty interpreter takes; the best of several, for the machine may be busy."""

    def best(code: str) -> float:
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            python(code)
            times.append(time.perf_counter() - begin)
        return min(times)

    assert best("from visionkit.apps.cli import main; main(['--help'])") - best("pass") < 0.2


def test_the_face_has_every_promised_name():
    for name in visionkit.__all__:
        assert getattr(visionkit, name) is not None
    assert set(visionkit.__all__) <= set(dir(visionkit))
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        visionkit.lood  # noqa: B018
