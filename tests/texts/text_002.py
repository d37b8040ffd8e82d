"""Text 002 as a program: a vectorised two-layer NumPy training loop built round the text's own update lines.

The text gives four update lines and two lines that track the loss; they stand below as it prints them. What
it leaves to its earlier articles (table, forward and backward pass, validation) is added in plain NumPy.
Running this file trains with lambda_reg = 0 and with the text's 0.01; `text_002.txt` keeps what it prints.
"""

import numpy as np

LAMBDA_REG = 0.01
COLUMNS = ("data_loss", "reg_loss", "total_loss", "val_loss")


def make_table():
    """60 training and 300 validation rows of 10 columns, two of which tell about the 3 noisy classes."""
    rng = np.random.RandomState(2)
    X = rng.randn(360, 10)
    rule = 2 * rng.randn(2, 3)
    y = np.argmax(X[:, :2] @ rule + rng.randn(360, 3), axis=1)
    return X[:60], y[:60], X[60:], y[60:]


def initial_weights(n_inputs=10, n_hidden=32, n_classes=3):
    rng = np.random.RandomState(1)
    W1 = np.sqrt(2 / n_inputs) * rng.randn(n_inputs, n_hidden)
    W2 = np.sqrt(2 / n_hidden) * rng.randn(n_hidden, n_classes)
    return W1, np.zeros(n_hidden), W2, np.zeros(n_classes)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(lambda_reg=LAMBDA_REG, epochs=500, learning_rate=0.5):
    """Train on the whole table at once.

    Returns
    -------
    dict
        `data_loss`, `reg_loss`, `total_loss` (epochs,), each before its update; `val_loss` (epochs,), data
        loss of the validation rows after the update; `W1`, `b1`, `W2`, `b2` after training.
    """
    X, y, X_val, y_val = make_table()
    W1, b1, W2, b2 = initial_weights()
    n = len(X)
    history = []

    for _ in range(epochs):
        # Forward
        a1 = np.maximum(X @ W1 + b1, 0)
        probs = softmax(a1 @ W2 + b2)

        # Loss: data and regularization apart
        data_loss = -np.mean(np.log(probs[np.arange(n), y]))
        reg_loss = lambda_reg * (np.sum(W1**2) + np.sum(W2**2))
        total_loss = data_loss + reg_loss

        # Backward
        dz2 = probs.copy()
        dz2[np.arange(n), y] -= 1
        dz2 /= n
        dW2 = a1.T @ dz2
        db2 = dz2.sum(axis=0)
        dz1 = (dz2 @ W2.T) * (a1 > 0)
        dW1 = X.T @ dz1
        db1 = dz1.sum(axis=0)

        # Output Layer Update
        W2 -= learning_rate * (dW2 + 2 * lambda_reg * W2)
        b2 -= learning_rate * db2

        # Hidden Layer Update
        W1 -= learning_rate * (dW1 + 2 * lambda_reg * W1)
        b1 -= learning_rate * db1

        val_probs = softmax(np.maximum(X_val @ W1 + b1, 0) @ W2 + b2)
        val_loss = -np.mean(np.log(val_probs[np.arange(len(X_val)), y_val]))

        history.append((data_loss, reg_loss, total_loss, val_loss))

    figures = dict(zip(COLUMNS, np.array(history).T))
    return figures | {"W1": W1, "b1": b1, "W2": W2, "b2": b2}


def report(lambda_reg, figures):
    print(f"lambda_reg = {lambda_reg}")
    print("epoch  data_loss          reg_loss           total_loss         val_loss")
    for epoch in (1, 2, 10, 50, 100, 200, 500):
        print(f"{epoch:5d}  " + "  ".join(f"{figures[name][epoch - 1]:.15f}" for name in COLUMNS))
    best = int(np.argmin(figures["val_loss"]))
    gap = figures["val_loss"][-1] - figures["data_loss"][-1]
    print(f"lowest val_loss {figures['val_loss'][best]:.6f} at epoch {best + 1}; final gap {gap:.6f}\n")


if __name__ == "__main__":
    for strength in (0.0, LAMBDA_REG):
        report(strength, run(strength))
