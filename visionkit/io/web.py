"""MJPEG over HTTP, by Python's own client: sockets that time out, JPEGs that are whole or left out.

OpenCV would hold a silent server for 30 seconds, end without a word where a stream breaks off, show half
pictures, and follow redirections to files (torture V14-V19).
"""

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import DataError, SourceLostError, UsageError
from .jpegs import JpegSplitter

_KINDS = (
    "multipart/",
    "image/jpeg",
    "image/jpg",
    "video/x-motion-jpeg",
    "video/x-jpeg",
    "application/octet-stream",
)
_CHUNK = 65536


class HttpPictures:
    """The JPEGs that an http(s) address sends, undecoded.

    Args:
        address: with user and password if the server wants them, by Basic or Digest (RFC 7617, 7616).
        timeout: seconds for each step of connecting, and for each piece of data.

    Raises:
        UsageError: the address cannot be one.
        SourceLostError: no connection, refused, or not MJPEG.
    """

    fps = 0.0  # HTTP does not say

    def __init__(self, address: str, timeout: float) -> None:
        self._timeout = timeout
        try:
            parts = urlsplit(address)
            host = parts.hostname or ""
            port = f":{parts.port}" if parts.port else ""
        except ValueError as error:
            raise UsageError(f"not an address: {error}") from None
        bare = urlunsplit((parts.scheme, f"[{host}]{port}" if ":" in host else host + port, *parts[2:4], ""))
        opener = _opener(bare, unquote(parts.username or ""), unquote(parts.password or ""))
        try:
            self._response: HTTPResponse = opener.open(bare, timeout=timeout)
        except (OSError, HTTPException, ValueError) as error:
            raise SourceLostError(self._reason(error)) from None
        kind = self._response.headers.get_content_type()
        if not kind.startswith(_KINDS):
            self._response.close()
            remedy = "`ffmpeg -i ADDRESS -f mjpeg - | visionkit ... -` makes it MJPEG"
            raise DataError(f"it sends {kind}, not MJPEG", remedy=remedy)
        if self._response.isclosed():
            raise SourceLostError("the server sends nothing")
        # a duplicate, for the response closes its own whenever it sees fit, and numbers are used again
        self._socket = socket.fromfd(self._response.fileno(), socket.AF_INET, socket.SOCK_STREAM)

    def __iter__(self) -> Iterator[bytes]:
        """The pictures.

        Raises:
            SourceLostError: the connection broke, or nothing came in time.
        """
        splitter = JpegSplitter()
        with self._response:
            try:
                while data := self._response.read1(_CHUNK):
                    yield from splitter.push(data)
            except TimeoutError:
                raise SourceLostError(f"no picture for {self._timeout:g} seconds") from None
            except (OSError, HTTPException, ValueError) as error:  # ValueError: closed meanwhile
                raise SourceLostError(self._reason(error)) from None
        raise SourceLostError("the server ended the stream")

    def close(self) -> None:
        """End an iteration, from any thread, that waits for data."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _reason(self, error: Exception) -> str:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            what = {401: ": a wrong user or password, or none", 404: ": the path of the address is wrong"}
            return f"HTTP {error.code} {error.msg}{what.get(error.code, '')}"
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(inner, TimeoutError):
            return f"no answer within {self._timeout:g} seconds"
        return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _opener(address: str, user: str, password: str) -> urllib.request.OpenerDirector:
    """What opens http(s) and nothing else: no files, no ftp, no proxies; redirections stay within."""
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if user:
        known.add_password(None, address, user, password)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDigestAuthHandler(known),
        urllib.request.HTTPBasicAuthHandler(known),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
