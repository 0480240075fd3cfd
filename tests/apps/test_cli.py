"""The command line: grammar, messages, exit codes."""

import json
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

from visionkit import errors
from visionkit.apps import cli
from visionkit.apps.options import VERBS

WORDS = [[verb.name] for verb in VERBS] + [[v.name, t.name] for v in VERBS for t in v.targets]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_verb_has_help(visionkit, words):
    ran = visionkit(*words, "--help")
    assert ran.code == 0
    assert f"usage: visionkit {' '.join(words)}" in ran.out
    assert ran.err == ""


def test_help_lists_every_verb(visionkit):
    text = visionkit("--help").out
    assert all(re.search(rf"^ +{verb.name} ", text, re.M) for verb in VERBS)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["required: VERB"]),
        (["detct"], ["did you mean detect?"]),
        (["data", "chek"], ["did you mean check?", "visionkit data --help"]),
        (["detect", "--confidnce", "0.5", "x.jpg"], ["--confidnce", "did you mean --confidence?"]),
        (["detect", "--conf", "0.5", "x.jpg"], ["unknown argument --conf", "did you mean --confidence?"]),
        (["train", "--epoch=3"], ["argument --epoch; did you mean --epochs? See visionkit train --help"]),
        (["detect", "--line", "1,2,3,4"], ["--line; it is a flag of visionkit pose, visionkit track. See"]),
        (["track", "--write-json=d"], ["--write-json; it is a flag of visionkit pose. See"]),
        (["track", "--line", "-1,2,3"], ["argument --line: expected", "of 2 points, not '-1,2,3'"]),
        (["track", "--zone"], ["--zone", "expected one argument"]),
        (["detect", "--out"], ["--out", "expected one argument"]),
        (["detect", "--out", "a", "--out", "b"], ["--out", "given twice"]),
        (["detect", "--out", ""], ["--out", "not nothing"]),
        (["detect", "--weights", "w", "--threads", "0"], ["--threads", "1 to 1024", "'0'"]),
        (["detect", "--threads", "99999999999999999999999"], ["--threads"]),
        (["detect", "--threads", "-1"], ["--threads"]),
        (["detect", "--threads", "1_0"], ["--threads"]),
        (["detect", "--confidence", "nan"], ["--confidence", "0 to 1"]),
        (["detect", "--confidence", "-0.1"], ["--confidence"]),
        (["detect", "--confidence", "1.1"], ["--confidence"]),
        (["detect", "--iou", "inf"], ["--iou"]),
        (["detect", "--size", "33"], ["--size", "multiples of 32"]),
        (["detect", "--size", "32x"], ["--size"]),
        (["detect", "--size", "99999"], ["--size"]),
        (["train", "--lr", "0"], ["--lr", "more than 0"]),
        (["train", "--assignment", "v4"], ["--assignment", "'v5'"]),
        (["train", "--out", "x", "--epochs", "1.5"], ["--epochs"]),
        (["train"], ["--out"]),
        (["train", "--out", "x"], ["--train-json", "--train"]),
        (["train", "--out", "x", "--train-json", "j"], ["--train-images"]),
        (["train", "--out", "x", "--train-json", "j", "--train", "d"], ["exclude"]),
        (["eval"], ["one of --weights, --detections and --keypoints"]),
        (["eval", "--keypoints", "f.json", "--flip"], ["--flip needs the --weights of a pose network"]),
        (["data", "check"], ["--json-annotations", "--data"]),
        (["data", "convert", "--out", "x"], ["--to"]),
        (["weights", "info"], ["W"]),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else None,
)
def test_wrong_usage_is_explained(visionkit, argv, words):
    ran = visionkit(*argv)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("visionkit: ")
    for word in words:
        assert word in ran.err
    assert "Traceback" not in ran.err


ERRORS = [
    (errors.UsageError, 2), (errors.UnknownNameError, 2), (errors.ShapeError, 2), (errors.DataError, 3),
    (errors.WeightsError, 4), (errors.FileError, 5), (errors.SourceLostError, 6), (errors.DivergedError, 7),
    (errors.LockedError, 8), (errors.TraceError, 70), (KeyError, 70), (OSError, 5), (MemoryError, 5),
    (KeyboardInterrupt, 130),
]  # fmt: skip


@pytest.fixture
def doctor_raises(monkeypatch):
    """Let `visionkit doctor` raise an error."""

    def put(error: BaseException) -> None:
        def run(args: object) -> int:
            raise error

        monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))

    return put


@pytest.mark.parametrize(("kind", "code"), ERRORS, ids=lambda value: getattr(value, "__name__", None))
def test_errors_become_messages_and_codes(visionkit, doctor_raises, kind, code):
    doctor_raises(kind("the reason"))
    ran = visionkit("doctor")
    assert ran.code == code
    assert "the reason" in ran.err
    assert "Traceback" not in ran.err
    assert ("--debug" in ran.err) == (kind is KeyError)


@pytest.mark.parametrize("place", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_the_traceback(visionkit, doctor_raises, place):
    doctor_raises(errors.DataError("the reason"))
    with pytest.raises(errors.DataError):
        visionkit(*place)


def test_warnings_are_one_line(visionkit, monkeypatch):
    def run(args: object) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("look here", stacklevel=1)
        return 0

    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(run=run))
    assert visionkit("doctor").err == "visionkit: warning: look here\n"


def test_a_reader_that_goes_away_is_no_error():
    """As in `visionkit ... | head`: quiet, and the exit code of SIGPIPE."""
    code = "import sys; from visionkit.apps.cli import main; sys.exit(main(['doctor']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        said = process.stderr.read().splitlines()
        assert [line for line in said if "compiling kernels" not in line] == []
        assert process.wait(60) == cli.PIPE


def test_closed_stderr_and_odd_names_do_not_hide_the_code():
    code = (
        "import sys; from visionkit.apps.cli import main; sys.stderr = None; "
        "sys.exit(main(['data', 'stats', '--json-annotations', '/no/\\udcff\\x1b[31m.json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 5
    assert done.stdout == done.stderr == b""


def test_doctor_tells_versions_and_threads(visionkit):
    ran = visionkit("doctor", "--json")
    assert ran.code == 0
    found = {one["what"]: one for one in json.loads(ran.out)}
    assert {"visionkit", "numba", "opencv", "vector width", "threading layer", "kernel cache"} <= set(found)
    assert found["threading layer"]["value"] in ("omp", "tbb", "workqueue")
    assert bool(found["threading layer"]["advice"]) == (found["threading layer"]["value"] == "workqueue")
