"""Augmentations and mixing: how the rows of a batch are changed, at random, before the network sees them.

a) `fit(augment=[...])` changes the rows of each batch in compiled code, in the order of the list. Validation,
   `evaluate` and predictions see them as they are.
b) An augmentation changes each row by itself, and keeps its target. What happens to a row is a pure function of (seed,
   epoch, row of the table, place in the list), whatever the size and the order of batches.
c) Mixing blends each row of a batch with another one of it, and their targets in the same shares, weighted by the rows'
   sample weights. It is a function of (seed, step).

Where a new one goes: one frozen dataclass here whose `changes` names kernels of the family `augment` or `mix`.
"""

from dataclasses import KW_ONLY, dataclass, replace
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from fastreg import kernels
from fastreg.checks import check_number
from fastreg.data import as_count

_MOST = 2**31 - 1  # what the kernels count pixels with


class Image(NamedTuple):
    """What the columns of a row are: pixel by pixel, row by row, channels last."""

    height: int
    width: int
    channels: int


class Change(NamedTuple):
    """One operation on a batch, as the plan sees it."""

    op: str
    """"augment" or "mix"."""
    kernel: str
    image: Image
    numbers: tuple


class Augmentation:
    """What every augmentation and every mixing can do. The protocol is `changes`."""

    def changes(self, n_inputs):
        """Return what is done to rows of `n_inputs` columns, a tuple of `Change`."""
        raise NotImplementedError(f"{type(self).__name__}.changes(n_inputs) must return a tuple of Change")


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Mirror images, each direction with a probability.

    Parameters
    ----------
    horizontal : float in [0, 1], default 0.5
        How probably left and right change places.
    vertical : float in [0, 1], default 0
        How probably top and bottom do.
    shape : (height, width) or (height, width, channels), optional
        Of the images that the rows are, channels last. None: square ones of one channel or of three, which the number
        of columns tells apart.
    """

    horizontal: float = 0.5
    vertical: float = 0.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, horizontal="[0, 1]", vertical="[0, 1]")

    def changes(self, n_inputs):
        numbers = self.horizontal, self.vertical
        return (Change("augment", "random_flip", as_image(self.shape, n_inputs), numbers),)


@dataclass(frozen=True)
class RandomRotate90(Augmentation):
    """Turn images counterclockwise by one of `angles`, all as probably.

    Parameters
    ----------
    angles : tuple of 0, 90, 180, 270; default all four
        Those of 90 and 270 are for square images.
    shape : see `RandomFlip`
    """

    angles: tuple = (0, 90, 180, 270)
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self)
        known = isinstance(self.angles, tuple | list) and set(self.angles) <= {0, 90, 180, 270}
        if not known or not self.angles or len(set(self.angles)) < len(self.angles):
            raise ValueError(f"RandomRotate90 angles must be some of 0, 90, 180, 270, got {self.angles!r}")
        object.__setattr__(self, "angles", tuple(self.angles))

    def changes(self, n_inputs):
        image = as_image(self.shape, n_inputs)
        if image.height != image.width and {90, 270} & set(self.angles):
            raise ValueError(
                f"RandomRotate90: images of {image.height} x {image.width} pixels cannot be turned by 90 or 270"
                " degrees; use angles=(0, 180)"
            )
        return (Change("augment", "random_rotate", image, (float(sum(1 << angle // 90 for angle in self.angles)),)),)


@dataclass(frozen=True)
class RandomShift(Augmentation):
    """Move images by up to `pixels` up or down and to either side, all as probably.

    Parameters
    ----------
    pixels : int >= 0, default 1
    fill : float, default 0
        What comes in from outside.
    shape : see `RandomFlip`
    """

    pixels: int = 1
    fill: float = 0.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, fill="(-inf, inf)")
        check_count(self, "pixels")

    def changes(self, n_inputs):
        numbers = float(self.pixels), float(self.pixels), self.fill
        return (Change("augment", "random_shift", as_image(self.shape, n_inputs), numbers),)


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Pad images, and cut one of their own size out of that anywhere: what `RandomShift` does too.

    Parameters
    ----------
    padding : int >= 0, default 1
        At each side. Four pixels for images of 32 are usual (He et al., 2016).
    fill : float, default 0
        Of what.
    shape : see `RandomFlip`
    """

    padding: int = 1
    fill: float = 0.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, fill="(-inf, inf)")
        check_count(self, "padding")

    def changes(self, n_inputs):
        return RandomShift(self.padding, self.fill, shape=self.shape).changes(n_inputs)


@dataclass(frozen=True)
class CenterCrop(Augmentation):
    """Keep the middle of images, at its place and in its size; what was around it becomes `fill`.

    Parameters
    ----------
    fraction : float in (0, 1], default 0.8
        How much of height and width is kept, to whole pixels at each side.
    probability : float in [0, 1], default 0.5
        With which it is done.
    fill : float, default 0
    shape : see `RandomFlip`
    """

    fraction: float = 0.8
    probability: float = 0.5
    fill: float = 0.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, fraction="(0, 1]", probability="[0, 1]", fill="(-inf, inf)")

    def changes(self, n_inputs):
        image = as_image(self.shape, n_inputs)
        cut = (float(round((1 - self.fraction) * side / 2)) for side in image[:2])
        return (Change("augment", "center_crop", image, (*cut, self.probability, self.fill)),)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Cut a square out of images, anywhere; at the border it is cut off. (DeVries & Taylor, 2017, arXiv:1708.04552.)

    Parameters
    ----------
    size : int >= 0, default 2
        Its side in pixels.
    probability : float in [0, 1], default 1
    fill : float, default 0
        What it becomes: the mean of what is standardized.
    shape : see `RandomFlip`
    """

    size: int = 2
    probability: float = 1.0
    fill: float = 0.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, probability="[0, 1]", fill="(-inf, inf)")
        check_count(self, "size")

    def changes(self, n_inputs):
        numbers = float(self.size), self.probability, self.fill
        return (Change("augment", "cutout", as_image(self.shape, n_inputs), numbers),)


@dataclass(frozen=True)
class Brightness(Augmentation):
    """Add one number, uniform in (-delta, delta), to all of an image. Nothing is clipped.

    Parameters
    ----------
    delta : float >= 0, default 0.2
        In units of the image.
    shape : see `RandomFlip`
    """

    delta: float = 0.2
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, delta="[0, inf)")

    def changes(self, n_inputs):
        return (Change("augment", "color_jitter", as_image(self.shape, n_inputs), (self.delta, 0.0, 0.0)),)


@dataclass(frozen=True)
class Contrast(Augmentation):
    """Multiply an image's distances from its mean by one number, uniform in (1 - delta, 1 + delta).

    Parameters
    ----------
    delta : float >= 0, default 0.2
    shape : see `RandomFlip`
    """

    delta: float = 0.2
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, delta="[0, inf)")

    def changes(self, n_inputs):
        return (Change("augment", "color_jitter", as_image(self.shape, n_inputs), (0.0, self.delta, 0.0)),)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation of images of three channels: red, green, blue.

    Saturation multiplies the distances of a pixel's channels from its grey, 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601),
    by a number that is uniform in (1 - saturation, 1 + saturation).

    Parameters
    ----------
    brightness, contrast, saturation : float >= 0, default 0.2
        The first two as the `delta` of `Brightness` and `Contrast`.
    shape : see `RandomFlip`
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, brightness="[0, inf)", contrast="[0, inf)", saturation="[0, inf)")

    def changes(self, n_inputs):
        image = as_image(self.shape, n_inputs)
        if image.channels != 3:
            raise ValueError(
                f"ColorJitter is for 3 channels, these images have {image.channels}: use Brightness and Contrast"
            )
        return (Change("augment", "color_jitter", image, (self.brightness, self.contrast, self.saturation)),)


@dataclass(frozen=True)
class PixelNoise(Augmentation):
    """Add a normal number of deviation `sigma` to each number of an image. Nothing is clipped.

    Parameters
    ----------
    sigma : float >= 0, default 0.1
        In units of the image.
    shape : see `RandomFlip`
    """

    sigma: float = 0.1
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, sigma="[0, inf)")

    def changes(self, n_inputs):
        return (Change("augment", "pixel_noise", as_image(self.shape, n_inputs), (self.sigma,)),)


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Change images `n` times in one of nine ways. (Cubuk et al., 2020, arXiv:1909.13719.)

    The ways are: shear by up to 0.3, or move by up to 0.45 of the side, each in both directions; brightness (a factor),
    contrast or saturation (of three channels) by up to 0.9; cut out a square of up to half a side; nothing. All but the
    square go either way. What comes in from outside is 0.

    Parameters
    ----------
    n : int >= 1, default 2
    magnitude : float in [0, 10], default 9
        Tenths of the above.
    shape : see `RandomFlip`
    """

    n: int = 2
    magnitude: float = 9.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, magnitude="[0, 10]")
        check_count(self, "n", low=1)

    def changes(self, n_inputs):
        change = Change("augment", "rand_augment", as_image(self.shape, n_inputs), (self.magnitude / 10,))
        return (change,) * self.n


@dataclass(frozen=True)
class Mixup(Augmentation):
    """Blend rows, x = s x_i + (1 - s) x_j, and their targets, with s ~ Beta(alpha, alpha) for each batch.

    Row i is blended with row i + k of its batch, k random. Targets become soft: w t = s w_i t_i + (1 - s) w_j t_j with
    the weight w = s w_i + (1 - s) w_j, the sample weights' own mean. (Zhang et al., 2018, arXiv:1710.09412.)

    Parameters
    ----------
    alpha : float > 0, default 0.2
        Near 0 a batch is hardly mixed, at 1 every share is as probable. Shares are multiples of 1/65536.
    probability : float in [0, 1], default 1
        With which a batch is mixed at all.
    """

    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self):
        check_settings(self, alpha="(0, inf)", probability="[0, 1]")

    def changes(self, n_inputs):
        return (Change("mix", "mixup", Image(1, n_inputs, 1), (self.alpha, self.probability)),)


@dataclass(frozen=True)
class CutMix(Augmentation):
    """Paste a part of another row into each one, and mix their targets in proportion.

    The share s that is kept is Beta(alpha, alpha). Of images the part is a box, of tables a random subset of the
    columns, the same for all rows of a batch; in the targets, s is what of a row is in fact its own.
    Partners, targets and weights are as with `Mixup`. (Yun et al., 2019, arXiv:1905.04899.)

    Parameters
    ----------
    alpha : float > 0, default 1
    probability : float in [0, 1], default 1
        With which a batch is mixed at all.
    shape : (height, width) or (height, width, channels), optional
        Of the images that the rows are, channels last. None: they are rows of a table.
    """

    alpha: float = 1.0
    probability: float = 1.0
    _: KW_ONLY
    shape: tuple | None = None

    def __post_init__(self):
        check_settings(self, alpha="(0, inf)", probability="[0, 1]")

    def changes(self, n_inputs):
        image = Image(1, n_inputs, 1) if self.shape is None else as_image(self.shape, n_inputs)
        kernel = "cutmix_features" if self.shape is None else "cutmix"
        return (Change("mix", kernel, image, (self.alpha, self.probability)),)


def apply(images, augmentations, *, seed=0, epoch=0):
    """Return images as a training with such a seed sees them in an epoch.

    Parameters
    ----------
    images : array (n, height, width), (n, height, width, channels), or (n, columns) as `fit` takes them
    augmentations : augmentation or list of them
        Of images; mixing is done to batches, and only in training.
    seed : int in [0, 2**64), default 0
    epoch : int >= 0, default 0

    Returns
    -------
    array
        A new one of the same shape, float64 where `images` are, else float32.
    """
    array = np.asarray(images)
    if array.ndim not in (2, 3, 4):
        raise ValueError(f"images must be (n, height, width[, channels]) or (n, columns), got shape {array.shape}")
    x = np.array(array.reshape(len(array), -1), np.float64 if array.dtype == np.float64 else np.float32, order="C")
    spare = np.empty_like(x)
    for number, change in enumerate(_changes_of(array, x.shape[1], augmentations)):
        kernel = getattr(kernels, change.kernel)
        kernel(spare, x, tuple(change.image), *change.numbers, seed=seed, epoch=epoch, number=number)
        x, spare = spare, x
    return x.reshape(array.shape)


def _changes_of(array, n_columns, augmentations):
    """Yield what is done to images, which say themselves what shape they have if they are no rows."""
    for augmentation in [augmentations] if isinstance(augmentations, Augmentation) else augmentations:
        if not isinstance(augmentation, Augmentation):
            raise ValueError(f"{augmentation!r} is no augmentation such as RandomFlip()")
        own = augmentation if array.ndim == 2 else of_shape(augmentation, array.shape[1:])
        for change in own.changes(n_columns):
            if change.op != "augment":
                raise ValueError(f"{augmentation!r} mixes the rows of a batch, which is done in training alone")
            yield change


def of_shape(augmentation: Any, shape):
    """Return the augmentation for images of such a shape; one that has no shape is as it was."""
    return replace(augmentation, shape=shape) if hasattr(augmentation, "shape") else augmentation


def as_image(shape, n_inputs):
    """Return the `Image` that rows of `n_inputs` columns are, by `shape` or, where that is None, by their number.

    Raises
    ------
    ValueError
        If they cannot be.
    """
    if shape is None:
        return _square(n_inputs)
    height, width, channels = shape if len(shape) == 3 else (*shape, 1)
    image = Image(height, width, channels)
    if image.height * image.width * image.channels != n_inputs:
        raise ValueError(f"shape={tuple(shape)}, but the rows have {n_inputs} columns")
    return image


def check_settings(augmentation, **intervals):
    """Check the numbers of a frozen dataclass, and its `shape` where it has one."""
    kind = type(augmentation).__name__
    for name, interval in intervals.items():
        number = check_number(f"{kind} {name}", getattr(augmentation, name), interval)
        object.__setattr__(augmentation, name, number)
    if hasattr(augmentation, "shape"):
        object.__setattr__(augmentation, "shape", _as_shape(kind, augmentation.shape))


def check_count(augmentation, name, low=0):
    """Check a setting of a frozen dataclass that counts pixels, or times."""
    what, given = f"{type(augmentation).__name__} {name}", getattr(augmentation, name)
    number = as_count(what, given, low)
    if number > _MOST:
        raise ValueError(f"{what} must be an int in {low}..{_MOST}, got {given!r}")
    object.__setattr__(augmentation, name, number)


def _as_shape(kind, shape):
    if shape is None:
        return None
    if not isinstance(shape, tuple | list) or len(shape) not in (2, 3):
        raise ValueError(f"{kind} shape must be (height, width) or (height, width, channels), got {shape!r}")
    return tuple(as_count(f"{kind} shape", side) for side in shape)


def _square(n_inputs):
    """Square images of one channel or of three: no number is the square of an integer and three times another one."""
    for channels in (1, 3):
        side = isqrt(n_inputs // channels)
        if side * side * channels == n_inputs:
            return Image(side, side, channels)
    raise ValueError(
        f"rows of {n_inputs} columns are no square images of 1 or 3 channels: pass shape=(height, width[, channels])"
    )
