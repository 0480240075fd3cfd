"""The routes of `visionkit serve`: a page, the models, a picture, a camera. Nothing touches the disk.

Below /TOKEN/:

    GET                               the page and its files
    GET  models                       what is offered
    POST find?model=&confidence=      the bytes of a picture file -> what is in it
    WS   live?model=&confidence=      a picture a message -> what is in it, a message each

Errors are {"error": reason}: 400 a parameter, 413 too large, 415 not sent as a picture, 422 no picture, 503
too many at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, Router, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from visionkit.errors import DataError

from .arguments import fraction
from .serve_desk import BusyError, Desk, Limits, described
from .serve_guard import Guard

Endpoint = Callable[[Request], Awaitable[Response]]

#: Files of the page; no other can be asked for.
_PAGE = {
    "index.html": "text/html", "style.css": "text/css", "icon.svg": "image/svg+xml",
    "app.js": "text/javascript", "camera.js": "text/javascript", "paint.js": "text/javascript",
}  # fmt: skip

#: What other sites' forms can send without the browser's asking first, or what comes in parts.
_FORMS = {"text/plain": 403, "application/x-www-form-urlencoded": 403, "multipart/form-data": 400}


def application(desk: Desk, limits: Limits, token: str, port: int, debug: bool = False) -> ASGIApp:
    """The guarded application at http://127.0.0.1:`port`/`token`/."""
    rooms = _Rooms(desk, limits)
    routes = [
        Route("/", rooms.file("index.html")),
        *(Route(f"/{name}", rooms.file(name)) for name in _PAGE),
        Route("/models", rooms.models),
        Route("/find", rooms.find, methods=["POST"]),
        WebSocketRoute("/live", rooms.live),
    ]
    return Guard(Router([Mount(f"/{token}", routes=routes)]), token, port, limits.spill, debug)


class _Rooms:
    """What is behind each route."""

    def __init__(self, desk: Desk, limits: Limits) -> None:
        self._desk, self._limits = desk, limits
        self._models = [described(name, model) for name, model in desk.models.items()]
        self._cameras = 0

    def file(self, name: str) -> Endpoint:
        page = Response((Path(__file__).parent / "page" / name).read_bytes(), media_type=_PAGE[name])

        async def show(request: Request) -> Response:
            return page

        return show

    async def models(self, request: Request) -> Response:
        return JSONResponse({"models": self._models, "body": self._limits.body})

    async def find(self, request: Request) -> Response:
        model, confidence = self._asked(request.query_params)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not (kind.startswith("image/") or kind == "application/octet-stream"):
            raise HTTPException(
                _FORMS.get(kind, 415), "send the picture's bytes alone, as image/jpeg or such"
            )
        try:
            data = await self._body(request)
            return JSONResponse(await _while_there(request, self._desk.look(model, data, confidence)))
        except DataError as error:
            raise HTTPException(422, str(error)) from None
        except BusyError:
            raise _busy("pictures") from None
        except ClientDisconnect:
            return Response()  # nobody is there to read it

    async def live(self, socket: WebSocket) -> None:
        model, confidence = self._asked(socket.query_params)
        if self._cameras >= self._limits.cameras:
            raise _busy("cameras")
        self._cameras += 1
        try:
            await socket.accept()
            await self._frames(socket, model, confidence)
        finally:
            self._cameras -= 1

    async def _frames(self, socket: WebSocket, model: str, confidence: float | None) -> None:
        """Answer every frame before the next is taken: what a camera sends meanwhile waits at its end."""
        while True:
            try:
                message = await asyncio.wait_for(socket.receive(), self._limits.idle)
            except TimeoutError:
                return await socket.close(1001, f"no frame for {self._limits.idle:g} s")
            if message["type"] == "websocket.disconnect":
                return None
            if message.get("bytes") is None:
                return await socket.close(1003, "send pictures, no text")
            try:
                reply = await self._desk.look(model, message["bytes"], confidence)
            except DataError as error:
                reply = {"error": str(error)}
            except BusyError:
                reply = {"error": _busy("pictures").detail}
            await socket.send_json(reply)

    def _asked(self, query: QueryParams) -> tuple[str, float | None]:
        """The model and confidence of an address; the first model and its own confidence by default."""
        given = dict(query)
        if len(query.multi_items()) > len(given) or not given.keys() <= {"model", "confidence"}:
            raise HTTPException(400, "the parameters are model and confidence, each once")
        model = given.get("model", next(iter(self._desk.models)))
        if model not in self._desk.models:
            raise HTTPException(400, f"the models are {', '.join(self._desk.models)}")
        try:
            return model, fraction(given["confidence"]) if "confidence" in given else None
        except Exception:
            raise HTTPException(400, "confidence is a number from 0 to 1") from None

    async def _body(self, request: Request) -> bytes:
        """The whole body, unless it is, or says that it is, too large."""
        most = self._limits.body
        too_large = HTTPException(413, f"more than {most:,} bytes")
        said = request.headers.get("content-length", "0")
        if len(said) > 18 or int(said) > most:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
        return bytes(body)


def _busy(what: str) -> HTTPException:
    return HTTPException(503, f"too many {what} at once; try again in a second", {"Retry-After": "1"})


async def _while_there(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """The result of `work`, given up when whoever asked for it has left.

    Raises:
        ClientDisconnect: they have.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(request.receive())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
