"""Twins of the kernels that mix rows with others of their batch."""

from math import copysign, exp, log, sqrt

import numpy as np

from fastreg.reference.philox import MIX, random_words

__all__ = ["blend", "blend_targets", "cutmix", "cutmix_features", "mixing", "mixup"]

_FIRST_BLOCK = 1 << 30  # those before are what decides about the batch


def mixing(alpha, probability, n_rows, *, seed, step=0, number=0):
    """Return (share, shift): row i keeps `share`, the rest is of row i + shift; a share of 1 means all of it."""
    first = _words(seed, step, number, 0)
    if n_rows < 2 or not first[0] < 4294967296.0 * probability:
        return 1.0, 0
    share = round(65536 * _beta(alpha, seed, step, number)) / 65536
    return share, 1 + (first[1] * (n_rows - 1) >> 32)


def _beta(alpha, seed, step, number):
    """Draw from Beta(alpha, alpha) by a point of the unit circle (Bailey 1994; Devroye 1996)."""
    w, block = 2.0, 0
    while w >= 1:
        u, v = ((2.0 * word + 1) / 4294967296.0 - 1 for word in _words(seed, step, number, block)[2:])
        w = u * u + v * v
        block += 1
    q = u * u / w * (exp(min(-log(w) / alpha, 700.0)) - 1)
    return 0.5 + copysign(0.5 * sqrt(q / (1 + q)), u)


def _words(seed, step, number, block):
    words = np.empty(4, np.uint32)
    random_words(words, seed=seed, stream=MIX << 16 | number, step=step, first_block=block)
    return words.tolist()


def mixup(keep, shape, share, *, seed=0, step=0, number=0):
    """Fill `keep` with the share, and return it."""
    keep[...] = share
    return share


def cutmix(keep, shape, share, *, seed, step=0, number=0):
    """Fill `keep` with 1, but for a box of zeros as large as the share that is not kept, and cut at the border."""
    height, width, _ = shape
    words, side = _words(seed, step, number, _FIRST_BLOCK), sqrt(1 - share)
    rows, columns = int(side * height), int(side * width)
    top, left = (words[0] * height >> 32) - rows // 2, (words[1] * width >> 32) - columns // 2
    box = np.s_[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
    image = keep.reshape(shape)
    image[...] = 1
    image[box] = 0
    return 1 - image[box].size / image.size


def cutmix_features(keep, shape, share, *, seed, step=0, number=0):
    """Fill `keep` with 1 or 0, each 1 with probability `share`; return the mean."""
    words = np.empty(-(-keep.size // 4) * 4, np.uint32)
    random_words(words, seed=seed, stream=MIX << 16 | number, step=step, first_block=_FIRST_BLOCK)
    np.less(words[: keep.size], 4294967296.0 * share, out=keep)
    return np.count_nonzero(keep) / keep.size


def blend(out, x, partner, keep):
    """out = keep * x + (1 - keep) * partner."""
    np.multiply(partner, 1 - keep, out=out)
    out += keep * x


def blend_targets(out, targets, partner, share, weights=None, own_weights=None, partner_weights=None):
    """weights = share * own_weights + the rest * partner_weights; out is the mean of the targets in these shares."""
    own = out.dtype.type(share)
    if weights is not None:
        first = own * own_weights
        np.add(first, (1 - own) * partner_weights, out=weights)
        own = np.divide(first, weights, where=weights > 0, out=np.full_like(weights, own))[:, None]
    blend(out, targets, partner, own)
