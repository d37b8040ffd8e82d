"""L2 against overfitting: a small noisy table, trained without and with it, data loss and objective apart.

Without it the training loss goes to zero while the validation loss climbs. With `L2(0.01)` on the weights
(biases stay free) the training loss ends a little higher, the validation loss lower, the gap between smaller.

Run it with `python examples/text_002_l2.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr

LAMBDA_REG = 0.01


def make_table():
    """60 training and 300 validation rows of 10 columns, two of which tell about the 3 noisy classes."""
    rng = np.random.RandomState(2)
    X = rng.randn(360, 10)
    rule = 2 * rng.randn(2, 3)
    y = np.argmax(X[:, :2] @ rule + rng.randn(360, 3), axis=1)
    return X[:60], y[:60], X[60:], y[60:]


def initial_weights(n_inputs=10, n_hidden=32, n_classes=3):
    """Weights of both layers, (inputs, units) each."""
    rng = np.random.RandomState(1)
    W1 = np.sqrt(2 / n_inputs) * rng.randn(n_inputs, n_hidden)
    W2 = np.sqrt(2 / n_hidden) * rng.randn(n_hidden, n_classes)
    return W1, W2


def train(lambda_reg, engine, epochs=500):
    """Train on the whole table at once; return the figures of every epoch and the weights at the end."""
    X, y, X_val, y_val = make_table()
    net = fr.Network(
        [fr.Dense(32, "relu"), fr.Dense(3)],
        loss="cross_entropy",
        penalties={"*.weight": fr.L2(lambda_reg)},
        dtype="float64",
        engine=engine,
    )
    net.build(n_inputs=10)
    net.parameters["0.weight"], net.parameters["1.weight"] = initial_weights()
    net.parameters["0.bias"], net.parameters["1.bias"] = np.zeros(32), np.zeros(3)
    history = net.fit(
        X,
        y,
        epochs=epochs,
        batch_size=len(X),
        optimizer=fr.SGD(0.5),
        validation=(X_val, y_val),
        shuffle=False,
    )
    figures = {name: np.array(history[name]) for name in ("loss", "penalty", "objective", "val_loss")}
    return figures | {name: value.copy() for name, value in net.parameters.items()}


def report(lambda_reg, figures):
    """Print a few epochs and what the training came to."""
    print(f"lambda_reg = {lambda_reg}")
    print("epoch  data loss  penalty    objective  val loss")
    for epoch in (1, 2, 10, 50, 100, 200, 500):
        row = (figures[name][epoch - 1] for name in ("loss", "penalty", "objective", "val_loss"))
        print(f"{epoch:5d}  " + "   ".join(f"{value:.6f}" for value in row))
    best = int(np.argmin(figures["val_loss"]))
    gap = figures["val_loss"][-1] - figures["loss"][-1]
    print(f"lowest val loss {figures['val_loss'][best]:.6f} at epoch {best + 1}; final gap {gap:.6f}\n")


def main(engine="compiled"):
    """Print both trainings; return their figures by strength."""
    results = {}
    for lambda_reg in (0.0, LAMBDA_REG):
        results[lambda_reg] = train(lambda_reg, engine)
        report(lambda_reg, results[lambda_reg])
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
