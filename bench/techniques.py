"""The techniques that regularizers.py measures: each changes one thing of a plain network and its training."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import fastreg as fr

RATE = 1e-3
PLAIN_OPTIMIZER = fr.Adam(RATE)


@dataclass(frozen=True)
class Plain:
    """A ReLU network that nothing regularizes, and its training: what a technique changes a field of."""

    first: tuple = ()
    """Layers before the first `Dense`."""
    hidden: Callable = lambda units: (fr.Dense(units, "relu"),)
    """The layers of one hidden width."""
    loss: Any = None
    """None for that of the task."""
    optimizer: Any = PLAIN_OPTIMIZER
    augment: tuple = ()
    callbacks: tuple = ()
    validation: float = 0.0
    """The share of the training rows that validates, and does not train."""

    def network(self, units, n_outputs, regression):
        layers = [*self.first, *(layer for n in units for layer in self.hidden(n)), fr.Dense(n_outputs)]
        return fr.Network(layers, loss=self.loss or ("squared_error" if regression else "cross_entropy"), seed=0)


@dataclass(frozen=True)
class Technique:
    """What changes in `Plain`, given the shape of the images (None for tables), and where it can be."""

    name: str
    change: Callable
    classes: bool = False  # for classification alone
    images: bool = False  # for images alone
    against: dict | None = None  # what the network that it is compared with has besides

    def fits(self, shape, regression):
        return not (self.classes and regression) and not (self.images and shape is None)

    def plain(self):
        return replace(Plain(), **(self.against or {}))

    def applied(self, shape):
        return replace(self.plain(), **self.change(shape))


def _with(**changes):
    return lambda shape: changes


def _behind(*layers):
    return _with(hidden=lambda units: (fr.Dense(units, "relu"), *layers))


def _between(layer):
    return _with(hidden=lambda units: (fr.Dense(units), layer, fr.Activation("relu")))


def _residual(**settings):
    return lambda units: (fr.Dense(units, "relu"), fr.Residual((fr.Dense(units, "relu"),), **settings))


def _penalty(penalty):
    return _with(hidden=lambda units: (fr.Dense(units, "relu", weight_penalty=penalty),))


def _smoothed(smoothing):
    return _with(loss=fr.CrossEntropy(label_smoothing=0.1, smoothing=smoothing))


def _adam(**settings):
    return _with(optimizer=fr.Adam(RATE, **settings))


def _image(name, augmentation):
    return Technique(name, _with(augment=(augmentation,)), images=True)


def _schedule(schedule):
    return Technique(f"learning rate: {type(schedule).__name__}", _adam(schedule=schedule))


BLOCKS = _residual()

TECHNIQUES = (
    Technique("dropout 0.2", _behind(fr.Dropout(0.2))),
    Technique("dropout 0.5", _behind(fr.Dropout(0.5))),
    Technique("dropout 0.2, FlatCosine", _behind(fr.Dropout(0.2, schedule=fr.FlatCosine()))),
    Technique("dropout 0.1 of inputs", _with(first=(fr.Dropout(0.1),))),
    Technique("DropConnect 0.2", _with(hidden=lambda units: (fr.DropConnect(0.2), fr.Dense(units, "relu")))),
    Technique("additive noise 0.1 on inputs", _with(first=(fr.GaussianNoise(0.1),))),
    Technique("multiplicative noise 0.5", _behind(fr.MultiplicativeNoise(0.5))),
    Technique("feature mask 0.1", _with(first=(fr.FeatureMask(0.1),))),
    Technique("swap noise 0.1", _with(first=(fr.SwapNoise(0.1),))),
    Technique("residual blocks", _with(hidden=BLOCKS)),
    Technique(
        "drop path 0.2, against residual blocks", _with(hidden=_residual(drop_path=0.2)), against={"hidden": BLOCKS}
    ),
    Technique("BatchNorm", _between(fr.BatchNorm())),
    Technique("LayerNorm", _between(fr.LayerNorm())),
    Technique("label smoothing 0.1, uniform", _smoothed("uniform"), classes=True),
    Technique("label smoothing 0.1, others", _smoothed("others"), classes=True),
    Technique("mixup 0.2", _with(augment=(fr.Mixup(0.2),))),
    Technique("cutmix 1", lambda shape: {"augment": (fr.CutMix(1.0, shape=shape),)}),
    _image("horizontal flips", fr.RandomFlip(0.5)),
    _image("horizontal and vertical flips", fr.RandomFlip(0.5, 0.5)),
    _image("rotations by 0, 90, 180, 270", fr.RandomRotate90()),
    _image("shift by 1", fr.RandomShift(1)),
    _image("random crop, padding 1", fr.RandomCrop(1)),
    _image("centre crop 0.8, half of the time", fr.CenterCrop(0.8)),
    _image("cutout of 2 x 2", fr.Cutout(2)),
    _image("brightness 0.2", fr.Brightness(0.2)),
    _image("contrast 0.2", fr.Contrast(0.2)),
    _image("pixel noise 0.1", fr.PixelNoise(0.1)),
    _image("RandAugment(2, 5)", fr.RandAugment(2, 5)),
    Technique("clipping by norm 1", _adam(clip_norm=1.0)),
    Technique("clipping by value 0.01", _adam(clip_value=0.01)),
    _schedule(fr.StepDecay()),
    _schedule(fr.Exponential()),
    _schedule(fr.InverseScaling()),
    _schedule(fr.Cosine()),
    _schedule(fr.FlatCosine()),
    _schedule(fr.CosLog()),
    _schedule(fr.OneCycle()),
    _schedule(fr.Warmup(0.1)),
    Technique("learning rate: ReduceOnPlateau", _with(callbacks=(fr.ReduceOnPlateau("loss", patience=3),))),
    Technique("EMA 0.99 of the weights", _adam(average=fr.EMA(0.99))),
    Technique("weight decay 0.1 (AdamW)", _with(optimizer=fr.AdamW(RATE, weight_decay=0.1))),
    Technique("weight decay 0.1 (penalty of hidden layers)", _penalty(fr.WeightDecay(0.1))),
    Technique("L2(1e-4)", _penalty(fr.L2(1e-4))),
    Technique("L1(1e-5)", _penalty(fr.L1(1e-5))),
    Technique("early stopping: a fifth validates", _with(callbacks=(fr.EarlyStopping(patience=5),), validation=0.2)),
)
