"""Polynomials memorize a noisy sine; so does a network, until it is regularized.

The textbook fits 20 noisy samples with polynomials: degree 19 has a coefficient for each, and follows the noise. The
network below has 1,153 parameters and does the same without a penalty. L2 or L1 on its weights, and it comes as near
to the true sine as the best polynomial, with nobody choosing a degree.

Run it with `python examples/text_003_overfitting.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys
import warnings

import numpy as np

import fastreg as fr

DEGREES = (1, 3, 5, 15, 19)
PENALTIES = {"no penalty": None, "L2(0.001)": fr.L2(0.001), "L2(0.01)": fr.L2(0.01), "L1(0.005)": fr.L1(0.005)}


def noisy_sine():
    """Return x, sin(x) and the noisy samples, (20,) each, as the textbook draws them."""
    x = np.linspace(0, 2 * np.pi, 20)
    y_true = np.sin(x)
    return x, y_true, y_true + np.random.RandomState(42).randn(20) * 0.3


def fit_polynomial(x, y, degree):
    """Return the predictions of a least-squares polynomial."""
    with warnings.catch_warnings():  # degrees 15 and 19 are as badly conditioned as NumPy says: that is the point
        warnings.filterwarnings("ignore", message="Polyfit may be poorly conditioned")
        return np.polyval(np.polyfit(x, y, degree), x)


def fit_network(x, y, penalty, engine):
    """Return the predictions of a 1-32-32-1 network whose weights pay the penalty, and how many of them are 0."""
    net = fr.Network(
        [fr.Dense(32, "tanh"), fr.Dense(32, "tanh"), fr.Dense(1)],
        loss="squared_error",
        penalties={"*.weight": penalty},
        dtype="float64",
        seed=0,
        engine=engine,
    )
    X = (x - np.pi)[:, np.newaxis]
    net.fit(X, y, epochs=6000, batch_size=len(x), optimizer=fr.Adam(0.003), shuffle=False)
    zeros = sum(int(np.sum(net.parameters[f"{i}.weight"] == 0)) for i in range(3))
    return net.predict(X), zeros


def errors(y_pred, y_noisy, y_true):
    """Return mean squared errors against the samples and against the sine."""
    return float(np.mean((y_pred - y_noisy) ** 2)), float(np.mean((y_pred - y_true) ** 2))


def main(engine="compiled"):
    """Print both tables; return {name: (train_error, true_error, weights that are 0 or None)}."""
    x, y_true, y_noisy = noisy_sine()
    figures = {}
    print("polynomial       train_error  true_error")
    for degree in DEGREES:
        figures[degree] = *errors(fit_polynomial(x, y_noisy, degree), y_noisy, y_true), None
        print(f"degree {degree:2d}        {figures[degree][0]:.4f}       {figures[degree][1]:.4f}")
    print("\nnetwork          train_error  true_error  weights at 0, of 1,088")
    for name, penalty in PENALTIES.items():
        y_pred, zeros = fit_network(x, y_noisy, penalty, engine)
        figures[name] = *errors(y_pred, y_noisy, y_true), zeros
        print(f"{name:<15}  {figures[name][0]:.4f}       {figures[name][1]:.4f}      {zeros:5d}")
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
