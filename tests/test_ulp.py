"""At most 2 ULP, and the same bits at every level: a quick sample of what `make ulp` does exhaustively."""

import importlib
import math
from dataclasses import replace

import pytest

from fastreg._core import table

INPUTS = 200_000


@pytest.fixture(scope="module")
def ulp():
    """tools/ulp.py as a module, where the sources of the kernels and a compiler are there."""
    compilers = pytest.importorskip("compilers", reason="no tools: these tests run without the source tree")
    if missing := compilers.missing_sources():
        pytest.skip(f"no {missing[0]}: these tests run without the source tree")
    if not compilers.native_compilers():
        pytest.skip("no C compiler found")
    return importlib.import_module("ulp")


@pytest.fixture(scope="module")
def rows(ulp, tmp_path_factory):
    toolchain = ulp.toolchains()[0]
    program = ulp.built(toolchain, tmp_path_factory.mktemp("ulp"))
    return list(ulp.table({toolchain: program}, sample=INPUTS))


def test_levels_with_fma_are_within_2_ulp_and_the_same(rows):
    assert [str(row) for row in rows if row.fails] == []


def test_everything_is_tried_at_every_level(ulp, rows):
    here = {level for level, runs in table.levels().items() if runs}
    for function in ulp.FUNCTIONS:
        for dtype in ulp.DTYPES:
            mine = [row for row in rows if (row.function, row.dtype) == (function, dtype)]
            assert {row.level for row in mine} >= here
            assert {row.inputs for row in mine} == {INPUTS}


def test_levels_without_fma_are_within_2_and_a_half(rows):
    """Sigmoid corrects its quotient by a remainder, which needs a fused multiply-add to be exact."""
    assert all(row.worst <= 2.5 for row in rows)


def test_the_sample_is_the_same_in_parts(ulp, rows):
    parts = [
        replace(rows[0], inputs=3, total=1.0, worst=w, at=w, differ=d, hash=2**63) for w, d in ((0.5, 0), (2.5, 1))
    ]
    both = parts[0] + parts[1]
    assert (both.inputs, both.total, both.worst, both.at, both.differ, both.hash) == (6, 2.0, 2.5, 2.5, 1, 0)


def test_what_is_inexact_or_differs_fails(ulp, rows):
    row = replace(rows[0], toolchain=replace(rows[0].toolchain, machine="aarch64"), worst=1.9, differ=0)
    assert not row.fails
    assert all(bad.fails for bad in (replace(row, worst=2.1), replace(row, worst=math.inf), replace(row, differ=1)))
