"""The two decorators of every kernel, its cache on disk, and the thread count.

Numba's own cache watches only the file of the cached function; a change in a helper or in the code
generator of another file would go unnoticed. Here one hash of all kernel sources, of numba and of the
processor names the cache folder, so a cache is either right or absent.
"""

import contextlib
import functools
import hashlib
import logging
import mmap
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import config, types
from numba.extending import intrinsic, typeof_impl
from numba.np.numpy_support import as_dtype
from numpy.typing import DTypeLike, NDArray

from . import machine
from .machine import Code, key_of, kind_of, words_of

Kernel = Callable[..., Any]

_log = logging.getLogger("visionkit")
_HERE = Path(__file__).parent
_POSIX = os.name == "posix"
_HUGE = 1 << 22  # bytes, from which on large pages spare more misses than they waste
_compiling = threading.RLock()

# GNU OpenMP lets idle threads spin for milliseconds. Where other programs want the processor, that costs ten
# times what it saves; a few microseconds are enough from one kernel to the next. Read when numba starts it.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_OPTIONS: dict[str, Any] = {
    # Contraction and signed zeros only: NaN and infinity keep their meaning (torture N14).
    "fastmath": {"contract", "nsz"},
    "boundscheck": None, "nogil": True, "error_model": "numpy",
    # Python calls the machine code itself: Numba's wrappers for that need not be compiled.
    "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
}  # fmt: skip


def _lanes() -> int:
    forced = os.environ.get("VISIONKIT_LANES")
    if forced:
        return int(forced)
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") and features.get("fma") else 4


#: float32 numbers in one vector register: 16 (AVX-512), 8 (AVX2) or 4.
LANES = _lanes()


@cache
def fingerprint() -> str:
    """A hash of all kernel sources, numba, LLVM and the processor: the name of the cache folder."""
    digest = hashlib.sha256()
    for source in sorted(_HERE.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    features = os.environ.get("NUMBA_CPU_FEATURES") or llvm.get_host_cpu_features().flatten()
    cpu = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name()
    facts = (numba.__version__, llvmlite.__version__, np.__version__, sys.version, cpu, features, LANES)
    digest.update(repr(facts).encode())
    return digest.hexdigest()[:20]


@cache
def cache_folder() -> Path | None:
    """The folder of compiled kernels, private to the user (mode 0700); None if none can be written."""
    base = os.environ.get("VISIONKIT_CACHE") or os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "visionkit" / fingerprint()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # compiled code is code: nobody else may write it
        probe = folder / f".probe-{os.getpid()}-{threading.get_ident()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"compiled kernels cannot be kept ({error}); every start compiles them again. "
            "Set VISIONKIT_CACHE to a folder of your own",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


@cache
def _announce() -> None:
    where = f"they are kept in {cache_folder()}" if cache_folder() else "they cannot be kept"
    _log.info("compiling kernels for this processor, which takes 10 to 20 seconds; %s", where)


class Compiled:
    """A function of arrays and numbers, compiled once for each combination of its arguments' kinds.

    Kernels call each other by name, which compiles the one into the other, or by `address`.

    Attributes:
        function: as it was written.
        dispatcher: what Numba made of it.
        compiled: how often it had to be compiled in this process.
    """

    def __init__(self, function: Kernel, parallel: bool) -> None:
        functools.update_wrapper(self, function)
        self.function, self.compiled = function, 0
        self._parallel, self._codes, self._known = parallel, dict[str, Code](), dict[Any, Code]()
        self.dispatcher = numba.njit(function, parallel=parallel, **_OPTIONS)

    def __call__(self, *arguments: Any) -> Any:
        """Run it; on the threads of `set_threads` where it is parallel."""
        return self.code_for(arguments).run(words_of(arguments))

    def code_for(self, arguments: tuple[Any, ...]) -> Code:
        """The machine code for these arguments."""
        key = tuple(map(key_of, arguments))
        code = self._known.get(key)
        if code is None:
            kinds = ", ".join(map(kind_of, arguments))
            code = self._known[key] = self.code(kinds, lambda: tuple(map(numba.typeof, arguments)))
        return code

    def code(self, kinds: str, types_of: Callable[[], tuple[Any, ...]]) -> Code:
        """The machine code for arguments of these kinds, from the cache or compiled now.

        Args:
            kinds: as `kind_of` names them.
            types_of: gives the same as Numba's types, asked only where it has to be compiled.
        """
        with _compiling:
            if kinds not in self._codes:
                path = self._path(kinds)
                stored = path and machine.read(path)
                if not stored:
                    _announce()
                    stored = self._compile(types_of())
                    if path:
                        machine.write(path, *stored)
                self._codes[kinds] = Code(*stored, self._parallel)
            return self._codes[kinds]

    def _compile(self, signature: tuple[Any, ...]) -> tuple[bytes, str, str]:
        """The object file, the function's name in it, and what it returns, as `Code` takes them."""
        self.compiled += 1
        self.dispatcher.compile(signature)
        made = self.dispatcher.overloads[signature]
        returned = made.signature.return_type
        parts = returned.types if isinstance(returned, types.BaseTuple) else (returned,)
        result = "" if returned == types.none else ",".join(as_dtype(part).str[1:] for part in parts)
        return made.library._get_compiled_object(), made.fndesc.llvm_func_name, result

    def _path(self, kinds: str) -> Path | None:
        """Where the machine code is kept; the fingerprint knows the sources of this folder alone."""
        folder = cache_folder() if Path(self.function.__code__.co_filename).parent == _HERE else None
        key = hashlib.sha256(kinds.encode()).hexdigest()[:16]
        return folder and folder / f"{self.__module__.rpartition('.')[2]}.{self.__name__}-{key}"


@typeof_impl.register(Compiled)
def _type_of_kernel(kernel: Compiled, _: Any) -> Any:
    """What a kernel is to those that call it by name."""
    return types.Dispatcher(kernel.dispatcher)


def serial(function: Kernel) -> Kernel:
    """Compile a kernel or helper that runs on one thread."""
    return function if config.DISABLE_JIT else Compiled(function, parallel=False)


def parallel(function: Kernel) -> Kernel:
    """Compile a kernel whose `prange` loops run over independent outputs on all threads."""
    return function if config.DISABLE_JIT else Compiled(function, parallel=True)


prange = numba.prange

#: The memory and the tables that kernels work on, and the scalars that they pass to each other.
FLOATS, INTEGERS = types.Array(types.float32, 1, "C"), types.Array(types.int32, 1, "C")
CALL = (types.Array(types.int64, 1, "C"), types.Array(types.float32, 1, "C"))


def address(kernel: Kernel, arguments: tuple[Any, ...]) -> int:
    """Where a kernel's code for these Numba types stands in memory, for `invoke`.

    A kernel that others call by name is compiled once more inside each of them, several times in those
    with parallel loops; called by its address it is compiled once.
    """
    return kernel.code(", ".join(map(str, arguments)), lambda: arguments).address


def bind(kernel: Kernel, *first: Any) -> Kernel:
    """A kernel with its first arguments given, as by `functools.partial`, but made ready only once."""
    words = words_of(first)

    def run(*rest: Any) -> Any:
        return kernel.code_for(first + rest).run(words + words_of(rest))

    return run


@intrinsic
def invoke(typing_context, where, arguments):
    """Call the kernel at address `where` with a tuple: integers as int64, other scalars as float32."""
    passed = []
    for given in arguments:
        passed.append(given if isinstance(given, types.Array) else
                      types.int64 if isinstance(given, types.Integer) else types.float32)  # fmt: skip

    def generate(context, builder, sig, args):
        values = [
            context.cast(builder, builder.extract_value(args[1], i), given, wanted)
            for i, (given, wanted) in enumerate(zip(arguments, passed, strict=True))
        ]
        kind = context.call_conv.get_function_type(types.none, passed)
        function = builder.inttoptr(args[0], kind.as_pointer())
        context.call_conv.call_function(builder, function, types.none, passed, values)
        return context.get_dummy_value()

    return types.void(where, arguments), generate


def set_threads(count: int) -> None:
    """Use `count` threads for all kernels called from this Python thread."""
    numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))


def threads() -> int:
    """The number of threads that kernels use."""
    return int(numba.get_num_threads())


def aligned(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """A zeroed array whose first byte lies on a cache line (64 bytes).

    It has pages of its own, which the system gets back when it is dropped; the C library may keep them.
    """
    count = int(np.prod(shape))
    size = max(1, count * np.dtype(dtype).itemsize)
    pages = (
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if _POSIX else mmap.mmap(-1, size)
    )
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, dtype, count).reshape(shape)
