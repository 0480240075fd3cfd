"""`visionkit serve`: a page for the browser that finds things in pictures and before the camera."""

import argparse
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from visionkit.errors import UsageError

from .detector import WEIGHTS, open_detector, use_threads
from .pose import POSE, open_pose
from .terminal import say

if TYPE_CHECKING:
    from .serve_desk import Ready


def run(args: argparse.Namespace) -> int:
    """Serve until a signal comes; the address, with the token in it, is all of standard output.

    Raises:
        UsageError: the extra is not installed.
        FileError: the port is taken.
        UnknownNameError, FileError, WeightsError: weights that cannot be had.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401  (uvicorn speaks WebSocket through it)
    except ImportError as missing:
        remedy = 'install it with: pip install "visionkit[serve]"'
        raise UsageError(f"visionkit serve needs the package {missing.name}", remedy=remedy) from None
    from .serve_app import application
    from .serve_desk import Desk, Limits
    from .serve_http import listen, server

    limits = Limits()
    with listen(args.port) as listener:
        use_threads(args)
        models = offered(args)
        desk = Desk(models, limits, partial(use_threads, args))
        port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
        app = application(desk, limits, token, port, getattr(args, "debug", False))
        print(f"http://127.0.0.1:{port}/{token}/", flush=True)
        say(f"offering {', '.join(models)}; open the address in a browser, end with Ctrl-C")
        try:
            server(app, limits).run(sockets=[listener])
        finally:
            desk.close()
    return 0


def offered(args: argparse.Namespace) -> "dict[str, Ready]":
    """The models of every --weights, ready to run, by the stems of their files; doubles are numbered."""
    from visionkit.models.zoo import task

    models: dict[str, Ready] = {}
    for weights in args.weights or [WEIGHTS, POSE]:
        one = argparse.Namespace(**{**vars(args), "weights": weights, "prototxt": None, "detector": None})
        stem = name = Path(weights).stem
        number = 2
        while name in models:
            name, number = f"{stem}-{number}", number + 1
        model: Ready = open_pose(one) if task(None, weights) == "pose" else open_detector(one)
        model.warm_up()
        models[name] = model
    return models
