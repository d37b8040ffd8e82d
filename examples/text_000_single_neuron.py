"""A single sigmoid neuron with L2: ten epochs on one row, weights printed after each.

The textbook program *reports* `lambda * sum(w**2)` but *steps* with `lambda * w`, half its gradient.
So the step is that of `L2(lambda / 2)`, and the printed loss adds the penalty twice.

Run it with `python examples/text_000_single_neuron.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr

LAMBDA_REG = 0.1


def main(engine="compiled"):
    """Print the table; return per epoch (loss, prediction, weights after, bias after)."""
    X = np.array([[0.5, 1.5]])
    y = np.array([[1.0]])
    net = fr.Network(
        [fr.Dense(1, "sigmoid", weight_penalty=fr.L2(LAMBDA_REG / 2))],
        loss="squared_error",
        dtype="float64",
        engine=engine,
    )
    net.build(n_inputs=2)
    net.parameters["0.weight"] = [[0.2], [-0.4]]
    net.parameters["0.bias"] = [0.1]

    figures = []
    for epoch in range(10):
        pred = float(net.forward(X)[0, 0])
        # A second fit goes on where the first one ended.
        history = net.fit(X, y, epochs=1, optimizer=fr.SGD(0.1))
        loss = history["loss"][0] + 2 * history["penalty"][0]
        weights = net.parameters["0.weight"].ravel().tolist()
        print(f"Epoch {epoch + 1}: Loss={loss:.4f}, Pred={pred:.4f}, Weights={weights}")
        figures.append((loss, pred, tuple(weights), float(net.parameters["0.bias"][0])))
    return figures


if __name__ == "__main__":
    main(*sys.argv[1:])
