"""The six workloads, one round a whole training call, checked before they are timed.

Here trainers run one after the other, in one process; `python bench/report.py` gives each its own and takes turns.
"""

import pytest

from compare import BASELINE, TOLERANCE, TRAINERS, difference_after_five_steps
from peers import trainer
from workloads import WORKLOADS, make_data

workloads = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)


@workloads
@pytest.mark.parametrize("name", TRAINERS)
def test_training(benchmark, workload, name):
    if name != BASELINE:
        assert difference_after_five_steps(workload, name) <= TOLERANCE
    X, y = make_data(workload)
    benchmark.group = f"train {workload.name}"
    benchmark.extra_info["steps"] = workload.steps
    benchmark.pedantic(
        lambda train: train(),
        setup=lambda: (trainer(name, workload, X, y)[:1], {}),
        rounds=5,
        warmup_rounds=1,
    )
