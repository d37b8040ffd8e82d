"""The report: its table, its JSON, its picture, and a real run of the smallest workload."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import compare
import fastreg
import report
from compare import TRAINERS
from workloads import WORKLOADS

TIMES = {name: {"numpy": [40.0, 44.0], "reference": [50.0, 50.0], "compiled": [10.0, 12.0]} for name in WORKLOADS}


@pytest.fixture
def finished():
    """A report of invented times."""
    return {"environment": report.environment(), "unit": report.UNIT, "workloads": report.summarize(TIMES)}


def test_the_least_run_counts_and_the_spread_says_what_it_hides():
    digits = report.summarize(TIMES)["digits"]
    assert digits["compiled"] == {"best": 10.0, "spread": pytest.approx(0.2), "runs": [10.0, 12.0], "ratio": 4.0}
    assert digits["numpy"]["ratio"] == 1.0


def test_a_line_for_each_workload():
    head, *lines = report.table(report.summarize(TIMES)).splitlines()
    assert [line.split()[0] for line in lines] == list(WORKLOADS)
    assert {len(line) for line in lines} == {len(head)}
    digits = " ".join(lines[1].split())
    assert digits == "digits 64-64-32-10, batch 32 40.00 10% 50.00 0% 0.80 10.00 20% 4.00"


def test_the_environment_says_what_the_figures_depend_on():
    env = report.environment()
    assert env["threads"] == 1
    for name in ("date", "cpu", "level", "python", "numpy", "fastreg", "blas"):
        assert env[name], name
    assert len(report.describe(env).splitlines()) == 2


def test_the_picture(finished, tmp_path):
    pytest.importorskip("matplotlib")
    report.write(finished, tmp_path)
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_so(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report.write(finished, tmp_path)
    assert "pip install matplotlib" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench.json").read_text())["workloads"]["wide"]["compiled"]["ratio"] == 4.0
    assert not (tmp_path / "bench.png").exists()


@pytest.mark.parametrize("difference", [2e-4, float("nan")])
def test_a_different_training_is_not_timed(difference):
    answers = {"reference": lambda *question: 0.0, "compiled": lambda *question: difference}
    with pytest.raises(SystemExit, match="digits: not the same training, nothing is timed"):
        compare.prove(answers, [WORKLOADS["digits"]])


def test_a_real_run(tmp_path):
    command = [sys.executable, report.__file__, "--workloads", "seed", "--repeats", "2", "--out", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(Path(fastreg.__file__).parents[1])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert found["differences"]["seed"].keys() == set(TRAINERS[1:])
    assert all(len(found["workloads"]["seed"][trainer]["runs"]) == 2 for trainer in TRAINERS)
