"""fastreg: regularized multilayer perceptrons, trained on CPUs by a compiled core.

    import fastreg as fr

    net = fr.Network([fr.Dropout(0.2), fr.Dense(64, "relu", weight_penalty=fr.L2(1e-4)), fr.Dense(10)],
                     loss="cross_entropy", seed=0)
    history = net.fit(X, y, epochs=50, validation=(X_val, y_val), callbacks=[fr.EarlyStopping()])

Names are imported when they are first used: `import fastreg` costs little more than NumPy.
"""

import importlib
from typing import TYPE_CHECKING

import numpy  # noqa: F401  (the one requirement; without it this line says so)

from fastreg.version import __version__  # noqa: F401

try:
    importlib.import_module("fastreg._core.table")
except ModuleNotFoundError as error:
    raise ImportError("fastreg's compiled core is missing; build it with: pip install -e .") from error

if TYPE_CHECKING:
    from fastreg import augment, functional, kernels, metrics, plot, presets, reference
    from fastreg import preprocessing as preprocessing  # not in __all__
    from fastreg.augment import (
        Brightness,
        CenterCrop,
        ColorJitter,
        Contrast,
        CutMix,
        Cutout,
        Mixup,
        PixelNoise,
        RandAugment,
        RandomCrop,
        RandomFlip,
        RandomRotate90,
        RandomShift,
    )
    from fastreg.averages import EMA
    from fastreg.callbacks import EarlyStopping, ReduceOnPlateau
    from fastreg.checkpoint import Checkpoint, resume
    from fastreg.config import show_config
    from fastreg.custom import CustomLoss
    from fastreg.errors import (
        CheckpointMismatchError,
        DivergenceError,
        ModelFileError,
        ModelStateError,
        NotBuiltError,
    )
    from fastreg.estimators import MLPClassifier as MLPClassifier  # not in __all__: they need scikit-learn
    from fastreg.estimators import MLPRegressor as MLPRegressor
    from fastreg.files import load, save
    from fastreg.history import History
    from fastreg.layers import (
        Activation,
        BatchNorm,
        Dense,
        DropConnect,
        Dropout,
        FeatureMask,
        GaussianNoise,
        LayerNorm,
        MultiplicativeNoise,
        Residual,
        SwapNoise,
    )
    from fastreg.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, Huber, Poisson, Quantile, SquaredError
    from fastreg.network import Network
    from fastreg.optimizers import SGD, Adam, AdamW
    from fastreg.penalties import L1, L2, ElasticNet, WeightDecay
    from fastreg.safetensors import load_safetensors, save_safetensors
    from fastreg.schedules import (
        Constant,
        Cosine,
        CosLog,
        Exponential,
        FlatCosine,
        InverseScaling,
        LinearDecay,
        OneCycle,
        StepDecay,
        Warmup,
    )

_HOMES = {
    "augment": (
        "Brightness",
        "CenterCrop",
        "ColorJitter",
        "Contrast",
        "CutMix",
        "Cutout",
        "Mixup",
        "PixelNoise",
        "RandAugment",
        "RandomCrop",
        "RandomFlip",
        "RandomRotate90",
        "RandomShift",
    ),
    "averages": ("EMA",),
    "callbacks": ("EarlyStopping", "ReduceOnPlateau"),
    "checkpoint": ("Checkpoint", "resume"),
    "config": ("show_config",),
    "custom": ("CustomLoss",),
    "errors": ("CheckpointMismatchError", "DivergenceError", "ModelFileError", "ModelStateError", "NotBuiltError"),
    "estimators": ("MLPClassifier", "MLPRegressor"),
    "files": ("load", "save"),
    "history": ("History",),
    "layers": (
        *("Activation", "BatchNorm", "Dense", "DropConnect", "Dropout", "FeatureMask", "GaussianNoise", "LayerNorm"),
        *("MultiplicativeNoise", "Residual", "SwapNoise"),
    ),
    "losses": (
        "AbsoluteError",
        "BinaryCrossEntropy",
        "CrossEntropy",
        "Huber",
        "Poisson",
        "Quantile",
        "SquaredError",
    ),
    "network": ("Network",),
    "optimizers": ("SGD", "Adam", "AdamW"),
    "penalties": ("L1", "L2", "ElasticNet", "WeightDecay"),
    "safetensors": ("load_safetensors", "save_safetensors"),
    "schedules": (
        "Constant",
        "CosLog",
        "Cosine",
        "Exponential",
        "FlatCosine",
        "InverseScaling",
        "LinearDecay",
        "OneCycle",
        "StepDecay",
        "Warmup",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = (*_HOMES, "functional", "kernels", "metrics", "plot", "preprocessing", "presets", "reference")

__all__ = [
    "EMA",
    "L1",
    "L2",
    "SGD",
    "AbsoluteError",
    "Activation",
    "Adam",
    "AdamW",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Brightness",
    "CenterCrop",
    "Checkpoint",
    "CheckpointMismatchError",
    "ColorJitter",
    "Constant",
    "Contrast",
    "CosLog",
    "Cosine",
    "CrossEntropy",
    "CustomLoss",
    "CutMix",
    "Cutout",
    "Dense",
    "DivergenceError",
    "DropConnect",
    "Dropout",
    "EarlyStopping",
    "ElasticNet",
    "Exponential",
    "FeatureMask",
    "FlatCosine",
    "GaussianNoise",
    "History",
    "Huber",
    "InverseScaling",
    "LayerNorm",
    "LinearDecay",
    "Mixup",
    "ModelFileError",
    "ModelStateError",
    "MultiplicativeNoise",
    "Network",
    "NotBuiltError",
    "OneCycle",
    "PixelNoise",
    "Poisson",
    "Quantile",
    "RandAugment",
    "RandomCrop",
    "RandomFlip",
    "RandomRotate90",
    "RandomShift",
    "ReduceOnPlateau",
    "Residual",
    "SquaredError",
    "StepDecay",
    "SwapNoise",
    "Warmup",
    "WeightDecay",
    "augment",
    "functional",
    "kernels",
    "load",
    "load_safetensors",
    "metrics",
    "plot",
    "presets",
    "reference",
    "resume",
    "save",
    "save_safetensors",
    "show_config",
]


def __getattr__(name):
    if name in _HOME:
        value = getattr(importlib.import_module(f"fastreg.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"fastreg.{name}")
    else:
        raise AttributeError(f"module 'fastreg' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__, *_HOME, *_MODULES})
