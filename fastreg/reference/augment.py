"""Twins of the kernels that change images at random: as NumPy does it, image by image where their fates differ.

All decisions are those of src_c/augment.c, made of the same words by the same integers and float64.
"""

import numpy as np

from fastreg.reference.noise import normal
from fastreg.reference.philox import AUGMENT, row_words

__all__ = [
    "center_crop",
    "color_jitter",
    "cutout",
    "pixel_noise",
    "rand_augment",
    "random_flip",
    "random_rotate",
    "random_shift",
]

_WORDS = 8  # of a row, for all that is decided once for an image
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def random_flip(out, x, shape, horizontal=0.5, vertical=0.0, *, seed, epoch=0, number=0, rows=None):
    """Images whose left and right change places with probability `horizontal`, top and bottom with `vertical`."""
    words = _words(x, rows, seed, epoch, number)
    mirrored, upside_down = _happens(words[:, 0], horizontal), _happens(words[:, 1], vertical)
    images, flipped = _images(x, shape), _images(out, shape)
    np.copyto(flipped, images)
    flipped[mirrored] = flipped[mirrored][:, :, ::-1]
    flipped[upside_down] = flipped[upside_down][:, ::-1]


def random_rotate(out, x, shape, turns=15, *, seed, epoch=0, number=0, rows=None):
    """Images after k quarter turns, for one of the k whose 2^k is part of the sum `turns`."""
    words = _words(x, rows, seed, epoch, number)
    possible = np.array([k for k in range(4) if int(turns) >> k & 1])
    images, turned = _images(x, shape), _images(out, shape)
    chosen = possible[_below(words[:, 0], len(possible))]
    for k in possible:
        turned[chosen == k] = np.rot90(images[chosen == k], k, axes=(1, 2))


def random_shift(out, x, shape, vertical=1, horizontal=1, fill=0.0, *, seed, epoch=0, number=0, rows=None):
    """Images moved by up to so many pixels; what comes in from outside is `fill`."""
    words = _words(x, rows, seed, epoch, number)
    down = _below(words[:, 0], 2 * int(vertical) + 1) - int(vertical)
    right = _below(words[:, 1], 2 * int(horizontal) + 1) - int(horizontal)
    for y, image, i, j in zip(_images(out, shape), _images(x, shape), down.tolist(), right.tolist(), strict=True):
        _shift(y, image, i, j, fill)


def center_crop(out, x, shape, rows_cut=1, columns_cut=1, probability=1.0, fill=0.0, *, seed, epoch=0, number=0,
                rows=None):  # fmt: skip
    """Images, some of them with so many rows and columns at each side replaced by `fill`."""
    words, (height, width, _) = _words(x, rows, seed, epoch, number), shape
    images, cropped = _images(x, shape), _images(out, shape)
    np.copyto(cropped, images)
    crops = np.flatnonzero(_happens(words[:, 0], probability))
    inside = np.s_[int(rows_cut) : max(height - int(rows_cut), 0), int(columns_cut) : max(width - int(columns_cut), 0)]
    cropped[crops] = fill
    for i in crops:
        cropped[i][inside] = images[i][inside]


def cutout(out, x, shape, size=1, probability=1.0, fill=0.0, *, seed, epoch=0, number=0, rows=None):
    """Images, some of them with a square of `size` pixels anywhere, at the border less of it, replaced by `fill`."""
    words, images = _words(x, rows, seed, epoch, number), _images(out, shape)
    np.copyto(out, x)
    for i in np.flatnonzero(_happens(words[:, 0], probability)):
        _cut(images[i], int(size), words[i, 1:], fill)


def color_jitter(out, x, shape, brightness=0.0, contrast=0.0, saturation=0.0, *, seed, epoch=0, number=0, rows=None):
    """Images with another brightness, contrast around their mean, and saturation (of three channels)."""
    words = _words(x, rows, seed, epoch, number)
    added, contrasts, saturations = (
        amount * _between(words[:, k]) for k, amount in enumerate((brightness, contrast, saturation))
    )
    for y, image, b, g, s in zip(_images(out, shape), _images(x, shape), added, contrasts, saturations, strict=True):
        mean = float(image.mean(dtype=np.float64)) if contrast else 0.0
        _stretch(y, image, 1 + g, mean, mean + b)
        if saturation:
            _saturate(y, 1 + s)


def pixel_noise(out, x, shape, sigma=0.1, *, seed, epoch=0, number=0, rows=None):
    """out = x + sigma * z with standard normal z."""
    words = _words(x, rows, seed, epoch, number, x.shape[1])
    np.add(x, normal(words, x.dtype) * sigma, out=out)


def rand_augment(out, x, shape, magnitude=0.9, *, seed, epoch=0, number=0, rows=None):
    """Images each changed in one of nine ways, by `magnitude`, in [0, 1], of what is sensible."""
    words = _words(x, rows, seed, epoch, number)
    np.copyto(out, x)
    for y, image, row in zip(_images(out, shape), _images(x, shape), words, strict=True):
        _change_somehow(y, image, magnitude, row)


def _change_somehow(y, image, size, words):
    (height, width, _), sign = image.shape, -1 if words[1] & 1 else 1
    gain, way = 1 + sign * 0.9 * size, int(_below(words[0], 9))
    if way == 0:
        for i in range(height):
            _shift(y[i : i + 1], image[i : i + 1], 0, round(sign * 0.3 * size * (i - (height - 1) / 2)), 0.0)
    elif way == 1:
        for j in range(width):
            down = round(sign * 0.3 * size * (j - (width - 1) / 2))
            _shift(y[:, j : j + 1], image[:, j : j + 1], down, 0, 0.0)
    elif way in (2, 3):
        down, right = round(sign * size * 0.45 * height), round(sign * size * 0.45 * width)
        _shift(y, image, down if way == 2 else 0, right if way == 3 else 0, 0.0)
    elif way in (4, 5):
        mean = float(image.mean(dtype=np.float64)) if way == 5 else 0.0
        _stretch(y, image, gain, mean, mean)
    elif way == 6:
        _cut(y, round(0.5 * size * min(height, width)), words[3:], 0.0)
    elif way == 7:
        _saturate(y, gain)


def _shift(y, image, down, right, fill):
    """y = image moved, `fill` where it came from outside."""
    height, width, _ = image.shape
    y[...] = fill
    rows, columns = slice(max(down, 0), max(height + down, 0)), slice(max(right, 0), max(width + right, 0))
    sources = slice(max(-down, 0), max(height - down, 0)), slice(max(-right, 0), max(width - right, 0))
    y[rows, columns] = image[sources]


def _cut(image, size, words, fill):
    height, width, _ = image.shape
    top, left = (int(_below(word, n)) - size // 2 for word, n in zip(words, (height, width), strict=False))
    image[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = fill


def _stretch(y, image, gain, center, level):
    real = image.dtype.type
    np.subtract(image, real(center), out=y)
    y *= real(gain)
    y += real(level)


def _saturate(image, gain):
    if image.shape[2] == 3:
        grey = (image @ _GREY.astype(image.dtype))[..., None]
        image -= grey
        image *= image.dtype.type(gain)
        image += grey


def _words(x, rows, seed, epoch, number, n_words=_WORDS):
    rows = np.arange(len(x)) if rows is None else rows
    return row_words(rows, n_words, seed=seed, epoch=epoch, stream=AUGMENT << 16 | number)


def _images(x, shape):
    return x.reshape(len(x), *shape)


def _happens(words, probability):
    """Whether events of such a probability happen."""
    return words < 4294967296.0 * probability


def _below(words, n):
    """Integers in [0, n), all as probable."""
    return (words.astype(np.uint64) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


def _between(words):
    """Numbers in (-1, 1), all as probable."""
    return (2.0 * words + 1) / 4294967296.0 - 1
