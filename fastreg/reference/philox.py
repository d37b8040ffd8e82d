"""Random numbers by counter: Philox4x32-10 (Salmon et al., 2011) in 64-bit lanes of NumPy arrays.

a) A number is a pure function of (seed, stream, layer, step, place), so masks need not be kept, only redrawn,
   and no order of drawing matters.
b) One draw costs about a hundred NumPy calls, whatever its size. So many counters are drawn at once: for
   dropout those of many steps, up to `CAPACITY`, with lanes of 128 KiB.
c) In the first two rounds each word of the counter still depends on the block alone or on the step alone, so
   they are computed for a row of blocks and a column of steps.
d) Constants are 0-d arrays: a NumPy scalar would be converted to one in each of those calls.
"""

import numpy as np

CAPACITY = 16384  # counters; measured for one of 16 bits: 1024 6 ns, 4096 2.3 ns, 16384 1.6 ns
NUMBERS = 8  # 16-bit numbers per counter
DROPOUT, SHUFFLE, AUGMENT, MIX = 0, 1, 3, 4  # streams; initial weights are 2

_ROUNDS = 10
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # what each round adds to the two halves of the key


class Philox:
    """Workspace for draws of up to `capacity` counters under one key."""

    def __init__(self, seed, capacity=CAPACITY):
        halves = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
        self._keys = [
            tuple(_constant((half + r * weyl) % 2**32) for half, weyl in zip(halves, _WEYL, strict=True))
            for r in range(_ROUNDS)
        ]
        self._lanes = np.empty((6, capacity), dtype=np.uint64)
        self._words = np.empty((capacity, 2), dtype="<u8")
        self._places = np.arange(capacity, dtype=np.uint64)
        self.capacity = capacity

    def draw(self, second, first_step, n_steps, first_block, n_blocks):
        """Return the words of n_steps * n_blocks counters as 64-bit pairs, (n_steps * n_blocks, 2).

        Counters are (block, second, low half of step, high half of step). The result is overwritten by the
        next draw; its memory is little-endian, so a view as "<u4" gives the words, as "<u2" the numbers.
        """
        steps = self._places[:n_steps, None] + np.uint64(first_step)
        high = steps >> _HALF if (first_step + n_steps - 1) >> 32 > first_step >> 32 else steps[:1] >> _HALF
        return self.draw_at(second, steps & _LOW, high, first_block, n_blocks)

    def draw_at(self, second, low, high, first_block, n_blocks):
        """Return the same of any steps, given by their halves, columns of uint64."""
        first, second_keys, *keys = self._keys
        blocks, n_steps = self._places[:n_blocks] + np.uint64(first_block), len(low)
        compact = _round(blocks, _constant(second), low, high, *first)
        lanes = self._lanes[:, : n_steps * n_blocks]
        _outer_round(lanes.reshape(6, n_steps, n_blocks), *compact, *second_keys)
        return _encrypt(lanes, keys, self._words[: n_steps * n_blocks])


def _round(c0, c1, c2, c3, k0, k1):
    """Return the counter after a round. Each word is still a row of blocks or a column of steps."""
    p0, p1 = c0 * _M0, c2 * _M1
    return (p1 >> _HALF) ^ (c1 ^ k0), p1 & _LOW, (p0 >> _HALF) ^ (c3 ^ k1), p0 & _LOW


def _outer_round(grid, c0, c1, c2, c3, k0, k1):
    """The second round: rows and columns meet in the grid (lane, step, block)."""
    p0, p1 = c0 * _M0, c2 * _M1
    np.bitwise_xor(p1 >> _HALF, c1 ^ k0, out=grid[0])
    np.bitwise_xor(p0 >> _HALF, c3 ^ k1, out=grid[2])
    grid[1], grid[3] = p1, p0


def _encrypt(lanes, keys, words):
    """The other rounds, in place."""
    c0, c1, c2, c3, p0, p1 = lanes  # the counter, 32 bits a lane; two products, 64 bits a lane
    for k0, k1 in keys:
        np.multiply(c0, _M0, out=p0)
        np.multiply(c2, _M1, out=p1)
        _high_xor(p1, c1, k0, out=c0)
        _high_xor(p0, c3, k1, out=c2)
        c1, c3, p0, p1 = p1, p0, c1, c3  # the low halves, with rubbish above them
    np.left_shift(c1, _HALF, out=c1)
    np.left_shift(c3, _HALF, out=c3)
    np.bitwise_or(c0, c1, out=words[:, 0])
    np.bitwise_or(c2, c3, out=words[:, 1])
    return words


def _high_xor(product, word, key, *, out):
    """out = high half of product ^ low half of word ^ key."""
    np.right_shift(product, _HALF, out=out)
    np.bitwise_xor(out, word, out=out)
    np.bitwise_xor(out, key, out=out)
    np.bitwise_and(out, _LOW, out=out)


def _constant(value):
    return np.array(value, dtype=np.uint64)


_M0, _M1 = map(_constant, _MULTIPLIERS)
_LOW, _HALF = _constant(0xFFFFFFFF), _constant(32)


class Masks:
    """Which units of one layer stay, step after step, drawn for many steps at a time.

    Parameters
    ----------
    philox : Philox
    shape : tuple
        (rows, columns) of the largest batch; a smaller one uses the first rows of the same mask.
    rate : float, or array of the rates of `first_step` and those behind it
    layer : int
    n_steps : int
        How many steps will be asked for at most, one after the other.
    """

    def __init__(self, philox, shape, rate, layer, n_steps=1, first_step=0):
        rows, columns = shape
        stride = -(-columns // 16) * 16
        at_once = max(philox.capacity * NUMBERS // max(rows * stride, 1), 1)
        n_draws = -(-n_steps // at_once)
        at_once = -(-n_steps // max(n_draws, 1))  # equal shares, nothing drawn in vain
        self._kept = np.empty((at_once, rows * stride), bool)
        self._masks = self._kept.reshape(at_once, rows, stride)[:, :, :columns]
        self._philox, self._layer = philox, layer
        self._thresholds, self._scales = map(np.atleast_1d, threshold_and_scale(rate))
        self._first_rate, self._first = first_step, -at_once

    def at(self, step, rows):
        """Return the first rows of the mask of one step, (rows, columns): True where a unit stays."""
        if not self._first <= step < self._first + len(self._masks):
            self._draw(step)
            self._first = step
        return self._masks[step - self._first, :rows]

    def scale_at(self, step):
        """Return what the units that stay are multiplied by in one step."""
        return float(self._scales[self._place(step)])

    def _place(self, step):
        """Return where the rate of a step, any 64 bits, stands."""
        return min(step - self._first_rate, len(self._scales) - 1)

    def _draw(self, first_step):
        n_steps, n_blocks = self._kept.shape[0], self._kept.shape[1] // NUMBERS
        part = self._philox.capacity if n_steps == 1 else n_blocks  # one step may take several draws
        places = self._place(first_step) + np.arange(n_steps)
        thresholds = self._thresholds.take(places, mode="clip")[:, None]
        for block in range(0, n_blocks, part):
            n = min(part, n_blocks - block)
            words = self._philox.draw(DROPOUT << 16 | self._layer, first_step, n_steps, block, n)
            kept = self._kept[:, NUMBERS * block : NUMBERS * (block + n)]
            np.greater_equal(words.view("<u2").reshape(n_steps, -1), thresholds, out=kept)


def threshold_and_scale(rate):
    """Return T, below which a number drops its unit, and the factor of the units that are kept: of one rate or many."""
    threshold = np.minimum(np.rint(65536 * np.asarray(rate)), 65535)
    return threshold.astype(np.uint16), 65536 / (65536 - threshold)


def dropout_mask(out, rate, *, seed, step=0, layer=0, first_row=0):
    """Write the mask of a batch, 0 or the scale of kept units: of so many rows (and columns) as out has."""
    shape = first_row + len(out), out.shape[1]
    blocks = shape[0] * -(-shape[1] // 16) * 2
    masks = Masks(Philox(seed, min(max(blocks, 1), CAPACITY)), shape, rate, layer)
    np.multiply(masks.at(step, shape[0])[first_row:], masks.scale_at(step), out=out, dtype=out.dtype)


def dropout(out, x, rate, *, seed, step=0, layer=0, first_row=0):
    """out = x * mask, both (rows, columns); out may be x."""
    mask = np.empty_like(x)
    dropout_mask(mask, rate, seed=seed, step=step, layer=layer, first_row=first_row)
    np.multiply(x, mask, out=out)


def random_words(out, *, seed, stream=0, step=0, first_block=0):
    """Fill out, uint32 (4 n,), with the words of counters first_block, first_block + 1, ..."""
    words = out.reshape(-1, 4)
    philox = Philox(seed, min(max(len(words), 1), CAPACITY))
    for start in range(0, len(words), CAPACITY):
        part = words[start : start + CAPACITY]
        part[...] = philox.draw(stream, step, 1, first_block + start, len(part)).view("<u4")


def row_words(rows, n_words, *, seed, epoch, stream):
    """Return the words of each row of a table in an epoch, uint32 (n, n_words): of steps epoch * 2^32 + row."""
    n_blocks = -(-n_words // 4)
    philox = Philox(seed, max(min(len(rows) * n_blocks, CAPACITY), n_blocks, 1))
    words = np.empty((len(rows), 4 * n_blocks), np.uint32)
    low, high = rows[:, None].astype(np.uint64) & _LOW, np.array([[epoch]], np.uint64)
    at_once = philox.capacity // n_blocks
    for start in range(0, len(rows), at_once):
        part = words[start : start + at_once]
        drawn = philox.draw_at(stream, low[start : start + at_once], high, 0, n_blocks)
        part[...] = drawn.view("<u4").reshape(part.shape)
    return words[:, :n_words]


def shuffle(order, *, seed, step):
    """Fill order, int64 (n,), with a permutation of 0 .. n-1 (Fisher and Yates; two words a number)."""
    n = len(order)
    words = np.empty(-(-2 * max(n - 1, 0) // 4) * 4, np.uint32)
    random_words(words, seed=seed, stream=SHUFFLE << 16, step=step)
    high, low = words[: 2 * max(n - 1, 0)].reshape(-1, 2).T.astype(np.uint64)
    bounds = np.arange(n, 1, -1, dtype=np.uint64)
    partners = (high * bounds + (low * bounds >> _HALF)) >> _HALF
    rows = list(range(n))
    for i, j in zip(range(n - 1, 0, -1), partners.tolist(), strict=True):
        rows[i], rows[j] = rows[j], rows[i]
    order[:] = rows
