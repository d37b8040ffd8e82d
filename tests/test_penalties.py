"""Penalties: values, gradients, proximal steps, sums, name patterns, and what is refused."""

from dataclasses import dataclass

import numpy as np
import pytest

from fastreg.layers import Dense
from fastreg.network import Network
from fastreg.optimizers import SGD
from fastreg.penalties import L1, L2, ElasticNet, Penalty, Sum, Term, match_penalties
from fastreg.plan import lower

W = np.array([[-2.0, -0.3, 0.0], [0.1, 0.5, 3.0]])
SMOOTH = W[W != 0]


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (L1(0.1), 0.1 * 5.9),
        (L1(0.1, "subgradient"), 0.1 * 5.9),
        (L1(0.1, "clip"), 0.1 * 5.9),
        (L2(0.1), 0.1 * 13.35),
        (ElasticNet(0.1, 0.2), 0.1 * 5.9 + 0.2 * 13.35),
        (L1(0.0), 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_value(penalty, value, dtype):
    assert penalty.value(W.astype(dtype)) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("penalty", [L1(0.3, "subgradient"), L1(0.3, "clip"), L2(0.3), L1(0.3, "clip") + L2(2)])
def test_gradient_is_the_slope_of_the_value(penalty):
    step = 1e-6 * np.eye(SMOOTH.size)
    slopes = [(penalty.value(SMOOTH + h) - penalty.value(SMOOTH - h)) / 2e-6 for h in step]
    np.testing.assert_allclose(penalty.gradient(SMOOTH), slopes, rtol=1e-7)
    assert penalty.gradient(W).shape == W.shape
    assert penalty.gradient(W)[0, 2] == 0


def test_proximal_l1_adds_no_gradient():
    assert not L1(0.3).gradient(W).any()


@pytest.mark.parametrize("step", [0.5, np.linspace(0, 2, 6).reshape(2, 3)])
def test_proximal_step_minimizes(step):
    """prox(w) is the u that minimizes (u - w)^2 / 2 + step * value(u), coordinate by coordinate."""
    grid = np.linspace(-4, 4, 80_001)
    objective = (grid - W[..., None]) ** 2 / 2 + np.multiply(step, np.ones_like(W))[..., None] * 0.8 * abs(grid)
    best = grid[objective.argmin(axis=-1)]
    prox = L1(0.8).prox(W, step)
    np.testing.assert_allclose(prox, best, atol=1.01e-4)
    assert (prox == 0).sum() == (abs(W) <= 0.8 * np.asarray(step)).sum()


def test_clip_zeroes_strictly_below_the_threshold():
    np.testing.assert_array_equal(L1(1.0, "clip").prox([0.5, -0.49, 0.51, 2.0], 0.5), [0.5, 0, 0.51, 2.0])


def test_methods_leave_their_argument_alone():
    w = W.copy()
    for penalty in (L1(1.0), L1(1.0, "clip"), L2(1.0)):
        penalty.value(w), penalty.gradient(w), penalty.prox(w, 1.0)
    np.testing.assert_array_equal(w, W)


def test_sums_flatten_and_merge_equal_kinds():
    assert L1(1) + L1(2) == L1(3)
    assert L1(1) + L2(2) + L1(3) + L2(4) == Sum((L1(4), L2(6)))
    assert L1(1) + (L2(2) + L1(3)) == L1(4) + L2(2)
    assert L1(1) + L1(1, "clip") == Sum((L1(1), L1(1, "clip")))
    assert ElasticNet(1, 2) == L1(1) + L2(2)
    assert hash(L1(1) + L2(2)) == hash(ElasticNet(1, 2))
    assert repr(L2(1) + L1(2)) == "L2(strength=1.0) + L1(strength=2.0, method='proximal')"


@pytest.mark.parametrize(
    "penalty",
    [
        L1(0.01, "subgradient") + L1(0.02, "clip"),
        L1(0.01) + L1(0.02, "subgradient"),
        L1(0.01) + L2(0.02),
        L2(0.02) + L1(0.01, "subgradient"),
    ],
    ids=repr,
)
def test_every_term_of_a_sum_acts_in_both_engines(penalty):
    """One that the optimizer's pass computes on its way must not stand in for another of its kind."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 5)), rng.normal(size=40)
    compiled, reference = (
        Network([Dense(3, "tanh", weight_penalty=penalty), Dense(1)], loss="squared_error", dtype="float64", seed=0,
                engine=engine)
        for engine in ("compiled", "reference")
    )  # fmt: skip
    histories = [
        net.fit(X, y, epochs=3, batch_size=8, optimizer=SGD(0.05, momentum=0.9)) for net in (compiled, reference)
    ]
    for name, weights in compiled.parameters.items():
        np.testing.assert_allclose(weights, reference.parameters[name], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(*(history["penalty"] for history in histories), rtol=1e-12)


def test_the_order_of_a_sum_changes_no_bit():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 20)), rng.normal(size=200)
    one, two = L1(0.0123, "subgradient"), L2(0.0456)
    nets = [
        Network([Dense(50, "tanh", weight_penalty=penalty), Dense(1)], loss="squared_error", seed=0)
        for penalty in (one + two, two + one)
    ]
    for net in nets:
        net.fit(X, y, epochs=20, batch_size=8, optimizer=SGD(0.005, momentum=0.9))
    assert all(np.array_equal(nets[0].parameters[name], nets[1].parameters[name]) for name in nets[0].parameters)


@pytest.mark.parametrize("kind", [L1, L2])
@pytest.mark.parametrize("strength", [-1, -1e-300, np.nan, np.inf, True, np.True_, "0.1", None, [1.0]])
def test_a_strength_is_a_finite_number_from_0(kind, strength):
    with pytest.raises(ValueError, match=f"{kind.__name__} strength must be a finite number >= 0, got"):
        kind(strength)


def test_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match="unknown L1 method 'proximate'; did you mean 'proximal'"):
        L1(0.1, "proximate")


def test_adding_something_else_is_a_type_error():
    with pytest.raises(TypeError):
        L1(0.1) + 0.1


NAMES = dict.fromkeys(["0.weight", "1.weight", "0.bias", "1.bias"], L2(1))


def test_a_pattern_replaces_and_the_last_match_wins():
    chosen = match_penalties(NAMES, {"*.weight": L1(1), "0.*": 0, "1.bias": None})
    assert chosen == {"0.weight": None, "1.weight": L1(1), "0.bias": None, "1.bias": None}
    assert match_penalties(NAMES, None) == NAMES


def test_a_pattern_without_a_match_lists_the_names():
    with pytest.raises(ValueError, match=r"'2\.\*' matches no parameter; there are 0\.weight, 1\.weight, 0\.b"):
        match_penalties(NAMES, {"2.*": L1(1)})


@pytest.mark.parametrize("penalty", [0.1, "l1", True, False, L1])
def test_what_is_no_penalty_is_refused(penalty):
    with pytest.raises(ValueError, match=r"penalties\['\*'\] must be a penalty such as L2"):
        match_penalties(NAMES, {"*": penalty})
    with pytest.raises(ValueError, match="weight_penalty must be a penalty such as L2"):
        Dense(3, weight_penalty=penalty)


def test_patterns_come_in_a_dict():
    with pytest.raises(ValueError, match="penalties must be a dict"):
        match_penalties(NAMES, L1(1))


def test_a_new_penalty_is_one_class():
    @dataclass(frozen=True)
    class Ridgeway(Penalty):
        strength: float

        def terms(self):
            return (Term("l1", self.strength, True, None), Term("l2", self.strength, True, None))

    plan = lower([Dense(2, weight_penalty=Ridgeway(0.5))], "squared_error", 3, "float64")
    assert plan.update["kernel"].tolist() == [b"l1", b"l2"]
    assert (Ridgeway(1.0) + Ridgeway(2.0)).value(W) == pytest.approx(3 * (5.9 + 13.35))
