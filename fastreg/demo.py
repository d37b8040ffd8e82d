"""`python -m fastreg demo`: what regularization does on two tables of real data, and how long it takes.

The networks are large for their few training rows, so that they overfit. Rows are split anew for every seed,
and scaled by what the training rows say. Strengths and rates were chosen once, each from a few, by the sum of
both tables' validation losses on splits 0 to 9; the demo shows other splits, whatever comes out.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import fastreg as fr

SPLITS, SPLITS_IN_NUMPY = 10, 2
FIRST_SEED = 100
EPOCHS = 150
PICTURE = "fastreg_demo.png"


@dataclass(frozen=True)
class Regularizers:
    """What holds a network back: a penalty on all weights, and rates of dropout."""

    name: str
    penalty: Any = None
    dropout: tuple = (0, 0)  # of inputs, of hidden units

    def network(self, units, **settings):
        """Return a network whose dense layers have these `units`, the classes last."""
        first, hidden = ([fr.Dropout(rate)] if rate else [] for rate in self.dropout)
        layers: list = [*first]
        for n in units[:-1]:
            layers += [fr.Dense(n, "relu", weight_penalty=self.penalty), *hidden]
        layers.append(fr.Dense(units[-1], weight_penalty=self.penalty))
        return fr.Network(layers, loss="cross_entropy", **settings)


L2, L1, RATES = fr.L2(1e-3), fr.L1(3e-4), (0.2, 0.3)
NONE, ALL = Regularizers("none"), Regularizers("all three", L2 + L1, RATES)
COMPARED = (NONE, Regularizers("L2", L2), Regularizers("L1", L1), Regularizers("dropout", dropout=RATES), ALL)


@dataclass(frozen=True, eq=False)
class Task:
    """A table, how many of its rows train, and the size of the networks."""

    name: str
    table: tuple  # X (n, inputs), y (n,)
    n_train: int
    n_val: int
    units: tuple
    axis: int | None
    """Along which inputs are scaled: 0 for each column by itself, None for all by the same, as pixels are."""

    def split(self, seed):
        """Return pairs (X, y) to train on, to watch and to test."""
        from sklearn.model_selection import train_test_split

        X, y = self.table
        X, X_rest, y, y_rest = train_test_split(X, y, train_size=self.n_train, random_state=seed, stratify=y)
        X_val, X_test, y_val, y_test = train_test_split(
            X_rest, y_rest, train_size=self.n_val, random_state=seed, stratify=y_rest
        )
        mean, scale = X.mean(axis=self.axis), X.std(axis=self.axis)
        return [((part - mean) / scale, labels) for part, labels in ((X, y), (X_val, y_val), (X_test, y_test))]

    def __str__(self):
        n_rows, n_inputs = self.table[0].shape
        widths = (n_inputs, *self.units)
        n_weights, n_test = sum(a * b for a, b in pairwise(widths)), n_rows - self.n_train - self.n_val
        return (
            f"{self.name}: {self.n_train} rows to train on, {self.n_val} to watch, {n_test} to test;"
            f" {'-'.join(map(str, widths))} units, {n_weights:,} weights"
        )


def tasks():
    """Return digits and breast cancer."""
    from sklearn.datasets import load_breast_cancer, load_digits

    digits, cancer = load_digits(return_X_y=True), load_breast_cancer(return_X_y=True)
    return (
        Task("digits", digits, n_train=200, n_val=300, units=(256, 128, 10), axis=None),
        Task("breast cancer", cancer, n_train=150, n_val=169, units=(64, 64, 2), axis=0),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training came to, after its last epoch."""

    history: fr.History
    accuracy: float  # of the test rows
    loss: float  # of the test rows, nats
    gap: float  # validation minus training loss, nats
    zeros: float  # share of the weights
    seconds: float


def train(task, regularizers, seed, engine="compiled", epochs=EPOCHS, verbose=0):
    """Train one network on one split; return the `Outcome`."""
    training, validation, test = task.split(seed)
    net = regularizers.network(task.units, seed=seed, engine=engine)
    start = perf_counter()
    history = net.fit(
        *training, epochs=epochs, batch_size=32, optimizer=fr.Adam(1e-3), validation=validation,
        n_threads=1, verbose=verbose,
    )  # fmt: skip
    seconds = perf_counter() - start
    figures = net.evaluate(*test, metrics=["accuracy"])
    weights = np.concatenate([w.ravel() for name, w in net.parameters.items() if name.endswith("weight")])
    return Outcome(
        history=history, accuracy=figures["accuracy"], loss=figures["loss"], gap=history.generalization_gap,
        zeros=float(np.mean(weights == 0)), seconds=seconds,
    )  # fmt: skip


HEAD = (
    f"{'':10}{'test accuracy':>16}{'test log-loss':>17}{'gap':>9}{'better':>9}{'zeros':>8}"
    f"{'compiled':>12}{'NumPy':>10}{'ratio':>7}"
)
NOTE = """
Mean ± standard deviation over {splits} splits, each with its own seed, after the last of {epochs} epochs.
log-loss in nats; gap: validation minus training loss; better: splits whose test log-loss is lower
than without regularization; zeros: weights that are exactly 0; times: of one training on one
thread, the fastest of the first {timed}. L2({l2}), L1({l1}), dropout of {rates[0]:.0%} of the inputs and {rates[1]:.0%}
of the hidden units: the same in both tables, chosen by the validation losses of other splits."""


def row(name, outcomes, plain, in_numpy):
    """Return a line of the table.

    Parameters
    ----------
    name : str
    outcomes : list of Outcome
        One for each split.
    plain : list of Outcome
        Of the same splits without regularization.
    in_numpy : list of Outcome
        Of the first splits, with the other engine; their times are compared.
    """
    accuracy, loss, gap, zeros = np.array([(o.accuracy, o.loss, o.gap, o.zeros) for o in outcomes]).T
    better = "" if outcomes is plain else f"{sum(loss < [o.loss for o in plain])}/{len(plain)}"
    compiled, numpy = (1e3 * min(o.seconds for o, _ in zip(group, in_numpy)) for group in (outcomes, in_numpy))
    return (
        f"{name:10}{accuracy.mean():9.3f} ±{accuracy.std():.3f}{loss.mean():10.3f} ±{loss.std():.3f}"
        f"{gap.mean():+9.3f}{better:>9}{zeros.mean():8.1%}{compiled:9.1f} ms{numpy:7.0f} ms{numpy / compiled:7.1f}"
    )


def compare(task, splits, epochs=EPOCHS):
    """Print the table of one task; return its outcomes by name, one for each split."""
    print(f"\n{task}\n{HEAD}", flush=True)
    outcomes: dict[str, list] = {}
    for regularizers in COMPARED:
        # The longest training shows a bar; without tqdm its lines would tear the table.
        bar = regularizers is ALL and find_spec("tqdm") is not None
        in_numpy, compiled = [], []
        for number in range(splits):
            seed = FIRST_SEED + number
            if number < SPLITS_IN_NUMPY:
                in_numpy.append(train(task, regularizers, seed, "reference", epochs, verbose=bar and number == 0))
            compiled.append(train(task, regularizers, seed, "compiled", epochs))
        outcomes[regularizers.name] = compiled
        print(row(regularizers.name, compiled, outcomes[NONE.name], in_numpy), flush=True)
    return outcomes


def draw(task, outcomes, path):
    """Write the learning curves of the first split, without and with all regularizers, to `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    titles = {NONE.name: "no regularization", ALL.name: "L2, L1 and dropout"}
    for column, (name, title) in zip(axes.T, titles.items()):
        history = outcomes[name][0].history
        fr.plot.LearningCurveDisplay.from_history(history, ax=column, unit="nats")
        column[0].set_title(f"{task.name}: {title}")
    axes[0, 0].set_ylim(top=0.5)  # the first epochs are higher, and would press the rest together
    figure.savefig(path)


def curves(task, outcomes, path):
    """Say where the first split overfits, and write its learning curves to `path`; return the exit status."""
    print(f"\n{task.name}, first split:")
    for regularizers in (NONE, ALL):
        history = outcomes[regularizers.name][0].history
        overfit = history.overfit_epoch()
        verdict = "does not overfit" if overfit is None else f"overfits after epoch {overfit + 1}"
        print(f"  {regularizers.name:10} best epoch {history.best_epoch + 1}, {verdict}")
    if find_spec("matplotlib") is None:
        print("no picture of the learning curves without matplotlib: pip install matplotlib")
        return 0
    try:
        draw(task, outcomes, path)
    except (OSError, ValueError) as error:
        print(f"no picture of the learning curves: {error}", file=sys.stderr)
        return 1
    print(f"learning curves (training loss: of the batches, with units dropped): {Path(path).resolve()}")
    return 0


def run(splits=SPLITS, picture=PICTURE):
    """Print both tables and write the picture; return the exit status."""
    start = perf_counter()
    try:
        from threadpoolctl import threadpool_limits  # comes with scikit-learn

        both = tasks()
    except ImportError:
        print("the demo needs the data sets of scikit-learn: pip install scikit-learn", file=sys.stderr)
        return 2
    with threadpool_limits(1):
        for task in both:
            outcomes = compare(task, splits)
    timed = min(splits, SPLITS_IN_NUMPY)
    print(NOTE.format(splits=splits, epochs=EPOCHS, timed=timed, l2=L2.strength, l1=L1.strength, rates=RATES))
    status = curves(task, outcomes, picture)
    print(f"{perf_counter() - start:.0f} s in all")
    return status
