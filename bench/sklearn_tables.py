"""Four tables of real data, and one fit of fastreg's or scikit-learn's estimator: what sklearn_report.py times."""

import gzip
import importlib
import warnings
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = {
    "digits": (),
    "letter": ("letter.csv.gz",),
    "adult": ("adult-train.csv.gz", "adult-test.csv.gz"),
    "housing": ("housing.csv.gz",),
}
TARGET = {"letter": "letter", "adult": "income", "housing": "median_house_value"}


def missing(name, folder):
    """The files of a table that the folder lacks."""
    return [file for file in FILES[name] if not (Path(folder) / file).exists()]


@cache
def load(name, folder):
    """X, standardised, text columns one-hot, blanks filled; and y."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y
    frames = []
    for file in FILES[name]:
        with gzip.open(Path(folder) / file, "rt", encoding="utf-8") as lines:
            frames.append(pd.read_csv(lines, na_values="?", skipinitialspace=True))
    frame = pd.concat(frames, ignore_index=True)
    y = frame.pop(TARGET[name]).to_numpy()
    numbers = frame.select_dtypes("number").columns
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(numbers)),
        (OneHotEncoder(sparse_output=False), [name for name in frame.columns if name not in numbers]),
    )
    X = np.ascontiguousarray(prepare.fit_transform(frame.fillna({c: "?" for c in frame.columns if c not in numbers})))
    return X, (y / 1e5 if name == "housing" else np.array(y.tolist()))


def train(home, name, folder, dtype, seed, settings):
    """Seconds of `fit` on three quarters of a table, the epochs that it took, and the score on the rest."""
    X, y = load(name, folder)
    kind = "MLPRegressor" if name == "housing" else "MLPClassifier"
    X_train, X_test, y_train, y_test = train_test_split(X.astype(dtype), y, test_size=0.25, random_state=seed)
    estimator = getattr(importlib.import_module(home), kind)(random_state=seed, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = perf_counter()
        estimator.fit(X_train, y_train)
        seconds = perf_counter() - began
    return seconds, estimator.n_iter_, estimator.score(X_test, y_test)


def shape(name, folder):
    """Rows and columns of a table."""
    return load(name, folder)[0].shape


def about():
    """The BLAS that scikit-learn's products use."""
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "architecture", "num_threads")
    return [{key: pool.get(key) for key in keys} for pool in threadpool_info() if pool["user_api"] == "blas"]
