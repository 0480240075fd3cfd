"""1x1 to more channels, depthwise 3x3, 1x1 back (an inverted residual), by bands of rows in one pass.

The maps in between, several times as wide as input and output, never leave the cache of the core that
makes them: of the first convolution those rows that a band's windows need, in a ring, of the second the
band. Without a first convolution the input's own rows take its place (a depthwise separable convolution).
"""

import numpy as np

from ..shapes import Shape
from .conv import BLOCK, block_address
from .depthwise import row_address
from .jit import LANES, invoke, parallel, prange
from .memory import Call, Map, Tables, call, padded, spaced
from .simd import vsplat, vstore

_ROOM = 100_000  # numbers of ring and band, so that they stay in the L2 cache with the weights
_LEAST = 40  # pixels
_LONGEST = 1200  # channels in between: a sum that the microkernel takes in one go


@parallel
def inverted(F, I, p, s):
    """project(depthwise(expand(x))); `p` and `s` come from `inverted_call`."""
    x, x_step, x_row, x_image, y, y_row, y_image = p[0], p[1], p[2], p[3], p[4], p[6], p[7]
    r, r_row, r_image, mode, summed = p[8], p[10], p[11], p[12], p[41]
    n, x_height, x_width, height, width, ins, hidden, outs = (
        p[13], p[14], p[15], p[16], p[17], p[18], p[19], p[20],
    )  # fmt: skip
    w1, b1, w2, b2, w3, b3, stride, padding = p[21], p[22], p[23], p[24], p[25], p[26], p[27], p[28]
    workers, scratch, band, step, x_pixels, ring_pixels, band_pixels, y_pixels, r_pixels, no_tap = (
        p[29], p[30], p[31], p[32], p[33], p[34], p[35], p[36], p[37], p[38],
    )  # fmt: skip
    slots, ring_row = (band - 1) * stride + 3, (x_width + 2 * padding) * step
    lines = n * height
    for worker in prange(workers):
        zero = vsplat(np.float32(0))
        ring = scratch + worker * ((slots * ring_row + band * width * step) + LANES)
        middle = ring + slots * ring_row
        for slot in range(ring, middle if ins > 0 else ring, ring_row):
            for i in range(0, padding * step, LANES):
                vstore(F, slot + i, zero)
                vstore(F, slot + ring_row - padding * step + i, zero)
        line, stop, ready = worker * lines // workers, (worker + 1) * lines // workers, 0
        fresh = True
        while line < stop:
            image, oy = line // height, line % height
            rows = min(band, stop - line, height - oy)
            top, bottom = oy * stride - padding, (oy + rows - 1) * stride - padding + 3
            row = top if fresh or oy == 0 else max(ready, top)
            while ins > 0 and row < bottom:
                slot = row % slots
                if 0 <= row < x_height:
                    many = min(bottom, x_height, row + slots - slot) - row
                    start = slot * x_width
                    for c in range(0, hidden, BLOCK):
                        invoke(p[39], (F, I, x + image * x_image + row * x_row, x_pixels - start, start,
                                       start + many * x_width, no_tap, 1, ins, w1 + c * ins,
                                       min(BLOCK, hidden - c), ring + c, ring_pixels, b1 + c, 1, 1, s[0],
                                       s[1], 0, ring, ring_pixels))  # fmt: skip
                    row += many
                else:
                    at = ring + slot * ring_row + padding * step
                    for i in range(0, x_width * step, LANES):
                        vstore(F, at + i, zero)
                    row += 1
            for k in range(rows):
                first = top + k * stride
                if ins > 0:
                    one, two, three = first % slots, (first + 1) % slots, (first + 2) % slots
                    at, row_size, next_ = ring, ring_row, step
                else:
                    one, two, three = first, first + 1, first + 2
                    at, row_size, next_ = x + image * x_image - padding * x_step, x_row, x_step
                invoke(p[40], (F, at + one * row_size, at + two * row_size, at + three * row_size, next_,
                               stride, middle + k * width * step, step, width, hidden, w2, b2, 0, s[2],
                               s[3]))  # fmt: skip
            target = y + image * y_image + oy * y_row
            shortcut = r + image * r_image + oy * r_row
            for c in range(0, outs, BLOCK):
                invoke(p[39], (F, I, middle, band_pixels, 0, rows * width, no_tap, 1, summed, w3 + c * summed,
                               min(BLOCK, outs - c), target + c, y_pixels, b3 + c, 1, 1, s[4], s[5], mode,
                               shortcut + c, r_pixels))  # fmt: skip
            line, ready, fresh = line + rows, bottom, False


def pays(hidden: Shape) -> bool:
    """Whether one pass beats three for a depthwise result (N, h, w, hidden).

    On small maps every thread would read all weights for a few rows, and compute rows that another one has.
    """
    return hidden[3] <= _LONGEST and hidden[1] * hidden[2] >= _LEAST


def _band(x: Map, y: Map, hidden: int, stride: int, padding: int, threads: int) -> int:
    """Rows of the result that are made at a time."""
    step, wide = spaced(hidden), x.buffer.w + 2 * padding
    most = (_ROOM // step - (3 - stride) * wide) // (stride * wide + y.buffer.w)
    return max(1, min(most, -(-y.buffer.n * y.buffer.h // threads)))


def scratch_size(x: Map, y: Map, hidden: int, stride: int, padding: int, threads: int) -> int:
    """Numbers of scratch memory that `inverted_call` needs."""
    band = _band(x, y, hidden, stride, padding, threads)
    pixels = ((band - 1) * stride + 3) * (x.buffer.w + 2 * padding) + band * y.buffer.w
    return threads * (pixels * spaced(hidden) + LANES)


def inverted_call(
    tables: Tables, x: Map, y: Map, *, hidden: int, stride: int, padding: int,
    expand: tuple[int, int] | None, depthwise: tuple[int, int], project: tuple[int, int],
    activations: tuple[float, ...], scratch: int, residual: Map | None = None, residual_mode: int = 0,
    threads: int = 1,
) -> Call:  # fmt: skip
    """One call of `inverted`.

    Args:
        tables: takes the offset tables.
        x, y: what is read and written; x needs a halo where there is no first convolution.
        hidden: channels in between.
        stride, padding: of the depthwise convolution, both ways.
        expand, depthwise, project: the places in F of the packed weights and biases of each.
        activations: negative slope and upper bound of each, one after the other.
        scratch: place of `scratch_size` numbers.
        residual: map added to the result; residual_mode 1 before, 2 after the last activation.
        threads: how many threads share the work.
    """
    shortcut, step = residual or y, spaced(hidden)
    band = _band(x, y, hidden, stride, padding, threads)
    slots, ring_row = (band - 1) * stride + 3, (x.buffer.w + 2 * padding) * step

    def pixels(rows: int, row: int, width: int, step: int, start: int = 0) -> int:
        a, b = np.ogrid[:rows, :width]
        return tables.add((start + a * row + b * step).astype(np.int32).ravel())

    return call(
        (
            *x.place, *y.place, *shortcut.place, residual_mode if residual else 0, *x.shape[:3],
            *y.shape[1:3], x.c if expand else 0, padded(hidden), padded(y.c), *(expand or (0, 0)),
            *depthwise, *project, stride, padding, threads, scratch, band, step,
            pixels(slots, x.buffer.row, x.buffer.w, x.buffer.step),
            pixels(slots, ring_row, x.buffer.w, step, padding * step),
            pixels(band, y.buffer.w * step, y.buffer.w, step),
            pixels(band, y.buffer.row, y.buffer.w, y.buffer.step),
            pixels(band, shortcut.buffer.row, y.buffer.w, shortcut.buffer.step),
            tables.add(np.zeros(1, np.int32)), block_address(), row_address(), hidden,
        ),
        activations,
    )  # fmt: skip
