"""What augmentations make of an image."""

from dataclasses import fields

import numpy as np

from fastreg.augment import Augmentation, apply, as_image
from fastreg.data import as_count
from fastreg.plot.display import Display, new_figure


class AugmentationDisplay(Display):
    """An image, and behind it what augmentations make of it: a row for each technique.

    Make one with `from_images`; the constructor takes the pictures themselves.

    Parameters
    ----------
    rows : dict of str to array (k, height, width[, channels])
        Under the name of a technique, the original and its versions.

    Attributes
    ----------
    axes_ : array (rows, k) of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> display = AugmentationDisplay.from_images(X[0], [RandomFlip(), RandAugment(2, 9)], shape=(28, 28))
    >>> display.figure_.savefig("augmentation.png")
    """

    def __init__(self, rows):
        self.rows = rows

    @classmethod
    def from_images(cls, image, augmentations, *, shape=None, n_versions=6, seed=0):
        """Draw an image, and its versions in the first epochs of a training.

        Parameters
        ----------
        image : array (height, width), (height, width, channels), or a row as `fit` takes it
        augmentations : augmentation or list of them
            Each is shown by itself; those that mix rows cannot be.
        shape : (height, width) or (height, width, channels), optional
            Of a row; None: a square image of one channel or of three.
        n_versions : int >= 1, default 6
        seed : int, default 0

        Returns
        -------
        AugmentationDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            For a setting out of its range, and for what is no augmentation of a single image.
        """
        as_count("n_versions", n_versions)
        image = np.asarray(image, float)
        if image.ndim == 1:
            image = image.reshape(as_image(shape, image.size))
        rows: dict = {}
        for augmentation in [augmentations] if isinstance(augmentations, Augmentation) else augmentations:
            versions = [apply(image[None], augmentation, seed=seed, epoch=epoch)[0] for epoch in range(n_versions)]
            rows[_unlike(rows, _title(augmentation))] = np.stack([image, *versions])
        return cls(rows).plot()

    def plot(self):
        """Draw; return the display."""
        if not self.rows:
            raise ValueError("there is no augmentation to show")
        columns = max(map(len, self.rows.values()))
        figure = new_figure("AugmentationDisplay", (1.1 * columns + 1.6, 1.1 * len(self.rows) + 0.3))
        self.figure_, self.axes_ = figure, figure.subplots(len(self.rows), columns, squeeze=False)
        for axes, (name, images) in zip(self.axes_, self.rows.items(), strict=True):
            axes[0].set_ylabel(name, rotation="horizontal", ha="right", va="center")
            for ax, image in zip(axes, images, strict=False):
                _show(ax, image, images[0])
        for k, ax in enumerate(self.axes_[0]):
            ax.set_title(f"epoch {k}" if k else "original", fontsize="medium")
        return self


def _title(augmentation):
    """Return a technique's name, and its settings below."""
    settings = {field.name: getattr(augmentation, field.name) for field in fields(augmentation)}
    lines = [f"{name}={value}" for name, value in settings.items() if name != "shape"]
    return "\n".join([type(augmentation).__name__, *lines])


def _unlike(titles, title):
    """Return the title, with a number below it if there is one like it."""
    alike = sum(other == title or other.startswith(title + "\n#") for other in titles)
    return f"{title}\n#{alike + 1}" if alike else title


def _show(ax, image, original):
    """Draw an image in the range of the original: brighter and darker ones are seen as such."""
    low, high = original.min(), original.max()
    scaled = ((image - low) / (high - low or 1)).clip(0, 1)
    grey = image.ndim == 2 or image.shape[2] != 3
    ax.imshow(scaled.reshape(*image.shape[:2], -1)[..., 0] if grey else scaled, cmap="gray", vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
