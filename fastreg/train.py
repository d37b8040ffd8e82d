"""The training loop: whole epochs in the engine, and between them figures, callbacks and what is kept.

a) The engine gets as many epochs at once as nobody wants to look between: one where there are callbacks,
   metrics or validation sets, otherwise up to `_ROWS_PER_LAP` rows' worth.
b) A `Run` owns a copy of the weights that count if training ends badly. Until a callback claims it with `keep()`, it
   follows the lowest training objective: that of an epoch is measured before its updates, so it belongs to the
   weights with which the epoch began, which a second copy holds.
c) Several epochs at once that diverge are trained again one by one from where they began, so that the weights
   of the best epoch pass by and are kept. A large network, whose copy would cost memory, gets one at a time.
d) A call of the engine ends within an epoch where somebody looks between its batches. Nothing depends on where calls
   end but what callbacks see. `weights`, `state`, `buffers` and `memory()` are all that the next step depends on.
e) Where weights are averaged, `weights` are the averages, but while the engine runs (`State.exchange`).
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from fastreg.data import Dataset, is_finite
from fastreg.errors import DivergenceError
from fastreg.history import History
from fastreg.lap import Lap
from fastreg.model import Model
from fastreg.progress import Progress
from fastreg.schedules import factors
from fastreg.settings import Settings
from fastreg.state import State
from fastreg.threads import threads_for
from fastreg.transformed import Transformed

_ROWS_PER_LAP = 1 << 18  # 2 MiB of row numbers
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
    step : int
        How many steps were made; `steps_per_epoch` of them are an epoch.
    learning_rate_scale : float
        Multiplies the learning rates of the next steps, besides their schedule. A callback may change it, which has to
        remember it then.
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
        self.batch_size = settings.rows_per_batch(n_rows)
        self.steps_per_epoch = -(-n_rows // self.batch_size)
        self.learning_rate_scale = 1.0
        self._lap: Lap | None = None  # of the epoch in progress
        self._kept, self._kept_epoch, self._claimed = self.weights.copy(), None, False
        self._before = self.weights.copy()
        self._lowest, self._last_loss = np.inf, None
        self._watchers: list = []
        self._start((*settings.callbacks, Progress()) if settings.verbose else settings.callbacks)
        self._after_epoch = [watcher for watcher in self._watchers if callable(watcher)]
        self._between_steps = [watcher for watcher in self._watchers if hasattr(watcher, "after_steps")]
        self._rows = Transformed(self.data, settings.functions, self.model.spec.loss, self.model.plan, self.seed)
        looked_at = self._watchers or settings.metrics or self.sets or self.weights.size > _LARGE or settings.functions
        self._epochs_per_lap = 1 if looked_at else max(1, _ROWS_PER_LAP // n_rows)

    @property
    def epochs(self):
        return self.settings.epochs

    @property
    def epoch(self):
        return self.history.n_epochs - 1

    @property
    def step(self):
        return self.history.n_epochs * self.steps_per_epoch + (self._lap.done if self._lap else 0)

    @property
    def over(self):
        """Whether no step follows."""
        return self.history.n_epochs >= self.settings.epochs or self.history.ended != "finished"

    def keep(self):
        """Make the present weights those that the network has when training ends, whatever ends it."""
        np.copyto(self._kept, self.weights)
        self._kept_epoch, self._claimed = self.epoch, True

    @property
    def buffers(self):
        """What a run has of the parameters' layout besides them and the optimizer's memory, by name."""
        return {"kept": self._kept, "before": self._before}

    def memory(self):
        """Return all else that the next steps depend on: numbers, texts, arrays, and dicts of such.

        Keys and types are those of any run with equal settings, so that they can be checked against another one's.
        """
        lap = self._lap
        return {
            "stopped": self.history.ended == "stopped",  # who cancels a training may resume it
            "claimed": self._claimed,
            "kept_epoch": -1 if self._kept_epoch is None else self._kept_epoch,
            "lowest": float(self._lowest),
            "last_loss": np.nan if self._last_loss is None else self._last_loss,
            "results": lap.results[: lap.done] if lap else np.empty((0, 3)),  # of the epoch in progress
            "seconds": lap.seconds if lap else 0.0,
            "history": self.history.memory(),
            "callbacks": {str(i): watcher.memory() for i, watcher in enumerate(self._with_memory())},
        }

    def recall(self, weights, state, memory):
        """Go on from where a run of equal settings and data had these. The buffers must be those of then already.

        Raises
        ------
        ValueError
            If no run can have had them. The network is as before then.
        """
        self.history.recall(memory["history"])
        results = memory["results"]
        if self.epoch >= self.epochs or len(results) >= (self.steps_per_epoch if self.epoch + 1 < self.epochs else 1):
            raise ValueError(f"{self.history.n_epochs} epochs and {len(results)} steps are more than there are")
        if memory["kept_epoch"] < -1 or (memory["seconds"] != 0 and not len(results)):
            raise ValueError(f"kept_epoch {memory['kept_epoch']} or the seconds of {len(results)} steps cannot be")
        for i, watcher in enumerate(self._with_memory()):
            watcher.recall(memory["callbacks"][str(i)])
        if memory["stopped"]:
            self.history.ended = "stopped"
        self._claimed, self._lowest = memory["claimed"], memory["lowest"]
        self._kept_epoch = None if memory["kept_epoch"] < 0 else memory["kept_epoch"]
        self._last_loss = None if np.isnan(memory["last_loss"]) else memory["last_loss"]
        np.copyto(self.weights, weights)
        self.state.become(state)
        if len(results):
            self._lap = self._new_lap(1)
            self._lap.recall(results, memory["seconds"])

    def cancel(self):
        """End training before its next batch. Any thread may call this."""
        self.history.ended = "cancelled"
        self.engine.cancel()

    def train(self):
        """Train all epochs; return the `History`."""
        try:
            while not self.over:
                self._advance()
                for watcher in self._between_steps:
                    if self.over or self.step % watcher.every_steps == 0:
                        watcher.after_steps(self)
            if not is_finite(self.weights):
                raise self._divergence(self.epoch, self.steps_per_epoch - 1)
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

    def _advance(self):
        """Train to where somebody looks; record the epochs that end there, and ask the callbacks."""
        lap = self._lap = self._lap or self._new_lap(min(self._epochs_per_lap, self.epochs - self.epoch - 1))
        if not lap.done:
            np.copyto(self._before, self.weights)
        began = self.state.copy() if lap.n_epochs > 1 else None
        status = self._train_steps(lap, self._steps_to_look(lap))
        if status == "diverged" and began:
            np.copyto(self.weights, self._before)
            self.state.become(began)
            self._lap, self._epochs_per_lap = None, 1
            return
        if lap.done >= self.steps_per_epoch:
            self._lap = None
            self._record(lap)
        if status == "diverged":
            raise self._divergence(self.epoch + 1, lap.done)

    def _new_lap(self, n_epochs):
        n_rows, shuffled = len(self.data.X), self.settings.shuffle
        return Lap(n_epochs, n_rows, self.batch_size, shuffled, self.seed, self.state.epoch)

    def _steps_to_look(self, lap):
        left = lap.n_steps - lap.done
        if self._between_steps:
            left = min(left, *(w.every_steps - self.step % w.every_steps for w in self._between_steps))
        return left

    def _train_steps(self, lap, n_steps):
        """Make the next steps of a lap; return how the engine ended."""
        data, first, stop = self._rows.of(self.state.epoch), lap.done, lap.done + n_steps
        progress = self._progress(self.step + np.arange(n_steps))
        rates, numbers = self._rates(progress), self.engine.plan.numbers(progress)
        began = perf_counter()
        self.state.exchange(self.weights)
        try:
            return self.engine.run(
                data.X, data.targets, data.training_weights, lap.order, lap.bounds[first : stop + 1], rates, self.state,
                lap.results[first:stop], seed=self.seed, step=self.state.step, epochs=lap.epochs[first:stop],
                threads=threads_for(self.settings.n_threads), numbers=numbers,
            )  # fmt: skip
        finally:
            self.state.exchange(self.weights)
            done = self.engine.steps_done
            lap.done += done
            lap.seconds += perf_counter() - began
            self.state.step += done
            self.state.epoch += lap.done // self.steps_per_epoch - first // self.steps_per_epoch
            self._remember_loss(lap.results[first : lap.done])

    def _progress(self, steps):
        """Return where in the training steps are, as schedules count: 0 at the first, 1 behind the last."""
        return steps / (self.epochs * self.steps_per_epoch)

    def _rates(self, progress):
        optimizer = self.settings.optimizer
        return optimizer.learning_rate * self.learning_rate_scale * factors(optimizer.schedule, progress)

    def _record(self, lap):
        """Enter the whole epochs of a lap in the history, keep the lowest, and ask the callbacks."""
        first = self.epoch + 1
        figures = self._figures(lap.results_by_epoch(), lap.seconds * self.steps_per_epoch / lap.done)
        self.history.extend(figures)
        self._keep_lowest(first, figures["objective"][0])
        answers = [watcher(self) for watcher in self._after_epoch]  # each sees every epoch
        if any(answers) and self.history.ended == "finished":
            self.history.ended = "stopped"

    def _figures(self, results, seconds):
        """Return the history's new entries for epochs whose steps had these results."""
        loss, mass, penalty = results.transpose(2, 0, 1).copy()  # (epochs, steps) each; mass: sum of weights
        total = mass.sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverges
            loss, penalty = loss.sum(axis=1) / total, (penalty * mass).sum(axis=1) / total
        figures = {"loss": loss, "penalty": penalty, "objective": loss + penalty}
        epochs_done = self.history.n_epochs + 1 + np.arange(len(results))
        figures["learning_rate"] = self._rates(self._progress(epochs_done * self.steps_per_epoch - 1))
        figures["seconds"] = np.full(len(results), seconds)
        return figures | {name: np.array([value]) for name, value in self._measured().items()}

    def _measured(self):
        """Return what is measured after the epoch: metrics of the training rows, and the validation sets."""
        metrics, n_threads = self.settings.metrics, self.settings.n_threads
        penalty = self._penalty() if self.sets else 0.0
        figures = self.inference.metrics(self.data, metrics, n_threads)
        for name, dataset in self.sets.items():
            loss = self.inference.loss(dataset, n_threads)
            measured = {"loss": loss, "objective": loss + penalty}
            measured |= self.inference.metrics(dataset, metrics, n_threads)
            figures |= {f"{name}_{figure}": value for figure, value in measured.items()}
        return figures

    def _penalty(self):
        """Return the penalty of the present weights by the strengths of the epoch's last step."""
        last = self._progress(np.array([(self.history.n_epochs + 1) * self.steps_per_epoch - 1]))
        numbers = self.engine.plan.numbers(last)
        return self.engine.penalty(numbers=None if numbers is None else numbers[0])

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
        self.state.start_from(self.weights)
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

    def _with_memory(self):
        return [watcher for watcher in self._watchers if hasattr(watcher, "memory")]

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
