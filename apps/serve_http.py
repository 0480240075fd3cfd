"""The server under `visionkit serve`: uvicorn, with a limit on how long a request may take to arrive."""

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from visionkit.errors import FileError

from .serve_desk import Limits

#: Connections at once; those who are silent count too, until patience with them ends.
_CONNECTIONS = 512


def listen(port: int) -> socket.socket:
    """A socket that listens on 127.0.0.1 only; port 0 is any that is free.

    Raises:
        FileError: the port is taken, or not for this user.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        remedy = "choose another with --port, or 0 for any that is free"
        raise FileError(f"port {port} cannot be had: {error.strerror}", remedy=remedy) from None
    return listener


def server(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    """A server for `app`; its `run(sockets=[...])` returns when a signal, or `should_exit`, stops it."""

    class Connection(H11Protocol):
        """Uvicorn times only the silence between requests; here each must be complete in time (H02)."""

        _watch: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            answering = self.cycle and not self.cycle.more_body and not self.cycle.response_complete
            (self._end if answering else self._begin)()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self._end()

        def _begin(self) -> None:
            self._watch = self._watch or self.loop.call_later(limits.patience, self._hang_up)

        def _end(self) -> None:
            if self._watch:
                self._watch.cancel()
                self._watch = None

        def _hang_up(self) -> None:
            if self in self.connections:  # or it has become a WebSocket
                self.transport.close()

    config = uvicorn.Config(
        app, http=Connection, ws="websockets-sansio", ws_max_size=limits.body, ws_per_message_deflate=False,
        loop="asyncio", lifespan="off", log_config=None, log_level="critical", access_log=False,
        proxy_headers=False, server_header=False, limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=limits.drain,
    )  # fmt: skip
    return uvicorn.Server(config)
