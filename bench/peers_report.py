"""`make peers`: fastreg and the libraries one might take instead, on the six workloads: table, JSON, picture.

    python bench/peers_report.py                               into build/peers.json and build/peers.png
    python bench/peers_report.py --workloads digits --threads 1 --trainers jax

NumPy and fastreg are always among them, scikit-learn, PyTorch and JAX where they are installed. A time is the least of
the repeats, and its spread is by how much the slowest exceeds it. The peak is that of FMAs on the same cores,
measured in turn with the trainers, the best of the repeats; without a C compiler there is none. Cores change their
clock with what else the machine does: shares and ratios travel, microseconds do not.
"""

import argparse
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from compare import BASELINE, PEAK, measure, prove
from peers import PEERS, installed, peak
from report import (
    ROOT,
    UNIT,
    agreement,
    blas,
    describe,
    draw_scale,
    environment,
    figures,
    in_words,
    microseconds,
    shape,
    write,
)
from workers import be_fair, cores, workers
from workloads import WORKLOADS

FASTREG = "compiled"
OPTIONAL = ("sklearn", "torch", "torch.compile", "jax")
TARGETS = {"seed": 3, "digits": 4, "tab10": 2.75, "tab100": 1.65, "wide": 1.4, "big": 1.25}  # best peer / fastreg
COLORS = {"numpy": "#30638e", "sklearn": "#f79256", "torch": "#8d5a97", "torch.compile": "#c9a0dc", "jax": "#2a9d8f"}
PACKAGES = ("scikit-learn", "torch", "jax", "jaxlib")


# ---- the figures


def summarize(times):
    """{workload: its peak, its best peer, that one's time over fastreg's, and the figures of all trainers}."""
    found = {}
    for workload_name, by_trainer in times.items():
        gflops = max(by_trainer.get(PEAK, [0.0])) or None
        trainers = {name: figures(runs) for name, runs in by_trainer.items() if name != PEAK}
        for one in trainers.values():
            one["share"] = WORKLOADS[workload_name].flops / one["best"] / 1e3 / gflops if gflops else None
        best = min((name for name in trainers if name != FASTREG), key=lambda name: trainers[name]["best"])
        ratio = trainers[best]["best"] / trainers[FASTREG]["best"]
        found[workload_name] = {"peak": gflops, "best_peer": best, "ratio": ratio, "trainers": trainers}
    return found


def table(found):
    """A column per workload, a line per trainer: time, share of the peak, spread; then the ratio and its target."""
    columns, trainers = found.values(), next(iter(found.values()))["trainers"]
    lines = [f"{UNIT}, share of the peak, spread", line("", found)]
    for name in trainers:
        lines.append(line(PEERS[name].label, (cell(column["trainers"][name]) for column in columns)))
    peaks = [column["peak"] for column in columns]
    lines.append(line("peak, GFLOP/s", ("-" if peak is None else f"{peak:.0f}" for peak in peaks)))
    lines.append(line("best peer", (PEERS[column["best_peer"]].label for column in columns)))
    lines.append(line("its time / fastreg's", (f"{column['ratio']:.2f}" for column in columns)))
    lines.append(line("at least", (f"{TARGETS[name]:.2f}" for name in found)))
    return "\n".join(lines)


def line(label, cells):
    """One line; a text shorter than those of `cell` stands where they have their time."""
    return (f"{label:20}" + "".join(f"{text:>10}".ljust(20) for text in cells)).rstrip()


def cell(one):
    """20 characters, the time in the first ten."""
    share = "-" if one["share"] is None else f"{one['share']:.0%}"
    return f"{one['best']:10.2f}{share:>5}{one['spread']:5.0%}"


# ---- what they depend on


def versions():
    """The installed ones of the optional libraries."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_peers(env):
    """The environment with the other libraries, and what threadpoolctl finds in each trainer's process."""
    lines = [describe(env), ", ".join(f"{package} {number}" for package, number in env["packages"].items())]
    return "\n".join(filter(None, lines))


def describe_pools(pools):
    """One line per trainer."""
    texts = {name: "; ".join(" ".join(map(str, pool.values())) for pool in found) for name, found in pools.items()}
    return "\n".join(f"  {PEERS[name].label}: {text}" for name, text in texts.items())


# ---- the picture


def draw(report, path):
    """For each number of threads: how many times as long as fastreg each peer takes, on each workload."""
    from matplotlib.figure import Figure

    runs = report["threads"]
    rows = sum(len(run["workloads"]) for run in runs.values())
    figure = Figure(figsize=(8, 1.5 + len(runs) + 0.4 * rows), dpi=150, layout="constrained")
    for axes, (threads, run) in zip(figure.subplots(len(runs), squeeze=False)[:, 0], runs.items()):
        draw_run(axes, run["workloads"])
        axes.set_title(in_words(int(threads)), fontsize=9, loc="left")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle(describe_peers(report["environment"]), fontsize=8)
    figure.savefig(path)


def draw_run(axes, workloads):
    """A row for each workload with a dot for each peer, and a bar that no dot is to be left of."""
    rows, targets = range(len(workloads)), [TARGETS[name] for name in workloads]
    ratios = ratios_to_fastreg(workloads)
    for trainer, found in ratios.items():
        axes.scatter(found, rows, color=COLORS[trainer], label=PEERS[trainer].label, zorder=2)
    axes.scatter(targets, rows, marker="|", s=150, color="black", label="to reach", zorder=1)
    draw_scale(axes, sum(ratios.values(), targets), "times as long as fastreg takes (log scale)")
    times = [microseconds(found["trainers"][FASTREG]) for found in workloads.values()]
    names = [f"{name}: {shape(name)}\nfastreg {time} a step" for name, time in zip(workloads, times)]
    axes.set_yticks(rows, names, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)


def ratios_to_fastreg(workloads):
    """{peer: its time over fastreg's on each workload}."""
    by_workload = [{name: one["best"] for name, one in found["trainers"].items()} for found in workloads.values()]
    peers = [name for name in by_workload[0] if name != FASTREG]
    return {name: [best[name] / best[FASTREG] for best in by_workload] for name in peers}


# ---- all of it


def parse(arguments):
    there = [name for name in OPTIONAL if installed(name)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2][: len(cores())], metavar="N")
    parser.add_argument("--trainers", nargs="*", choices=there, default=there, metavar="NAME", help=" ".join(there))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of peers.json and peers.png")
    return parser.parse_args(arguments)


def run(chosen, threads):
    """Prove, measure and print for one number of threads."""
    workloads = [WORKLOADS[name] for name in chosen.workloads]
    names = [BASELINE, *chosen.trainers, FASTREG]
    with workers(names + [PEAK] * (peak.compiler() is not None), threads) as running:
        differences = prove(running, workloads, threads)
        found = summarize(measure(running, workloads, chosen.repeats, threads))
        pools = {name: running[name](blas) for name in names}
    print(f"\n{in_words(threads)}; the same weights after five steps, {agreement(differences)}\n\n{table(found)}\n")
    print(describe_pools(pools), flush=True)
    return {"differences": differences, "pools": pools, "workloads": found}


def main(arguments=None):
    """Everything for each number of threads, then the files."""
    chosen = parse(arguments)
    env = environment() | {"threads": " and ".join(map(str, chosen.threads)), "packages": versions()}
    print(describe_peers(env), flush=True)
    runs = {str(threads): run(chosen, threads) for threads in chosen.threads}
    write({"environment": env, "unit": UNIT, "threads": runs}, chosen.out, "peers", draw)


if __name__ == "__main__":
    be_fair()
    main()
