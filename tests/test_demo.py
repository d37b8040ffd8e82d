"""The demo: it runs as a user runs it, and every number of its tables is that of the networks it names."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
from fastreg import __main__, demo

HOME = str(Path(fr.__file__).parent.parent)
NAMES = ["none", "L2", "L1", "dropout", "all three"]
ROW = re.compile(
    r"(?P<name>none|L2|L1|dropout|all three) +(?P<accuracy>\S+) ±(?P<accuracy_std>\S+)"
    r" +(?P<loss>\S+) ±(?P<loss_std>\S+)"
    r" +(?P<gap>[+-]\S+) +(?:(?P<better>\d+)/(?P<splits>\d+) +)?(?P<zeros>\S+)%"
    r" +(?P<compiled>\S+) ms +(?P<numpy>\S+) ms +(?P<ratio>\S+)"
)
needs_sklearn = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="the demo trains on scikit-learn's data sets"
)


def run(*arguments, path=(), cwd=None):
    """Run `python -m fastreg`, warnings as errors; what is in the folders of `path` goes first."""
    command = [sys.executable, "-W", "error", "-m", "fastreg", *arguments]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), HOME]), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )


def rows(text):
    """The lines of a table as dicts of numbers, by name."""
    found = [match.groupdict() for match in map(ROW.fullmatch, text.splitlines()) if match]
    return {row.pop("name"): {figure: float(value or "nan") for figure, value in row.items()} for row in found}


@pytest.fixture(scope="module")
def task():
    """Breast cancer."""
    pytest.importorskip("sklearn", reason="the demo trains on scikit-learn's data sets")
    return demo.tasks()[1]


def trained(task, regularizers, seed, epochs):
    """The figures of one training, without the demo's own measuring."""
    training, validation, test = task.split(seed)
    net = regularizers.network(task.units, seed=seed)
    net.fit(*training, epochs=epochs, batch_size=32, optimizer=fr.Adam(1e-3))
    weights = [net.parameters[f"{i}.weight"] for i in range(3)]
    return {
        "accuracy": np.mean(net.predict(test[0]) == test[1]),
        "loss": -np.log(net.predict_proba(test[0])[np.arange(len(test[1])), test[1]]).mean(),
        "gap": net.evaluate(*validation)["loss"] - net.evaluate(*training)["loss"],
        "zeros": 100 * sum((w == 0).sum() for w in weights) / sum(w.size for w in weights),
    }


@needs_sklearn
def test_the_tables_say_what_the_networks_do(task, capsys):
    outcomes = demo.compare(task, splits=3, epochs=8)
    table = rows(capsys.readouterr().out)
    assert list(table) == list(outcomes) == NAMES
    mine = {r.name: [trained(task, r, seed, epochs=8) for seed in (100, 101, 102)] for r in demo.COMPARED}
    for name, row in table.items():
        for figure, unit in {"accuracy": 1e-3, "loss": 1e-3, "gap": 1e-3, "zeros": 0.1}.items():
            values = [figures[figure] for figures in mine[name]]
            assert row[figure] == pytest.approx(np.mean(values), abs=0.51 * unit)
            if f"{figure}_std" in row:
                assert row[f"{figure}_std"] == pytest.approx(np.std(values), abs=0.51 * unit)
        if name != "none":
            better = [a["loss"] < b["loss"] for a, b in zip(mine[name], mine["none"])]
            assert (row["better"], row["splits"]) == (sum(better), 3)


@needs_sklearn
def test_times_and_their_ratio(task, capsys):
    outcomes = demo.compare(task, splits=3, epochs=8)
    for name, row in rows(capsys.readouterr().out).items():
        seconds = [outcome.seconds for outcome in outcomes[name]]
        assert row["compiled"] == pytest.approx(1e3 * min(seconds[: demo.SPLITS_IN_NUMPY]), abs=0.051)
        low, high = (row["numpy"] + sign * 0.51 for sign in (-1, 1))
        assert low / (row["compiled"] + 0.06) - 0.06 <= row["ratio"] <= high / (row["compiled"] - 0.06) + 0.06


@needs_sklearn
def test_both_engines_train_the_same(task):
    engines = ("compiled", "reference")
    compiled, numpy = (demo.train(task, demo.ALL, seed=0, engine=engine, epochs=20) for engine in engines)
    assert compiled.loss == pytest.approx(numpy.loss, rel=1e-3)
    assert compiled.zeros == pytest.approx(numpy.zeros, abs=0.01)


@needs_sklearn
def test_parts_of_a_split_share_no_row(task):
    X, y = task.table
    parts = task.split(seed=3)
    assert [len(y) for _, y in parts] == [150, 169, 250]
    training = parts[0][0]
    np.testing.assert_allclose(training.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(training.std(axis=0), 1, rtol=1e-12)
    together = np.vstack([part for part, _ in parts])
    assert len(np.unique(together.round(9), axis=0)) == len(np.unique(X, axis=0)) == len(y)
    assert not np.array_equal(task.split(seed=4)[0][1], parts[0][1])


def test_what_is_compared():
    none, l2, l1, dropout, everything = demo.COMPARED
    assert (none.penalty, none.dropout) == (None, (0, 0))
    assert everything.penalty == l2.penalty + l1.penalty
    assert everything.dropout == dropout.dropout
    assert "Dropout" not in repr(none.network((4, 2)))
    assert repr(everything.network((4, 2))).count("Dropout") == 2


@needs_sklearn
def test_the_command(tmp_path):
    """All of it, on one split: two tables, progress, the verdict, and the picture where it says."""
    result = run("demo", "--splits", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    heads = re.findall(r"^(digits|breast cancer): \d+ rows to train on", result.stdout, re.MULTILINE)
    assert heads == ["digits", "breast cancer"]
    assert sum(1 for line in result.stdout.splitlines() if ROW.fullmatch(line)) == 10
    verdict = r"^  (none|all three) +best epoch \d+, (?:overfits after epoch \d+|does not overfit)$"
    assert re.findall(verdict, result.stdout, re.MULTILINE) == ["none", "all three"]
    if importlib.util.find_spec("tqdm"):
        # The bars of the two longest trainings: tqdm draws the first state of each once, the last one once or twice.
        assert len(re.findall(r"\b0/150 \[", result.stderr)) == 2
        assert result.stderr.count("150/150") >= 2
    if importlib.util.find_spec("matplotlib"):
        (picture,) = re.findall(r"^learning curves .*: (/.*|[A-Z]:.*)$", result.stdout, re.MULTILINE)
        assert Path(picture) == (tmp_path / "fastreg_demo.png").resolve()
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    else:
        assert "pip install matplotlib" in result.stdout


def test_without_scikit_learn_it_says_how_to_get_it(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ImportError('hidden by the test')\n")
    (tmp_path / "threadpoolctl.py").write_text("raise ImportError('hidden by the test')\n")
    result = run("demo", path=[tmp_path])
    assert result.returncode == 2
    assert result.stderr.strip() == "the demo needs the data sets of scikit-learn: pip install scikit-learn"


@pytest.fixture
def outcomes():
    """Of the first split; the numbers are made up."""
    history = fr.History(["loss", "penalty", "objective", "val_loss"])
    history.extend({"loss": [2, 1, 0.5], "penalty": [0, 0, 0], "objective": [2, 1, 0.5], "val_loss": [2, 1, 3]})
    outcome = demo.Outcome(history=history, accuracy=1, loss=1, gap=1, zeros=0, seconds=1)
    return {"none": [outcome], "all three": [outcome]}


def some_task():
    return demo.Task("tiny", (np.zeros((9, 2)), np.zeros(9)), n_train=3, n_val=3, units=(2,), axis=0)


def test_without_matplotlib_it_says_so(outcomes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert demo.curves(some_task(), outcomes, tmp_path / "a.png") == 0
    assert capsys.readouterr().out.endswith("without matplotlib: pip install matplotlib\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing/a.png", "a.nothing"])
def test_a_picture_that_cannot_be_written(outcomes, tmp_path, capsys, name):
    pytest.importorskip("matplotlib", reason="the picture is drawn by matplotlib")
    assert demo.curves(some_task(), outcomes, tmp_path / name) == 1
    assert capsys.readouterr().err.startswith("no picture of the learning curves: ")


@pytest.mark.parametrize("splits", ["0", "-1", "two", "1.5"])
def test_bad_number_of_splits(splits, capsys):
    with pytest.raises(SystemExit, match="2"):
        __main__.main(["demo", f"--splits={splits}"])
    assert f"argument --splits: must be an integer >= 1, got '{splits}'" in capsys.readouterr().err


def test_config_is_the_other_command():
    result = run("config")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("fastreg ")
