"""Dropout: the textbook's masks, drawn from NumPy, and the engine's, which are never stored.

Both are inverted: what is kept is scaled up in training, and inference does nothing. The textbook draws each mask from
one stream, so the tenth depends on the nine before it. The engine's is a pure function of seed, layer, step, row and
unit: it can be drawn again at any time, and is the same for any number of threads.

Run it with `python examples/text_003_dropout.py`; an argument `reference` takes the NumPy interpreter.
"""

import sys

import numpy as np

import fastreg as fr
from fastreg.functional import create_dropout_masks, dropout

LAYER_SIZES = [784, 512, 256, 128, 10]
DROPOUT_RATES = [0.2, 0.5, 0.5, 0.5, 0.0]
ACTIVATIONS = np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def textbook_passes():
    """Five forward passes and one at inference, with the textbook's seed and NumPy's global state."""
    np.random.seed(42)
    return np.array([dropout(ACTIVATIONS, p=0.5) for _ in range(5)]), dropout(ACTIVATIONS, p=0.5, training=False)


def engine_pass(k, step, rows=1):
    """A batch of equal rows through the engine's kernel: (rows, 5)."""
    batch = np.tile(ACTIVATIONS, (rows, 1))
    out = np.empty_like(batch)
    k.dropout(out, batch, 0.5, seed=42, step=step)
    return out


def textbook_masks():
    np.random.seed(42)
    return create_dropout_masks(LAYER_SIZES, DROPOUT_RATES)


def engine_masks(k):
    """One mask per layer for one row, in the order of `LAYER_SIZES`."""
    masks = [np.empty((1, size)) for size in LAYER_SIZES]
    for layer, (mask, rate) in enumerate(zip(masks, DROPOUT_RATES)):
        k.dropout_mask(mask, rate, seed=42, layer=layer)
    return [mask[0] for mask in masks]


def network(rates, engine):
    """The textbook's 784-512-256-128-10, each layer's output dropped at its rate; rate 0 needs no layer."""
    layers = []
    for size, rate in zip(LAYER_SIZES, rates):
        activation = "identity" if size == LAYER_SIZES[-1] else "relu"
        layers += [fr.Dense(size, activation)] if size != LAYER_SIZES[0] else []
        layers += [fr.Dropout(rate)] if rate else []
    net = fr.Network(layers, loss="cross_entropy", seed=0, engine=engine)
    return net.build(n_inputs=LAYER_SIZES[0])


def main(engine="compiled"):
    """Print passes, masks and what inference does; return all of them."""
    if engine == "reference":
        from fastreg import reference as k
    else:
        from fastreg import kernels as k

    passes, inference = textbook_passes()
    ours = np.vstack([engine_pass(k, step) for step in range(5)])
    print(f"Original activations: {ACTIVATIONS}, dropout probability 0.5")
    print("                 textbook              engine")
    for i, (theirs, own) in enumerate(zip(passes, ours)):
        print(f"Forward pass {i + 1}: {theirs.round(2)!s:<20}  {own}")
    print(f"Inference:      {inference}")
    again = engine_pass(k, step=2)[0]
    mean = engine_pass(k, step=0, rows=10_000).mean(axis=0)
    print(f"the engine's third pass, drawn again: {again}")
    print(f"the engine's mean over 10,000 rows: {mean.round(2)}")

    masks, own_masks = textbook_masks(), engine_masks(k)
    print("\nActive neurons     textbook         engine")
    for i, (theirs, own, rate) in enumerate(zip(masks, own_masks, DROPOUT_RATES)):
        counts = "  ".join(
            f"{np.sum(mask > 0):3d}/{mask.size:<3d} ({100 * np.mean(mask > 0):3.0f}%)" for mask in (theirs, own)
        )
        print(f"Layer {i}, rate {rate}:  {counts}")

    X = np.random.RandomState(0).rand(4, LAYER_SIZES[0])
    with_dropout, without = (network(rates, engine).forward(X) for rates in (DROPOUT_RATES, [0.0] * 5))
    same = np.array_equal(with_dropout, without)
    print(f"\nA network of these layers and rates gives the same outputs at inference as one without dropout: {same}")
    return {
        "passes": passes,
        "inference": inference,
        "engine_passes": ours,
        "again": again,
        "mean": mean,
        "masks": masks,
        "engine_masks": own_masks,
        "same": same,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
