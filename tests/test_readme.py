"""The README's first minute: its code runs, and prints what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")
def test_the_first_lines_print_what_the_readme_shows():
    pytest.importorskip("sklearn", reason="the README's first lines load scikit-learn's digits")
    code, printed = re.findall(r"```(?:python)?\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[:2]
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    if runs_on_fma():
        assert result.stdout == printed
    else:
        assert len(result.stdout.splitlines()) == len(printed.splitlines())


def runs_on_fma():
    """Whether this level has the bits that the README shows."""
    from fastreg import show_config

    config = show_config("dict")
    return config["level"] != "baseline" or "aarch64" in config["machine"] or "arm64" in config["machine"]
