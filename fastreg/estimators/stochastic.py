"""The solvers "sgd" and "adam": whole epochs in the engine, and between them what scikit-learn does there.

a) Draws are scikit-learn's, in its order: the split of early stopping, then one permutation of the running order for
   each epoch, all from the estimator's RandomState. The split draws row numbers, so no row is copied but those of
   validation. Where units are dropped, the key of their random numbers is drawn behind the split.
b) An epoch's figure is the mean over its rows of the objectives of their batches, each before its update.
c) Whatever ends a training, Ctrl-C too, leaves the weights of a whole step, and with early stopping the best ones.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastreg._core.engine import Engine
from fastreg.estimators.regularizers import Regularizers
from fastreg.state import State
from fastreg.threads import threads_for

SOLVERS = ("sgd", "adam")


@dataclass
class Optimizer:
    """What a solver keeps from one call of `partial_fit` to the next.

    Attributes
    ----------
    kernel : str
    numbers : dict
        The settings of the kernel.
    learning_rate : float
        Of the next epoch.
    state : State or None
        Velocity or moments, once training has begun.
    clip_norm : float or None
        The largest norm of a gradient.
    """

    kernel: str
    numbers: dict
    learning_rate_init: float
    schedule: str = "constant"
    power_t: float = 0.5
    learning_rate: float = 0.0
    state: Any = None
    clip_norm: float | None = None

    @classmethod
    def of(cls, estimator):
        """Return the optimizer that the parameters of an estimator describe."""
        rate = float(estimator.learning_rate_init)
        if estimator.solver == "adam":
            names = {"beta1": "beta_1", "beta2": "beta_2", "epsilon": "epsilon"}
            numbers = {name: float(getattr(estimator, theirs)) for name, theirs in names.items()}
            return cls("adam", {**numbers, "epsilon_hat": True}, rate, learning_rate=rate)
        numbers = {"momentum": float(estimator.momentum), "nesterov": bool(estimator.nesterovs_momentum)}
        return cls("sgd", numbers, rate, estimator.learning_rate, estimator.power_t, rate)

    @property
    def buffers(self):
        return 2 if self.kernel == "adam" else 1

    def settings(self):
        return self.numbers

    def state_for(self, plan):
        """Return the state to go on with: a new one for a network of another size or dtype."""
        shape, state = (self.buffers, plan.layout.size), self.state
        if state is None or state.buffers.shape != shape or state.buffers.dtype != plan.dtype:
            self.state = State.new(plan, None)
        elif not state.buffers.flags.writeable:  # a memory map of a file
            self.state = state.copy()
        return self.state

    def epoch_ends(self, rows_seen):
        if self.schedule == "invscaling":
            self.learning_rate = self.learning_rate_init / (rows_seen + 1) ** self.power_t

    def patience_ends(self, message, verbose):
        """Return whether training stops; an adaptive learning rate is divided by 5 while it is above 1e-6."""
        stops = self.schedule != "adaptive" or self.learning_rate <= 1e-6
        if self.schedule != "adaptive":
            message += " Stopping."
        elif stops:
            message += " Learning rate too small. Stopping."
        else:
            self.learning_rate /= 5.0
            message += f" Setting learning rate to {self.learning_rate:f}"
        if verbose:
            print(message)
        return stops


class Epochs:
    """Trains one epoch after the other.

    Parameters
    ----------
    estimator : estimator whose parameters count
    net : Net
    X, y, sample_weight : arrays
        All rows; y (rows, outputs).
    rows : int64 array
        The numbers of those to train on.
    """

    def __init__(self, estimator, net, X, y, sample_weight, rows):
        self._optimizer, self._random_state = estimator._optimizer, estimator._random_state
        self._shuffle, self._threads = estimator.shuffle, threads_for(estimator.n_threads)
        per_batch = estimator.penalty_scale == "sklearn"
        regularizers = Regularizers.of(
            estimator, 0.5 * estimator.alpha / (1 if per_batch else _mass(sample_weight, rows))
        )
        plan = replace(net.plan(self._optimizer, regularizers), penalty_per_batch=per_batch)
        self._seed = int(self._random_state.randint(2**64, dtype=np.uint64)) if regularizers.draw else 0
        self._engine, self._state = Engine(plan, net.buffer), self._optimizer.state_for(plan)
        self._data, self._rows = (X, net.targets(y), sample_weight), rows
        size, n_rows = _batch_size(estimator.batch_size, len(rows)), len(rows)
        self._bounds = np.append(np.arange(0, n_rows, size, dtype=np.int64), n_rows)
        self._shares = np.diff(self._bounds) / n_rows
        self._rates, self._results = np.empty(len(self._shares)), np.empty((len(self._shares), 3))
        self._reported = net.loss.reported(net.n_outputs)

    def train(self, step):
        """Train one epoch; return its mean objective. Its steps have the random numbers of `step`, `step + 1`, ..."""
        if self._shuffle:
            self._random_state.shuffle(self._rows)
        self._rates.fill(self._optimizer.learning_rate)
        self._engine.run(
            *self._data, self._rows, self._bounds, self._rates, self._state, self._results,
            seed=self._seed, step=step, threads=self._threads, stop_at_divergence=False,
        )  # fmt: skip
        loss, mass, penalty = self._results.T
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # of a training that diverges
            objective = np.where(mass > 0, loss * self._reported / mass, 0) + penalty
            return objective @ self._shares


class Best:
    """The weights of the best validation score."""

    def __init__(self, net, X, y, sample_weight, rows):
        weights = None if sample_weight is None else sample_weight[rows]
        if weights is not None and not weights.any():
            raise ValueError(f"all {len(rows)} rows of the validation set have sample weight 0: score is undefined")
        self._data = X[rows], y[rows], weights
        self._net, self._weights = net, net.buffer.copy()

    def score(self, estimator):
        return estimator._score(self._net, *self._data)

    def keep(self):
        np.copyto(self._weights, self._net.buffer)

    def restore(self):
        np.copyto(self._net.buffer, self._weights)


def fit_stochastic(estimator, net, X, y, sample_weight, training_weight, incremental):
    """Train the net as scikit-learn does; record what it records. Validation is by `sample_weight` alone."""
    begin_records(estimator)
    if not incremental or not hasattr(estimator, "_optimizer"):
        estimator._optimizer = Optimizer.of(estimator)
    estimator._optimizer.clip_norm = estimator.clip_norm
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    rows, best = np.arange(X.shape[0], dtype=np.int64), None
    if estimator.early_stopping:
        rows, held_out = _split(estimator, y, rows)
        best = Best(net, X, y, sample_weight, held_out)
    epochs = Epochs(estimator, net, X, y, training_weight, rows)
    try:
        _train(estimator, epochs, best, len(rows), incremental)
    finally:
        if best:
            best.restore()


def begin_records(estimator, anew=False):
    """Begin the records of the epochs; those of a training before, unless `anew`, go on where it kept them."""
    kept = {} if anew else vars(estimator)
    if kept.get("loss_curve_") is None:
        estimator.loss_curve_, estimator._no_improvement_count = [], 0
    if not estimator.early_stopping:
        if kept.get("best_loss_") is None:
            estimator.best_loss_ = np.inf
    elif kept.get("validation_scores_") is None:
        estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf


def _train(estimator, epochs, best, n_rows, incremental):
    estimator.n_iter_ = 0
    while estimator.n_iter_ < estimator.max_iter:
        estimator.loss_ = epochs.train(estimator.t_)  # at most so many steps were made
        estimator.n_iter_ += 1
        estimator.t_ += n_rows
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        _count_epochs_without_improvement(estimator, best)
        estimator._optimizer.epoch_ends(estimator.t_)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            if estimator._optimizer.patience_ends(_message(estimator), estimator.verbose):
                return
            estimator._no_improvement_count = 0
        if incremental:
            return
    warnings.warn(
        f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
        "reached and the optimization hasn't converged yet.",
        ConvergenceWarning,
        stacklevel=2,
    )


def _count_epochs_without_improvement(estimator, best):
    if best:
        score = best.score(estimator)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        improved = not score < estimator.best_validation_score_ + estimator.tol  # NaN counts, as for scikit-learn
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            best.keep()
    else:
        loss = estimator.loss_
        improved = not loss > estimator.best_loss_ - estimator.tol
        estimator.best_loss_ = min(estimator.best_loss_, loss) if loss == loss else estimator.best_loss_
    estimator._no_improvement_count = 0 if improved else estimator._no_improvement_count + 1


def _message(estimator):
    what = "Validation score" if estimator.early_stopping else "Training loss"
    return (
        f"{what} did not improve more than tol={estimator.tol:f}"
        f" for {estimator.n_iter_no_change:.0f} consecutive epochs."
    )


def _split(estimator, y, rows):
    """Return the numbers of the rows to train on, and of those of validation."""
    stratify = y if is_classifier(estimator) and y.shape[1] == 1 else None
    random_state = estimator._random_state
    if getattr(estimator, "validation_split", "sklearn") == "stratified":
        random_state = _split_seed(estimator)
        stratify = y.argmax(axis=1) if estimator.out_activation_ == "softmax" else stratify
    train, held_out = train_test_split(
        rows, random_state=random_state, test_size=estimator.validation_fraction, stratify=stratify
    )
    if len(held_out) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, held_out


def _split_seed(estimator):
    """Return what the split is drawn from: the same in each warm start, so that no row changes sides."""
    if "_split_seed" not in vars(estimator):
        estimator._split_seed = int(estimator._random_state.randint(2**32, dtype=np.uint64))
    return estimator._split_seed


def _mass(weights, rows):
    """Return the sum of the rows' weights; infinity, which takes the penalty away, where all are 0."""
    total = len(rows) if weights is None else float(weights[rows].sum(dtype=np.float64))
    return total if total > 0 else np.inf


def _batch_size(batch_size, n_rows):
    if isinstance(batch_size, str):
        return min(200, n_rows)
    if batch_size > n_rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
        )
    return min(batch_size, n_rows)
