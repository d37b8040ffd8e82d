"""Proximal L1 ends where it should: the optimality of SEMANTICS, for every optimizer, not a formula.

At a minimum of loss + strength * sum|w|, with g the gradient of the loss alone: g = -strength * sign(w)
where w is not 0, |g| <= strength where it is. Two convex problems: the lasso and multinomial logistic
regression. Also what the step must not do: change a training without penalty, or stop elsewhere, as a
threshold of learning_rate * strength does.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import fastreg as fr
from fastreg import kernels, reference
from fastreg._core.engine import Engine
from fastreg.layout import aligned_zeros
from fastreg.ops import NONE
from fastreg.plan import lower
from fastreg.state import State

ENGINES = {"compiled": Engine, "reference": reference.Engine}
OPTIMIZERS = {
    "sgd": fr.SGD(0.2),
    "momentum": fr.SGD(0.02, momentum=0.9),
    "nesterov": fr.SGD(0.02, momentum=0.9, nesterov=True),
    "adam": fr.Adam(0.02),
}
SLACK = 1e-6  # relative, of the optimality conditions

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@dataclass
class Problem:
    """A convex problem with an L1 penalty on its weights, not on its biases."""

    loss: str
    strength: float
    x: np.ndarray
    targets: np.ndarray
    units: int

    def engine(self, optimizer, penalty="its own", kind="compiled"):
        """An engine with all parameters at zero; the penalty of the weights, or a dict of patterns."""
        penalty = fr.L1(self.strength) if penalty == "its own" else penalty
        penalties = penalty if isinstance(penalty, dict) else {"*.weight": penalty}
        labels = self.targets.dtype == np.int32
        plan = lower(
            [fr.Dense(self.units)], self.loss, self.x.shape[1], "float64", penalties=penalties,
            optimizer=optimizer, labels=labels,
        )  # fmt: skip
        return ENGINES[kind](plan, aligned_zeros(plan.layout.size, "float64"))

    def train(self, engine, optimizer, n_steps, order=None, rates=None):
        """Train with full batches at the optimizer's learning rate, or as told; returns the engine."""
        order = np.tile(np.arange(len(self.x)), n_steps) if order is None else order
        rates = np.full(n_steps, optimizer.learning_rate) if rates is None else rates
        status = engine.run(
            self.x, self.targets, None, order, np.arange(n_steps + 1) * (len(order) // n_steps), rates,
            State.after(None, engine.plan, optimizer), np.empty((n_steps, 3)), seed=0, step=0,
        )  # fmt: skip
        assert status == "done"
        return engine

    def solve(self, optimizer, kind="compiled"):
        """The weights after full batches with a falling rate, and the gradient of the loss there."""
        rates = cosine(optimizer.learning_rate, 6000)
        engine = self.train(self.engine(optimizer, kind=kind), optimizer, 6000, rates=rates)
        return self.weights_and_gradient(engine)

    def weights_and_gradient(self, engine):
        gradient = np.empty_like(engine.params)
        engine.gradient(gradient, self.x, self.targets)
        views = engine.plan.layout.views(engine.params), engine.plan.layout.views(gradient)
        return views[0]["0.weight"].copy(), views[1]["0.weight"]

    def violation(self, w, gradient):
        """By how much the optimality conditions fail, as a part of the strength."""
        at_zero = np.abs(gradient[w == 0]) / self.strength - 1
        elsewhere = np.abs(gradient[w != 0] / self.strength + np.sign(w[w != 0]))
        return max(at_zero.max(initial=0), elsewhere.max(initial=0))


def cosine(top, n_steps):
    return top * (1 + np.cos(np.pi * np.arange(n_steps) / n_steps)) / 2


def lasso():
    """18 features, of which 6 matter."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(240, 18))
    x[:, 1] += 0.5 * x[:, 0]
    truth = np.zeros(18)
    truth[:6] = [2, -1.5, 1, 0.8, -0.7, 3]
    y = x @ truth + 0.3 * rng.normal(size=240) + 1
    return Problem("squared_error", 0.4, x, y[:, None], 1)


def logistic():
    """3 classes of 10 features, of which 3 matter."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 10))
    scores = x[:, :3] * 2 + rng.gumbel(size=(80, 3))
    return Problem("cross_entropy", 0.04, x, scores.argmax(axis=1).astype(np.int32), 3)


PROBLEMS = {"lasso": lasso(), "logistic": logistic()}
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def zero_pattern(w):
    return (w == 0).reshape(-1).tolist()


# ---- optimality


@every_problem
@every_optimizer
@pytest.mark.parametrize("kind", ENGINES)
def test_training_ends_at_the_optimum(problem, optimizer, kind, record_property):
    w, gradient = problem.solve(OPTIMIZERS[optimizer], kind)
    zeros = int((w == 0).sum())
    record_property("exact zeros", f"{zeros} of {w.size}")
    assert problem.violation(w, gradient) <= SLACK
    assert 0.3 < zeros / w.size < 0.9
    assert (np.abs(gradient[w == 0]) < 0.97 * problem.strength).all()  # so that the zeros are no matter of rounding


@every_problem
def test_all_optimizers_have_one_minimizer(problem):
    first, *others = (problem.solve(o)[0] for o in OPTIMIZERS.values())
    for w in others:
        assert zero_pattern(w) == zero_pattern(first)
        np.testing.assert_allclose(w, first, rtol=1e-5, atol=1e-7)


@every_optimizer
def test_minibatches_with_a_cosine_schedule_find_the_zeros(optimizer):
    problem, n_steps, rows, batch = PROBLEMS["lasso"], 8000, 240, 60
    optimum, _ = problem.solve(OPTIMIZERS["sgd"])
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(rows) for _ in range(n_steps * batch // rows)])
    engine = problem.engine(OPTIMIZERS[optimizer])
    rates = cosine(OPTIMIZERS[optimizer].learning_rate / 2, n_steps)
    problem.train(engine, OPTIMIZERS[optimizer], n_steps, order, rates)
    w = engine.plan.layout.views(engine.params)["0.weight"]
    assert zero_pattern(w) == zero_pattern(optimum)
    np.testing.assert_allclose(w, optimum, atol=1e-3)


# ---- the controls: what is not optimal is seen


def one_weight(move, step, n_steps=2000):
    """Minimize (w - 1)^2 / 2 + 0.5 |w|, whose minimum is at 0.5."""
    w, u = np.zeros(1), np.zeros(1)
    for _ in range(n_steps):
        move(w, w - 1, u)
        kernels.soft_threshold(w, step, 0.5)
    return float(w[0])


@pytest.mark.parametrize(("nesterov", "effective"), [(False, 0.1 / (1 - 0.9)), (True, 0.9 * 0.1 / (1 - 0.9) + 0.1)])
def test_a_threshold_of_rate_times_strength_ends_elsewhere(nesterov, effective):
    def move(w, gradient, u):
        kernels.sgd(w, gradient, u, learning_rate=0.1, momentum=0.9, nesterov=nesterov)

    assert abs(one_weight(move, effective) - 0.5) < 1e-9
    assert abs(one_weight(move, 0.1) - 0.95) < 1e-9


def naive(problem, move, n_steps=6000):
    """The lasso's training with a threshold of learning_rate * strength after each move."""
    engine = problem.engine(None)
    w, gradient = engine.params, np.empty_like(engine.params)
    state = [np.zeros_like(w), np.zeros_like(w)]
    weight = engine.plan.layout.views(w)["0.weight"]
    for t in range(1, n_steps + 1):
        engine.gradient(gradient, problem.x, problem.targets)
        kernels.soft_threshold(weight, move(w, gradient, state, t), problem.strength)
    return problem.weights_and_gradient(engine)


def naive_momentum(w, gradient, state, t):
    kernels.sgd(w, gradient, state[0], learning_rate=0.02, momentum=0.9)
    return 0.02


def naive_adam(w, gradient, state, t):
    kernels.adam(w, gradient, *state, learning_rate=0.02, t=t)
    return 0.02


@pytest.mark.parametrize("move", [naive_momentum, naive_adam])
def test_the_optimality_test_catches_the_naive_threshold(move):
    problem = PROBLEMS["lasso"]
    optimum, _ = problem.solve(OPTIMIZERS["sgd"])
    w, gradient = naive(problem, move)
    assert problem.violation(w, gradient) > 0.3
    assert zero_pattern(w) != zero_pattern(optimum)
    assert np.abs(w - optimum).max() > 0.1


def test_a_plain_step_may_be_thresholded_by_the_rate():
    def move(w, gradient, state, t):
        kernels.sgd(w, gradient, learning_rate=0.1)
        return 0.1

    assert PROBLEMS["lasso"].violation(*naive(PROBLEMS["lasso"], move)) <= SLACK


@pytest.mark.parametrize("kind", ENGINES)
def test_adam_moves_the_weight_of_a_dead_input_at_its_own_pace(kind):
    """Its gradient is 0 and Adam's step learning_rate / epsilon; the floor makes it learning_rate."""
    problem, adam = PROBLEMS["lasso"], fr.Adam(0.02)
    problem = replace(problem, x=np.hstack([problem.x, np.zeros((240, 1))]))
    ends = []
    for has_floor in (True, False):
        engine = problem.engine(adam, kind=kind)
        if not has_floor:
            update = engine.plan.update.copy()
            update["strength"][update["op"] == b"update"] = NONE
            engine = ENGINES[kind](replace(engine.plan, update=update), engine.params)
        weight = engine.plan.layout.views(engine.params)["0.weight"]
        weight[-1] = 0.3
        problem.train(engine, adam, 5)
        ends.append(weight[-1, 0])
    assert abs(ends[0] - (0.3 - 5 * 0.02)) < 1e-7
    assert ends[1] == 0


# ---- what must not change


@every_problem
@every_optimizer
@pytest.mark.parametrize("kind", ENGINES)
def test_strength_zero_has_the_bits_of_no_penalty(problem, optimizer, kind):
    optimizer = OPTIMIZERS[optimizer]
    weights = []
    for penalty in (fr.L1(0.0), None):
        engine = problem.engine(optimizer, penalty, kind)
        proximal = engine.plan.update["op"] == b"prox"
        assert proximal.any() == (penalty is not None)
        weights.append(problem.train(engine, optimizer, 300).params)
    assert weights[0].tobytes() == weights[1].tobytes()
    assert weights[0].any()


@every_problem
@pytest.mark.parametrize("kind", ENGINES)
def test_plain_sgd_with_l2_is_decoupled_decay_of_twice_the_strength(problem, kind):
    strength, sgd = 0.03, fr.SGD(0.1)
    with_l2 = problem.train(problem.engine(sgd, {"*": fr.L2(strength)}, kind), sgd, 500)
    engine = problem.engine(sgd, None, kind)
    update = engine.plan.update.copy()
    update["decay"] = len(engine.plan.scalars)
    plan = replace(engine.plan, update=update, scalars=np.append(engine.plan.scalars, 2 * strength))
    decayed = problem.train(ENGINES[kind](plan, engine.params), sgd, 500)
    np.testing.assert_allclose(decayed.params, with_l2.params, rtol=1e-11, atol=1e-14)
    assert np.abs(decayed.params - problem.train(problem.engine(sgd, None, kind), sgd, 500).params).max() > 1e-3


def test_the_doors_decay_is_l2_as_well():
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=40), rng.normal(size=40)
    decayed, penalized, gradient = w.copy(), w.copy(), g.copy()
    kernels.sgd(decayed, g, learning_rate=0.1, decay=0.1 * 2 * 0.3)
    kernels.l2(w, 0.3, gradient)
    kernels.sgd(penalized, gradient, learning_rate=0.1)
    np.testing.assert_allclose(decayed, penalized, rtol=1e-13, atol=1e-15)
