"""Presets: layers, loss, preprocessing and the arguments of `fit` that belong together, each of which can be replaced.

    model = fr.presets.tabular_classifier(seed=0)
    history = model.fit(X, y)
    model.predict_proba(X_new)

a) A preset is its `Recipe`, frozen settings without numbers. `fit` makes everything anew from it: the encodings of
   inputs and targets, a `Network`, and its training; so the same seed gives the same bits however often it is called.
b) What was made is there to be looked at. `network` is an ordinary network of the encoded inputs.
c) A new preset is one more function that returns a `Preset` of a recipe.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastreg.augment import Augmentation, Mixup, RandAugment, of_shape
from fastreg.callbacks import EarlyStopping
from fastreg.checks import check_name, check_number
from fastreg.data import as_count, as_seed, as_weights, check_rows
from fastreg.errors import NotBuiltError
from fastreg.layers import Dense, Dropout, Residual
from fastreg.losses import CrossEntropy, as_loss
from fastreg.network import Network
from fastreg.optimizers import AdamW
from fastreg.preprocessing import Classes, Pixels, Raw, Scaled, Table
from fastreg.schedules import Cosine, CosLog, FlatCosine

OUTPUT = "output"  # the name of the layer that a preset adds to those of its recipe


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a preset is made of: the arguments of a `Network` and of its `fit`, and what is done before them.

    Parameters
    ----------
    layers : sequence of layers
        All but the last, a `Dense` called "output" with as many units as y asks for.
    loss : str or Loss
        "cross_entropy" for classes; a loss without a link, such as "squared_error" or `Quantile`, for numbers.
    inputs : Table, Pixels, or anything with `fit(X)` that returns what has `transform(X)`; None leaves X as it is
    optimizer, epochs, augment, callbacks, metrics : as in `Network.fit`
    batch_size : int >= 1, or "auto" for 256, and for fewer than 4,096 rows a sixteenth of them, 16 at least
    validation_fraction : float in [0, 1), default 0.1
        The share of the rows that validates where `fit` gets no validation data; of each class, or of low and high
        numbers, the same share. With 0 all rows train, and `callbacks` must do without validation.
    dtype, seed, engine : as in `Network`
    """

    layers: Any
    loss: Any
    inputs: Any
    optimizer: Any
    epochs: int
    batch_size: int | str = "auto"
    augment: Any = ()
    callbacks: Any = ()
    metrics: Any = ()
    validation_fraction: float = 0.1
    dtype: str = "float32"
    seed: int | None = None
    engine: str = "compiled"

    def __post_init__(self):
        if not np.iterable(self.layers):
            raise ValueError(f"layers must be a sequence such as [Dense(256, 'relu')], got {self.layers!r}")
        object.__setattr__(self, "loss", as_loss(self.loss))
        if self.loss.link not in ("softmax", "identity"):
            raise ValueError(f"loss {self.loss.name!r} is of no preset; two classes are cross_entropy's as well")
        check_number("validation_fraction", self.validation_fraction, "[0, 1)")
        if self.batch_size != "auto":
            as_count("batch_size", self.batch_size)
        object.__setattr__(self, "seed", as_seed(self.seed))
        self.network(self.n_outputs(2))  # says now what is wrong with it

    @property
    def encoding(self):
        """How y is encoded: `Scaled` or `Classes`."""
        return Scaled if self.loss.link == "identity" else Classes

    def checked(self, X, y, sample_weight):
        """Return what `fit` was given, as tables of equally many rows that can be indexed."""
        X, y = _as_rows("X", X), _as_rows("y", np.asarray(y))
        check_rows("X", X, "y", y)
        if not len(y):
            raise ValueError(f"Found array X with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
        if sample_weight is not None:
            sample_weight = as_weights("sample_weight", sample_weight, X, np.float64)
        return X, self.encoding.checked(y), sample_weight

    def n_outputs(self, n_targets):
        """Return how many outputs predict so many columns or classes: of a quantile loss one for each level."""
        return len(getattr(self.loss, "levels", ())) or n_targets

    def network(self, n_outputs):
        """Return a new network with so many outputs."""
        layers = (*self.layers, Dense(n_outputs, name=OUTPUT))
        return Network(layers, loss=self.loss, dtype=self.dtype, seed=self.seed, engine=self.engine)

    def split(self, X, y, sample_weight):
        """Return what validates, (X, y), and what trains, [X, y, sample_weight]. No class validates alone."""
        chosen = _spread_rows(y, self.validation_fraction, self.seed)
        others = np.delete(np.arange(len(y)), chosen)
        if self.loss.link == "softmax":
            chosen = chosen[np.isin(y[chosen], y[others])]
            others = np.delete(np.arange(len(y)), chosen)
        if not (len(chosen) and len(others)):
            raise ValueError(
                f"{len(y)} row(s) of so many classes leave none to validate: pass validation=(X_val, y_val),"
                " or the parts validation_fraction=0 and callbacks that do without"
            )
        trains = [table if table is None else _rows(table, others) for table in (X, y, sample_weight)]
        return (_rows(X, chosen), y[chosen]), trains

    def augmentations(self, shape):
        """Return `augment`, in which images are of such a shape where nothing else is said; by None as it is."""
        if shape is None or not isinstance(self.augment, tuple | list):
            return self.augment
        return tuple(_with_shape(each, shape) for each in self.augment)

    def train(self, network, X, y, **arguments):
        """Fit a network as the recipe says."""
        return network.fit(
            X, y, epochs=self.epochs, batch_size=self.rows_per_batch(len(X)), optimizer=self.optimizer,
            callbacks=self.callbacks, metrics=self.metrics, **arguments,
        )  # fmt: skip

    def rows_per_batch(self, n_rows):
        """Return the batch size for so many rows: few rows still make many steps."""
        size = min(256, max(16, n_rows // 16)) if self.batch_size == "auto" else self.batch_size
        return min(size, n_rows)


class Preset:
    """A recipe, and what `fit` has made of it.

    Parameters
    ----------
    recipe : Recipe

    Attributes
    ----------
    recipe : Recipe
    network : Network
        Trained on the encoded inputs, `inputs.transform(X)`. Its codes are positions in `targets.values`; numbers are
        those of y. None before `fit`.
    inputs, targets : fitted encodings
        None before `fit`.
    classes_ : ndarray (classes,)
        `targets.values`, by the name that estimators have for it; of a preset for numbers there is none.
    """

    def __init__(self, recipe):
        self.recipe = recipe
        self.network: Any = None
        self.inputs: Any = None
        self.targets: Any = None

    @property
    def classes_(self):
        return self.targets.values

    def fit(self, X, y, *, validation=None, sample_weight=None, class_weight=None, n_threads=None, verbose=0):
        """Make a new network by the recipe, and train it.

        Parameters
        ----------
        X : what the recipe's `inputs` take
            `Table`: a 2-D array of numbers or objects, or a data frame. `Pixels`: (n, h, w[, c]), or flattened.
        y : array of shape (n,), or (n, outputs) where they are numbers
            Classes are any values that can be sorted.
        validation : pair (X_val, y_val), optional
            In place of a part of the rows.
        class_weight : dict of classes to weights, or "balanced", optional
            Multiplies the row weights in training, not in validation; see `Network.fit`.
        sample_weight, n_threads, verbose : as in `Network.fit`

        Returns
        -------
        History
            Numbers are trained with mean 0 and variance 1: a squared error there is a share of the variance of y.

        Raises
        ------
        As `Network.fit` does; the preset stays as it was, but after Ctrl-C it has the new network and its best weights.
        """
        recipe = self.recipe
        X, y, sample_weight = recipe.checked(X, y, sample_weight)
        if validation is None and recipe.validation_fraction:
            validation, (X, y, sample_weight) = recipe.split(X, y, sample_weight)
        inputs = (recipe.inputs or Raw()).fit(X)
        targets = recipe.encoding.fit(y)
        network = recipe.network(recipe.n_outputs(targets.size))
        arguments = {
            "sample_weight": sample_weight, "class_weight": targets.encode_keys(class_weight),
            "augment": recipe.augmentations(getattr(inputs, "shape", None)), "n_threads": n_threads, "verbose": verbose,
            "validation": validation and (inputs.transform(validation[0]), targets.encode(np.asarray(validation[1]))),
        }  # fmt: skip
        try:
            history = recipe.train(network, inputs.transform(X), targets.encode(y), **arguments)
        except KeyboardInterrupt:
            self._take(network, inputs, targets)
            raise
        self._take(network, inputs, targets)
        return history

    def predict(self, X, samples=None, return_std=False):
        """Return the class or the numbers predicted for each row of X.

        `samples` and `return_std` are those of `Network.predict`; deviations are of numbers in the units of y, or of
        the probability of the class.
        """
        network, X = self._fitted(X)
        answers = network.predict(X, samples, return_std)
        return (self.targets.decode(answers[0]), answers[1]) if return_std else self.targets.decode(answers)

    def predict_proba(self, X, samples=None, return_std=False):
        """Return the probabilities of the classes `targets.values`, (n, classes); as `Network.predict_proba` does."""
        network, X = self._fitted(X)
        return network.predict_proba(X, samples, return_std)

    def evaluate(self, X, y, *, sample_weight=None, metrics=()):
        """Return {"loss", "penalty", "objective", <metrics>} as `Network.evaluate` does, in the units of y."""
        network, X = self._fitted(X)
        return network.evaluate(X, self.targets.encode(np.asarray(y)), sample_weight=sample_weight, metrics=metrics)

    def __repr__(self):
        return f"Preset({self.recipe!r})"

    def _take(self, network, inputs, targets):
        self.network, self.inputs = network, inputs
        self.targets = targets.moved_into(network.parameters, OUTPUT)

    def _fitted(self, X):
        if self.network is None:
            raise NotBuiltError("this preset has no network yet: call fit(X, y) first")
        return self.network, self.inputs.transform(X)


def tabular_classifier(**parts):
    """Return an unfitted preset for classes of the rows of a table, judged by log-loss.

    After RealMLP-TD (Holzmüller, Grinsztajn and Steinwart, "Better by default", 2024): scaled and clipped inputs,
    256-256-256 SELU units with a little dropout, Adam with beta2 = 0.95, decoupled decay of weights but not of biases,
    a learning rate, and with it the decay, in four waves that get longer, and the weights of the epoch with the least
    log-loss on a tenth of the rows. Learning rate and decay are those of the common parametrization, in which its 0.04
    is 0.0025. Different, because it paid: bins in place of trained periodic features, less dropout, and labels that
    are less and less smoothed in the second half, so that the probabilities at the end are those of plain labels.

    Parameters
    ----------
    **parts
        What replaces the preset's own, by the names of `Recipe`.

    Examples
    --------
    >>> model = presets.tabular_classifier(epochs=20, seed=0)
    >>> history = model.fit(X, y)
    >>> model.predict_proba(X_new)
    """
    return _preset(parts, _TABLE | {"loss": CrossEntropy(label_smoothing=0.1, schedule=FlatCosine())})


def tabular_regressor(**parts):
    """Return an unfitted preset for numbers that belong to the rows of a table, judged by squared error.

    All else is as in `tabular_classifier`. Targets are standardized; what `predict` returns is not.
    """
    return _preset(parts, _TABLE | {"loss": "squared_error"})


def image_classifier(shape=None, **parts):
    """Return an unfitted preset for classes of small images: all that is usually combined.

    Pixels are divided by the largest. Dropout, a residual block with drop path, weight decay, label smoothing,
    RandAugment and mixup, clipping by the gradient's norm, and early stopping on a tenth of the rows. RandAugment does
    not flip: that is right for photographs and wrong for letters; add `RandomFlip` by `augment`. Labels are less and
    less smoothed in the second half, without which the log-loss of the test rows would be larger.

    Parameters
    ----------
    shape : (height, width) or (height, width, channels), optional
        Of the images. None: that of the images given to `fit`; if they are flattened, square ones of one channel or of
        three. `augment` of one's own gets it where it has no `shape` itself.
    **parts
        What replaces the preset's own, by the names of `Recipe`.

    Examples
    --------
    >>> model = presets.image_classifier((8, 8), seed=0)
    >>> history = model.fit(images, labels)
    """
    block = (Dense(256, "relu"), Dropout(0.2))
    return _preset(parts, {
        "inputs": Pixels(shape),
        "layers": (Dense(256, "relu"), Dropout(0.2), Residual(block, drop_path=0.1)),
        "loss": CrossEntropy(label_smoothing=0.05, schedule=FlatCosine()),
        "optimizer": AdamW(1e-3, weight_decay=0.05, schedule=Cosine(), clip_norm=1.0),
        "augment": (RandAugment(2, 3, shape=shape), Mixup(0.2, probability=0.5)),
        "epochs": 150,
        "callbacks": (EarlyStopping(patience=30),),
    })  # fmt: skip


def _selu(*units, dropout):
    return tuple(layer for n in units for layer in (Dense(n, "selu"), Dropout(dropout)))


_EPOCHS = 64
_TABLE = {
    "inputs": Table(),
    "layers": _selu(256, 256, 256, dropout=0.05),
    "optimizer": AdamW(5e-3, beta2=0.95, weight_decay=0.2, schedule=CosLog()),
    "epochs": _EPOCHS,
    "callbacks": (EarlyStopping(patience=_EPOCHS),),  # the best may be at the end of any wave
}


def _preset(parts, defaults):
    for name in parts:
        check_name("part of a preset", name, [field.name for field in fields(Recipe)])
    return Preset(Recipe(**(defaults | parts)))


def _spread_rows(y, share, seed):
    """Return row numbers, about `share` of all, spread evenly over the sorted y: of each class the same share."""
    uniform = np.random.Generator(np.random.Philox(seed)).random
    key = y if y.ndim == 1 else y[:, 0]
    order = np.lexsort((uniform(len(y)), key))
    n_chosen = max(1, round(share * len(y)))
    return np.sort(order[((np.arange(n_chosen) + uniform(n_chosen)) * (len(y) / n_chosen)).astype(np.int64)])


def _with_shape(augmentation, shape):
    lacks = isinstance(augmentation, Augmentation) and getattr(augmentation, "shape", shape) is None
    return of_shape(augmentation, shape) if lacks else augmentation


def _as_rows(name, table):
    """Return what has a shape and can be indexed by rows: a list as an array, which keeps numbers beside texts."""
    if not hasattr(table, "shape"):
        array = np.asarray(table)
        table = array if array.dtype.kind in "fiub" else np.array(table, dtype=object)
    if not table.shape:
        raise ValueError(f"{name} must have rows, got {table!r}")
    return table


def _rows(table, rows):
    return table.iloc[rows] if hasattr(table, "iloc") else table[rows]
