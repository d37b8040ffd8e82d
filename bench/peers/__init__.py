"""The trainers of the benchmarks, one small file each.

Each file has one function, `trainer(workload, X, y, *, shuffle=True, threads=1)`. It returns `train()`, a whole
training of all epochs that goes on from the parameters as they are, and `parameters()`, a copy of them in one flat
array: all weights, (inputs, units) each, then all biases. They start as `workloads.make_parameters` makes them.

What `train` does is timed, and nothing else: copying data and parameters into a library's own arrays, and compiling,
come before. Of a library's ways to write a line, and of its settings, the fastest that was measured stands there.
Only NumPy's loop and fastreg compute the penalty's value beside its gradient.
"""

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec


@dataclass(frozen=True)
class Peer:
    """A trainer: its name in tables, its file, the package that it needs, and settings of its own."""

    label: str
    file: str
    package: str
    settings: dict = field(default_factory=dict)


PEERS = {
    "numpy": Peer("NumPy", "numpy_", "numpy"),
    "sklearn": Peer("scikit-learn", "sklearn_", "sklearn"),
    "torch": Peer("PyTorch eager", "torch_", "torch"),
    "torch.compile": Peer("PyTorch compile", "torch_compile", "torch"),
    "jax": Peer("JAX", "jax_", "jax"),
    "reference": Peer("fastreg in NumPy", "fastreg_", "fastreg", {"engine": "reference"}),
    "compiled": Peer("fastreg", "fastreg_", "fastreg"),
}


def installed(name):
    return find_spec(PEERS[name].package) is not None


def trainer(name, workload, X, y, **settings):
    """The pair (train, parameters) of a trainer by name."""
    peer = PEERS[name]
    return import_module(f"peers.{peer.file}").trainer(workload, X, y, **peer.settings, **settings)
