"""Data at the door: checked once, in the words of whoever passed it, copied only where that must be.

What comes out is a C-contiguous, aligned array of the network's dtype: the user's own if it is one already.
Nothing here writes into what was passed.
"""

import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from numbers import Real

import numpy as np

from fastreg.targets import as_targets

_BLOCK = 1 << 16  # elements that are tested at a time, so that the test needs no mask as large as the data


@dataclass(frozen=True, eq=False)
class Dataset:
    """One table with its targets, ready for the engine."""

    X: np.ndarray  # (n, n_inputs)
    targets: np.ndarray  # int32 labels (n,), or (n, n_outputs) of X's dtype
    weights: np.ndarray | None  # (n,) of X's dtype
    flat: bool  # y was 1-D
    balanced: np.ndarray | None = None  # `weights` times those of classes, which count in training alone

    @property
    def labels(self):
        """Whether the targets are integer labels."""
        return self.targets.ndim == 1

    @property
    def training_weights(self):
        """The row weights that training counts with."""
        return self.weights if self.balanced is None else self.balanced

    def balance(self, factors):
        """Return the same data with row weights that are multiplied in training; by None they are not."""
        if factors is None:
            return self
        weights = factors if self.weights is None else factors * self.weights
        return replace(self, balanced=as_weights("class_weight", weights, self.X, self.X.dtype))

    @cached_property
    def fingerprint(self):
        """What tells this data from other data: shape and hash of each array, None for weights that are not there.

        Arrays count as the network sees them, in its dtype: the same numbers passed as another type are the same.
        """
        one_column = self.flat and not self.labels
        arrays = {"X": self.X, "y": np.ascontiguousarray(self.targets[:, 0]) if one_column else self.targets}
        return {name: _fingerprint(array) for name, array in (arrays | {"sample_weight": self.weights}).items()}


def as_dataset(X, y, sample_weight, loss, plan, *, names=("X", "y")):
    """Return the `Dataset` of a checked X with its y and, if not None, its sample weights."""
    if y is None:
        raise ValueError(f"Network requires {names[1]} to be passed, but the target {names[1]} is None")
    y = as_numbers(names[1], y)
    if y.ndim not in (1, 2):
        raise ValueError(f"{names[1]} must be 1-D or 2-D, got {y.ndim}-D: shape {y.shape}")
    check_rows(names[0], X, names[1], y)
    targets = as_targets(names[1], y, loss, plan.n_outputs, plan.dtype)
    if targets.ndim == 2:
        check_finite(names[1], targets.reshape(y.shape), y)
        targets = targets if targets.shape[1] == plan.n_outputs else np.repeat(targets, plan.n_outputs, axis=1)
    weights = None if sample_weight is None else as_weights("sample_weight", sample_weight, X, plan.dtype)
    return Dataset(X, targets, weights, y.ndim == 1)


def as_validation(validation, loss, plan):
    """Return the validation sets, a pair, a dict of named pairs or None, as a dict of names to `Dataset`.

    A single pair is called "val".
    """
    if validation is None:
        return {}
    if isinstance(validation, Mapping):
        named = {name: (f"validation[{name!r}]", pair) for name, pair in validation.items()}
    else:
        named = {"val": ("validation", validation)}
    return {name: _as_set(place, pair, loss, plan) for name, (place, pair) in named.items()}


def _as_set(place, pair, loss, plan):
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        kind = f"{type(pair).__name__} of length {len(pair)}" if hasattr(pair, "__len__") else repr(pair)
        raise ValueError(f"{place} must be a pair (X_val, y_val) or a dict of named pairs, got {kind}")
    names = f"{place}[0]", f"{place}[1]"
    X = as_table(names[0], pair[0], plan.dtype, plan.n_inputs)
    return as_dataset(X, pair[1], None, loss, plan, names=names)


def as_table(name, X, dtype, n_features=None):
    """Return X as (rows, columns) of `dtype`; with `n_features`, that many columns are demanded.

    Raises
    ------
    ValueError
        For what is not a 2-D table of finite numbers with at least one row and one column.
    """
    array = as_numbers(name, X)
    if array.ndim != 2:
        raise ValueError(_not_2d(name, array))
    if 0 in array.shape:
        count = "0 sample(s)" if array.shape[0] == 0 else "0 feature(s)"
        minimum = f"(shape={array.shape}) while a minimum of 1 is required."
        raise ValueError(f"Found array {name} with {count} {minimum}")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(
            f"{name} has {array.shape[1]} features, but Network is expecting {n_features} features as input"
        )
    return _as_finite(name, array, dtype)


def as_weights(name, weights, X, dtype):
    """Return the row weights as (n,) of `dtype`: finite, none negative, not all zero."""
    array = as_numbers(name, weights)
    if array.ndim != 1:
        raise ValueError(f"{name} must be 1-D, got shape {array.shape}")
    check_rows("X", X, name, array)
    checked = _as_finite(name, array, dtype)
    if (checked < 0).any():
        row = int(np.argmax(checked < 0))
        raise ValueError(f"{name}[{row}]={array[row]}; weights must be >= 0")
    if not checked.any():
        raise ValueError(f"Sample weights must contain at least one non-zero number; {name} is all zero")
    return checked


def as_count(name, value, low=1):
    """Return `value` as an int if it is an integer >= `low`; bool and float are none."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_) or number < low:
        raise ValueError(f"{name} must be an int >= {low}, got {value!r}")
    return number


def as_seed(seed):
    """Return `seed` as an int in [0, 2**64); None draws one from the system."""
    if seed is None:
        return int.from_bytes(os.urandom(8), "little")
    try:
        number = as_count("seed", seed, low=0)
    except ValueError:
        number = 2**64
    if number >= 2**64:
        raise ValueError(f"seed must be None or an int in [0, 2**64), got {seed!r}")
    return number


def as_numbers(name, values):
    """Return `values` as a plain array of bools, integers or floats of any shape, or say what it is."""
    if type(values) is not np.ndarray:
        values = _as_array(name, values)
    kind = values.dtype.kind
    if kind in "fiub":
        return values
    if kind == "O" and values.ndim:
        return _from_objects(name, values)
    if kind == "c":
        raise ValueError(f"Complex data not supported: {name} has dtype {values.dtype}")
    if kind == "O":
        raise ValueError(f"{name} must be an array of numbers, got {values[()]!r}")
    raise ValueError(f"{name} has dtype {values.dtype}, not numbers; convert it explicitly")


def is_finite(array):
    """Return whether a contiguous array holds neither NaN nor infinity."""
    if array.size <= _BLOCK:
        return 0 not in np.isfinite(array).tobytes()  # for few elements three times as fast as .all()
    flat = array.reshape(-1)
    return all(np.isfinite(flat[start : start + _BLOCK]).all() for start in range(0, flat.size, _BLOCK))


def check_finite(name, array, original):
    """Demand that all of `array` is finite; `original` holds the same values before their conversion."""
    if is_finite(array):
        return
    bad = ~np.isfinite(array)
    place = tuple(int(i) for i in np.unravel_index(np.argmax(bad), bad.shape))
    value, count = original[place], int(bad.sum())
    if np.isnan(value):
        message = f"Input {name} contains NaN (first at {_where(place)}; {count} in all). Impute it first"
    elif np.isinf(value):
        message = f"Input {name} contains infinity (first at {_where(place)}; {count} in all)"
    else:
        index = ", ".join(map(str, place))
        message = f"{name}[{index}]={value} exceeds {array.dtype}; use dtype='float64' or scale {name}"
    raise ValueError(message)


def check_rows(x_name, X, y_name, y):
    """Demand that two tables, each of any type with a `shape`, have as many rows."""
    if X.shape[0] != y.shape[0]:
        raise ValueError(
            f"inconsistent numbers of samples: {x_name} has {X.shape[0]} (shape {X.shape}),"
            f" {y_name} has {y.shape[0]} (shape {y.shape})"
        )


def _fingerprint(array):
    if array is None:
        return None
    digest = sha256()
    flat = array.reshape(-1)
    for start in range(0, flat.size, _BLOCK):  # Ctrl-C is answered between two blocks
        digest.update(flat[start : start + _BLOCK])
    return {"shape": list(array.shape), "sha256": digest.hexdigest()}


def _as_finite(name, array, dtype):
    converted = _converted(array, dtype)
    if array.dtype.kind == "f":
        check_finite(name, converted, array)
    return converted


def _converted(array, dtype):
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):  # what overflows is found, and said, by the caller
        return np.require(array, dtype, ["C", "A"])


def _as_array(name, values):
    if hasattr(values, "tocsr"):
        raise ValueError(f"{name} is a sparse matrix; pass {name}.toarray()")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} has {int(np.ma.count_masked(values))} masked entries; fill them first")
    if hasattr(values, "columns"):
        _check_columns(name, values)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(_ragged(name, values) or f"{name} cannot be read as an array: {error}") from None


def _check_columns(name, frame):
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if getattr(dtype, "kind", "f") not in "fiubO" or str(dtype) == "category":
            raise ValueError(f"{name}: column {column!r} has dtype {dtype}; encode it as numbers first")


def _from_objects(name, array):
    """Convert an array of Python objects if each is a number: text is never parsed."""
    converted = np.empty(array.shape)
    for place, value in np.ndenumerate(array):
        if isinstance(value, complex):
            raise ValueError(f"Complex data not supported: {name} has {value!r} ({_where(place)})")
        if not isinstance(value, Real):
            raise ValueError(f"could not convert {value!r} ({_where(place)}) of {name} to a number")
        try:
            converted[place] = value
        except OverflowError:
            raise ValueError(f"{name} has a number too large for float64 ({_where(place)})") from None
    return converted


def _ragged(name, rows):
    """Say which row of a nested list has another length than the first."""
    lengths = [len(row) if hasattr(row, "__len__") else None for row in rows]
    for number, length in enumerate(lengths):
        if length != lengths[0]:
            return f"rows of {name} differ in length (row {number} has {length}, expected {lengths[0]})"
    return None


def _not_2d(name, array):
    if array.ndim == 1:
        return (
            f"Expected 2D array, got 1D array instead: {name} has shape {array.shape}."
            f" Use {name}.reshape(-1, 1) if it is one feature, {name}.reshape(1, -1) if it is one sample"
        )
    return f"Expected 2D array, got {array.ndim}D array instead: {name} has shape {array.shape}"


def _where(place):
    axes = ("row", "column", "index")
    return ", ".join(f"{axis} {index}" for axis, index in zip(axes, place, strict=False))
