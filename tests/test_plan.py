"""Lowering: what a network's plan holds, which layers are fused, and which networks are refused."""

import numpy as np
import pytest

from fastreg.initial import write_initial_weights
from fastreg.layers import Activation, Dense, Dropout
from fastreg.layout import Layout, Parameters, aligned_zeros
from fastreg.losses import BinaryCrossEntropy, CrossEntropy, SquaredError, as_loss
from fastreg.ops import NONE, OP, op, records
from fastreg.optimizers import SGD, Adam, AdamW
from fastreg.penalties import L1, L2
from fastreg.plan import lower

PRINTED = """\
plan: 81 parameters, float64, slots (9, 6, 6, 3, 6, 6)
forward
  noise               dropout              x=0 y=0 n_out=9 layer=0 rate=0.2
  dense               relu                 x=0 y=1 weight=0 bias=80 n_in=9 n_out=6 layer=1 rate=0.5
  activation          tanh                 x=1 y=2 n_out=6
  dense                                    x=2 y=3 weight=56 bias=88 n_in=6 n_out=3
loss
  loss                cross_entropy_labels y=3 dy=4 n_out=3 alpha=1
backward
  dense_backward                           x=2 y=3 dx=5 dy=4 weight=56 bias=88 n_in=6 n_out=3
  activation_backward tanh_gradient        x=1 y=2 dx=5 dy=5 n_out=6
  dense_backward      relu_gradient        x=0 y=1 dy=5 weight=0 bias=80 n_in=9 n_out=6 layer=1 rate=0.5 alpha=1
update
  penalty             l1                   start=0 stop=56 strength=0.001
  penalty             l2                   start=0 stop=56 strength=0.1 alpha=1
  update              sgd                  start=0 stop=56 strength=0.001
  prox                soft_threshold       start=0 stop=56 strength=0.001
  update              sgd                  start=56 stop=96"""


def plan_of(*layers, loss="squared_error", n_inputs=5, dtype="float64", **settings):
    return lower(layers, loss, n_inputs, dtype, **settings)


def segment(plan, name):
    return [(record["op"].decode(), record["kernel"].decode()) for record in getattr(plan, name)]


def test_printed():
    plan = plan_of(
        Dropout(0.2),
        Dense(6, "relu", weight_penalty=L1(1e-3) + L2(0.1)),
        Dropout(0.5),
        Activation("tanh"),
        Dense(3, "softmax"),
        loss="cross_entropy",
        n_inputs=9,
        optimizer=SGD(),
        labels=True,
    )
    assert str(plan) == PRINTED


# Fusing


def test_an_activation_behind_a_bare_dense_is_fused():
    apart, fused = plan_of(Dense(4), Activation("tanh"), Dense(2)), plan_of(Dense(4, "tanh"), Dense(2))
    assert str(apart) == str(fused)


def test_dropout_is_fused_behind_a_relu_alone():
    assert segment(plan_of(Dense(4, "relu"), Dropout(0.5), Dense(2)), "forward") == [
        ("dense", "relu"),
        ("dense", ""),
    ]
    plan = plan_of(Dense(4, "tanh"), Dropout(0.5), Dense(2))
    assert segment(plan, "forward") == [("dense", "tanh"), ("noise", "dropout"), ("dense", "")]
    assert segment(plan, "backward")[1:] == [("noise_backward", "dropout"), ("dense_backward", "tanh_gradient")]
    assert plan.forward["x"].tolist() == [0, 1, 2]
    assert plan.forward["y"].tolist() == [1, 2, 3]


def test_two_dropouts_have_two_layers_of_random_numbers():
    plan = plan_of(Dropout(0.1), Dense(4, "relu"), Dropout(0.5), Dropout(0.25), Dense(2))
    assert [layer for layer in plan.forward["layer"] if layer != NONE] == [0, 1, 2]
    rates = plan.forward["rate"]
    assert plan.scalars[rates[rates != NONE]].tolist() == [0.1, 0.5, 0.25]


def test_softmax_is_an_operation_of_its_own_in_place():
    plan = plan_of(Dense(4, "softmax"), Dense(2))
    assert segment(plan, "forward") == [("dense", ""), ("activation", "softmax"), ("dense", "")]
    assert plan.forward["x"].tolist() == [0, 1, 1]
    assert plan.forward["y"].tolist() == [1, 1, 2]


def test_an_activation_never_overwrites_what_the_way_back_needs():
    for before in (Dense(4, "tanh"), Activation("tanh"), Dropout(0.5)):
        forward = plan_of(before, Activation("softmax"), Dense(2)).forward
        assert forward[-2]["x"] != forward[-2]["y"]


def test_the_first_dense_needs_no_gradient_of_its_input():
    plan = plan_of(Activation("tanh"), Dropout(0.5), Dense(4), Dense(2))
    assert segment(plan, "backward") == [("dense_backward", "")] * 2
    assert (plan.backward["dx"] == NONE).tolist() == [False, True]


def test_gradients_take_turns_between_two_slots():
    plan = plan_of(*[Dense(4, "tanh")] * 3, Dense(2))
    assert plan.backward["dy"].tolist() == [5, 6, 5, 6]
    assert plan.backward["dx"].tolist() == [6, 5, 6, NONE]
    assert plan.slots == (5, 4, 4, 4, 2, 4, 4)


# Losses and last layers


@pytest.mark.parametrize(
    ("loss", "link"),
    [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid"), ("binary_cross_entropy", "logistic")],
)
def test_the_link_of_a_loss_is_part_of_it(loss, link):
    plain = str(plan_of(Dense(3), loss=loss))
    assert str(plan_of(Dense(3, link), loss=loss)) == plain
    assert str(plan_of(Dense(3), Activation(link), loss=loss)) == plain


def test_under_a_squared_error_they_are_real_layers():
    assert segment(plan_of(Dense(3, "softmax")), "forward") == [("dense", ""), ("activation", "softmax")]
    assert segment(plan_of(Dense(3, "sigmoid")), "forward") == [("dense", "sigmoid")]


@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        *(("cross_entropy", name) for name in ("relu", "leaky_relu", "tanh", "sigmoid")),
        *(("binary_cross_entropy", name) for name in ("relu", "tanh", "softmax")),
    ],
)
def test_a_last_activation_that_does_not_fit_is_refused(loss, activation):
    for layers in ([Dense(3, activation)], [Dense(3), Activation(activation)]):
        with pytest.raises(ValueError, match=f"'{activation}' on the last layer does not fit {loss}"):
            plan_of(*layers, loss=loss)


@pytest.mark.parametrize(
    ("loss", "labels", "kernel", "alpha"),
    [
        ("cross_entropy", True, b"cross_entropy_labels", 1),
        (CrossEntropy(), False, b"cross_entropy", 1),
        (BinaryCrossEntropy(), False, b"binary_cross_entropy", 1 / 4),
        (SquaredError(), False, b"squared_error", 1 / 4),
    ],
)
def test_loss_record(loss, labels, kernel, alpha):
    plan = plan_of(Dense(4), loss=loss, labels=labels)
    assert (plan.loss[0]["kernel"], plan.loss[0]["alpha"]) == (kernel, alpha)
    assert plan.labels is labels


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one Dense"),
        ([Dropout(0.5)], "at least one Dense"),
        ([Dense(3), Dropout(0.5)], r"Dropout\(rate=0.5\) stands last"),
        ([Dense(3), Dropout(0.5), Activation("softmax")], "stands last"),
        ([Dense(3), "relu"], r"layers\[1\] is 'relu', not a layer"),
        ([Dense], r"layers\[0\] is .* not a layer"),
        ([Dense(3, name="a"), Dense(2, name="a")], "two layers are called 'a'"),
        ([Dense(3, name="1"), Dense(2)], "two layers are called '1'"),
        ([Dense(1)], "at least 2 outputs"),
    ],
)
def test_no_network(layers, message):
    with pytest.raises(ValueError, match=message):
        plan_of(*layers, loss="cross_entropy")


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_only_cross_entropy_takes_labels(loss):
    with pytest.raises(ValueError, match=f"{loss} takes a float matrix"):
        plan_of(Dense(1), loss=loss, labels=True)


def test_losses_by_name():
    assert as_loss("cross_entropy") == CrossEntropy() == as_loss(CrossEntropy())
    with pytest.raises(ValueError, match="unknown loss 'cross_entrophy'; did you mean 'cross_entropy'?"):
        as_loss("cross_entrophy")
    with pytest.raises(ValueError, match="unknown loss 7; choose from 'cross_entropy', 'binary_cross_entropy'"):
        as_loss(7)


@pytest.mark.parametrize("dtype", ["float16", "int32", "flaot32", 3])
def test_dtypes_are_two(dtype):
    with pytest.raises(ValueError, match="dtype must be 'float32' or 'float64', got"):
        plan_of(Dense(1), dtype=dtype)


# The update segment


def spans(plan):
    names = plan.update["op"], plan.update["start"], plan.update["stop"]
    return [(name.decode(), start, stop) for name, start, stop in zip(*names, strict=True)]


def test_neighbours_with_equal_rules_are_one_range():
    plan = plan_of(Dense(4), Dense(2), optimizer=SGD())
    assert spans(plan) == [("update", 0, plan.layout.size)]


def test_decay_acts_on_weights_only():
    plan = plan_of(Dense(4), Dense(2), optimizer=AdamW(weight_decay=0.5))
    assert spans(plan) == [("update", 0, 32), ("update", 32, 48)]
    assert plan.scalars[plan.update["decay"][0]] == 0.5
    assert plan.update["decay"][1] == NONE


def test_order_within_a_range():
    plan = plan_of(Dense(4), optimizer=Adam(), penalties={"*": L1(1e-3) + L2(1) + L1(1e-4, "clip")})
    assert [record["op"] for record in plan.update] == [b"penalty"] * 3 + [b"update"] + [b"prox"] * 2
    assert plan.update["alpha"][:3].tolist() == [0, 1, 1]
    assert plan.scalars[plan.update[3]["strength"]] == 1e-3
    assert plan.update["kernel"][4:].tolist() == [b"soft_threshold", b"hard_threshold"]


def test_without_an_optimizer_penalties_are_left():
    plan = plan_of(Dense(4, weight_penalty=L1(1)))
    assert spans(plan) == [("penalty", 0, 24)]
    assert (plan.settings, plan.buffers) == ({}, 0)


@pytest.mark.parametrize(
    ("optimizer", "buffers"), [(SGD(), 0), (SGD(momentum=0.5), 1), (SGD(0.1, 0.9, True), 1), (AdamW(), 2)]
)
def test_optimizer(optimizer, buffers):
    plan = plan_of(Dense(4), optimizer=optimizer)
    assert plan.buffers == buffers
    assert plan.settings == optimizer.settings()
    assert "learning_rate" not in plan.settings


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (SGD, {"learning_rate": -1}, "learning_rate must be a finite number >= 0, got -1"),
        (SGD, {"momentum": 1.0}, r"momentum must be a number in \[0, 1\), got 1.0"),
        (SGD, {"nesterov": True}, "nesterov=True needs a momentum above 0"),
        (SGD, {"nesterov": 1, "momentum": 0.9}, "nesterov must be True or False, got 1"),
        (Adam, {"beta1": True}, r"beta1 must be a number in \[0, 1\), got True"),
        (Adam, {"epsilon": 0}, "epsilon must be a finite number > 0, got 0"),
        (AdamW, {"weight_decay": np.nan}, "weight_decay must be a finite number >= 0, got nan"),
    ],
)
def test_optimizer_settings_are_checked(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


# Layers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(3, "reul"), "unknown activation 'reul'; did you mean 'relu'?"),
        (lambda: Dense(3, None), "unknown activation None; choose from 'identity', 'relu'"),
        (lambda: Activation("relu", leak=0.2), "leak belongs to 'leaky_relu'; 'relu' has none"),
        (lambda: Activation("leaky_relu", leak=0), "leak must be a finite number > 0, got 0"),
        (lambda: Dropout(1.0), r"rate must be a number in \[0, 1\), got 1.0"),
        (lambda: Dropout(True), r"rate must be a number in \[0, 1\), got True"),
        (lambda: Dense(0), "units must be an integer >= 1, got 0"),
        (lambda: Dense(2.0), "units must be an integer >= 1, got 2.0"),
        (lambda: Dense(True), "units must be an integer >= 1, got True"),
        (lambda: Dense(3, name="a.b"), r"name must be a text without any of \. \* \? \[ \], got 'a.b'"),
        (lambda: Dense(3, init="he_unifrom"), "unknown init 'he_unifrom'; did you mean 'he_uniform'?"),
        (lambda: Dense(3, init={}), "init must be a scheme's name, an array or a callable, got {}"),
    ],
)
def test_layer_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_are_values():
    assert Dense(3, "linear") == Dense(3)
    assert Dense(np.int64(3), Activation("logistic")) == Dense(3, "sigmoid")
    assert hash(Dense(3, init=np.ones((2, 3)))) == hash(Dense(3))
    assert Dense(3, weight_penalty=0).weight_penalty is None


# Layout and parameters


@pytest.mark.parametrize(("dtype", "step"), [("float32", 16), ("float64", 8)])
def test_fields_are_aligned_weights_first(dtype, step):
    layout = plan_of(Dense(3), Dense(7, name="out"), dtype=dtype).layout
    assert layout.names == ("0.weight", "out.weight", "0.bias", "out.bias")
    assert all(field.start % step == 0 for field in layout.fields)
    assert layout.size % step == 0
    assert layout.n_parameters == 5 * 3 + 3 * 7 + 3 + 7
    assert all(a.stop <= b.start for a, b in zip(layout.fields, layout.fields[1:]))


def test_parameters_are_views():
    layout = Layout.arrange({"0.weight": (3, 2), "0.bias": (2,)}, "float32")
    buffer = aligned_zeros(layout.size, "float32")
    parameters = Parameters(layout, buffer)
    parameters["0.weight"] = [[1, 2], [3, 4], [5, 6]]
    parameters["0.bias"][:] = 7
    assert buffer.tolist() == [1, 2, 3, 4, 5, 6, *[0] * 10, 7, 7, *[0] * 14]
    assert list(parameters) == ["0.weight", "0.bias"]
    assert repr(parameters) == "Parameters({'0.weight': (3, 2), '0.bias': (2,)})"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3)), r"'w' has shape \(3, 2\), the new values \(2, 3\)"),
        (np.full((3, 2), np.nan), "'w' contain NaN or infinity"),
        (np.full((3, 2), 1e300), "'w' contain NaN or infinity in float32"),
    ],
)
def test_parameters_refuse_and_keep_what_they_have(values, message):
    layout = Layout.arrange({"w": (3, 2)}, "float32")
    parameters = Parameters(layout, aligned_zeros(layout.size, "float32"))
    with pytest.raises(ValueError, match=message):
        parameters["w"] = values
    assert not parameters["w"].any()
    with pytest.raises(KeyError, match="no parameter is called 'v'; there are w"):
        parameters["v"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_aligned_zeros(size):
    for _ in range(20):
        zeros = aligned_zeros(size, "float32")
        assert zeros.shape == (size,)
        assert zeros.ctypes.data % 64 == 0


def test_op_fills_in_what_is_not_named():
    (record,) = records([op("dense", x=0, y=1, kernel="relu")])
    assert record.dtype == OP
    assert (record["op"], record["kernel"], record["x"], record["dx"]) == (b"dense", b"relu", 0, NONE)
    assert (record["accumulate"], record["alpha"]) == (0, 0)
    with pytest.raises(KeyError, match="an operation has no field z"):
        op("dense", z=1)


# Initial weights


def initial(layers, seed=0, n_inputs=50):
    plan = lower(layers, "squared_error", n_inputs, "float64")
    buffer = np.full(plan.layout.size, np.nan)
    write_initial_weights(buffer, plan, layers, seed=seed)
    return plan.layout.views(buffer)


@pytest.mark.parametrize(
    ("layers", "bound"),
    [
        ([Dense(40, "relu")], np.sqrt(6 / 50)),
        ([Dense(40), Activation("relu")], np.sqrt(6 / 50)),
        ([Dense(40, "tanh")], np.sqrt(6 / 90)),
        ([Dense(40, "tanh", init="he_uniform")], np.sqrt(6 / 50)),
        ([Dense(40, init="lecun_uniform")], np.sqrt(3 / 50)),
        ([Dense(40, init="zeros")], 0),
    ],
)
def test_initial_weights_are_uniform(layers, bound):
    views = initial(layers)
    weight = views["0.weight"]
    assert abs(weight).max() <= bound
    assert abs(weight).max() >= 0.99 * bound
    assert abs(weight.mean()) <= 4 * bound / np.sqrt(3 * weight.size)
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert not views["0.bias"].any()


def test_initial_weights_depend_on_seed_and_layer_alone():
    one, other = initial([Dense(50), Dense(50)]), initial([Dense(50), Dense(50)], seed=2**63 + 1)
    np.testing.assert_array_equal(one["0.weight"], initial([Dense(50)])["0.weight"])
    assert (one["0.weight"] != one["1.weight"]).all()
    assert (one["0.weight"] != other["0.weight"]).all()


def test_initial_weights_given():
    given = np.arange(100.0).reshape(50, 2)
    layer = Dense(2, init=given)
    given[:] = 0  # the layer has its own copy
    np.testing.assert_array_equal(initial([layer])["0.weight"].ravel(), np.arange(100.0))
    drawn = initial([Dense(2, init=lambda shape, uniform: uniform(shape))])["0.weight"]
    assert (drawn >= 0).all()
    assert (drawn < 1).all()


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.ones((2, 50)), r"init of layer 0 has shape \(2, 50\), its weights have \(50, 2\)"),
        (np.full((50, 2), np.inf), "init of layer 0 contains NaN or infinity"),
        (lambda shape, uniform: uniform(3), r"shape \(3,\)"),
    ],
)
def test_initial_weights_that_do_not_fit(init, message):
    with pytest.raises(ValueError, match=message):
        initial([Dense(2, init=init)])
