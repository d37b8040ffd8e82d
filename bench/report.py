"""`make bench`: the six workloads in one table, as JSON with all that the figures depend on, and in a picture.

    python bench/report.py                                     into build/bench.json and build/bench.png
    python bench/report.py --workloads digits wide --repeats 3

Nothing is timed before `compare` has shown that the trainers train the same network.
"""

import argparse
import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from compare import BASELINE, TRAINERS, measure, prove
from workers import be_fair, workers
from workloads import WORKLOADS

ROOT = Path(__file__).parents[1]
LABELS = {"reference": "fastreg, engine='reference' (NumPy)", "compiled": "fastreg, compiled"}
COLORS = {"reference": "#9fb7c9", "compiled": "#d1495b"}
HEIGHT = 0.36  # of a bar; workloads are 1 apart
UNIT = "microseconds per step"


# ---- what the figures depend on


def environment():
    """The machine, the versions and the settings of this process, as JSON can hold them."""
    import numpy as np

    import fastreg

    config = fastreg.show_config(mode="dict")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": config["processor"],
        "cores": config["cores"],
        "system": f"{platform.system()} {platform.machine()}",
        "level": config["level"],
        "python": config["python"],
        "numpy": np.__version__,
        "fastreg": fastreg.__version__,
        "blas": blas(),
        "threads": 1,
    }


def commit():
    """What git calls this state of the source, "-dirty" with local changes; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def blas():
    """The libraries that NumPy multiplies with: as loaded where threadpoolctl is there, otherwise as built."""
    import numpy as np

    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return [{"name": built.get("name"), "version": built.get("version")}]
    keys = {"internal_api": "name", "version": "version", "architecture": "architecture", "num_threads": "threads"}
    return [{name: pool[key] for key, name in keys.items() if key in pool} for pool in threadpool_info()]


def describe(env):
    """The environment in two lines."""
    pools = "; ".join(" ".join(str(value) for key, value in pool.items() if key != "threads") for pool in env["blas"])
    return (
        f"{env['cpu']}, {env['level']}, {in_words(env['threads'])}; {env['system']}; {env['date'][:10]}\n"
        f"fastreg {env['fastreg']} ({env['commit'] or 'no git'}), "
        f"Python {env['python']}, NumPy {env['numpy']} ({pools})"
    )


def in_words(threads):
    return "one thread" if threads == 1 else f"{threads} threads"


# ---- the figures


def agreement(differences):
    """What was proven, in words."""
    worst = max(value for by_trainer in differences.values() for value in by_trainer.values())
    return f"to {worst:.1e} of the largest"


def figures(runs):
    """Of one trainer's runs the least, by how much the slowest exceeds it, and all of them."""
    best = min(runs)
    return {"best": best, "spread": max(runs) / best - 1, "runs": runs}


def summarize(times):
    """{workload: {trainer: figures and their ratio to NumPy's}} of measured times."""
    workloads = {}
    for workload_name, by_trainer in times.items():
        found = {name: figures(runs) for name, runs in by_trainer.items()}
        for trainer in found.values():
            trainer["ratio"] = found[BASELINE]["best"] / trainer["best"]
        workloads[workload_name] = found
    return workloads


def shape(name):
    """A workload in words: its layers and its batch."""
    workload = WORKLOADS[name]
    return f"{'-'.join(map(str, workload.sizes))}, batch {workload.batch}"


def table(workloads):
    """One line per workload: the least time and its spread; for fastreg also NumPy's time over its own."""
    width = max(len(shape(name)) for name in workloads)
    head = f"{UNIT:{width + 8}}{'NumPy':>10}{'spread':>8}"
    head += "".join(f"{engine:>12}{'spread':>8}{'ratio':>7}" for engine in TRAINERS[1:])
    lines = [head]
    for name, found in workloads.items():
        line = f"{name:8}{shape(name):{width}}{found[BASELINE]['best']:10.2f}{found[BASELINE]['spread']:8.0%}"
        for engine in TRAINERS[1:]:
            one = found[engine]
            line += f"{one['best']:12.2f}{one['spread']:8.0%}{one['ratio']:7.2f}"
        lines.append(line)
    return "\n".join(lines)


# ---- the picture


def draw(report, path):
    """Bars from NumPy's speed, 1, to that of fastreg's engines, with the time of a step; longer is faster."""
    from matplotlib.figure import Figure

    workloads = report["workloads"]
    figure = Figure(figsize=(8, 1.3 + 0.6 * len(workloads)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, engine in enumerate(COLORS):
        draw_bars(axes, [found[engine] for found in workloads.values()], engine, (number - 0.5) * HEIGHT)
    numpy = {name: microseconds(found[BASELINE]) for name, found in workloads.items()}
    names = [f"{name}: {shape(name)}\nNumPy {numpy[name]} a step" for name in workloads]
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.invert_yaxis()
    draw_scale(axes, [found[engine]["ratio"] for found in workloads.values() for engine in COLORS])
    axes.legend(loc="lower right", frameon=False)
    figure.suptitle(describe(report["environment"]), fontsize=8)
    figure.savefig(path)


def draw_bars(axes, found, engine, shift):
    """The bars of one engine, each with its ratio and its time."""
    for row, one in enumerate(found):
        ratio, place = one["ratio"], row + shift
        axes.barh(place, ratio - 1, HEIGHT, left=1, color=COLORS[engine], label=LABELS[engine] if row == 0 else "")
        text = f"{ratio:.{2 if ratio < 10 else 0}f}×   {microseconds(one)}"
        axes.annotate(text, (max(ratio, 1), place), (5, 0), textcoords="offset points", va="center", fontsize=9)


def draw_scale(axes, ratios, label="times as fast as a loop hand-written in NumPy (log scale)"):
    """The logarithmic scale of ratios, with a line at 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(0.5, *ratios), max(5, *ratios) * 3)  # room for the texts
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel(label)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def microseconds(found):
    """The least time of a step with its unit."""
    return f"{found['best']:,.{0 if found['best'] >= 100 else 1}f} µs"


def main(arguments=None):
    """Prove, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder of bench.json and bench.png")
    chosen = parser.parse_args(arguments)
    env = environment()
    print(describe(env), flush=True)
    chosen_workloads = [WORKLOADS[name] for name in chosen.workloads]
    with workers(TRAINERS) as running:
        differences = prove(running, chosen_workloads)
        print(f"the same weights after five steps, {agreement(differences)}; now {chosen.repeats} runs of each\n")
        workloads = summarize(measure(running, chosen_workloads, chosen.repeats))
    print(table(workloads), "", sep="\n")
    write({"environment": env, "unit": UNIT, "differences": differences, "workloads": workloads}, chosen.out)


def write(report, folder, name="bench", draw=draw):
    """The report as JSON and, where matplotlib is there, its picture; says what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("wrote", folder / f"{name}.json")
    try:
        draw(report, folder / f"{name}.png")
    except ImportError:
        print("no picture: it needs matplotlib (pip install matplotlib)")
    else:
        print("wrote", folder / f"{name}.png")


if __name__ == "__main__":
    be_fair()
    main()
