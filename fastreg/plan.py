"""Lowering: layers, penalties, loss and optimizer become a plan, arrays of operations and of numbers.

a) A plan holds what is computed, and no Python (but a user's own loss): both interpreters run the same records.
b) Three segments, forward, backward and update, can each be run alone. One before them changes the batch. Clipping by
   the gradient's norm puts one before the update, which adds the penalties' gradients and measures it.
c) Operations are coarse, one per layer where possible: an activation is fused into its `Dense`, a dropout
   behind a ReLU too (its backward pass needs no mask: the dropped units are those with output 0).
d) Numbers that schedules or many models side by side may change stand in `Plan.scalars`, not in records.
e) Parameters with the same penalties and decay that lie side by side are one range of the update; running statistics
   lie behind them all.
"""

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from fastreg.builder import Builder, Scalars, put
from fastreg.layers import Activation, Dense, Layer, Noise, flattened
from fastreg.layout import Layout
from fastreg.losses import Loss, as_loss, remaining_activation
from fastreg.ops import FLAGS, INTEGERS, NONE, op, records
from fastreg.penalties import WeightDecay, match_penalties
from fastreg.reverse import backward
from fastreg.schedules import factors


@dataclass(frozen=True, eq=False)
class Plan:
    """What an interpreter runs. Segments are arrays of `fastreg.ops.OP`.

    Attributes
    ----------
    layout : Layout
        Of the flat parameter buffer, and of the gradient and the optimizer's state.
    slots : tuple of int
        Columns of each slot. Slot 0 is the input; the last ones hold gradients, whose rows are packed to the
        width of the layer that uses them.
    output : int
        The slot of the raw outputs.
    first_gradient : int
        The first slot of gradients: that of the outputs.
    batch, forward, loss, backward, measure, update : ndarray of OP
        `batch` is run in training alone.
    scalars : ndarray of float64
        Rates, strengths and decays; records point into it.
    schedules : dict of int to Schedule
        Of the scalars that change from step to step, by their place: what is in the table is multiplied by the factor.
    settings : dict
        The optimizer's, without the learning rate.
    buffers : int
        How many arrays like the parameters go with them: the optimizer's state, and last their averages.
    labels : bool
        Whether targets are int32 labels; otherwise a float matrix. Where rows are mixed, a batch's labels become one.
    own_loss : callable or None
        What a loss without a kernel is computed by, see `fastreg.custom`: the only Python in a plan.
    dtype : dtype
    penalty_per_batch : bool
        Whether a run divides the penalty by the batch's sum of weights, as scikit-learn's MLP does.
    """

    layout: Layout
    slots: tuple
    output: int
    first_gradient: int
    batch: np.ndarray
    forward: np.ndarray
    loss: np.ndarray
    backward: np.ndarray
    measure: np.ndarray
    update: np.ndarray
    scalars: np.ndarray
    schedules: dict
    settings: dict
    buffers: int
    labels: bool
    dtype: np.dtype
    own_loss: Any = None
    penalty_per_batch: bool = False

    @property
    def n_inputs(self):
        return self.slots[0]

    @property
    def n_outputs(self):
        return self.slots[self.output]

    @property
    def mixes(self):
        """Whether rows of a batch are mixed with each other."""
        return bool((self.batch["op"] == b"mix").any())

    def numbers(self, progress):
        """Return the scalars at each `progress` (see `fastreg.schedules`), a row each; None where none changes."""
        if not self.schedules:
            return None
        numbers = np.tile(self.scalars, (len(progress), 1))
        strengths = {*self.update["strength"].tolist(), *self.update["decay"].tolist()}  # all others are rates
        for place, schedule in self.schedules.items():
            numbers[:, place] *= factors(schedule, progress, np.inf if place in strengths else 1)
        return numbers

    def __str__(self):
        lines = [f"plan: {self.layout.n_parameters} parameters, {self.dtype}, slots {self.slots}"]
        around = {name: [name][: len(getattr(self, name))] for name in ("batch", "measure")}
        for segment in (*around["batch"], "forward", "loss", "backward", *around["measure"], "update"):
            lines += [segment, *("  " + describe(record, self.scalars) for record in getattr(self, segment))]
        return "\n".join(lines)

    @property
    def penalties(self):
        """The records of the penalties, range by range."""
        both = np.concatenate([self.measure, self.update])
        return both[both["op"] == b"penalty"]

    @property
    def averages(self):
        """The records of the averages."""
        return self.update[self.update["op"] == b"average"]


def describe(record, scalars):
    """Return one operation as a line of text: its name, kernel and the fields that it uses."""
    fields = [f"{name}={record[name]}" for name in INTEGERS if name not in FLAGS and record[name] != NONE]
    for name in ("rate", "strength", "decay"):
        if record[name] != NONE:
            fields[fields.index(f"{name}={record[name]}")] = f"{name}={scalars[record[name]]:g}"
    fields += [flag for flag in FLAGS if record[flag]]
    if record["alpha"]:
        fields.append(f"alpha={record['alpha']:g}")
    return f"{record['op'].decode():19} {record['kernel'].decode():20} {' '.join(fields)}".rstrip()


def lower(layers, loss, n_inputs, dtype, *, penalties=None, optimizer=None, labels=False, augment=()):
    """Return the `Plan` of a network.

    Parameters
    ----------
    layers : sequence of layers
    loss : str or Loss
    n_inputs : int
        Columns of the input.
    dtype : "float32" or "float64"
    penalties : dict of name patterns to penalties, optional
        Replace the layers' own.
    optimizer : SGD, Adam or AdamW, optional
        Without one the update segment holds the penalties alone.
    labels : bool
        Whether targets are integer labels.
    augment : tuple of Augmentation
        What is done to the rows of a batch.

    Raises
    ------
    ValueError
        For layers that make no network, a last activation that does not fit the loss, a pattern that
        matches no parameter, or a name used twice.
    """
    return lower_layers(layers, loss, n_inputs, dtype, penalties=penalties).plan(optimizer, labels, augment)


def lower_layers(layers, loss, n_inputs, dtype, *, penalties=None):
    """Return what all plans of a network share, a `Body`; the arguments are those of `lower`."""
    loss, dtype = as_loss(loss), _check_dtype(dtype)
    builder = Builder(n_inputs)
    for layer in _without_link(_check_layers(layers), loss):
        layer.lower(builder)
    if loss.link == "softmax" and builder.width < 2:
        raise ValueError(
            f"{loss.name} needs at least 2 outputs, the last layer has {builder.width};"
            " for one output use 'binary_cross_entropy'"
        )
    layout = builder.place_parameters(dtype)
    first_gradient = len(builder.slots)
    way_back, gradients = backward(builder.records, builder.slot, first_gradient)
    return Body(
        layout=layout,
        ones=tuple(builder.ones),
        momenta=builder.momenta,
        slots=(*builder.slots, *[max(builder.slots[1:])] * max(gradients, 2)),
        output=builder.slot,
        first_gradient=first_gradient,
        forward=records(builder.records),
        backward=records(way_back),
        scalars=builder.scalars,
        penalties=match_penalties(builder.penalties, penalties),
        loss=loss,
        dtype=dtype,
    )


@dataclass(frozen=True, eq=False)
class Body:
    """The part of a network's plans that is the same for inference and for every optimizer."""

    layout: Layout
    ones: tuple  # names of the vectors that begin with ones
    momenta: dict  # of running statistics by name: where their rates stand among the scalars
    slots: tuple
    output: int
    first_gradient: int
    forward: np.ndarray
    backward: np.ndarray
    scalars: Scalars
    penalties: dict  # by parameter name
    loss: Loss
    dtype: np.dtype

    def plan(self, optimizer=None, labels=False, augment=()):
        """Return the `Plan` that trains with `optimizer`, or the one of inference, on labels or on a matrix."""
        scalars = self.scalars.copy()
        batch = _batch(augment, self.slots[0], scalars)
        by_label = bool(labels) and all(operation["op"] != "mix" for operation in batch)
        measure, update = _update(self.layout, self.penalties, optimizer, scalars)
        kernel = self.loss.kernel(by_label)
        if optimizer is not None:
            update = _averaged(update + _statistics(self.layout, self.momenta), optimizer, scalars)
        return Plan(
            layout=self.layout,
            slots=self.slots,
            output=self.output,
            first_gradient=self.first_gradient,
            batch=records(batch),
            forward=self.forward,
            loss=records([_loss(self, by_label, optimizer is not None, scalars)]),
            backward=self.backward,
            measure=records(measure),
            update=records(update),
            scalars=np.array(scalars, dtype=np.float64),
            schedules=scalars.schedules,
            settings=optimizer.settings() if optimizer else {},
            buffers=optimizer.buffers if optimizer else 0,
            labels=bool(labels),
            dtype=self.dtype,
            own_loss=None if kernel else self.loss.bound(self.slots[self.output], by_label, self.dtype),
        )


def _check_layers(layers):
    for number, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise ValueError(f"layers[{number}] is {layer!r}, not a layer such as Dense(10)")
    if not any(isinstance(layer, Dense) for layer in flattened(layers)):
        raise ValueError("a network needs at least one Dense layer")
    return list(layers)


def _check_dtype(dtype):
    try:
        known = dtype is not None and np.dtype(dtype) in (np.float32, np.float64)
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
    return np.dtype(dtype)


def _without_link(layers, loss):
    """Return the layers without the last one's activation where the loss computes it."""
    *before, last = layers
    activation = getattr(last, "activation", last)  # part of a Dense, or a layer of its own
    if isinstance(activation, Activation) and remaining_activation(loss, activation.name) == "identity":
        layers = before if last is activation else [*before, replace(last, activation="identity")]
        if last is activation and activation.name == "identity":
            return _without_link(layers, loss)  # it hides what stands before it
    if isinstance(layers[-1], Noise):
        raise ValueError(f"{layers[-1]!r} stands last: noise in the outputs cannot be fitted; end with a Dense")
    return layers


def _batch(augment, n_inputs, scalars):
    """Return the batch segment: what augmentations and mixings do, each operation with a number of its own."""
    operations: list = []
    for change in (change for augmentation in augment for change in augmentation.changes(n_inputs)):
        first, *_ = [put(number, scalars) for number in change.numbers]
        operations.append(
            op(change.op, kernel=change.kernel, n_in=len(change.numbers), strength=first, layer=len(operations),
               **change.image._asdict())
        )  # fmt: skip
    return operations


def _loss(body, labels, training, scalars):
    n_out = body.slots[body.output]
    strengths = [put(number, scalars, body.loss.schedule) for number in body.loss.numbers(n_out, training)]
    return op("loss", kernel=body.loss.kernel(labels), y=body.output, dy=body.first_gradient, n_out=n_out,
              alpha=body.loss.output_weight(n_out), strength=strengths[0] if strengths else NONE)  # fmt: skip


def _update(layout, penalties, optimizer, scalars):
    """Return the segments measure and update: for each range its penalties, the optimizer's move, its prox steps."""

    def rule(field):
        return penalties[field.name], _decay(field, penalties[field.name], optimizer)

    measure: list[dict] = []
    update: list[dict] = []
    clip = Clip(*(NONE if number is None else put(number, scalars) for number in _bounds(optimizer)))
    trained = (field for field in layout.fields if field.trained)
    ranges = [(key, next(fields)) for key, fields in groupby(trained, rule)]
    stops = [field.start for _, field in ranges[1:]] + [layout.trained]  # with the gap: it is zero
    for ((penalty, decay), field), stop in zip(ranges, stops, strict=True):
        span = {"start": field.start, "stop": stop}
        before, after = _range_update(penalty.terms() if penalty else (), decay, optimizer, clip, span, scalars)
        measure, update = measure + before, update + after
    return measure, update


def _decay(field, penalty, optimizer):
    """Return the one `WeightDecay` of a parameter, None for none: its penalty's, or the optimizer's, on weights."""
    decays = [decay for decay in penalty.decays() if decay.strength] if penalty and optimizer is not None else []
    everywhere = getattr(optimizer, "weight_decay", 0.0)
    if len(field.shape) > 1 and everywhere:
        decays.append(WeightDecay(everywhere))
    if len(decays) > 1:
        raise ValueError(
            f"{field.name} has two decays, {decays[0]!r} and {decays[1]!r}: leave one out, as with"
            " AdamW(weight_decay=0)"
        )
    return decays[0] if decays else None


def _statistics(layout, momenta):
    """Return what moves the running statistics: towards those of the batch, which stand where a gradient would."""
    return [
        op("update", kernel="running_average", rate=momenta[field.name], start=field.start, stop=field.stop)
        for field in layout.fields
        if not field.trained
    ]


def _averaged(update, optimizer, scalars):
    """Return an update segment with the average of the weights behind all else in each range."""
    average = getattr(optimizer, "average", None)
    if average is None:
        return update
    share, averaged = put(1 - average.decay, scalars), []
    for (start, stop), operations in groupby(update, lambda record: (record["start"], record["stop"])):
        average_here = op("average", kernel="running_average", strength=share, start=start, stop=stop)
        averaged += [*operations, average_here]
    return averaged


class Clip(NamedTuple):
    """Where the largest norm and the largest element of a gradient stand among the scalars."""

    norm: int
    value: int


def _bounds(optimizer):
    return getattr(optimizer, "clip_norm", None), getattr(optimizer, "clip_value", None)


def _range_update(terms, decay, optimizer, clip, span, scalars):
    """Return what a range adds to the segments measure and update."""
    terms = sorted(terms, key=lambda term: term.kernel)  # L2 + L1 is L1 + L2 to the last bit
    strengths = [put(term.strength, scalars, term.schedule) for term in terms]
    penalties = [
        op("penalty", kernel=term.kernel, strength=strength, alpha=float(term.gradient), **span)
        for term, strength in zip(terms, strengths, strict=True)
    ]
    if optimizer is None:
        return [], penalties
    measure, operations = [], penalties
    if clip.norm != NONE:
        measure = [*penalties, op("squares", kernel="square_sum", strength=clip.norm, **span)]
        operations = [op("clip", kernel="rescale", **span)]
    elif clip.value != NONE:
        operations = [*penalties, op("clip", kernel="clamp", strength=clip.value, **span)]
    decays = {} if decay is None else {
        "decay": put(decay.strength, scalars, decay.schedule), "alpha": float(not decay.scaled_by_lr)
    }  # fmt: skip
    floor = [s for term, s in zip(terms, strengths, strict=True) if term.floor]
    operations.append(op("update", kernel=optimizer.kernel, strength=floor[0] if floor else NONE, **decays, **span))
    operations += [
        op("prox", kernel=term.prox, strength=strength, **span)
        for term, strength in zip(terms, strengths, strict=True)
        if term.prox
    ]
    return measure, operations
