"""`make limits`: what must stay small: dropout's share of a step, one prediction, the import, memory; and scaling.

    python bench/limits.py                   all of them
    python bench/limits.py --only memory predict

Two things that are compared take turns, each in a process of its own; the best of several runs counts.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

from compare import data, measurement
from report import ROOT, describe, environment
from workers import be_fair, workers
from workloads import WORKLOADS, make_network, make_optimizer

REPEATS = 7
CALLS = 2000  # of predict in one measurement
PROCESSES = 20  # starts of the interpreter
KIB = 2.0**10

# ---- what runs in a process of its own


@cache
def network_for_digits():
    X, _ = data(WORKLOADS["digits"])
    return make_network(WORKLOADS["digits"]), X[:1]


def seconds_of_prediction():
    network, row = network_for_digits()
    network.predict(row)
    start = time.perf_counter()
    for _ in range(CALLS):
        network.predict(row)
    return (time.perf_counter() - start) / CALLS


def memory_of_fit(name, threads):
    """Bytes that `fit` takes at its height once the program itself is in memory, and those of the network."""
    workload = WORKLOADS[name]
    X, y = data(workload)
    network, optimizer, y = make_network(workload), make_optimizer(), y.astype("int32")
    network.predict(X[:1])
    small = WORKLOADS["digits"]
    make_network(small).fit(*data(small), epochs=1, optimizer=make_optimizer(), n_threads=threads)
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has given back would hide some of it
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the height from now on
    network.fit(X, y, epochs=1, batch_size=workload.batch, optimizer=optimizer, n_threads=threads)
    return resident("VmHWM") - before, sum(value.nbytes for value in network.parameters.values())


def resident(which):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


# ---- what is printed


def in_turn(running, calls):
    """The best of several measurements of each: {name: result}; calls are {name: (function, *arguments)}."""
    found = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            found[name].append(running[name](*call))
    return {name: min(results) for name, results in found.items()}


def dropout():
    """A step of `wide` with its dropout, and without."""
    wide = WORKLOADS["wide"]
    calls = {
        "with": (measurement, wide, "compiled", 1),
        "without": (measurement, wide.without_dropout(), "compiled", 1),
    }
    with workers(calls) as running:
        best = in_turn(running, calls)
    share = best["with"] / best["without"] - 1
    yield f"dropout   {best['with']:.0f} us a step of wide, {best['without']:.0f} without: {share:.1%} (limit 8 %)"


def predict():
    """One row of digits."""
    with workers(["digits"]) as running:
        best = in_turn(running, {"digits": (seconds_of_prediction,)})
    yield f"predict   {best['digits'] * 1e6:.2f} us for one row of digits (limit 5)"


def imports():
    """A process that imports fastreg, and one that imports NumPy, less one that does nothing."""
    sources = {"nothing": "", "numpy": "import numpy", "fastreg": "import fastreg"}
    found = {name: [] for name in sources}
    for _ in range(PROCESSES):
        for name, source in sources.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True)
            found[name].append(time.perf_counter() - start)
    least = {name: min(seconds) for name, seconds in found.items()}
    ours, theirs = (least[name] - least["nothing"] for name in ("fastreg", "numpy"))
    yield f"import    {ours * 1e3:.0f} ms, NumPy {theirs * 1e3:.0f} ms: {ours / theirs:.2f}x (limit 1.5x)"


def memory():
    """What a fit takes, beside what it may take."""
    if sys.platform != "linux":
        return
    for name in ("wide", "big"):
        for threads in (1, 2):
            with workers([name], threads) as running:
                grown, params = running[name](memory_of_fit, name, threads)
            parts = allowed(WORKLOADS[name], params, threads)
            text = ", ".join(f"{part} {size / KIB**2:.1f}" for part, size in parts.items())
            total = sum(parts.values()) / KIB**2
            over = f", {grown / KIB**2 - total:.1f} too much" if grown / KIB**2 > total else ""
            yield f"memory    {name}, {threads} thread(s): {grown / KIB**2:.1f} MiB, allowed {total:.1f}{over} ({text})"


def allowed(workload, params, threads):
    """The bound's parts in bytes: float32, SGD with one array of state; the widest layer bounds a thread's scratch."""
    widest = max(workload.sizes)
    return {
        "parameters x (2 + 1)": 3 * params,
        "best weights": params,
        "activations of a batch": 4 * workload.batch * (sum(workload.sizes) + 2 * max(workload.sizes[1:])),
        "row order": 8 * workload.rows,
        "scratch": 4 * threads * 64 * widest,
    }


def scaling():
    """Two threads against one, both with two cores to run on."""
    for name, least in (("tab100", None), ("wide", 1.6), ("big", 1.8)):
        calls = {str(threads): (measurement, WORKLOADS[name], "compiled", threads) for threads in (1, 2)}
        with workers(calls, 2) as running:
            best = in_turn(running, calls)
        limit = f" (at least {least})" if least else ""
        yield f"scaling   {name}: {best['1']:.0f} us, two threads {best['2']:.0f}: {best['1'] / best['2']:.2f}x{limit}"


LIMITS = {function.__name__: function for function in (dropout, predict, imports, memory, scaling)}


def main(arguments=None):
    """Measure and print, line by line; then write build/limits.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=LIMITS, default=list(LIMITS), metavar="LIMIT", help=" ".join(LIMITS)
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of limits.json")
    chosen = parser.parse_args(arguments)
    env, lines = environment(), []
    print(describe(env), "", sep="\n", flush=True)
    for name in chosen.only:
        for line in LIMITS[name]():
            print(line, flush=True)
            lines.append(line)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "limits.json").write_text(json.dumps({"environment": env, "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    import limits  # its functions are called by name in other processes: by this one

    be_fair()
    limits.main()
