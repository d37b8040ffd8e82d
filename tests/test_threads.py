"""Contracts 4 and 10: the same bits for any number of threads; none where they do not pay or may not be had.

Run as a program, this file is what the processes do that the tests start, and tools/threads.py for all combinations.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
import fastreg.threads

THREADS = (1, 2, 3, 4, 8)
LEVELS = [level for level, runs in fr.show_config("dict")["levels"].items() if runs and level != "baseline"]
TASKS = Path("/proc/self/task")
OPTIMIZERS = (fr.SGD(0.05), fr.SGD(0.02, momentum=0.9), fr.SGD(0.02, momentum=0.9, nesterov=True),
              fr.Adam(0.005), fr.AdamW(0.005))  # fmt: skip
LOSSES = ("cross_entropy", "soft labels", "binary_cross_entropy", "squared_error")
ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax")
DTYPES = ("float32", "float64")
AXES = (DTYPES, OPTIMIZERS, LOSSES, ACTIVATIONS)

linux = pytest.mark.skipif(not TASKS.exists(), reason="threads are counted in /proc")


# ---- trainings large enough to share


def table(rows, inputs):
    """Rows, and for each loss its targets and number of outputs."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, inputs)).astype("float32")
    logits = X[:, :20] + rng.normal(size=(rows, 20))
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    reals = X[:, :20] * X[:, 20:40]
    targets = logits.argmax(axis=1), soft, (reals[:, :3] > 0).astype(float), reals
    return X, dict(zip(LOSSES, targets))


NARROW = table(700, 300)  # batches of 256, the last one of 188
WIDE = table(2700, 530)  # batches of 1,500 and 1,200: weight gradients in stretches, more inputs than FR_SIDE


def network(dtype, loss, activation, inputs):
    outputs = 3 if loss == "binary_cross_entropy" else 20
    layers = [
        fr.Dropout(0.1), fr.Dense(200, activation, weight_penalty=fr.L1(1e-4) + fr.L2(1e-4)),
        fr.Dropout(0.3), fr.Dense(150, activation), fr.Dense(outputs),
    ]  # fmt: skip
    name = "cross_entropy" if loss == "soft labels" else loss
    return fr.Network(layers, loss=name, dtype=dtype, seed=5).build(inputs)


def digest(net, *arrays):
    """A hash of the flat parameter buffer, and of what else came out."""
    hashed = hashlib.sha256(net._model.weights)
    for array in arrays:
        hashed.update(np.ascontiguousarray(array))
    return hashed.hexdigest()


def narrow(dtype, optimizer, loss, activation, n_threads):
    """Two epochs of three steps."""
    X, targets = NARROW
    net = network(dtype, loss, activation, X.shape[1])
    history = net.fit(X, targets[loss], epochs=2, batch_size=256, optimizer=optimizer, n_threads=n_threads)
    return digest(net, np.array(history["objective"]))


def wide(dtype, optimizer, loss, activation, n_threads):
    """Two epochs of two steps with weighted rows; then two more with another number of threads; then inference."""
    X, targets = WIDE
    y, weights = targets[loss], np.arange(len(X)) % 4
    net = network(dtype, loss, activation, X.shape[1])
    for threads in (n_threads, 9 - n_threads):
        net.fit(X, y, epochs=1, batch_size=1500, optimizer=optimizer, sample_weight=weights, n_threads=threads)
    with usable(n_threads):  # inference uses all that it may
        figures = net.evaluate(X, y, sample_weight=weights)
        return digest(net, net.forward(X), np.array([figures["loss"], figures["penalty"]]))


def configurations():
    """Every value of an axis with every value of every other."""
    cells = list(enumerate(product(range(len(OPTIMIZERS)), range(len(ACTIVATIONS)))))
    grid = [(DTYPES[i // 4 % 2], OPTIMIZERS[o], LOSSES[(o + a) % 4], ACTIVATIONS[a]) for i, (o, a) in cells]
    large = [("float32", fr.Adam(0.005), "cross_entropy", "relu"), ("float64", OPTIMIZERS[2], "squared_error", "tanh")]
    return [(narrow, *axes) for axes in grid] + [(wide, *axes) for axes in large]


def part_of_product(dtype, number):
    """Every loss with every activation for a dtype and the optimizer of that number; each activation once large."""
    axes = [(dtype, OPTIMIZERS[number], loss, activation) for loss, activation in product(LOSSES, ACTIVATIONS)]
    large = [axes[(i + number) % len(LOSSES) * len(ACTIVATIONS) + i] for i in range(len(ACTIVATIONS))]
    return [(narrow, *each) for each in axes] + [(wide, *each) for each in large]


# ---- helpers


@contextmanager
def usable(threads):
    """Let this process use so many threads, whatever the machine has."""
    before = fastreg.threads.usable_threads
    fastreg.threads.usable_threads = lambda: threads
    try:
        yield
    finally:
        fastreg.threads.usable_threads = before


@contextmanager
def load(processes):
    """As many other processes that want a core each."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def threads_of_process():
    return {int(task.name) for task in TASKS.iterdir()}


def seconds_of(threads):
    """Seconds that some threads of this process have computed."""
    ticks = [(TASKS / str(thread) / "stat").read_text().rsplit(")", 1)[1].split()[11:13] for thread in threads]
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


# ---- what the processes compute


def compute_grid(repeats, burners, *part):
    """The hashes of every configuration, or of a part of the product, and the share of the work that workers did."""
    found = {}
    chosen = part_of_product(part[0], int(part[1])) if part else configurations()
    others = threads_of_process() if TASKS.exists() else set()
    with usable(64), load(int(burners)):
        for make, *axes in chosen:
            runs = [*THREADS] * int(repeats)
            random.Random(0).shuffle(runs)
            found[f"{make.__name__} {axes}"] = sorted({make(*axes, n_threads) for n_threads in runs})
    workers = threads_of_process() - others if TASKS.exists() else set()
    shared = seconds_of(workers) / time.process_time() if workers else None
    return {"level": fr.show_config("dict")["level"], "found": found, "shared": shared}


def compute_counts():
    """How many threads each of some fits has made, and the time that all of them took in idle 0.3 s afterwards."""
    X, targets = NARROW
    digits = np.random.default_rng(0).normal(size=(400, 64)), np.arange(400) % 10
    made, hashes = {}, {}

    def fit(name, n_threads, X=X, y=targets["cross_entropy"]):
        before = threads_of_process()
        net = fr.Network([fr.Dense(100 if X is NARROW[0] else 32, "relu"), fr.Dense(20)], loss="cross_entropy", seed=0)
        net.fit(X, y, epochs=2, n_threads=n_threads)
        made[name] = len(threads_of_process() - before)
        hashes[name] = digest(net)

    os.environ["OMP_NUM_THREADS"] = "1"
    fit("OMP_NUM_THREADS=1", None)
    os.environ["OMP_NUM_THREADS"] = "1,4"
    fit("OMP_NUM_THREADS=1,4", 8)
    del os.environ["OMP_NUM_THREADS"]
    mask = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mask)})
    fit("one CPU", None)
    os.sched_setaffinity(0, mask)
    with usable(64):
        fit("n_threads=1", 1)
        fit("small", None, *digits)
        fit("n_threads=3", 3)
        fit("n_threads=2 after 3", 2)
        fit("n_threads=8", 8)
    with usable(300):
        fit("n_threads=10**6", 10**6)
    masks = {re.search(r"SigBlk:\s*(\w+)", (task / "status").read_text()).group(1) for task in TASKS.iterdir()}
    before = seconds_of(threads_of_process())
    time.sleep(0.3)
    idle = seconds_of(threads_of_process()) - before
    return {"made": made, "hashes": hashes, "idle": idle, "blocked": sorted(masks)}


def compute_poor(stacks):
    """How many workers there are where the address space leaves room for so many stacks of 64 MiB; the bits."""
    import resource

    args = "float32", OPTIMIZERS[0], "cross_entropy", "relu"
    narrow(*args, 1)
    before = threads_of_process()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int((float(stacks) + 0.75) * 2**26), resource.RLIM_INFINITY))
    with usable(64):
        hashes = [narrow(*args, n_threads) for n_threads in (1, 8, 8)]
    return {"workers": len(threads_of_process() - before), "hashes": hashes}


# ---- running them


def start(name, *arguments, **settings):
    """Start this file as a program on the same fastreg."""
    paths = [str(Path(fr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"}
    env |= settings.pop("env", {})
    command = [sys.executable, str(Path(__file__).resolve()), name, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=env, text=True, **pipes, **settings)


def answer(process):
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return json.loads(output)


@pytest.fixture(scope="module")
def grids():
    return [answer(process) for process in [start("grid", 1, 0, env={"FASTREG_ISA": level}) for level in LEVELS]]


@pytest.fixture(scope="module")
def counts():
    return answer(start("counts"))


# ---- bits


def test_the_grid_has_every_pair_of_values():
    for i, j in combinations(range(len(AXES)), 2):
        pairs = {(axes[i], axes[j]) for _, *axes in configurations()}
        assert pairs >= set(product(AXES[i], AXES[j]))


@pytest.mark.skipif(not LEVELS, reason="the baseline is the only level here")
def test_neither_threads_nor_levels_change_a_bit(grids):
    assert [grid["level"] for grid in grids] == LEVELS
    for name in grids[0]["found"]:
        assert len({bits for grid in grids for bits in grid["found"][name]}) == 1, name
    assert len({bits for grid in grids for hashes in grid["found"].values() for bits in hashes}) == len(
        configurations()
    )


@linux
@pytest.mark.skipif(not LEVELS, reason="the baseline is the only level here")
def test_the_grid_was_shared(grids):
    assert all(grid["shared"] > 0.02 for grid in grids), [grid["shared"] for grid in grids]


def test_load_changes_no_bit():
    axes = "float32", OPTIMIZERS[3], "soft labels", "relu"
    with usable(64), load(os.cpu_count()):
        assert len({narrow(*axes, n_threads) for n_threads in THREADS * 3}) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 255, 257, 20_000])
def test_predictions_have_the_same_bits(dtype, rows):
    X, y = np.random.default_rng(1).normal(size=(rows, 300)).astype(dtype), np.arange(rows) % 20
    net = network(dtype, "cross_entropy", "tanh", 300)
    seen = set()
    for threads in THREADS:
        with usable(threads):
            outputs = np.concatenate([net.predict_proba(X), net.predict(X)[:, None]], axis=1)
            seen.add(digest(net, outputs, np.array(net.evaluate(X, y)["loss"])))
    assert len(seen) == 1


# ---- numbers of threads


@pytest.mark.parametrize("limit", ["", "0", "-3", "abc", "1.0", "²", "9" * 5000, ",1"])
def test_what_is_no_number_is_no_limit(limit, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    usable = fastreg.threads.usable_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert fastreg.threads.usable_threads() == usable


@linux
@pytest.mark.parametrize("why", ["OMP_NUM_THREADS=1", "OMP_NUM_THREADS=1,4", "one CPU", "n_threads=1", "small"])
def test_no_thread_is_made(counts, why):
    assert counts["made"][why] == 0


@linux
def test_threads_are_made_when_needed_and_kept(counts):
    made = [counts["made"][f"n_threads={threads}"] for threads in ("3", "2 after 3", "8", "10**6")]
    assert made == [2, 0, 5, 255 - 7]


@linux
def test_no_number_of_threads_changes_a_bit(counts):
    assert len({bits for name, bits in counts["hashes"].items() if name != "small"}) == 1


@linux
def test_idle_threads_do_not_compute(counts):
    """256 of them, for 0.3 s: half of what a single one takes that waits busily."""
    assert counts["idle"] <= 0.15


@linux
def test_workers_block_all_signals_but_those_of_a_crash(counts):
    import signal

    callers, workers = (int(mask, 16) for mask in counts["blocked"])
    blocked = {number for number in signal.valid_signals() if workers >> (number - 1) & 1}
    assert callers == 0
    assert blocked >= {signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPROF}
    assert not blocked & {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


@linux
@pytest.mark.parametrize("stacks", [0, 3])
def test_threads_that_the_system_refuses_change_no_bit(stacks):
    resource = pytest.importorskip("resource")
    limit = resource.RLIMIT_STACK

    def large_stacks():
        resource.setrlimit(limit, (2**26, resource.getrlimit(limit)[1]))

    found = answer(start("poor", stacks, preexec_fn=large_stacks))
    assert found["workers"] == stacks
    assert len(set(found["hashes"])) == 1


if __name__ == "__main__":
    print(json.dumps(globals()[f"compute_{sys.argv[1]}"](*sys.argv[2:])))
