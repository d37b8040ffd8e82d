"""What a network is given of tables, images and y: settings with `fit`, which return what has `transform` or `encode`.

a) A number becomes one column, robustly scaled and smoothly clipped, and a few more that say how far it lies through
   each of its bins, so that the first layer can bend at every edge from the start.
b) A text becomes a column for each of its values.
c) Everything is a pure function of the rows given to `fit`; whatever has `fit(X)` that returns something with
   `transform(X)` can take its place, as the transformers of scikit-learn do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt, prod
from numbers import Real

import numpy as np

from fastreg.augment import check_settings
from fastreg.checks import check_number
from fastreg.data import as_count, as_numbers, check_finite

MOST_BIN_COLUMNS = 4096  # of a table; with more than a few hundred numbers each gets fewer bins


@dataclass(frozen=True)
class Table:
    """Numbers scaled, clipped and binned; texts one-hot; blanks filled.

    A number x becomes z / sqrt(1 + (z / clip)^2) with z = (x - median) / (upper - lower quartile), where the quartiles
    are equal twice over the range (Holzmüller et al., 2024), and for each of its bins [a, b] the share
    min(max((x - a) / (b - a), 0), 1) that x has passed (piecewise linear encoding, Gorishniy et al., 2022).
    The edges are quantiles of the distinct values, each weighted by the square root of its count: a value that most
    rows share would otherwise leave no bins to the others. Numbers of two values need no bins.

    A blank (NaN or None) among numbers counts as the median, and a further column says that it was one. A column of
    texts, or of a data frame's categories, becomes a 0 or 1 for each of its values; a value that `fit` has not seen is
    0 in all of them, and a blank is a value.

    Parameters
    ----------
    bins : int >= 0, default 48
        At most so many for each number; 0 or 1 for none. Tables of few rows have fewer, half the square root of their
        number, and so have tables of many numbers, which share 4,096.
    clip : float > 0, default 3
        Scaled numbers come no further than this from 0.

    References
    ----------
    Gorishniy, Rubachev, Babenko, "On embeddings for numerical features in tabular deep learning", 2022.
    Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees", 2024.
    """

    bins: int = 48
    clip: float = 3.0

    def __post_init__(self):
        object.__setattr__(self, "bins", as_count("bins", self.bins, low=0))
        object.__setattr__(self, "clip", check_number("clip", self.clip, "(0, inf)"))

    def fit(self, X):
        """Return the `FittedTable` of X: a 2-D array of numbers or objects, or a data frame."""
        columns = [_numbers_or_texts(column, name) for name, column in _columns(X)]
        n_numbers = sum(column.dtype.kind == "f" for column in columns)
        n_rows = len(columns[0]) if columns else 0
        bins = min(self.bins, isqrt(n_rows) // 2, MOST_BIN_COLUMNS // max(n_numbers, 1))
        return FittedTable(
            tuple(_fit_numbers(c, bins, self.clip) if c.dtype.kind == "f" else Texts(_distinct(c)) for c in columns),
            _names(X),
        )


@dataclass(frozen=True)
class FittedTable:
    """What `Table.fit` has found: how to encode each column, and their names if they are a data frame's."""

    columns: tuple
    names: tuple | None = None

    def transform(self, X):
        """Return X as a float32 array, (rows, columns of all encodings).

        A data frame must have the columns of that which was fitted, in their order; an array has no names to compare.
        """
        names = _names(X)
        if self.names and names and names != self.names:
            raise ValueError(_difference(names, self.names))
        columns = list(_columns(X))
        if len(columns) != len(self.columns):
            raise ValueError(f"X has {len(columns)} columns, but the preset was fitted to {len(self.columns)}")
        encoded = [encode(column, name) for encode, (name, column) in zip(self.columns, columns)]
        return np.concatenate(encoded, axis=1)


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers: how it is scaled, where its bins end, and whether blanks have a column."""

    median: float
    scale: float
    clip: float
    edges: np.ndarray
    blanks: bool

    def __call__(self, column, name):
        x = _numbers_or_texts(column, name)
        if x.dtype.kind != "f":
            raise ValueError(f"{name} of X held numbers when the preset was fitted, and holds texts now")
        blank = np.isnan(x)
        x = np.where(blank, self.median, x)
        z = (x - self.median) / self.scale
        parts = [(z / np.sqrt(1 + (z / self.clip) ** 2))[:, None]]
        if len(self.edges) > 2:
            parts.append(np.clip((x[:, None] - self.edges[:-1]) / np.diff(self.edges), 0, 1))
        if self.blanks:
            parts.append(blank[:, None])
        return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


@dataclass(frozen=True)
class Texts:
    """A column of texts: a column for each of `values`, which are in order."""

    values: tuple

    def __call__(self, column, name):
        return (_texts(column)[:, None] == np.array(self.values, dtype=object)).astype(np.float32)


@dataclass(frozen=True)
class Pixels:
    """Images as rows of a table: flattened, and divided by the largest absolute value of those given to `fit`.

    So 0 stays 0: the background, and what a shift or a cutout leaves behind.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Which images must have; flattened ones so many pixels. None: that of the images given to `fit`.
    """

    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self)

    def fit(self, X):
        """Return the `FittedPixels` of images (n, h, w[, c]) or (n, h w c)."""
        X = _as_images(X, self.shape)
        if self.shape is None and X.ndim == 4 and X.shape[1] <= 4 < X.shape[3]:
            raise ValueError(f"images of shape {X.shape[1:]} have their channels first: pass np.moveaxis(X, 1, 3)")
        own = X.shape[1:] if X.ndim > 2 else None
        return FittedPixels(float(np.abs(X).max(initial=0)) or 1.0, self.shape or own)


@dataclass(frozen=True)
class FittedPixels:
    """Images of one shape, which is None if nobody has said it, divided by `scale`."""

    scale: float
    shape: tuple | None = None

    def transform(self, X):
        """Return images (n, h, w[, c]) or (n, h w c) as a float32 array of shape (n, h w c)."""
        X = _as_images(X, self.shape)
        return (X.reshape(len(X), -1) / self.scale).astype(np.float32)


@dataclass(frozen=True)
class Raw:
    """X as it is."""

    def fit(self, X):
        return self

    def transform(self, X):
        """Return X."""
        return X


# ---- y


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes as codes: positions in `values`, which are in order."""

    values: np.ndarray

    @staticmethod
    def checked(y):
        """Return y if it is (n,), without blanks, of two classes or more that can be sorted."""
        if y.ndim != 1:
            raise ValueError(f"y must be 1-D, a class for each row, got shape {y.shape}")
        blank = np.array([_blank(value) for value in y]) if y.dtype.kind == "O" else y != y
        if blank.any():
            row = int(np.argmax(blank))
            raise ValueError(f"Input y contains {y[row]} (first at row {row}), which is no class")
        try:
            values = np.unique(y)
        except TypeError as error:
            raise ValueError(f"the classes of y cannot be sorted: {error}") from None
        if len(values) < 2:
            raise ValueError(f"y must have at least two classes, got {values[0]!r} alone")
        return y

    @classmethod
    def fit(cls, y):
        """Return the `Classes` of y, (n,)."""
        return cls(np.unique(y))

    @property
    def size(self):
        """How many classes there are."""
        return len(self.values)

    def encode(self, y):
        """Return the code of each class."""
        codes = np.minimum(np.searchsorted(self.values, y), len(self.values) - 1)
        unknown = self.values[codes] != y
        if unknown.any():
            raise ValueError(f"y has the class {y[np.argmax(unknown)]!r}, which the rows that train have not")
        return codes

    def decode(self, codes):
        """Return the classes of such codes."""
        return self.values[codes]

    def encode_keys(self, class_weight):
        """Return the class weights, of which a dict has classes as keys, by codes."""
        if not isinstance(class_weight, Mapping):
            return class_weight
        codes = {value: code for code, value in enumerate(self.values.tolist())}
        for value, weight in class_weight.items():
            if value not in codes:
                raise ValueError(f"class_weight has a weight for {value!r}, which is no class of y: {list(codes)}")
            check_number(f"class_weight[{value!r}]", weight, "[0, inf)")
        return {codes[value]: weight for value, weight in class_weight.items()}

    def moved_into(self, parameters, layer):
        """Return the encoding that is left: no layer can do it."""
        return self


@dataclass(frozen=True, eq=False)
class Scaled:
    """Numbers as (y - mean) / scale."""

    mean: np.ndarray  # () or (outputs,), as the scale
    scale: np.ndarray

    @staticmethod
    def checked(y):
        """Return y as numbers, (n,) or (n, outputs), all finite."""
        y = as_numbers("y", y)
        if y.ndim not in (1, 2):
            raise ValueError(f"y must be 1-D or 2-D, got {y.ndim}-D: shape {y.shape}")
        check_finite("y", y, y)
        return y

    @classmethod
    def fit(cls, y):
        """Return the `Scaled` that gives each column of y, (n,) or (n, outputs), mean 0 and variance 1."""
        y = as_numbers("y", y)
        scale = y.std(axis=0, dtype=np.float64)
        return cls(y.mean(axis=0, dtype=np.float64), np.where(scale > 0, scale, 1.0))

    @property
    def size(self):
        """How many columns y has."""
        return self.mean.size

    def encode(self, y):
        """Return y in these units."""
        return (as_numbers("y", y) - self.mean) / self.scale

    def decode(self, numbers):
        """Return numbers in the units of y."""
        return numbers * self.scale + self.mean

    def encode_keys(self, class_weight):
        """Return None: numbers have no class weights."""
        if class_weight is not None:
            raise ValueError(f"class_weight is for classes, and y are numbers; got {class_weight!r}")

    def moved_into(self, parameters, layer):
        """Scale the outputs of the network's last layer back, and return the encoding that is left."""
        parameters[f"{layer}.weight"] *= self.scale
        parameters[f"{layer}.bias"] *= self.scale
        parameters[f"{layer}.bias"] += self.mean
        return Scaled(np.zeros_like(self.mean), np.ones_like(self.scale))


# ---- images


def _as_images(X, shape):
    """Return X as numbers, (n, h, w[, c]) or (n, pixels), if that is the shape, channels last; None is any."""
    X = as_numbers("X", X)
    if X.ndim not in (2, 3, 4):
        raise ValueError(f"X must be images (n, height, width[, channels]), or flattened ones, got shape {X.shape}")
    given = X.shape[1:]
    if shape and (prod(given) != prod(shape) or (X.ndim > 2 and (*given, 1)[:3] != (*shape, 1)[:3])):
        raise ValueError(f"X has images of shape {given}, expected {shape}, channels last")
    return X


# ---- columns


def _names(X):
    """Return the names of a data frame's columns; of anything else None."""
    return tuple(X.columns) if hasattr(X, "columns") else None


def _difference(names, fitted):
    """Say how the names of columns differ from those that were fitted."""
    unseen = [name for name in names if name not in fitted]
    missing = [name for name in fitted if name not in names]
    why = [f"unseen at fit: {unseen}"] * bool(unseen) + [f"now missing: {missing}"] * bool(missing)
    return f"the columns of X must be those of fit; {', '.join(why) or f'they must be in that order: {list(fitted)}'}"


def _columns(X):
    """Yield name and values of each column."""
    if names := _names(X):
        if len(set(names)) < len(names):
            raise ValueError(f"X has several columns of the same name: {list(names)}")
        for name in names:
            yield f"column {name!r}", np.asarray(X[name])
        return
    X = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)  # which keeps numbers beside texts
    if X.ndim != 2:
        raise ValueError(f"X must be a table of rows and columns, got shape {X.shape}")
    for number, column in enumerate(X.T):
        yield f"column {number}", column


def _numbers_or_texts(column, name):
    """Return a column as float64 if all of it are numbers or blanks, otherwise as an array of texts."""
    if column.dtype.kind not in "fiub":
        if not all(_blank(value) or isinstance(value, Real) for value in column):
            return _texts(column)
        column = np.array([np.nan if _blank(value) else value for value in column])
    column = column.astype(np.float64)
    if np.isinf(column).any():
        raise ValueError(f"{name} of X contains infinity (first at row {int(np.argmax(np.isinf(column)))})")
    return column


def _texts(column):
    return np.array(["" if _blank(value) else str(value) for value in column], dtype=object)


def _blank(value):
    return not isinstance(value, str) and str(value) in ("None", "nan", "NaN", "NaT", "<NA>")


def _distinct(texts):
    return tuple(sorted(set(texts)))


# ---- numbers


def _fit_numbers(column, bins, clip):
    x = column[~np.isnan(column)]
    if not len(x):
        x = np.zeros(1)
    lower, median, upper = np.quantile(x, (0.25, 0.5, 0.75))
    scale = upper - lower or (x.max() - x.min()) / 2 or 1.0
    return Numbers(float(median), float(scale), clip, _edges(x, bins), len(x) < len(column))


def _edges(x, bins):
    """Return the edges of at most `bins` bins, in order and all different."""
    values, counts = np.unique(x, return_counts=True)
    if bins < 2 or len(values) <= bins + 1:
        return values if bins >= 2 else values[:0]
    mass = np.cumsum(np.sqrt(counts))
    at = np.searchsorted(mass, np.linspace(mass[0], mass[-1], bins + 1))
    return values[np.unique(np.minimum(at, len(values) - 1))]
