"""The kernels' public doors: the inner lines of a NumPy training loop, one by one, in compiled code.

Each function writes into arrays that the caller owns (outputs first), takes C-contiguous float32 or float64 arrays, and
calls the same table entry as the engine. `fastreg.reference` has a NumPy twin of every one, with the same arguments.

    import numpy as np
    from fastreg import kernels

    z = np.empty((32, 10), np.float32)
    kernels.gemm_nn(z, x, weight, bias)      # z = x @ weight + bias
    kernels.relu(z, z)                       # z = max(z, 0)
"""

from fastreg._core.kernels import *  # noqa: F403  (every public function there is a door)
