"""fastreg itself: one call of `fit`, checks and history included."""

import numpy as np

from workloads import L1_STRENGTH, make_network, make_optimizer


def trainer(workload, X, y, *, shuffle=True, threads=1, engine="compiled", l1=L1_STRENGTH):
    network = make_network(workload, engine, l1)
    settings = {"epochs": workload.epochs, "batch_size": workload.batch, "optimizer": make_optimizer()}
    layers = range(len(workload.sizes) - 1)
    names = [f"{layer}.{field}" for field in ("weight", "bias") for layer in layers]
    return (
        lambda: network.fit(X, y, **settings, shuffle=shuffle, n_threads=threads, verbose=0),
        lambda: np.concatenate([network.parameters[name].ravel() for name in names]),
    )
