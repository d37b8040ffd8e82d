"""Two interpreters of one plan: random networks trained by both, and what a run promises to its caller.

Plans are drawn from seeds: layers, widths, activations, dropouts, penalties, losses, optimizers, row weights,
batches down to one row and a ragged last one. After 200 steps the two must still agree.
"""

import _thread
import signal
import threading
import time
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest

import fastreg as fr
from fastreg import reference
from fastreg._core.engine import Engine
from fastreg.csr import CSR
from fastreg.layers import Dense
from fastreg.layout import aligned_zeros
from fastreg.plan import lower
from fastreg.state import State

ENGINES = {"compiled": Engine, "reference": reference.Engine}
LOSS_RTOL = {"float32": 1e-4, "float64": 1e-10}  # of each of 200 steps
CLOSE = {
    "float32": {"rtol": 2e-4, "atol": 2e-5},
    "float64": {"rtol": 1e-10, "atol": 1e-12},
}  # outputs, gradients
NEAR_ZERO = {"float32": 1e-4, "float64": 0}  # of a weight that is zero in one of the two only
SEEDS = range(40)
SEED, STEP = 2**60 + 11, 2**33  # of the random numbers: both need more than 32 bits

every_engine = pytest.mark.parametrize("kind", ENGINES)
every_dtype = pytest.mark.parametrize("dtype", LOSS_RTOL)


@dataclass
class Problem:
    """A plan, the data that it is trained on, and the schedule of the training."""

    plan: Any
    optimizer: Any
    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    start: np.ndarray  # parameters
    order: np.ndarray
    bounds: np.ndarray
    rates: np.ndarray

    @property
    def n_steps(self):
        return len(self.rates)

    def engine(self, kind, params=None):
        params = self.start if params is None else params
        own = aligned_zeros(len(params), params.dtype)
        own[...] = params
        return ENGINES[kind](self.plan, own)

    def run(self, engine, state=None, **other):
        """Train; the training's status, results, parameters and state."""
        p = replace(self, **other)
        state = State.after(None, p.plan, p.optimizer) if state is None else state
        results = np.full((p.n_steps, 3), np.nan)
        status = engine.run(p.x, p.targets, p.weights, p.order, p.bounds, p.rates, state, results, seed=SEED, step=STEP)
        return Run(status, results, engine.params.copy(), state)

    def first(self, n_steps):
        """The same problem with its first steps only."""
        return replace(self, bounds=self.bounds[: n_steps + 1], rates=self.rates[:n_steps])


@dataclass
class Run:
    status: str
    results: np.ndarray
    params: np.ndarray
    state: State

    def same_bits(self, other):
        pairs = (self.results, other.results), (self.params, other.params)
        pairs += (self.state.buffers, other.state.buffers), (self.state.scalars, other.state.scalars)
        return self.status == other.status and all(a.tobytes() == b.tobytes() for a, b in pairs)


# ---- drawing problems


ACTIVATIONS = [
    "identity",
    "relu",
    "leaky_relu",
    "sigmoid",
    "tanh",
    "softmax",
    fr.Activation("leaky_relu", leak=0.2),
]
PENALTIES = [
    None, fr.L2(1e-3), fr.L1(1e-3), fr.L1(1e-3, method="clip"), fr.L1(1e-3, method="subgradient"),
    fr.L1(2e-3) + fr.L2(1e-3), fr.L1(1e-3, method="clip") + fr.L2(1e-3), fr.L1(2e-2),
]  # fmt: skip
OPTIMIZERS = [
    fr.SGD(0.05), fr.SGD(0.02, momentum=0.9), fr.SGD(0.02, momentum=0.8, nesterov=True), fr.Adam(0.005),
    fr.AdamW(0.005, weight_decay=0.1), fr.Adam(0.005, epsilon=1e-3, epsilon_hat=True),
]  # fmt: skip
LOSSES = ["cross_entropy", "cross_entropy_labels", "binary_cross_entropy", "squared_error"]


def any_of(rng, choices):
    return choices[rng.integers(len(choices))]


def draw_layers(rng, n_outputs):
    layers = [fr.Dropout(0.2)] if rng.random() < 0.4 else []
    for _ in range(rng.integers(0, 4)):
        units, activation = int(rng.integers(1, 71)), any_of(rng, ACTIVATIONS)
        penalties = {"weight_penalty": any_of(rng, PENALTIES), "bias_penalty": any_of(rng, PENALTIES)}
        layers.append(fr.Dense(units, activation, **penalties))
        if rng.random() < 0.2:
            layers.append(fr.Activation(any_of(rng, ACTIVATIONS[1:-1])))
        if rng.random() < 0.4:
            layers.append(fr.Dropout(float(rng.uniform(0, 0.6))))
    return [*layers, fr.Dense(n_outputs, weight_penalty=any_of(rng, PENALTIES))]


def draw_targets(rng, loss, rows, n_outputs, dtype):
    if loss == "cross_entropy_labels":
        return rng.integers(0, n_outputs, rows, dtype=np.int32)
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(n_outputs), rows).astype(dtype)
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, (rows, n_outputs)).astype(dtype)
    return rng.normal(size=(rows, n_outputs)).astype(dtype)


def draw_schedule(rng, rows, n_steps, learning_rate):
    """Epochs of shuffled rows in batches, the last of which is smaller; a rate that falls."""
    batch = int(rng.integers(1, rows + 1))
    starts = np.arange(0, rows, batch)
    epochs = -(-n_steps // len(starts))
    order = np.concatenate([rng.permutation(rows) for _ in range(epochs)]).astype(np.int64)
    bounds = (np.arange(epochs)[:, None] * rows + starts).reshape(-1)
    bounds = np.append(bounds, len(order)).astype(np.int64)
    return order, bounds[: n_steps + 1], learning_rate * np.linspace(1, 0.2, n_steps)


def draw_problem(seed, dtype, n_steps=200, **fixed):
    rng = np.random.default_rng(seed)
    loss = fixed.get("loss") or any_of(rng, LOSSES)
    n_inputs, n_outputs = rng.integers(1, 71), int(rng.integers(2, 21))
    layers, optimizer = draw_layers(rng, n_outputs), fixed.get("optimizer") or any_of(rng, OPTIMIZERS)
    layers = fixed.get("layers") or layers
    labels = loss == "cross_entropy_labels"
    plan = lower(layers, loss.removesuffix("_labels"), n_inputs, dtype, optimizer=optimizer, labels=labels)
    rows = int(rng.integers(1, 81))
    weights = any_of(rng, [None, (rng.uniform(0, 2, rows) * (rng.random(rows) > 0.2)).astype(dtype)])
    start = aligned_zeros(plan.layout.size, plan.dtype)
    for name, view in plan.layout.views(start).items():
        view[...] = rng.normal(size=view.shape) * (len(view) ** -0.5 if name.endswith("weight") else 0.1)
    order, bounds, rates = draw_schedule(rng, rows, n_steps, optimizer.learning_rate)
    return Problem(
        plan, optimizer, rng.normal(size=(rows, n_inputs)).astype(dtype),
        draw_targets(rng, loss, rows, plan.n_outputs, dtype), weights, start, order, bounds, rates,
    )  # fmt: skip


def simple_problem(dtype="float64", n_steps=30, **fixed):
    """Dropout, penalties and momentum, batches of 8 and a last one of 4, row weights."""
    layers = [
        fr.Dropout(0.1), fr.Dense(9, "relu", weight_penalty=fr.L1(1e-3)), fr.Dropout(0.3),
        fr.Dense(5, "tanh"), fr.Dense(3, weight_penalty=fr.L2(1e-3)),
    ]  # fmt: skip
    optimizer = fr.SGD(0.05, momentum=0.9, nesterov=True)
    fixed = {"layers": layers, "optimizer": optimizer, "loss": "cross_entropy_labels"} | fixed
    problem = draw_problem(5, dtype, n_steps, **fixed)
    rng = np.random.default_rng(0)
    rows, classes = 20, problem.plan.n_outputs
    order = np.concatenate([rng.permutation(rows) for _ in range(n_steps)])
    bounds = np.minimum(np.arange(n_steps + 1) * 8, len(order))
    x = rng.normal(size=(rows, problem.plan.n_inputs)).astype(dtype)
    targets = draw_targets(rng, fixed["loss"], rows, classes, dtype)
    weights = rng.uniform(1, 2, rows).astype(dtype)
    return replace(problem, x=x, targets=targets, weights=weights, order=order, bounds=bounds)


# ---- the same training


def test_the_draw_covers_what_it_should():
    problems = [draw_problem(seed, "float64") for seed in SEEDS]
    plans = [p.plan for p in problems]
    used = {name for plan in plans for record in plan.update for name in (record["op"], record["kernel"])}
    assert used >= {b"soft_threshold", b"hard_threshold", b"l1", b"l2", b"sgd", b"adam"}
    assert {record["kernel"] for plan in plans for record in plan.forward} >= {
        b"", b"relu", b"leaky_relu", b"sigmoid", b"tanh", b"softmax",
    }  # fmt: skip
    assert {bytes(plan.loss[0]["kernel"]).decode() for plan in plans} == set(LOSSES)
    assert {p.optimizer for p in problems} == set(OPTIMIZERS)
    sizes = [np.diff(p.bounds) for p in problems]
    assert any((s == 1).all() for s in sizes)
    assert any(len(set(s.tolist())) == 2 for s in sizes)
    assert {p.weights is None for p in problems} == {True, False}
    assert {sum(plan.forward["op"] == b"dense") for plan in plans} == {1, 2, 3, 4}


@pytest.mark.parametrize("seed", SEEDS)
@every_dtype
def test_compiled_and_reference_train_the_same(seed, dtype):
    problem = draw_problem(seed, dtype)
    runs = {kind: problem.run(problem.engine(kind)) for kind in ENGINES}
    compiled, twin = runs["compiled"], runs["reference"]
    assert compiled.status == twin.status == "done"
    for column, what in enumerate(("loss", "weight", "penalty")):
        np.testing.assert_allclose(
            compiled.results[:, column],
            twin.results[:, column],
            rtol=LOSS_RTOL[dtype],
            atol=1e-30,
            err_msg=what,
        )
    np.testing.assert_allclose(compiled.state.scalars, twin.state.scalars, rtol=1e-13)
    parted = (compiled.params == 0) != (twin.params == 0)
    assert np.abs(compiled.params - twin.params)[parted].max(initial=0) <= NEAR_ZERO[dtype]


@pytest.mark.parametrize("seed", SEEDS)
@every_dtype
def test_compiled_and_reference_compute_the_same(seed, dtype):
    problem = draw_problem(seed, dtype)
    found = []
    for kind in ENGINES:
        engine = problem.engine(kind)
        outputs = np.full((len(problem.x), problem.plan.n_outputs), np.nan, dtype)
        gradients = [np.full_like(problem.start, np.nan), np.zeros_like(problem.start)]
        engine.forward(outputs, problem.x)
        evaluated = engine.evaluate(problem.x, problem.targets, problem.weights)
        batch = [problem.x, problem.targets, problem.weights]
        figures = [engine.gradient(gradients[0], *batch, seed=SEED, step=STEP), engine.penalty(gradients[1])]
        assert figures[1] == engine.penalty()
        found.append([outputs, *gradients, np.array([*evaluated, *figures])])
    for compiled, twin in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, twin, **CLOSE[dtype])


def test_proximal_l1_gives_both_the_same_zeros():
    layers = [fr.Dense(30, "relu", weight_penalty=fr.L1(0.02)), fr.Dense(4, weight_penalty=fr.L1(0.02))]
    for optimizer in OPTIMIZERS:
        problem = draw_problem(3, "float64", 300, layers=layers, optimizer=optimizer)
        weights = [problem.run(problem.engine(kind)).params for kind in ENGINES]
        used = np.concatenate([np.arange(f.start, f.stop) for f in problem.plan.layout.fields[:2]])
        zeros = [w[used] == 0 for w in weights]
        assert (zeros[0] == zeros[1]).all()
        assert 0.1 < zeros[0].mean() < 1


# ---- scikit-learn's rules


@every_engine
@every_dtype
def test_a_penalty_per_batch_is_divided_by_the_batchs_weights(kind, dtype):
    """One step of plain SGD from the same weights: all strengths are those of strength / mass, proximal ones too."""
    for penalty in (fr.L2(0.3), fr.L1(0.3), fr.L1(0.3, method="clip") + fr.L2(0.2)):
        layers = [fr.Dense(9, "tanh", weight_penalty=penalty), fr.Dense(3)]
        problem = simple_problem(dtype, 1, layers=layers, optimizer=fr.SGD(0.05))
        mass = problem.weights[problem.order[: problem.bounds[1]]].sum(dtype=np.float64)
        scaled = problem.plan.scalars / mass  # they are all strengths
        by_hand = replace(problem, plan=replace(problem.plan, scalars=scaled))
        per_batch = replace(problem, plan=replace(problem.plan, penalty_per_batch=True))
        runs = [p.run(p.engine(kind)) for p in (per_batch, by_hand, problem)]
        np.testing.assert_allclose(runs[0].params, runs[1].params, **CLOSE[dtype])
        np.testing.assert_allclose(runs[0].results, runs[1].results, rtol=LOSS_RTOL[dtype])
        assert abs(runs[0].params - runs[2].params).max() > 1e-3


@every_engine
def test_epsilon_hat_is_the_papers_second_formula(kind):
    """lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon), with an epsilon that counts."""
    optimizer = fr.Adam(0.01, beta1=0.8, beta2=0.9, epsilon=0.05, epsilon_hat=True)
    problem = simple_problem(n_steps=5, layers=[fr.Dense(4, "tanh"), fr.Dense(3)], optimizer=optimizer)
    run, w = problem.run(problem.engine(kind)), problem.start.copy()
    m, v, gradient = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 6):
        rows = problem.order[problem.bounds[t - 1] : problem.bounds[t]]
        problem.engine(kind, w).gradient(gradient, problem.x[rows], problem.targets[rows], problem.weights[rows])
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        w -= problem.rates[t - 1] * np.sqrt(1 - 0.9**t) / (1 - 0.8**t) * m / (np.sqrt(v) + 0.05)
    np.testing.assert_allclose(run.params, w, rtol=1e-12, atol=1e-14)


@every_engine
def test_a_run_may_go_on_behind_a_loss_that_is_not_finite(kind):
    problem = simple_problem(n_steps=4, layers=[fr.Dense(3)], loss="squared_error")
    problem = replace(problem, x=problem.x * 1e200)
    engine = problem.engine(kind)
    results, state = np.zeros((4, 3)), State.after(None, problem.plan, problem.optimizer)
    data = problem.x, problem.targets, problem.weights, problem.order, problem.bounds, problem.rates, state, results
    assert engine.run(*data, seed=0, step=0) == "diverged"
    assert engine.steps_done == 0
    assert engine.run(*data, seed=0, step=0, stop_at_divergence=False) == "done"
    assert engine.steps_done == 4
    assert not np.isfinite(results[:, 0]).any()


def test_parameters_may_be_read_only_until_they_are_trained():
    problem = simple_problem()
    params = problem.start.copy()
    params.flags.writeable = False
    engine, outputs = Engine(problem.plan, params), np.empty((20, 3))
    engine.forward(outputs, problem.x)
    assert np.isfinite(outputs).all()
    with pytest.raises(ValueError, match="read-only|not writable"):
        problem.run(engine)


# ---- sparse rows


def sparse_problem(dtype, seed=0, n_inputs=70, **fixed):
    """A problem whose x has few numbers, and the same with x in compressed rows."""
    layers = [fr.Dense(9, "relu", weight_penalty=fr.L2(1e-3)), fr.Dense(5, "tanh"), fr.Dense(3)]
    problem = simple_problem(dtype, layers=layers, **fixed)
    rng = np.random.default_rng(seed)
    x = problem.x * (rng.random(problem.x.shape) < 0.2)
    x[4] = 0
    columns = np.nonzero(x)[1].astype(np.int32)
    starts = np.append(0, np.cumsum((x != 0).sum(axis=1)))
    return replace(problem, x=x), replace(problem, x=CSR(x[x != 0], columns, starts, x.shape[1]))


@every_dtype
def test_sparse_rows_train_to_the_bits_of_dense_ones(dtype):
    dense, sparse = sparse_problem(dtype)
    np.testing.assert_array_equal(sparse.x.toarray(), dense.x)
    np.testing.assert_array_equal(sparse.x[dense.order[:9]].toarray(), dense.x[dense.order[:9]])
    runs = [p.run(p.engine("compiled")) for p in (dense, sparse)]
    assert runs[0].same_bits(runs[1])
    twin = sparse.run(sparse.engine("reference"))
    np.testing.assert_allclose(runs[1].params, twin.params, **CLOSE[dtype])
    found = []
    for p in (dense, sparse):
        engine, outputs, gradient = p.engine("compiled"), np.empty((20, 3), dtype), np.empty_like(p.start)
        engine.forward(outputs, p.x)
        loss = engine.gradient(gradient, p.x, p.targets, p.weights)
        found.append((outputs.tobytes(), gradient.tobytes(), loss, engine.evaluate(p.x, p.targets, p.weights)))
    assert found[0] == found[1]


def test_one_engine_may_change_between_dense_and_sparse_rows():
    dense, sparse = sparse_problem("float64")
    engine = dense.engine("compiled")
    for problem in (sparse, dense, sparse):
        engine.params[...] = problem.start
        assert problem.run(engine).same_bits(dense.run(dense.engine("compiled")))


def test_threads_change_no_bit_of_sparse_training():
    rng = np.random.default_rng(0)
    plan = lower([fr.Dense(200, "relu"), fr.Dense(3)], "cross_entropy", 3000, "float32", optimizer=fr.SGD(0.1),
                 labels=True)  # fmt: skip
    counts = rng.integers(0, 300, 400)
    columns = np.concatenate([np.sort(rng.permutation(3000)[:n]) for n in counts]).astype(np.int32)
    values = rng.normal(size=len(columns)).astype(np.float32)
    x, found = CSR(values, columns, np.append(0, np.cumsum(counts)), 3000), []
    for threads in (1, 2, 3):
        params = aligned_zeros(plan.layout.size, plan.dtype)
        params[...] = np.random.default_rng(1).normal(size=len(params)) / 50
        engine, outputs = Engine(plan, params), np.empty((400, 3), np.float32)
        engine.run(
            x, rng.integers(0, 3, 400, dtype=np.int32) * 0, None, np.arange(400), np.array([0, 200, 400]), np.ones(2),
            State.new(plan, None), np.empty((2, 3)), seed=0, step=0, threads=threads,
        )  # fmt: skip
        engine.forward(outputs, x, threads=threads)
        found.append((params.tobytes(), outputs.tobytes()))
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("columns", "starts", "message"),
    [
        ([0, 70], [0, 1, 2], r"row 1 of a sparse x: its columns must rise within 0\.\.\d+, got 70"),
        ([0, -1], [0, 1, 2], r"row 1 of a sparse x.*got -1"),
        ([3, 1], [0, 2, 2], r"row 0 of a sparse x.*must rise.*got 1"),
        ([1, 1], [0, 2, 2], r"row 0 of a sparse x.*must rise.*got 1"),
        ([0, 1], [0, 3, 2], r"starts of a sparse x must rise from 0 to its 2 numbers"),
        ([0, 1], [1, 1, 2], r"starts of a sparse x"),
        ([0, 1], [0, 1, 3], r"starts of a sparse x"),
        ([0, 1, 2], [0, 1, 3], r"starts of a sparse x"),
    ],
)
def test_sparse_rows_that_point_outside_are_refused(columns, starts, message):
    _, sparse = sparse_problem("float64")
    n_inputs = sparse.x.n_columns
    columns = [n_inputs if c == 70 else c for c in columns]
    x = CSR(np.ones(2), np.array(columns, np.int32), np.array(starts), n_inputs)
    with pytest.raises(ValueError, match=message.replace("got 70", f"got {n_inputs}")):
        sparse.engine("compiled").forward(np.empty((2, 3)), x)


def test_sparse_rows_cannot_be_dropped_from():
    problem = simple_problem()  # begins with a dropout
    x = CSR(np.ones(1), np.zeros(1, np.int32), np.array([0, 1]), problem.plan.n_inputs)
    with pytest.raises(ValueError, match="must begin with a Dense, not with noise"):
        problem.engine("compiled").forward(np.empty((1, 3)), x)


# ---- what a run promises


@every_engine
@every_dtype
def test_results_are_measured_before_each_update(kind, dtype):
    problem = simple_problem(dtype, layers=[fr.Dense(4, "tanh", weight_penalty=fr.L2(0.1)), fr.Dense(3)])
    run = problem.run(problem.engine(kind))
    for s in (0, 1, 17):
        engine = problem.engine(kind)
        problem.first(s).run(engine)
        rows = problem.order[problem.bounds[s] : problem.bounds[s + 1]]
        loss, weight = engine.evaluate(problem.x[rows], problem.targets[rows], problem.weights[rows])
        rtol = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(run.results[s], [loss, weight, engine.penalty()], rtol=rtol)
    assert engine.steps_done == 17
    assert engine.penalty() > 0


@every_engine
@every_dtype
def test_a_run_in_two_parts_has_the_bits_of_one(kind, dtype):
    problem = simple_problem(dtype)
    whole = problem.run(problem.engine(kind))
    engine = problem.engine(kind)
    begun = problem.first(13).run(engine)
    rest = np.full((problem.n_steps - 13, 3), np.nan)
    status = engine.run(
        problem.x, problem.targets, problem.weights, problem.order, problem.bounds[13:], problem.rates[13:],
        begun.state, rest, seed=SEED, step=STEP + 13,
    )  # fmt: skip
    results = np.concatenate([begun.results, rest])
    assert Run(status, results, engine.params, begun.state).same_bits(whole)


@every_engine
def test_dropout_depends_on_seed_and_step(kind):
    problem = simple_problem()
    gradients = []
    for seed, step in ((1, 0), (1, 0), (2, 0), (1, 1)):
        gradient = np.empty_like(problem.start)
        problem.engine(kind).gradient(gradient, problem.x, problem.targets, seed=seed, step=step)
        gradients.append(gradient)
    assert (gradients[0] == gradients[1]).all()
    assert not np.allclose(gradients[0], gradients[2])
    assert not np.allclose(gradients[0], gradients[3])


@every_engine
def test_batches_without_weight_make_no_update(kind):
    problem = simple_problem()
    engine = problem.engine(kind)
    before = problem.first(7).run(engine)
    after = problem.first(5).run(engine, State.copy(before.state), weights=np.zeros(20))
    assert after.params.tobytes() == before.params.tobytes()
    assert after.state.buffers.tobytes() == before.state.buffers.tobytes()
    assert after.state.scalars.tolist() == before.state.scalars.tolist() == [7, before.state.scalars[1]]
    np.testing.assert_array_equal(after.results, [[0, 0, engine.penalty()]] * 5)
    assert engine.steps_done == 5


@every_engine
def test_the_gradient_of_a_batch_without_weight_is_zero(kind):
    problem = simple_problem()
    gradient = np.full_like(problem.start, np.nan)
    loss = problem.engine(kind).gradient(gradient, problem.x, problem.targets, np.zeros(20))
    assert loss == 0
    assert not gradient.any()


@every_engine
@pytest.mark.parametrize("optimizer", [fr.SGD(0.05, momentum=0.9), fr.Adam(0.01)])
def test_a_loss_that_is_not_finite_ends_the_run_before_its_update(kind, optimizer):
    problem = simple_problem(optimizer=optimizer)
    x = problem.x.copy()
    row = problem.order[problem.bounds[6]]
    x[row] = np.nan
    order = np.where(problem.order == row, (row + 1) % 20, problem.order)  # the bad row is in batch 6 only
    order[problem.bounds[6]] = row
    clean = problem.first(6).run(problem.engine(kind), order=order)
    engine = problem.engine(kind)
    run = problem.run(engine, x=x, order=order)
    assert run.status == "diverged"
    assert engine.steps_done == 6
    assert run.params.tobytes() == clean.params.tobytes()
    assert run.state.buffers.tobytes() == clean.state.buffers.tobytes()
    assert run.state.scalars.tolist() == clean.state.scalars.tolist()
    assert run.results[:6].tobytes() == clean.results.tobytes()
    assert np.isnan(run.results[6, 0])
    assert np.isnan(run.results[7:]).all()  # never touched


@every_engine
def test_what_an_earlier_batch_left_behind_changes_nothing(kind):
    problem = simple_problem()
    engine = problem.engine(kind)
    poisoned = problem.run(engine, x=np.full_like(problem.x, np.nan))
    assert poisoned.status == "diverged"
    gradient = np.empty_like(problem.start)
    engine.gradient(gradient, np.full_like(problem.x, np.nan), problem.targets)
    assert np.isnan(gradient).any()
    assert problem.run(engine).same_bits(problem.run(problem.engine(kind)))
    engine.params[...] = problem.start
    smaller = replace(problem, bounds=np.arange(problem.n_steps + 1) * 3)
    assert smaller.run(engine).same_bits(smaller.run(problem.engine(kind)))


@every_engine
def test_inputs_are_only_read(kind):
    problem = simple_problem()
    data = [problem.x, problem.targets, problem.weights, problem.order, problem.bounds, problem.rates]
    before = [array.tobytes() for array in data]
    for array in data:
        array.flags.writeable = False
    engine = problem.engine(kind)
    problem.run(engine)
    engine.forward(np.empty((20, 3)), problem.x)
    engine.evaluate(problem.x, problem.targets, problem.weights)
    engine.gradient(np.empty_like(problem.start), problem.x, problem.targets, problem.weights)
    assert [array.tobytes() for array in data] == before


@every_engine
@every_dtype
def test_gaps_stay_zero(kind, dtype):
    problem = simple_problem(dtype, optimizer=fr.Adam(0.01))
    fields = problem.plan.layout.fields
    gap = np.ones(problem.plan.layout.size, bool)
    for field in fields:
        gap[field.start : field.stop] = False
    assert gap.any()
    engine, gradient = problem.engine(kind), np.full_like(problem.start, np.nan)
    engine.gradient(gradient, problem.x, problem.targets)
    run = problem.run(engine)
    for array in (gradient, run.params, *run.state.buffers):
        assert not array[gap].any()
        assert array[~gap].any()


@every_engine
@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 256, 257, 1500])
def test_inference_of_any_number_of_rows(kind, rows):
    """Chunks are no part of the result: rows one by one, in other chunks, have the same outputs."""
    problem = simple_problem()
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(rows, problem.plan.n_inputs)), rng.integers(0, 3, rows, dtype=np.int32)
    engine, out = problem.engine(kind), np.full((rows, 3), np.nan)
    engine.forward(out, x)
    for i in range(0, rows, 97):
        row = np.empty((1, 3))
        engine.forward(row, x[i : i + 1])
        np.testing.assert_allclose(out[i], row[0], rtol=1e-12, atol=1e-13)
    p = np.exp(out - out.max(axis=1, keepdims=True))
    losses = -np.log(p[np.arange(rows), targets] / p.sum(axis=1))
    np.testing.assert_allclose(engine.evaluate(x, targets), [losses.sum(), rows], rtol=1e-12)


# ---- cancelling


def long_problem(kind):
    """One that takes longer than anybody waits."""
    n_steps = {"compiled": 400_000, "reference": 20_000}[kind]
    return replace(
        simple_problem(n_steps=10), order=np.tile(np.arange(20), n_steps), bounds=np.arange(n_steps + 1) * 8,
        rates=np.full(n_steps, 1e-3),
    )  # fmt: skip


@every_engine
def test_cancel_from_another_thread_leaves_whole_steps(kind):
    problem = long_problem(kind)
    engine, runs = problem.engine(kind), []
    thread = threading.Thread(target=lambda: runs.append(problem.run(engine)))
    thread.start()
    while engine.steps_done < 3:
        time.sleep(0.001)
    asked = time.perf_counter()
    engine.cancel()
    thread.join(timeout=20)
    assert time.perf_counter() - asked < 1
    done = engine.steps_done
    assert runs[0].status == "cancelled"
    assert 3 <= done < problem.n_steps
    again = problem.first(done).run(problem.engine(kind))
    assert again.params.tobytes() == runs[0].params.tobytes()
    assert again.state.buffers.tobytes() == runs[0].state.buffers.tobytes()
    assert again.results.tobytes() == runs[0].results[:done].tobytes()
    assert np.isnan(runs[0].results[done:]).all()
    assert problem.first(5).run(engine).status == "done"  # the flag does not last


@every_engine
def test_an_interrupt_passes_through_and_leaves_whole_steps(kind):
    problem = long_problem(kind)
    engine, state = problem.engine(kind), State.after(None, problem.plan, problem.optimizer)
    timer = threading.Timer(0.05, _thread.interrupt_main)  # as Ctrl-C does
    began = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        problem.run(engine, state)
    timer.join()
    assert time.perf_counter() - began < 1
    again = problem.first(engine.steps_done).run(problem.engine(kind))
    assert 0 < engine.steps_done < problem.n_steps
    assert again.params.tobytes() == engine.params.tobytes()
    assert again.state.buffers.tobytes() == state.buffers.tobytes()
    assert again.state.scalars.tolist() == state.scalars.tolist()


@every_engine
def test_a_run_of_no_steps_is_done(kind):
    problem = simple_problem()
    engine = problem.engine(kind)
    run = problem.first(0).run(engine)
    assert run.status == "done"
    assert engine.steps_done == 0
    assert run.params.tobytes() == problem.start.tobytes()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX interval timers")
@pytest.mark.parametrize("what", ["forward", "evaluate", "gradient"])
def test_an_interrupt_is_answered_inside_one_long_call(what):
    rows, inputs = 30_000, 600
    plan = lower([Dense(600, "relu"), Dense(3)], "squared_error", inputs, "float32")
    engine = Engine(plan, aligned_zeros(plan.layout.size, "float32"))
    x, targets = np.zeros((rows, inputs), np.float32), np.zeros((rows, 3), np.float32)
    out, gradient = np.full((rows, 3), np.nan, np.float32), np.full(plan.layout.size, np.nan, np.float32)
    calls = {
        "forward": lambda: engine.forward(out, x),
        "evaluate": lambda: engine.evaluate(x, targets),
        "gradient": lambda: engine.gradient(gradient, x, targets),
    }
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        calls[what]()  # uninterrupted, for the time it takes
        began = perf_counter()
        calls[what]()
        whole = perf_counter() - began
        out[...], gradient[...] = np.nan, np.nan
        signal.setitimer(signal.ITIMER_REAL, whole / 10)
        with pytest.raises(KeyboardInterrupt):
            calls[what]()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert what != "forward" or np.isnan(out[-1]).all()  # the last rows were never reached
    assert what != "gradient" or np.isnan(gradient).all()  # nothing was handed out
