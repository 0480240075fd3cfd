"""The weight gradient of a 3x3 convolution by Winograd's F(3x3, 4x4): a quarter of the multiplications.

The transpose of the forward form: every 6x6 input tile d becomes V = B^T d B as there, every 4x4 tile y of
the gradient becomes D = A y A^T; the 36 sums M of V D over the tiles are correlations; the gradient of the
filter is G^T M G (Lavin and Gray 2016).
"""

from .jit import LANES, invoke, parallel, prange, serial
from .memory import Call, Map, call, padded
from .simd import vfma, vload, vsplat, vstore
from .wgrad import PANEL, clear_sums, join_sums, partials_of, slab_address
from .winograd import input_tile

_OUTS = 128  # output channels of a task
_SUMS = 160_000  # numbers of a task: with the tiles of one round they stay in the L2 cache
_TILES = 24  # of one round, about


@serial
def _spaced(channels):
    """Numbers from tile to tile of V: an odd number of cache lines, which uses all of the cache."""
    return (channels + 15) // 32 * 32 + 16


@serial
def _widen(y0, y1, y2, y3):
    """A y for one column of a tile."""
    two, four = vsplat(2.0), vsplat(4.0)
    a, b, c, d = y0 + y2, y1 + y3, vfma(four, y2, y0), two * vfma(four, y3, y1)
    return y0, a + b, a - b, c + d, c - d, y3


@serial
def _narrow(m0, m1, m2, m3, m4, m5):
    """G^T m for one column of sums."""
    sixth, twelfth = vsplat(1 / 6), vsplat(1 / 12)
    a, b, c, d = m1 + m2, m2 - m1, m3 + m4, m3 - m4
    e = c - a
    return (
        vfma(vsplat(0.25), m0, vfma(vsplat(1 / 24), c, vsplat(-1 / 6) * a)),
        vfma(sixth, b, twelfth * d),
        vfma(sixth, e, m5),
    )


@serial
def _gradient_tile(F, source, row, step, high, wide, channels, target, stride, small):
    """D of one tile, of which `high` x `wide` pixels lie in the picture."""
    zero = vsplat(0.0)
    for c in range(0, channels, LANES):
        for j in range(4):
            at = source + j * step + c
            inside = high if j < wide else 0
            r0, r1, r2, r3, r4, r5 = _widen(
                vload(F, at) if inside > 0 else zero,
                vload(F, at + row) if inside > 1 else zero,
                vload(F, at + 2 * row) if inside > 2 else zero,
                vload(F, at + 3 * row) if inside > 3 else zero,
            )
            to = small + j * LANES
            vstore(F, to, r0)
            vstore(F, to + 4 * LANES, r1)
            vstore(F, to + 8 * LANES, r2)
            vstore(F, to + 12 * LANES, r3)
            vstore(F, to + 16 * LANES, r4)
            vstore(F, to + 20 * LANES, r5)
        for i in range(6):
            at = small + i * 4 * LANES
            r0, r1, r2, r3, r4, r5 = _widen(
                vload(F, at), vload(F, at + LANES), vload(F, at + 2 * LANES), vload(F, at + 3 * LANES)
            )
            to = target + 6 * i * stride + c
            vstore(F, to, r0)
            vstore(F, to + stride, r1)
            vstore(F, to + 2 * stride, r2)
            vstore(F, to + 3 * stride, r3)
            vstore(F, to + 4 * stride, r4)
            vstore(F, to + 5 * stride, r5)


@serial
def _filter_gradient(F, source, stride, used, target, tap, small):
    """G^T M G of one vector of filters: `used` of its numbers for each tap, `tap` apart from `target` on."""
    for j in range(6):
        at = source + j * stride
        down = 6 * stride
        r0, r1, r2 = _narrow(
            vload(F, at), vload(F, at + down), vload(F, at + 2 * down),
            vload(F, at + 3 * down), vload(F, at + 4 * down), vload(F, at + 5 * down),
        )  # fmt: skip
        to = small + j * LANES
        vstore(F, to, r0)
        vstore(F, to + 6 * LANES, r1)
        vstore(F, to + 12 * LANES, r2)
    for i in range(3):
        at = small + i * 6 * LANES
        r0, r1, r2 = _narrow(
            vload(F, at), vload(F, at + LANES), vload(F, at + 2 * LANES),
            vload(F, at + 3 * LANES), vload(F, at + 4 * LANES), vload(F, at + 5 * LANES),
        )  # fmt: skip
        to = target + 3 * i * tap
        if used >= LANES:
            vstore(F, to, r0)
            vstore(F, to + tap, r1)
            vstore(F, to + 2 * tap, r2)
        else:
            vstore(F, at, r0)
            vstore(F, at + LANES, r1)
            vstore(F, at + 2 * LANES, r2)
            for j in range(3):
                for lane in range(used):
                    F[to + j * tap + lane] = F[at + j * LANES + lane]


@parallel
def winograd_wgrad(F, I, p, s):
    """Gradient (tap, in, out) of 3x3 weights, stride 1, padding 1; `p` comes from `wgrad_call`."""
    x, x_step, x_row, x_image, g, g_step, g_row, g_image = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    n, height, width, length, outs, outs_padded = p[8], p[9], p[10], p[11], p[12], p[13]
    scratch, dw, dw_row, tiles, partials, ins, workers, room = (
        p[14], p[15], p[16], p[17], p[18], p[19], p[20], p[21],
    )  # fmt: skip
    down, across = (height + 3) // 4, (width + 3) // 4
    count = n * down * across
    out_blocks = (outs_padded + _OUTS - 1) // _OUTS
    tasks = partials * ((length + ins - 1) // ins) * out_blocks
    copies, size = scratch + workers * room, 9 * length * outs_padded
    space = _spaced(ins)
    for worker in prange(workers):
        small = scratch + worker * room
        sums = small + 36 * LANES
        v0 = sums + 36 * ins * _OUTS
        d0 = v0 + 36 * tiles * space
        for task in range(worker * tasks // workers, (worker + 1) * tasks // workers):
            o, rest = task % out_blocks * _OUTS, task // out_blocks
            q, i = rest % partials, rest // partials * ins
            high, wide = min(ins, length - i), min(_OUTS, outs_padded - o)
            clear_sums(F, sums, 36 * high * wide)
            stop = (q + 1) * count // partials
            for start in range(q * count // partials, stop, tiles):
                end = min(start + tiles, stop)
                for t in range(start, end):
                    image, y0, x0 = t // (down * across), 4 * (t // across % down), 4 * (t % across)
                    input_tile(F, x + image * x_image + i, x_row, x_step, height, width, y0 - 1, x0 - 1, high,
                               v0 + (t - start) * space, tiles * space, small)  # fmt: skip
                    at = g + image * g_image + y0 * g_row + x0 * g_step + o
                    for c in range(0, wide, PANEL):
                        panel = min(PANEL, wide - c)
                        to = d0 + 36 * tiles * c + (t - start) * panel
                        _gradient_tile(F, at + c, g_row, g_step, min(4, height - y0), min(4, width - x0),
                                       panel, to, tiles * panel, small)  # fmt: skip
                for c in range(0, wide, PANEL):
                    panel = min(PANEL, wide - c)
                    for k in range(36):
                        invoke(p[22], (
                            F, v0 + k * tiles * space, space, 0, d0 + (36 * c + k * panel) * tiles, panel, 0,
                            1, end - start, sums + (36 * c + k * panel) * high, panel, high, panel,
                        ))  # fmt: skip
            for c in range(0, wide, PANEL):
                panel = min(PANEL, wide - c)
                for k in range(high):
                    at = sums + 36 * c * high + k * panel
                    for lane in range(0, panel, LANES):
                        to, tap, used = dw + (i + k) * dw_row, length * dw_row, outs - o - c - lane
                        if partials > 1:
                            to, tap = copies + q * size + (i + k) * outs_padded, length * outs_padded
                            used = LANES
                        _filter_gradient(F, at + lane, high * panel, used, to + o + c + lane, tap, small)
    if partials > 1:
        for row in prange(9 * length):
            join_sums(F, copies + row * outs_padded, partials, size, outs, dw + row * dw_row)


def _count(g: Map) -> int:
    return g.buffer.n * -(-g.buffer.h // 4) * -(-g.buffer.w // 4)


def pays(g: Map, ins: int) -> bool:
    """Whether this form beats the direct one for a gradient map `g` and `ins` input channels.

    A committed rule on shapes alone, like the forward form's. In units of one multiply-add of each filter:
    what a tile takes with its transforms, and what a copy of the sums takes.
    """
    n, h, w, outs = g.shape
    if ins % LANES or ins < 16 or outs < 16:
        return False
    return 60 * _count(g) + 500 * _shares(g, ins)[1] < 9 * n * h * w


def _shares(g: Map, length: int) -> tuple[int, int, int]:
    """Tiles of a round, copies of the sums, input channels of a task."""
    count, outs = _count(g), padded(g.c)
    blocks = -(-36 * length * min(outs, _OUTS) // _SUMS)
    ins = padded(-(-length // blocks))
    partials = partials_of(-(-length // ins) * -(-outs // _OUTS), -(-count // _TILES))
    share = -(-count // partials)
    return -(-share // -(-share // _TILES)), partials, ins


def _room(g: Map, length: int) -> int:
    """Numbers of one thread's scratch memory."""
    tiles, _, ins = _shares(g, length)
    return 36 * (LANES + ins * _OUTS + tiles * (_spaced(ins) + _OUTS)) + LANES


def scratch_size(g: Map, length: int, threads: int) -> int:
    """Numbers of scratch memory that `wgrad_call` needs."""
    copies = _shares(g, length)[1]
    return threads * _room(g, length) + (9 * copies * length * padded(g.c) if copies > 1 else 0) + LANES


def wgrad_call(x: Map, g: Map, *, scratch: int, gradient: int, columns: int, threads: int) -> Call:
    """One call of `winograd_wgrad`: the map `x` that went in, the gradient map `g` of what came out.

    Args:
        scratch: place of `scratch_size` numbers; gradient: of the (tap, in, out) result, whose rows
            are `columns` numbers apart.
        threads: how many threads share the work.
    """
    return call(
        (*x.place, *g.place, *g.shape[:3], x.c, g.c, padded(g.c), scratch, gradient, columns,
         *_shares(g, x.c), threads, _room(g, x.c), slab_address())
    )  # fmt: skip
