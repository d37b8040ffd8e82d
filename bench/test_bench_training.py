"""The six workloads, one round a whole training call. `python bench/compare.py` takes turns instead."""

import os

import pytest

from compare import BASELINE, difference_after_five_steps, trainer
from workloads import WORKLOADS, make_data

workloads = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)


@workloads
@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_trains_what_the_baseline_trains(workload, engine):
    assert difference_after_five_steps(workload, engine) <= 1e-4


@workloads
@pytest.mark.parametrize("name", [BASELINE, "compiled"])
def test_training(benchmark, workload, name):
    X, y = make_data(workload)
    benchmark.group = workload.name
    benchmark.extra_info |= {"steps": workload.steps}
    benchmark.extra_info |= {key: value for key, value in os.environ.items() if key.startswith("OPENBLAS_")}
    benchmark.pedantic(
        lambda train: train(),
        setup=lambda: (trainer(name, workload, X, y)[:1], {}),
        rounds=5,
        warmup_rounds=1,
    )
