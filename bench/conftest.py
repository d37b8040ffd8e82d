"""What every benchmark run needs: one BLAS thread for NumPy at its best, and the environment beside the figures."""

import os

import pytest

from workers import FORCED, THREADS

for name in FORCED:
    os.environ.pop(name, None)
os.environ |= dict.fromkeys(THREADS, "1")

import report  # noqa: E402  (it brings NumPy, and BLAS reads those variables when it is loaded)


def pytest_report_header():
    """Says what is compared."""
    return report.describe(report.environment()).splitlines()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info):
    """Puts the environment into --benchmark-json."""
    machine_info["fastreg"] = report.environment()
