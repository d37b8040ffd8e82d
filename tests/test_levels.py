"""Each instruction level of this machine, forced by FASTREG_ISA in a process of its own.

The kernels' tests pass under each, equally many. Levels with FMA hardware give the same bits, kernel by
kernel and after a training; the baseline agrees to rounding. Run as a program, this file is what those
processes do.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr

HERE = Path(__file__).parent
LEVELS = [level for level, runs in fr.show_config("dict")["levels"].items() if runs]
MISSING = [level for level, runs in fr.show_config("dict")["levels"].items() if not runs]
FUSED = [level for level in LEVELS if level != "baseline"]
BASELINE_RTOL = {"float32": 1e-5, "float64": 1e-13}  # of the largest weight, after the training

needs_two = pytest.mark.skipif(len(FUSED) < 2, reason=f"this machine has {LEVELS}: nothing to compare")


# ---- what the processes compute


def trainings():
    """Short trainings by name: every activation, dropout, penalties, both losses, both optimizers."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 20))
    kinds = np.argmax(X[:, :4] + 0.3 * rng.normal(size=(150, 4)), axis=1)
    numbers = np.stack([X[:, 0] * X[:, 1], np.tanh(X[:, 2])], axis=1)
    tasks = {
        "cross_entropy": (kinds, 4, fr.SGD(0.05, momentum=0.9, nesterov=True)),
        "squared_error": (numbers, 2, fr.Adam(0.005)),
    }
    for dtype in BASELINE_RTOL:
        for loss, (y, outputs, optimizer) in tasks.items():
            layers = [
                fr.Dropout(0.1), fr.Dense(70, "relu", weight_penalty=fr.L1(1e-4) + fr.L2(1e-4)),
                fr.Dropout(0.3), fr.Dense(33, "tanh"), fr.Dropout(0.2), fr.Dense(17, "sigmoid"),
                fr.Dense(9, "leaky_relu"),
                fr.Dense(5, "softmax", bias_penalty=fr.L1(1e-4, method="clip")), fr.Dense(outputs),
            ]  # fmt: skip
            net = fr.Network(layers, loss=loss, dtype=dtype, seed=3)
            net.fit(X, y, epochs=12, batch_size=32, optimizer=optimizer, sample_weight=rng.uniform(0.5, 2, 150))
            yield f"{loss} {dtype}", np.concatenate([view.reshape(-1) for view in net.parameters.values()])


def kernel_digests():
    """A hash of all that each kernel computes in the cases of test_kernels.py."""
    import test_kernels as cases

    digests = {}
    for name, case, dtype in cases.CASES:
        digest = digests.setdefault(f"{name} {dtype}", hashlib.sha256())
        for arguments in cases.argument_sets(name, case, dtype):
            mine = {argument: cases.guard(value, dtype) for argument, value in arguments.items()}
            value = getattr(fr.kernels, name)(**cases.unwrap(mine))
            digest.update(b"" if value is None else value.hex().encode())
            for argument in cases.array_arguments(arguments):
                digest.update(mine[argument].array.tobytes())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def schedule_digests():
    """A hash of the factors of each schedule."""
    import test_schedules as cases

    return {repr(each): hashlib.sha256(each.factor(cases.T).tobytes()).hexdigest() for each in cases.ALL}


def compute(path):
    """Write the trained weights to a file; print the rest as JSON."""
    weights = dict(trainings())
    np.savez(path, **weights)
    config = fr.show_config("dict")
    print(
        json.dumps(
            {"level": config["level"], "forced": config["forced"], "kernels": kernel_digests() | schedule_digests()}
        )
    )


# ---- running them


def under(level, *command):
    """Start this Python with FASTREG_ISA=level on the same fastreg."""
    paths = [str(Path(fr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {
        "FASTREG_ISA": level, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, *command], env=env, text=True, **pipes)


def finished(process):
    output, _ = process.communicate(timeout=900)
    return process.returncode, output


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Per level: what `compute` printed, and the weights."""
    folder = tmp_path_factory.mktemp("levels")
    running = {level: under(level, HERE / "test_levels.py", folder / f"{level}.npz") for level in LEVELS}
    answers = {}
    for level, process in running.items():
        code, output = finished(process)
        assert code == 0, output
        with np.load(folder / f"{level}.npz") as weights:
            answers[level] = json.loads(output) | {"weights": dict(weights)}
    return answers


def sha256(weights):
    return hashlib.sha256(b"".join(array.tobytes() for array in weights.values())).hexdigest()


def test_the_kernels_tests_pass_under_each_level(record_property):
    tests = "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "test_kernels.py"
    running = {level: under(level, *tests) for level in LEVELS}
    passed = {}
    for level, process in running.items():
        code, output = finished(process)
        assert code == 0, f"{level}:\n{output[-3000:]}"
        passed[level] = int(re.search(r"^(\d+) passed\b", output, re.MULTILINE).group(1))
    record_property("passed", passed)
    print("kernel tests passed:", passed)
    assert len(set(passed.values())) == 1
    assert min(passed.values()) > 1000


def test_each_level_can_be_forced(computed):
    for level, answer in computed.items():
        assert answer["level"] == answer["forced"] == level


def test_without_force_it_is_the_highest():
    code, output = finished(under("", "-c", "import fastreg as fr; print(fr.show_config('dict')['level'])"))
    assert (code, output.strip()) == (0, LEVELS[-1])


@needs_two
def test_levels_with_fma_have_one_hash_of_trained_weights(computed, record_property):
    hashes = {level: sha256(computed[level]["weights"]) for level in FUSED}
    record_property("sha256", hashes)
    assert len(set(hashes.values())) == 1, hashes


@needs_two
def test_kernels_and_schedules_have_the_same_bits_on_levels_with_fma(computed):
    first, *others = (computed[level]["kernels"] for level in FUSED)
    for other in others:
        assert {name for name in first if first[name] != other[name]} == set()


@pytest.mark.skipif(not FUSED, reason="the baseline is the only level here")
def test_the_baseline_agrees_within_rounding(computed):
    baseline, fused = computed["baseline"]["weights"], computed[FUSED[0]]["weights"]
    for name, weights in fused.items():
        error = np.abs(baseline[name] - weights).max() / np.abs(weights).max()
        assert error < BASELINE_RTOL[name.split()[1]], name


def test_trainings_differ_and_move(computed):
    """The hash says something: other dtypes, losses and levels without FMA give other weights."""
    weights = computed[LEVELS[-1]]["weights"]
    assert len(weights) == 4
    assert all(np.isfinite(array).all() and array.std() > 0.01 for array in weights.values())
    assert len({sha256({name: array}) for name, array in weights.items()}) == 4


@pytest.mark.parametrize("level", ["avx1024", "AVX2", *MISSING])
def test_an_unknown_level_is_an_import_error_that_lists_the_others(level):
    code, output = finished(under(level, "-c", "import fastreg"))
    assert code != 0
    assert f"ImportError: FASTREG_ISA={level!r}" in output
    assert all(name in output for name in LEVELS)


if __name__ == "__main__":
    compute(sys.argv[1])
