"""The folder of compiled kernels: found again, never stale, private, and not needed."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import visionkit

#: Runs a serial and a parallel kernel and tells what it had to do.
PROGRAM = """
import json, logging, sys, warnings
import numpy as np
said = []
logging.getLogger("visionkit").addHandler(handler := logging.Handler())
logging.getLogger("visionkit").setLevel("INFO")
handler.emit = lambda record: said.append(record.getMessage())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from visionkit.kernels import jit, pointwise
    from visionkit.kernels.memory import Buffer
    memory = jit.aligned(64)
    memory[:] = 1
    buffer = Buffer(1, 1, 1, 4, 1, base=0)
    pointwise.clear_halo(memory, np.zeros(1, np.int32), *pointwise.halo_call(buffer))
    assert memory[:36].sum() == 4, memory
print(json.dumps({
    "compiled": pointwise.clear_halo.compiled,
    "said": said, "folder": str(jit.cache_folder()), "fingerprint": jit.fingerprint(),
    "warnings": [str(w.message) for w in caught],
}))
"""


def run(cache: Path | str, root: Path | None = None, program: str = PROGRAM, **settings: str) -> dict:
    import json

    root = root or Path(visionkit.__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VISIONKIT", "XDG_CACHE"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=environment | {"VISIONKIT_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1"} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cold(tmp_path_factory) -> tuple[Path, dict]:
    """A cache folder after a first process."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, run(folder)


def files_of(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_a_second_process_compiles_nothing(cold):
    folder, first = cold
    assert first["compiled"] == 1
    before = files_of(folder)
    assert before
    second = run(folder)
    assert second["compiled"] == 0
    assert files_of(folder) == before
    assert first["warnings"] == second["warnings"] == []


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX systems")
def test_the_folder_belongs_to_its_user_alone(cold):
    _, first = cold
    assert stat.S_IMODE(Path(first["folder"]).stat().st_mode) == 0o700
    Path(first["folder"]).chmod(0o777)
    run(cold[0])
    assert stat.S_IMODE(Path(first["folder"]).stat().st_mode) == 0o700


def test_without_a_folder_there_is_one_warning_and_the_same_result(tmp_path):
    """The base of the folder is a file: nothing can be made below it, whoever asks."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    told = run(blocked)
    assert len(told["warnings"]) == 1
    assert "VISIONKIT_CACHE" in told["warnings"][0]
    assert told["folder"] == "None"
    assert list(tmp_path.iterdir()) == [blocked]


FINGERPRINT = """
import json
from visionkit.kernels.jit import fingerprint
print(json.dumps({"fingerprint": fingerprint()}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the package that a test may change."""
    root = tmp_path_factory.mktemp("tree")
    source = Path(visionkit.__file__).parent
    shutil.copytree(source, root / "visionkit", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_a_change_in_any_kernel_source_changes_the_fingerprint(copied, tmp_path):
    original = run(tmp_path, program=FINGERPRINT)["fingerprint"]
    assert run(tmp_path, copied, FINGERPRINT)["fingerprint"] == original  # wherever the package lies
    seen = {original}
    for name in ("simd.py", "microkernel.py", "memory.py"):
        path = copied / "visionkit" / "kernels" / name
        text = path.read_text()
        path.write_text(text + "\n# another line\n")
        seen.add(run(tmp_path, copied, FINGERPRINT)["fingerprint"])
        path.write_text(text)
    assert len(seen) == 4
    assert run(tmp_path, copied, FINGERPRINT)["fingerprint"] == original


def test_lanes_and_processor_have_their_own_folders(tmp_path):
    settings = [{}, {"VISIONKIT_LANES": "4"}, {"VISIONKIT_LANES": "8"}, {"NUMBA_CPU_NAME": "generic"}]
    settings.append({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"})
    seen = [run(tmp_path, program=FINGERPRINT, **s)["fingerprint"] for s in settings]
    assert len(set(seen)) >= 4  # one of the lanes is the host's own


def test_compiling_is_announced_once_and_only_where_it_happens(cold):
    folder, first = cold
    assert len(first["said"]) == 1
    assert "compiling kernels" in first["said"][0]
    assert first["folder"] in first["said"][0]
    assert run(folder)["said"] == []


@pytest.mark.parametrize(("layer", "warned"), [("workqueue", 1), ("omp", 0)])
def test_slow_threads_are_told_with_their_cost(layer, warned):
    program = """
import json, warnings
import numpy as np
from visionkit.graph import compile
from visionkit.nn import ReLU
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    plan = compile(ReLU(), (1, 4, 4, 3))
    for _ in range(2):
        plan.forward(np.ones((1, 4, 4, 3), np.float32))
print(json.dumps([str(w.message) for w in caught]))
"""
    try:
        found = run(os.environ.get("VISIONKIT_CACHE", ""), program=program, NUMBA_THREADING_LAYER=layer)
    except AssertionError as error:
        if layer == "omp" and "threading layer" in str(error).lower():
            pytest.skip("no OpenMP here")
        raise
    assert len(found) == warned
    assert all("90 microseconds" in text and "libgomp" in text for text in found)
