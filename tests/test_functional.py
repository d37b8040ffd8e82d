"""The textbook's functions: against the texts' own formulas, for every kind of argument, and what they refuse."""

import inspect

import numpy as np
import pytest

import fastreg
from fastreg import functional as F
from fastreg import kernels

SIGNATURES = {
    "sigmoid": "(x)",
    "sigmoid_derivative": "(x)",
    "relu": "(x, leak=0)",
    "relu_derivative": "(x, leak=0)",
    "softmax": "(x, axis=None)",
    "softmax_derivative": "(x)",
    "cross_entropy": "(y_true, y_pred)",
    "cross_entropy_derivative": "(y_true, y_pred)",
    "regularized_loss": "(y_true, y_pred, weights, lambda_reg=0.0)",
    "l1_penalty": "(weights, lambda_reg)",
    "l1_gradient": "(weights, lambda_reg)",
    "l2_penalty": "(weights, lambda_reg)",
    "l2_gradient": "(weights, lambda_reg)",
    "augment_batch": "(images, labels, augmentation_factor=4, *, rng=None)",
    "dropout": "(x, p=0.5, training=True, *, rng=None)",
    "create_dropout_masks": "(layer_sizes, dropout_rates, *, rng=None)",
    "smooth_labels": "(labels, num_classes, smoothing=0.1)",
}

# The texts' formulas, in NumPy; evaluated in float64 they are the measure for float32 too.
TEXT = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sigmoid_derivative": lambda x: 1 / (1 + np.exp(-x)) * (1 - 1 / (1 + np.exp(-x))),
    "relu": lambda x: np.where(x <= 0, 0 * x, x),
    "leaky relu": lambda x: np.where(x <= 0, 0.1 * x, x),
    "relu_derivative": lambda x: np.where(x <= 0, 0, 1),
    "leaky relu_derivative": lambda x: np.where(x <= 0, 0.1, 1),
    "softmax": lambda x: np.exp(x) / np.sum(np.exp(x)),
    "l1_gradient": lambda x: 0.3 * np.sign(x),
    "l2_gradient": lambda x: 2 * 0.3 * x,
}
OURS = {
    "sigmoid": F.sigmoid,
    "sigmoid_derivative": F.sigmoid_derivative,
    "relu": F.relu,
    "leaky relu": lambda x: F.relu(x, 0.1),
    "relu_derivative": F.relu_derivative,
    "leaky relu_derivative": lambda x: F.relu_derivative(x, leak=0.1),
    "softmax": F.softmax,
    "l1_gradient": lambda x: F.l1_gradient(x, 0.3),
    "l2_gradient": lambda x: F.l2_gradient(x, lambda_reg=0.3),
}
SHAPES = [(), (1,), (0,), (7,), (5, 1), (4, 9), (2, 3, 17), (0, 3)]

elementwise = pytest.mark.parametrize("name", sorted(OURS))
floats = pytest.mark.parametrize("dtype", ["float32", "float64"])


def numbers(shape, dtype="float64"):
    """Of both signs, with zeros among them."""
    x = np.asarray(np.random.RandomState(1).randn(*shape) * 2, dtype=dtype)
    x[np.abs(x) < 0.2] = 0
    return x


def assert_close(result, wanted):
    """To rounding in the result's dtype; absolutely where 1 - s of a sigmoid s near 1 has lost its digits."""
    rtol, atol = (1e-6, 1e-7) if result.dtype == "float32" else (1e-14, 2e-16)
    np.testing.assert_allclose(result, wanted, rtol=rtol, atol=atol)


def one_hot_and_probabilities(shape=(6, 3), dtype="float64"):
    y_pred = F.softmax(numbers(shape), axis=-1).astype(dtype)
    return np.eye(shape[-1], dtype=dtype)[np.arange(shape[0]) % shape[-1]], y_pred


def difference_quotient(f, x, h=1e-6):
    """Central differences of a function of an array that returns a number."""
    slope = np.empty_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slope[place] = (f(x + step) - f(x - step)) / (2 * h)
    return slope


# ---- names, kernels -------------------------------------------------------------------------------------------------


def test_signatures_are_the_texts():
    assert sorted(SIGNATURES) == F.__all__
    assert {name: str(inspect.signature(getattr(F, name))) for name in F.__all__} == SIGNATURES


def test_every_function_names_its_text():
    assert [name for name in F.__all__ if "text" not in getattr(F, name).__doc__] == []


def test_it_is_found_in_the_package():
    assert fastreg.functional is F


@pytest.mark.parametrize(
    ("call", "used"),
    [
        (lambda: F.sigmoid(1.0), {"sigmoid"}),
        (lambda: F.sigmoid_derivative(1.0), {"sigmoid", "sigmoid_gradient"}),
        (lambda: F.relu(1.0), {"relu"}),
        (lambda: F.relu(1.0, 0.1), {"leaky_relu"}),
        (lambda: F.relu_derivative(1.0), {"leaky_relu_gradient"}),
        (lambda: F.softmax([1.0, 2.0]), {"softmax"}),
        (lambda: F.softmax_derivative([1.0, 2.0]), {"softmax", "softmax_gradient"}),
        (lambda: F.regularized_loss(1, 0.5, [1.0], 0.1), {"squared_error", "l2"}),
        (lambda: F.l1_penalty([1.0], 0.1), {"l1"}),
        (lambda: F.l1_gradient([1.0], 0.1), {"l1"}),
        (lambda: F.l2_penalty([1.0], 0.1), {"l2"}),
        (lambda: F.l2_gradient([1.0], 0.1), {"l2"}),
    ],
)
def test_compiled_kernels_do_the_work(call, used, monkeypatch):
    seen = set()

    def watched(name, door):
        def kernel(*args, **kwargs):
            seen.add(name)
            return door(*args, **kwargs)

        return kernel

    for name in [name for name in dir(kernels) if not name.startswith("_")]:
        monkeypatch.setattr(kernels, name, watched(name, getattr(kernels, name)))
    call()
    assert seen == used


# ---- every kind of argument -----------------------------------------------------------------------------------------


@floats
@elementwise
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_formula(name, shape, dtype):
    x = numbers(shape, dtype)
    before = x.copy()
    result = OURS[name](x)
    assert np.shape(result) == shape
    assert result.dtype == dtype
    assert_close(result, TEXT[name](x.astype("float64")))
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(x, result)


@elementwise
@pytest.mark.parametrize("x", [-1.5, 0.0, 2.5, 3, -2, True])
def test_python_numbers_give_floats(name, x):
    result = OURS[name](x)
    assert type(result) is float
    assert result == pytest.approx(float(TEXT[name](np.float64(x))), rel=1e-14)


@elementwise
def test_numpy_numbers_give_their_own(name):
    for x in (np.float32(1.5), np.array(1.5, "float32")):
        assert type(OURS[name](x)) is np.float32
    for x in (np.float64(1.5), np.int64(2), np.array(2)):
        assert type(OURS[name](x)) is np.float64


@elementwise
def test_lists_and_integers_are_float64(name):
    for x in ([[1, -2, 3], [0, 5, -6]], np.array([[1, -2, 3], [0, 5, -6]]), ((1, -2, 3), (0, 5, -6))):
        result = OURS[name](x)
        assert result.dtype == "float64"
        assert_close(result, TEXT[name](np.array(x, "float64")))


@elementwise
def test_any_memory(name):
    """Strided, transposed, in Fortran's order, read-only, of the other byte order, unaligned, float16."""
    x = numbers((6, 8))
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), dtype="float64", offset=1).reshape(x.shape)
    assert not unaligned.flags.aligned
    swapped = x.astype(x.dtype.newbyteorder())
    for view in (x[::2, ::-3], x.T, np.asfortranarray(x), read_only, unaligned, swapped):
        assert_close(OURS[name](view), TEXT[name](np.array(view, dtype="float64")))
    half = OURS[name](x.astype("float16"))
    assert half.dtype == "float32"


def test_numpys_random_state_is_left_alone():
    """By all but `augment_batch`, `dropout` and `create_dropout_masks` without rng."""
    before = str(np.random.get_state())
    for f in OURS.values():
        f(numbers((3, 2)))
    F.cross_entropy(*one_hot_and_probabilities())
    F.smooth_labels([0, 1], 2)
    F.dropout(numbers((3,)), training=False)
    F.dropout(numbers((3,)), rng=np.random.default_rng(0))
    F.create_dropout_masks([3], [0.5], rng=np.random.RandomState(0))
    F.create_dropout_masks([3], [0.0])
    F.augment_batch(["a"], [1], rng=np.random.default_rng(0))
    assert str(np.random.get_state()) == before


# ---- activations ----------------------------------------------------------------------------------------------------


@floats
def test_large_numbers_do_not_overflow(dtype):
    x = np.array([-np.inf, -1e4, 1e4, np.inf], dtype)
    np.testing.assert_array_equal(F.sigmoid(x), [0, 0, 1, 1])
    np.testing.assert_array_equal(F.sigmoid_derivative(x), 0)
    np.testing.assert_array_equal(F.relu(x), [0, 0, 1e4, np.inf])
    np.testing.assert_array_equal(F.softmax(x[1:3]), [0, 1])
    np.testing.assert_array_equal(F.softmax_derivative(x[1:3]), 0)


def test_nan_stays():
    for f in (F.sigmoid, F.sigmoid_derivative, F.relu, F.softmax):
        assert np.isnan(f(float("nan")))


@pytest.mark.parametrize("leak", [0, 0.1, 1, 2.5, -0.5])
def test_leak(leak):
    x = np.array([-2.0, -0.0, 0.0, 3.0])
    np.testing.assert_allclose(F.relu(x, leak), np.where(x <= 0, leak * x, x))
    np.testing.assert_allclose(F.relu_derivative(x, leak), np.where(x <= 0, leak, 1))


@pytest.mark.parametrize("f", [F.sigmoid, F.relu, lambda x: F.relu(x, 0.2)])
def test_derivatives_are_slopes(f):
    derivative = {F.sigmoid: F.sigmoid_derivative, F.relu: F.relu_derivative}.get(
        f, lambda x: F.relu_derivative(x, 0.2)
    )
    x = np.array([-3.0, -0.7, 0.4, 2.0])
    np.testing.assert_allclose(derivative(x), (f(x + 1e-6) - f(x - 1e-6)) / 2e-6, rtol=1e-8)


@floats
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_along_an_axis(axis, dtype):
    x = numbers((4, 1, 6), dtype)[:, [0, 0, 0]]
    wanted = np.exp(x.astype("float64"))
    wanted /= wanted.sum(axis=axis, keepdims=True)
    result = F.softmax(x, axis)
    assert result.dtype == dtype
    assert result.flags.c_contiguous
    assert_close(result, wanted)


def test_softmax_is_over_the_whole_array():
    """Text 001 has one sample in a column: all of it sums to 1, not each row."""
    column = numbers((4, 1))
    assert F.softmax(column).sum() == pytest.approx(1)
    np.testing.assert_array_equal(F.softmax(column, axis=1), 1)
    assert F.softmax(numbers((3, 5))).sum() == pytest.approx(1)


def test_softmax_of_nothing():
    assert F.softmax(np.empty((0, 3)), axis=1).shape == (0, 3)
    assert F.softmax(np.empty((3, 0)), axis=1).shape == (3, 0)
    assert F.softmax_derivative([]).shape == (0, 0)


@floats
def test_softmax_derivative_is_text_001s(dtype):
    x = numbers((5, 1), dtype)
    s = TEXT["softmax"](x.astype("float64"))
    wanted = s * (np.eye(5) - s.T)
    for given in (x, x.ravel(), x.T):
        result = F.softmax_derivative(given)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, wanted, rtol=1e-5 if dtype == "float32" else 1e-13)
    np.testing.assert_array_equal(result, result.T)


def test_softmax_derivative_is_the_jacobian():
    x = numbers((2, 3))
    for i in range(6):
        slope = difference_quotient(lambda x, i=i: F.softmax(x).ravel()[i], x)
        np.testing.assert_allclose(F.softmax_derivative(x)[i], slope.ravel(), atol=1e-9)


# ---- losses ---------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("shape", [(6, 3), (1, 4), (4, 2)])
def test_cross_entropy(shape, dtype):
    y_true, y_pred = one_hot_and_probabilities(shape, dtype)
    wanted = -np.sum(y_true * np.log(y_pred.astype("float64") + 1e-100))
    result = F.cross_entropy(y_true, y_pred)
    assert type(result) is float
    assert result == pytest.approx(wanted, rel=1e-6 if dtype == "float32" else 1e-14)
    derivative = F.cross_entropy_derivative(y_true, y_pred)
    assert derivative.dtype == dtype
    np.testing.assert_allclose(derivative, -y_true / y_pred, rtol=1e-6)


def test_cross_entropy_of_columns_of_integers():
    """Text 001's own shapes: integer targets in a column. No negative zeros, so they print alike."""
    y_true, y_pred = np.array([[0], [1], [0], [0]]), np.array([[0.1], [0.6], [0.2], [0.1]])
    assert F.cross_entropy(y_true, y_pred) == pytest.approx(-np.log(0.6), rel=1e-15)
    derivative = F.cross_entropy_derivative(y_true, y_pred)
    np.testing.assert_array_equal(derivative, -y_true / (y_pred + 10**-100))
    assert not np.signbit(derivative[0, 0])
    assert str(F.cross_entropy(1, 1)) == "0.0"


@floats
def test_cross_entropy_of_impossible_classes(dtype):
    """log(0) does not arise: 1e-100 stands in in float64, the smallest normal number in float32."""
    y_true, y_pred = np.array([1, 0], dtype), np.array([0, 1], dtype)
    tiny = 1e-100 if dtype == "float64" else float(np.finfo(dtype).tiny)
    assert F.cross_entropy(y_true, y_pred) == pytest.approx(-np.log(tiny), rel=1e-6)
    np.testing.assert_allclose(F.cross_entropy_derivative(y_true, y_pred), [-1 / tiny, 0], rtol=1e-6)


def test_cross_entropy_derivative_is_the_slope():
    y_true, y_pred = one_hot_and_probabilities()
    soft = F.smooth_labels(y_true.argmax(axis=1), 3)
    slope = difference_quotient(lambda p: F.cross_entropy(soft, p), y_pred)
    np.testing.assert_allclose(F.cross_entropy_derivative(soft, y_pred), slope, rtol=2e-6)


def test_losses_of_numbers():
    assert F.cross_entropy(1, 0.25) == pytest.approx(np.log(4))
    assert type(F.cross_entropy_derivative(1, 0.25)) is float
    assert F.cross_entropy_derivative(1, 0.25) == -4
    assert type(F.cross_entropy_derivative(1, np.float32(0.25))) is np.float64
    np.testing.assert_array_equal(F.cross_entropy_derivative(1, [0.25, 0.5]), [-4, -2])


def test_regularized_loss_is_text_000s():
    def compute_loss(y_true, y_pred, weights, lambda_reg=0.0):
        mse = (y_true - y_pred) ** 2
        reg_term = lambda_reg * sum([w**2 for w in weights])
        return mse + reg_term

    for args in ((1, 0.4, [0.2, -0.4], 0.1), (1, 0.4, [0.2, -0.4]), (0.5, 0.5, [3.0], 2)):
        assert type(F.regularized_loss(*args)) is float
        assert F.regularized_loss(*args) == pytest.approx(compute_loss(*args), rel=1e-15)


def test_regularized_loss_of_a_batch():
    """The mean over all outputs, and the penalty of all weights: a list of layers, a matrix, or a list of numbers."""
    y_true, y_pred, W1, W2 = numbers((4, 2)), numbers((4, 2)) + 0.5, numbers((3, 5)), numbers((5,))
    wanted = 0.25 + 0.1 * (np.sum(W1**2) + np.sum(W2**2))
    assert F.regularized_loss(y_true, y_pred, [W1, W2], 0.1) == pytest.approx(wanted, rel=1e-14)
    assert F.regularized_loss(y_true, y_pred, (W1, W2.astype("float32")), 0.1) == pytest.approx(wanted, rel=1e-6)
    assert F.regularized_loss(y_true, y_pred, W1) == pytest.approx(0.25, rel=1e-14)
    assert F.regularized_loss(y_true, y_pred, W1.tolist(), 0.1) == pytest.approx(0.25 + 0.1 * np.sum(W1**2), rel=1e-14)
    assert F.regularized_loss(y_true, y_pred, 2.0, 0.1) == pytest.approx(0.25 + 0.4, rel=1e-14)


# ---- penalties ------------------------------------------------------------------------------------------------------


@floats
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_penalties(shape, dtype):
    w = numbers(shape, dtype)
    rtol = 1e-6 if dtype == "float32" else 1e-14
    for result, wanted in ((F.l1_penalty(w, 0.3), np.sum(np.abs(w))), (F.l2_penalty(w, 0.3), np.sum(w**2))):
        assert type(result) is float
        assert result == pytest.approx(0.3 * float(wanted), rel=rtol)


def test_penalties_of_numbers_and_lists():
    assert F.l1_penalty(-2, 0.5) == 1
    assert F.l2_penalty([[1, 2], [3, 4]], 0.5) == 15
    assert F.l1_gradient([2.0, 0.0, -3.0], 0.5).tolist() == [0.5, 0, -0.5]
    assert F.l2_gradient([[1, 2]], 0).tolist() == [[0, 0]]


def test_gradients_are_slopes_of_the_penalties():
    w = np.array([[2.0, -0.5], [0.3, -1.5]])
    for penalty, gradient in ((F.l1_penalty, F.l1_gradient), (F.l2_penalty, F.l2_gradient)):
        slope = difference_quotient(lambda w, penalty=penalty: penalty(w, 0.7), w)
        np.testing.assert_allclose(gradient(w, 0.7), slope, rtol=1e-8)


# ---- dropout --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(5,), (4, 7), (2, 3, 4), (0,)])
def test_dropout_has_the_bits_of_text_003(shape, p):
    x = numbers(shape)
    np.random.seed(7)
    wanted = x * np.random.binomial(1, 1 - p, size=x.shape) / (1 - p)
    state = str(np.random.get_state())
    np.random.seed(7)
    assert F.dropout(x, p).tobytes() == wanted.tobytes()
    assert str(np.random.get_state()) == state


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_dropout_draws_from_rng(make):
    x, rng, twin = np.arange(1.0, 13).reshape(3, 4).T, make(3), make(3)
    for p in (0.5, 0.25):
        wanted = x * twin.binomial(1, 1 - p, size=x.shape) / (1 - p)
        np.testing.assert_array_equal(F.dropout(x, p, rng=rng), wanted)
    assert rng.random() == twin.random() if make is np.random.default_rng else rng.rand() == twin.rand()


def test_dropout_keeps_the_mean():
    x = np.ones(100_000)
    result = F.dropout(x, 0.2, rng=np.random.default_rng(0))
    assert set(result.tolist()) == {0.0, 1.25}
    assert result.mean() == pytest.approx(1, abs=4 * np.sqrt(0.25 / len(x)))


@floats
def test_dropout_keeps_the_dtype(dtype):
    x = np.arange(1, 9, dtype=dtype)
    rng = np.random.default_rng(0)
    assert F.dropout(x, 0.3, rng=rng).dtype == dtype
    assert F.dropout(x, 0.3, training=False).dtype == dtype
    assert F.dropout(x[0], rng=rng) in (0, 2)
    assert type(F.dropout(x[0], rng=rng)) is np.dtype(dtype).type
    assert type(F.dropout(1.0, rng=rng)) is float
    assert F.dropout([1, 2], rng=rng).dtype == "float64"


def test_dropout_at_inference_is_a_copy():
    x = numbers((3, 4))
    result = F.dropout(x, 0.5, False)
    np.testing.assert_array_equal(result, x)
    assert not np.shares_memory(result, x)


def test_masks_have_the_bits_of_text_003():
    sizes, rates = [784, 512, 256, 128, 10], [0.2, 0.5, 0.5, 0.5, 0.0]
    np.random.seed(42)
    wanted = [np.random.binomial(1, 1 - r, size=n) / (1 - r) if r > 0 else np.ones(n) for n, r in zip(sizes, rates)]
    np.random.seed(42)
    masks = F.create_dropout_masks(sizes, rates)
    assert [mask.tobytes() for mask in masks] == [mask.tobytes() for mask in wanted]
    assert [int(np.sum(mask > 0)) for mask in masks] == [623, 255, 133, 67, 10]


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_masks_draw_from_rng(make):
    masks = F.create_dropout_masks((4, 0, 5), (0.5, 0.5, 0.25), rng=make(0))
    rng = make(0)
    wanted = [rng.binomial(1, 1 - r, size=n) / (1 - r) for n, r in ((4, 0.5), (0, 0.5), (5, 0.25))]
    for pair in zip(masks, wanted, strict=True):
        np.testing.assert_array_equal(*pair)


def test_what_is_refused_draws_nothing():
    before = str(np.random.get_state())
    with pytest.raises(ValueError, match="dropout_rates"):
        F.create_dropout_masks([3, 3], [0.5, 1.0])
    with pytest.raises(ValueError, match="p must"):
        F.dropout([1.0], 1.0)
    assert str(np.random.get_state()) == before


# ---- labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("smoothing", [0, 0.1, 0.2, 1])
def test_smooth_labels_is_text_003s(num_classes, smoothing):
    labels = np.arange(12) % num_classes
    wanted = np.ones((12, num_classes)) * smoothing / (num_classes - 1)
    for i, label in enumerate(labels):
        wanted[i, label] = 1 - smoothing
    for given in (labels, labels.tolist(), labels.astype("uint8"), labels[::-1][::-1]):
        np.testing.assert_array_equal(F.smooth_labels(given, num_classes, smoothing), wanted)
    np.testing.assert_allclose(wanted.sum(axis=1), 1)


def test_smooth_labels_of_any_shape():
    assert F.smooth_labels(2, 3).tolist() == [0.05, 0.05, 0.9]
    assert F.smooth_labels([[0], [1]], 2, 0.2).tolist() == [[[0.8, 0.2]], [[0.2, 0.8]]]
    assert F.smooth_labels([], 4).shape == (0, 4)


def test_the_uniform_convention_is_one_line():
    """As the docstring says it: [0.033, 0.033, 0.933], what the prose of text 003 has."""
    s, C = 0.1, 3
    np.testing.assert_allclose(F.smooth_labels([2], C, s * (C - 1) / C), [[s / C, s / C, 1 - s + s / C]], rtol=1e-15)


# ---- what is refused ------------------------------------------------------------------------------------------------

REFUSED = {
    "text as x": (lambda: F.sigmoid("abc"), "x .*numbers"),
    "complex": (lambda: F.relu(np.array([1j])), "x has dtype complex128"),
    "ragged": (lambda: F.softmax([[1, 2], [3]]), "x"),
    "None": (lambda: F.l2_gradient(None, 0.1), "weights must be an array of numbers, got None"),
    "leak": (lambda: F.relu(1.0, leak="0.1"), "leak must be a number"),
    "leak NaN": (lambda: F.relu_derivative(1.0, float("nan")), "leak must be a number"),
    "axis": (lambda: F.softmax([[1.0, 2.0]], axis=2), r"axis must be None or an axis of x, .*\(1, 2\), got 2"),
    "axis of a number": (lambda: F.softmax(1.0, axis=0), "axis must be None"),
    "axis as float": (lambda: F.softmax([1.0], axis=0.0), "axis must be None"),
    "shapes": (
        lambda: F.cross_entropy([1, 0], [[0.5], [0.5]]),
        r"y_true has shape \(2,\) but y_pred has shape \(2, 1\)",
    ),
    "shapes of the derivative": (lambda: F.cross_entropy_derivative([1, 0], [0.5]), "y_true has shape"),
    "shapes of the loss": (lambda: F.regularized_loss([1, 0], [0.5], [1.0]), "y_true has shape"),
    "no probability": (lambda: F.cross_entropy([1, 0], [1.5, -0.5]), "y_pred must be probabilities, got -0.5"),
    "no rows": (lambda: F.regularized_loss([], [], [1.0]), "y_true and y_pred are empty"),
    "strength": (lambda: F.l1_penalty([1.0], -0.1), "lambda_reg must be a finite number >= 0, got -0.1"),
    "strength NaN": (lambda: F.l2_gradient([1.0], float("nan")), "lambda_reg must be a finite number"),
    "strength of the loss": (lambda: F.regularized_loss(1, 0, [1.0], -1), "lambda_reg must be"),
    "one of the weights": (lambda: F.regularized_loss(1, 0, [np.ones(2), "b"], 1), r"weights\[1\]"),
    "p": (lambda: F.dropout([1.0], p=1), r"p must be a number in \[0, 1\), got 1"),
    "p at inference": (lambda: F.dropout([1.0], p=-0.1, training=False), "p must be"),
    "rng": (lambda: F.dropout([1.0], rng=42), r"rng must be None or a generator such as np.random.default_rng\(0\)"),
    "rng of the masks": (lambda: F.create_dropout_masks([1], [0.5], rng="x"), "rng must be"),
    "lengths": (lambda: F.create_dropout_masks([3, 4], [0.5]), "layer_sizes has 2 entries but dropout_rates has 1"),
    "size": (lambda: F.create_dropout_masks([3, -4], [0.5, 0.5]), r"layer_sizes\[1\] must be an int >= 0, got -4"),
    "size as float": (lambda: F.create_dropout_masks([3.0], [0.5]), r"layer_sizes\[0\] must be an int"),
    "rate": (lambda: F.create_dropout_masks([3], [1.0]), r"dropout_rates\[0\] must be a number in \[0, 1\), got 1.0"),
    "label": (lambda: F.smooth_labels([0, 3], 3), "labels must be integers 0..2 for num_classes=3, got 3"),
    "negative label": (lambda: F.smooth_labels([-1], 3), "labels must be integers 0..2 .*got -1"),
    "label as float": (lambda: F.smooth_labels([0.0], 3), "labels must be integers 0..2, got float64"),
    "one class": (lambda: F.smooth_labels([0], 1), "num_classes must be an int >= 2, got 1"),
    "smoothing": (lambda: F.smooth_labels([0], 3, 1.1), r"smoothing must be a number in \[0, 1\], got 1.1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


# ---- augmentation ---------------------------------------------------------------------------------------------------

PICTURE = np.arange(100, dtype=np.uint8).reshape(10, 10)
TRANSFORMED = {
    "flip_h": PICTURE[:, ::-1], "flip_v": PICTURE[::-1], "rotate_90": np.rot90(PICTURE),
    "rotate_180": np.rot90(PICTURE, 2), "crop_center": np.pad(PICTURE[1:-1, 1:-1], 1),
    "brightness_up": np.rint(PICTURE * 1.2), "brightness_down": np.rint(PICTURE * 0.8),
}  # fmt: skip


def test_names_of_images_get_those_of_all_transforms():
    images, labels = F.augment_batch(["cat"], ["feline"], 8)
    assert images[0] == "cat"
    assert sorted(images[1:]) == sorted(f"cat_{name}" for name in TRANSFORMED)
    assert labels == ["feline"] * 8


def test_images_are_transformed_as_their_names_say():
    """Both draw the same."""
    names, _ = F.augment_batch(["x"] * 20, range(20), rng=np.random.default_rng(0))
    images, labels = F.augment_batch([PICTURE] * 20, np.arange(20), rng=np.random.default_rng(0))
    assert np.array_equal(labels, np.repeat(np.arange(20), 4))
    for name, image in zip(names, images, strict=True):
        wanted = TRANSFORMED[name[2:]] if len(name) > 1 else PICTURE
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, wanted)


def test_of_an_array_comes_an_array_and_brightness_stays_in_range():
    table = np.stack([PICTURE + 150, PICTURE])[..., None] / np.float32(1)
    images, labels = F.augment_batch(table, np.array([0, 1]), 8)
    assert images.shape == (16, 10, 10, 1)
    assert images.dtype == np.float32
    assert labels.tolist() == [0] * 8 + [1] * 8
    bright, _ = F.augment_batch(np.full((9, 2, 2), 250, np.uint8), np.zeros(9), 8)
    assert (bright.max(), bright[bright > 0].min()) == (255, 200)


def test_the_global_state_draws_as_in_the_text():
    np.random.seed(3)
    images, _ = F.augment_batch(["a", "b"], [0, 1])
    np.random.seed(3)
    drawn = [np.random.choice(list(TRANSFORMED), 3, replace=False) for _ in range(2)]
    wanted = [[name, *(f"{name}_{t}" for t in some)] for name, some in zip("ab", drawn, strict=True)]
    assert images == [*wanted[0], *wanted[1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.augment_batch(["a"], [0], 9), "augmentation_factor must be at most 8, got 9"),
        (lambda: F.augment_batch(["a"], [0], 0), "augmentation_factor must be"),
        (lambda: F.augment_batch(["a"], [0, 1]), "must be as many, got 1 and 2"),
        (lambda: F.augment_batch(["a"], [0], rng=3), "rng must be"),
        (lambda: F.augment_batch(np.zeros((9, 2, 3)), np.zeros(9), 8), "an array needs square ones, or a list"),
    ],
)
def test_wrong_batches_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
