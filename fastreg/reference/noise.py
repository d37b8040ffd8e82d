"""The twins of the kernels of noise but for dropout, from the same random words.

Row r, unit j of a batch has number r * stride + j, stride being the row's length rounded up to 16: eight numbers of 16
bits to a counter, four words, or two pairs of words.
"""

import numpy as np

from fastreg.reference import philox
from fastreg.reference.philox import dropout, dropout_mask, threshold_and_scale  # noqa: F401


def feature_mask(out, x, rate, value=0.0, *, seed, step=0, layer=0, first_row=0):
    """out = value with probability rate, else x, both (rows, columns); out may be x."""
    kept = np.empty_like(x)
    dropout_mask(kept, rate, seed=seed, step=step, layer=layer, first_row=first_row)
    np.copyto(out, np.where(kept != 0, x, x.dtype.type(value)))


def gaussian_noise(out, x, sigma, *, seed, step=0, layer=0, first_row=0):
    """out = x + sigma * z with standard normal z."""
    np.add(x, _normal(x, seed, step, layer, first_row) * sigma, out=out)


def multiplicative_noise(out, x, sigma, *, seed, step=0, layer=0, first_row=0):
    """out = x * (1 + sigma * z)."""
    np.multiply(x, _normal(x, seed, step, layer, first_row) * sigma + 1, out=out)


def drop_path(out, x, rate, *, seed, step=0, layer=0, first_row=0):
    """out = x, each row times the dropout mask of one column."""
    mask = np.empty((len(x), 1), x.dtype)
    dropout_mask(mask, rate, seed=seed, step=step, layer=layer, first_row=first_row)
    np.multiply(x, mask, out=out)


def swap_noise(out, x, rate, *, seed, step=0, layer=0):
    """out = x, with probability rate from the same column of another row."""
    rows, columns = x.shape
    first, second = np.moveaxis(_words(x.shape, 2, seed, step, layer).astype(np.uint64), -1, 0)
    swapped = (first & np.uint64(0xFFFF)) < (threshold_and_scale(rate)[0] if rows > 1 else 0)
    shift = 1 + (second * np.uint64(max(rows - 1, 0)) >> np.uint64(32)).astype(np.int64)
    others = (np.arange(rows)[:, None] + shift) % max(rows, 1)
    np.copyto(out, np.where(swapped, x[others, np.arange(columns)], x))


def _words(shape, per_element, seed, step, layer, first_row=0):
    """Return the random words of a batch's elements, (rows, columns, per_element)."""
    rows, columns = shape
    stride = -(-columns // 16) * 16
    words = np.empty(rows * stride * per_element, np.uint32)
    philox.random_words(
        words, seed=seed, stream=philox.DROPOUT << 16 | layer, step=step,
        first_block=first_row * stride * per_element // 4,
    )  # fmt: skip
    return words.reshape(rows, stride, per_element)[:, :columns]


_NEAR = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
         -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_FAR = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
        0.00943887047, 1.00167406, 2.83297682)  # fmt: skip


def _normal(x, seed, step, layer, first_row):
    return normal(_words(x.shape, 1, seed, step, layer, first_row)[..., 0], x.dtype)


def normal(words, dtype):
    """Return standard normal numbers, sqrt(2) * erfinv(u), one for each word: the polynomial of Giles, 2011."""
    k = words >> np.uint32(9)
    u = ((2 * k.astype(np.float64) + 1) / 2**23 - 1).astype(dtype)
    w = -np.log((1 - u) * (1 + u))
    near, far = np.polyval(_NEAR, w - 2.5), np.polyval(_FAR, np.sqrt(np.maximum(w, 5)) - 3)
    return (np.sqrt(2) * np.where(w < 5, near, far) * u).astype(dtype)
