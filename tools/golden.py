"""Make the golden files: models and checkpoints as this version writes them, which every later one must read.

    python tools/golden.py

They go to tests/golden/<version of the format>, and beside them, as NumPy arrays, what models predict, and what they
predict after two more epochs; for checkpoints the data, and what the training ends with when it is resumed. Those that
are there already stay: files of a released version never change. Run it where there is FMA (AVX2, AVX-512, NEON), whose
bits are the same; `tests/test_golden.py` reads them.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastreg as fr
import fuzz_files
from fastreg.container import VERSION

FOLDER = Path(__file__).parents[1] / "tests" / "golden"


def table(rows, columns):
    """Numbers that need no generator: eighths from -11/8 to 11/8."""
    return (np.arange(rows * columns).reshape(rows, columns) * 37 % 23 - 11) / 8


X = table(40, 6)
LABELS = np.arange(40) * 7 % 5 % 3
ELASTIC = fr.L1(1e-3) + fr.L2(1e-3)


@dataclass(frozen=True)
class Golden:
    """A network, and what it was and will be trained with."""

    network: fr.Network
    y: np.ndarray
    optimizer: Any

    def fit(self, network):
        network.fit(X, self.y, epochs=2, batch_size=7, optimizer=self.optimizer)


def networks():
    """Return the networks by name, not yet trained."""
    layers = [fr.Dropout(0.1), fr.Dense(8, "relu", weight_penalty=ELASTIC), fr.Dropout(0.2), fr.Dense(3)]
    classifier = fr.Network(layers, loss="cross_entropy", seed=1, penalties={"*.bias": fr.L2(0.01)})
    clipped = fr.L1(1e-3, "clip")
    layers = [
        fr.Dense(7, "tanh", init=table(6, 7)),
        fr.Dense(5, "sigmoid", name="énc", bias_penalty=clipped),
        fr.Dense(1),
    ]
    regressor = fr.Network(layers, loss="squared_error", dtype="float64", seed=2**64 - 1)
    layers = [fr.Dense(6, fr.Activation("leaky_relu", 0.2)), fr.Activation("softmax"), fr.Dense(2, "sigmoid")]
    binary = fr.Network(layers, loss="binary_cross_entropy", seed=3)
    linear = fr.Network([fr.Dense(3, init="zeros")], loss="cross_entropy", dtype="float64", seed=0)
    return {
        "classifier": Golden(classifier, LABELS, fr.AdamW(0.01)),
        "regressor": Golden(regressor, X[:, 0], fr.SGD(0.01, momentum=0.9, nesterov=True)),
        "binary": Golden(binary, (X[:, :2] > 0) * 1.0, fr.Adam(0.01)),
        "linear": Golden(linear, LABELS, fr.SGD(0.1)),
    }


# Amid an epoch with early stopping, and between two; with dropout, L1 and L2, sample weights and a validation set.
TRAININGS = {"checkpoint-stopping": fuzz_files.TRAININGS[0], "checkpoint-nesterov": fuzz_files.TRAININGS[1]}


def resume(checkpoint, data):
    """Resume the training of a checkpoint, its bytes, with the arrays of `data`; return what it ends with, by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.frg"  # what is resumed goes on writing
        path.write_bytes(checkpoint)
        validation = data["X_val"], data["y_val"]
        net, history = fr.resume(path, data["X"], data["y"], validation=validation, sample_weight=data["sample_weight"])
    ended = {f"history.{name}": np.array(values) for name, values in history.items() if name != "seconds"}
    ended |= {f"parameters.{name}": array for name, array in net.parameters.items()}
    state = net._state
    counts = np.array([state.epoch, state.step, history.n_epochs, history.best_epoch])
    return ended | {"counts": counts, "memory": state.buffers, "scalars": state.scalars}


def write_checkpoint(path, training):
    """Write a checkpoint, and beside it data and end of its training."""
    tables = fuzz_files.tables()
    X_val, y_val = tables.pop("validation")
    data = tables | {"X_val": X_val, "y_val": y_val}
    path.write_bytes(fuzz_files.checkpoint_of(*training))
    np.savez(path.with_suffix(".npz"), **data, **resume(path.read_bytes(), data))


def main():
    folder = FOLDER / str(VERSION)
    folder.mkdir(parents=True, exist_ok=True)
    for name, training in TRAININGS.items():
        path = folder / f"{name}.frg"
        if not path.exists():
            write_checkpoint(path, training)
            print(f"{path.name}: {path.stat().st_size:,} bytes")
    for name, golden in networks().items():
        path = folder / f"{name}.frg"
        if path.exists():
            print(f"{path.name} is there already")
            continue
        golden.fit(golden.network)
        fr.save(golden.network, path)
        now = golden.network.forward(X)
        golden.fit(golden.network)
        np.savez(path.with_suffix(".npz"), now=now, later=golden.network.forward(X))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
