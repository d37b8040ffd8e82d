"""`make cost`: the time of a step as width, depth, batch and number of rows grow: tables, JSON, picture.

    python bench/cost.py                           some five minutes, into build/cost.json and build/cost.png
    python bench/cost.py --along batch --rounds 1

One dimension grows at a time, the others stay as in `BASE`; there is no dropout. fastreg stands beside the best of its
peers, NumPy's loop and, where it is installed, JAX. A point has a kink, marked <, where the time of a floating-point
operation is more than 1.5 times that of the point before: something has outgrown a cache, or a path of the code.
Trainers and peak take turns as in peers_report.py; a time is the least of the rounds, the peak the best of all.
"""

import argparse
import time
from pathlib import Path

from compare import BASELINE, PEAK, measure, prove
from peers import PEERS, installed, peak
from peers_report import COLORS, FASTREG, describe_peers, versions
from report import ROOT, UNIT, agreement, environment, write
from workers import be_fair, workers
from workloads import Workload

INPUTS, CLASSES = 32, 10
BASE = {"width": 128, "depth": 2, "batch": 128, "rows": 8192}  # width and number of the hidden layers
ALONG = {
    "width": [2**power for power in range(3, 12)],
    "depth": [1, 2, 4, 8, 16],
    "batch": [2**power for power in range(13)],
    "rows": [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
}
KINK = 1.5
HUES = COLORS | {FASTREG: "#d1495b"}


def point(dimension, value):
    """A workload with one dimension set, and the others as in `BASE`."""
    at = BASE | {dimension: value}
    sizes = (INPUTS, *[at["width"]] * at["depth"], CLASSES)
    return Workload(f"{dimension} {value}", sizes, at["rows"], at["batch"], 1, (0.0,) * (at["depth"] + 1))


# ---- the figures


def summarize(dimension, times, gflops):
    """A list of points: value, FLOPs per step, and for each trainer time, GFLOP/s, share of the peak, kink or not."""
    points = []
    for value in ALONG[dimension]:
        workload = point(dimension, value)
        trainers = {name: figures(workload.flops, runs, gflops) for name, runs in times[workload.name].items()}
        for name, one in trainers.items():
            one["kink"] = bool(points) and points[-1]["trainers"][name]["gflops"] > KINK * one["gflops"]
        points.append({"value": value, "flops": workload.flops, "trainers": trainers})
    return points


def figures(flops, runs, gflops):
    """Those of one trainer at one point, its kink apart."""
    best = min(runs)
    rate = flops / best / 1e3
    return {"best": best, "runs": runs, "gflops": rate, "share": rate / gflops if gflops else None}


def table(dimension, points):
    """A line for each point, with three columns for each trainer."""
    names = list(points[0]["trainers"])
    lines = [f"{dimension:>9}" + "".join(f"{PEERS[name].label:>12}{'GFLOP/s':>9}{'share':>6}  " for name in names)]
    for found in points:
        lines.append(f"{found['value']:9,}" + "".join(cell(found["trainers"][name]) for name in names))
    return "\n".join(line.rstrip() for line in lines)


def cell(one):
    share = "-" if one["share"] is None else f"{one['share']:.0%}"
    return f"{one['best']:12,.2f}{one['gflops']:9.1f}{share:>6} {'<' if one['kink'] else ' '}"


# ---- the picture


def draw(report, path):
    """For each dimension the time of a step, with the floor that the peak sets, and circles around kinks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), dpi=150, layout="constrained")
    for axes, (dimension, points) in zip(figure.subplots(2, 2).flat, report["along"].items()):
        draw_along(axes, points, report["peak"])
        axes.set_xlabel(dimension, fontsize=9)
        axes.set_ylabel(UNIT, fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    fixed = ", ".join(f"{name} {value:,}" for name, value in report["base"].items())
    figure.suptitle(
        f"{describe_peers(report['environment'])}\n{INPUTS} inputs; where it does not grow: {fixed}", fontsize=8
    )
    figure.savefig(path)


def draw_along(axes, points, gflops):
    """The lines of one dimension, both scales logarithmic."""
    values = [found["value"] for found in points]
    for name in points[0]["trainers"]:
        ones = [found["trainers"][name] for found in points]
        axes.plot(values, [one["best"] for one in ones], ".-", color=HUES[name], label=PEERS[name].label)
        kinks = [(value, one["best"]) for value, one in zip(values, ones) if one["kink"]]
        axes.scatter(*zip(*kinks or [([], [])]), s=90, facecolors="none", edgecolors=HUES[name])
    if gflops:
        floor = [found["flops"] / gflops / 1e3 for found in points]
        axes.plot(values, floor, "--", color="black", linewidth=1, label="all of it at the peak")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [f"{value:,}" for value in values], fontsize=6)
    axes.set_xticks([], minor=True)
    axes.spines[["top", "right"]].set_visible(False)


# ---- all of it


def measure_rounds(running, points, rounds, threads, minutes):
    """Measurements of all points, round by round while there is time: a disturbance does not hit a point twice."""
    times = {one.name: {name: [] for name in running} for one in points}
    start = time.monotonic()
    for number in range(rounds):
        for one in points:
            if number and time.monotonic() > start + 60 * minutes:
                return times
            for name, runs in measure(running, [one], 1, threads)[one.name].items():
                times[one.name][name] += runs
        print(f"round {number + 1} of {rounds}: {time.monotonic() - start:.0f} s", flush=True)
    return times


def main(arguments=None):
    """Prove, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--along", nargs="+", choices=ALONG, default=list(ALONG), metavar="DIMENSION")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=5, help="measure no point a second time after that")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of cost.json and cost.png")
    chosen = parser.parse_args(arguments)
    env = environment() | {"threads": chosen.threads, "packages": versions()}
    print(describe_peers(env))
    points = [point(dimension, value) for dimension in chosen.along for value in ALONG[dimension]]
    names = [BASELINE, *["jax"] * installed("jax"), FASTREG, *[PEAK] * (peak.compiler() is not None)]
    with workers(names, chosen.threads) as running:
        differences = prove(running, [point("width", BASE["width"])], chosen.threads)
        print(f"the same weights after five steps, {agreement(differences)}", flush=True)
        times = measure_rounds(running, points, chosen.rounds, chosen.threads, chosen.minutes)
    gflops = max((run for by_trainer in times.values() for run in by_trainer.pop(PEAK, [])), default=None)
    along = {dimension: summarize(dimension, times, gflops) for dimension in chosen.along}
    print(f"{UNIT}, < at a kink; " + (f"peak {gflops:.0f} GFLOP/s" if gflops else "no peak without a C compiler"))
    print(*(f"\n{table(dimension, points)}" for dimension, points in along.items()), "", sep="\n")
    found = {"unit": UNIT, "base": BASE, "peak": gflops, "differences": differences, "along": along}
    write({"environment": env} | found, chosen.out, "cost", draw)


if __name__ == "__main__":
    be_fair()
    main()
