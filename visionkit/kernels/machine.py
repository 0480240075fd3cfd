"""Machine code of kernels: object files linked by LLVM and called by address.

Numba makes the object files. To run them nothing else of it is needed: its type inference and its code
generator would take 0.2 seconds and 50 MB to get ready. Numba's calling convention is `status f(result *,
exception **, arguments ...)`; an array is handed over as (memory, owner, size, item size, data, shape ...,
strides ...), the first two being 0 where somebody else owns it, and a tuple as what it holds.
"""

import ctypes
import hashlib
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba.core.runtime import _nrt_python
from numba.np.ufunc.parallel import _launch_threads

_WORD = ctypes.c_int64
_NUMBERS = (
    bool, int, float, np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32,
    np.uint64, np.float32, np.float64,
)  # fmt: skip
_SCALARS = {kind: (np.dtype(kind).name, np.ctypeslib.as_ctypes_type(kind)) for kind in _NUMBERS}


def key_of(value: Any) -> Any:
    """What tells arguments of different kinds apart, as quickly as possible."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.num
    return tuple(map(key_of, value)) if isinstance(value, tuple) else type(value)


def kind_of(value: Any) -> str:
    """The name of the Numba type of an array, a number or a tuple of them.

    Raises:
        TypeError: anything else.
    """
    if isinstance(value, np.ndarray):
        flags = value.flags
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        kind = f"array({value.dtype}, {value.ndim}d, {layout})"
        return kind if flags.writeable else f"readonly {kind}"
    if isinstance(value, tuple):
        return f"({', '.join(map(kind_of, value))})"
    if type(value) not in _SCALARS:
        raise TypeError(f"a kernel takes arrays, numbers and tuples of them, not {type(value).__name__}")
    return _SCALARS[type(value)][0]


def words_of(arguments: tuple[Any, ...]) -> list[Any]:
    """What the calling convention makes of arguments; valid for as long as their arrays live."""
    words: list[Any] = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            place = (0, 0, value.size, value.itemsize, value.ctypes.data)
            words += map(_WORD, (*place, *value.shape, *value.strides))
        elif isinstance(value, tuple):
            words += words_of(value)
        else:
            words.append(_SCALARS[type(value)][1](value))
    return words


@cache
def _prepare() -> None:
    """Tell the linker what processor this is, and where Numba's runtime stands."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in _nrt_python.c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


class Code:
    """A compiled kernel, ready to be called.

    Args:
        data: an object file for this processor. It is trusted, as every program is.
        symbol: the function in it.
        result: NumPy's name of what it returns, such as "f8", or "i8,i8" for a tuple; "" for nothing.
        parallel: whether it runs on several threads.

    Attributes:
        address: of the function, for `jit.invoke`.
    """

    def __init__(self, data: bytes, symbol: str, result: str, parallel: bool) -> None:
        _prepare()
        if parallel:
            _launch_threads()
        self._symbol, self._result = symbol, np.dtype(result, align=True) if result else None
        # Every object file has a linker of its own: their helpers may share names and differ.
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
        self._linker = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._linker.add_object_file(llvm.ObjectFileRef.from_data(data))
        self._linker.finalize_object()
        self.address = int(self._linker.get_function_address(symbol))
        self._function = ctypes.CFUNCTYPE(ctypes.c_int32)(self.address)

    def run(self, words: list[Any]) -> Any:
        """Call it without the interpreter's lock.

        Args:
            words: `words_of` arguments of the kinds that it was compiled for.

        Raises:
            RuntimeError: it ran out of memory, or raised an exception.
        """
        result, exception = np.zeros((), self._result), _WORD()
        status = self._function(_WORD(result.ctypes.data), ctypes.byref(exception), *words)
        if status:
            raise RuntimeError(f"the kernel {self._symbol} failed with status {status}")
        return result.item() if self._result else None


def write(path: Path, data: bytes, symbol: str, result: str) -> None:
    """Keep an object file with what else `Code` has to know: whole, or not at all where there is no room."""
    content = f"{symbol} {result}\n".encode() + data
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> tuple[bytes, str, str] | None:
    """What `write` wrote; None if it is not there, or damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, content = stored[:32], stored[32:]
    if digest != hashlib.sha256(content).digest():
        return None
    head, _, data = content.partition(b"\n")
    symbol, _, result = head.decode().partition(" ")
    return data, symbol, result
