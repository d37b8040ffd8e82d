"""`make presets`: the presets for tables beside scikit-learn's MLP and gradient boosting: log-loss, accuracy, R², time.

    python bench/presets_report.py                      all tables and models, into docs/presets.md
    python bench/presets_report.py --tables letter --models preset --splits 0 --out build/presets.md
    python bench/presets_report.py --data FOLDER        where the tables lie

Means over random splits, three quarters to train on: texts one-hot, blanks median-filled, columns standardised, the
same for all; what a model does with its training rows besides, such as validation, is its own affair, and so is how
many cores it uses. scikit-learn's models have their defaults.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

import sklearn_tables
from fastreg import presets
from report import ROOT, describe, environment

TABLES = ("letter", "adult", "housing")
SPLITS = (10, 11, 12)  # the presets were chosen on 0, 1 and 2

# A classifier and a regressor each, for a seed.
MODELS = {
    "scikit-learn's MLP": (
        lambda seed: MLPClassifier(random_state=seed),
        lambda seed: MLPRegressor(random_state=seed),
    ),
    "the same, early_stopping=True": (
        lambda seed: MLPClassifier(early_stopping=True, random_state=seed),
        lambda seed: MLPRegressor(early_stopping=True, random_state=seed),
    ),
    "HistGradientBoosting": (
        lambda seed: HistGradientBoostingClassifier(random_state=seed),
        lambda seed: HistGradientBoostingRegressor(random_state=seed),
    ),
    "fastreg's preset": (
        lambda seed: presets.tabular_classifier(seed=seed),
        lambda seed: presets.tabular_regressor(seed=seed),
    ),
}
PUBLISHED = "RealMLP-TD 1.7, one split, not measured here"
REAL_MLP = {
    "letter": {"log-loss": 0.148, "accuracy": 0.9798, "seconds": 92},
    "housing": {"R²": 0.832, "seconds": 143},
}


def measured(make, table, folder, split):
    """{figure: value} of one model on one split of a table."""
    X, y = sklearn_tables.load(table, folder)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=split)
    model = make[table == "housing"](split)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of a training that 200 epochs do not end
        began = perf_counter()
        model.fit(X_train, y_train)
        seconds = perf_counter() - began
    if table == "housing":
        return {"R²": r2_score(y_test, model.predict(X_test)), "seconds": seconds}
    p = np.float64(model.predict_proba(X_test))
    right = accuracy_score(y_test, model.predict(X_test))
    return {"log-loss": log_loss(y_test, p / p.sum(axis=1, keepdims=True)), "accuracy": right, "seconds": seconds}


def mean(runs):
    return {figure: float(np.mean([run[figure] for run in runs])) for figure in runs[0]}


def markdown(found, env, splits):
    """The page: {table: {model: {figure: mean}}} as one table."""
    figures = {table: list(next(iter(models.values()))) for table, models in found.items()}
    heads = [f"{table}: {figure}" for table, names in figures.items() for figure in names]
    names = dict.fromkeys(name for models in found.values() for name in models)
    lines = [
        "# Presets on tables: `make presets`",
        "",
        *__doc__.strip().split("\n\n")[-1].splitlines(),
        "",
        f"Splits {', '.join(map(str, splits))}; the presets' settings were chosen on splits 0 to 2.",
        "",
        "```",
        describe(env),
        "```",
        "",
        "| | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    for name in names:
        cells = [cell(found[table].get(name, {}), figure) for table, wanted in figures.items() for figure in wanted]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(figures, figure):
    if figure not in figures:
        return "-"
    return f"{figures[figure]:.0f}" if figure == "seconds" else f"{figures[figure]:.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--models", default="", help="only those whose name contains this")
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument("--data", default=str(sklearn_tables.FOLDER), help="the folder of the tables")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "presets.md")
    options = parser.parse_args()
    found = {}
    for table in options.tables:
        absent = sklearn_tables.missing(table, options.data)
        if absent:
            print(f"{table}: skipped, {options.data} has no {', '.join(absent)}")
            continue
        found[table] = {}
        for name, make in MODELS.items():
            if options.models in name:
                runs = [measured(make, table, options.data, split) for split in options.splits]
                found[table][name] = mean(runs)
                print(f"{table:8} {name:30} {found[table][name]}", flush=True)
        if table in REAL_MLP:
            found[table][PUBLISHED] = REAL_MLP[table]
    if found:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(markdown(found, environment(), options.splits), encoding="utf-8")


if __name__ == "__main__":
    main()
