"""Contract 4: same seed, same bits, for every compiler and every instruction level with FMA hardware."""

import importlib
import os
import subprocess
import sys

import pytest

from fastreg._core import table

# Trains networks of all activations, losses and optimizers, and prints a hash of all that came out.
TRAINING = """
import hashlib
import numpy as np
import fastreg as fr

rng = np.random.default_rng(0)
X = rng.normal(size=(203, 300))
labels, reals = np.argmax(X[:, :20], axis=1), X[:, :3] * X[:, 3:6]
problems = ("cross_entropy", labels, 20), ("squared_error", reals, 3), ("binary_cross_entropy", reals > 0, 3)
problems += (fr.CrossEntropy(0.1), labels, 20), (fr.BinaryCrossEntropy(0.1), reals > 0, 3), ("absolute_error", reals, 3)
problems += (fr.Huber(0.5), reals, 3), (fr.Quantile((0.1, 0.5, 0.9)), reals[:, 0], 3), ("poisson", abs(reals), 3)
penalty = fr.L1(1e-4) + fr.L2(1e-4)
optimizers = fr.SGD(0.05, momentum=0.9, nesterov=True), fr.AdamW(0.01)
hashed = hashlib.sha256()
for dtype in "float32", "float64":
    for optimizer in optimizers:
        for loss, y, units in problems:
            first = fr.Dropout(0.2), fr.Dense(70, "relu", weight_penalty=penalty), fr.Dropout(0.5)
            hidden = fr.Dense(37, "tanh"), fr.Dense(17, "sigmoid"), fr.Dense(9, "leaky_relu")
            net = fr.Network([*first, *hidden, fr.Dense(units)], loss=loss, dtype=dtype, seed=7)
            history = net.fit(X, y, epochs=3, batch_size=33, optimizer=optimizer, n_threads=1)
            for value in (*net.parameters.values(), np.array(history["objective"]), net.forward(X)):
                hashed.update(np.ascontiguousarray(value).tobytes())
print(hashed.hexdigest())
"""


@pytest.fixture(scope="module")
def bits():
    """tools/bits.py as a module, where the sources of the kernels are beside the tests."""
    compilers = pytest.importorskip("compilers", reason="no tools: these tests run without the source tree")
    if missing := compilers.missing_sources():
        pytest.skip(f"no {missing[0]}: these tests run without the source tree")
    return importlib.import_module("bits")


@pytest.fixture(scope="module")
def measurements(bits):
    """What every compiler found here makes of the kernels, at every level that runs here."""
    toolchains = bits.toolchains()
    if not toolchains:
        pytest.skip("no C compiler found")
    return [m for toolchain in toolchains for m in bits.measure(toolchain)]


def test_compilers_levels_and_machines_compute_the_same_bits(bits, measurements):
    assert bits.differences(measurements) == []


def test_every_kernel_is_measured(measurements):
    for m in measurements:
        assert set(table.kernels()) < set(m.found), m


def test_what_differs_is_named(bits):
    def measurement(level, **changed):
        found = {"relu": ("aa", 1.0), "gemm_nt": ("bb", 2.0)} | changed
        return bits.Measurement(bits.Toolchain("cc", ("cc",), "x86_64"), level, "float32", found)

    first, rounded = measurement("avx2"), ("cc", 2.000001)
    assert bits.differences([first, measurement("avx512"), measurement("baseline", gemm_nt=rounded)]) == []
    for other in (measurement("avx512", gemm_nt=rounded), measurement("baseline", gemm_nt=("bb", 2.1))):
        (line,) = bits.differences([first, other])
        assert line.startswith("gemm_nt")


def test_fit_gives_the_same_bits_at_every_level():
    levels = [level for level, runs in table.levels().items() if runs and level != "baseline"]
    if len(levels) < 2:
        pytest.skip(f"this build has {len(levels)} levels with FMA hardware that run here: two are compared")
    hashes = set()
    for level in levels:
        environment = {**os.environ, "FASTREG_ISA": level}
        done = subprocess.run(
            [sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        hashes.add(done.stdout)
    assert len(hashes) == 1
