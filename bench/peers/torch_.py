"""PyTorch, eager: autograd, and torch.optim.SGD in its fused form.

Masks come from `rand_like`, which is faster on a CPU than `dropout` is. L2 is the optimizer's weight decay, L1 is
added to the gradient.
"""

import torch

from workloads import L1_STRENGTH, L2_STRENGTH, LEARNING_RATE, MOMENTUM, make_parameters


def trainer(workload, X, y, *, shuffle=True, threads=1):
    torch.set_num_threads(threads)
    X, y = torch.from_numpy(X), torch.from_numpy(y)
    weights, biases = start(workload)
    groups = [{"params": weights, "weight_decay": 2 * L2_STRENGTH}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, LEARNING_RATE, momentum=MOMENTUM, nesterov=True, fused=True)
    for parameter in weights + biases:
        parameter.requires_grad_()

    def train():
        losses = []
        for index in batches(workload, shuffle):
            loss = forward(weights, biases, workload.dropout, X[index], y[index])
            optimizer.zero_grad()
            loss.backward()
            for weight in weights:
                weight.grad.add_(weight.detach().sign(), alpha=L1_STRENGTH)
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    return train, lambda: flat(weights + biases)


def start(workload):
    """Tensors of the start values: weights, biases."""
    return [[torch.from_numpy(part.copy()) for part in parts] for parts in workload.split(make_parameters(workload))]


def flat(parameters):
    return torch.cat([parameter.detach().ravel() for parameter in parameters]).numpy()


def batches(workload, shuffle):
    """Row numbers of every batch of every epoch."""
    for _ in range(workload.epochs):
        yield from (torch.randperm(workload.rows) if shuffle else torch.arange(workload.rows)).split(workload.batch)


def forward(weights, biases, rates, h, y):
    """The mean cross-entropy of a batch."""
    for k, (weight, bias, rate) in enumerate(zip(weights, biases, rates)):
        if k:
            h = torch.relu(h)
        if rate:
            h = h * ((torch.rand_like(h) >= rate) * (1 / (1 - rate)))
        h = torch.addmm(bias, h, weight)
    return torch.nn.functional.cross_entropy(h, y)
