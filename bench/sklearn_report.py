"""`make sklearn-speed`: fastreg's MLPClassifier and MLPRegressor beside scikit-learn's, on real tables and one core.

    python bench/sklearn_report.py                       all tables, into build/sklearn_speed.json
    python bench/sklearn_report.py --tables digits       one of them
    python bench/sklearn_report.py --data FOLDER         where the tables lie that scikit-learn does not bring

Default parameters but for `tol=0`, `n_iter_no_change=inf` and a fixed number of epochs, the same for both; five seeds,
each a split of its own; fastreg and scikit-learn take turns, each in a process of its own on the same core, OpenBLAS
free to choose its kernels. A time is the least of the five seeds', its spread by how much the slowest exceeds it. Below
them the default run, which stops by itself, for one seed.
"""

import argparse
import json
from pathlib import Path

import sklearn_tables
from workers import be_fair, workers

EPOCHS = {"digits": 100, "letter": 20, "adult": 10, "housing": 20}
SEEDS = range(5)
HOMES = {"scikit-learn": ("sklearn.neural_network", "float64"), "fastreg": ("fastreg", "float64"),
         "fastreg float32": ("fastreg", "float32")}  # fmt: skip


def measured(processes, table, folder, settings, seeds):
    """{trainer: [(seconds, epochs, score) of each seed]}, in turns."""
    found = {name: [] for name in HOMES}
    for seed in seeds:
        for name, (home, dtype) in HOMES.items():
            found[name].append(processes[name](sklearn_tables.train, home, table, folder, dtype, seed, settings))
    return found


def line(name, runs, reference):
    """Time, spread, score, and how many times faster than the reference's runs."""
    seconds = [run[0] for run in runs]
    best, score = min(seconds), sum(run[2] for run in runs) / len(runs)
    spread = max(seconds) / best - 1
    faster = min(run[0] for run in reference) / best
    return f"    {name:16} {best:9.3f} s {spread:6.0%}  {runs[0][1]:5}  {score:8.4f}  {faster:6.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--data", default=str(sklearn_tables.FOLDER), help="the folder of the tables")
    parser.add_argument("--no-defaults", action="store_true", help="leave the runs that stop by themselves out")
    parser.add_argument("--json", default="build/sklearn_speed.json")
    options = parser.parse_args()
    be_fair()
    everything = {}
    with workers(HOMES) as processes:
        print(f"BLAS of scikit-learn: {processes['scikit-learn'](sklearn_tables.about)}")
        for table in options.tables:
            absent = sklearn_tables.missing(table, options.data)
            if absent:
                print(f"{table}: skipped, {options.data} has no {', '.join(absent)}")
                continue
            rows, columns = processes["fastreg"](sklearn_tables.shape, table, options.data)
            fixed = {"max_iter": EPOCHS[table], "tol": 0, "n_iter_no_change": float("inf")}
            cases = {f"{EPOCHS[table]} epochs": (fixed, SEEDS)}
            if not options.no_defaults:
                cases["default run, one seed"] = ({}, range(1))
            for case, (settings, seeds) in cases.items():
                found = measured(processes, table, options.data, settings, seeds)
                everything[f"{table}, {case}"] = found
                print(f"{table} ({rows} x {columns}), {case}")
                print(f"    {'':16} {'fit':>11} {'spread':>6}  {'epochs':>5}  {'score':>8}  {'faster':>6}")
                for name, runs in found.items():
                    print(line(name, runs, found["scikit-learn"]), flush=True)
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
