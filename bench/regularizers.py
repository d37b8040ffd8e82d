"""`make regularizers`: what each technique of regularization costs, and what it does by itself, on tables and images.

    python bench/regularizers.py                             all of it, into docs/regularizers.md
    python bench/regularizers.py --only dropout --out build/regularizers.md
    python bench/regularizers.py --data FOLDER               where the tables lie

Cost: by how much a training step of 784-512-256-128-10 units on batches of 256 grows, float32, one thread: the least
of many epochs with the technique, in turns with as many without it. Effect: by how much the log-loss of the test rows
falls, or their R² rises, against the same network, split and seed without it: the mean of three splits, and the
standard error of that mean. So greater is better, and what is within two standard errors of 0 is nothing. The network
has nothing else that regularizes, and few rows to train on, so that it overfits: the sizes stand below. Strengths are
usual ones, which nobody has tuned to these tables: the figures say what to expect of a technique that is just switched
on.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from report import ROOT, describe, environment
from techniques import TECHNIQUES
from trials import TASKS, cost, score
from workers import be_fair, cores, worker

SPLITS = (0, 1, 2)

# ---- the figures


def effects(numbers, tasks, folder):
    """{(number, task name): (gains on the splits)} of the techniques that fit a task; the plain scores by task name."""
    pairs = [(n, task) for task in tasks for n in numbers if TECHNIQUES[n].fits(task.shape, task.regression)]
    jobs = dict.fromkeys((n, True, task, folder, seed) for n, task in pairs for seed in SPLITS)
    jobs |= dict.fromkeys((opponent(n), False, task, folder, seed) for n, task in pairs for seed in SPLITS)
    with ProcessPoolExecutor(len(cores()), mp_context=get_context("spawn")) as pool:
        scores = dict(zip(jobs, pool.map(score, *zip(*jobs), chunksize=1), strict=True))
    gains = {
        (n, task.name): [
            scores[n, True, task, folder, seed] - scores[opponent(n), False, task, folder, seed] for seed in SPLITS
        ]
        for n, task in pairs
    }
    plain = {task.name: [scores[job] for job in jobs if job[2] is task and not job[1]] for task in tasks}
    return gains, {name: np.mean(found[: len(SPLITS)]) for name, found in plain.items()}


def opponent(number):
    """The first technique that is compared with the same network."""
    return next(n for n, other in enumerate(TECHNIQUES) if other.against == TECHNIQUES[number].against)


def costs(numbers):
    """{number: share}, measured one after the other in a process with a core of its own."""
    with worker("wide", 1) as call:
        return {number: call(cost, number) for number in numbers}


# ---- the page


def markdown(found, costs, plains, env):
    """The page: a table with a line for each technique."""
    heads = [f"{name}, {'R²' if TASKS[name].regression else 'log-loss'}" for name in plains]
    lines = [
        "# Techniques of regularization, one by one: `make regularizers`",
        "",
        *__doc__.strip().split("\n\n")[-1].splitlines(),
        "",
        *(f"- {describe_task(TASKS[name], score)}" for name, score in plains.items()),
        "",
        "```",
        describe(env),
        "```",
        "",
        "| technique | cost | " + " | ".join(heads) + " |",
        "|---|---|" + "---|" * len(heads),
    ]
    for number, share in costs.items():
        cells = [gain(found.get((number, name))) for name in plains]
        lines.append(f"| {TECHNIQUES[number].name} | {share:+.0%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gain(gains):
    """The mean, and its standard error."""
    if gains is None:
        return "-"
    return f"{np.mean(gains):+.3f} ± {np.std(gains, ddof=1) / len(gains) ** 0.5:.3f}"


def describe_task(task, score):
    figure = f"R² {score:.3f}" if task.regression else f"log-loss {-score:.3f}"
    units = "-".join(map(str, task.units))
    return (
        f"{task.name}: {task.rows:,} rows, hidden units {units}, {task.epochs} epochs of batches of {task.batch},"
        f" Adam(1e-3), the same rate throughout: {figure}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="techniques whose name contains this")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--data", help="the folder of the tables")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "regularizers.md")
    options = parser.parse_args()
    be_fair()
    import sklearn_tables

    folder = options.data or str(sklearn_tables.FOLDER)
    numbers = [n for n, technique in enumerate(TECHNIQUES) if options.only in technique.name]
    absent = {name: sklearn_tables.missing(name, folder) for name in options.tasks}
    for name, files in absent.items():
        if files:
            print(f"{name}: skipped, {folder} has no {', '.join(files)}")
    found, plains = effects(numbers, [TASKS[name] for name, files in absent.items() if not files], folder)
    page = markdown(found, costs(numbers), plains, environment())
    print(page)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
