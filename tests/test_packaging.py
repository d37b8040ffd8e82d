"""What an installation promises: a light import, one version, NumPy alone, types, an error that helps."""

import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import fastreg

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_import_is_light():
    heavy = ("sklearn", "scipy", "matplotlib", "pandas", "tqdm")
    result = run_python(f"import fastreg, sys; print([m for m in {heavy} if m in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_modules_are_attributes_after_a_plain_import():
    names = "augment callbacks layers losses metrics optimizers penalties preprocessing presets schedules"
    for name in names.split():
        result = run_python(f"import fastreg; print(fastreg.{name}.__name__)")
        assert result.stdout.strip() == f"fastreg.{name}", result.stderr


def test_import_leaves_the_process_alone():
    code = (
        "import random, signal, warnings, numpy as np\n"
        "def state():\n"
        "    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "    numpy_state = str(np.random.get_state()), np.geterr()\n"
        "    return random.getstate(), numpy_state, handlers, warnings.filters[:]\n"
        "before = state()\n"
        "import fastreg\n"
        "print(before == state())"
    )
    result = run_python(code)
    assert result.stdout.strip() == "True", result.stderr


@pytest.fixture
def installed():
    """The metadata of the installation; a bare in-place build has none."""
    try:
        return metadata.distribution("fastreg")
    except metadata.PackageNotFoundError:
        pytest.skip("fastreg is built in place but not installed")


def test_one_version(installed):
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]
    assert fastreg.__version__ == declared == installed.version


def test_numpy_is_the_only_requirement(installed):
    required = [line for line in installed.requires if "extra ==" not in line]
    assert [line.split(">")[0].strip() for line in required] == ["numpy"]


def test_types_are_shipped():
    package = Path(fastreg.__file__).parent
    assert (package / "py.typed").exists()
    compiled = {path.name.split(".")[0] for suffix in ("so", "pyd") for path in package.glob(f"_core/*.{suffix}")}
    assert compiled
    assert compiled == {path.stem for path in package.glob("_core/*.pyi")}


def test_every_public_name_exists():
    assert [name for name in fastreg.__all__ if not hasattr(fastreg, name)] == []


def test_a_missing_build_is_an_import_error_with_the_command(tmp_path):
    source = Path(fastreg.__file__).parent
    shutil.copytree(source, tmp_path / "fastreg", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    result = run_python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fastreg")
    assert result.returncode == 1
    assert "ImportError" in result.stderr
    assert "pip install -e ." in result.stderr.splitlines()[-1]
