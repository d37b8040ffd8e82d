"""Data augmentation: the textbook's batch grown fourfold before training, and images changed while a network trains.

The textbook keeps each original and adds three of its seven transformations (offline); its program only writes their
names, here they are done to digits as well. The engine changes each image of each epoch by itself (online), by what the
augmentations say. Whether a change leaves the label as it is depends on the images: a shifted digit is the same digit,
a flipped one often is not.

Run it with `python examples/text_003_augmentation.py`; an argument `reference` takes the NumPy interpreter. It needs
scikit-learn, for the digits.
"""

import sys

import numpy as np

import fastreg as fr
from fastreg.functional import augment_batch

SHAPE = (8, 8)
ONLINE = {
    "as they are": [],
    "shifted by a pixel": [fr.RandomShift(1, shape=SHAPE)],
    "brighter or darker": [fr.Brightness(0.2, shape=SHAPE)],
    "cut out": [fr.Cutout(3, shape=SHAPE)],
    "flipped": [fr.RandomFlip(0.5, 0.5, shape=SHAPE)],
}


def grow(seed):
    """Grow the textbook's three images fourfold; return the names of what was made, and their labels."""
    rng = np.random.RandomState(seed)
    return augment_batch(["cat_01", "dog_01", "bird_01"], ["cat", "dog", "bird"], augmentation_factor=4, rng=rng)


def load():
    """Return 200 digits (n, 8, 8) with their labels to train on, and all others to test on."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("This example reads the digits of scikit-learn: pip install scikit-learn")
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.images))
    images, labels = digits.images[order] / 16, digits.target[order]
    return images[:200], labels[:200], images[200:], labels[200:]


def train(images, labels, test, engine, augment=()):
    """Return (test log-loss, test accuracy) of a network that is trained on the images for 100 times 200 of them."""
    net = fr.Network([fr.Dense(256, "relu"), fr.Dense(10)], loss="cross_entropy", seed=0, engine=engine)
    epochs = 100 * 200 // len(images)
    net.fit(images.reshape(-1, 64), labels, epochs=epochs, batch_size=20, optimizer=fr.Adam(2e-3), augment=augment)
    figures = net.evaluate(test[0].reshape(-1, 64), test[1], metrics=["accuracy"])
    return figures["loss"], figures["accuracy"]


def main(engine="compiled"):
    """Print the grown batch and the trainings; return both."""
    names, labels = grow(0)
    print(f"3 images became {len(names)}:")
    for name, label in zip(names, labels, strict=True):
        print(f"  {name:<24} -> {label}")

    images, digits, *test = load()
    grown, grown_labels = augment_batch(images, digits, augmentation_factor=4, rng=np.random.RandomState(0))
    results = {"grown fourfold (offline)": train(np.array(grown), np.array(grown_labels), test, engine)}
    for name, augment in ONLINE.items():
        results[name] = train(images, digits, test, engine, augment)
    print(f"\n200 digits, tested on {len(test[1])}   log-loss  accuracy")
    for name, (loss, accuracy) in results.items():
        print(f"{name:<33}  {loss:.3f}     {accuracy:.3f}")
    return names, results


if __name__ == "__main__":
    main(*sys.argv[1:])
