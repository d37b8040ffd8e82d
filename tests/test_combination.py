"""Everything at once: layers, noise, augmentations, mixing, losses, schedules, clipping and averages in one training.

The same bits for any number of threads and instruction level with FMA hardware, and after any interruption; the NumPy
engine to rounding. Run as a program, this file prints how many trainings had how many hashes.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr

THREADS = (1, 2, 3, 4, 8)
LEVELS = [level for level, runs in fr.show_config("dict")["levels"].items() if runs and level != "baseline"]
DTYPES = ("float32", "float64")
ROWS, SHAPE, CLASSES = 300, (8, 8), 10
OPTIMIZERS = {
    "nesterov": fr.SGD(
        0.05, momentum=0.9, nesterov=True, schedule=fr.OneCycle(), clip_norm=1.0, average=fr.EMA(0.9)
    ),
    "adamw": fr.AdamW(
        0.005, weight_decay=0.01, schedule=fr.Warmup(then=fr.Cosine()), clip_value=0.2, average=fr.EMA(0.9)
    ),
}  # fmt: skip


def data():
    rng = np.random.default_rng(0)
    X = rng.random((ROWS, 64))
    y = (X.reshape(ROWS, 8, 8).sum(axis=2)[:, :, None] * rng.normal(size=(8, CLASSES))).sum(axis=1).argmax(axis=1)
    return X, y, rng.random(ROWS) + 0.1


def augmentations():
    return [
        fr.RandomFlip(0.5, 0.5, shape=SHAPE), fr.RandomRotate90(shape=SHAPE), fr.RandomShift(1, shape=SHAPE),
        fr.RandomCrop(1, shape=SHAPE), fr.CenterCrop(0.8, shape=SHAPE), fr.Cutout(2, shape=SHAPE),
        fr.Brightness(0.2, shape=SHAPE), fr.Contrast(0.2, shape=SHAPE), fr.PixelNoise(0.05, shape=SHAPE),
        fr.RandAugment(2, 5, shape=SHAPE), fr.Mixup(0.2, probability=0.5),
        fr.CutMix(1.0, probability=0.5, shape=SHAPE), own_augmentation,
    ]  # fmt: skip


def own_augmentation(X, y, rng):
    return X + 0.01 * rng.standard_normal(X.shape), y


def network(optimizer, dtype="float32", engine="compiled"):
    decay = fr.L2(1e-4) if optimizer == "adamw" else fr.WeightDecay(0.01, schedule=fr.FlatCosine())
    block = [
        fr.LayerNorm(), fr.Dense(192, "selu", weight_penalty=decay),
        fr.MultiplicativeNoise(0.1), fr.DropConnect(0.1), fr.Dense(192),
    ]  # fmt: skip
    layers = [
        fr.SwapNoise(0.05), fr.FeatureMask(0.05), fr.GaussianNoise(0.05), fr.Dropout(0.1, schedule=fr.FlatCosine()),
        fr.Dense(192, weight_penalty=fr.L1(1e-4) + fr.L2(1e-4)), fr.BatchNorm(), fr.Activation("relu"),
        fr.Dropout(0.2), fr.Residual(block, drop_path=0.2), fr.Dense(CLASSES),
    ]  # fmt: skip
    loss = fr.CrossEntropy(label_smoothing=0.1, schedule=fr.Cosine())
    penalties = {"*.bias": 0, "4.weight": fr.ElasticNet(1e-5, 1e-4)}
    return fr.Network(layers, loss=loss, penalties=penalties, dtype=dtype, seed=5, engine=engine)


def settings(optimizer, callbacks=()):
    X, y, weights = data()
    callbacks = [fr.EarlyStopping(patience=4), fr.ReduceOnPlateau(patience=1), *callbacks]
    return {
        "epochs": 6, "batch_size": 128, "optimizer": OPTIMIZERS[optimizer], "validation": (X[:50], y[:50]),
        "metrics": ["accuracy", "log_loss"], "sample_weight": weights, "class_weight": "balanced",
        "augment": augmentations(), "callbacks": callbacks,
    }  # fmt: skip


def digest(net, history):
    """All that a training leaves: parameters, averages and moments, history, predictions with noise."""
    found = hashlib.sha256()
    state, (X, _, _) = net._state, data()
    for array in (net._model.weights, state.buffers, state.scalars, net.predict_proba(X, samples=3)):
        found.update(np.ascontiguousarray(array))
    columns = {name: list(map(float, values)) for name, values in history.items() if name != "seconds"}
    found.update(json.dumps(columns).encode())
    return found.hexdigest()


def trained(optimizer, n_threads=None, callbacks=(), **kind):
    X, y, _ = data()
    net = network(optimizer, **kind)
    return net, net.fit(X, y, n_threads=n_threads, **settings(optimizer, callbacks))


def hashes():
    """Return the hashes of all trainings at this process's level by configuration."""
    return {
        f"{optimizer} {dtype}": [digest(*trained(optimizer, n, dtype=dtype)) for n in THREADS]
        for optimizer in OPTIMIZERS
        for dtype in DTYPES
    }


def of_levels():
    """Return what `hashes` says at each level, each in a process of its own."""
    found = {}
    for level in LEVELS:
        env = os.environ | {"FASTREG_ISA": level, "PYTHONPATH": str(Path(fr.__file__).parents[1])}
        command = [sys.executable, str(Path(__file__).resolve()), "--one-level"]
        answer = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stderr
        found[level] = json.loads(answer.stdout)
    return found


@pytest.mark.skipif(not LEVELS, reason="the baseline is the only level here")
def test_the_bits_do_not_depend_on_threads_and_level():
    found = of_levels()
    for name in found[LEVELS[0]]:
        assert len({bits for level in LEVELS for bits in found[level][name]}) == 1, name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_engines_agree(optimizer):
    compiled, _ = trained(optimizer, dtype="float64")
    reference, _ = trained(optimizer, dtype="float64", engine="reference")
    for name, values in compiled.parameters.items():
        np.testing.assert_allclose(values, reference.parameters[name], rtol=1e-9, atol=1e-9, err_msg=name)


class Stop:
    """Cancels the training after so many steps."""

    def __init__(self, steps):
        self.every_steps = steps

    def start(self, run):
        return self

    def after_steps(self, run):
        if run.step == self.every_steps:
            run.cancel()


@pytest.mark.parametrize("steps", [1, 4, 7])  # of 3 an epoch: within one, and after some
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_has_the_bits_of_the_whole(optimizer, steps, tmp_path):
    X, y, _ = data()
    path = tmp_path / "all.frg"
    whole = digest(*trained(optimizer))
    _, stopped = trained(optimizer, callbacks=[Stop(steps), fr.Checkpoint(path, unit="steps")])
    assert stopped.ended == "cancelled"
    given = settings(optimizer)
    rest = {name: given[name] for name in ("validation", "metrics", "sample_weight", "class_weight", "augment")}
    for n_threads in (1, 3):
        callbacks = [*given["callbacks"], Stop(10**6)]  # a file knows the names of callbacks that it cannot hold
        net, history = fr.resume(path, X, y, callbacks=callbacks, n_threads=n_threads, **rest)
        assert digest(net, history) == whole


def test_a_saved_network_trains_on_in_the_same_bits(tmp_path):
    X, y, _ = data()
    net, _ = trained("nesterov")
    fr.save(net, tmp_path / "all.frg")
    again = fr.load(tmp_path / "all.frg")
    outcomes = [digest(one, one.fit(X, y, **settings("nesterov"))) for one in (net, again)]
    assert outcomes[0] == outcomes[1]


if __name__ == "__main__":
    if "--one-level" in sys.argv:
        print(json.dumps(hashes()))
    else:
        levels = of_levels()
        for name in levels[LEVELS[0]]:
            every = [bits for level in LEVELS for bits in levels[level][name]]
            print(f"{name}: {len(every)} trainings ({', '.join(LEVELS)}; {THREADS} threads), {len(set(every))} hash")
