"""Network addresses: which are opened, and how they are shown."""

import re

_STREAM = re.compile(r"(https?|rtsps?)://[^/\s]\S*", re.IGNORECASE)


def is_stream(source: str) -> bool:
    """Whether a source is a network address that can be opened: http(s) or rtsp(s)."""
    return bool(_STREAM.fullmatch(source))


def hidden(text: str) -> str:
    """A text with the secrets of all addresses in it replaced: user, password, and what follows a "?"."""
    return re.sub(r"(://[^\s?]*)\?\S*", r"\1?***", re.sub(r"://\S*@", "://***@", text))
