"""Every file in `examples/` runs as a user runs it: a fresh interpreter, warnings as errors, both engines."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastreg

EXAMPLES = Path(__file__).parent.parent / "examples"
PATHS = sorted(EXAMPLES.glob("*.py"))
NEEDS = dict.fromkeys(
    ("early_stopping_digits", "switch_from_sklearn", "text_003_augmentation", "text_003_combined"), "sklearn"
)

pytestmark = pytest.mark.skipif(not PATHS, reason="the tests run away from the source tree, without examples")


def run(path, *args):
    """Run a script with the fastreg of this test run, whether it is installed or lies beside the tests."""
    home = str(Path(fastreg.__file__).parent.parent)
    command = [sys.executable, "-W", "error", str(path), *args]
    env = os.environ | {"PYTHONPATH": home}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("engine", ["reference", "compiled"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_example_runs(path, engine):
    needed = NEEDS.get(path.stem)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{path.name} needs {needed}, which is not installed")
    result = run(path, engine)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.strip()


def test_compiled_is_the_default():
    """Without an argument an example uses the compiled engine and prints the same."""
    path = EXAMPLES / "text_000_single_neuron.py"
    assert run(path).stdout == run(path, "compiled").stdout


def test_digits_say_what_is_missing(tmp_path):
    """Without scikit-learn the digits example answers in one line, not with a traceback."""
    (tmp_path / "sklearn.py").write_text("raise ImportError('hidden by the test')\n")
    script = (
        f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); "
        f"runpy.run_path({str(EXAMPLES / 'early_stopping_digits.py')!r}, run_name='__main__')"
    )
    home = str(Path(fastreg.__file__).parent.parent)
    command = [sys.executable, "-c", script]
    env = os.environ | {"PYTHONPATH": home}
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert result.stderr.strip() == "This example reads the digits of scikit-learn: pip install scikit-learn"
