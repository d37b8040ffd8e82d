"""The peers: their report of invented times, the same training in each of them, and the peak."""

import subprocess
import sys

import pytest

import peers_report
from compare import PEAK, difference_after_five_steps, prove
from peers import PEERS, installed, peak
from peers_report import FASTREG, OPTIONAL, TARGETS
from report import environment
from workers import workers
from workloads import WORKLOADS

TIMES = {
    name: {"numpy": [40.0, 44.0], "jax": [30.0, 30.0], FASTREG: [10.0, 12.0], PEAK: [190.0, 200.0]}
    for name in WORKLOADS
}


@pytest.fixture
def finished():
    """A report of invented times."""
    runs = {threads: {"workloads": peers_report.summarize(TIMES)} for threads in ("1", "2")}
    env = environment() | {"threads": "1 and 2", "packages": {"jax": "0.10"}}
    return {"environment": env, "threads": runs}


def test_the_best_peer_and_the_share_of_the_best_peak():
    found = peers_report.summarize(TIMES)["digits"]
    assert (found["peak"], found["best_peer"], found["ratio"]) == (200.0, "jax", 3.0)
    flops = WORKLOADS["digits"].flops
    assert flops == pytest.approx(0.96e6, rel=0.01)
    assert found["trainers"][FASTREG]["share"] == pytest.approx(flops / 10e-6 / 200e9)


def test_without_a_peak_there_are_no_shares():
    found = peers_report.summarize({"wide": {name: runs for name, runs in TIMES["wide"].items() if name != PEAK}})
    assert found["wide"]["peak"] is None
    assert {one["share"] for one in found["wide"]["trainers"].values()} == {None}
    assert "-" in peers_report.table(found)


def test_the_table_has_a_column_for_each_workload():
    _, head, *lines = peers_report.table(peers_report.summarize(TIMES)).splitlines()
    assert head.split() == list(WORKLOADS) == list(TARGETS)
    digits = {text[:20].strip(): text[40:60].split() for text in lines}
    assert digits == {
        "NumPy": ["40.00", "12%", "10%"],
        "JAX": ["30.00", "16%", "0%"],
        "fastreg": ["10.00", "48%", "20%"],
        "peak, GFLOP/s": ["200"],
        "best peer": ["JAX"],
        "its time / fastreg's": ["3.00"],
        "at least": ["4.00"],
    }


def test_the_picture(finished, tmp_path):
    pytest.importorskip("matplotlib")
    peers_report.draw(finished, tmp_path / "peers.png")
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_peer_trains_the_same_networks(name):
    if not installed(name):
        pytest.skip(f"needs {PEERS[name].package}")
    with workers([name]) as running:
        prove(running, [WORKLOADS[workload] for workload in ("seed", "digits", "tab10")])


def test_a_worker_that_fails_is_named(capfd):
    ended = "the process of numpy ended with code 1: difference_after_five_steps"
    with pytest.raises(SystemExit, match=ended), workers(["numpy"]) as running:
        running["numpy"](difference_after_five_steps, None, "numpy")
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.skipif(peak.compiler() is None, reason="needs a C compiler")
def test_the_peak_of_every_level():
    done = subprocess.run([sys.executable, peak.__file__], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()] == peak.levels()
    assert all(float(word) > 0 for line in done.stdout.splitlines() for word in line.split()[2::2])


def test_no_more_threads_than_cores():
    with pytest.raises(SystemExit, match="1000000 threads need as many cores"), workers(["numpy"], 1_000_000):
        pass
