"""fastreg against the hand-written NumPy loop on the six workloads: `python bench/compare.py`.

First the proof that both train the same network: the same start weights and batches, no dropout, and equal
weights after five steps. Then the timing: each trainer in a process of its own with one thread, all of them
in turn, the least of the repeats of each, and its ratio to NumPy's. A timed run is one call with all epochs.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

BASELINE = "numpy"
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
    """A trainer's own process: reads workload names, writes the microseconds per step of one run of each."""
    from workloads import WORKLOADS, make_data

    data = {}
    for line in sys.stdin:
        workload = WORKLOADS[line.strip()]
        if workload.name not in data:
            data = {workload.name: make_data(workload)}
            trainer(name, workload, *data[workload.name])[0]()  # warm-up
        train, _ = trainer(name, workload, *data[workload.name])
        start = time.perf_counter()
        train()
        print((time.perf_counter() - start) / workload.steps * 1e6, flush=True)


def start_server(name):
    command = [sys.executable, __file__, "--serve", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


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


def print_table(times, engines):
    """One line per workload; a spread is by how much the slowest repeat exceeds the fastest."""
    titles = "".join(f"{engine:>14}{'spread':>8}{'ratio':>8}" for engine in engines)
    print(f"{'us/step':10}{BASELINE:>12}{'spread':>8}{titles}")
    for workload_name, runs in times.items():
        best = {name: min(values) for name, values in runs.items()}
        spread = {name: f"{max(values) / best[name] - 1:.0%}" for name, values in runs.items()}
        line = f"{workload_name:10}{best[BASELINE]:12.2f}{spread[BASELINE]:>8}"
        for engine in engines:
            line += f"{best[engine]:14.2f}{spread[engine]:>8}{best[BASELINE] / best[engine]:8.2f}"
        print(line)


def print_environment():
    """What the figures depend on."""
    import numpy as np

    import fastreg

    cpuinfo = Path("/proc/cpuinfo")
    models = [ln for ln in cpuinfo.read_text().splitlines() if "model name" in ln] if cpuinfo.exists() else []
    cpu = models[0].split(":")[1].strip() if models else platform.processor()
    print(f"{cpu}, {os.cpu_count()} CPUs; Python {platform.python_version()}; one thread")
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        pools = [np.show_config(mode="dicts")["Build Dependencies"]["blas"]]
    else:
        pools = threadpool_info()
    for pool in pools:
        known = [str(pool[key]) for key in ("name", "internal_api", "version", "architecture") if key in pool]
        print(f"NumPy {np.__version__} with", *known)
    fastreg.show_config()


def main():
    from workloads import WORKLOADS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--engines", nargs="+", choices=("compiled", "reference"), default=["compiled"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print_environment()
    print("weights after 5 steps, largest difference from NumPy's relative to the largest weight:")
    for engine in arguments.engines:
        for name in arguments.workloads:
            difference = difference_after_five_steps(WORKLOADS[name], engine)
            print(f"  {engine} {name} {difference:.1e}", flush=True)
            if not difference <= 1e-4:
                raise SystemExit("not the same training: nothing is timed")
    times = measure([BASELINE, *arguments.engines], arguments.workloads, arguments.repeats)
    print_table(times, arguments.engines)


if __name__ == "__main__":
    if os.environ != fair_environment():  # BLAS reads its variables when it is loaded, so before NumPy
        os.execve(sys.executable, [sys.executable, *sys.argv], fair_environment())
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
