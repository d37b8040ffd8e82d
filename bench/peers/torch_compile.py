"""PyTorch compiled: a whole step, from gathering the rows to the update, in one graph of torch.compile.

Gradients come from `torch.func`, which the graph can hold; a compiled loss with `backward` and a compiled optimizer
take two to three times as long. `cpp_wrapper` shortens small steps and changes large ones little, the modes
"reduce-overhead" and "max-autotune-no-cudagraphs" change nothing: matrix products are MKL's in all of them.
"""

from functools import lru_cache

import torch

from peers.torch_ import batches, flat, forward, start
from workloads import L1_STRENGTH, L2_STRENGTH, LEARNING_RATE, MOMENTUM


@lru_cache(maxsize=1)
def compiled_step(workload):
    """A function that makes one step in place and returns its loss; it is compiled for each size of a batch."""
    torch.compiler.reset()  # graphs of other networks would be tried first
    layers = len(workload.dropout)
    gradients = torch.func.grad_and_value(
        lambda parameters, X, y: forward(parameters[:layers], parameters[layers:], workload.dropout, X, y)
    )

    def step(parameters, velocities, X, y, index):
        gradient, loss = gradients(parameters, X[index], y[index])
        for weight, dw in zip(parameters[:layers], gradient):
            dw += 2 * L2_STRENGTH * weight + L1_STRENGTH * weight.sign()
        for w, g, v in zip(parameters, gradient, velocities):
            v.mul_(MOMENTUM).add_(g)
            w.sub_(LEARNING_RATE * (g + MOMENTUM * v))
        return loss

    return torch.compile(step, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})


def trainer(workload, X, y, *, shuffle=True, threads=1):
    torch.set_num_threads(threads)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    weights, biases = start(workload)
    parameters = weights + biases
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    step = compiled_step(workload)

    @torch.no_grad()
    def train():
        losses = [step(parameters, velocities, X, y, index) for index in batches(workload, shuffle)]
        return torch.stack(losses).numpy()

    return train, lambda: flat(parameters)
