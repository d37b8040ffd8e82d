"""The kernels of noise are what they say in distribution: p-values, each above 1e-4, of numbers with a fixed seed.

A p-value is that of a chi-squared statistic, by the normal approximation of its cube root (Wilson & Hilferty, 1931).
"""

import math

import numpy as np
import pytest

from fastreg import kernels

ROWS, COLS = 500, 203  # rows have gaps in the random numbers
KEY = {"seed": 11, "step": 3, "layer": 2}
SMALLEST = 1e-4

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_rate = pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])


def p_value(statistic, degrees):
    z = ((statistic / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))) / math.sqrt(2 / (9 * degrees))
    return math.erfc(z / math.sqrt(2)) / 2


def p_of_counts(counts, probabilities):
    """Of counts of outcomes with these probabilities."""
    expected = np.sum(counts) * np.asarray(probabilities)
    return p_value(np.sum((counts - expected) ** 2 / expected), len(expected) - 1)


def p_of_rate(hits, rate):
    """Of hits, by rows, by columns and in all, that are independent with probability `rate`."""
    total = p_of_counts([hits.sum(), hits.size - hits.sum()], [rate, 1 - rate])
    return min(total, *(p_of_sums(hits.sum(axis=axis), hits.shape[axis], rate) for axis in (0, 1)))


def p_of_sums(sums, n, rate):
    p = p_value(np.sum((sums - n * rate) ** 2) / (n * rate * (1 - rate)), len(sums))
    return min(p, 1 - p)


def drawn(name, *settings, dtype="float32", x=1.0, **key):
    out = np.empty((ROWS, COLS), dtype)
    getattr(kernels, name)(out, np.full_like(out, x), *settings, **KEY | key)
    return out


def test_p_values():
    """Against tables of the chi-squared distribution."""
    for statistic, degrees, p in ((3.841, 1, 0.05), (18.307, 10, 0.05), (149.449, 100, 0.001)):
        assert p_value(statistic, degrees) == pytest.approx(p, rel=0.06)


@every_dtype
@every_rate
def test_masks_of_numbers(dtype, rate):
    dropped = drawn("dropout", rate, dtype=dtype)
    assert p_of_rate(dropped == 0, rate) > SMALLEST
    assert np.array_equal(drawn("feature_mask", rate, -3.0, dtype=dtype) == -3, dropped == 0)
    assert set(np.unique(drawn("feature_mask", rate, -3.0, dtype=dtype))) == {-3, 1}


@every_dtype
@every_rate
def test_masks_of_rows(dtype, rate):
    kept = drawn("drop_path", rate, dtype=dtype)
    assert (kept == kept[:, :1]).all()
    scale = 65536 / (65536 - round(65536 * rate))
    assert set(np.unique(kept)) == {0, np.dtype(dtype).type(scale)}
    dropped = np.array([drawn("drop_path", rate, dtype=dtype, step=step)[:, 0] == 0 for step in range(100)])
    assert p_of_rate(dropped, rate) > SMALLEST


@every_dtype
def test_normal_numbers(dtype):
    """20 cells of equal probability; the moments; and nothing in common between steps, layers, rows and columns."""
    z = drawn("gaussian_noise", 1.0, dtype=dtype, x=0.0)
    edges = np.array([-1.6449, -1.2816, -1.0364, -0.8416, -0.6745, -0.5244, -0.3853, -0.2533, -0.1257])
    edges = [-np.inf, *edges, 0, *-edges[::-1], np.inf]
    distribution = [0.5 * (1 + math.erf(e / math.sqrt(2))) for e in edges]
    assert p_of_counts(np.histogram(z, edges)[0], np.diff(distribution)) > SMALLEST
    n = z.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z.astype(np.float64) ** power) - moment) < 4 * math.sqrt(variance / n)
    others = [
        drawn("gaussian_noise", 1.0, dtype=dtype, x=0.0, **key) for key in ({"step": 4}, {"layer": 3}, {"seed": 12})
    ]
    pairs = [(z, other) for other in others] + [(z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[:, 16:], z[:, :-16])]
    for a, b in pairs:
        assert abs(np.mean(a * b, dtype=np.float64)) < 4 / math.sqrt(a.size)


def test_the_tails_of_normal_numbers():
    """Of 10^7 numbers as many beyond 3 and 4 as there should be, and none beyond what 23 bits can say."""
    out = np.empty((10_000, 1000), np.float32)
    kernels.gaussian_noise(out, np.zeros_like(out), 1.0, **KEY)
    for edge in (3, 4):
        expected = out.size * math.erfc(edge / math.sqrt(2))
        assert abs(np.count_nonzero(np.abs(out) > edge) - expected) < 4 * math.sqrt(expected)
    assert np.abs(out).max() < 5.3


@every_dtype
def test_both_ways_to_use_normal_numbers(dtype):
    z = drawn("gaussian_noise", 1.0, dtype=dtype, x=0.0)
    np.testing.assert_allclose(drawn("gaussian_noise", 0.3, dtype=dtype, x=2.0), 2 + 0.3 * z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        drawn("multiplicative_noise", 0.3, dtype=dtype, x=2.0), 2 + 0.6 * z, rtol=1e-6, atol=1e-6
    )


def test_both_dtypes_have_the_same_normal_numbers():
    float32, float64 = (drawn("gaussian_noise", 1.0, dtype=dtype, x=0.0) for dtype in ("float32", "float64"))
    np.testing.assert_allclose(float32, float64, rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian_noise", "multiplicative_noise", "feature_mask", "drop_path", "dropout"])
def test_a_batch_may_be_done_in_parts(name):
    whole = drawn(name, 0.3)
    for at in (1, 8, 250):
        part = np.empty_like(whole[at:])
        getattr(kernels, name)(part, np.ones_like(part), 0.3, **KEY, first_row=at)
        assert np.array_equal(part, whole[at:])


@every_rate
def test_swapped_numbers_come_from_the_same_column_of_any_other_row(rate):
    x = np.arange(ROWS * COLS, dtype=np.float64).reshape(ROWS, COLS)
    out = np.empty_like(x)
    kernels.swap_noise(out, x, rate, **KEY)
    rows, cols = np.divmod(out.astype(np.int64), COLS)
    assert (cols == np.arange(COLS)).all()
    swapped = rows != np.arange(ROWS)[:, None]
    assert p_of_rate(swapped, rate) > SMALLEST
    shift = ((rows - np.arange(ROWS)[:, None]) % ROWS)[swapped]  # 1 .. ROWS - 1
    counts = np.bincount(shift, minlength=ROWS)[1:]
    assert p_of_counts(counts, np.full(ROWS - 1, 1 / (ROWS - 1))) > SMALLEST
    assert np.array_equal(out.mean(axis=0) > 0, np.ones(COLS, bool))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_swapping_in_small_batches(rows):
    x = np.arange(rows * 5, dtype=np.float32).reshape(rows, 5)
    out = np.full_like(x, np.nan)
    kernels.swap_noise(out, x, 0.5, **KEY)
    assert np.isin(out, x).all()
    if rows < 2:
        assert np.array_equal(out, x)


def test_a_dropped_row_is_zero_whatever_it_held():
    x = np.full((64, 3), np.inf, np.float32)
    kernels.drop_path(x, x, 0.5, **KEY)
    assert set(np.unique(x)) == {0, np.inf}


def test_swapping_needs_an_array_of_its_own():
    x = np.zeros((4, 3))
    with pytest.raises(ValueError, match="swap_noise: out overlaps x"):
        kernels.swap_noise(x, x, 0.5, **KEY)


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("drop_path", 1.0, r"rate must be in \[0, 1\), got 1.0"),
        ("feature_mask", -0.5, r"rate must be in \[0, 1\), got -0.5"),
        ("swap_noise", 2.0, r"rate must be in \[0, 1\), got 2.0"),
        ("gaussian_noise", -1.0, "sigma must be a finite number >= 0, got -1.0"),
        ("multiplicative_noise", np.inf, "sigma must be a finite number >= 0, got inf"),
    ],
)
def test_settings_are_checked(name, setting, message):
    with pytest.raises(ValueError, match=message):
        getattr(kernels, name)(np.zeros((2, 3)), np.zeros((2, 3)), setting, **KEY)
