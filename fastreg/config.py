"""What this installation is and what it computes with."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np


def show_config(mode="print"):
    """Say which instruction level, versions and processor are in use.

    Parameters
    ----------
    mode : {"print", "dict"}, default "print"

    Returns
    -------
    dict or None
        With "dict": `fastreg`, `level` (in use), `levels` (compiled in: whether this machine runs them), `forced` (the
        value of FASTREG_ISA, or None), `python`, `numpy`, `machine`, `processor`, `cores`.
    """
    if mode not in ("print", "dict"):
        raise ValueError(f"mode must be 'print' or 'dict', got {mode!r}")
    config = _config()
    if mode == "dict":
        return config
    for name, value in config.items():
        print(f"{name:10} {value}")
    return None


def _config():
    from fastreg._core import table

    return {
        "fastreg": _version(),
        "level": table.level(),
        "levels": table.levels(),
        "forced": os.environ.get("FASTREG_ISA"),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def _version():
    try:
        return version("fastreg")
    except PackageNotFoundError:
        return "not installed"


def _processor():
    """The processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
