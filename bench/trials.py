"""One fit of a network with a technique or without it: what regularizers.py has done in processes of their own."""

from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter

import numpy as np

from techniques import TECHNIQUES
from workloads import WORKLOADS, make_data

PAIRS = 15  # of epochs that are timed


@dataclass(frozen=True)
class Task:
    """A table, how many of its rows train, and the training of the plain network."""

    name: str
    rows: int
    units: tuple
    epochs: int
    batch: int = 128
    shape: tuple | None = None  # of images
    regression: bool = False


TASKS = {
    task.name: task
    for task in (
        Task("letter", 4000, (256, 128), 40),
        Task("adult", 4000, (256, 128), 20),
        Task("housing", 4000, (256, 128), 40, regression=True),
        Task("digits", 400, (256, 128), 100, batch=32, shape=(8, 8)),
    )
}
WIDE = Task("wide", 20 * 256, (512, 256, 128), 1, batch=256, shape=(28, 28))


@cache
def table(task, folder):
    """X, y and the number of outputs; y as codes or as standardised numbers."""
    if task is WIDE:
        X, y = make_data(replace(WORKLOADS["wide"], rows=task.rows))
        return X, y, 10
    import sklearn_tables

    X, y = sklearn_tables.load(task.name, folder)
    if task.regression:
        return np.float32(X), (y - y.mean()) / y.std(), 1
    values, codes = np.unique(y, return_inverse=True)
    return np.float32(X), codes, len(values)


def prepared(plain, task, X, y, n_outputs):
    """Return a network as `techniques.Plain` says, and a function that trains it."""
    n_held = round(plain.validation * len(X))
    network = plain.network(task.units, n_outputs, task.regression)
    return network, partial(
        network.fit, X[n_held:], y[n_held:], epochs=task.epochs, batch_size=task.batch, optimizer=plain.optimizer,
        augment=plain.augment, callbacks=plain.callbacks, validation=(X[:n_held], y[:n_held]) if n_held else None,
        n_threads=1,
    )  # fmt: skip


def score(number, applied, task, folder, seed):
    """Minus the log-loss, or R², of the test rows: with a technique, or of the network that it is compared with."""
    technique = TECHNIQUES[number]
    X, y, n_outputs = table(task, folder)
    order = np.random.default_rng(seed).permutation(len(X))
    train, test = order[: task.rows], order[-(len(X) // 4) :]
    plain = technique.applied(task.shape) if applied else technique.plain()
    network, fit = prepared(plain, task, X[train], y[train], n_outputs)
    fit()
    if task.regression:
        return network.evaluate(X[test], y[test], metrics=("r2",))["r2"]
    return -network.evaluate(X[test], y[test])["loss"]


def cost(number):
    """The share by which a technique makes an epoch of `WIDE` longer. Rows that validate are timed as the others."""
    technique, data = TECHNIQUES[number], table(WIDE, None)
    fits = [prepared(plain, WIDE, *data)[1] for plain in (technique.plain(), technique.applied(WIDE.shape))]
    seconds = [[], []]
    for _ in range(PAIRS + 1):
        for fit, found in zip(fits, seconds, strict=True):
            began = perf_counter()
            fit()
            found.append(perf_counter() - began)
    without, with_it = (min(found[1:]) for found in seconds)  # the first warms up
    return with_it / without - 1
