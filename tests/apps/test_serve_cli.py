"""The command `visionkit serve`: what stops it from starting, and what it offers."""

import argparse
import builtins
import shutil
import socket

import pytest

from tests.apps import serving  # noqa: F401  (skips where the extra is not installed)
from visionkit.apps.serve import offered
from visionkit.apps.serve_http import listen
from visionkit.errors import FileError


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "websockets"])
def test_without_the_extra_the_remedy_is_named(visionkit, monkeypatch, package):
    real = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    ran = visionkit("serve")
    assert ran.code == 2
    remedy = 'Install it with: pip install "visionkit[serve]"'
    assert ran.err.splitlines() == [f"visionkit: visionkit serve needs the package {package}. {remedy}"]


def test_a_port_in_use(visionkit):
    with listen(0) as taken:
        port = taken.getsockname()[1]
        ran = visionkit("serve", "--port", port)
    assert ran.code == FileError.exit_code
    assert f"port {port} cannot be had" in ran.err
    assert "--port" in ran.err
    assert ran.out == ""


def test_it_listens_on_this_machine_alone():
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in others - {"127.0.0.1"}:
            with pytest.raises(OSError, match=r"refused|unreachable|timed out|assign"):
                socket.create_connection((address, listener.getsockname()[1]), timeout=2)


def test_weights_that_are_not_there(visionkit):
    ran = visionkit("serve", "--port", "0", "--weights", "nowhere.safetensors")
    assert ran.code in (2, 5)
    assert "nowhere" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("port", ["-1", "65536", "x", "80.5"])
def test_ports_that_cannot_be(visionkit, port):
    assert visionkit("serve", f"--port={port}").code == 2


def test_models_are_named_after_their_files(weights, pose_weights, tmp_path):
    """Boxes and poses side by side; a stem that comes again is numbered."""
    again = tmp_path / weights.name
    shutil.copy(weights, again)
    args = argparse.Namespace(weights=[str(weights), str(again), str(pose_weights)], threads=None)
    models = offered(args)
    assert list(models) == ["untrained", "untrained-2", "poses"]
    assert not hasattr(models["untrained"], "skeleton")
    assert models["poses"].skeleton.name == "coco-17"


def test_the_shipped_networks_by_default():
    models = offered(argparse.Namespace(weights=None, threads=None))
    assert list(models) == ["yolo-nano-person", "hourglass-lite"]
