"""Schedules: their formulas, and that engines and trainings follow them step by step, to the bit."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import fastreg as fr
from fastreg import schedules
from fastreg.model import interpreter
from fastreg.plan import lower
from fastreg.schedules import Schedule
from fastreg.state import State

T = np.linspace(0, 1, 1001)
ALL = [
    kind()
    for kind in vars(schedules).values()
    if isinstance(kind, type) and issubclass(kind, Schedule) and kind is not Schedule
]
ENGINES = ("compiled", "reference")


def onecycle(t, rise=0.3, start=0.04, final=4e-6):
    """PyTorch's annealing: end + (start - end) / 2 (1 + cos(pi pct)) in each phase."""
    up = 1 + (start - 1) / 2 * (1 + np.cos(np.pi * t / rise))
    down = final + (1 - final) / 2 * (1 + np.cos(np.pi * (t - rise) / (1 - rise)))
    return np.where(t < rise, up, down)


FORMULAS = [
    (fr.Constant(), lambda t: np.ones_like(t)),
    (fr.LinearDecay(), lambda t: 1 - t),
    (fr.LinearDecay(0.25), lambda t: 1 - 0.75 * t),
    (fr.StepDecay(0.5, every=0.25), lambda t: 0.5 ** np.floor(4 * t)),
    (fr.Exponential(0.01), lambda t: 0.01**t),
    (fr.Exponential(1.0), lambda t: np.ones_like(t)),
    (fr.InverseScaling(0.5, final=0.1), lambda t: (1 + 99 * t) ** -0.5),
    (fr.InverseScaling(1.0, final=0.1), lambda t: 1 / (1 + 9 * t)),
    (fr.Cosine(), lambda t: (1 + np.cos(np.pi * t)) / 2),
    (fr.Cosine(0.1), lambda t: 0.1 + 0.9 * (1 + np.cos(np.pi * t)) / 2),
    (fr.FlatCosine(), lambda t: np.where(t < 0.5, 1, (1 + np.cos(np.pi * np.maximum(2 * t - 1, 0))) / 2)),
    (fr.CosLog(), lambda t: 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))),
    (fr.OneCycle(), onecycle),
    (fr.Warmup(0.1), lambda t: np.minimum(t / 0.1, 1)),
    (
        fr.Warmup(0.2, then=fr.Cosine(), start=0.5),
        lambda t: np.where(t < 0.2, 0.5 + 2.5 * t, (1 + np.cos(np.pi * np.maximum(t - 0.2, 0) / 0.8)) / 2),
    ),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=lambda value: repr(value)[:30])
def test_formulas(schedule, formula):
    np.testing.assert_allclose(schedule.factor(T), formula(T), rtol=1e-12, atol=1e-15)


def test_every_schedule_has_its_formula():
    assert {type(schedule) for schedule, _ in FORMULAS} == {type(schedule) for schedule in ALL}


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_a_factor_depends_on_its_own_progress_alone(schedule):
    whole = schedule.factor(T)
    parts = np.concatenate([schedule.factor(part) for part in np.array_split(T, 7)])
    assert whole.tobytes() == parts.tobytes()
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert schedule.factor(np.empty(0)).shape == (0,)


def test_ends_are_exact():
    assert fr.Cosine().factor(np.array([0, 0.5, 1])).tolist() == [1, 0.5, 0]
    assert fr.FlatCosine().factor(np.array([0, 0.5, 0.75, 1])).tolist() == [1, 1, 0.5, 0]
    assert fr.Cosine(0.25).factor(np.array([0.0, 1.0])).tolist() == [1, 0.25]
    assert fr.CosLog().factor(np.array([0.0])).tolist() == [0]
    assert repr(fr.CosLog(np.int64(4))) == "CosLog(cycles=4)"
    assert fr.Warmup(0.5).factor(np.array([0, 0.25, 0.5])).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("epochs", range(1, 60))
def test_stairs_fall_where_epochs_begin(epochs):
    steps = 7
    progress = np.arange(epochs * steps) / (epochs * steps)
    found = fr.StepDecay(0.5, every=1 / epochs).factor(progress).reshape(epochs, steps)
    np.testing.assert_array_equal(found, np.repeat(0.5 ** np.arange(epochs)[:, None], steps, axis=1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: fr.Cosine(1.5), lambda: fr.StepDecay(0), lambda: fr.StepDecay(every=0), lambda: fr.Exponential(0),
        lambda: fr.OneCycle(rise=1), lambda: fr.Warmup(0), lambda: fr.Warmup(then=3), lambda: fr.CosLog(0),
        lambda: fr.CosLog(2.5), lambda: fr.FlatCosine(1), lambda: fr.InverseScaling(0),
        lambda: fr.LinearDecay(1.5),
    ],
)  # fmt: skip
def test_settings_out_of_range(make):
    with pytest.raises(ValueError, match="must be"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: fr.SGD(schedule=0.5), lambda: fr.Adam(schedule="cosine"), lambda: fr.Dropout(0.1, schedule=1),
        lambda: fr.L1(0.1, schedule=fr.Cosine), lambda: fr.L2(0.1, schedule=fr.L2(0.1)),
    ],
)  # fmt: skip
def test_what_is_no_schedule(make):
    with pytest.raises(ValueError, match="schedule must be a schedule such as Cosine"):
        make()


@dataclass(frozen=True)
class Wrong(Schedule):
    value: float = -1.0

    def factor(self, progress):
        return np.full_like(progress, self.value)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_factors_of_a_schedule_of_ones_own_are_checked(value, data):
    net = fr.Network([fr.Dense(3)], loss="cross_entropy", seed=1)
    before = net.build(5).parameters["0.weight"].copy()
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        net.fit(*data, optimizer=fr.SGD(0.1, schedule=Wrong(value)))
    np.testing.assert_array_equal(net.parameters["0.weight"], before)


# ---- engines

LAYERS = (
    fr.Dropout(0.3, schedule=fr.FlatCosine()),
    fr.Dense(17, "relu", weight_penalty=fr.L1(0.02, schedule=fr.Cosine()) + fr.L2(0.01, schedule=fr.CosLog())),
    fr.Dropout(0.6, schedule=fr.Exponential()),
    fr.Dense(9, "tanh", weight_penalty=fr.L2(0.1), bias_penalty=fr.L1(0.3, "clip", schedule=fr.CosLog(2))),
    fr.Dropout(0.5, schedule=fr.CosLog()),
    fr.Dense(3),
)
OPTIMIZERS = [fr.SGD(0.1), fr.SGD(0.05, 0.9, nesterov=True), fr.Adam(0.01), fr.AdamW(0.01, weight_decay=0.5)]


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(120, 5)).astype(np.float32), rng.integers(0, 3, 120)


class Trained:
    """An engine, parameters and state that train step by step."""

    def __init__(self, engine, optimizer, data, threads=1):
        self.plan = lower(LAYERS, "cross_entropy", 5, "float32", optimizer=optimizer, labels=True)
        rng = np.random.default_rng(1)
        self.params = np.zeros(self.plan.layout.size, np.float32)
        for view in self.plan.layout.views(self.params).values():
            view[...] = rng.normal(size=view.shape)
        self.make, self.threads = interpreter(engine)[0], threads
        self.state = State.new(self.plan, optimizer)
        self.X, self.y = data[0], data[1].astype(np.int32)
        self.results = []

    def run(self, plan, steps, numbers=None):
        """Train on steps, a range: those of rows 10 s to 10 s + 10."""
        results = np.empty((len(steps), 3))
        bounds = 10 * np.arange(len(steps) + 1) + 10 * steps.start
        self.make(plan, self.params).run(
            self.X, self.y, None, np.arange(120), bounds, np.full(len(steps), 0.05), self.state, results,
            seed=5, step=steps.start, threads=self.threads, numbers=numbers,
        )  # fmt: skip
        self.results += results.tolist()
        return self

    @property
    def outcome(self):
        return self.params.tobytes(), self.state.buffers.tobytes(), self.results


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_take_the_place_of_scalars(engine, optimizer, data):
    whole, steps = Trained(engine, optimizer, data), Trained(engine, optimizer, data)
    numbers = whole.plan.numbers(np.arange(12) / 12)
    assert numbers.shape == (12, len(whole.plan.scalars))
    whole.run(whole.plan, range(12), numbers)
    for s in range(12):
        steps.run(replace(steps.plan, scalars=numbers[s].copy()), range(s, s + 1))
    assert whole.outcome == steps.outcome
    constant = Trained(engine, optimizer, data)
    constant.run(constant.plan, range(12))
    assert constant.outcome != whole.outcome
    np.testing.assert_array_equal(whole.plan.scalars, constant.plan.scalars)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_engines_agree_on_numbers(optimizer, data):
    one, other = (Trained(engine, optimizer, data) for engine in ENGINES)
    for trained in (one, other):
        trained.run(trained.plan, range(12), trained.plan.numbers(np.arange(12) / 12))
    np.testing.assert_allclose(one.results, other.results, rtol=2e-4)
    np.testing.assert_allclose(one.params, other.params, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_penalty_of_numbers(engine):
    plan = lower(LAYERS, "cross_entropy", 5, "float64", labels=True)
    params = np.zeros(plan.layout.size)
    for view in plan.layout.views(params).values():
        view[...] = 1
    machine = interpreter(engine)[0](plan, params)
    expected = machine.penalty()
    assert expected == pytest.approx(0.02 * 85 + 0.01 * 85 + 0.1 * 153 + 0.3 * 9)
    assert machine.penalty(numbers=plan.scalars / 2) == pytest.approx(expected / 2)
    gradients = np.zeros((2, plan.layout.size))
    machine.penalty(gradients[0])
    machine.penalty(gradients[1], numbers=plan.scalars / 2)
    np.testing.assert_allclose(gradients[0], 2 * gradients[1])
    assert machine.penalty() == expected


def test_wrong_numbers_are_refused(data):
    trained = Trained("compiled", fr.SGD(0.1), data)
    for shape in ((11, len(trained.plan.scalars)), (12, len(trained.plan.scalars) - 1)):
        with pytest.raises(ValueError, match="numbers must have shape"):
            trained.run(trained.plan, range(12), np.zeros(shape))
    with pytest.raises(ValueError, match="numbers must have shape"):
        trained.make(trained.plan, trained.params).penalty(numbers=np.zeros(1))


NOISY = (
    fr.SwapNoise(0.3, schedule=fr.Cosine()),
    fr.FeatureMask(0.3, 1.0, schedule=fr.Exponential()),
    fr.GaussianNoise(0.5, schedule=fr.CosLog()),
    fr.DropConnect(0.4, schedule=fr.StepDecay(0.5)),
    fr.Dense(16, "relu"),
    fr.BatchNorm(),
    fr.MultiplicativeNoise(0.5, schedule=fr.Cosine()),
    fr.Residual([fr.Dense(16, "tanh"), fr.Dropout(0.5, schedule=fr.CosLog())], 0.5, schedule=fr.FlatCosine()),
    fr.Dense(3),
)


@pytest.mark.parametrize("smoothing", ["uniform", "others"])
@pytest.mark.parametrize("engine", ENGINES)
def test_schedules_of_all_noises_and_of_smoothing(engine, smoothing, data):
    """Steps of one run, and runs of one step whose plans say the same."""
    loss = fr.CrossEntropy(0.3, smoothing, schedule=fr.CosLog(2))
    plan = lower(NOISY, loss, 5, "float64", optimizer=fr.Adam(), labels=True)
    assert len(plan.schedules) == 9
    numbers, outcomes = plan.numbers(np.arange(1, 13) / 12), []
    X, y, bounds = data[0].astype(np.float64), data[1].astype(np.int32), 10 * np.arange(13)
    for parts in ([range(12)], [range(s, s + 1) for s in range(12)]):
        params = np.linspace(-1, 1, plan.layout.size) ** 2
        state, results = State.new(plan, None), np.empty((12, 3))
        for steps in parts:
            mine = plan if len(steps) > 1 else replace(plan, scalars=numbers[steps.start].copy())
            interpreter(engine)[0](mine, params).run(
                X, y, None, np.arange(120), bounds[steps.start : steps.stop + 1], np.full(len(steps), 0.01), state,
                results[steps.start : steps.stop], seed=5, step=steps.start,
                numbers=numbers if len(steps) > 1 else None,
            )  # fmt: skip
        outcomes.append((params.tobytes(), state.buffers.tobytes(), results.tobytes()))
    assert outcomes[0] == outcomes[1]


def test_smoothing_that_ends_is_none(data):
    """Without an update the loss of each epoch is that of its own targets."""
    loss = fr.CrossEntropy(0.5, schedule=fr.StepDecay(1e-12, every=0.5))
    losses = [
        fr.Network([fr.Dense(3)], loss=each, seed=1).fit(*data, epochs=2, optimizer=fr.SGD(0.0))["loss"]
        for each in (loss, fr.CrossEntropy(0.5), "cross_entropy")
    ]
    np.testing.assert_allclose(losses[0], [losses[1][0], losses[2][1]], rtol=1e-6)
    assert abs(losses[1][0] - losses[2][1]) > 1e-3


# ---- trainings


def network(engine="compiled", **settings):
    return fr.Network(LAYERS, loss="cross_entropy", seed=1, engine=engine, **settings)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_history_has_the_rate_of_the_epochs_last_step(schedule, data):
    history = network().fit(*data, epochs=6, batch_size=25, optimizer=fr.Adam(0.1, schedule=schedule))
    last = (5 * np.arange(1, 7) - 1) / 30
    np.testing.assert_array_equal(history["learning_rate"], 0.1 * schedule.factor(last))


@pytest.mark.parametrize("engine", ENGINES)
def test_plain_gradient_descent_by_hand(engine, data):
    X, y = data[0].astype(np.float64), data[0][:, :1].astype(np.float64) ** 2
    layer = fr.Dense(1, weight_penalty=fr.L2(0.1, schedule=fr.Exponential()), init="zeros")
    net = fr.Network([layer], loss="squared_error", dtype="float64", seed=1, engine=engine)
    optimizer = fr.SGD(0.1, schedule=fr.Warmup(0.5, then=fr.Cosine()))
    history = net.fit(X, y, epochs=4, batch_size=30, shuffle=False, optimizer=optimizer, validation=(X, y))
    w, b, penalties = np.zeros((5, 1)), np.zeros(1), []
    for s in range(16):
        t, rows = s / 16, slice(s % 4 * 30, s % 4 * 30 + 30)
        rate = 0.1 * (t / 0.5 if t < 0.5 else (1 + np.cos(np.pi * (t - 0.5) / 0.5)) / 2)
        strength = 0.1 * 0.01**t
        penalties.append(strength * np.sum(w * w))
        error = X[rows] @ w + b - y[rows]
        w, b = w - rate * (2 * X[rows].T @ error / 30 + 2 * strength * w), b - rate * 2 * error.mean(axis=0)
    np.testing.assert_allclose(net.parameters["0.weight"], w, rtol=1e-12)
    np.testing.assert_allclose(net.parameters["0.bias"], b, rtol=1e-12)
    np.testing.assert_allclose(history["penalty"], np.mean(np.reshape(penalties, (4, 4)), axis=1), rtol=1e-12)
    last = history["val_objective"][-1] - history["val_loss"][-1]
    np.testing.assert_allclose(last, 0.1 * 0.01 ** (15 / 16) * np.sum(w * w), rtol=1e-9)
    assert net.evaluate(X, y)["penalty"] == pytest.approx(0.1 * np.sum(w * w))  # of the whole strength


def weights(net):
    return {name: values.tobytes() for name, values in net.parameters.items()}


@pytest.mark.parametrize("optimizer", [fr.SGD(0.1, 0.9), fr.AdamW(0.01)], ids=repr)
def test_a_constant_schedule_changes_nothing(optimizer, data):
    plain, constant, twice = (fr.Network([fr.Dense(3)], loss="cross_entropy", seed=1) for _ in range(3))
    scheduled = replace(optimizer, schedule=fr.Constant())
    plain.fit(*data, epochs=10, optimizer=optimizer)
    constant.fit(*data, epochs=10, optimizer=scheduled)
    twice.fit(*data, epochs=5, optimizer=scheduled)
    twice.fit(*data, epochs=5, optimizer=scheduled)
    assert weights(plain) == weights(constant) == weights(twice)


def test_dropout_that_ends_drops_nothing(data):
    X = np.ones((100, 1))
    net = fr.Network([fr.Dropout(0.5, schedule=fr.StepDecay(1e-9, every=0.5)), fr.Dense(1)], loss="squared_error")
    net.build(1).parameters["0.weight"] = [[1.0]]
    history = net.fit(X, X[:, 0], epochs=2, batch_size=100, optimizer=fr.SGD(0.0))
    np.testing.assert_allclose(history["loss"], [1.0, 0.0], atol=1e-12)


def test_threads_and_looks_between_epochs_change_no_bit(data):
    optimizer = fr.Adam(0.01, schedule=fr.OneCycle())
    nets = [network() for _ in range(3)]
    nets[0].fit(*data, epochs=4, batch_size=32, optimizer=optimizer, n_threads=1)
    nets[1].fit(*data, epochs=4, batch_size=32, optimizer=optimizer, n_threads=2)
    nets[2].fit(*data, epochs=4, batch_size=32, optimizer=optimizer, callbacks=[lambda run: False])
    assert weights(nets[0]) == weights(nets[1]) == weights(nets[2])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cut", [1, 5, 9])
def test_resume_in_the_middle(engine, cut, data, tmp_path):
    settings = {"epochs": 3, "batch_size": 32, "optimizer": fr.SGD(0.1, 0.9, schedule=fr.Warmup(then=fr.CosLog()))}
    whole = network(engine)
    figures = whole.fit(*data, **settings)
    path = tmp_path / "cut.frg"

    class Stop:
        every_steps = cut

        def after_steps(self, run):
            run.cancel()

    class AtStart:
        def start(self, run):
            return Stop()

    checkpoint = fr.Checkpoint(path, unit="steps")
    cut_net = network(engine)
    cut_net.fit(*data, **settings, callbacks=[checkpoint, AtStart()])
    resumed = fr.resume(path, *data, callbacks=[checkpoint, AtStart()])
    while resumed.history.ended == "cancelled":
        resumed = fr.resume(path, *data, callbacks=[checkpoint, AtStart()])
    assert weights(resumed.network) == weights(whole)
    for name in ("loss", "penalty", "learning_rate"):
        assert list(resumed.history[name]) == list(figures[name])


def test_schedules_are_kept_in_files(data, tmp_path):
    net = network()
    net.fit(*data, epochs=1, optimizer=fr.AdamW(schedule=fr.Warmup(0.1, then=fr.Cosine(0.1))))
    fr.save(net, tmp_path / "net.frg")
    back = fr.load(tmp_path / "net.frg")
    assert repr(back) == repr(net)
    assert back._state.optimizer == net._state.optimizer
    assert "schedule=CosLog" in repr(back)


def test_settings_that_are_not_set_are_not_shown():
    assert repr(fr.L2(0.1)) == "L2(strength=0.1)"
    assert repr(fr.Dropout(0.1)) == "Dropout(rate=0.1)"
    assert repr(fr.SGD()) == "SGD(learning_rate=0.01, momentum=0.0, nesterov=False)"
    assert repr(fr.L1(0.1, schedule=fr.Constant())) == "L1(strength=0.1, method='proximal', schedule=Constant())"


def test_penalties_add_up_by_schedule():
    cosine = fr.Cosine()
    assert fr.L2(1, schedule=cosine) + fr.L2(2, schedule=cosine) == fr.L2(3, schedule=cosine)
    assert len((fr.L2(1, schedule=cosine) + fr.L2(2)).parts) == 2


class Rude(Schedule):
    """Returns too much, and writes into what it is given."""

    def __init__(self, most):
        self.most = most

    def factor(self, progress):
        progress[:] = self.most
        return progress


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "made",
    [
        lambda schedule: {"layers": [fr.Dropout(0.5, schedule=schedule), fr.Dense(3)]},
        lambda schedule: {"loss": fr.CrossEntropy(0.5, schedule=schedule)},
        lambda schedule: {"layers": [fr.Residual([fr.Dense(2)], 0.5, schedule=schedule), fr.Dense(3)]},
    ],
)
def test_a_schedule_may_not_raise_a_rate(made, engine):
    X, y = np.ones((8, 2)), np.arange(8) % 3
    settings = {"layers": [fr.Dense(3)], "loss": "cross_entropy", "seed": 0, "engine": engine}
    with pytest.raises(ValueError, match="in \\[0, 1\\], for a rate"):
        fr.Network(**settings | made(Rude(3.0))).fit(X, y)
    fr.Network(**settings | made(Rude(1.0))).fit(X, y)


def test_a_strength_may_rise_and_a_schedule_spoils_no_other():
    X, y = np.ones((8, 2)), np.arange(8) % 3
    falling, ends = fr.L1(0.1, schedule=fr.LinearDecay()), []
    for l2 in (fr.L2(0.1, schedule=Rude(3.0)), fr.L2(0.3)):
        net = fr.Network([fr.Dense(3, weight_penalty=l2 + falling)], loss="cross_entropy", seed=0, dtype="float64")
        net.fit(X, y, epochs=3)
        ends.append(net.parameters["0.weight"].copy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-13)
