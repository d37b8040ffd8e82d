"""The six training workloads of the benchmarks: data, start weights, and the same network in fastreg.

All of them train a ReLU network with softmax cross-entropy by SGD with Nesterov momentum, L2 and L1
(subgradient) penalties on the weights, inverted dropout on the input of each Dense layer, in float32.
"""

from dataclasses import dataclass, replace

import numpy as np

LEARNING_RATE = 0.01
MOMENTUM = 0.9
L2_STRENGTH = 1e-4
L1_STRENGTH = 1e-5


@dataclass(frozen=True)
class Workload:
    """One training run: layer widths, number of rows, and the drop rate on the input of each Dense layer."""

    name: str
    sizes: tuple[int, ...]
    rows: int
    batch: int
    epochs: int
    dropout: tuple[float, ...]

    @property
    def steps(self) -> int:
        """Number of updates of the whole run; the last batch of an epoch may be smaller."""
        return self.epochs * -(-self.rows // self.batch)

    @property
    def flops(self) -> float:
        """Floating-point operations of the products of a step: three per layer, but the first needs no dX; the mean."""
        products = [n_in * n_out for n_in, n_out in zip(self.sizes, self.sizes[1:])]
        return 2 * (3 * sum(products) - products[0]) * self.rows * self.epochs / self.steps

    def split(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Views of a flat buffer: all weights, (inputs, units) each, then all biases, (units,) each."""
        shapes = [*zip(self.sizes, self.sizes[1:]), *((units,) for units in self.sizes[1:])]
        parts = np.split(flat, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        views = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return views[: len(self.sizes) - 1], views[len(self.sizes) - 1 :]

    def without_dropout(self) -> "Workload":
        return replace(self, dropout=(0.0,) * len(self.dropout))


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("seed", (5, 3, 5, 4), 1, 1, 1000, (0.0, 0.0, 0.0)),
        Workload("digits", (64, 64, 32, 10), 1797, 32, 5, (0.0, 0.2, 0.2)),
        Workload("tab10", (10, 64, 64, 2), 20_000, 200, 2, (0.0, 0.0, 0.0)),
        Workload("tab100", (100, 256, 256, 10), 20_000, 256, 1, (0.0, 0.2, 0.2)),
        Workload("wide", (784, 512, 256, 128, 10), 10_000, 128, 1, (0.2, 0.5, 0.5, 0.5)),
        Workload("big", (1024, 1024, 1024, 10), 8192, 512, 1, (0.2, 0.5, 0.5)),
    )
}


def make_data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal rows (rows, inputs), float32, and labels (rows,), int64, of a random linear teacher."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((workload.rows, workload.sizes[0]), dtype=np.float32)
    teacher = rng.standard_normal((workload.sizes[0], workload.sizes[-1]), dtype=np.float32)
    return X, np.argmax(X @ teacher, axis=1)


def make_parameters(workload: Workload) -> np.ndarray:
    """Start values in one flat buffer, float32: He-normal weights, small biases."""
    rng = np.random.default_rng(11)
    shapes = zip(workload.sizes, workload.sizes[1:])
    weights = [rng.standard_normal(n_in * n_out) * np.sqrt(2 / n_in) for n_in, n_out in shapes]
    biases = [rng.standard_normal(units) * 0.01 for units in workload.sizes[1:]]
    return np.concatenate(weights + biases).astype(np.float32)


def make_optimizer():
    import fastreg as fr

    return fr.SGD(LEARNING_RATE, momentum=MOMENTUM, nesterov=True)


def make_network(workload: Workload, engine: str = "compiled", l1: float = L1_STRENGTH):
    """The workload's network in fastreg, built, and set to the start weights of `make_parameters`."""
    import fastreg as fr

    penalty = fr.L2(L2_STRENGTH) + fr.L1(l1, method="subgradient")
    layers: list = []
    for rate, units in zip(workload.dropout, workload.sizes[1:], strict=True):
        layers += [fr.Dropout(rate)] if rate else []
        layers += [fr.Dense(units, "relu", weight_penalty=penalty)]
    layers[-1] = fr.Dense(workload.sizes[-1], weight_penalty=penalty)
    network = fr.Network(layers, loss="cross_entropy", dtype="float32", seed=0, engine=engine)
    network.build(workload.sizes[0])
    weights, biases = workload.split(make_parameters(workload))
    for number, (weight, bias) in enumerate(zip(weights, biases)):
        network.parameters[f"{number}.weight"] = weight
        network.parameters[f"{number}.bias"] = bias
    return network
