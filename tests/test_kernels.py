"""Every kernel of kernel_list.h through its door, against its NumPy twin computed in float64.

a) Cases are enumerated: kernels come from the compiled table, their cases from the family. `FASTREG_ISA`
   chooses the level; test_levels.py runs this file under each.
b) Every array lies inside a larger one of poison, off any alignment, inputs read-only: what is read beyond an
   edge is NaN, what is written beyond it, or left unwritten, is seen.
c) Orders of summation and random numbers are contracts, so they are checked to the bit, by other means.
"""

import ctypes
import inspect
import math
import platform
import re
import zlib
from contextlib import nullcontext
from fractions import Fraction
from functools import partial, reduce
from itertools import product
from operator import add
from typing import NamedTuple

import numpy as np
import pytest

from fastreg import kernels, reference
from fastreg._core import table

KERNELS = table.kernels()  # name: family
DTYPES = ("float32", "float64")
SIZES = (0, 1, 7, 8, 9, 15, 16, 17, 33, 100)
CLASSES = (1, 2, 3, 10, 16, 17, 33)
TOLERANCE = {"float32": {"rtol": 3e-6, "atol": 3e-6}, "float64": {"rtol": 1e-14, "atol": 1e-14}}
VALUE_RTOL = {"float32": 1e-6, "float64": 1e-14}  # sums of terms of one sign
ULP = 2.5  # of the curves: the promised 2 and the rounding of what they are compared with
FUSED = table.level() != "baseline" or platform.machine() in ("arm64", "aarch64")
INT_POISON = -77

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


# ---- arrays among poison


class Out(NamedTuple):
    """An argument that is written only."""

    shape: tuple
    dtype: str = ""


class InOut(NamedTuple):
    """An argument that is updated in place."""

    values: np.ndarray


def poison(dtype):
    return np.array(np.nan if np.dtype(dtype).kind == "f" else INT_POISON).astype(dtype)


class Guarded:
    """A copy of `values` in the middle of poison."""

    MARGIN = 37  # elements: vectors start off their alignment, and reach across it from any size

    def __init__(self, values, writeable):
        self.whole = np.full(values.size + 2 * self.MARGIN, poison(values.dtype))
        self.array = self.whole[self.MARGIN : self.MARGIN + values.size].reshape(values.shape)
        self.array[...] = values
        self.array.flags.writeable = writeable
        self._before = self.whole.tobytes()

    def margins_hold(self):
        edge = self.MARGIN * self.whole.itemsize
        now = self.whole.tobytes()
        return now[:edge] == self._before[:edge] and now[len(now) - edge :] == self._before[len(now) - edge :]

    def unchanged(self):
        return self.whole.tobytes() == self._before


def guard(value, dtype):
    """An argument for the door: arrays are guarded, everything else is itself."""
    if isinstance(value, Out):
        return Guarded(np.full(value.shape, poison(value.dtype or dtype)), writeable=True)
    if isinstance(value, InOut):
        return Guarded(value.values, writeable=True)
    return Guarded(value, writeable=False) if isinstance(value, np.ndarray) else value


def widen(value):
    """The same argument for the twin in float64."""
    if isinstance(value, Out):
        return np.full(value.shape, poison(value.dtype or "float64"))
    if isinstance(value, InOut):
        return value.values.astype(np.float64)
    if isinstance(value, np.ndarray):
        return value.astype(np.float64) if value.dtype.kind == "f" else value
    return value


def unwrap(arguments):
    return {name: value.array if isinstance(value, Guarded) else value for name, value in arguments.items()}


def value_atol(name, arguments, dtype):
    """Where probabilities are clipped to the dtype's eps, the twin in float64 clips each to its own."""
    return np.finfo(dtype).eps * arguments["z"].size if "log_loss" in name else 0


def check(name, arguments, dtype):
    """The door does what its twin does, and nothing else."""
    mine = {argument: guard(value, dtype) for argument, value in arguments.items()}
    twin = {argument: widen(value) for argument, value in arguments.items()}
    value = getattr(kernels, name)(**unwrap(mine))
    expected = getattr(reference, name)(**twin)
    assert (value is None) == (expected is None)
    if value is not None:
        np.testing.assert_allclose(value, expected, rtol=VALUE_RTOL[dtype], atol=value_atol(name, arguments, dtype))
    for argument, declared in arguments.items():
        if isinstance(declared, (Out, InOut)):
            assert mine[argument].margins_hold(), f"{argument}: written beyond its end"
            np.testing.assert_allclose(mine[argument].array, twin[argument], **TOLERANCE[dtype], err_msg=argument)
        elif isinstance(declared, np.ndarray):
            assert mine[argument].unchanged(), f"{argument}: an input was changed"


# ---- what each family is called with: the cases, and the arguments of each (several where options differ)


class Draw:
    """Random arrays of one dtype."""

    def __init__(self, dtype, seed):
        self.dtype, self.rng = np.dtype(dtype), np.random.default_rng(seed)

    def __call__(self, *shape, scale=1.0):
        return (scale * self.rng.normal(size=shape)).astype(self.dtype)

    def positive(self, *shape):
        return self.rng.uniform(0.1, 1, size=shape).astype(self.dtype)

    def integers(self, high, size, dtype):
        return self.rng.integers(0, max(high, 1), size=size, dtype=dtype)


# Of three awkward sizes each pair once, sums that cross blocks of 256, and shapes that are packed.
PRODUCTS = [(m, n, SIZES[(i + 3 * j) % 10]) for (i, m), (j, n) in product(enumerate(SIZES), enumerate(SIZES))]
PRODUCTS += product((1, 7), (1, 17), (255, 256, 257, 511, 512, 513))
PRODUCTS += [(16, 8, 600), (33, 100, 257), (100, 65, 513), (17, 100, 700), (100, 17, 1400), (70, 130, 1400)]


def product_arguments(name, draw, m, n, k):
    a = draw(*((k, m) if name == "gemm_tn" else (m, k)), scale=max(k, 1) ** -0.5)
    b = draw(*((n, k) if name == "gemm_nt" else (k, n)))
    yield {"out": Out((m, n)), "a": a, "b": b}
    yield {"out": Out((m, n)), "a": a, "b": b, "bias": draw(n)}
    yield {"out": InOut(draw(m, n)), "a": a, "b": b, "bias": draw(n), "accumulate": True}
    yield {"out": InOut(draw(m, n)), "a": a, "b": b, "accumulate": True}


def sparse_rows(draw, rows, cols):
    """Rows in which some columns have a number, the first of them none at all."""
    filled = draw.rng.random((rows, cols)) < 0.3
    filled[:1] = False
    starts = np.append(0, np.cumsum(filled.sum(axis=1))).astype(np.int64)
    columns = np.nonzero(filled)[1].astype(np.int32)
    return {"values": draw(len(columns), scale=max(cols, 1) ** -0.5), "columns": columns, "starts": starts}


def sparse_product_arguments(name, draw, m, n, k):
    b, table = draw(k, n), sparse_rows(draw, 11, k)
    yield {"out": Out((11, n)), **table, "b": b}
    yield {"out": Out((m, n)), **table, "b": b, "bias": draw(n), "rows": draw.integers(11, m, np.int64)}


def sparse_transpose_arguments(name, draw, m, n):
    table = sparse_rows(draw, m, n)
    for rows in (None, draw.integers(m, m // 2, np.int64)):
        counts = np.diff(table["starts"])
        size = int(counts.sum() if rows is None else counts[rows].sum())
        outputs = {"values_t": Out((size,)), "rows_t": Out((size,), "int32"), "starts_t": Out((n + 1,), "int64")}
        yield {**outputs, **table} | ({} if rows is None else {"rows": rows})


def reduction_arguments(name, draw, rows):
    for cols in (*SIZES, 128, 129, 1025):
        yield {"out": Out((cols,)), "x": draw(rows, cols, scale=max(rows, 1) ** -0.5)}


def shapes(name, size):
    """Shapes for kernels that work on elements, or on rows."""
    if name.startswith("softmax"):
        return [(size, classes) for classes in CLASSES]
    return [(size,), (size, 3), (3, size), (2, size, 2)]


def alphas(name):
    """The settings of a kernel that has one."""
    if name.startswith("leaky"):
        return [{}, {"leak": 0.3}]
    return [{}, {"scale": 1.25}] if name == "relu_gradient" else [{}]


def activation_arguments(name, draw, size):
    for shape, alpha in product(shapes(name, size), alphas(name)):
        yield {"out": Out(shape), "x": draw(*shape, scale=3), **alpha}


def gradient_arguments(name, draw, size):
    for shape, alpha in product(shapes(name, size), alphas(name)):
        y = np.empty(shape, draw.dtype)
        getattr(reference, name.removesuffix("_gradient"))(y, draw(*shape))
        yield {"dx": Out(shape), "dy": draw(*shape), "y": y, **alpha}


BY_LABEL = ("cross_entropy_labels", "log_loss_labels")


def loss_numbers(name, cols):
    """The settings of a loss that has some."""
    if name.startswith("cross_entropy"):
        return [{"taken": 0.3, "spread": 0.3 / max(cols, 1)}, {"spread": 0.1 / max(cols, 1)}]
    return {"binary_cross_entropy": [{"smoothing": 0.2}], "huber": [{"delta": 0.3}]}.get(name, [])


def loss_arguments(name, draw, rows, cols):
    z = draw(rows, cols, scale=2)
    target = {"labels": draw.integers(cols, rows, np.int32)} if name.endswith("labels") else {}
    if not target:
        t = draw.positive(rows, cols)
        target = {"targets": t / t.sum(axis=1, keepdims=True)}
    weights = draw.positive(rows) * (draw.rng.random(rows) > 0.3).astype(draw.dtype)
    more = {} if name in ("cross_entropy", *BY_LABEL) else {"output_weight": 0.25}
    if name == "quantile":
        target["levels"] = draw.positive(cols)
    for own in loss_numbers(name, cols):
        yield {"dz": Out(z.shape), "z": z, **target, "weights": weights, "scale": 0.5, **own}
    yield {"dz": Out(z.shape), "z": z, **target}
    yield {"dz": Out(z.shape), "z": z, **target, "weights": weights, "scale": 0.5, **more}
    yield {"dz": None, "z": z, **target, "weights": weights}


def penalty_arguments(name, draw, size):
    w = draw(size)
    w[: size // 3] = 0
    for gradient, strength in product((None, InOut(draw(size))), (0.0, 0.37)):
        yield {"w": w, "strength": strength, "gradient": gradient}
    yield {"w": draw(size, 3), "strength": 2.0, "gradient": InOut(draw(size, 3))}


def prox_arguments(name, draw, size):
    for step in (0.0, 0.5, draw.positive(size)):
        yield {"w": InOut(draw(size)), "step": step, "strength": 0.7}
    yield {"w": InOut(draw(3, size)), "step": draw.positive(3, size), "strength": 0.7}


def sgd_arguments(draw, size):
    yield {"w": InOut(draw(size)), "gradient": draw(size), "learning_rate": 0.1}
    yield {"w": InOut(draw(size, 2)), "gradient": draw(size, 2), "learning_rate": 0.1, "decay": 0.01}
    for nesterov, decay in product((False, True), (0.0, 0.01)):
        yield {
            "w": InOut(draw(size)), "gradient": draw(size), "velocity": InOut(draw(size)),
            "learning_rate": 0.1, "momentum": 0.9, "nesterov": nesterov, "decay": decay,
        }  # fmt: skip
    for l1, l2 in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        yield {"w": InOut(draw(size)), "gradient": draw(size), "learning_rate": 0.1, "l1": l1, "l2": l2}


def update_arguments(name, draw, size):
    if name == "sgd":
        yield from sgd_arguments(draw, size)
        return
    if name == "running_average":
        for shape, rate in product(((size,), (size, 3)), (0.0, 0.1, 1.0)):
            yield {"w": InOut(draw(*shape)), "values": draw(*shape), "learning_rate": rate}
        return
    options = [{"t": 1}, {"t": 7, "decay": 0.01}, {"t": 1000, "floor": 0.5, "step": Out((size,))}]
    options += [{"t": 2, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "step": Out((size,))}]
    options += [{"t": 3, "l1": 0.3}, {"t": 3, "l2": 0.2}, {"t": 3, "l1": 0.3, "l2": 0.2}]
    for option in options:
        yield {
            "w": InOut(draw(size)), "gradient": draw(size), "m": InOut(draw(size)),
            "v": InOut(draw.positive(size)), "learning_rate": 0.1, **option,
        }  # fmt: skip


def squares_arguments(name, draw, size):
    yield {"x": draw(size)}
    yield {"x": draw(3, size, scale=1e15)}


def clip_arguments(name, draw, size):
    for number in (0.0, 0.3, 2.0):
        yield {"x": InOut(draw(size)), {"rescale": "factor", "clamp": "bound"}[name]: number}


def noise_arguments(name, draw, size):
    rates = "sigma" if name in ("gaussian_noise", "multiplicative_noise") else "rate"
    options = [{"value": -2.5}, {}] if name == "feature_mask" else [{}]
    for shape, rate, more in product(((size, 5), (5, size), (2, size)), (0.0, 0.3, 0.5), options):
        key = {"seed": 2**63 + 5, "step": 2**40 + 3, "layer": 9}
        yield {"out": Out(shape), "x": draw(*shape), rates: rate, **more, **key}


def sum_arguments(name, draw, size):
    for shape in ((size,), (size, 3)):
        yield {"out": Out(shape), "a": draw(*shape), "b": draw(*shape)}


NORM_SHAPES = [*product(SIZES, SIZES), (255, 3), (256, 3), (257, 3), (600, 17), (3, 300)]


def moments_arguments(name, draw, rows, cols):
    yield {"mean": Out((cols,)), "variance": Out((cols,)), "x": draw(rows, cols) + draw(cols)}


def norm_arguments(name, draw, rows, cols):
    arrays = {"out": Out((rows, cols)), "x": draw(rows, cols), "scale": draw(cols), "shift": draw(cols)}
    yield from norm_options(name, draw, arrays, cols)


def norm_sums_arguments(name, draw, rows, cols):
    x, dy = draw(rows, cols), draw(rows, cols, scale=max(rows, 1) ** -0.5)
    yield from norm_options(name, draw, {"dscale": Out((cols,)), "dshift": Out((cols,)), "dy": dy, "x": x}, cols)


def norm_gradient_arguments(name, draw, rows, cols):
    arrays = {"dx": Out((rows, cols)), "dy": draw(rows, cols), "x": draw(rows, cols), "scale": draw(cols)}
    if name.startswith("batch"):
        arrays |= {"dscale": draw(cols), "dshift": draw(cols)}
    yield from norm_options(name, draw, arrays, cols)


def norm_options(name, draw, arrays, cols):
    """Statistics of the columns where they are given, and settings."""
    if name.startswith("layer"):
        yield arrays | {"epsilon": 0.1}
        return
    arrays |= {"mean": draw(cols), "variance": draw.positive(cols)}
    yield arrays
    yield arrays | {"epsilon": 0.1, "correction": 0.75}


def gather_arguments(name, draw, size):
    rows = draw.integers(7, size, np.int64)
    if name == "gather_one_hot":
        for classes in CLASSES:
            labels = draw.integers(classes, 7, np.int32)
            yield {"out": Out((size, classes)), "labels": labels, "rows": rows}
        return
    if name == "gather_labels":
        yield {"out": Out((size,), "int32"), "labels": draw.integers(99, 7, np.int32), "rows": rows}
        return
    for cols in SIZES:
        yield {"out": Out((size, cols)), "x": draw(7, cols), "rows": rows}


def random_arguments(name, draw, size):
    for stream in (0, 2**31 + 7):
        yield {
            "out": Out((4 * size,), "uint32"), "seed": 2**64 - 3, "stream": stream, "step": 2**50 + 1,
            "first_block": 12345,
        }  # fmt: skip


IMAGES = [(1, 1, 1), (3, 4, 1), (5, 5, 3), (17, 2, 1), (1, 33, 2)]
SETTINGS = {  # of the kernels that change images
    "random_flip": [(), (1.0, 0.0), (0.3, 0.7)],
    "random_rotate": [(1,), (5,), (15,)],
    "random_shift": [(), (0, 2), (40, 3, -0.5)],
    "center_crop": [(), (1, 0, 0.5, 0.3), (3, 40)],
    "cutout": [(), (3, 0.8, 0.3), (0,), (50,)],
    "color_jitter": [(), (0.3,), (0.0, 0.4), (0.3, 0.4, 0.5)],
    "pixel_noise": [(), (0.0,), (0.5,)],
    "rand_augment": [(), (0.0,), (0.3,), (1.0,)],
}


def augment_arguments(name, draw, size):
    for shape, numbers in product(IMAGES, SETTINGS[name]):
        if name == "random_rotate" and shape[0] != shape[1] and numbers == (15,):
            continue  # quarter turns are for square images
        x, rows = draw(size, math.prod(shape)), draw.integers(2**33, size, np.int64)
        settings = dict(zip(list(inspect.signature(getattr(reference, name)).parameters)[3:], numbers, strict=False))
        keys = {"seed": 2**63 + 5, "epoch": 2**32 - 1, "number": 9, "rows": rows}
        yield {"out": Out(x.shape), "x": x, "shape": shape, **settings, **keys}


def mix_arguments(name, draw, size):
    for shape, share in product([(1, size, 1), (size, 3, 1), (3, size, 2)], (0.0, 0.3, 1.0)):
        if size:
            keep = Out((math.prod(shape),))
            yield {"keep": keep, "shape": shape, "share": share, "seed": 2**64 - 1, "step": 2**40, "number": 3}


def blend_arguments(name, draw, size):
    for cols in SIZES:
        keep = draw.positive(cols)
        yield {"out": Out((size, cols)), "x": draw(size, cols), "partner": draw(size, cols), "keep": keep}


def blend_targets_arguments(name, draw, size):
    for classes, share in product(CLASSES, (0.0, 0.3, 1.0)):
        pair = {"targets": draw.positive(size, classes), "partner": draw.positive(size, classes), "share": share}
        weights = {"own_weights": draw.positive(size), "partner_weights": draw.positive(size)}
        for some in weights.values():
            some[: size // 2] = 0
        yield {"out": Out((size, classes)), **pair}
        yield {"out": Out((size, classes)), **pair, "weights": Out((size,)), **weights}


LOSS_ROWS = (*SIZES[:-1], 2, 3, 257)
LOSS_SHAPES = [(rows, cols) for rows in LOSS_ROWS for cols in CLASSES] + [
    (3, 100),
    (2, 4097),
    (1, 9000),
    (600, 10),
]
BY_SIZE = [(size,) for size in SIZES]
FAMILIES = {
    "product": (product_arguments, PRODUCTS),
    "sparse_product": (sparse_product_arguments, PRODUCTS),
    "sparse_transpose": (sparse_transpose_arguments, list(product(SIZES, SIZES))),
    "reduction": (reduction_arguments, [*BY_SIZE, (255,), (256,), (257,), (513,)]),
    "activation": (activation_arguments, BY_SIZE),
    "gradient": (gradient_arguments, BY_SIZE),
    "loss": (loss_arguments, LOSS_SHAPES),
    "penalty": (penalty_arguments, [*BY_SIZE, (4095,), (4096,), (4097,), (10000,)]),
    "prox": (prox_arguments, BY_SIZE),
    "update": (update_arguments, BY_SIZE),
    "squares": (squares_arguments, [*BY_SIZE, (4095,), (4096,), (4097,), (10000,)]),
    "clip": (clip_arguments, BY_SIZE),
    "noise": (noise_arguments, BY_SIZE),
    "sum": (sum_arguments, BY_SIZE),
    "moments": (moments_arguments, NORM_SHAPES),
    "norm": (norm_arguments, NORM_SHAPES),
    "norm_sums": (norm_sums_arguments, NORM_SHAPES),
    "norm_gradient": (norm_gradient_arguments, NORM_SHAPES),
    "gather": (gather_arguments, BY_SIZE),
    "random": (random_arguments, BY_SIZE),
    "augment": (augment_arguments, BY_SIZE),
    "mix": (mix_arguments, BY_SIZE[1:]),
    "blend": (blend_arguments, BY_SIZE),
    "blend_targets": (blend_targets_arguments, BY_SIZE),
}
CASES = [(name, case, dtype) for name, f in KERNELS.items() for case in FAMILIES[f][1] for dtype in DTYPES]


def argument_sets(name, case, dtype):
    """All that a kernel is called with in one case."""
    seed = zlib.crc32(f"{name} {case} {dtype}".encode())
    return FAMILIES[KERNELS[name]][0](name, Draw(dtype, seed), *case)


def some_arguments(name, dtype="float64"):
    """One valid call with as many arrays as possible, none of them empty."""
    sets = argument_sets(name, (7, 9, 8)[: len(FAMILIES[KERNELS[name]][1][0])], dtype)
    filled = [s for s in sets if all(guard(s[array], dtype).array.size > 1 for array in array_arguments(s))]
    return max(filled, key=lambda arguments: len(array_arguments(arguments)))


def array_arguments(arguments):
    return [name for name, value in arguments.items() if isinstance(value, (Out, InOut, np.ndarray))]


# ---- each kernel has its door and its twin


@pytest.mark.parametrize("name", [*KERNELS, "dropout_mask", "shuffle", "mixing"])
def test_door_and_twin_have_one_signature(name):
    door, twin = getattr(kernels, name), getattr(reference, name)
    assert inspect.signature(door) == inspect.signature(twin)
    assert door.__doc__.strip()


def test_every_family_has_cases_and_every_door_a_kernel():
    assert set(KERNELS.values()) == set(FAMILIES)
    composed = {"dropout_mask", "shuffle", "mixing", "dense_forward", "dense_backward"}
    doors = {name for name in vars(kernels) if not name.startswith("_")}
    assert doors == set(KERNELS) | composed


# ---- against the twins


@pytest.mark.parametrize(("name", "case", "dtype"), CASES, ids=lambda value: re.sub(r"[(), ]+", "x", str(value)))
def test_kernel_equals_its_twin(name, case, dtype):
    calls = 0
    for arguments in argument_sets(name, case, dtype):
        check(name, arguments, dtype)
        calls += 1
    assert calls


def beyond(out, x):
    np.maximum(x, 0, out=out)
    whole = out.base
    whole[Guarded.MARGIN + out.size] = 0


def short(out, x):
    np.maximum(x.reshape(-1)[:-1], 0, out=out.reshape(-1)[:-1])


def careless(out, x):
    np.maximum(x, 0, out=out)
    x.flags.writeable = True
    x += 1


def imprecise(out, x):
    np.maximum(x * (1 + 1e-5), 0, out=out)


@pytest.mark.parametrize("faulty", [beyond, short, careless, imprecise])
def test_the_check_catches_a_faulty_kernel(monkeypatch, faulty):
    arguments = {"out": Out((9,)), "x": Draw("float32", 0)(9) ** 2}
    check("relu", arguments, "float32")
    monkeypatch.setattr(kernels, "relu", faulty)
    with pytest.raises(AssertionError):
        check("relu", arguments, "float32")


IN_PLACE = {
    "activation": ("out", "x"),
    "gradient": ("dx", "dy"),
    "loss": ("dz", "z"),
    "noise": ("out", "x"),
    "sum": ("out", "a"),
    "norm": ("out", "x"),
    "norm_gradient": ("dx", "dy"),
}


APART = ("swap_noise",)  # it reads other rows


@pytest.mark.parametrize("name", [name for name, f in KERNELS.items() if f in IN_PLACE and name not in APART])
@every_dtype
def test_in_place_has_the_same_bits(name, dtype):
    out, source = IN_PLACE[KERNELS[name]]
    for case in ((33, 17), (33, 3)) if len(FAMILIES[KERNELS[name]][1][0]) == 2 else ((33,), (100,)):
        for arguments in argument_sets(name, case, dtype):
            if arguments[out] is None:
                continue
            apart = unwrap({k: guard(v, dtype) for k, v in arguments.items()})
            same = guard(InOut(arguments[source]), dtype)
            together = apart | {out: same.array, source: same.array}
            assert getattr(kernels, name)(**together) == getattr(kernels, name)(**apart)
            assert same.array.tobytes() == apart[out].tobytes()
            assert same.margins_hold()


@every_dtype
def test_a_loss_is_the_same_bits_with_and_without_gradient_and_row_by_row(dtype):
    draw = Draw(dtype, 0)
    names = "cross_entropy", "cross_entropy_labels"
    for classes, name, which in product(CLASSES, names, range(3)):
        numbers = [{}, *loss_numbers(name, classes)][which]
        *_, arguments = argument_sets(name, (33, classes), dtype)
        z, weights = arguments["z"], draw.positive(33)
        target = arguments.get("targets", arguments.get("labels"))
        dz, row = np.empty_like(z), np.empty_like(z[:1])
        loss = partial(getattr(kernels, name), **numbers)
        assert loss(dz, z, target, weights, 0.3) == loss(None, z, target, weights, 0.3)
        for i in range(len(z)):  # one row, or a whole vector of rows: two pieces of code
            loss(row, z[i : i + 1], target[i : i + 1], weights[i : i + 1], 0.3)
            assert row.tobytes() == dz[i : i + 1].tobytes()


@every_dtype
def test_dense_doors_are_the_products(dtype):
    draw = Draw(dtype, 0)
    x, weight, bias, dout = draw(17, 9), draw(9, 33), draw(33), draw(17, 33)
    got, want = np.empty((17, 33), dtype), np.empty((17, 33), dtype)
    kernels.dense_forward(got, x, weight, bias)
    kernels.gemm_nn(want, x, weight, bias)
    assert got.tobytes() == want.tobytes()
    results = [np.full_like(a, np.nan) for a in (weight, bias, x)]
    kernels.dense_backward(*results, dout, x, weight)
    for got, want in zip(results, (x.T @ dout, dout.sum(axis=0), dout @ weight.T), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    only = np.empty_like(weight)
    kernels.dense_backward(only, None, None, dout, x, weight)
    assert only.tobytes() == results[0].tobytes()


# ---- the order of sums, to the bit


def nearest(exact, dtype):
    """The number of `dtype` nearest to a Fraction, ties to even."""
    near = np.dtype(dtype).type(float(exact))  # float() rounds right; rounding its result again may not
    around = [near, *(np.nextafter(near, near.dtype.type(end)) for end in (-np.inf, np.inf))]
    bits = {"float32": np.int32, "float64": np.int64}[str(near.dtype)]
    return min(around, key=lambda value: (abs(Fraction(float(value)) - exact), int(value.view(bits)) & 1))


def test_nearest_rounds_once():
    tie = Fraction(1) + Fraction(1, 2**24)  # between two float32
    assert nearest(tie, "float32") == 1
    assert nearest(tie + Fraction(1, 2**70), "float32") == 1 + np.float32(2**-23)
    assert float(np.float32(float(tie + Fraction(1, 2**70)))) == 1  # rounded twice


def multiply_add(a, b, total):
    if not FUSED:
        return a * b + total
    return nearest(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(total)), a.dtype)


def ordered_product(a, b, before, bias):
    """((S0 + S1) + S2) + before + bias, S_b a chain of fused multiply-adds from +0 over 256 consecutive k."""
    total = None
    for start in range(0, len(a), 256):
        block = a.dtype.type(0)
        for x, y in zip(a[start : start + 256], b[start : start + 256], strict=True):
            block = multiply_add(x, y, block)
        total = block if total is None else total + block
    return before + total + bias


@pytest.mark.parametrize("name", ["gemm_nn", "gemm_nt", "gemm_tn"])
@pytest.mark.parametrize(("m", "n", "k"), [(2, 3, 9), (1, 1, 600), (7, 17, 256), (33, 100, 600), (70, 130, 1400)])
@every_dtype
def test_products_sum_in_the_contracts_order(name, m, n, k, dtype):
    draw = Draw(dtype, 0)
    a, b, before, bias = draw(m, k), draw(k, n), draw(m, n), draw(n)
    out = before.copy()
    left = np.ascontiguousarray(a.T) if name == "gemm_tn" else a
    right = np.ascontiguousarray(b.T) if name == "gemm_nt" else b
    getattr(kernels, name)(out, left, right, bias, accumulate=True)
    for i, j in {(0, 0), (m - 1, n - 1), (m // 2, n // 3)}:
        assert out[i, j] == ordered_product(a[i], b[:, j], before[i, j], bias[j])


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (256, 7), (257, 33), (600, 100), (600, 1100)])
@every_dtype
def test_column_sum_adds_blocks_of_256_rows(rows, cols, dtype):
    x = Draw(dtype, 0)(rows, cols)
    blocks = [np.add.accumulate(x[start : start + 256], axis=0)[-1] for start in range(0, rows, 256)]
    out = np.empty(cols, dtype)
    kernels.column_sum(out, x)
    assert out.tobytes() == np.add.accumulate(blocks, axis=0)[-1].tobytes()


def lanes_sum(x):
    """Sum over 16 strided partial sums, folded by halves."""
    padded = np.zeros(-(-len(x) // 16) * 16, x.dtype)
    padded[: len(x)] = x
    total = np.add.accumulate(padded.reshape(-1, 16), axis=0)[-1]
    while len(total) > 1:
        total = total[: len(total) // 2] + total[len(total) // 2 :]
    return total[0]


@pytest.mark.parametrize("n", [1, 15, 100, 4096, 10_000])
@every_dtype
def test_penalties_are_summed_in_chunks_of_4096_and_16_lanes(n, dtype):
    w = Draw(dtype, 0)(n)
    for name, terms in (("l1", np.abs(w)), ("l2", w * w)):
        chunks = [float(lanes_sum(terms[start : start + 4096])) for start in range(0, n, 4096)]
        assert getattr(kernels, name)(w, 0.3) == 0.3 * reduce(add, chunks)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (33, 3), (300, 16), (300, 17), (600, 40)])
@every_dtype
def test_losses_are_summed_in_chunks_of_256_rows_and_16_lanes(rows, cols, dtype):
    draw = Draw(dtype, 0)
    z, targets, weights = draw(rows, cols), draw(rows, cols), draw.positive(rows)
    squares = (z - targets) ** 2
    by_row = [lanes_sum(row) if cols > 16 else np.add.accumulate(row)[-1] for row in squares]
    losses = weights * np.array(by_row, dtype)
    chunks = [float(lanes_sum(losses[start : start + 256])) for start in range(0, rows, 256)]
    assert kernels.squared_error(None, z, targets, weights) == reduce(
        add, chunks
    )  # sum() compensates from Python 3.12 on


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
@pytest.mark.parametrize("n", [1, 15, 100, 4096, 10_000])
def test_an_optimizer_adds_penalties_as_their_kernels_do(n, l1, l2, dtype):
    rng = np.random.default_rng(n)
    w, gradient, *state = rng.normal(size=(4, n)).astype(dtype)
    w[::7] = 0
    state[1] **= 2
    for name, buffers, options in (("sgd", 1, {"momentum": 0.9, "nesterov": True}), ("adam", 2, {"t": 3})):
        update, within, apart = getattr(kernels, name), [w.copy(), gradient.copy()], [w.copy(), gradient.copy()]
        within += [array.copy() for array in state[:buffers]]
        apart += [array.copy() for array in state[:buffers]]
        penalty = update(*within, learning_rate=0.1, l1=l1, l2=l2, **options)
        values = [kernels.l1(apart[0], l1, apart[1])] if l1 else []
        values += [kernels.l2(apart[0], l2, apart[1])] if l2 else []
        assert update(*apart, learning_rate=0.1, **options) == 0
        assert np.array_equal(within[1], gradient)
        assert all(np.array_equal(a, b) for i, (a, b) in enumerate(zip(within, apart, strict=True)) if i != 1)
        assert penalty == pytest.approx(sum(values), rel=1e-15)


# ---- exact values


INF, NAN = np.inf, np.nan
LIMITS = {
    "sigmoid": {0: 0.5, INF: 1, -INF: 0, NAN: NAN, 1000: 1, -1000: 0, 50: 1},
    "tanh": {0: 0, INF: 1, -INF: -1, NAN: NAN, 1000: 1, -1000: -1},
    "exp": {0: 1, INF: INF, -INF: 0, NAN: NAN, 1000: INF, -1000: 0},
    "log": {1: 0, 0: -INF, INF: INF, -INF: NAN, NAN: NAN, -3: NAN},
    "erf": {0: 0, INF: 1, -INF: -1, NAN: NAN, 1000: 1, -1000: -1, 6: 1},
    "relu": {0: 0, INF: INF, -INF: 0, NAN: NAN, -3: 0, 3: 3},
    "leaky_relu": {0: 0, INF: INF, -INF: -INF, NAN: NAN, -4: np.float32(0.01) * -4, 3: 3},
    "identity": {0: 0, INF: INF, -INF: -INF, NAN: NAN, 3: 3},
}


@pytest.mark.parametrize("name", LIMITS)
@every_dtype
def test_limits_are_exact(name, dtype):
    x = np.array(list(LIMITS[name]) * 9, dtype)  # in every lane
    want = np.array(list(LIMITS[name].values()) * 9, dtype)
    out = np.empty_like(x)
    getattr(kernels, name)(out, x)
    if name == "leaky_relu":
        np.testing.assert_allclose(out, want, rtol=1e-7)
    else:
        np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(("name", "want"), [("tanh", -0.0), ("erf", -0.0), ("exp", 1), ("log", -INF), ("sigmoid", 0.5)])
@every_dtype
def test_minus_zero_is_a_limit_too(name, want, dtype):
    out = np.full(17, -0.0, dtype)
    getattr(kernels, name)(out, out)
    np.testing.assert_array_equal(out, np.full(17, want, dtype))
    assert (np.signbit(out) == np.signbit(want)).all()


SOFTMAX_ROWS = [
    ([0, 0], [0.5, 0.5]), ([5], [1]), ([-INF, 0], [0, 1]), ([1e30, 0], [1, 0]), ([0, -800], [1, 0]),
    ([NAN, 0], [NAN, NAN]), ([0, NAN, 1], [NAN] * 3), ([INF, 0], [NAN, NAN]), ([7] * 32, [1 / 32] * 32),
    ([0] * 16 + [NAN], [NAN] * 17), ([-INF] * 3, [NAN] * 3), ([-INF] * 20 + [3], [0] * 20 + [1]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "want"), SOFTMAX_ROWS, ids=[str(i) for i in range(len(SOFTMAX_ROWS))])
@every_dtype
def test_softmax_limits_are_exact(row, want, dtype):
    out = np.empty((2, len(row)), dtype)
    kernels.softmax(out, np.array([row, row], dtype))
    np.testing.assert_array_equal(out, np.array([want, want], dtype))


@every_dtype
def test_underflow_is_gradual(dtype):
    smallest = {"float32": -103.0, "float64": -745.0}[dtype]  # exp of it is the smallest subnormal
    x = np.array([[0, smallest + 1.5, smallest, smallest - 2]], dtype)
    out = np.empty_like(x)
    kernels.softmax(out, x)
    want = np.exp(x.astype(np.longdouble)).astype(dtype)
    assert 0 < want[0, 2] < want[0, 1] < np.finfo(dtype).tiny
    np.testing.assert_array_equal(out, want)


FLUSH = 0x8040  # of the SSE control register: flush subnormal results to zero, read subnormal inputs as zero


class SubnormalsFlushed:
    """The processor as a library linked with -ffast-math leaves it."""

    def __enter__(self):
        self.libm = ctypes.CDLL("libm.so.6")
        self.before = self.environment()
        environment = self.environment()
        environment[7] |= FLUSH
        self.libm.fesetenv(environment)
        return self

    def __exit__(self, *_):
        self.libm.fesetenv(self.before)

    def environment(self):
        environment = (ctypes.c_uint32 * 8)()  # glibc's fenv_t: seven words of x87, then MXCSR
        self.libm.fegetenv(environment)
        return environment


needs_glibc = pytest.mark.skipif(
    (platform.system(), platform.machine(), platform.libc_ver()[0]) != ("Linux", "x86_64", "glibc"),
    reason="sets the mode as glibc on x86-64 does",
)


@needs_glibc
@pytest.mark.parametrize("name", KERNELS)
@every_dtype
def test_subnormals_are_kept_whatever_the_process_does_with_them(name, dtype):
    for scale in (np.finfo(dtype).tiny / 4, 0.3 * np.log(np.finfo(dtype).max)):  # subnormal; exponentials are
        arguments, answers = some_arguments(name, dtype), []
        for value in arguments.values():
            array = value.values if isinstance(value, InOut) else value
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                array *= array.dtype.type(scale)
        for mode in (nullcontext(), SubnormalsFlushed()):
            mine = {argument: guard(value, dtype) for argument, value in arguments.items()}
            given = unwrap(mine)
            with mode as flushed:
                value = getattr(kernels, name)(**given)
                kept = flushed is None or flushed.environment()[7] & FLUSH == FLUSH
            assert kept, "the mode was not put back"
            outputs = [mine[a].whole.tobytes() for a in array_arguments(arguments)]
            answers.append((None if value is None else value.hex(), *outputs))
        assert answers[0] == answers[1]


@needs_glibc
def test_the_mode_flushes():
    x = np.full(100, 1e-310)
    with SubnormalsFlushed():
        y = x * 0.5
    assert not y.any()


@every_dtype
def test_losses_stay_finite_for_large_logits(dtype):
    z, dz = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype), np.empty((2, 3), dtype)
    assert kernels.cross_entropy_labels(dz, z, np.array([0, 0], np.int32)) == 2e4
    np.testing.assert_array_equal(dz, [[0, 0, 0], [-1, 1, 0]])
    targets = np.array([[1, 0, 0.5], [1, 0, 0.5]], dtype)
    np.testing.assert_allclose(kernels.binary_cross_entropy(dz, z, targets), 2e4 + 2 * np.log(2), rtol=1e-7)
    np.testing.assert_array_equal(dz, [[0, 0, 0], [-1, 1, 0]])


@pytest.mark.parametrize("classes", [3, 17])
@pytest.mark.parametrize("name", [name for name, family in KERNELS.items() if family == "loss"])
@every_dtype
def test_nan_reaches_the_value_of_a_loss(name, classes, dtype):
    for place in ((0, 0), (4, 1), (4, classes - 1)):
        arguments = next(argument_sets(name, (5, classes), dtype)) | {"dz": None}
        arguments["z"][place] = np.nan
        assert np.isnan(getattr(kernels, name)(**arguments))


EXACTER = {"float32": np.float64}
if np.finfo(np.longdouble).eps < np.finfo(np.float64).eps:
    EXACTER["float64"] = np.longdouble
CURVES = {
    "exp": np.exp, "log": np.log, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh,
    "erf": lambda x: np.vectorize(math.erf)(x.astype(np.float64)),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("dtype", EXACTER)
def test_curves_are_within_two_units_in_the_last_place(name, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=4000) * 10.0**power for power in (-9, -3, 0, 1)]).astype(dtype)
    x = x[np.abs(x) < {"float32": 80, "float64": 700}[dtype]]
    x = np.abs(x) if name == "log" else x
    out = np.empty_like(x)
    getattr(kernels, name)(out, x)
    exact = CURVES[name](x.astype(EXACTER[dtype]))
    error = np.abs(out.astype(EXACTER[dtype]) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert error.max() <= ULP


@pytest.mark.parametrize("dtype", EXACTER)
def test_the_loss_of_a_sure_logit_keeps_its_precision(dtype):
    """log(1 + exp(-z)) where 1 + exp(-z) has lost much of the exponential: two functions, each within 2 ULP."""
    z = np.linspace(4, 12, 2001).astype(dtype).reshape(-1, 1, 1)
    one = np.ones((1, 1), dtype)
    got = np.array([kernels.binary_cross_entropy(None, logit, one) for logit in z])
    exact = np.log1p(np.exp(-z.astype(EXACTER[dtype]))).reshape(-1)
    error = np.abs(got - exact) / np.spacing(exact.astype(dtype))
    assert error.max() <= 2


@every_dtype
def test_thresholds_at_their_edges(dtype):
    w = np.array([0.5, -0.5, 0.25, -0.25, 0.75, -0.75, 0.0, NAN], dtype)
    soft, hard = w.copy(), w.copy()
    kernels.soft_threshold(soft, 1.0, 0.5)
    kernels.hard_threshold(hard, 1.0, 0.5)
    np.testing.assert_array_equal(soft, np.array([0, 0, 0, 0, 0.25, -0.25, 0, NAN], dtype))
    np.testing.assert_array_equal(hard, np.array([0.5, -0.5, 0, 0, 0.75, -0.75, 0, NAN], dtype))


@every_dtype
def test_state_below_1e_30_becomes_zero(dtype):
    w, g = np.zeros(5, dtype), np.zeros(5, dtype)
    u = np.array([1e-31, -1e-31, 4e-30, -4e-30, 1], dtype)
    m, v = u.copy(), np.ones(5, dtype)
    kernels.sgd(w, g, u, learning_rate=0.1, momentum=0.5)
    kernels.adam(w, g, m, v, learning_rate=0.1, t=1, beta1=0.5)
    for state in (u, m):
        assert (state != 0).tolist() == [False, False, True, True, True]


# ---- random numbers


KNOWN_ANSWERS = [  # Random123's kat_vectors: counter, key, result
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
interpreter = pytest.mark.parametrize("module", [kernels, reference], ids=["compiled", "reference"])


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
@interpreter
def test_philox_known_answers(counter, key, words, module):
    out = np.zeros(4, np.uint32)
    block, stream, low, high = counter
    seed, step = key[0] | key[1] << 32, low | high << 32
    module.random_words(out, seed=seed, stream=stream, step=step, first_block=block)
    assert " ".join(f"{word:08x}" for word in out) == words


def defined_mask(rows, cols, rate, *, seed, step, layer):
    """The mask, number by number from the definition."""
    stride, dropped = -(-cols // 16) * 16, min(round(65536 * rate), 65535)
    words = np.zeros(max(rows * stride // 2, 4), np.uint32)
    kernels.random_words(words, seed=seed, stream=layer, step=step)
    numbers = np.stack([words & 0xFFFF, words >> 16], axis=1).reshape(-1)[: rows * stride]
    kept = numbers.reshape(rows, stride)[:, :cols] >= dropped
    return np.where(kept, 65536 / (65536 - dropped), 0)


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (5, 7), (3, 16), (17, 33), (33, 17), (100, 64), (7, 100), (600, 33)])
@every_dtype
def test_masks_equal_their_definition_and_their_twin(shape, dtype):
    for rate in (0.0, 0.2, 0.5, 0.999999):
        keys = {"seed": 2**40 + 7, "step": 2**33 + 1, "layer": 3}
        got, twin = (np.full(shape, np.nan, dtype) for _ in range(2))
        kernels.dropout_mask(got, rate, **keys)
        reference.dropout_mask(twin, rate, **keys)
        assert got.tobytes() == twin.tobytes()
        np.testing.assert_array_equal(got, defined_mask(*shape, rate, **keys).astype(dtype))
        x, dropped = Draw(dtype, 0)(*shape), np.empty(shape, dtype)
        kernels.dropout(dropped, x, rate, **keys)
        np.testing.assert_array_equal(dropped, x * got)


def kept_units(rate=0.5, shape=(400, 256), **keys):
    mask = np.empty(shape, np.float32)
    kernels.dropout_mask(mask, rate, **{"seed": 1} | keys)
    return mask > 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_drop_at_their_rate_and_independently(rate):
    kept = kept_units(rate)
    sigma = np.sqrt(rate * (1 - rate))
    assert abs(kept.mean() - (1 - rate)) < 4 * sigma / np.sqrt(kept.size)
    for axis in (0, 1):
        assert np.abs(kept.mean(axis) - (1 - rate)).max() < 5 * sigma / np.sqrt(kept.shape[axis])
    centred = (kept - kept.mean()) / sigma
    others = [kept_units(rate, **key) for key in ({"seed": 2}, {"step": 1}, {"layer": 1}, {"step": 2**32})]
    pairs = [(centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])]
    pairs += [(centred, (other - other.mean()) / sigma) for other in others]
    assert max(abs((a * b).mean()) for a, b in pairs) < 5 / np.sqrt(kept.size)


def test_a_mask_belongs_to_row_and_unit_not_to_the_batch():
    assert (kept_units(shape=(5, 256)) == kept_units(shape=(9, 256))[:5]).all()
    assert (kept_units(shape=(9, 250)) == kept_units(shape=(9, 256))[:, :250]).all()


@pytest.mark.parametrize("n", [*SIZES, 1000, 5000])
def test_shuffle_is_a_permutation_and_equals_its_twin(n):
    order, twin = (np.full(n, -1, np.int64) for _ in range(2))
    kernels.shuffle(order, seed=2**63 + 1, step=2**35)
    reference.shuffle(twin, seed=2**63 + 1, step=2**35)
    assert order.tolist() == twin.tolist()
    assert sorted(order.tolist()) == list(range(n))


def chi_square(counts):
    expected = counts.mean()
    return ((counts - expected) ** 2 / expected).sum()


def test_shuffles_are_uniform():
    orders = np.empty((4800, 4), np.int64)
    for step, order in enumerate(orders):
        kernels.shuffle(order, seed=3, step=step)
    counts = np.bincount(orders @ [64, 16, 4, 1])
    counts = counts[counts > 0]
    assert len(counts) == 24
    assert chi_square(counts) < 49.7  # 23 degrees of freedom, p = 0.001
    assert chi_square(np.arange(200, 224) * np.ones(24)) < 49.7 < chi_square(np.arange(1, 25) * 17.0)


# ---- sparse products


@pytest.mark.parametrize(("m", "n", "k"), [(5, 3, 9), (33, 100, 600), (20, 17, 1400), (9, 70, 256)])
@every_dtype
def test_sparse_products_have_the_bits_of_dense_ones(m, n, k, dtype):
    """Forward, and the weight gradient by the transposed rows: the zeros change no sum, whatever its blocks."""
    draw = Draw(dtype, 0)
    table = sparse_rows(draw, m, k)
    dense = np.zeros((m, k), dtype)
    dense[np.repeat(np.arange(m), np.diff(table["starts"])), table["columns"]] = table["values"]
    b, bias, rows = draw(k, n), draw(n), draw.integers(m, 300, np.int64)
    got, want = np.empty((300, n), dtype), np.empty((300, n), dtype)
    kernels.csr_product(got, **table, b=b, bias=bias, rows=rows)
    kernels.gemm_nn(want, np.ascontiguousarray(dense[rows]), b, bias)
    assert got.tobytes() == want.tobytes()
    size = int(np.diff(table["starts"])[rows].sum())
    turned = {"values": np.empty(size, dtype), "columns": np.empty(size, np.int32), "starts": np.empty(k + 1, np.int64)}
    kernels.csr_transpose(*turned.values(), **table, rows=rows)
    dout, dweight, expected = draw(300, n), np.empty((k, n), dtype), np.empty((k, n), dtype)
    kernels.csr_product(dweight, **turned, b=dout)
    kernels.gemm_tn(expected, np.ascontiguousarray(dense[rows]), dout)
    assert dweight.tobytes() == expected.tobytes()


# ---- what a door refuses


def damaged(value, how, dtype):
    """A wrong array in the place of a right one."""
    array = guard(value, dtype).array
    if how == "shape":
        return np.zeros((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
    if how == "dtype":
        return np.zeros(array.shape, np.float16)
    if how == "mixed":
        return array.astype({"f": "float32"}.get(array.dtype.kind, "int16"))
    return np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]  # "strided"


FREE = [  # another length is another meaning, and seen as such elsewhere; a single array may be of either dtype
    ("random_words", "out", "shape"), ("gather_labels", "labels", "shape"), ("csr_product", "starts", "shape"),
    ("csr_transpose", "starts", "shape"), ("csr_transpose", "starts_t", "shape"), ("csr_transpose", "rows", "shape"),
    ("gather_one_hot", "out", "shape"), ("gather_one_hot", "labels", "shape"),
    ("gather_one_hot", "out", "mixed"), *[(name, "keep", "mixed") for name in KERNELS if KERNELS[name] == "mix"],
    *((name, "x", how) for name in ("square_sum", "rescale", "clamp") for how in ("shape", "mixed")),  # it stands alone
]  # fmt: skip
DAMAGE = [
    (name, argument, how)
    for name in KERNELS
    for argument in array_arguments(some_arguments(name))
    for how in ("shape", "dtype", "mixed", "strided")
    if (name, argument, how) not in FREE
]


@pytest.mark.parametrize(("name", "argument", "how"), DAMAGE)
def test_a_wrong_array_is_refused_and_nothing_is_written(name, argument, how):
    arguments = some_arguments(name)
    mine = {k: guard(v, "float64") for k, v in arguments.items()}
    bad = damaged(arguments[argument], how, "float64")
    with pytest.raises((TypeError, ValueError)) as refused:
        getattr(kernels, name)(**unwrap(mine) | {argument: bad})
    message = str(refused.value)
    if how == "shape":
        assert len(set(re.findall(r"\([\d, ]+\)", message))) >= 2, message
        assert str(bad.shape) in message
    elif arguments[argument].__class__ is np.ndarray or how != "strided":
        assert argument in message or "dtype" in message or "contiguous" in message, message
    assert all(array.unchanged() for array in mine.values() if isinstance(array, Guarded))


WRITTEN = [(n, a) for n in KERNELS for a, v in some_arguments(n).items() if isinstance(v, (Out, InOut))]


@pytest.mark.parametrize(("name", "argument"), WRITTEN)
def test_a_read_only_output_is_refused(name, argument):
    mine = unwrap({k: guard(v, "float64") for k, v in some_arguments(name).items()})
    mine[argument].flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        getattr(kernels, name)(**mine)


def zeros(*shape, dtype="float64"):
    return np.zeros(shape, dtype)


def labels(*values, dtype="int32"):
    return np.array(values, dtype)


REFUSED = [
    ("gemm_nn", (zeros(2, 5), zeros(2, 3), zeros(4, 5)), {}, ValueError, r"\(2, 3\).*\(4, 5\)"),
    ("gemm_nt", (zeros(2, 5), zeros(2, 3), zeros(5, 4)), {}, ValueError, r"\(2, 3\).*\(5, 4\)"),
    ("gemm_tn", (zeros(2, 5), zeros(3, 2), zeros(4, 5)), {}, ValueError, r"\(3, 2\).*\(4, 5\)"),
    ("gemm_nn", (zeros(5, 2), zeros(2, 3), zeros(3, 5)), {}, ValueError, r"out.*\(5, 2\).*\(2, 5\)"),
    ("gemm_nn", (zeros(2), zeros(2, 3), zeros(3, 5)), {}, ValueError, r"out must be 2-D.*\(2,\)"),
    ("dense_forward", (zeros(2, 5), zeros(2, 3), zeros(4, 5)), {}, ValueError, r"\(2, 3\).*\(4, 5\)"),
    ("softmax", (zeros(3), zeros(3)), {}, ValueError, "2-D"),
    ("relu", ([0.0], zeros(1)), {}, TypeError, "out must be a NumPy array"),
    ("relu", (zeros(1), zeros(1).astype(">f8")), {}, TypeError, "x must be float32 or float64"),
    ("l1", (zeros(3), -1.0), {}, ValueError, "strength.*>= 0.*-1"),
    ("l2", (zeros(3), NAN), {}, ValueError, "strength.*nan"),
    ("l2", (zeros(3), INF), {}, ValueError, "strength.*inf"),
    ("soft_threshold", (zeros(3), 0.1, -1.0), {}, ValueError, "strength.*-1"),
    ("soft_threshold", (zeros(3), -0.1, 1.0), {}, ValueError, "step.*-0.1"),
    ("hard_threshold", (zeros(3), 0.1, NAN), {}, ValueError, "strength.*nan"),
    ("cross_entropy_labels", (None, zeros(2, 3), labels(0, 3)), {}, ValueError, r"labels.*0\.\.2.*3"),
    ("cross_entropy_labels", (None, zeros(2, 3), labels(0, -1)), {}, ValueError, r"labels.*0\.\.2.*-1"),
    ("cross_entropy_labels", (None, zeros(2, 3), labels(0, 1, dtype="int64")), {}, TypeError, "int32.*int64"),
    ("cross_entropy_labels", (None, zeros(2, 3), [0, 1]), {}, TypeError, "labels.*int32.*list"),
    ("dropout", (zeros(2, 3), zeros(2, 3), 1.0), {"seed": 0}, ValueError, r"rate.*\[0, 1\).*1"),
    ("dropout", (zeros(2, 3), zeros(2, 3), -0.1), {"seed": 0}, ValueError, r"rate.*\[0, 1\).*-0.1"),
    ("dropout_mask", (zeros(2, 3), NAN), {"seed": 0}, ValueError, r"rate.*nan"),
    ("dropout_mask", (zeros(3), 0.5), {"seed": 0}, ValueError, r"out must be 2-D"),
    ("dropout_mask", (zeros(2, 3), 0.5), {"seed": -1}, ValueError, r"seed.*-1"),
    ("dropout_mask", (zeros(2, 3), 0.5), {"seed": 2**64}, ValueError, "seed"),
    ("dropout_mask", (zeros(2, 3), 0.5), {"seed": 0, "layer": 2**16}, ValueError, "layer"),
    ("dropout_mask", (zeros(2, 3), 0.5), {"seed": 0, "step": -1}, ValueError, "step"),
    ("random_words", (zeros(6, dtype="uint32"),), {"seed": 0}, TypeError, "multiple of 4"),
    ("shuffle", (zeros(6),), {"seed": 0, "step": 0}, TypeError, "int64"),
    ("sgd", (zeros(3), zeros(3)), {"learning_rate": 0.1, "momentum": 0.9}, ValueError, "momentum.*velocity"),
    ("adam", (zeros(3),) * 4, {"learning_rate": 0.1, "t": 0}, ValueError, "t counts updates from 1.*0"),
    ("gather", (zeros(1, 2), zeros(3, 2), np.array([3])), {}, ValueError, r"rows.*0\.\.2.*3"),
    ("gather", (zeros(1, 2), zeros(3, 2), np.array([-1])), {}, ValueError, r"rows.*0\.\.2.*-1"),
    ("gather_labels", (labels(0), labels(1, 2), np.array([2])), {}, ValueError, r"rows.*0\.\.1.*2"),
    ("csr_product", (zeros(1, 5), zeros(1), labels(0), np.array([0, 1]), zeros(3, 5), None, np.array([1])), {},
     ValueError, r"rows must be in 0\.\.0.*1"),
    ("csr_transpose", (zeros(1), labels(0), np.array([0, 1]), zeros(1), labels(1), np.array([0, 1])), {},
     ValueError, r"columns of row 0.*0\.\.0.*1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs", "error", "message"), REFUSED)
def test_bad_numbers_and_shapes_are_refused(name, args, kwargs, error, message):
    with pytest.raises(error, match=message):
        getattr(kernels, name)(*args, **kwargs)


@pytest.mark.parametrize(
    ("columns", "starts", "message"),
    [
        ((0, 3), (0, 1, 2), r"columns of row 1 must rise within 0\.\.2, got 3"),
        ((0, -1), (0, 1, 2), r"columns of row 1.*got -1"),
        ((2, 1), (0, 2, 2), r"columns of row 0.*got 1"),
        ((1, 1), (0, 2, 2), r"columns of row 0.*got 1"),
        *(((0, 1), starts, "starts of shape .* must rise") for starts in ((0, 3, 2), (1, 1, 2), (0, 1, 3), (0, -1, 2))),
        ((0, 1), (), r"starts of shape \(0,\) must rise"),
    ],
)
def test_sparse_rows_that_point_outside_are_refused(columns, starts, message):
    starts = np.array(starts, np.int64)
    with pytest.raises(ValueError, match=message):
        kernels.csr_product(zeros(2, 5), zeros(2), labels(*columns), starts, zeros(3, 5))
    with pytest.raises(ValueError, match=message):
        kernels.csr_transpose(zeros(2), labels(0, 0), np.zeros(4, np.int64), zeros(2), labels(*columns), starts)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 8, 10, 16, 17, 40])
def test_a_row_alone_has_the_bits_of_a_row_in_a_batch(dtype, classes):
    rng = np.random.default_rng(classes)
    z = (4 * rng.standard_normal((64, classes))).astype(dtype)
    z[3, 0] = -np.inf  # a class that is ruled out
    targets = rng.dirichlet(np.ones(classes), 64).astype(dtype)
    targets[3] = np.eye(classes)[-1]
    labels = rng.integers(0, classes, 64).astype(np.int32)
    labels[3] = classes - 1
    for loss, wanted in ((kernels.cross_entropy, targets), (kernels.cross_entropy_labels, labels)):
        together, alone = np.empty_like(z), np.empty_like(z)
        total = loss(together, z, wanted)
        single = [loss(alone[i : i + 1], z[i : i + 1], wanted[i : i + 1]) for i in range(len(z))]
        assert alone.tobytes() == together.tobytes()
        assert np.isfinite(total)
        assert total == float(lanes_sum(np.array(single, dtype)))


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("weights", [None, np.array([2.0, 0.5])])
def test_a_class_that_is_ruled_out_adds_nothing(module, weights):
    z, dz = np.array([[1.0, -np.inf, 1.0], [0.0, 0.0, -np.inf]]), np.empty((2, 3))
    expected = np.log(2) * (2 if weights is None else weights.sum())
    assert module.cross_entropy_labels(dz, z, np.zeros(2, np.int32), weights) == pytest.approx(expected)
    assert module.cross_entropy(dz, z, np.eye(3)[[0, 0]], weights) == pytest.approx(expected)
    assert np.isfinite(dz).all()


MAY_BE_NONE = {"dz", "dbias", "dx"}  # where they are not written, nothing is needed
REQUIRED = [
    (name, argument)
    for name in sorted(name for name in dir(kernels) if hasattr(reference, name) and not name.startswith("_"))
    for argument, parameter in inspect.signature(getattr(reference, name)).parameters.items()
    if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    if argument not in MAY_BE_NONE or (argument == "dx" and name != "dense_backward")
]


@pytest.mark.parametrize(("name", "missing"), REQUIRED)
def test_none_in_place_of_a_needed_argument_is_a_type_error(name, missing):
    x, labels, rows = np.ones((4, 4), np.float32), np.zeros(4, np.int32), np.arange(4)
    values = {"labels": labels, "rows": rows, "rate": 0.5, "strength": 0.1, "step": 0.1}
    values |= {"alpha": 0.2, "probability": 1.0, "n_rows": 4, "share": 0.3, "shape": (2, 2, 1)}
    if KERNELS.get(name) == "mix":
        values |= {"keep": x[0].copy()}
    if name == "gather_labels":
        values["out"] = labels.copy()
    if name == "dense_backward":
        values |= {"dbias": None, "dx": x.copy()}
    if name.startswith("csr"):
        sparse = {"values": x[0].copy(), "columns": np.arange(4, dtype=np.int32), "starts": np.array([0, 1, 2, 3, 4])}
        values |= {**sparse, "values_t": x[0].copy(), "rows_t": labels, "starts_t": np.zeros(5, np.int64)}
    if name in ("random_words", "shuffle"):
        values = {"out": np.zeros(4, np.uint32), "order": rows.copy()}
    parameters = inspect.signature(getattr(reference, name)).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    keys = {p.name: 1 for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY}
    arguments = {n: values.get(n, x.copy()) for n in needed} | {missing: None}
    with pytest.raises(TypeError):
        getattr(kernels, name)(*(arguments[n] for n in needed), **keys)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: kernels.gemm_nn(a[:4], a[:4], a[2:6]),
        lambda a: kernels.relu(a[1:], a[:-1]),
        lambda a: kernels.gather(a[:4], a, np.array([3, 0, 0, 0])),
    ],
)
def test_an_output_that_overlaps_an_input_in_part_is_refused(call):
    with pytest.raises(ValueError, match="overlaps"):
        call(np.ones((6, 4), np.float32)[:, :4])
