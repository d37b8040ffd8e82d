"""Somebody's NumPy training loop, its inner lines replaced by fastreg's kernels one at a time.

No network, no plan: the loop stays the user's own. Each NumPy line below stands beside the kernel that can
take its place. The kernels write into arrays that exist already, so once all are replaced the loop allocates
none. After each replacement the loop trains again, and the figures stay the same to rounding.

Run it with `python examples/numpy_loop_with_kernels.py`; an argument `reference` takes the NumPy twins.
"""

import sys

import numpy as np

LAMBDA_REG = 0.01
LEARNING_RATE = 0.5
KERNELS = (
    "gemm_nn",
    "relu",
    "cross_entropy_labels",
    "gemm_tn",
    "column_sum",
    "gemm_nt",
    "relu_gradient",
    "l2",
    "sgd",
)


def make_table():
    """60 rows of 10 columns, of which two say something about the 3 noisy classes."""
    rng = np.random.RandomState(2)
    X = rng.randn(360, 10)
    rule = 2 * rng.randn(2, 3)
    y = np.argmax(X[:, :2] @ rule + rng.randn(360, 3), axis=1)
    return X[:60], y[:60].astype(np.int32)


def initial_weights(n_inputs=10, n_hidden=32, n_classes=3):
    """W1 (inputs, hidden), b1, W2 (hidden, classes), b2."""
    rng = np.random.RandomState(1)
    W1 = np.sqrt(2 / n_inputs) * rng.randn(n_inputs, n_hidden)
    W2 = np.sqrt(2 / n_hidden) * rng.randn(n_hidden, n_classes)
    return W1, np.zeros(n_hidden), W2, np.zeros(n_classes)


def train(k, replaced, epochs=200):
    """Train with the kernels of `k` that `replaced` names; return losses (epochs, 2), W1, b1, W2, b2."""
    X, y = make_table()
    W1, b1, W2, b2 = initial_weights()
    n = len(X)
    z1, a1, dz1 = np.empty((3, n, len(b1)))
    z2, dz2 = np.empty((2, n, len(b2)))
    dW1, db1, dW2, db2 = (np.empty_like(p) for p in (W1, b1, W2, b2))
    losses = np.empty((epochs, 2))  # data_loss, reg_loss

    for epoch in range(epochs):
        # Forward, hidden layer
        if "gemm_nn" in replaced:
            k.gemm_nn(z1, X, W1, b1)
        else:
            z1 = X @ W1 + b1

        if "relu" in replaced:
            k.relu(a1, z1)
        else:
            a1 = np.maximum(z1, 0)

        # Forward, output layer
        if "gemm_nn" in replaced:
            k.gemm_nn(z2, a1, W2, b2)
        else:
            z2 = a1 @ W2 + b2

        # Loss and its gradient: softmax and cross-entropy in one
        if "cross_entropy_labels" in replaced:
            data_loss = k.cross_entropy_labels(dz2, z2, y, scale=1 / n) / n
        else:
            probs = np.exp(z2 - z2.max(axis=1, keepdims=True))
            probs /= probs.sum(axis=1, keepdims=True)
            data_loss = -np.mean(np.log(probs[np.arange(n), y]))
            dz2 = probs
            dz2[np.arange(n), y] -= 1
            dz2 /= n

        # Backward, output layer
        if "gemm_tn" in replaced:
            k.gemm_tn(dW2, a1, dz2)
        else:
            dW2 = a1.T @ dz2

        if "column_sum" in replaced:
            k.column_sum(db2, dz2)
        else:
            db2 = dz2.sum(axis=0)

        if "gemm_nt" in replaced:
            k.gemm_nt(dz1, dz2, W2)
        else:
            dz1 = dz2 @ W2.T

        # Backward, hidden layer
        if "relu_gradient" in replaced:
            k.relu_gradient(dz1, dz1, a1)
        else:
            dz1 = dz1 * (a1 > 0)

        if "gemm_tn" in replaced:
            k.gemm_tn(dW1, X, dz1)
        else:
            dW1 = X.T @ dz1

        if "column_sum" in replaced:
            k.column_sum(db1, dz1)
        else:
            db1 = dz1.sum(axis=0)

        # Penalty on the weights, its gradient added to dW
        if "l2" in replaced:
            reg_loss = k.l2(W1, LAMBDA_REG, dW1) + k.l2(W2, LAMBDA_REG, dW2)
        else:
            reg_loss = LAMBDA_REG * (np.sum(W1**2) + np.sum(W2**2))
            dW1 += 2 * LAMBDA_REG * W1
            dW2 += 2 * LAMBDA_REG * W2

        # Update
        for parameter, gradient in ((W2, dW2), (b2, db2), (W1, dW1), (b1, db1)):
            if "sgd" in replaced:
                k.sgd(parameter, gradient, learning_rate=LEARNING_RATE)
            else:
                parameter -= LEARNING_RATE * gradient

        losses[epoch] = data_loss, reg_loss

    return losses, W1, b1, W2, b2


def difference(figures, wanted):
    """Greatest difference of two trainings, relative to the largest number of each array."""
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(figures, wanted, strict=True))


def main(engine="compiled"):
    """Replace one line after the other; return the plain figures; then name, figures, difference of each."""
    if engine == "reference":
        from fastreg import reference as k
    else:
        from fastreg import kernels as k

    plain = train(k, replaced=())
    print("lines replaced so far        data_loss           reg_loss            difference")
    print(f"{'none':<27}  {plain[0][-1, 0]:.16f}  {plain[0][-1, 1]:.16f}")
    steps = []
    for i, name in enumerate(KERNELS):
        figures = train(k, replaced=KERNELS[: i + 1])
        steps.append((name, figures, difference(figures, plain)))
        print(f"+ {name:<25}  {figures[0][-1, 0]:.16f}  {figures[0][-1, 1]:.16f}  {steps[-1][2]:.1e}")
    return plain, steps


if __name__ == "__main__":
    main(*sys.argv[1:])
