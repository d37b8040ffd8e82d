"""Contract 10 among processes and other people's threads: nothing hangs, and every result is that of one thread.

Run as a program, this file is what the processes do that the tests start: `python test_processes.py CELL [TIMES]`.
"""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
import fastreg.threads

SECONDS = 60  # after which a process that hangs shows where
THREADS = (1, 2, 8)
METHODS = ("fork", "spawn", "forkserver")


# ---- work


def table():
    X = np.random.default_rng(0).normal(size=(700, 300)).astype("float32")
    return X, X[:, 0] * X[:, 1]


def trained(n_threads, seed=0, epochs=2):
    """The weights and predictions of a network whose steps are worth sharing, as bytes."""
    fastreg.threads.usable_threads = lambda: 64  # in the processes that this one starts as well
    X, y = table()
    net = fr.Network([fr.Dense(200, "relu"), fr.Dropout(0.3), fr.Dense(150), fr.Dense(1)], loss="squared_error", seed=seed)
    net.fit(X, y, epochs=epochs, batch_size=256, n_threads=n_threads)
    return net._model.weights.tobytes() + net.predict(X).tobytes()


def expected(seed=0):
    """What one thread finds, without a word to the pool."""
    before = fastreg.threads.usable_threads
    try:
        X, y = table()
        net = fr.Network([fr.Dense(200, "relu"), fr.Dropout(0.3), fr.Dense(150), fr.Dense(1)], loss="squared_error", seed=seed)
        fastreg.threads.usable_threads = lambda: 1
        net.fit(X, y, epochs=2, batch_size=256)
        return net._model.weights.tobytes() + net.predict(X).tobytes()
    finally:
        fastreg.threads.usable_threads = before
