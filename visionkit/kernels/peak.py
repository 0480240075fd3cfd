"""The peak of multiply-adds, measured: what every other kernel is compared with.

A core that fuses multiply and add starts one or two vector operations a cycle, each ready about four
cycles later. Only as many independent chains as fit in between keep it busy: twelve do, and with the two
constants they take fourteen of the sixteen registers of the narrowest processor.
"""

import time

import numpy as np

from .jit import LANES, aligned, parallel, prange, threads
from .simd import vfma, vload, vsplat, vstore

#: Independent chains of multiply-adds.
CHAINS = 12
#: Links of each chain in one measurement: about half a millisecond.
_LINKS = 100_000


@parallel
def multiply_adds(x, links):
    """x = x / 2 + 1, `links` times, for each row of `CHAINS` vectors of x; rows share the threads.

    The numbers stay between 0 and 2 and settle at 2, so nothing overflows and nothing is denormal.
    """
    rows = x.size // (CHAINS * LANES)
    for row in prange(rows):
        half, one = vsplat(np.float32(0.5)), vsplat(np.float32(1))
        at = row * CHAINS * LANES
        a, b, c = vload(x, at), vload(x, at + LANES), vload(x, at + 2 * LANES)
        d, e, f = vload(x, at + 3 * LANES), vload(x, at + 4 * LANES), vload(x, at + 5 * LANES)
        g, h, i = vload(x, at + 6 * LANES), vload(x, at + 7 * LANES), vload(x, at + 8 * LANES)
        j, k, m = vload(x, at + 9 * LANES), vload(x, at + 10 * LANES), vload(x, at + 11 * LANES)
        for _ in range(links):
            a, b, c = vfma(a, half, one), vfma(b, half, one), vfma(c, half, one)
            d, e, f = vfma(d, half, one), vfma(e, half, one), vfma(f, half, one)
            g, h, i = vfma(g, half, one), vfma(h, half, one), vfma(i, half, one)
            j, k, m = vfma(j, half, one), vfma(k, half, one), vfma(m, half, one)
        vstore(x, at, (a + b + c) + (d + e + f) + (g + h + i) + (j + k + m))


def peak_gflops(repeat: int = 20) -> float:
    """The most GFLOP/s that the kernels' threads reach together with vectors of `LANES` numbers.

    Args:
        repeat: measurements, of which the fastest counts; each takes about half a millisecond.
    """
    rows = threads()
    x = aligned(rows * CHAINS * LANES)
    x[:] = np.linspace(0, 2, x.size, dtype=np.float32)
    multiply_adds(x, 1)
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        multiply_adds(x, _LINKS)
        best = min(best, time.perf_counter() - start)
    return 2e-9 * rows * CHAINS * LANES * _LINKS / best
