"""What L2 and L1 do to weights, step by step: by the textbook's functions, and by the engine.

L2 shrinks every weight in proportion; L1 takes the same amount from each, and what comes within one step of zero is
set to zero. The textbook's L1 table has a row "L2" that steps with the gradient of L1, by mistake; that row is kept,
and the true L2 stands beside it.

Run it with `python examples/text_003_l2_and_l1.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr
from fastreg.functional import l1_gradient, l2_gradient

LAMBDA_REG = 0.1
LR = 0.1
DATA_GRADIENT = np.array([0.1, -0.05, 0.02, -0.1, 0.05])


def l2_steps(k):
    """Ten steps with a small data gradient: without L2, with it, and twice through the kernels of `k`.

    Plain SGD with the L2 penalty is SGD with a decoupled weight decay of twice the strength.
    """
    w = {"no_reg": np.random.RandomState(42).randn(5) * 2}
    w |= {name: w["no_reg"].copy() for name in ("L2", "kernels", "decay")}
    steps = []
    for _ in range(10):
        w["no_reg"] = w["no_reg"] - LR * DATA_GRADIENT

        w["L2"] = w["L2"] - LR * (DATA_GRADIENT + l2_gradient(w["L2"], LAMBDA_REG))

        gradient = DATA_GRADIENT.copy()
        k.l2(w["kernels"], LAMBDA_REG, gradient)  # adds to the gradient
        k.sgd(w["kernels"], gradient, learning_rate=LR)

        k.sgd(w["decay"], DATA_GRADIENT, learning_rate=LR, decay=LR * 2 * LAMBDA_REG)

        steps.append({name: value.copy() for name, value in w.items()})
    return stacked(steps)


def l1_steps():
    """Twenty steps without data: L1 with clipping, the row that the textbook calls L2, and L2."""
    start = np.array([2.0, 0.5, -0.3, 0.1, -1.5])
    w = {"L1": start, "text's L2": start, "L2": start}
    steps = []
    for _ in range(20):
        moved = w["L1"] - LR * l1_gradient(w["L1"], LAMBDA_REG)
        w = {
            "L1": np.where(np.abs(moved) < LR * LAMBDA_REG, 0, moved),
            "text's L2": w["text's L2"] - LR * l1_gradient(w["text's L2"], LAMBDA_REG),
            "L2": w["L2"] - LR * l2_gradient(w["L2"], LAMBDA_REG),
        }
        steps.append(w)
    return stacked(steps)


def trained(penalty, engine):
    """Twenty epochs of a network that pays only the penalty: its one row is zero, and so is its target."""
    net = fr.Network([fr.Dense(1, weight_penalty=penalty)], loss="squared_error", dtype="float64", engine=engine)
    net.build(n_inputs=5)
    net.parameters["0.weight"] = np.array([[2.0], [0.5], [-0.3], [0.1], [-1.5]])
    steps = []
    for _ in range(20):
        net.fit(np.zeros((1, 5)), np.zeros(1), epochs=1, optimizer=fr.SGD(LR))
        steps.append(net.parameters["0.weight"].ravel().copy())
    return np.array(steps)


def l1_trained(engine):
    """The three rows of `l1_steps` as penalties of a network, and L1 by its default, the proximal step."""
    penalties = {
        "L1": fr.L1(LAMBDA_REG, method="clip"),
        "text's L2": fr.L1(LAMBDA_REG, method="subgradient"),
        "L2": fr.L2(LAMBDA_REG),
        "proximal": fr.L1(LAMBDA_REG),
    }
    return {name: trained(penalty, engine) for name, penalty in penalties.items()}


def stacked(steps):
    """Turn a list of dicts into a dict of arrays (steps, weights)."""
    return {name: np.array([step[name] for step in steps]) for name in steps[0]}


def print_l2(w):
    print("L2: lambda 0.1, learning rate 0.1, a small data gradient")
    for step in (0, 3, 6, 9):
        print(f"Step {step}: no_reg = {w['no_reg'][step].round(3)}, L2 = {w['L2'][step].round(3)}")
    sums = {name: np.abs(value[-1]).sum() for name, value in w.items()}
    print(f"Final weight magnitudes: no_reg={sums['no_reg']:.2f}, L2={sums['L2']:.2f}")
    for name, what in (("kernels", "kernels l2 and sgd"), ("decay", "kernel sgd with weight decay")):
        print(f"{what}: largest difference {np.abs(w[name] - w['L2']).max():.1e}")


def print_l1(w, ours):
    print("\nL1 and L2 without data: lambda 0.1, learning rate 0.1")
    for step in (0, 5, 10, 15, 19):
        zeros = int(np.sum(w["L1"][step] == 0))
        for name, note in (("L1", f"({zeros} zeros)"), ("text's L2", "(the gradient of L1, unclipped)"), ("L2", "")):
            head = f"Step {step:2d}:" if name == "L1" else ""
            print(f"{head:<8} {name:<9} = {w[name][step].round(3)} {note}".rstrip())
    for name in w:
        print(f"a network with {name}: largest difference {np.abs(ours[name] - w[name]).max():.1e}")
    print(f"a network with L1's default, the proximal step: {ours['proximal'][-1].round(3)}")


def main(engine="compiled"):
    """Print the tables; return the weights after each step: L2 table, L1 table, the L1 table's networks."""
    if engine == "reference":
        from fastreg import reference as k
    else:
        from fastreg import kernels as k

    l2, l1, ours = l2_steps(k), l1_steps(), l1_trained(engine)
    print_l2(l2)
    print_l1(l1, ours)
    return l2, l1, ours


if __name__ == "__main__":
    main(*sys.argv[1:])
