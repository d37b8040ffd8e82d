"""Does a training that was killed, and resumed with other threads, end in the bits of one that never stopped?

    python tools/kill_runs.py [--kills 200] [--seed 0]

Trainings are `TRAININGS` with each of `OPTIMIZERS`. Each is first done without interruption. Then processes train the
same with a checkpoint every few steps, and are killed (SIGKILL) when they say that they have come to a step drawn at
random, wherever they are when the signal arrives: within a step, amid a write, between two. Where early stopping
watches, that step is drawn from its last epochs of patience. Another process resumes the checkpoint, with another
number of threads, and says what it ends with: a hash of parameters, optimizer memory, counters, every figure of the
history but the seconds, stop epoch and best epoch.

Prints how many are identical. Exit status 1 unless all are, and unless each process was killed amid its training.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np

import fastreg as fr
import fastreg.threads

KILLS = 200
EVERY = 7  # steps
STEPS_PER_EPOCH = 6
PATIENCE = 6
THREADS = (1, 2, 3, 4)
OPTIMIZERS = {"Nesterov": fr.SGD(0.05, momentum=0.9, nesterov=True), "Adam": fr.Adam(0.005)}
TRAININGS = {  # (share of dropped units, penalty, epochs, callbacks)
    "dropout": (0.3, None, 12, ()),
    "L1 and L2": (0.0, fr.L1(1e-3) + fr.L2(1e-3), 12, ()),
    "early stopping": (0.3, fr.L1(1e-3) + fr.L2(1e-3), 60, (fr.EarlyStopping(patience=PATIENCE),)),
}


def tables():
    """Rows whose labels are half noise, so that early stopping stops; batches large enough for several threads."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1100, 100)).astype("float32")
    y = np.where(rng.random(1100) < 0.5, rng.integers(0, 10, 1100), X[:, :10].argmax(axis=1))
    return (X[:600], y[:600]), (X[600:], y[600:])


def network(name):
    dropped, penalty, _, _ = TRAININGS[name]
    layers = [
        fr.Dropout(dropped), fr.Dense(128, "relu", weight_penalty=penalty),
        fr.Dropout(dropped), fr.Dense(10, weight_penalty=penalty),
    ]  # fmt: skip
    return fr.Network(layers, loss="cross_entropy", dtype="float64" if name == "L1 and L2" else "float32", seed=3)


# ---- what the processes do


class Tell:
    """Says so when a training has come to a step."""

    def __init__(self, step):
        self.every_steps = step

    def start(self, run):
        return self

    def after_steps(self, run):
        if run.step == self.every_steps:
            print("here", flush=True)


def train(name, optimizer, n_threads, path=None, step=None):
    """Do a whole training, with checkpoints where a path is given; return what it ends with."""
    (X, y), validation = tables()
    _, _, epochs, callbacks = TRAININGS[name]
    if path:
        callbacks = (*callbacks, fr.Checkpoint(path, every=EVERY, unit="steps"), Tell(step))
    net = network(name)
    history = net.fit(
        X, y, epochs=epochs, batch_size=-(-len(X) // STEPS_PER_EPOCH), optimizer=OPTIMIZERS[optimizer],
        validation=validation, metrics=["accuracy"], callbacks=list(callbacks), n_threads=n_threads,
    )  # fmt: skip
    return outcome(net, history)


def resume(name, n_threads, path):
    """Finish the training of a checkpoint; return what it ends with."""
    (X, y), validation = tables()
    callbacks = [*TRAININGS[name][3], Tell(1 << 40)]
    return outcome(*fr.resume(path, X, y, validation=validation, callbacks=callbacks, n_threads=n_threads))


def outcome(net, history):
    """Return a hash of all that must be the same, the number of epochs, and the best one."""
    state = net._state
    columns = [np.array(values) for name, values in history.items() if name != "seconds"]
    counts = np.array([state.epoch, state.step, history.n_epochs, history.best_epoch])
    digest = hashlib.sha256(history.ended.encode())
    for array in (net._model.weights, state.buffers, state.scalars, *columns, counts):
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest(), history.n_epochs, history.best_epoch


# ---- kills


def process(*arguments):
    command = [sys.executable, "-B", __file__, "--here", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(child):
    """Return what a process says that runs to its end."""
    out, _ = child.communicate(timeout=120)
    if child.returncode:
        raise RuntimeError(f"exit status {child.returncode} of {child.args}")
    return out.split()


def killed(name, optimizer, n_threads, path, step):
    """Train, and kill at a step; return whether the training was still going on."""
    child = process("train", name, optimizer, n_threads, path, step)
    with child:
        line = child.stdout.readline()
        child.kill()
        return line == "here\n" and child.wait() < 0


def attempt(rng, name, optimizer, expected, folder):
    """Kill a training and resume it; return "identical", "different" or "not killed"."""
    path = Path(folder) / "c.frg"
    path.unlink(missing_ok=True)
    n_epochs, best = int(expected[1]), int(expected[2])
    first = STEPS_PER_EPOCH * (best + 1) if TRAININGS[name][3] else EVERY
    step = rng.randint(first + 1, STEPS_PER_EPOCH * n_epochs - 1)
    threads = rng.sample(THREADS, 2)
    if not killed(name, optimizer, threads[0], path, step):
        return "not killed"
    return "identical" if said(process("resume", name, optimizer, threads[1], path)) == expected else "different"


def examine(kills, seed=0):
    """Kill so many trainings in turn; return how often each word came out, for each optimizer and training."""
    rng, words = random.Random(seed), {}
    kinds = list(product(OPTIMIZERS, TRAININGS))[:kills]
    expected = {(o, name): said(process("train", name, o, 1)) for o, name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(kills):
            optimizer, name = kinds[number % len(kinds)]
            word = attempt(rng, name, optimizer, expected[optimizer, name], folder)
            words.setdefault((optimizer, name), Counter())[word] += 1
    return words


def here(what, name, optimizer, n_threads, path=None, step=None):
    """Do what this process was started for."""
    os.environ.pop("OMP_NUM_THREADS", None)
    fastreg.threads.usable_threads = lambda: max(THREADS)  # however few cores there are
    if what == "train":
        print(*train(name, optimizer, int(n_threads), path, step and int(step)), flush=True)
        if path:
            sys.stdin.read()  # to be killed, if late
    else:
        print(*resume(name, int(n_threads), path))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"{KILLS} by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.here:
        return here(*given.here)
    total = Counter()
    for (optimizer, name), words in examine(given.kills, given.seed).items():
        print(f"{optimizer:10} {name:16} {dict(words)}")
        total += words
    print(f"killed and resumed with other threads: {total['identical']} of {given.kills} identical")
    return int(total["identical"] != given.kills)


if __name__ == "__main__":
    sys.exit(main())
