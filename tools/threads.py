"""Do threads change a bit, and how soon is Ctrl-C answered?

    python tools/threads.py                  what tests/test_threads.py tries of each pair, in all combinations
    python tools/threads.py --repeats 5      each of them so often
    python tools/threads.py --burners 8      with so many other processes

Trains with 1, 2, 3, 4 and 8 threads every optimizer with every loss and activation in float32 and float64, dropout on,
at every instruction level with FMA hardware: alone, and while other processes want every core. Prints the share of the
work that the workers did in both. Then interrupts the trainings of tests/test_interrupts.py. Exit status 1 where a
configuration has more than one hash, for whatever level, number of threads and company.
"""

import argparse
import os
import random
import sys
from collections import defaultdict
from importlib import import_module
from itertools import product
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
grid, interrupts = import_module("test_threads"), import_module("test_interrupts")

REPEATS = 1
INTERRUPTS = 5  # of each training and number of threads; the slowest answer counts
THREADS = (1, 2, 4, 8)
LIMIT = 100  # milliseconds that an answer may take


# ---- bits


def show_bits(repeats, burners):
    """Print a line for each part of the product, and the sum; return whether anything differs."""
    hashes, trainings = defaultdict(set), 0
    for level, dtype, number in product(grid.LEVELS, grid.DTYPES, range(len(grid.OPTIMIZERS))):
        shares, done = [], 0
        for others in (0, burners):
            found, shared = trained(level, repeats, others, dtype, number)
            for name, bits in found.items():
                hashes[name].update(bits)
            shares.append("?" if shared is None else f"{shared:.0%}")
            done += len(found) * len(grid.THREADS) * repeats
        most, share = max(len(hashes[name]) for name in found), " and ".join(shares)
        line = f"{level:7} {dtype} {done} trainings, hashes of each: {most}, by workers {share}"
        print(f"{line}: {grid.OPTIMIZERS[number]}", flush=True)
        trainings += done
    lines = [f"{name}: {len(found)} hashes" for name, found in hashes.items() if len(found) > 1]
    verdict = f"{len(lines)} differ" if lines else "1 hash each"
    print(*lines, f"{trainings:,} trainings of {len(hashes)} configurations: {verdict}", sep="\n", flush=True)
    return bool(lines)


def trained(level, *arguments):
    """What a process of that level finds: {configuration: hashes}, and the share of the work that workers did."""
    part = grid.answer(grid.start("grid", *arguments, env={"FASTREG_ISA": level}))
    assert part["level"] == level
    return part["found"], part["shared"]


# ---- interrupts


def show_latencies():
    """Print milliseconds from the signal to KeyboardInterrupt, the largest of several, for numbers of threads."""
    print(f"\nCtrl-C, slowest of {INTERRUPTS}, ms (limit {LIMIT})", *(f"{n:>6}" for n in THREADS), flush=True)
    for name, (rows, inputs, layers, batch_size) in interrupts.TRAININGS.items():
        data = interrupts.table(rows, inputs)
        found = [1e3 * slowest(data, layers, batch_size, n_threads) for n_threads in THREADS]
        print(f"{name:34}", *(f"{milliseconds:6.1f}" for milliseconds in found), flush=True)


def slowest(data, layers, batch_size, n_threads):
    """Seconds that the slowest of several interrupts takes, each at another time of the training."""
    settings = {"epochs": 10**5, "batch_size": batch_size, "optimizer": interrupts.OPTIMIZER, "n_threads": n_threads}
    times, seconds = random.Random(0), []
    with grid.usable(max(THREADS)):
        for _ in range(INTERRUPTS):
            net = interrupts.network(*layers)
            seconds.append(interrupts.latency(lambda net=net: net.fit(*data, **settings), times.uniform(0.2, 0.4)))
    return max(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help=f"of each combination, alone and in company; {REPEATS} by default"
    )
    parser.add_argument("--burners", type=int, default=os.cpu_count(), help="other processes; as many as cores")
    given = parser.parse_args()
    if not grid.LEVELS:
        sys.exit("the baseline is the only level here: it has no bits to share with others")
    differs = show_bits(given.repeats, given.burners)
    show_latencies()
    return differs


if __name__ == "__main__":
    sys.exit(main())
