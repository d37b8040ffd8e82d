"""The training loop: whole epochs in the engine, and between them figures, callbacks and what is kept.

a) The engine gets as many epochs at once as nobody wants to look between: one where there are callbacks,
   metrics or validation sets, otherwise up to `_ROWS_PER_CALL` rows' worth.
b) A `Run` owns a copy of the weights that count if training ends badly. Until a callback claims it with `keep()`, it
   follows the lowest training objective: that of an epoch is measured before its updates, so it belongs to the
   weights with which the epoch began, which a second copy holds.
c) Several epochs at once that diverge are trained again one by one from where they began, so that the weights
   of the best epoch pass by and are kept. A large network, whose copy would cost memory, gets one at a time.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from fastreg.data import Dataset, is_finite
from fastreg.errors import DivergenceError
from fastreg.history import History
from fastreg.kernels import shuffle
from fastreg.model import Model
from fastreg.progress import Progress
from fastreg.settings import Settings
from fastreg.state import State
from fastreg.threads import threads_for

_ROWS_PER_CALL = 1 << 18  # 2 MiB of row numbers
_LARGE = 1 << 18  # parameters


@dataclass(eq=False, kw_only=True)
class Run:
    """One training in progress, from the first epoch to the last. Callbacks receive it.

    Attributes
    ----------
    network : Network
        While callbacks start, it is still as it was before this `fit`.
    history : History
        Of the epochs so far.
    epochs : int
        How many were asked for.
    epoch : int
        The one that has just finished, counted from 0; -1 before the first.
    """

    network: Any
    model: Model
    engine: Any  # of the model's weights and the optimizer
    state: State
    seed: int
    data: Dataset
    sets: dict  # validation sets by name
    settings: Settings

    def __post_init__(self):
        settings, n_rows = self.settings, len(self.data.X)
        self.weights, self.inference = self.model.weights, self.model.inference
        self.history = History(_columns(settings.metrics, self.sets))
        self._batch_size = settings.rows_per_batch(n_rows)
        self._steps_per_epoch = -(-n_rows // self._batch_size)
        self._kept, self._kept_epoch, self._claimed = self.weights.copy(), None, False
        self._before = self.weights.copy()
        self._lowest, self._last_loss = np.inf, None
        self._watchers: list = []
        self._start((*settings.callbacks, Progress()) if settings.verbose else settings.callbacks)
        looked_at = self._watchers or settings.metrics or self.sets or self.weights.size > _LARGE
        self._epochs_per_call = 1 if looked_at else max(1, _ROWS_PER_CALL // n_rows)

    @property
    def epochs(self):
        return self.settings.epochs

    @property
    def epoch(self):
        return self.history.n_epochs - 1

    def keep(self):
        """Make the present weights those that the network has when training ends, whatever ends it."""
        np.copyto(self._kept, self.weights)
        self._kept_epoch, self._claimed = self.epoch, True

    def cancel(self):
        """End training before its next batch. Any thread may call this."""
        self.history.ended = "cancelled"
        self.engine.cancel()

    def train(self):
        """Train all epochs; return the `History`."""
        try:
            while self.epoch + 1 < self.epochs and self.history.ended == "finished":
                self._advance(min(self._epochs_per_call, self.epochs - self.epoch - 1))
            if not is_finite(self.weights):
                raise self._divergence(self.epoch, self._steps_per_epoch - 1)
        except DivergenceError:
            self._restore()
            self.state.forget()
            raise
        finally:
            if self._claimed:
                self._restore()
            self._close()
        if "val" in self.sets:
            val, train = (self.inference.loss(data, self.settings.n_threads) for data in (self.sets["val"], self.data))
            self.history.generalization_gap = val - train
        return self.history

    def _advance(self, count):
        """Train `count` epochs in one call, record them, and ask the callbacks."""
        order, bounds = self._rows(count)
        np.copyto(self._before, self.weights)
        state = self.state.copy() if count > 1 else None
        first = self.epoch + 1
        results, status, seconds = self._train_epochs(order, bounds)
        if status == "diverged" and state:
            np.copyto(self.weights, self._before)
            self.state.become(state)
            self._epochs_per_call = 1
            return
        if len(results):
            figures = self._figures(results, seconds)
            self.history.extend(figures)
            self._keep_lowest(first, figures["objective"][0])
            answers = [watcher(self) for watcher in self._watchers]  # each sees every epoch
            if any(answers) and self.history.ended == "finished":
                self.history.ended = "stopped"
        if status == "diverged":
            raise self._divergence(self.epoch + 1, self.engine.steps_done)

    def _rows(self, count):
        """Return the row numbers of `count` epochs, one after the other, and where in them batches begin."""
        n_rows = len(self.data.X)
        order = np.empty((count, n_rows), np.int64)
        if self.settings.shuffle and n_rows > 1:
            for i, rows in enumerate(order):
                shuffle(rows, seed=self.seed, step=self.state.epoch + i)
        else:
            order[...] = np.arange(n_rows)
        starts = np.arange(0, n_rows, self._batch_size, dtype=np.int64) + np.arange(count)[:, None] * n_rows
        return order.reshape(-1), np.append(starts, order.size)

    def _train_epochs(self, order, bounds):
        """Return the results (whole epochs, steps, 3), how the engine ended, and the seconds of an epoch."""
        data, per_epoch = self.data, self._steps_per_epoch
        rates = np.full(len(bounds) - 1, self.settings.optimizer.learning_rate)
        results = np.zeros((len(bounds) - 1, 3))
        began = perf_counter()
        try:
            status = self.engine.run(
                data.X, data.targets, data.weights, order, bounds, rates, self.state, results,
                seed=self.seed, step=self.state.step, threads=threads_for(self.settings.n_threads),
            )  # fmt: skip
        finally:
            done = self.engine.steps_done
            self.state.step += done
            self.state.epoch += done // per_epoch
        self._remember_loss(results[:done])
        whole = done // per_epoch
        epochs = results[: whole * per_epoch].reshape(whole, per_epoch, 3)
        return epochs, status, (perf_counter() - began) * per_epoch / max(done, 1)

    def _figures(self, results, seconds):
        """Return the history's new entries for epochs whose steps had these results."""
        loss, mass, penalty = np.moveaxis(results, 2, 0).copy()  # (epochs, steps) each; mass: sum of weights
        total = mass.sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverges
            loss, penalty = loss.sum(axis=1) / total, (penalty * mass).sum(axis=1) / total
        figures = {"loss": loss, "penalty": penalty, "objective": loss + penalty}
        figures["learning_rate"] = np.full(len(results), self.settings.optimizer.learning_rate)
        figures["seconds"] = np.full(len(results), seconds)
        return figures | {name: np.array([value]) for name, value in self._measured().items()}

    def _measured(self):
        """Return what is measured after the epoch: metrics of the training rows, and the validation sets."""
        metrics, n_threads = self.settings.metrics, self.settings.n_threads
        penalty = self.engine.penalty() if self.sets else 0.0
        figures = self.inference.metrics(self.data, metrics, n_threads)
        for name, dataset in self.sets.items():
            loss = self.inference.loss(dataset, n_threads)
            measured = {"loss": loss, "objective": loss + penalty}
            measured |= self.inference.metrics(dataset, metrics, n_threads)
            figures |= {f"{name}_{figure}": value for figure, value in measured.items()}
        return figures

    def _remember_loss(self, results):
        for loss, mass, _ in results[::-1]:
            if mass > 0:
                self._last_loss = float(loss / mass)
                return

    def _keep_lowest(self, first, objective):
        """Keep the weights with which epoch `first` began, if its objective is the lowest so far."""
        if not self._claimed and objective < self._lowest:
            self._lowest, self._kept_epoch = objective, first - 1 if first else None
            self._kept, self._before = self._before, self._kept

    def _restore(self):
        np.copyto(self.weights, self._kept)
        self.history.kept_epoch = self._kept_epoch

    def _divergence(self, epoch, batch):
        return DivergenceError(epoch, batch, self._last_loss, self._kept_epoch)

    def _start(self, callbacks):
        try:
            for callback in callbacks:
                self._watchers.append(callback.start(self) if hasattr(callback, "start") else callback)
        except BaseException:
            self._close()
            raise

    def _close(self):
        for watcher in self._watchers:
            if hasattr(watcher, "close"):
                watcher.close()


def _columns(metrics, sets):
    """Return the names of the history's columns."""
    names = ["loss", "penalty", "objective", *metrics]
    for name in sets:
        names += [f"{name}_{figure}" for figure in ("loss", "objective", *metrics)]
    names += ["learning_rate", "seconds"]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"history: two columns would be {twice[0]!r}; rename the metric or validation set")
    return names
