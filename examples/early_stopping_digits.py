"""A regularized network on scikit-learn's handwritten digits, stopped where its validation loss is lowest.

Input dropout, L1 + L2 on the first weights, Nesterov's momentum; 1,797 images of 8 x 8, a third of them kept
for validation. Early stopping gives back the weights of the best epoch, whatever ended the training.

Run it with `python examples/early_stopping_digits.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr


def load():
    """Training and validation part: X (n, 64) in [0, 1], y (n,) the digit."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("This example reads the digits of scikit-learn: pip install scikit-learn")
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype("float32")
    order = np.random.default_rng(0).permutation(len(X))
    train, val = order[600:], order[:600]
    return X[train], y[train], X[val], y[val]


def main(engine="compiled"):
    """Train and print; return the history and the validation accuracy."""
    X, y, X_val, y_val = load()

    net = fr.Network(
        [fr.Dropout(0.2), fr.Dense(64, "relu", weight_penalty=fr.L1(1e-5) + fr.L2(1e-4)), fr.Dense(10)],
        loss="cross_entropy",
        dtype="float32",
        seed=0,
        engine=engine,
    )
    history = net.fit(
        X,
        y,
        epochs=300,
        batch_size=32,
        optimizer=fr.SGD(0.05, momentum=0.9, nesterov=True),
        validation=(X_val, y_val),
        callbacks=[fr.EarlyStopping(patience=10)],
        n_threads=1,
    )

    accuracy = float(np.mean(net.predict(X_val) == y_val))
    best = history.best_epoch
    print(f"stopped after {len(history['loss'])} epochs, best was epoch {best + 1}")
    print(f"training, with dropout: data loss {history['loss'][best]:.4f}, ", end="")
    print(f"objective {history['objective'][best]:.4f}")
    print(f"validation: data loss {history['val_loss'][best]:.4f}, accuracy {accuracy:.4f}")
    print(f"weights that are exactly zero: {int(np.sum(net.parameters['0.weight'] == 0))} of {64 * 64}")
    return history, accuracy


if __name__ == "__main__":
    main(*sys.argv[1:])
