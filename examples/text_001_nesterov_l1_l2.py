"""L1 and L2 on chosen weights *and* biases: 5-3-5-4 nodes, Nesterov's momentum, 1,000 epochs on one row.

Each layer says what its weights and its biases pay. `L1(method="subgradient")` is the textbook's rule,
`+ lambda * sign(w)`; the default, the proximal step, would give exact zeros.

Run it with `python examples/text_001_nesterov_l1_l2.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr


def textbook_start():
    """Input, class and weights as the textbook draws them; its weights are (units, inputs), ours not."""
    rng = np.random.RandomState(42)
    X = rng.randint(1, 100, size=(5, 1)).T / 100
    weights = [rng.random_sample(size).T for size in ((3, 5), (5, 3), (4, 5))]
    return X, np.array([1]), weights


def main(engine="compiled"):
    """Print and return `losses` (epochs,), `final_loss`, `y_hat` (4,); return the `parameters` too."""
    l1 = fr.L1(0.01, method="subgradient")
    l2 = fr.L2(0.01)
    net = fr.Network(
        [
            fr.Dense(3, "relu", weight_penalty=l2, bias_penalty=l2),
            fr.Dense(5, "relu", weight_penalty=l1, bias_penalty=l1),
            fr.Dense(4, "softmax", weight_penalty=l1 + l2, bias_penalty=l1 + l2),
        ],
        loss="cross_entropy",
        dtype="float64",
        engine=engine,
    )
    X, y, weights = textbook_start()
    net.build(n_inputs=5)
    for i, weight in enumerate(weights):
        net.parameters[f"{i}.weight"] = weight
        net.parameters[f"{i}.bias"] = np.zeros(weight.shape[1])

    history = net.fit(X, y, epochs=1000, optimizer=fr.SGD(0.01, momentum=0.9, nesterov=True))

    losses = np.array(history["objective"])  # data loss + penalties, each before its update
    for epoch in (1, 2, 10, 100, 1000):
        print(f"loss before training is {losses[epoch - 1]} -- epoch number {epoch}")
    final_loss = net.evaluate(X, y)["objective"]
    y_hat = net.predict_proba(X)[0]
    print(f"loss after training is {final_loss}")
    print(f"predicted {y_hat}, true class {y[0]}")
    parameters = {name: value.copy() for name, value in net.parameters.items()}
    return {"losses": losses, "final_loss": final_loss, "y_hat": y_hat, "parameters": parameters}


if __name__ == "__main__":
    main(*sys.argv[1:])
