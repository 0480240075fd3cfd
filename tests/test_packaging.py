"""The package is what the folders are, and a wheel puts one name into site-packages."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.test_floors import imports, sources

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def folders() -> set[str]:
    """Every package by its import name."""
    found = set()
    for top in ("visionkit", "models", "datasets", "apps"):
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found.add(".".join(parts if top == "visionkit" else ("visionkit", *parts)))
    return found


def _setuptools() -> int:
    """The major version of setuptools, 0 where there is none."""
    try:
        return int(metadata.version("setuptools").split(".")[0])
    except metadata.PackageNotFoundError:
        return 0


def test_the_list_of_packages_is_complete():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == folders()


def test_mapped_folders_are_imported_from_this_checkout():
    import visionkit.apps
    import visionkit.datasets
    import visionkit.models

    for module, folder in (
        (visionkit.models, "models"),
        (visionkit.datasets, "datasets"),
        (visionkit.apps, "apps"),
    ):
        assert Path(module.__file__).resolve() == ROOT / folder / "__init__.py"


def test_every_import_is_a_declared_dependency():
    """What the product imports is what it or one of its extras asks for, no more and no less."""
    distributions = {"cv2": "opencv-python", "PIL": "pillow", "llvmlite": "numba"}
    used = set()
    for _, module, text in sources():
        roots = {name.split(".")[0] for name in imports(text, module)}
        used |= roots - sys.stdlib_module_names - {"visionkit"}
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [line for name in sorted(extras.keys() - {"test", "dev"}) for line in extras[name]]
    lines += PROJECT["project"]["dependencies"]
    declared = {re.split(r"[<>=\[]", line)[0] for line in lines}
    assert {distributions.get(name, name) for name in used} == declared


def test_a_wheel_holds_one_top_level_name(tmp_path):
    if find_spec("pip") is None or _setuptools() < 77:
        pytest.skip("no pip with setuptools >= 77 here: a wheel cannot be built without the network")
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: cannot tell the project's files from others")
    for line in listed.stdout.splitlines():
        if (ROOT / line).is_file():
            (source / line).parent.mkdir(parents=True, exist_ok=True)
            (source / line).write_bytes((ROOT / line).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"visionkit"}
    assert not [name for name in names if name.endswith(".pyi")]
    inside = {name for name in names if name.endswith(".py")}
    for top, prefix in (
        ("visionkit", ""),
        ("models", "visionkit/"),
        ("datasets", "visionkit/"),
        ("apps", "visionkit/"),
    ):
        for path in (ROOT / top).rglob("*.py"):
            assert prefix + str(path.relative_to(ROOT)) in inside
    for weights in (ROOT / "models").glob("weights/*.safetensors"):
        assert f"visionkit/models/weights/{weights.name}" in names
    for file in (ROOT / "apps" / "page").iterdir():
        assert f"visionkit/apps/page/{file.name}" in names
    assert wheel.stat().st_size < 60e6
