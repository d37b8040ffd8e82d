"""`make noise`: is noise distributed as it says, and does it keep expectations? p-values, and means of ones.

Masks are tried by rows, by columns and in all (the least p-value counts), normal numbers in 20 equally probable cells,
partners of swapped numbers one by one; 10^6 numbers each. The means are those of 1 after the noise, and by how many of
their standard deviations they are off. What tests/test_noise.py holds on less; the seeds differ.
"""

import math
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from fastreg import kernels

sys.path.append(str(Path(__file__).parents[1] / "tests"))
noise = import_module("test_noise")

ROWS, COLS = 1000, 1003
KEY = {"seed": 2026, "step": 7, "layer": 1}
RATES = (0.05, 0.2, 0.5, 0.9)


def drawn(name, rate, x):
    out = np.empty_like(x)
    getattr(kernels, name)(out, x, rate, **KEY)
    return out


def off(mean, variance, n):
    return (mean - 1) / math.sqrt(variance / n)


def masks(name, rate):
    """Print a line on a kernel that drops numbers with probability `rate` and scales up the others, if it does."""
    out = drawn(name, rate, np.ones((ROWS, COLS)))
    scaled = name == "dropout"
    line = f"{name:20} rate {rate:4}  p {noise.p_of_rate(out == 0, rate):.3f}"
    mean = out.mean() if scaled else out.mean() / (1 - rate)
    print(f"{line}  mean {mean:.5f} ({off(mean, rate / (1 - rate), out.size):+.2f}){'' if scaled else ' / (1 - rate)'}")


def paths(rate):
    steps = [drawn_path(rate, step) for step in range(ROWS)]
    p = noise.p_of_rate(np.array(steps) == 0, rate)
    mean = np.mean(steps)
    z = off(mean, rate / (1 - rate), ROWS**2)
    print(f"{'drop_path, rows':20} rate {rate:4}  p {p:.3f}  mean {mean:.5f} ({z:+.2f})")


def drawn_path(rate, step):
    out = np.empty((ROWS, 1))
    kernels.drop_path(out, np.ones_like(out), rate, **KEY | {"step": step})
    return out[:, 0]


def swaps(rate):
    rows = (drawn("swap_noise", rate, np.arange(ROWS * COLS, dtype=np.float64).reshape(ROWS, COLS)) // COLS).astype(int)
    shift = (rows - np.arange(ROWS)[:, None]) % ROWS
    partners = noise.p_of_counts(np.bincount(shift[shift > 0], minlength=ROWS)[1:], np.full(ROWS - 1, 1 / (ROWS - 1)))
    print(f"{'swap_noise':20} rate {rate:4}  p {noise.p_of_rate(shift > 0, rate):.3f}, of partners {partners:.3f}")


def normal_numbers(dtype):
    z = drawn("gaussian_noise", 1.0, np.zeros((ROWS, COLS), dtype)).astype(np.float64)
    cells = np.floor(20 * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))).astype(int)
    p = noise.p_of_counts(np.bincount(cells.ravel(), minlength=20), np.full(20, 1 / 20))
    mean = drawn("multiplicative_noise", 0.5, np.ones((ROWS, COLS), dtype)).mean(dtype=np.float64)
    moments = ", ".join(f"{np.mean(z**k):+.4f}" for k in (1, 2, 3, 4))
    print(f"{'normal, ' + dtype:20}            p {p:.3f}  moments {moments}")
    print(f"{'multiplicative_noise':20} sigma 0.5  mean {mean:.5f} ({off(mean, 0.25, z.size):+.2f})")


if __name__ == "__main__":
    for rate in RATES:
        masks("dropout", rate)
        masks("feature_mask", rate)
        paths(rate)
        swaps(rate)
    for dtype in ("float32", "float64"):
        normal_numbers(dtype)
