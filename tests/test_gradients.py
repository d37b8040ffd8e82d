"""Gradients against central differences in float64, and planted bugs that the same check must catch.

The objective of a cell is mean data loss + penalties of one batch in training mode, its dropout masks fixed
by the seed. It is differentiated at a point that is no kink of ReLU or |w|. The relative error of a
parameter field is max|analytic - numeric| / max(|analytic|, |numeric|), both maxima over the field; a cell
has its worst field's.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

import fastreg as fr
from fastreg import reference
from fastreg._core.engine import Engine
from fastreg.layout import aligned_zeros
from fastreg.ops import NONE
from fastreg.plan import lower

ENGINES = {"compiled": Engine, "reference": reference.Engine}
TOLERANCE = 1e-7
STEP = 2e-5  # of the differences: their error is of order STEP**2, and rounding's 1e-16 / STEP
AWAY = 1e-2  # from a kink
ROWS, INPUTS, HIDDEN, OUTPUTS = 7, 4, 3, 3
NOISE = {"seed": 5, "step": 2}

ACTIVATIONS = ["identity", "relu", fr.Activation("leaky_relu", leak=0.2), "sigmoid", "tanh", "softmax", "selu"]
LOSSES = ["cross_entropy", "cross_entropy_labels", "binary_cross_entropy", "squared_error"]
PENALTIES = {
    "none": None,
    "l1": fr.L1(0.03, method="subgradient"),
    "l2": fr.L2(0.05),
    "both": fr.L1(0.03, method="subgradient") + fr.L2(0.05),
}
WEIGHTS = ["none", "random"]
CELLS = list(product(ACTIVATIONS, LOSSES, PENALTIES, WEIGHTS))
MEASURED = {}  # (cell, engine): worst relative error


def name_of(activation):
    return getattr(activation, "name", activation)


@dataclass
class Batch:
    """The data of a cell and the point at which it is differentiated."""

    plan: Any
    params: np.ndarray
    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None

    def objective(self, engine):
        """Value of the objective at the engine's parameters, and its gradient."""
        gradient = np.full_like(self.params, np.nan)
        loss = engine.gradient(gradient, self.x, self.targets, self.weights, **NOISE)
        return loss + engine.penalty(gradient), gradient

    def analytic(self, kind, plan=None):
        return self.objective(ENGINES[kind](plan or self.plan, self.params))[1]

    def numeric(self, kind):
        """The same by central differences."""
        engine, gradient = ENGINES[kind](self.plan, self.params), np.zeros_like(self.params)
        for field in self.plan.layout.fields:
            for i in range(field.start, field.stop):
                at, values = self.params[i], []
                for self.params[i] in (at + STEP, at - STEP):
                    values.append(self.objective(engine)[0])
                self.params[i] = at
                gradient[i] = (values[0] - values[1]) / (2 * STEP)
        return gradient


def worst_error(layout, analytic, numeric):
    """The largest relative error of a field."""
    views = layout.views(analytic), layout.views(numeric)
    pairs = [(views[0][name], views[1][name]) for name in views[0]]
    return max(np.abs(a - n).max() / max(np.abs(a).max(), np.abs(n).max(), 1e-6) for a, n in pairs)


def network(activation, penalty):
    """Input dropout; dropout behind an activation, once more behind the second; two hidden layers."""
    with_penalty = {"weight_penalty": penalty, "bias_penalty": penalty}
    return [
        fr.Dropout(0.2), fr.Dense(HIDDEN, activation, **with_penalty), fr.Dropout(0.3),
        fr.Dense(HIDDEN, activation, **with_penalty), fr.Dropout(0.25), fr.Dense(OUTPUTS, **with_penalty),
    ]  # fmt: skip


def draw_targets(loss, rng):
    if loss == "cross_entropy_labels":
        return rng.integers(0, OUTPUTS, ROWS, dtype=np.int32)
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(OUTPUTS), ROWS)
    return rng.random((ROWS, OUTPUTS))


def hidden_inputs(batch):
    """What enters the activation of each hidden layer, dropped units left out: a kink may be among it."""
    views, h = batch.plan.layout.views(batch.params), batch.x.copy()
    reference.dropout(h, h, 0.2, **NOISE, layer=0)
    first = h @ views["0.weight"] + views["0.bias"]
    activation = batch.plan.forward["kernel"][batch.plan.forward["op"] == b"dense"][0].decode()
    h = np.empty_like(first)
    getattr(reference, activation)(h, first, *[0.2] * (activation == "leaky_relu"))
    reference.dropout(h, h, 0.3, **NOISE, layer=1)
    return np.concatenate([first, h @ views["1.weight"] + views["1.bias"]])


def make_batch(activation, loss, penalty, weights):
    plan = lower(
        network(activation, PENALTIES[penalty]), loss.removesuffix("_labels"), INPUTS, "float64",
        labels=loss.endswith("labels"),
    )  # fmt: skip
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        params = aligned_zeros(plan.layout.size, "float64")
        for view in plan.layout.views(params).values():
            view[...] = rng.uniform(0.2, 0.9, view.shape) * rng.choice([-1, 1], view.shape)
        row_weights = rng.uniform(0.2, 2, ROWS) if weights == "random" else None
        batch = Batch(plan, params, rng.normal(size=(ROWS, INPUTS)), draw_targets(loss, rng), row_weights)
        if name_of(activation) not in ("relu", "leaky_relu", "selu"):
            return batch
        z = hidden_inputs(batch)
        if np.abs(z).min() > AWAY and 0.3 < (z > 0).mean() < 0.8:
            return batch
    raise AssertionError("no point without a kink")


def identify(value):
    return name_of(value) if isinstance(value, (str, fr.Activation)) else None


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize(("activation", "loss", "penalty", "weights"), CELLS, ids=identify)
def test_gradient_equals_central_differences(activation, loss, penalty, weights, kind):
    batch = make_batch(activation, loss, penalty, weights)
    error = worst_error(batch.plan.layout, batch.analytic(kind), batch.numeric(kind))
    MEASURED[name_of(activation), loss, penalty, weights, kind] = error
    assert error <= TOLERANCE


def test_penalties_and_weights_matter():
    """The cells differ: each penalty and the row weights change the gradient that is checked."""
    cells = [("none", "none"), ("l1", "none"), ("l2", "none"), ("both", "none"), ("none", "random")]
    gradients = [make_batch("tanh", "squared_error", *cell).analytic("compiled") for cell in cells]
    for a, b in product(range(len(cells)), repeat=2):
        assert a == b or not np.allclose(gradients[a], gradients[b], atol=1e-3)


def test_all_cells_were_measured(record_property):
    """Says how many cells there are and which is the worst; run with the whole file it has seen all."""
    if len(MEASURED) < len(CELLS) * len(ENGINES):
        missing = [cell for cell in product(CELLS, ENGINES) if (*map(name_of, cell[0]), cell[1]) not in MEASURED]
        for (activation, loss, penalty, weights), kind in missing[:: max(1, len(missing) // 8)]:
            test_gradient_equals_central_differences(activation, loss, penalty, weights, kind)
    worst = max(MEASURED, key=MEASURED.get)
    record_property("cells", len(MEASURED))
    record_property("worst relative error", MEASURED[worst])
    print(f"{len(MEASURED)} gradient cells, worst relative error {MEASURED[worst]:.1e} at {', '.join(worst)}")
    assert MEASURED[worst] <= TOLERANCE


# ---- planted bugs: the numbers come from the true plan, the gradient from one with a bug


def edited(segment, op, number, **changes):
    """A segment with one record changed: the number-th of an operation."""
    segment = segment.copy()
    at = np.flatnonzero(segment["op"] == op)[number]
    for field, value in changes.items():
        segment[field][at] = value
    return segment


def forward(plan, op, number):
    return plan.forward[plan.forward["op"] == op][number]


def backward(op, number, **changes):
    return lambda plan: replace(plan, backward=edited(plan.backward, op, number, **changes))


def penalties(number, **changes):
    return lambda plan: replace(plan, update=edited(plan.update, b"penalty", number, **changes))


def without(op):
    return lambda plan: replace(plan, backward=plan.backward[plan.backward["op"] != op])


DENSE, ACTIVE, DROP = b"dense_backward", b"activation_backward", b"noise_backward"
BUGS = {  # name: (activation, loss, penalty, the bug)
    "wrong gradient kernel": (
        "tanh", "squared_error", "none", backward(DENSE, 1, kernel=b"sigmoid_gradient"),
    ),
    "no gradient kernel": ("sigmoid", "squared_error", "none", backward(DENSE, 1, kernel=b"")),
    "scale of a dropout behind a ReLU lost": (
        "relu", "cross_entropy", "none", backward(DENSE, 2, layer=NONE, rate=NONE),
    ),
    "dropout not reversed": ("tanh", "cross_entropy", "none", without(DROP)),
    "another layer's mask": ("tanh", "cross_entropy", "none", backward(DROP, 0, layer=1)),
    "another layer's weights": (
        "sigmoid", "cross_entropy", "none",
        lambda plan: backward(DENSE, 1, weight=forward(plan, b"dense", 2)["weight"])(plan),
    ),
    "bias gradient missing": ("tanh", "binary_cross_entropy", "none", backward(DENSE, 0, bias=NONE)),
    "wrong output weight": (
        "tanh", "squared_error", "none",
        lambda plan: replace(plan, loss=edited(plan.loss, b"loss", 0, alpha=1.0)),
    ),
    "the link of another loss": (
        "tanh", "cross_entropy", "none",
        lambda plan: replace(plan, loss=edited(plan.loss, b"loss", 0, kernel=b"binary_cross_entropy")),
    ),
    "leak lost": (ACTIVATIONS[2], "squared_error", "none", backward(DENSE, 1, alpha=0.01)),
    "the activation's input for its output": (
        "tanh", "squared_error", "none",
        lambda plan: backward(DENSE, 1, y=forward(plan, b"dense", 1)["x"])(plan),
    ),
    "undropped input of a layer": (
        "sigmoid", "squared_error", "none",
        lambda plan: backward(DENSE, 1, x=forward(plan, b"noise", 1)["x"])(plan),
    ),
    "softmax taken for element by element": (
        "softmax", "squared_error", "none", backward(ACTIVE, 0, kernel=b"sigmoid_gradient"),
    ),
    "gradient added to what was there": ("tanh", "squared_error", "none", backward(DENSE, 1, accumulate=1)),
    "gradient not passed on": ("tanh", "squared_error", "none", backward(DENSE, 1, dx=NONE)),
    "gradient of a penalty off": ("tanh", "squared_error", "l2", penalties(0, alpha=0.0)),
    "another penalty's gradient": ("tanh", "squared_error", "l2", penalties(0, kernel=b"l1")),
    "penalty off the biases": (
        "tanh", "squared_error", "l2", lambda plan: penalties(0, stop=plan.layout.fields[3].start)(plan),
    ),
    "penalty's range too short": (
        "tanh", "squared_error", "both", lambda plan: penalties(1, stop=plan.layout.fields[1].start)(plan),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_caught(bug, kind):
    activation, loss, penalty, plant = BUGS[bug]
    batch = make_batch(activation, loss, penalty, "random")
    numeric = batch.numeric(kind)
    assert worst_error(batch.plan.layout, batch.analytic(kind), numeric) <= TOLERANCE
    error = worst_error(batch.plan.layout, batch.analytic(kind, plant(batch.plan)), numeric)
    assert not error <= 1e4 * TOLERANCE  # NaN is caught too


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("wrong", [{"weights": None}, {"targets": "rolled"}], ids=["no row weights", "rows mixed up"])
def test_bugs_in_a_batch_are_caught(wrong, kind):
    batch = make_batch("tanh", "cross_entropy_labels", "none", "random")
    if wrong.get("targets"):
        wrong = {"targets": np.roll(batch.targets, 1)}
        assert (wrong["targets"] != batch.targets).any()
    error = worst_error(batch.plan.layout, replace(batch, **wrong).analytic(kind), batch.numeric(kind))
    assert error > 1e4 * TOLERANCE
