"""The shares of the FMA peak and the scan of neighbours: their arithmetic, and a real run of the smallest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastreg
import products


def test_the_two_sizes_of_a_line_stay_where_they_are():
    lines = list(products.lines_of_sizes(10, (16, 33)))
    assert lines[1] == [(8, 16, 33), (9, 16, 33), (10, 16, 33)]
    assert lines[5] == [(16, 8, 33), (16, 9, 33), (16, 10, 33)]
    assert lines[10] == [(33, 16, 8), (33, 16, 9), (33, 16, 10)]


def test_a_long_line_of_large_products_has_the_sizes_beside_multiples_of_16():
    line = next(line for line in products.lines_of_sizes(512, products.OTHERS) if line[0] == (15, 512, 512))
    assert [size[0] for size in line[:7]] == [15, 16, 17, 31, 32, 33, 47]
    assert line[-1] == (512, 512, 512)


def test_neighbours_are_one_or_an_eighth_apart():
    found = set(products.neighbours([(value, 8, 33) for value in range(14, 21)]))
    assert ((15, 8, 33), (16, 8, 33)) in found
    assert ((16, 8, 33), (18, 8, 33)) in found
    assert ((15, 8, 33), (17, 8, 33)) not in found


def test_the_slower_of_a_pair_is_named_first():
    costs = {"a": 1.0, "b": 3.0, "c": 2.9}
    pairs = [("a", "b"), ("b", "c"), ("c", "a")]
    assert sorted(products.slower(costs, pairs, 2)) == [(2.9, "c", "a"), (3.0, "b", "a")]


def test_targets_are_marked_in_float32():
    one = {"size": (128, 784, 512), "share": 0.81}
    assert products.verdict(one, "float32") == "-"
    assert products.verdict(one | {"share": 0.82}, "float32") == "+"
    assert products.verdict(one, "float64") == products.verdict({"size": (1, 1, 1), "share": 1}, "float32") == ""


def test_a_real_run(tmp_path):
    if not products.compilers.native_compilers():
        pytest.skip("no C compiler found")
    command = [sys.executable, products.__file__, "--quick", "--dtypes", "float32", "--out", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(Path(fastreg.__file__).parents[1])}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "products.json").read_text(encoding="utf-8"))
    levels = found["environment"]["level"]
    wanted = {(level, kind) for level in levels for kind in products.KINDS}
    assert {(one["level"], one["kind"]) for one in found["shares"]} == wanted
    assert all(one["share"] > 0 and one["dtype"] == "float32" for one in found["shares"])
    assert {(one["level"], one["kind"]) for one in found["neighbours"]} == wanted
    assert all(one["ratio"] >= 1 for one in found["neighbours"])
