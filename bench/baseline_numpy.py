"""The opponent of every benchmark: a workload's training loop, hand-written in NumPy as well as it goes.

Every product is one BLAS call into its buffer. Logits lie class by class, (C, n), where NumPy's reductions
are vectorised. ReLU and dropout are one mask, used again on the way back. The learning rate is folded into
the loss gradient. Masks come from raw random bits, many steps at once. The update runs in chunks that stay in
the cache. Of the ways to write a line, the fastest that was measured stands here.
"""

from itertools import pairwise

import numpy as np

from workloads import L1_STRENGTH, L2_STRENGTH, LEARNING_RATE, MOMENTUM

CHUNK = 1 << 14  # parameters per pass of the update
MASKS = 1 << 18  # random numbers per drawn block, about


def draw(bits, rate, *shape):
    """Booleans, True where a unit is kept, from 16-bit random numbers."""
    numbers = bits.random_raw(-(-np.prod(shape) // 4)).view(np.uint16)[: np.prod(shape)]
    return (numbers >= np.uint16(round(65536 * rate))).reshape(shape)


def update(chunks):
    """One Nesterov step; the gradient comes times the learning rate. Returns the penalty before it."""
    l1 = l2 = 0.0
    for (w, g, u, t, _), (weight, gradient, _, scratch, ones) in chunks:
        np.abs(weight, out=scratch)
        l1 += np.dot(scratch, ones)
        l2 += np.dot(weight, weight)
        scratch += 1e-30  # then w / |w| is the sign of w, and 0 where w is 0
        np.divide(LEARNING_RATE * L1_STRENGTH, scratch, out=scratch)
        scratch += 2 * LEARNING_RATE * L2_STRENGTH
        scratch *= weight
        gradient += scratch
        u *= MOMENTUM
        u -= g
        np.multiply(u, MOMENTUM, out=t)
        t -= g
        w += t
    return L1_STRENGTH * l1 + L2_STRENGTH * l2


def train(workload, w, X, y, *, shuffle=True, seed=0):
    """Train the flat parameters `w` in place; return (data loss, penalty) of each step before its update."""
    sizes, rates, rows, batch = workload.sizes, workload.dropout, workload.rows, workload.batch
    state = w, g, _, _, _ = w, np.empty_like(w), np.zeros_like(w), np.empty_like(w), np.ones_like(w)
    (W, B), (dW, dB), bits, buffers = workload.split(w), workload.split(g), np.random.SFC64(seed), {}
    n_weights, classes, dtype = sum(weight.size for weight in W), np.arange(sizes[-1])[:, None], X.dtype
    cuts = [*range(0, n_weights, CHUNK), w.size]
    chunks = [([a[i:j] for a in state], [a[i:j][: n_weights - i] for a in state]) for i, j in pairwise(cuts)]
    for n in {batch, rows % batch or batch}:
        h, m, dh = ([np.empty((n, size), dtype) for size in sizes[:-1]] for _ in range(3))
        z, p, hot = (np.empty((sizes[-1], n), dtype) for _ in range(3))
        buffers[n] = h, m, dh, z, p, hot, np.empty(n, dtype), np.empty(n, y.dtype), np.ones(n, dtype)
    ahead = 1 + MASKS // max(1, sum(batch * size for size, rate in zip(sizes, rates) if rate))
    order, results = np.arange(rows), np.empty((workload.steps, 2))
    for step, start in enumerate([*range(0, rows, batch)] * workload.epochs):
        if shuffle and start == 0:
            np.random.Generator(bits).shuffle(order)
        if step % ahead == 0:
            keep = [draw(bits, p, ahead, batch, size) if p else None for size, p in zip(sizes, rates)]
        index = order[start : start + batch]
        h, m, dh, z, p, hot, total, labels, ones = buffers[n := len(index)]
        np.take(X, index, axis=0, out=h[0], mode="clip")
        for k, rate in enumerate(rates):
            if k:
                np.matmul(h[k - 1], W[k - 1], out=h[k])
                h[k] += B[k - 1]
                on = np.greater(h[k], 0, out=None if rate else m[k])
            if rate:
                kept = keep[k][step % ahead, :n]
                on = np.logical_and(on, kept, out=on) if k else kept
                np.multiply(on, dtype.type(1 / (1 - rate)), out=m[k])
            if k or rate:
                h[k] *= m[k]
        np.matmul(W[-1].T, h[-1].T, out=z)
        z += B[-1][:, None]
        z -= z.max(axis=0)
        np.exp(z, out=p)
        p.sum(axis=0, out=total)
        np.equal(np.take(y, index, out=labels, mode="clip"), classes, out=hot)
        loss = (np.log(total).sum() - np.dot(z.ravel(), hot.ravel())) / n
        p /= total
        p -= hot
        p *= LEARNING_RATE / n
        dz = p.T
        for k in reversed(range(len(rates))):
            np.matmul(h[k].T, dz, out=dW[k])
            np.matmul(ones, dz, out=dB[k])
            if k:
                dz = np.matmul(dz, W[k].T, out=dh[k])
                dz *= m[k]
        results[step] = loss, update(chunks)
    return results
