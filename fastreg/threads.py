"""How many threads a call may use. The engine takes fewer where a step is too small to share."""

import os
from contextlib import suppress
from functools import cache
from pathlib import Path


def threads_for(n_threads):
    """Return the number that `n_threads` means: at most those that this process may use, all of them for None."""
    usable = usable_threads()
    return usable if n_threads is None else min(n_threads, usable)


def usable_threads():
    """Return how many threads the affinity mask, the container and OMP_NUM_THREADS leave to this process."""
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # a list gives one number for each depth
    with suppress(ValueError):  # what is no number is no limit, and neither is 0
        usable = min(usable, int(limit) if int(limit) > 0 else usable)
    return max(1, min(usable, _quota()))


@cache
def _quota():
    """Return the CPUs that the container's control group pays for, rounded up."""
    with suppress(OSError, ValueError):  # no such file: no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, -(-int(quota) // int(period)))
    with suppress(OSError, ValueError):  # version 1, where -1 says no limit
        group = Path("/sys/fs/cgroup/cpu")
        paid, each = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if paid > 0:
            return max(1, -(-paid // each))
    return os.cpu_count() or 1
