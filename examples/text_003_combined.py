"""All of it together: the textbook's two set-ups, and what each part of the first does to a network for digits.

For images: weight decay, dropout, drop path, augmentation, label smoothing, mixup, clipping and early stopping; for
language models: weight decay, dropout, label smoothing and clipping. The textbook prints the lists; here they train, on
150 digits, which are few enough to be memorized, and without one part after the other. What comes out is the textbook's
last guideline, in numbers: the light set-up helps, all eight parts at once are too much for so few epochs.

Run it with `python examples/text_003_combined.py`; an argument `reference` takes the NumPy interpreter. It needs
scikit-learn, for the digits.
"""

import sys
from functools import partial

import numpy as np

import fastreg as fr

SHAPE = (8, 8)
IMAGES = {
    "weight decay": 1e-2, "dropout": 0.2, "drop path": 0.1, "augmentation": fr.RandomShift(1, shape=SHAPE),
    "label smoothing": 0.05, "mixup": fr.Mixup(0.2), "clipping": 1.0, "early stopping": fr.EarlyStopping(patience=20),
}  # fmt: skip
LANGUAGE = {"weight decay": 1e-2, "dropout": 0.1, "label smoothing": 0.1, "clipping": 1.0}


def load():
    """Return 150 digits to train on, 150 to validate on and all others to test on, each a pair of X and labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("This example reads the digits of scikit-learn: pip install scikit-learn")
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.data))
    X, y = digits.data[order] / 16, digits.target[order]
    return (X[:150], y[:150]), (X[150:300], y[150:300]), (X[300:], y[300:])


def train(parts, engine):
    """Return the test log-loss and accuracy of a residual network that is trained with these parts."""
    training, validation, test = load()
    dropout = fr.Dropout(parts.get("dropout", 0.0))
    block = fr.Residual([fr.Dense(128, "relu"), dropout], drop_path=parts.get("drop path", 0.0))
    net = fr.Network(
        [fr.Dense(128, "relu"), dropout, block, fr.Dense(10)],
        loss=fr.CrossEntropy(label_smoothing=parts.get("label smoothing", 0.0)), seed=0, engine=engine,
    )  # fmt: skip
    net.fit(
        *training, epochs=150, batch_size=30, validation=validation,
        optimizer=fr.AdamW(2e-3, weight_decay=parts.get("weight decay", 0.0), clip_norm=parts.get("clipping")),
        augment=[parts[name] for name in ("augmentation", "mixup") if name in parts],
        callbacks=[parts[name] for name in ("early stopping",) if name in parts],
    )  # fmt: skip
    figures = net.evaluate(*test, metrics=["accuracy"])
    return figures["loss"], figures["accuracy"]


def main(engine="compiled"):
    """Print and return (log-loss, accuracy) by set-up."""
    fit = partial(train, engine=engine)
    results = {"nothing": fit({}), "the set-up for language models": fit(LANGUAGE), "that for images": fit(IMAGES)}
    for left_out in IMAGES:
        results[f"  without {left_out}"] = fit({name: part for name, part in IMAGES.items() if name != left_out})
    print("150 digits                      log-loss  accuracy")
    for name, (loss, accuracy) in results.items():
        print(f"{name:<32}{loss:.3f}     {accuracy:.3f}")
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
