"""The cost of growing: its points, its kinks, its tables and its picture, of invented times."""

import pytest

import cost
from report import environment

DEPTHS = cost.ALONG["depth"]
TIMES = {f"depth {depth}": {"numpy": [20.0 * depth, 30.0 * depth], "compiled": [10.0 * depth]} for depth in DEPTHS}
TIMES["depth 8"]["compiled"] = [200.0, 190.0]


def test_one_dimension_grows():
    assert cost.point("depth", 3).sizes == (32, 128, 128, 128, 10)
    assert cost.point("width", 8).sizes == (32, 8, 8, 10)
    assert cost.point("batch", 1).steps == cost.BASE["rows"]
    for dimension, value in cost.BASE.items():
        batch_128 = cost.point(dimension, value)
        assert (batch_128.sizes, batch_128.rows, batch_128.batch) == ((32, 128, 128, 10), 8192, 128)


def test_a_kink_is_a_jump_of_the_time_of_an_operation():
    points = cost.summarize("depth", TIMES, 100.0)
    assert [found["trainers"]["compiled"]["kink"] for found in points] == [False, False, False, True, False]
    assert not any(found["trainers"]["numpy"]["kink"] for found in points)


def test_the_least_time_counts():
    first = cost.summarize("depth", TIMES, 100.0)[0]
    numpy = first["trainers"]["numpy"]
    assert (numpy["best"], numpy["runs"]) == (20.0, [20.0, 30.0])
    assert numpy["gflops"] == pytest.approx(first["flops"] / 20e-6 / 1e9)
    assert numpy["share"] == pytest.approx(numpy["gflops"] / 100)


def test_a_line_for_each_point():
    head, *lines = cost.table("depth", cost.summarize("depth", TIMES, None)).splitlines()
    assert head.split()[:2] == ["depth", "NumPy"]
    assert [int(line.split()[0]) for line in lines] == DEPTHS
    assert [line.endswith("<") for line in lines] == [False, False, False, True, False]
    assert all(line.split()[3] == "-" for line in lines)


@pytest.mark.parametrize("gflops", [None, 100.0])
def test_the_picture(gflops, tmp_path):
    pytest.importorskip("matplotlib")
    env = environment() | {"packages": {}}
    along = {"depth": cost.summarize("depth", TIMES, gflops)}
    cost.draw({"environment": env, "base": cost.BASE, "peak": gflops, "along": along}, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_no_second_round_when_time_is_up():
    answers = {"compiled": lambda *question: 1.0}
    points = [cost.point("depth", depth) for depth in (1, 2)]
    times = cost.measure_rounds(answers, points, rounds=3, threads=1, minutes=0)
    assert times == {"depth 1": {"compiled": [1.0]}, "depth 2": {"compiled": [1.0]}}
