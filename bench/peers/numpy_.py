"""The loop of baseline_numpy.py. Its threads are those of BLAS, which reads their number when it is loaded."""

from baseline_numpy import train
from workloads import make_parameters


def trainer(workload, X, y, *, shuffle=True, threads=1):
    parameters = make_parameters(workload)
    return lambda: train(workload, parameters, X, y, shuffle=shuffle), parameters.copy
