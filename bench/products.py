"""`make products`: how near the products come to the FMA peak, and whether any size falls out of line.

    python bench/products.py                                   into build/products.json
    python bench/products.py --levels avx512 --dtypes float32
    python bench/products.py --quick                           one small size and its neighbours: does it run?

First the share of the peak, which products.c measures between the products, at sizes that occur. Then the neighbours:
lines of sizes on which one of batch, inputs and units grows from 8 to 512; the time per FLOP of each size over that of
its neighbours. What looks slow is measured again, so that only what stays slow counts.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from report import ROOT, environment

sys.path.insert(0, str(ROOT / "tools"))

import compilers

PROGRAM = Path(__file__).with_name("products.c")
KINDS, DTYPES = ("nn", "nt", "tn"), ("float32", "float64")
# (batch, inputs, units): the layers of the workloads, and larger ones
SIZES = [(32, 64, 64), (32, 64, 32), (32, 32, 10), (200, 10, 64), (200, 64, 64), (200, 64, 2), (256, 100, 256)]
SIZES += [(256, 256, 256), (128, 784, 512), (128, 512, 256), (128, 256, 128), (128, 128, 10), (512, 1024, 1024)]
SIZES += [(512, 1024, 10), (1024, 1024, 1024), (2048, 2048, 2048)]
TARGETS = {(512, 1024, 1024): 0.88, (128, 784, 512): 0.82, (32, 64, 64): 0.75}  # share of the peak, float32
SECONDS, ROUNDS = 0.002, 7  # of a timing

LEAST, MOST = 8, 512
OTHERS = (8, 16, 33, 64, 100, 256, 512)  # what the two sizes are that stay the same on a line
FEW = 9_000  # where their product is larger, only sizes beside the multiples of 16 are timed
RATIO = 2.2  # of the time per FLOP to that of a neighbour, at most
SUSPICIOUS = 1.6
FIRST_SECONDS, AGAIN_SECONDS, AGAIN_ROUNDS, PASSES = 2e-5, 5e-4, 4, 3


# ---- the program


def build(folder):
    """Compile with the first compiler found; return (the program, the compiler's name)."""
    found = compilers.native_compilers()
    if not found:
        raise SystemExit("no C compiler found: install gcc or clang")
    return compilers.build(found[0], folder, PROGRAM, also={"peak": PROGRAM})[0], found[0].name


def levels_here(program):
    """The levels that this machine runs, of x86-64 only those with FMA hardware."""
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    return [level for level in found if level != "baseline" or compilers.HOST == "aarch64"]


def time(command, cases, seconds, rounds):
    """[(seconds of a call, peak in FLOP/s), ...] of the cases (kind, size), in this order."""
    requests = "".join("{} {} {} {} {} {}\n".format(kind, *size, seconds, rounds) for kind, size in cases)
    done = subprocess.run(command, input=requests, capture_output=True, text=True, check=True)
    return [tuple(map(float, line.split())) for line in done.stdout.splitlines()]


def flops(size):
    batch, inputs, units = size
    return 2 * batch * inputs * units


# ---- share of the peak


def shares(command, sizes, seconds):
    """One dictionary for each size and kind: its FLOP/s, the peak that was measured in between, their ratio."""
    cases = [(kind, size) for size in sizes for kind in KINDS]
    found = []
    for (kind, size), (best, peak) in zip(cases, time(command, cases, seconds, ROUNDS)):
        rate = flops(size) / best
        found.append({"kind": kind, "size": size, "seconds": best, "rate": rate, "peak": peak, "share": rate / peak})
    return found


def verdict(one, dtype):
    """Whether a share meets its target: "+" or "-"; "" where there is none."""
    target = TARGETS.get(one["size"]) if dtype == "float32" else None
    return "" if target is None else "+" if one["share"] >= target else "-"


def table_of_shares(runs):
    """A row for each size; in the columns of {(level, dtype): shares} the three products."""
    head = f"{'share of the peak':20}" + "".join(f"{level + ' ' + dtype:24}" for level, dtype in runs)
    lines = [head, f"{'batch inputs units':20}" + "".join(f"{kind.upper():8}" for kind in KINDS) * len(runs)]
    for row in range(0, len(next(iter(runs.values()))), len(KINDS)):
        cells = [(one, dtype) for (_, dtype), found in runs.items() for one in found[row : row + len(KINDS)]]
        line = "{:5} {:6} {:5} ".format(*cells[0][0]["size"])
        lines.append(line + "".join(f"{one['share']:4.0%}{verdict(one, dtype):3}" for one, dtype in cells))
    return "\n".join(line.rstrip() for line in lines)


# ---- neighbours


def lines_of_sizes(most, others):
    """Lists of sizes that differ in one of batch, inputs and units alone."""
    for axis in range(3):
        for one in others:
            for two in others:
                values = [v for v in range(LEAST, most + 1) if one * two <= FEW or (v + 1) % 16 < 3]
                yield [(*(one, two)[:axis], value, *(one, two)[axis:]) for value in values]


def neighbours(line):
    """Pairs of sizes that are 1 or an eighth of the smaller apart."""
    (axis,) = (i for i in range(3) if line[0][i] != line[1][i])
    by_value = {size[axis]: size for size in line}
    for value, size in by_value.items():
        for step in {1, value // 8}:
            if value + step in by_value:
                yield size, by_value[value + step]


def slower(costs, pairs, ratio):
    """(ratio, slow size, fast size) of all pairs that are further apart than `ratio` in time per FLOP."""
    for one, two in pairs:
        if costs[one] < costs[two]:
            one, two = two, one
        if costs[one] > ratio * costs[two]:
            yield costs[one] / costs[two], one, two


def scan(command, kind, most, others):
    """The worst pair of neighbours, and all that are beyond RATIO, after what looks slow was measured again."""
    lines = list(lines_of_sizes(most, others))
    pairs = {pair for line in lines for pair in neighbours(line)}
    costs = {}

    def note(sizes, seconds, rounds):
        for size, (best, _) in zip(sizes, time(command, [(kind, size) for size in sizes], seconds, rounds)):
            costs[size] = min(best / flops(size), costs.get(size, float("inf")))

    note([size for line in lines for size in line * 2], FIRST_SECONDS, 0)
    for _ in range(PASSES):
        suspicious = sorted(slower(costs, pairs, SUSPICIOUS))
        note(sorted({size for _, *pair in suspicious for size in pair}), AGAIN_SECONDS, AGAIN_ROUNDS)
    ratio, slow, fast = max(slower(costs, pairs, 1))
    beyond = [pair for _, *pair in sorted(slower(costs, pairs, RATIO), reverse=True)]
    return {"kind": kind, "ratio": ratio, "size": slow, "neighbour": fast, "pairs": len(pairs), "beyond": beyond}


def line_of_scan(level, dtype, one):
    """The worst pair, the slower size first."""
    names = "({}, {}, {}) beside ({}, {}, {})".format(*one["size"], *one["neighbour"])
    says = f"; {len(one['beyond'])} of {one['pairs']} pairs beyond {RATIO}" if one["beyond"] else ""
    return f"{level:8} {dtype} {one['kind'].upper()} {one['ratio']:6.2f}  {names}{says}"


# ---- all of it


def main(arguments=None):
    """Build, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", nargs="+", metavar="LEVEL", help="default: all of this machine that have FMA")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--quick", action="store_true", help="one small size and its neighbours: does it run?")
    parser.add_argument("--only", choices=("shares", "neighbours"), help="one of the two parts")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of products.json")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        program, compiler = build(folder)
        chosen.levels = chosen.levels or levels_here(program)
        result = {"environment": environment() | {"level": chosen.levels, "compiler": compiler}}
        print(result["environment"]["cpu"], compiler, result["environment"]["commit"], "\n", flush=True)
        result |= measure(program, chosen)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "products.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("wrote", chosen.out / "products.json")


def measure(program, chosen):
    """Both parts for each level and dtype, printed as they come."""
    commands = {(level, dtype): [program, level, dtype] for level in chosen.levels for dtype in chosen.dtypes}
    result = {"shares": [], "neighbours": []}
    if chosen.only != "neighbours":
        sizes, seconds = (SIZES[:1], SECONDS / 10) if chosen.quick else (SIZES, SECONDS)
        runs = {run: shares(command, sizes, seconds) for run, command in commands.items()}
        print(table_of_shares(runs))
        for (level, dtype), found in runs.items():
            rates = sorted(one["peak"] / 1e9 for one in found)
            print(f"peak of {level} {dtype}: {rates[0]:.0f} to {rates[-1]:.0f} GFLOP/s")
            result["shares"] += [{"level": level, "dtype": dtype} | one for one in found]
    if chosen.only != "shares":
        most, others = (LEAST + 4, OTHERS[:1]) if chosen.quick else (MOST, OTHERS)
        print("\ntime per FLOP over that of a neighbour, at most:", flush=True)
        for (level, dtype), command in commands.items():
            for kind in KINDS:
                one = scan(command, kind, most, others)
                print(line_of_scan(level, dtype, one), flush=True)
                result["neighbours"].append({"level": level, "dtype": dtype} | one)
    return result


if __name__ == "__main__":
    main()
