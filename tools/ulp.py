"""How far are exp, log, tanh, sigmoid and erf from the exact result, and do all levels give the same bits?

    python tools/ulp.py                          float32: all 2^32 inputs; float64: 10^7 of a sample
    python tools/ulp.py --sample 1000000         both: so many of the sample
    python tools/ulp.py --functions exp erf      these only

The first compiler found judges: every level that runs here, against the C library in a wider type (tests/c/ulp.c).
All others (tools/compilers.py tells which, arm64 under qemu among them) must give its bits on the sample. Prints the
errors in units in the last place of the exact result. Exit status 1 where a level with FMA hardware is more than 2 off,
or is not the same as the others.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from compilers import PROGRAMS, Toolchain, build, toolchains

PROGRAM = PROGRAMS / "ulp.c"
FUNCTIONS, DTYPES = ("exp", "log", "tanh", "sigmoid", "erf"), ("float32", "float64")
BOUND = 2  # ULP
SAMPLE, ALL = 10**7, 2**32
PROBE = b"#include <quadmath.h>\nint main(void) { return erfq(0) != 0; }\n"
TITLE = f"{'function':8} {'dtype':7} {'level':36} {'inputs':>13} {'max ULP':>8} {'at':>24} {'mean':>7} {'differ':>6}"


@dataclass(frozen=True)
class Row:
    """What was found for a function, dtype and level; without errors where only the bits were compared."""

    function: str
    dtype: str
    toolchain: Toolchain
    level: str
    inputs: int
    worst: float
    at: float
    total: float
    differ: int  # inputs with other bits than the highest level, or 1 for a sample with another hash
    hash: int
    judged: bool = True

    @property
    def fused(self):
        return self.toolchain.fused(self.level)

    @property
    def fails(self):
        return self.fused and (self.worst > BOUND or self.differ > 0)

    def __add__(self, part):
        """The row of two ranges of inputs together."""
        worse = max(self, part, key=lambda row: row.worst)
        inputs, total, differ = (getattr(self, n) + getattr(part, n) for n in ("inputs", "total", "differ"))
        hash_ = (self.hash + part.hash) % 2**64
        return replace(worse, inputs=inputs, total=total, differ=differ, hash=hash_)

    def __str__(self):
        level = self.level if self.judged else f"{self.level}, {self.toolchain.name}"
        errors = f"{self.worst:8.3f} {self.at:24.17g} {self.total / self.inputs:7.4f}" if self.judged else " " * 41
        differ = self.differ if self.fused else "-"
        return f"{self.function:8} {self.dtype} {level:36} {self.inputs:13,} {errors} {differ:>6}"


def built(toolchain, folder):
    """The path of the program, with libquadmath where the compiler has it."""
    probe = [*toolchain.compiler, "-xc", "-", "-lquadmath", "-o", f"{folder}/probe"]
    quad = subprocess.run(probe, input=PROBE, capture_output=True, check=False).returncode == 0
    return build(toolchain, folder, PROGRAM, ["-DFR_QUAD"] * quad, ["-lquadmath"] * quad)[0]


def measure(toolchain, program, function, dtype, how, inputs):
    """A row for each level, highest first; `how` is all, sample or bits. As many processes as there are cores."""

    def part(first):
        stop = min(first + step, inputs)
        command = [*toolchain.runner, program, function, dtype, how, first, stop]
        output = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout
        return [row(*line.split()) for line in output.splitlines()]

    def row(level, inputs, worst, at, total, differ, hash_):
        errors = float(worst), float(at), float(total)
        return Row(function, dtype, toolchain, level, int(inputs), *errors, int(differ), int(hash_), how != "bits")

    step = math.ceil(inputs / (4 * os.cpu_count()))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first, *others = pool.map(part, range(0, inputs, step))
    for other in others:
        first = [a + b for a, b in zip(first, other, strict=True)]
    return first


def table(programs, functions=FUNCTIONS, exhaustive=False, sample=SAMPLE):
    """Yield all rows. programs: {toolchain: path}, of which the first judges."""
    judge, *others = programs.items()
    for function in functions:
        for dtype in DTYPES:
            everything = exhaustive and dtype == "float32"
            yield from measure(*judge, function, dtype, *(("all", ALL) if everything else ("sample", sample)))
            wanted = [row.hash for row in measure(*judge, function, dtype, "bits", sample) if row.fused]
            for row in (row for other in others for row in measure(*other, function, dtype, "bits", sample)):
                if row.fused:
                    wanted = wanted or [row.hash]
                    yield replace(row, differ=int(row.hash != wanted[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=FUNCTIONS)
    parser.add_argument("--sample", type=int, help="inputs of the sample; without it float32 is tried exhaustively")
    given = parser.parse_args()
    found = [toolchain for toolchain in toolchains() if not toolchain.plain]
    if not found:
        sys.exit("no C compiler found: install gcc or clang, or `pip install ziglang`")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        programs = {}
        for i, toolchain in enumerate(found):
            (Path(folder) / str(i)).mkdir()
            programs[toolchain] = built(toolchain, Path(folder) / str(i))
        print(f"errors are those of {found[0].name}", TITLE, sep="\n", flush=True)
        for row in table(programs, given.functions, not given.sample, given.sample or SAMPLE):
            rows.append(row)
            print(row, flush=True)
    bad = sum(row.fails for row in rows)
    print(f"{bad} rows fail" if bad else f"levels with FMA: all within {BOUND} ULP, no result differs between them")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
