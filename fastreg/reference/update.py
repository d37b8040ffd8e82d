"""The update segment, bound to the parameters: penalties, the optimizer's move, proximal steps."""

from functools import partial, reduce
from itertools import groupby
from math import sqrt
from operator import add

import numpy as np

from fastreg.ops import NONE
from fastreg.reference import kernels


def bind_penalties(plan, params, gradient=None, within=None):
    """Return calls, each the value of one penalty; it adds its gradient to `gradient` where it has one.

    A call takes what the strengths are multiplied by.

    `within` is a slice of the parameters, where only those are meant.
    """
    calls = []
    for record, span in _inside(plan.penalties, within or slice(0, len(params))):
        kernel, strength = getattr(kernels, record["kernel"].decode()), _number(plan, record, "strength")
        slope = gradient[span] if gradient is not None and record["alpha"] else None
        calls.append(partial(_penalty, kernel, params[span], strength, slope))
    return calls


def _penalty(kernel, w, strength, slope, scale):
    return kernel(w, strength() * scale, slope)


def added(penalties, scale):
    """Sum of penalties times `scale` in their order (the built-in sum compensates from Python 3.12 on)."""
    return reduce(add, (penalty(scale) for penalty in penalties), 0.0)


class Update:
    """One call with the learning rate and what the strengths of penalties are multiplied by is one update of all
    parameters; it returns the penalty before it.

    Ranges that move alike move together, block by block through all their operations: few calls, and memory
    is read and written once.

    `state.scalars` holds t, the number of updates, and c, the move that SGD would have made for a gradient
    held at 1 since the start: what a proximal step after momentum has to use.
    """

    def __init__(self, plan, params, gradient, state):
        self._memory = state.scalars
        self._momentum = plan.settings.get("momentum", 0.0)
        self._nesterov = plan.settings.get("nesterov", False)
        self._norm = _bind_norm(plan, gradient) if len(plan.measure) else None
        self._blocks = []  # of calls: penalties, and what moves the weights
        for move, block in _moves_by_block(plan):
            penalties = bind_penalties(plan, params, gradient, block)
            self._blocks.append((penalties, _bind_moves(plan, move, block, params, gradient, state)))

    def __call__(self, rate, scale):
        t, c = self._memory.tolist()
        t, c = t + 1, self._momentum * c + rate
        self._memory[:] = t, c
        step = self._momentum * c + rate if self._nesterov else c
        total = 0.0
        if self._norm:
            total = added([penalty for penalties, _ in self._blocks for penalty in penalties], scale)
            self._norm()
        for penalties, moves in self._blocks:
            if not self._norm:
                for penalty in penalties:
                    total += penalty(scale)
            for move in moves:
                move(rate, t, step, scale)
        return total


def _bind_norm(plan, gradient):
    """Return the call that rescales a gradient whose norm is larger than allowed."""
    norms = plan.measure[plan.measure["op"] == b"squares"]
    largest, whole = _number(plan, norms[0], "strength"), gradient[norms[0]["start"] : norms[-1]["stop"]]

    def clip():
        norm = sqrt(kernels.square_sum(whole))
        if norm > largest():
            kernels.rescale(whole, largest() / norm)

    return clip


def _moves_by_block(plan):
    """Yield a record of the optimizer's move and a block of the parameters that move so."""

    def alike(record):
        names = ("rate", "decay", "strength") if record["kernel"] == b"adam" else ("rate", "decay")  # a floor is Adam's
        places = [int(record[name]) for name in names]
        numbers = [(plan.scalars[place], plan.schedules.get(place)) if place != NONE else None for place in places]
        return record["kernel"], record["alpha"], numbers

    for _, group in groupby(plan.update[plan.update["op"] == b"update"], alike):
        moves = list(group)
        stop = int(moves[-1]["stop"])
        for start in range(int(moves[0]["start"]), stop, kernels.BLOCK):
            yield moves[0], slice(start, min(start + kernels.BLOCK, stop))


def _bind_moves(plan, move, block, params, gradient, state):
    """Return the calls of the optimizer's move and the proximal steps in one block."""
    averaged = plan.averages[:1]  # the same for all ranges
    states = state.buffers[: plan.buffers - len(averaged)]
    arrays = params[block], gradient[block], *(buffer[block] for buffer in states)
    averages = [_average(plan, record, state.buffers[-1][block], params[block]) for record in averaged]
    proxes = list(_inside(plan.update[plan.update["op"] == b"prox"], block))
    if move["kernel"] == b"running_average":
        return [_running_average(plan, move, arrays), *averages]
    calls = [_clamp(plan, record, gradient[block]) for record in _clamps(plan)]
    if move["kernel"] == b"sgd":
        sizes, calls = None, [*calls, _sgd(plan, move, arrays)]
    else:
        sizes = np.empty_like(arrays[0]) if proxes else None
        calls = [*calls, _adam(plan, move, arrays, sizes)]
    for record, span in proxes:
        own = None if sizes is None else sizes[span.start - block.start : span.stop - block.start]
        calls.append(_prox(plan, record, params[span], own))
    return calls + averages


def _running_average(plan, move, arrays):
    share = _number(plan, move, "rate")
    return lambda rate, t, step, scale: kernels.running_average(*arrays[:2], learning_rate=share())


def _clamps(plan):
    """Return the first record that clamps the gradient, which is that of all ranges, or none."""
    return plan.update[plan.update["kernel"] == b"clamp"][:1]


def _clamp(plan, record, gradient):
    bound = _number(plan, record, "strength")
    return lambda rate, t, step, scale: kernels.clamp(gradient, bound())


def _sgd(plan, move, arrays):
    decay = _decay(plan, move)
    update = partial(kernels.sgd, *arrays, **plan.settings)
    return lambda rate, t, step, scale: update(learning_rate=rate, decay=decay(rate))


def _adam(plan, move, arrays, sizes):
    decay, floor = _decay(plan, move), _number(plan, move, "strength")
    settings = dict(plan.settings)
    epsilon, beta2 = settings.pop("epsilon"), settings["beta2"]
    hat = settings.pop("epsilon_hat")
    update = partial(kernels.adam, *arrays, **settings, step=sizes)

    def one_step(rate, t, step, scale):
        corrected = epsilon / sqrt(1 - beta2**t) if hat else epsilon
        update(learning_rate=rate, t=t, decay=decay(rate), epsilon=corrected, floor=floor() * scale)

    return one_step


def _decay(plan, move):
    """Return a call with the learning rate for the share of the old weights that decays."""
    strength = _number(plan, move, "decay")
    return (lambda rate: strength()) if move["alpha"] else (lambda rate: rate * strength())


def _prox(plan, record, w, sizes):
    """Step sizes are one number for SGD, and one per weight for Adam."""
    kernel, strength = getattr(kernels, record["kernel"].decode()), _number(plan, record, "strength")
    return lambda rate, t, step, scale: kernel(w, step if sizes is None else sizes, strength() * scale)


def _average(plan, record, averages, w):
    """What is young changes soon: the share of the new weights is at least 10 / (t + 9)."""
    share = _number(plan, record, "strength")
    return lambda rate, t, step, scale: kernels.running_average(averages, w, learning_rate=max(share(), 10 / (t + 9)))


def _inside(records, block):
    """Yield those of these records whose range reaches into the block, and the part of it inside."""
    for record in records:
        span = slice(max(record["start"], block.start), min(record["stop"], block.stop))
        if span.start < span.stop:
            yield record, span


def _number(plan, record, name):
    """Return a call for what the number that a record points to is at present; 0 where it points to none."""
    return partial(plan.scalars.item, int(record[name])) if record[name] != NONE else lambda: 0.0
