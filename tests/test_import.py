"""Importing the package and asking for help cost nothing and leave nothing behind."""

import subprocess
import sys

import pytest

import visionkit

#: All that help needs of the package: the grammar.
GRAMMAR = {
    "visionkit", "visionkit.errors", "visionkit.apps", "visionkit.apps.cli", "visionkit.apps.terminal",
    "visionkit.apps.arguments", "visionkit.apps.flags", "visionkit.apps.openpose", "visionkit.apps.options",
    *(f"visionkit.apps.options_{subject}" for subject in ("look", "learn", "data", "tools")),
}  # fmt: skip
#: Parts of Python's own library that would be felt.
SLOW = {"asyncio", "concurrent", "email", "http", "multiprocessing", "ssl", "subprocess", "unittest"}


def python(code: str) -> str:
    """The output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> set[str]:
    """The modules that code leaves behind in a fresh interpreter, beyond those of an empty one."""
    empty, full = (
        set(python(f"{line}; import sys; print(); print(*sys.modules)").splitlines()[-1].split())
        for line in ("pass", code)
    )
    return full - empty


def test_the_package_alone_imports_nothing():
    names = loaded("import visionkit")
    assert {name for name in names if name.split(".")[0] not in sys.stdlib_module_names} == {"visionkit"}


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_the_grammar_alone(words):
    """No other package, none of the verbs, and nothing slow of Python's own: so help comes at once."""
    names = loaded(f"from visionkit.apps.cli import main; main({words})")
    assert {name for name in names if name.split(".")[0] not in sys.stdlib_module_names} == GRAMMAR
    assert not names & SLOW


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


def test_the_face_has_every_promised_name():
    for name in visionkit.__all__:
        assert getattr(visionkit, name) is not None
    assert set(visionkit.__all__) <= set(dir(visionkit))
    with pytest.raises(AttributeError, match="no attribute 'lood'"):
        visionkit.lood  # noqa: B018
