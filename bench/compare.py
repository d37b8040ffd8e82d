"""The trainers of a benchmark, the proof that they train the same network, and their times, taken in turns.

First the proof: the same start weights and batches, no dropout, and equal weights after five steps. Then the
timing: each trainer in a process of its own with one thread, all of them in turn; a timed run is one call with all
epochs. What becomes of the times is in report.py.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache

LEAST_SECONDS = 0.05
BASELINE = "numpy"
TRAINERS = (BASELINE, "reference", "compiled")
TOLERANCE = 1e-4  # of weights after five steps, relative to the largest; float32
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would keep OpenBLAS from its best for this CPU


def fair_environment():
    """This process's variables with one BLAS thread, and without those that force OpenBLAS's kernels."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    return environment | dict.fromkeys(THREADS, "1")


def train_baseline(workload, X, y, *, shuffle=True):
    """A function that trains from the start weights, and the flat parameters it works on."""
    from baseline_numpy import train
    from workloads import make_parameters

    parameters = make_parameters(workload)
    return lambda: train(workload, parameters, X, y, shuffle=shuffle), lambda: parameters


def train_fastreg(workload, X, y, *, shuffle=True, engine="compiled"):
    """The same for fastreg; the parameters are gathered from the network's named views."""
    import numpy as np

    from workloads import make_network, make_optimizer

    network = make_network(workload, engine)
    settings = {"epochs": workload.epochs, "batch_size": workload.batch, "optimizer": make_optimizer()}
    layers = range(len(workload.sizes) - 1)
    names = [f"{layer}.{field}" for field in ("weight", "bias") for layer in layers]
    return (
        lambda: network.fit(X, y, **settings, shuffle=shuffle, n_threads=1, verbose=0),
        lambda: np.concatenate([network.parameters[name].ravel() for name in names]),
    )


def trainer(name, workload, X, y, *, shuffle=True):
    """The pair (train, parameters) of "numpy" or of a fastreg engine."""
    if name == BASELINE:
        return train_baseline(workload, X, y, shuffle=shuffle)
    return train_fastreg(workload, X, y, shuffle=shuffle, engine=name)


@cache
def difference_after_five_steps(workload, engine):
    """Largest difference of a parameter between fastreg and NumPy, relative to the largest parameter."""
    import numpy as np

    from workloads import make_data

    epochs = 5 if workload.rows == 1 else 1
    short = replace(workload.without_dropout(), rows=min(workload.rows, 5 * workload.batch), epochs=epochs)
    X, y = make_data(short)
    ends = []
    for name in (BASELINE, engine):
        train, parameters = trainer(name, short, X, y, shuffle=False)
        train()
        ends.append(parameters())
    return float(np.abs(ends[1] - ends[0]).max() / np.abs(ends[0]).max())


def serve(name):
    """A trainer's own process: reads workload names, writes the microseconds per step of a measurement of each.

    A measurement is as many whole runs, each of a new network made beforehand, as fill `LEAST_SECONDS`: one of a
    millisecond would time the processor's way out of its sleep.
    """
    from workloads import WORKLOADS, make_data

    data, runs = {}, 1
    for line in sys.stdin:
        workload = WORKLOADS[line.strip()]
        if workload.name not in data:
            data = {workload.name: make_data(workload)}
            runs = 1 + int(LEAST_SECONDS / seconds_of([trainer(name, workload, *data[workload.name])[0]]))  # warm-up
        trains = [trainer(name, workload, *data[workload.name])[0] for _ in range(runs)]
        print(seconds_of(trains) / runs / workload.steps * 1e6, flush=True)


def seconds_of(trains):
    start = time.perf_counter()
    for train in trains:
        train()
    return time.perf_counter() - start


def start_server(name):
    """That process. BLAS reads its variables when it is loaded, so they are set before NumPy."""
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, __file__, name], env=fair_environment(), **pipe)


def ask(server, workload_name):
    """One timed run in that process, microseconds per step."""
    server.stdin.write(workload_name + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise SystemExit(f"a trainer's process ended with code {server.wait()} on workload {workload_name}")
    return float(answer)


def measure(names, workload_names, repeats):
    """Microseconds per step: {workload: {trainer: [repeat, ...]}}, the trainers taking turns."""
    servers = {name: start_server(name) for name in names}
    times = {}
    for workload_name in workload_names:
        times[workload_name] = {name: [] for name in names}
        for _ in range(repeats):
            for name, server in servers.items():
                times[workload_name][name].append(ask(server, workload_name))
    for server in servers.values():
        server.communicate()
    return times


if __name__ == "__main__":
    serve(sys.argv[1])
