"""The kernels' public doors: the inner lines of a NumPy training loop, one by one, in compiled code.

Each function writes into arrays that the caller owns (outputs first), takes C-contiguous float32 or float64 arrays, and
calls the same table entry as the engine. `fastreg.reference` has a NumPy twin of every one, with the same arguments.

    import numpy as np
    from fastreg import kernels

    z = np.empty((32, 10), np.float32)
    kernels.gemm_nn(z, x, weight, bias)      # z = x @ weight + bias
    kernels.relu(z, z)                       # z = max(z, 0)
"""

from fastreg._core.kernels import (
    adam,
    binary_cross_entropy,
    column_sum,
    cross_entropy,
    cross_entropy_labels,
    dense_backward,
    dense_forward,
    dropout,
    dropout_mask,
    gather,
    gather_labels,
    gemm_nn,
    gemm_nt,
    gemm_tn,
    hard_threshold,
    identity,
    identity_gradient,
    l1,
    l2,
    leaky_relu,
    leaky_relu_gradient,
    random_words,
    relu,
    relu_gradient,
    sgd,
    shuffle,
    sigmoid,
    sigmoid_gradient,
    soft_threshold,
    softmax,
    softmax_gradient,
    squared_error,
    tanh,
    tanh_gradient,
)

__all__ = [
    "adam",
    "binary_cross_entropy",
    "column_sum",
    "cross_entropy",
    "cross_entropy_labels",
    "dense_backward",
    "dense_forward",
    "dropout",
    "dropout_mask",
    "gather",
    "gather_labels",
    "gemm_nn",
    "gemm_nt",
    "gemm_tn",
    "hard_threshold",
    "identity",
    "identity_gradient",
    "l1",
    "l2",
    "leaky_relu",
    "leaky_relu_gradient",
    "random_words",
    "relu",
    "relu_gradient",
    "sgd",
    "shuffle",
    "sigmoid",
    "sigmoid_gradient",
    "soft_threshold",
    "softmax",
    "softmax_gradient",
    "squared_error",
    "tanh",
    "tanh_gradient",
]
