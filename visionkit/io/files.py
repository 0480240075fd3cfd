"""Files, as the floors of pictures and data use them: regular files only, written whole or not at all."""

from ..weights.files import atomic_write, open_regular, read_bytes, safe_join

__all__ = ["atomic_write", "open_regular", "read_bytes", "safe_join"]
