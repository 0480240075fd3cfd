"""Who may speak to `visionkit serve`: its own page and whoever knows the token, and nobody else's page.

A server on this machine can be reached by every page that the user's browser shows. What keeps them out
(torture H10, H12): a secret in the address, the names that may stand in Host (or a name that its owner lets
point here would do) and in Origin, and a policy that lets the page load nothing from elsewhere.
"""

import asyncio
import secrets
import traceback
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from .terminal import say

_HEADERS = (
    (b"content-security-policy",
     b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip

#: Seconds without a byte after which one who was refused has stopped sending.
_SILENCE = 1.0


class Guard:
    """Lets only those through to `app` who may speak to it.

    Args:
        app: what is guarded.
        token: what the first part of every path must be.
        port: the server's.
        spill: bytes of a refused request that are read all the same.
        debug: show tracebacks of errors nobody thought of, on standard error.
    """

    def __init__(self, app: ASGIApp, token: str, port: int, spill: int, debug: bool = False) -> None:
        self._app, self._token, self._spill, self._debug = app, token.encode(), spill, debug
        names = ("127.0.0.1", "localhost")
        self._hosts = {(name if port == 80 else f"{name}:{port}").encode() for name in names}
        self._origins = {b"http://" + host for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket (ASGI)."""

        begun, ended = False, scope["type"] != "http"

        async def receive_all() -> Message:
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body", False)
            return message

        async def send_safely(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"].endswith("http.response.start"):
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        try:
            self._check(scope)
            # the router raises only in an app
            await self._app({**scope, "app": self}, receive_all, send_safely)
        except WebSocketDisconnect:
            return
        except Exception as error:
            if not isinstance(error, HTTPException):  # nobody thought of it: no word leaves the house
                text = "".join(traceback.format_exception(error)) if self._debug else repr(error)
                say(f"internal error: {text}")
                error = HTTPException(500, "internal error")
            if begun:
                return
            if ended:
                await _refusal(error)(scope, receive, send_safely)
            else:
                await _refuse(error, scope, receive, send_safely, self._spill)

    def _check(self, scope: Scope) -> None:
        """Raise 403 unless the request may come in."""
        if not _all_in(_values(scope, b"host"), self._hosts):
            raise HTTPException(403, "this server is only for 127.0.0.1 and localhost")
        origins = _values(scope, b"origin")
        if (origins or scope["type"] == "websocket") and not _all_in(origins, self._origins):
            raise HTTPException(403, "this server answers to no page but its own")
        given = scope["path"].encode().split(b"/")[1:2]
        if not given or not secrets.compare_digest(given[0], self._token):
            raise HTTPException(403, "use the whole address that visionkit serve has printed")


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value.lower() for key, value in scope["headers"] if key == name]


def _all_in(values: Iterable[bytes], allowed: set[bytes]) -> bool:
    """Whether there are values, and all are allowed."""
    found = set(values)
    return bool(found) and found <= allowed


async def _refuse(error: HTTPException, scope: Scope, receive: Receive, send: Send, spill: int) -> None:
    """Give the reason at once, and then read on for a while.

    Most clients listen only when they have sent everything, and to close on one who sends would destroy what
    they have not heard yet (RFC 9112, 9.6). Uvicorn closes at the end of an answer, so that is kept back.
    """

    async def send_open(message: Message) -> None:
        await send(message | {"more_body": True} if message["type"] == "http.response.body" else message)

    await _refusal(error)(scope, receive, send_open)
    try:
        while spill > 0 and (message := await asyncio.wait_for(receive(), _SILENCE)).get("more_body"):
            spill -= len(message["body"])
    except TimeoutError:
        pass  # they have stopped, and listen
    await send({"type": "http.response.body", "body": b""})


def _refusal(error: HTTPException) -> JSONResponse:
    """An error as JSON: {"error": reason}. It ends the connection, for the rest of a body is not read."""
    headers = {"Connection": "close", **(error.headers or {})}
    return JSONResponse({"error": error.detail}, error.status_code, headers)
