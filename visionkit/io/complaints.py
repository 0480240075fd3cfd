"""How often the decoders of OpenCV's FFmpeg complain: about damaged frames they say nothing else.

They say it to a function of C (`av_log_set_callback`), from threads of their own, and even where nothing is
wrong. One in Python would hold them up, and what they print by themselves lands in the output of
the program. So a few instructions are compiled that count errors and drop everything.
"""

import ctypes
import os
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
from llvmlite import ir

from .opencv import QUIET, import_cv2

_ERROR = 16  # AV_LOG_ERROR; what is worse has smaller numbers


def complaints() -> int:
    """How many errors decoders have told in this process since it was first asked, when a video was open.

    0 for ever where FFmpeg is not within reach (on Windows), or speaks for itself (OPENCV_FFMPEG_LOGLEVEL).
    """
    if not _tell(_heard()[0]):
        return 0
    return int(ctypes.c_uint64.from_address(_heard()[1]).value)


def _tell(function: int) -> bool:
    """Have FFmpeg call a function; OpenCV sets its own one when it opens its first video."""
    if os.environ.get("OPENCV_FFMPEG_LOGLEVEL") != QUIET:
        return False
    for library in _libraries():
        try:
            set_callback = library.av_log_set_callback
        except AttributeError:
            continue
        set_callback(ctypes.c_void_p(function))
        return True
    return False


@cache
def _libraries() -> list[ctypes.CDLL]:
    """OpenCV's own; what these are linked with is looked up through them."""
    folder = Path(import_cv2().__file__).parent
    return [ctypes.CDLL(str(path)) for path in folder.glob("*.so")]


@cache
def _heard() -> tuple[int, int]:
    """Addresses of a function for `av_log_set_callback` and of its count, 64 bits."""
    number, count, pointer = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
    module = ir.Module()
    total = ir.GlobalVariable(module, count, "total")
    total.initializer = ir.Constant(count, 0)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, pointer, pointer])
    heard = ir.Function(module, kind, "heard")
    builder = ir.IRBuilder(heard.append_basic_block())
    level = builder.and_(heard.args[1], ir.Constant(number, 255))  # above are bits for colours
    bad = builder.icmp_unsigned("<=", level, ir.Constant(number, _ERROR))
    builder.atomic_rmw("add", total, builder.zext(bad, count), "monotonic")
    builder.ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), machine)
    engine.finalize_object()
    addresses = engine.get_function_address("heard"), engine.get_global_value_address("total")
    engine.detach()  # never freed: decoders may call it as long as the process lives
    return addresses
