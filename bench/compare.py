"""The proof that trainers train the same network, and their times, taken in turns.

First the proof: the same start weights and batches, no dropout, and equal weights after five steps. Then the
timing: each trainer in a process of its own, all of them in turn; a timed run is one call with all epochs. Who the
trainers are is in peers/, what becomes of the times is in report.py and peers_report.py.
"""

import time
from dataclasses import replace
from functools import cache, lru_cache

import peers
from peers import peak

BASELINE = "numpy"
TRAINERS = (BASELINE, "reference", "compiled")
PEAK = "peak"  # takes its turn among the trainers
LEAST_SECONDS = 0.05
PAUSE = 0.05  # seconds between two turns: threads that spin while they wait for work go to sleep
TOLERANCE = 1e-4  # of weights after five steps, relative to the largest; float32


# ---- what runs in a trainer's own process


@cache
def difference_after_five_steps(workload, name, threads=1):
    """Largest difference of a parameter from NumPy's, relative to the largest parameter.

    scikit-learn has no L1, and one output for two classes: it is compared with fastreg without L1, on three.
    """
    import numpy as np

    from workloads import make_data

    sizes, opponent, settings = workload.sizes, BASELINE, {}
    if name == "sklearn":
        sizes, opponent, settings = (*sizes[:-1], max(3, sizes[-1])), "compiled", {"l1": 0.0}
    rows = 4 * workload.batch + (workload.rows % workload.batch or workload.batch)  # the last batch as it is in a run
    short = replace(workload.without_dropout(), sizes=sizes, rows=rows, epochs=1)
    X, y = make_data(short)[0], np.arange(rows) % sizes[-1]  # every class occurs
    expected = parameters_after(peers.trainer(opponent, short, X, y, shuffle=False, **settings))
    found = parameters_after(peers.trainer(name, short, X, y, shuffle=False, threads=threads))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def parameters_after(trainer):
    train, parameters = trainer
    train()
    return parameters()


def measurement(workload, name, threads):
    """Microseconds per step of a trainer; GFLOP/s of the peak.

    It is as many whole runs, each of a new network made beforehand, as fill `LEAST_SECONDS`: one of a millisecond
    would time the processor's way out of its sleep.
    """
    if name == PEAK:
        return peak.gflops(threads)
    runs = runs_that_fill(workload, name, threads)
    return seconds_of([new_run(workload, name, threads) for _ in range(runs)]) / runs / workload.steps * 1e6


@cache
def runs_that_fill(workload, name, threads):
    """A number of runs. The first that is made for it warms up, and compiles where there is something to compile."""
    new_run(workload, name, threads)()
    return 1 + int(LEAST_SECONDS / seconds_of([new_run(workload, name, threads)]))


def new_run(workload, name, threads):
    return peers.trainer(name, workload, *data(workload), threads=threads)[0]


@lru_cache(maxsize=1)
def data(workload):
    from workloads import make_data

    return make_data(workload)


def seconds_of(trains):
    start = time.perf_counter()
    for train in trains:
        train()
    return time.perf_counter() - start


# ---- what is asked of all of them


def prove(workers, workloads, threads=1):
    """The differences after five steps, {workload: {trainer: ...}}; ends the program where one is too large."""
    differences = {}
    for workload in workloads:
        others = {name: call for name, call in workers.items() if name not in (BASELINE, PEAK)}
        found = {name: call(difference_after_five_steps, workload, name, threads) for name, call in others.items()}
        if not all(difference <= TOLERANCE for difference in found.values()):
            raise SystemExit(f"{workload.name}: not the same training, nothing is timed: {found}")
        differences[workload.name] = found
    return differences


def measure(workers, workloads, repeats, threads=1):
    """Measurements of trainers that take turns: {workload: {trainer: [repeat, ...]}}."""
    times = {}
    for workload in workloads:
        times[workload.name] = {name: [] for name in workers}
        for _ in range(repeats):
            for name, call in workers.items():
                time.sleep(PAUSE)
                times[workload.name][name].append(call(measurement, workload, name, threads))
    return times
