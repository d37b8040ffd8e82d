"""Early stopping: on the textbook's simulated curve, and on a training that overfits for real.

`EarlyStopping(...).on(values)` tells where a curve would have been stopped. In `fit` the same setting stops the
training and gives the network the weights of its best epoch. The training is text 002's: 60 rows, 10 columns, no
penalty.

Run it with `python examples/text_003_early_stopping.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr


def simulate_training(epochs, overfit_start=30):
    """Training and validation losses as the textbook simulates them, (epochs,) each."""
    e = np.arange(epochs)
    train_losses = 2.0 * np.exp(-e / 20) + 0.1
    val_losses = np.where(e < overfit_start, 2.0 * np.exp(-e / 25) + 0.2, 0.3 + 0.01 * (e - overfit_start))
    return train_losses, val_losses


def make_table():
    """60 training and 300 validation rows of 10 columns, two of which tell about the 3 noisy classes."""
    rng = np.random.RandomState(2)
    X = rng.randn(360, 10)
    rule = 2 * rng.randn(2, 3)
    y = np.argmax(X[:, :2] @ rule + rng.randn(360, 3), axis=1)
    return X[:60], y[:60], X[60:], y[60:]


def train(engine, callbacks):
    """Train for at most 200 epochs; return the history and the validation loss at the returned weights."""
    X, y, X_val, y_val = make_table()
    net = fr.Network([fr.Dense(32, "relu"), fr.Dense(3)], loss="cross_entropy", dtype="float64", seed=0, engine=engine)
    history = net.fit(
        X, y, epochs=200, batch_size=60, optimizer=fr.SGD(0.5), validation=(X_val, y_val), callbacks=callbacks
    )
    return history, net.evaluate(X_val, y_val)["loss"]


def print_table(train_losses, val_losses, best_epoch, epochs):
    """Print the textbook's table for some epochs, counted from 0."""
    print(f"{'Epoch':<8} {'Train':<10} {'Val':<10} Status")
    print("-" * 43)
    for e in epochs:
        overfits = e > best_epoch and val_losses[e] > 1.1 * val_losses[best_epoch]
        status = "BEST (save model)" if e == best_epoch else "overfitting" if overfits else ""
        print(f"{e:<8} {train_losses[e]:<10.4f} {val_losses[e]:<10.4f} {status}".rstrip())


def main(engine="compiled"):
    """Print both tables; return the simulated curve's losses and `Stop`, and the two trainings."""
    simulated = simulate_training(60)
    stop = fr.EarlyStopping(patience=10).on(simulated[1])
    print("The simulated curve")
    print_table(*simulated, stop.best_epoch, (0, 10, 20, 30, 40, 50, 59))
    print(f"Best epoch {stop.best_epoch}; with a patience of 10 training ends after epoch {stop.stop_epoch}\n")

    full, full_loss = train(engine, callbacks=[])
    stopped, stopped_loss = train(engine, callbacks=[fr.EarlyStopping(patience=10)])
    best, last = stopped.best_epoch, len(stopped["loss"]) - 1
    print("A real training")
    print_table(full["loss"], full["val_loss"], best, sorted({0, best // 2, best, last, 100, 150, 199}))
    print(f"Best epoch {best}; with a patience of 10 training ended after epoch {last}")
    print(f"Validation loss of the network: stopped {stopped_loss:.4f}, trained to the end {full_loss:.4f}")
    return {"simulated": simulated, "stop": stop, "full": (full, full_loss), "stopped": (stopped, stopped_loss)}


if __name__ == "__main__":
    main(*sys.argv[1:])
