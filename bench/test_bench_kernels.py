"""Each kernel door against its NumPy twin, at the size of a layer of 256 units and a batch of 256 rows.

A kernel of a family whose members take the same arguments has its case by that; the others have one of their own.
"""

from types import ModuleType

import numpy as np
import pytest

from fastreg import kernels, reference
from fastreg._core import table

ROWS, INPUTS, UNITS, CLASSES = 256, 100, 256, 10


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, dtype=np.float32)


def empty(*shape):
    return np.zeros(shape, np.float32)


def probabilities(*shape):
    p = np.exp(normal(*shape))
    return p / p.sum(axis=1, keepdims=True)


LABELS = (np.arange(ROWS) % CLASSES).astype(np.int32)
BITS = (normal(ROWS, CLASSES) > 0).astype(np.float32)
ORDER = np.random.default_rng(0).permutation(ROWS)


def elementwise():
    return (empty(ROWS, UNITS), normal(ROWS, UNITS)), {}


def gradient():
    return (empty(ROWS, UNITS), normal(ROWS, UNITS), np.tanh(normal(ROWS, UNITS))), {}


def penalty():
    return (normal(UNITS, UNITS), 1e-4, normal(UNITS, UNITS)), {}


def threshold():
    return (normal(UNITS, UNITS), 0.01, 0.1), {}


def loss(*targets):
    return lambda: ((empty(ROWS, CLASSES), normal(ROWS, CLASSES), *targets), {"scale": 1 / ROWS})


def sgd():
    settings = {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True}
    return (normal(UNITS, UNITS), normal(UNITS, UNITS), empty(UNITS, UNITS)), settings


def adam():
    arrays = normal(UNITS, UNITS), normal(UNITS, UNITS), empty(UNITS, UNITS), empty(UNITS, UNITS)
    return arrays, {"learning_rate": 1e-3, "t": 1}


def normed():
    """Rows, scale, shift, mean and variance."""
    return normal(ROWS, UNITS), normal(UNITS), normal(UNITS), normal(UNITS), np.exp(normal(UNITS))


def dense_backward():
    gradients = empty(INPUTS, UNITS), empty(UNITS), empty(ROWS, INPUTS)
    return (*gradients, normal(ROWS, UNITS), normal(ROWS, INPUTS), normal(INPUTS, UNITS)), {}


def blend_targets():
    return (empty(ROWS, CLASSES), probabilities(ROWS, CLASSES), probabilities(ROWS, CLASSES), 0.3), {}


def dense_forward():
    return (empty(ROWS, UNITS), normal(ROWS, INPUTS), normal(INPUTS, UNITS), normal(UNITS)), {}


def sparse(*outputs):
    """A table in which one number of ten is not 0."""
    filled = np.random.default_rng(0).random((ROWS, INPUTS)) < 0.1
    columns = np.nonzero(filled)[1].astype(np.int32)
    starts = np.append(0, np.cumsum(filled.sum(axis=1)))
    return (*outputs, normal(1, len(columns))[0], columns, starts)


def csr_product():
    return (*sparse(empty(ROWS, UNITS)), normal(INPUTS, UNITS), normal(UNITS)), {}


def csr_transpose():
    size = len(sparse()[0])
    return sparse(empty(1, size)[0], np.zeros(size, np.int32), np.zeros(INPUTS + 1, np.int64)), {}


# family or name -> arguments of a call: (positional, by keyword)
BY_FAMILY = {
    "activation": elementwise, "gradient": gradient, "penalty": penalty, "prox": threshold,
    "augment": lambda: ((empty(ROWS, INPUTS), normal(ROWS, INPUTS), (10, 10, 1)), {"seed": 1}),
    "mix": lambda: ((empty(1, INPUTS)[0], (10, 10, 1), 0.3), {"seed": 1}),
}  # fmt: skip
BY_NAME = {
    "log": lambda: ((empty(ROWS, UNITS), np.abs(normal(ROWS, UNITS))), {}),
    "gemm_nn": dense_forward,
    "gemm_nt": lambda: ((empty(ROWS, INPUTS), normal(ROWS, UNITS), normal(INPUTS, UNITS)), {}),
    "gemm_tn": lambda: ((empty(INPUTS, UNITS), normal(ROWS, INPUTS), normal(ROWS, UNITS)), {}),
    "csr_product": csr_product,
    "csr_transpose": csr_transpose,
    "column_sum": lambda: ((empty(UNITS), normal(ROWS, UNITS)), {}),
    "dense_forward": dense_forward,
    "dense_backward": dense_backward,
    "cross_entropy_labels": loss(LABELS),
    "cross_entropy": loss(probabilities(ROWS, CLASSES)),
    "binary_cross_entropy": loss(BITS),
    "squared_error": loss(normal(ROWS, CLASSES)),
    "log_loss_labels": loss(LABELS),
    "binary_log_loss": loss(BITS),
    "poisson": loss(probabilities(ROWS, CLASSES)),
    "absolute_error": loss(probabilities(ROWS, CLASSES)),
    "huber": loss(probabilities(ROWS, CLASSES)),
    "quantile": loss(probabilities(ROWS, CLASSES), probabilities(1, CLASSES)[0]),
    "dropout": lambda: ((empty(ROWS, UNITS), normal(ROWS, UNITS), 0.2), {"seed": 1}),
    **{
        name: lambda: ((empty(ROWS, UNITS), normal(ROWS, UNITS), 0.2), {"seed": 1})
        for name in ("feature_mask", "gaussian_noise", "multiplicative_noise", "drop_path", "swap_noise")
    },
    "add": lambda: ((empty(ROWS, UNITS), normal(ROWS, UNITS), normal(ROWS, UNITS)), {}),
    "column_moments": lambda: ((empty(UNITS), empty(UNITS), normal(ROWS, UNITS)), {}),
    "batch_norm": lambda: ((empty(ROWS, UNITS), *normed()), {}),
    "layer_norm": lambda: ((empty(ROWS, UNITS), *normed()[:3]), {}),
    "batch_norm_sums": lambda: ((empty(UNITS), empty(UNITS), normal(ROWS, UNITS), normed()[0], *normed()[3:]), {}),
    "layer_norm_sums": lambda: ((empty(UNITS), empty(UNITS), normal(ROWS, UNITS), normed()[0]), {}),
    "batch_norm_gradient": lambda: (
        (empty(ROWS, UNITS), normal(ROWS, UNITS), *normed()[:2], normal(UNITS), *normed()[2:]),
        {},
    ),
    "layer_norm_gradient": lambda: ((empty(ROWS, UNITS), normal(ROWS, UNITS), *normed()[:2]), {}),
    "dropout_mask": lambda: ((empty(ROWS, UNITS), 0.2), {"seed": 1}),
    "sgd": sgd,
    "adam": adam,
    "running_average": lambda: ((empty(UNITS, UNITS), normal(UNITS, UNITS)), {"learning_rate": 0.1}),
    "square_sum": lambda: ((normal(UNITS, UNITS),), {}),
    "rescale": lambda: ((normal(UNITS, UNITS), 0.5), {}),
    "clamp": lambda: ((normal(UNITS, UNITS), 0.5), {}),
    "gather": lambda: ((empty(ROWS, INPUTS), normal(ROWS, INPUTS), ORDER), {}),
    "gather_labels": lambda: ((np.zeros(ROWS, np.int32), LABELS, ORDER), {}),
    "gather_one_hot": lambda: ((empty(ROWS, CLASSES), LABELS, ORDER), {}),
    "mixing": lambda: ((0.2, 1.0, ROWS), {"seed": 1}),
    "blend": lambda: ((empty(ROWS, INPUTS), normal(ROWS, INPUTS), normal(ROWS, INPUTS), normal(1, INPUTS)[0]), {}),
    "blend_targets": blend_targets,
    "random_words": lambda: ((np.zeros(ROWS * UNITS, np.uint32),), {"seed": 1}),
    "shuffle": lambda: ((np.zeros(10_000, np.int64),), {"seed": 1, "step": 0}),
}
CASES = {name: BY_FAMILY[family] for name, family in table.kernels().items() if family in BY_FAMILY} | BY_NAME


def after_a_call(module: ModuleType, name: str):
    """The value of a call, and its arrays afterwards."""
    positional, named = CASES[name]()
    value = getattr(module, name)(*positional, **named)
    return value, [a for a in positional if isinstance(a, np.ndarray)]


def check(name):
    """The door does what its twin does."""
    (value, arrays), (expected_value, expected) = after_a_call(kernels, name), after_a_call(reference, name)
    if expected_value is not None:
        assert value == pytest.approx(expected_value, rel=1e-5)
    for array, expected_array in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, expected_array, rtol=1e-4, atol=1e-5)


def test_every_door_has_a_case():
    assert set(CASES) == {name for name in vars(kernels) if not name.startswith("_")}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("module", [kernels, reference], ids=["compiled", "numpy"])
@pytest.mark.benchmark(max_time=0.2, min_rounds=20)
def test_kernel(benchmark, module, name):
    check(name)
    positional, named = CASES[name]()
    benchmark.group = name
    benchmark(getattr(module, name), *positional, **named)
