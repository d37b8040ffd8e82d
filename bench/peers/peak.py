"""The FMA peak of the cores that this process may use, from peak.c, compiled when it is asked for.

python bench/peers/peak.py [THREADS]        GFLOP/s of every level that runs here, float32 and float64
"""

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).with_name("peak.c")
FLAGS = {"avx512": ["-mavx512f", "-mfma"], "avx2": ["-mavx2", "-mfma"]}
TYPES = {"float": ctypes.c_float, "double": ctypes.c_double}
ROUNDS = 1 << 23  # tens of milliseconds


def compiler():
    """The C compiler's command, as a list; None where there is none."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    return command if shutil.which(command[0]) else None


def levels():
    """What this machine can run, the best first."""
    from fastreg import show_config

    return [level for level, runs in show_config(mode="dict")["levels"].items() if runs][::-1]


@cache
def multiply(level, real):
    """The function of peak.c for one level and one type."""
    flags = ["-O3", "-shared", "-fPIC", f"-DREAL={real}", *FLAGS.get(level, [])]
    with TemporaryDirectory() as folder:
        library = f"{folder}/peak.so"
        subprocess.run([*compiler(), *flags, str(SOURCE), "-o", library], check=True)
        function = ctypes.CDLL(library).multiply
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_long, ctypes.POINTER(TYPES[real])]
    return function


def gflops(threads=1, level=None, real="float"):
    """GFLOP/s of all threads together, each in the same loop; ctypes lets go of the interpreter meanwhile."""
    function = multiply(level or levels()[0], real)
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        operations = sum(pool.map(lambda _: function(ROUNDS, TYPES[real]()), range(threads)))
        return operations / (time.perf_counter() - start) / 1e9


if __name__ == "__main__":
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for level in levels():
        print(level, *(f"{real} {gflops(threads, level, real):.0f}" for real in TYPES), sep="  ")
