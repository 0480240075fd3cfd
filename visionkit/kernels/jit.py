"""The two decorators of every kernel, its cache on disk, and the thread count.

Numba's own cache watches only the file of the cached function; a change in a helper or in the code
generator of another file would go unnoticed. Here one hash of all kernel sources, of numba and of the
processor names the cache folder, so a cache is either right or absent.
"""

import hashlib
import logging
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
from numba.core import caching, config, types
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

Kernel = Callable[..., Any]

_log = logging.getLogger("visionkit")

# GNU OpenMP lets idle threads spin for milliseconds. Where other programs want the processor, that costs ten
# times what it saves; a few microseconds are enough from one kernel to the next. Read when numba starts it.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Contraction and signed zeros only: NaN and infinity keep their meaning (torture N14).
_FAST = {"contract", "nsz"}


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
    for source in sorted(Path(__file__).parent.glob("*.py")):
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


class _Locator(caching._CacheLocator):
    """Puts the cache of every kernel into `cache_folder`."""

    def __init__(self, function: Kernel) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return fingerprint()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Kernel, file: str) -> "_Locator | None":
        return cls(function) if cache_folder() else None


class _Files(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012  (numba's form)


class _Cache(caching.FunctionCache):
    _impl_class = _Files


@cache
def _announce() -> None:
    where = f"they are kept in {cache_folder()}" if cache_folder() else "they cannot be kept"
    _log.info("compiling kernels for this processor, which takes 10 to 20 seconds; %s", where)


class _LazyCache:
    """Looks for the cache folder at the first call, not at import."""

    def __init__(self, function: Kernel) -> None:
        self._function = function
        self._real: Any = None

    def load_overload(self, signature: Any, target: Any) -> Any:
        """What was compiled before, if anything."""
        found = self._cache().load_overload(signature, target)
        if found is None:
            _announce()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache(), name)

    def _cache(self) -> Any:
        if self._real is None:
            self._real = _Cache(self._function) if cache_folder() else caching.NullCache()
        return self._real


def _compiled(function: Kernel, **options: Any) -> Kernel:
    kernel = numba.njit(fastmath=_FAST, boundscheck=None, nogil=True, error_model="numpy", **options)(
        function
    )
    if not config.DISABLE_JIT:
        kernel._cache = _LazyCache(function)
    return kernel


def serial(function: Kernel) -> Kernel:
    """Compile a kernel or helper that runs on one thread."""
    return _compiled(function)


def parallel(function: Kernel) -> Kernel:
    """Compile a kernel whose `prange` loops run over independent outputs on all threads."""
    return _compiled(function, parallel=True)


prange = numba.prange

#: The memory and the tables that kernels work on, and the scalars that they pass to each other.
FLOATS, INTEGERS = types.Array(types.float32, 1, "C"), types.Array(types.int32, 1, "C")
CALL = (types.Array(types.int64, 1, "C"), types.Array(types.float32, 1, "C"))


def address(kernel: Kernel, arguments: tuple[Any, ...]) -> int:
    """Where a kernel's code for these Numba types stands in memory, for `invoke`.

    A kernel that others call by name is compiled once more inside each of them, several times in those
    with parallel loops; called by its address it is compiled once.
    """
    kernel.compile(arguments)
    made = kernel.overloads[arguments]
    return int(made.library.get_pointer_to_function(made.fndesc.llvm_func_name))


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
    """A zeroed array whose first byte lies on a cache line (64 bytes)."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    shift = -raw.ctypes.data % 64
    return raw[shift : shift + size].view(dtype).reshape(shape)
