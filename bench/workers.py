"""Processes that call functions for this one, each on cores and with BLAS threads of its own."""

import os
import pickle
import subprocess
import sys
from contextlib import ExitStack, contextmanager

THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # would keep OpenBLAS from its best for this CPU


def fair_environment(threads=1):
    """This process's variables with so many BLAS threads, and without those that force OpenBLAS's kernels."""
    environment = {name: value for name, value in os.environ.items() if name not in FORCED}
    return environment | dict.fromkeys(THREADS, str(threads))


def be_fair():
    """Start this program again where it does not have them, so that what it says of itself holds for its workers."""
    if os.environ != fair_environment():
        os.execve(sys.executable, [sys.executable, *sys.argv], fair_environment())


@contextmanager
def workers(names, threads=1):
    """A process for each name: {name: function that calls another one there and returns its result}."""
    if threads > len(cores()):
        raise SystemExit(f"{threads} threads need as many cores, here are {len(cores())}")
    with ExitStack() as stack:
        yield {name: stack.enter_context(worker(name, threads)) for name in names}


@contextmanager
def worker(name, threads):
    """BLAS reads its variables when it is loaded, so they are set before the process starts."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, __file__, str(threads)], env=fair_environment(threads), **pipes) as process:

        def call(function, *arguments):
            pickle.dump((function, arguments), process.stdin)
            process.stdin.flush()
            try:
                return pickle.load(process.stdout)
            except EOFError:
                code = process.wait()
                raise SystemExit(
                    f"the process of {name} ended with code {code}: {function.__name__}{arguments}"
                ) from None

        yield call  # then its input ends, and with that the process


def serve(threads):
    """Such a process: it calls what it reads until there is no more. Functions come by name, from their modules."""
    pin(threads)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(function(*arguments), answers)
        answers.flush()


def pin(threads):
    """Keep this process on as many cores as it has threads, the last ones, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[-threads:])


def cores():
    """The numbers of the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
