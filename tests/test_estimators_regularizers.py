"""What the estimators have that scikit-learn's MLPs lack: neutral by default, and the same as what is done by hand."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

import fastreg as fr

sklearn = pytest.importorskip("sklearn", reason="the estimators are those of the extra fastreg[sklearn]")
scipy_sparse = pytest.importorskip("scipy.sparse")

from sklearn import neural_network as original  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.utils.class_weight import compute_sample_weight  # noqa: E402

from fastreg.estimators import stochastic  # noqa: E402
from fastreg.estimators.regularizers import NEUTRAL  # noqa: E402

PAIRS = {"classifier": fr.MLPClassifier, "regressor": fr.MLPRegressor}
ALL_ON = {
    "dropout": 0.3,
    "input_dropout": 0.1,
    "label_smoothing": 0.1,
    "class_weight": {0: 1.0, 1: 3.0},
    "clip_norm": 0.5,
    "penalty_scale": "mean",
    "validation_split": "stratified",
}
STILL = 1e-300  # a learning rate by which no weight moves

both = pytest.mark.parametrize("kind", PAIRS)
every_solver = pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def own(kind, **parameters):
    """An estimator with those of the parameters that it has."""
    known = PAIRS[kind]().get_params()
    settings = {"max_iter": 4, "random_state": 0, "hidden_layer_sizes": (9, 7)} | parameters
    return PAIRS[kind](**{name: value for name, value in settings.items() if name in known})


def data(kind, rows=120):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(rows, 6))
    signal = X @ rng.normal(size=(6, 3))
    return X, signal.argmax(axis=1) if kind == "classifier" else np.abs(signal[:, 0])


def bits(estimator):
    return b"".join(array.tobytes() for array in estimator.coefs_ + estimator.intercepts_)


def initial(units, random_state):
    """The parameters that scikit-learn draws first (but for `activation="logistic"`)."""
    coefs, intercepts = [], []
    for fan_in, fan_out in pairwise(units):
        bound = np.sqrt(6.0 / (fan_in + fan_out))
        coefs.append(random_state.uniform(-bound, bound, (fan_in, fan_out)))
        intercepts.append(random_state.uniform(-bound, bound, fan_out))
    return coefs, intercepts


@pytest.fixture
def splits(monkeypatch):
    """The rows held out by each split."""
    held_out = []

    def recorded(*arrays, **settings):
        parts = split(*arrays, **settings)
        held_out.append(parts[1].copy())
        return parts

    split = stochastic.train_test_split
    monkeypatch.setattr(stochastic, "train_test_split", recorded)
    return held_out


# ---- neutral by default


def test_defaults_are_neutral():
    for kind in PAIRS.values():
        own_defaults = {name: value for name, value in kind().get_params().items() if name in NEUTRAL}
        assert own_defaults == {name: NEUTRAL[name] for name in own_defaults}
    assert set(NEUTRAL) <= set(fr.MLPClassifier().get_params())
    assert set(NEUTRAL) - set(fr.MLPRegressor().get_params()) == {"label_smoothing", "class_weight", "validation_split"}


@pytest.mark.parametrize("early_stopping", [False, True])
@every_solver
@both
def test_neutral_values_change_no_bit_and_draw_nothing(kind, solver, early_stopping):
    X, y = data(kind)
    settings = {"solver": solver, "early_stopping": early_stopping and solver != "lbfgs"}
    states = [np.random.RandomState(3) for _ in range(2)]
    plain, named = (
        own(kind, random_state=state, **settings, **extra).fit(X, y)
        for state, extra in zip(states, ({}, NEUTRAL), strict=True)
    )
    assert bits(plain) == bits(named)
    assert plain.loss_ == named.loss_
    assert states[0].randint(10**9) == states[1].randint(10**9)


@pytest.mark.parametrize("extra", [{"dropout": 0.5}, {"input_dropout": 0.2}])
@both
def test_dropout_leaves_initial_weights_and_split(kind, extra, splits):
    X, y = data(kind)
    settings = {"learning_rate_init": STILL, "early_stopping": True}
    nets = [own(kind, **settings, **dropped).fit(X, y) for dropped in ({}, extra)]
    assert bits(nets[0]) == bits(nets[1])
    assert nets[0].loss_ != nets[1].loss_
    np.testing.assert_array_equal(*splits)
    assert nets[0].validation_scores_ == nets[1].validation_scores_  # where nothing is dropped


# ---- random numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@both
def test_a_seed_has_its_bits_whatever_the_threads(kind, dtype):
    X, y = data(kind, rows=2000)
    settings = {**ALL_ON, "early_stopping": True, "dtype": dtype, "hidden_layer_sizes": (150,)}
    seen = {bits(own(kind, n_threads=n, **settings).fit(X, y)) for n in (1, 2, 3, None)}
    assert len(seen) == 1
    assert bits(own(kind, random_state=1, **settings).fit(X, y)) not in seen


@both
def test_no_step_has_the_masks_of_another(kind):
    """Between epochs, and between calls that begin with the same seed."""
    X, y = data(kind)
    still = {"learning_rate_init": STILL, "dropout": 0.5, "batch_size": 120, "warm_start": True}
    net = own(kind, **still).fit(X, y).fit(X, y).fit(X, y)
    net.partial_fit(X, y).partial_fit(X, y)
    assert len(set(net.loss_curve_)) == 3 * 4 + 2


def test_global_random_state_is_used_by_default():
    X, y = data("regressor")
    nets = []
    for _ in range(2):
        np.random.seed(11)
        nets.append(own("regressor", random_state=None, dropout=0.5).fit(X, y))
    assert bits(nets[0]) == bits(nets[1])


# ---- the same by hand


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_an_epoch_with_all_of_them_is_that_of_a_network(kind, solver, activation):
    X, y = data(kind)
    settings = {**ALL_ON, "solver": solver, "activation": activation, "alpha": 0.3, "penalty_scale": "mean"}
    mine = own(kind, loss="poisson", batch_size=50, shuffle=False, max_iter=1, **settings).fit(X, y)

    random_state, classes = np.random.RandomState(0), 3 if kind == "classifier" else 1
    coefs, intercepts = initial((6, 9, 7, classes), random_state)
    weights = {0: 1.0, 1: 3.0} if kind == "classifier" else None
    mass = np.where(y == 1, 3.0, 1.0).sum() if kind == "classifier" else 120
    hidden = [layer for n in (9, 7) for layer in (fr.Dense(n, activation), fr.Dropout(0.3))]
    net = fr.Network(
        [fr.Dropout(0.1), *hidden, fr.Dense(classes)],
        loss=fr.CrossEntropy(0.1) if kind == "classifier" else "poisson",
        penalties={"*.weight": fr.L2(0.5 * 0.3 / mass)},
        dtype="float64",
        seed=int(random_state.randint(2**64, dtype=np.uint64)),
    ).build(6)
    for number in range(3):
        net.parameters[f"{number}.weight"][...] = coefs[number]
        net.parameters[f"{number}.bias"][...] = intercepts[number]
    optimizer = (
        fr.Adam(epsilon_hat=True, clip_norm=0.5)
        if solver == "adam"
        else fr.SGD(1e-3, momentum=0.9, nesterov=True, clip_norm=0.5)
    )
    history = net.fit(X, y, epochs=1, batch_size=50, shuffle=False, optimizer=optimizer, class_weight=weights)
    for number in range(3):
        np.testing.assert_array_equal(mine.coefs_[number], net.parameters[f"{number}.weight"])
        np.testing.assert_array_equal(mine.intercepts_[number], net.parameters[f"{number}.bias"])
    if kind == "regressor":  # a classifier's epoch is a mean over rows, not over weights
        assert mine.loss_ == pytest.approx(history["objective"][0], rel=1e-12)


def targets_of(task):
    _, y = data("classifier")
    if task == "multiclass":
        return y, np.eye(3)[y]
    if task == "binary":
        return y > 0, (y[:, None] > 0) * 1.0
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    return labels, labels * 1.0


def probabilities_by_hand(task, z):
    if task != "multiclass":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_label_smoothing_against_numpy(task):
    """Loss and gradient of a linear model, and the steps that follow from them."""
    X, _ = data("classifier")
    y, t = targets_of(task)
    s, alpha, classes = 0.2, 0.7, 3 if task == "multiclass" else 2
    t = (1 - s) * t + s / classes
    (coef,), (intercept,) = initial((6, t.shape[1]), np.random.RandomState(0))
    p = probabilities_by_hand(task, X @ coef + intercept)
    slopes = (p - t) / len(X)
    gradient = X.T @ slopes + alpha * coef / len(X)
    rows = -t * np.log(p) if task == "multiclass" else -t * np.log(p) - (1 - t) * np.log(1 - p)
    loss = rows.sum() / len(X) + 0.5 * alpha * (coef**2).sum() / len(X)

    shared = {"hidden_layer_sizes": (), "alpha": alpha, "label_smoothing": s, "max_iter": 1}
    step = own("classifier", solver="sgd", momentum=0, learning_rate_init=0.1, batch_size=120, **shared).fit(X, y)
    assert step.loss_ == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(step.coefs_[0], coef - 0.1 * gradient, rtol=1e-11)
    np.testing.assert_allclose(step.intercepts_[0], intercept - 0.1 * slopes.sum(axis=0), rtol=1e-11)

    still = own("classifier", learning_rate_init=STILL, **shared).fit(X, y)
    packed = np.concatenate([coef.ravel(), intercept])
    value, slope = still._loss_grad_lbfgs(packed, X, still._columns(y).reshape(len(y), -1), None)
    assert value == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(slope, np.concatenate([gradient.ravel(), slopes.sum(axis=0)]), rtol=1e-10, atol=1e-14)


def test_lbfgs_finds_the_smoothed_optimum():
    """Where a linear model may say what it wants, it says the smoothed shares."""
    X, y = np.repeat(np.eye(3), 20, axis=0), np.repeat([0, 1, 2], 20)
    settings = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 0, "max_iter": 500, "tol": 1e-9}
    net = own("classifier", label_smoothing=0.3, **settings).fit(X, y)
    np.testing.assert_allclose(net.predict_proba(np.eye(3)), 0.7 * np.eye(3) + 0.1, atol=1e-5)


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 120)])
@every_solver
def test_class_weights_are_a_factor_of_sample_weights(solver, weights):
    X, codes = data("classifier")
    y = np.array(["no", "perhaps", "yes"])[codes]
    factors = np.array([0.5, 1.0, 4.0])[codes]
    mine = own("classifier", solver=solver, class_weight={"no": 0.5, "yes": 4}).fit(X, y, weights)
    hand = own("classifier", solver=solver).fit(X, y, factors if weights is None else factors * weights)
    assert bits(mine) == bits(hand)
    balanced = own("classifier", solver=solver, class_weight="balanced").fit(X, y, weights)
    sums = np.bincount(codes, weights)
    factors = (sums.sum() / (3 * sums))[codes]
    hand = own("classifier", solver=solver).fit(X, y, factors if weights is None else factors * weights)
    assert bits(balanced) == bits(hand)
    if weights is None:
        np.testing.assert_array_equal(factors, compute_sample_weight("balanced", y))


def test_balanced_rows_of_weight_two_are_two_rows():
    X, y = data("classifier")
    weights = np.random.RandomState(0).randint(0, 3, 120) * (y < 2)  # a class without weight
    settings = {"solver": "lbfgs", "class_weight": "balanced"}
    weighted = own("classifier", **settings).fit(X, y, weights)
    repeated = own("classifier", **settings)
    X, y = np.append(np.repeat(X, weights, axis=0), X[y == 2][:1], axis=0), np.append(np.repeat(y, weights), 2)
    repeated.fit(X, y, np.append(np.ones(len(y) - 1), 0.0))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_class_weights_of_two_classes_and_of_labels(task):
    X, _ = data("classifier")
    y, _ = targets_of(task)
    given = {True: 3.0, False: 1.0} if task == "binary" else [{0: 1.0, 1: 3.0}, {0: 2.0, 1: 1.0}]
    by_hand = (1.0 + 2.0 * y) if task == "binary" else (1.0 + 2.0 * y[:, 0]) * (2.0 - y[:, 1])
    for class_weight, factors in ((given, by_hand), ("balanced", compute_sample_weight("balanced", y))):
        mine = own("classifier", class_weight=class_weight).fit(X, y)
        assert bits(mine) == bits(own("classifier").fit(X, y, factors))


def test_class_weights_of_labels_need_a_dict_for_each():
    X, _ = data("classifier")
    for class_weight in ({0: 1.0, 1: 2.0}, [{0: 1.0, 1: 2.0}]):
        with pytest.raises(ValueError, match="must be 'balanced', or a list of 2 dicts, one for each label"):
            own("classifier", class_weight=class_weight).fit(X, targets_of("multilabel")[0])


def test_class_weights_in_partial_fit():
    """A class that is missing in a call counts in the next."""
    X, y = data("classifier")
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    mine, hand = own("classifier", class_weight={0: 2.0, 2: 5.0}), own("classifier")
    for part in (slice(0, 60), slice(60, 120)):
        mine.partial_fit(X[part], y[part], classes=[0, 1, 2])
        hand.partial_fit(X[part], y[part], np.array([2.0, 1.0, 5.0])[y[part]], classes=[0, 1, 2])
    assert bits(mine) == bits(hand)
    balanced = own("classifier", class_weight="balanced")
    assert not hasattr(balanced, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as raised:
        balanced.partial_fit(X, y)
    assert "needs all rows at once" in str(raised.value.__cause__)


def test_validation_knows_no_class_weights():
    X, y = data("classifier")
    still = {"learning_rate_init": STILL, "early_stopping": True}
    nets = [own("classifier", class_weight=weights, **still).fit(X, y) for weights in (None, {0: 9.0}, "balanced")]
    assert nets[0].validation_scores_ == nets[1].validation_scores_ == nets[2].validation_scores_
    assert nets[0].loss_ != nets[1].loss_


@pytest.mark.parametrize("penalty_scale", ["sklearn", "mean"])
@pytest.mark.parametrize(("largest", "times"), [(0.05, 3), (1e6, 0)])
def test_clip_norm_against_numpy(largest, times, penalty_scale):
    """Three steps of a linear regression; the penalty's gradient is clipped with the loss's."""
    X, y = data("regressor")
    alpha, rate = 20.0, 0.1
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0, "learning_rate_init": rate, "alpha": alpha}
    mine = own(
        "regressor",
        clip_norm=largest,
        penalty_scale=penalty_scale,
        batch_size=40,
        shuffle=False,
        max_iter=1,
        **settings,
    ).fit(X, y)
    (coef,), (intercept,) = initial((6, 1), np.random.RandomState(0))
    clipped = 0
    for rows in (slice(0, 40), slice(40, 80), slice(80, 120)):
        error = (X[rows] @ coef + intercept - y[rows, None]) / 40
        gradient = X[rows].T @ error + alpha * coef / (40 if penalty_scale == "sklearn" else 120)
        norm = np.sqrt((gradient**2).sum() + error.sum() ** 2)
        clipped += norm > largest
        coef = coef - rate * min(1, largest / norm) * gradient
        intercept = intercept - rate * min(1, largest / norm) * error.sum(axis=0)
    assert clipped == times
    np.testing.assert_allclose(mine.coefs_[0], coef, rtol=1e-11)
    np.testing.assert_allclose(mine.intercepts_[0], intercept, rtol=1e-11)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_a_clip_that_never_acts_is_none(kind, solver):
    X, y = data(kind)
    plain, clipped = (own(kind, solver=solver, clip_norm=norm).fit(X, y) for norm in (None, 1e9))
    np.testing.assert_allclose(clipped.coefs_[0], plain.coefs_[0], rtol=1e-10)


def test_a_clip_counts_from_the_next_call():
    """The optimizer of `partial_fit` is kept, its clip is not: by it nothing moves here."""
    X, y = data("regressor")
    net = own("regressor", solver="sgd", momentum=0).fit(X, y)
    before = bits(net)
    assert bits(net.set_params(clip_norm=STILL).partial_fit(X, y)) == before
    assert bits(net.set_params(clip_norm=None).partial_fit(X, y)) != before


# ---- the penalty


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 120)])
@pytest.mark.parametrize("batch_size", [10, 40, 120])
def test_the_mean_penalty_has_the_gradient_of_all_rows(batch_size, weights):
    """X = 0, so that nothing but the penalty moves the weights: each step by its gradient at n rows."""
    X, y = np.zeros((120, 6)), data("regressor")[1]
    alpha, rate = 30.0, 0.01
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0, "learning_rate_init": rate, "max_iter": 1}
    mine = own("regressor", alpha=alpha, penalty_scale="mean", batch_size=batch_size, **settings).fit(X, y, weights)
    (coef,), _ = initial((6, 1), np.random.RandomState(0))
    mass = 120 if weights is None else weights.sum()
    np.testing.assert_allclose(mine.coefs_[0], coef * (1 - rate * alpha / mass) ** (120 // batch_size), rtol=1e-12)


@both
def test_the_mean_penalty_does_not_depend_on_the_batch_size(kind):
    X, y = data(kind)
    seen = {}
    for scale in ("sklearn", "mean"):
        still = {"alpha": 50.0, "learning_rate_init": STILL, "max_iter": 1, "penalty_scale": scale}
        seen[scale] = [own(kind, batch_size=size, **still).fit(X, y).loss_ for size in (10, 40, 120)]
    np.testing.assert_allclose(seen["mean"], seen["sklearn"][-1], rtol=1e-12)
    assert seen["sklearn"][0] > 2 * seen["sklearn"][-1]


@both
def test_the_mean_penalty_in_one_batch_is_scikit_learns(kind):
    X, y = data(kind)
    mine, theirs = (
        own(kind, alpha=5.0, batch_size=120, penalty_scale=scale).fit(X, y) for scale in ("mean", "sklearn")
    )
    np.testing.assert_allclose(mine.coefs_[0], theirs.coefs_[0], rtol=1e-10, atol=1e-14)
    mine, theirs = (own(kind, solver="lbfgs", penalty_scale=scale).fit(X, y) for scale in ("mean", "sklearn"))
    assert bits(mine) == bits(theirs)


# ---- the validation set


def unbalanced():
    y = np.repeat([0, 1, 2], [200, 60, 40])
    return np.random.RandomState(0).normal(size=(300, 6)), np.random.RandomState(1).permutation(y)


def test_a_stratified_split_has_each_class_in_its_proportion(splits):
    X, y = unbalanced()
    counts = []
    for split in ("stratified", "sklearn"):
        for seed in range(5):
            own("classifier", validation_split=split, early_stopping=True, max_iter=1, random_state=seed).fit(X, y)
            counts.append(tuple(np.bincount(y[splits[-1]])))
    assert set(counts[:5]) == {(20, 6, 4)}
    assert set(counts[5:]) - {(20, 6, 4)}
    assert len({splits[i].tobytes() for i in range(5)}) == 5


@pytest.mark.parametrize("random_state", [0, None, "instance"])
@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_a_stratified_split_stays_in_warm_starts(task, random_state, splits):
    X, y = unbalanced()
    y = {"multiclass": y, "binary": y > 0, "multilabel": np.stack([y > 0, y > 1], axis=1).astype(int)}[task]
    random_state = np.random.RandomState(0) if random_state == "instance" else random_state
    settings = {"early_stopping": True, "max_iter": 1, "random_state": random_state, "warm_start": True}
    net = own("classifier", validation_split="stratified", **settings).fit(X, y).fit(X, y)
    pickle.loads(pickle.dumps(net)).fit(X, y)
    assert len(splits) == 3
    assert all((held_out == splits[0]).all() for held_out in splits)
    if random_state != 0:  # a training that begins anew has a split of its own
        net.set_params(warm_start=False).fit(X, y)
        assert (splits[-1] != splits[0]).any()
    splits.clear()
    own("classifier", **settings).fit(X, y).fit(X, y)
    assert (splits[0] != splits[1]).any()  # as in scikit-learn


# ---- the interface


@pytest.mark.parametrize(("name", "value"), [("dropout", 0.5), ("input_dropout", 0.1), ("clip_norm", 1.0)])
@both
def test_lbfgs_has_none_of_single_steps(kind, name, value):
    net = own(kind, solver="lbfgs", **{name: value})
    with pytest.raises(ValueError, match=f"{name}={value} needs the solver 'sgd' or 'adam', not 'lbfgs'"):
        net.fit(*data(kind))
    assert not hasattr(net, "coefs_")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dropout", 1.0), ("dropout", -0.1), ("dropout", np.nan), ("input_dropout", "0.1"), ("label_smoothing", 1.0),
        ("class_weight", "equal"), ("clip_norm", 0.0), ("clip_norm", -1.0), ("penalty_scale", "sum"),
        ("validation_split", "random"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPClassifier must be"):
        own("classifier", **{name: value}).fit(*data("classifier"))


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ({0: -1.0}, r"class_weight must have finite weights >= 0, got \{0: -1.0\}"),
        ({0: np.nan}, "finite weights"),
        ({1: np.inf}, "finite weights"),
        ({0: 0, 1: 0, 2: 0}, "leaves no row a weight above 0"),
        ([{0: 1.0, 1: 2.0}], r"are not in class_weight"),
        ({0: 2.0, 7: 1.0}, r"The classes, \[1, 2\], are not in class_weight"),
    ],
)
def test_bad_class_weights_are_refused(class_weight, message):
    net = own("classifier", class_weight=class_weight)
    with pytest.raises(ValueError, match=message):
        net.fit(*data("classifier"))
    assert not hasattr(net, "coefs_")


@both
def test_sparse_rows(kind):
    """Hidden units are dropped as with dense ones; inputs are not."""
    X, y = data(kind)
    X[X < 0.5] = 0
    dense, sparse = (own(kind, **ALL_ON | {"input_dropout": 0.0}) for _ in range(2))
    assert bits(dense.fit(X, y)) == bits(sparse.fit(scipy_sparse.csr_matrix(X), y))
    refusing = own(kind, input_dropout=0.2)
    assert not refusing.__sklearn_tags__().input_tags.sparse
    for table in (scipy_sparse.csr_matrix(X), scipy_sparse.csc_matrix(X)):
        with pytest.raises(ValueError, match="input_dropout=0.2 needs a dense X, got a sparse one"):
            refusing.fit(table, y)
    assert not hasattr(refusing, "coefs_")
    np.testing.assert_array_equal(refusing.fit(X, y).predict(scipy_sparse.csr_matrix(X)), refusing.predict(X))


@both
def test_clones_and_pickles(kind):
    X, y = data(kind)
    net = own(kind, **ALL_ON)
    assert clone(net).get_params() == net.get_params()
    net.fit(X, y)
    other = pickle.loads(pickle.dumps(net))
    assert bits(net.partial_fit(X, y)) == bits(other.partial_fit(X, y))


@pytest.mark.parametrize("name", NEUTRAL)
@both
def test_scikit_learn_has_none_of_them(kind, name):
    X, y = data(kind)
    net = own(kind, **{name: ALL_ON[name]}).fit(X, y)
    theirs = getattr(original, type(net).__name__)
    assert {
        known: getattr(type(net).from_sklearn(theirs()), known) for known in net.get_params() if known in NEUTRAL
    } == {known: NEUTRAL[known] for known in net.get_params() if known in NEUTRAL}
    if name not in net.get_params():
        return
    with pytest.raises(ValueError, match=rf"scikit-learn's MLP.* has no {name}=.*set_params\({name}=.*\) first"):
        net.to_sklearn()
    net.set_params(**{name: NEUTRAL[name]})
    np.testing.assert_allclose(net.to_sklearn().predict(X), net.predict(X), rtol=1e-10)
