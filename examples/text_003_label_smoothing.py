"""Label smoothing: soft targets in both conventions, and what they do to a network's confidence.

The textbook's program shares the smoothing among the *other* classes: [0.05, 0.05, 0.9] for class 2 of 3. Its prose,
like PyTorch and Keras, shares it *uniformly* among all, the true class too: [0.033, 0.033, 0.933]. Each is the other
with another strength: uniform(s) = others(s (C - 1) / C).

Run it with `python examples/text_003_label_smoothing.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr
from fastreg.functional import smooth_labels

N_CLASSES = 3


def uniform(labels, smoothing):
    """Smooth by the convention of the textbook's prose: true class 1 - s + s / C, others s / C."""
    return smooth_labels(labels, N_CLASSES, smoothing * (N_CLASSES - 1) / N_CLASSES)


def make_table():
    """60 training and 300 validation rows of 10 columns, two of which tell about the 3 noisy classes."""
    rng = np.random.RandomState(2)
    X = rng.randn(360, 10)
    rule = 2 * rng.randn(2, 3)
    y = np.argmax(X[:, :2] @ rule + rng.randn(360, 3), axis=1)
    return X[:60], y[:60], X[60:], y[60:]


def train(targets, engine):
    """Train on the rows with these targets; return confidence, accuracy and loss on the validation rows.

    The confidence is the mean probability of the predicted class. The loss is against the plain labels.
    """
    X, _, X_val, y_val = make_table()
    net = fr.Network([fr.Dense(32, "relu"), fr.Dense(3)], loss="cross_entropy", dtype="float64", seed=0, engine=engine)
    net.fit(X, targets, epochs=200, batch_size=60, optimizer=fr.SGD(0.5))
    figures = net.evaluate(X_val, y_val, metrics=["accuracy"])
    return float(net.predict_proba(X_val).max(axis=1).mean()), figures["accuracy"], figures["loss"]


def main(engine="compiled"):
    """Print the soft labels and the trainings; return both by convention and smoothing."""
    labels = np.array([0, 1, 2])
    print("Hard labels:")
    print(np.eye(N_CLASSES)[labels])
    soft = {}
    for smoothing in (0.1, 0.2):
        soft["others", smoothing] = smooth_labels(labels, N_CLASSES, smoothing)
        soft["uniform", smoothing] = uniform(labels, smoothing)
        for convention in ("others", "uniform"):
            print(f"\nSoft labels (smoothing={smoothing}, {convention}):")
            print(soft[convention, smoothing].round(3))

    y = make_table()[1]
    targets = {"hard labels": y}
    targets |= {f"others {s}": smooth_labels(y, N_CLASSES, s) for s in (0.1, 0.2)}
    targets |= {f"uniform {s}": uniform(y, s) for s in (0.1, 0.2)}
    results = {name: train(target, engine) for name, target in targets.items()}
    print("\non 300 rows   confidence  accuracy  loss")
    for name, (confidence, accuracy, loss) in results.items():
        print(f"{name:<12}  {confidence:.4f}      {accuracy:.4f}    {loss:.4f}")
    return soft, results


if __name__ == "__main__":
    main(*sys.argv[1:])
