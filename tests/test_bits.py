"""Contract 4: same seed, same bits, for every compiler and every instruction level with FMA hardware."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastreg._core import table

TOOL = Path(__file__).parents[1] / "tools" / "bits.py"

# Trains networks that between them use every kernel of a fit, and prints a hash of all that came out.
TRAINING = """
import hashlib
import numpy as np
import fastreg as fr

rng = np.random.default_rng(0)
X = rng.normal(size=(203, 300))
labels, reals = np.argmax(X[:, :20], axis=1), X[:, :3] * X[:, 3:6]
penalty = fr.L1(1e-4) + fr.L2(1e-4)
optimizers = fr.SGD(0.05, momentum=0.9, nesterov=True), fr.AdamW(0.01)
hashed = hashlib.sha256()
for dtype in "float32", "float64":
    for optimizer in optimizers:
        for loss, y, units in ("cross_entropy", labels, 20), ("squared_error", reals, 3), ("binary_cross_entropy", reals > 0, 3):
            layers = [fr.Dropout(0.2), fr.Dense(70, "relu", weight_penalty=penalty), fr.Dropout(0.5),
                      fr.Dense(37, "tanh"), fr.Dense(17, "sigmoid"), fr.Dense(9, "leaky_relu"), fr.Dense(units)]
            net = fr.Network(layers, loss=loss, dtype=dtype, seed=7)
            history = net.fit(X, y, epochs=3, batch_size=33, optimizer=optimizer, n_threads=1)
            for value in (*net.parameters.values(), np.array(history["objective"]), net.forward(X)):
                hashed.update(np.ascontiguousarray(value).tobytes())
print(hashed.hexdigest())
"""


@pytest.fixture(scope="module")
def bits():
    """tools/bits.py as a module, where the sources of the kernels are beside the tests."""
    if not TOOL.exists():
        pytest.skip("no tools/bits.py: these tests run without the source tree")
    spec = importlib.util.spec_from_file_location("bits", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bits"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    missing = [path.name for path in (module.SETUP, module.KERNELS, module.PROGRAM) if not path.exists()]
    if missing:
        pytest.skip(f"no {missing[0]}: these tests run without the source tree")
    return module


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


def test_a_single_different_bit_is_seen(bits, measurements):
    """The comparison itself: one altered hash is reported, with the kernel's name."""
    fused = [m for m in measurements if m.fused]
    if len(fused) < 4:
        pytest.skip("one level with FMA hardware: nothing to compare it with")
    kernel = "gemm_nn"
    fused[-1].found[kernel], kept = ("0" * 16, fused[-1].found[kernel][1]), fused[-1].found[kernel]
    said = bits.differences(measurements)
    fused[-1].found[kernel] = kept
    assert len(said) == 1
    assert said[0].startswith(kernel)


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
