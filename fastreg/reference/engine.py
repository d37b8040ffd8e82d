"""The NumPy engine: runs a plan batch after batch.

a) A run binds the plan to arrays once for full batches, and once more for a shorter last one (`passes`).
b) Until its update a step has changed nothing but the workspace. Ctrl-C is held back while a step runs, so
   the weights are always those of whole steps.
c) Numbers that overflow are no warnings here: a loss that is not finite ends the run, and its caller says so.
"""

import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite

import numpy as np

from fastreg.csr import CSR
from fastreg.reference import kernels
from fastreg.reference.batch import Keys, bind_batch
from fastreg.reference.passes import Noise, Pass
from fastreg.reference.update import Update, added, bind_penalties

ROWS = 1024  # of a chunk at inference


class Engine:
    """Runs a plan on a flat parameter buffer, which `run` updates in place.

    Parameters
    ----------
    plan : fastreg.plan.Plan
    params : ndarray of shape (plan.layout.size,)

    Notes
    -----
    `threads` is taken where the compiled engine takes it, and left to NumPy's BLAS. Tables of rows, `x`, are arrays
    or `fastreg.csr.CSR`, whose batches are filled up with their zeros.
    """

    def __init__(self, plan, params):
        self.plan, self.params = plan, params
        self.steps_done = 0
        self._cancelled = False

    def forward(self, out, x, *, threads=1, seed=None, step=0):
        """Write the raw outputs of x, (n, n_inputs), to out, (n, n_outputs).

        With a seed there is noise, of random numbers that belong to the seed, the step and the rows' places in x.
        """
        noise = None if seed is None else Noise(self.plan, len(x), seed, step)
        for chunk, outputs, _ in self._inference(x, noise):
            np.copyto(out[chunk], outputs)

    def evaluate(self, x, targets, weights=None, *, threads=1):
        """Return the sums of w_i l_i and of w_i over the rows of x, nothing dropped."""
        total = weight = 0.0
        for chunk, outputs, loss in self._inference(x):
            some = None if weights is None else weights[chunk]
            total += loss(None, outputs, targets[chunk], some)
            weight += _sum(some, len(outputs))
        return total, weight

    def penalty(self, gradient=None, *, numbers=None):
        """Return the sum of the penalties; add their gradients to the flat `gradient` where given.

        `numbers` (n_scalars,) takes the place of the plan's scalars where given.
        """
        return added(bind_penalties(_with_numbers(self.plan, numbers), self.params, gradient), 1.0)

    def gradient(self, gradient, x, targets, weights=None, *, seed=0, step=0, threads=1):
        """Return one batch's mean data loss in training mode; its gradient overwrites `gradient`."""
        gradient[:] = 0  # the gaps
        noise = Noise(self.plan, len(x), seed, step)
        batch = _Batch(self.plan, Pass(self.plan, self.params, len(x), gradient, noise), _dense(x), targets, weights)
        batch.load(np.arange(len(x)), Keys(seed, step, 0))
        scale = _inverse(_sum(weights, len(x)))
        with _quiet():
            loss = batch.forward_and_loss(scale)
            batch.backward()
        gradient[self.plan.layout.trained :] = 0  # the batch's statistics stood there
        return loss * scale

    def run(
        self, x, targets, weights, order, bounds, rates, state, results, *, seed, step, epochs=None,
        threads=1, stop_at_divergence=True, numbers=None,
    ):  # fmt: skip
        """Train len(rates) steps; return "done", "cancelled" or "diverged".

        Parameters
        ----------
        x, targets, weights : ndarrays
            All rows; weights may be None.
        order : int64 (n,)
            Row numbers; step s takes order[bounds[s] : bounds[s + 1]].
        bounds : int64 (n_steps + 1,)
        rates : float64 (n_steps,)
            Learning rates.
        state : object
            `buffers` (plan.buffers, size) and `scalars` (2,): the number of updates, and SGD's step memory.
        results : float64 (n_steps, 3)
            Receives sum w_i l_i, sum w_i and the penalty, all before the step's update.
        seed, step : int
            Keys of the random numbers; step s of the run counts as step + s.
        epochs : int64 (n_steps,), optional
            Keys of the augmentations' random numbers; None: 0.
        stop_at_divergence : bool
            Whether a loss that is not finite ends the run before that step's update.
        numbers : float64 (n_steps, n_scalars), optional
            The plan's scalars step by step, where they change.
        """
        self.steps_done = 0
        data, sizes = (x, targets, weights), np.diff(bounds).tolist()
        training = _Training(self.plan, self.params, data, sizes, state, seed, step, numbers)
        epochs = [0] * len(sizes) if epochs is None else epochs.tolist()
        bounds = np.asarray(bounds).tolist()
        with _interrupts_between_steps() as let_through, _quiet():
            for s, rate in enumerate(np.asarray(rates).tolist()):
                if self._cancelled:
                    self._cancelled = False
                    return "cancelled"
                rows = order[bounds[s] : bounds[s + 1]]
                results[s] = training.step(rows, rate, Keys(seed, step + s, epochs[s]), stop_at_divergence)
                if stop_at_divergence and not isfinite(results[s, 0]):
                    return "diverged"
                self.steps_done += 1
                let_through()
        return "done"

    def cancel(self):
        """Ask the run in progress, or the next one, to stop before its next batch. Any thread may call this."""
        self._cancelled = True

    def _inference(self, x, noise=None):
        """Yield (slice of rows, their raw outputs, the loss)."""
        bound = None
        for start in range(0, len(x), ROWS):
            chunk = x[start : start + ROWS]
            if bound is None or len(bound.x) != len(chunk):
                bound = Pass(self.plan, self.params, len(chunk), noise=noise)
            if noise is not None:
                noise.first_row = start
            np.copyto(bound.x, _dense(chunk))
            with _quiet():
                bound.forward()
            yield slice(start, start + len(chunk)), bound.outputs, bound.loss


class _Training:
    """What a run holds from its first step to its last: workspaces, gradient, noise, optimizer."""

    def __init__(self, plan, params, data, sizes, state, seed, step, numbers):
        self._first_step, self._numbers = step, numbers
        plan = _with_numbers(plan, plan.scalars)  # whose numbers change step by step
        self._scalars, gradient = plan.scalars, np.zeros_like(params)
        self._noise = Noise(plan, max(sizes, default=0), seed, step, len(sizes), numbers)
        self._batches = {
            rows: _Batch(plan, Pass(plan, params, rows, gradient, self._noise), *data) for rows in set(sizes)
        }
        self._penalties, self._per_batch = bind_penalties(plan, params), plan.penalty_per_batch
        self._update = Update(plan, params, gradient, state)

    def step(self, rows, rate, keys, stop_at_divergence):
        """One step; return its figures. No update where the loss is not finite or all weights are 0."""
        self._noise.step = keys.step
        if self._numbers is not None:
            self._scalars[:] = self._numbers[keys.step - self._first_step]
        batch = self._batches[len(rows)]
        weight = batch.load(rows, keys)
        loss, scale = batch.forward_and_loss(_inverse(weight)), _inverse(weight) if self._per_batch else 1.0
        if stop_at_divergence and not isfinite(loss):
            return loss, weight, 0.0
        batch.backward()
        return loss, weight, self._update(rate, scale) if weight else added(self._penalties, scale)


class _Batch:
    """A pass, and the batch's rows of the data."""

    def __init__(self, plan, bound, x, targets, weights):
        rows, self._one_hot = len(bound.x), plan.labels and plan.mixes
        self._bound, self._data = bound, (x, targets, weights)
        shape, dtype = (targets.shape[1:], targets.dtype) if not self._one_hot else ((plan.n_outputs,), plan.dtype)
        self._targets = np.empty((rows, *shape), dtype)
        self._weights = None if weights is None else np.empty(rows, weights.dtype)
        self._changes = bind_batch(plan, bound.x, self._targets, self._weights)
        self.backward = bound.backward

    def load(self, rows, keys):
        """Gather the rows of these numbers, augment and mix them; return the sum of their weights."""
        x, targets, weights = self._data
        if isinstance(x, CSR):
            np.copyto(self._bound.x, x[rows].toarray())
        else:
            kernels.gather(self._bound.x, x, rows)
        (kernels.gather_one_hot if self._one_hot else kernels.gather)(self._targets, targets, rows)
        if weights is not None:
            kernels.gather(self._weights, weights, rows)
        for change in self._changes:
            change(rows, keys)
        return _sum(self._weights, len(rows))

    def forward_and_loss(self, scale):
        return self._bound.forward_and_loss(self._targets, self._weights, scale)


def _with_numbers(plan, numbers):
    """Return the plan with a copy of these numbers as its scalars."""
    return plan if numbers is None else replace(plan, scalars=np.array(numbers, np.float64))


def _dense(x):
    return x.toarray() if isinstance(x, CSR) else x


def _sum(weights, rows):
    return float(rows) if weights is None else float(np.add.reduce(weights, dtype=np.float64))


def _inverse(weight):
    return 1 / weight if weight else 0.0


def _quiet():
    return np.errstate(all="ignore")  # whatever the caller has set


@contextmanager
def _interrupts_between_steps():
    """Hold Ctrl-C back; yields a function that lets it through, to be called between two steps."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield lambda: None  # signals arrive elsewhere, or are none of Python's
        return
    held: list = []

    def let_through():
        if held:
            handler(*held.pop())

    signal.signal(signal.SIGINT, lambda *received: held.append(received))
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGINT, handler)
        let_through()
