"""One import line: scikit-learn's MLPClassifier, then fastreg's, on the same digits.

    python examples/switch_from_sklearn.py

    - from sklearn.neural_network import MLPClassifier
    + from fastreg import MLPClassifier

Both draw the same random numbers and compute the same formulas, so the accuracy is the same, and the loss curves
differ by rounding only. The times are those of this machine.
"""

import sys
import warnings
from time import perf_counter

import numpy as np

try:
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
except ImportError:
    sys.exit("This example is about scikit-learn: pip install 'fastreg[sklearn]'")

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0)


def program(MLPClassifier):
    """The program that is not changed."""
    net = MLPClassifier(hidden_layer_sizes=(100,), max_iter=60, random_state=0)
    began = perf_counter()
    net.fit(X_train, y_train)
    return net, perf_counter() - began


def main():
    from sklearn.neural_network import MLPClassifier

    slow, slow_seconds = program(MLPClassifier)

    from fastreg import MLPClassifier

    fast, fast_seconds = program(MLPClassifier)

    for name, net, seconds in (("scikit-learn", slow, slow_seconds), ("fastreg", fast, fast_seconds)):
        print(f"{name:13} {seconds:.3f} s, test accuracy {net.score(X_test, y_test):.4f}, loss {net.loss_:.12f}")
    curves = np.array(slow.loss_curve_), np.array(fast.loss_curve_)
    apart = np.max(np.abs(curves[0] - curves[1]) / curves[0])
    print(f"the two loss curves of {slow.n_iter_} epochs are within {apart:.0e} of each other")


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)  # 60 epochs are not all that it wants
    main()
