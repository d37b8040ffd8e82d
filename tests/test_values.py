"""Values in files: every layer, penalty, loss and optimizer comes back equal; nothing else goes in or out."""

import json
from dataclasses import MISSING, fields

import numpy as np
import pytest

import fastreg as fr
from fastreg import layers, losses, optimizers, penalties, strict
from fastreg.values import HOMES, KINDS, decode, encode

EXAMPLES = [
    fr.Activation("leaky_relu", 0.2),
    fr.Dense(3),
    fr.Dense(
        7, "tanh", weight_penalty=fr.L1(0.1, "clip") + fr.L2(1e-320), bias_penalty=fr.L2(3.0), init="zeros", name="é"
    ),
    fr.Dense(2, init=np.array([[0.1, -0.0], [1e-310, 3.0]])),
    fr.Residual([fr.BatchNorm(name="norm"), fr.Dense(3, "selu"), fr.Residual([fr.LayerNorm()], 0.25)], drop_path=0.5),
    fr.CrossEntropy(),
    fr.BinaryCrossEntropy(),
    fr.SquaredError(),
    fr.SGD(0.1 + 0.2, momentum=0.9, nesterov=True),
    fr.Adam(),
    fr.Adam(epsilon_hat=True),
    fr.AdamW(epsilon=1 / 3),
    fr.L1(0.1),
    fr.ElasticNet(0.1, 0.2),
]


def guessed(kind):
    """A value of a kind whose required settings are numbers; others need a line in EXAMPLES."""
    required = [f for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]
    return kind(**{f.name: {float: 0.25, int: 3}[f.type] for f in required})


SHOWN = {type(value) for value in EXAMPLES}
VALUES = EXAMPLES + [guessed(kind) for kind in KINDS.values() if kind not in SHOWN]


def through_a_file(value):
    """Encode, write as JSON, parse and decode."""
    tensors = {}
    text = json.dumps(encode(value, tensors, "value"), allow_nan=False).encode()
    result = decode(strict.parse(text), tensors, "value")
    assert tensors == {}
    return result


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_value_comes_back(value):
    back = through_a_file(value)
    assert back == value
    assert repr(back) == repr(value)
    if isinstance(value, fr.Dense) and isinstance(value.init, np.ndarray):
        assert back.init.tobytes() == value.init.tobytes()


def test_every_public_class_of_the_homes_is_a_kind():
    public = [value for value in map(fr.__getattr__, fr.__all__) if isinstance(value, type)]
    homes = [home.__name__ for home in HOMES]
    missing = [value for value in public if value.__module__ in homes and KINDS.get(value.__name__) is not value]
    assert missing == []
    assert len(KINDS) > 10


def test_no_two_kinds_share_a_name():
    names = [
        name
        for home in HOMES
        for name, value in vars(home).items()
        if isinstance(value, type) and value.__module__ == home.__name__
    ]
    assert len(names) == len(set(names))


class Custom(fr.Dense):
    """Somebody's own layer."""


@pytest.mark.parametrize(
    "value", [Custom(3), fr.Dense(3, init=lambda shape, u: u(shape)), object(), {1: 2}, {3}, b"", 1j]
)
def test_what_is_not_fastregs_own_is_named(value):
    with pytest.raises(ValueError, match=r"layers\[0\](.init)? is .* cannot be saved"):
        encode([value], {}, "layers")


L1 = {"kind": "L1", "strength": 0.1, "method": "proximal"}
DENSE = {"kind": "Dense", "units": 3}


@pytest.mark.parametrize(
    ("value", "home", "message"),
    [
        ({}, layers, "value must be one of Activation, Dropout, .*Dense, .*, got {}"),
        ([], layers, "value must be one of"),
        (None, losses, "value must be one of CrossEntropy"),
        (L1, layers, "value must be one of Activation, Dropout, .*Dense, .*, got {'kind': 'L1'"),
        (L1, optimizers, "value must be one of SGD, Adam, AdamW"),
        ({"kind": ["L1"]}, penalties, "value must be one of"),
        ({"kind": "os.system"}, None, "value.kind is 'os.system', which this version does not know"),
        ({"kind": "Custom"}, None, "value.kind is 'Custom'"),
        ({"kind": None}, None, "value.kind is None"),
        ({"kind": 1}, None, "value.kind is 1"),
        (L1 | {"power": 2}, None, "value: L1 has no 'power' in this version"),
        ({"kind": "L1"}, None, "value: .*strength"),
        (L1 | {"strength": True}, None, "value: L1 strength must be a finite number >= 0, got True"),
        (L1 | {"strength": "1"}, None, "value: L1 strength"),
        (L1 | {"strength": None}, None, "value: L1 strength"),
        (L1 | {"strength": [1.0]}, None, "value: L1 strength"),
        (L1 | {"strength": -1.0}, None, "value: L1 strength"),
        (L1 | {"method": "x"}, None, "value: unknown L1 method 'x'"),
        (DENSE | {"units": True}, None, "value: units must be an integer >= 1, got True"),
        (DENSE | {"units": 3.0}, None, "value: units"),
        (DENSE | {"units": 0}, None, "value: units"),
        (DENSE | {"activation": L1}, None, "value: unknown activation"),
        (DENSE | {"activation": {"kind": "Activation", "name": 3}}, None, "value.activation: unknown activation 3"),
        (DENSE | {"weight_penalty": DENSE}, None, "value: weight_penalty must be a penalty"),
        (DENSE | {"init": L1}, None, "value: init must be"),
        (DENSE | {"init": None}, None, "value: init must be"),
        (DENSE | {"init": {"kind": "array", "tensor": "w"}}, None, "value.init names no tensor of the file"),
        (DENSE | {"init": {"kind": "array", "tensor": 1}}, None, "value.init names no tensor of the file"),
        (DENSE | {"name": "a*"}, None, "value: name must be"),
        ({"kind": "Sum", "parts": [L1, DENSE]}, None, "value: parts must be a tuple of penalties"),
        ({"kind": "Sum", "parts": 3}, None, "value: parts must be a tuple of penalties"),
        (
            {"kind": "Activation", "name": "linear"},
            None,
            "value.name is 'linear', which Activation takes as 'identity'",
        ),
        (DENSE | {"activation": "relu"}, None, "value.activation is 'relu', which Dense takes as Activation"),
        (DENSE | {"init": [[1.0]]}, None, "value.init is "),
        (DENSE | {"bias_penalty": 0}, None, "value.bias_penalty is 0, which Dense takes as None"),
        ({"kind": "SGD", "nesterov": 1}, None, "value: nesterov must be True or False"),
    ],
)
def test_what_nobody_encoded_is_refused(value, home, message):
    with pytest.raises(ValueError, match=message):
        decode(value, {}, "value", home)


def test_an_array_stands_for_one_value_only():
    array = {"kind": "array", "tensor": "array.0"}
    with pytest.raises(ValueError, match=r"value\[1\] names no tensor"):
        decode([array, array], {"array.0": np.zeros(2)}, "value")
