"""pool.c by itself, in a C program of its own."""

import subprocess

import pytest


@pytest.fixture(scope="module")
def compilers():
    found = pytest.importorskip("compilers", reason="no tools: these tests run without the source tree")
    if missing := found.missing_sources():
        pytest.skip(f"no {missing[0]}: these tests run without the source tree")
    if not found.native_compilers():
        pytest.skip("no C compiler found")
    return found


def test_a_stall_keeps_the_pool_idle_for_a_second_at_most(compilers, tmp_path):
    """As where a process is stopped and goes on: the caller has waited all the time."""
    program, sources = tmp_path / "stall", [compilers.PROGRAMS / "stall.c", compilers.KERNELS / "pool.c"]
    command = [*compilers.native_compilers()[0].compiler, "-std=gnu11", "-pthread", f"-I{compilers.KERNELS}"]
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True)
    output = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    assert output.split() == ["1", "1", "0", "1"]
