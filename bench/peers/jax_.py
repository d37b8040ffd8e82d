"""JAX: the whole run in one jit, a scan over epochs around a scan over batches, parameters donated.

The row orders come from NumPy and are timed with the rest: on a CPU `jax.random.permutation` sorts, and takes longer
than all other work on a narrow table. Threefry draws masks faster here than the generators of `rbg` do.
"""

import os
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_prefer_vector_width=512")  # of its own accord it takes 256 bits

import jax
import jax.numpy as jnp
import numpy as np

from workloads import L1_STRENGTH, L2_STRENGTH, LEARNING_RATE, MOMENTUM, make_parameters


def loss(parameters, rates, X, y, key):
    """The mean cross-entropy of a batch."""
    h = X
    for k, (weight, bias, rate) in enumerate(zip(*parameters, rates)):
        if k:
            h = jax.nn.relu(h)
        if rate:
            h = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, k), 1 - rate, h.shape), h / (1 - rate), 0)
        h = h @ weight + bias
    return -jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], axis=1).mean()


def step(rates, X, y, carry, batch):
    parameters, velocities = carry
    index, key = batch
    value, (dW, dB) = jax.value_and_grad(loss)(parameters, rates, X[index], y[index], key)
    dW = [dw + 2 * L2_STRENGTH * w + L1_STRENGTH * jnp.sign(w) for dw, w in zip(dW, parameters[0])]
    velocities = jax.tree.map(lambda v, g: MOMENTUM * v - LEARNING_RATE * g, velocities, (dW, dB))
    parameters = jax.tree.map(lambda w, v, g: w + MOMENTUM * v - LEARNING_RATE * g, parameters, velocities, (dW, dB))
    return (parameters, velocities), value


def epoch(workload, X, y, carry, drawn):
    """All whole batches, then the rest of the rows where there is one."""
    order, key = drawn
    whole, rest = divmod(workload.rows, workload.batch)
    keys = jax.random.split(key, whole + 1)
    make_step = partial(step, workload.dropout, X, y)
    indices = order[: whole * workload.batch].reshape(whole, workload.batch)
    carry, losses = jax.lax.scan(make_step, carry, (indices, keys[:whole]))
    if rest:
        carry, last = make_step(carry, (order[-rest:], keys[whole]))
        losses = jnp.append(losses, last)
    return carry, losses


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def run(workload, parameters, X, y, orders, key):
    carry = parameters, jax.tree.map(jnp.zeros_like, parameters)
    drawn = orders, jax.random.split(key, workload.epochs)
    (parameters, _), losses = jax.lax.scan(partial(epoch, workload, X, y), carry, drawn, unroll=min(2, workload.epochs))
    return parameters, losses


def trainer(workload, X, y, *, shuffle=True, threads=1):
    X, y, key, rng = jnp.asarray(X), jnp.asarray(y, jnp.int32), jax.random.key(0), np.random.default_rng(0)
    rows = np.tile(np.arange(workload.rows, dtype=np.int32), (workload.epochs, 1))
    parameters = jax.tree.map(jnp.array, workload.split(make_parameters(workload)))

    def train():
        nonlocal parameters
        orders = rng.permuted(rows, axis=1) if shuffle else rows
        parameters, losses = jax.block_until_ready(run(workload, parameters, X, y, orders, key))
        return np.asarray(losses)

    return train, lambda: np.concatenate([np.ravel(part) for part in jax.tree.leaves(parameters)])
