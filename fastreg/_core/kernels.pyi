"""Types of the kernels' doors."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

def gemm_nn(
    out: Floats,
    a: Floats,
    b: Floats,
    bias: Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def gemm_nt(
    out: Floats,
    a: Floats,
    b: Floats,
    bias: Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def gemm_tn(
    out: Floats,
    a: Floats,
    b: Floats,
    bias: Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def column_sum(out: Floats, x: Floats) -> None: ...
def dense_forward(out: Floats, x: Floats, weight: Floats, bias: Floats | None = None) -> None: ...
def dense_backward(
    dweight: Floats,
    dbias: Floats | None,
    dx: Floats | None,
    dout: Floats,
    x: Floats,
    weight: Floats,
) -> None: ...
def identity(out: Floats, x: Floats) -> None: ...
def relu(out: Floats, x: Floats) -> None: ...
def leaky_relu(out: Floats, x: Floats, leak: float = 0.01) -> None: ...
def sigmoid(out: Floats, x: Floats) -> None: ...
def tanh(out: Floats, x: Floats) -> None: ...
def softmax(out: Floats, x: Floats) -> None: ...
def identity_gradient(dx: Floats, dy: Floats, y: Floats) -> None: ...
def relu_gradient(dx: Floats, dy: Floats, y: Floats, scale: float = 1.0) -> None: ...
def leaky_relu_gradient(dx: Floats, dy: Floats, y: Floats, leak: float = 0.01) -> None: ...
def sigmoid_gradient(dx: Floats, dy: Floats, y: Floats) -> None: ...
def tanh_gradient(dx: Floats, dy: Floats, y: Floats) -> None: ...
def softmax_gradient(dx: Floats, dy: Floats, y: Floats) -> None: ...
def cross_entropy_labels(
    dz: Floats | None,
    z: Floats,
    labels: NDArray[np.int32],
    weights: Floats | None = None,
    scale: float = 1.0,
) -> float: ...
def cross_entropy(
    dz: Floats | None,
    z: Floats,
    targets: Floats,
    weights: Floats | None = None,
    scale: float = 1.0,
) -> float: ...
def binary_cross_entropy(
    dz: Floats | None,
    z: Floats,
    targets: Floats,
    weights: Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def squared_error(
    dz: Floats | None,
    z: Floats,
    targets: Floats,
    weights: Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def l1(w: Floats, strength: float, gradient: Floats | None = None) -> float: ...
def l2(w: Floats, strength: float, gradient: Floats | None = None) -> float: ...
def soft_threshold(w: Floats, step: float | Floats, strength: float) -> None: ...
def hard_threshold(w: Floats, step: float | Floats, strength: float) -> None: ...
def sgd(
    w: Floats,
    gradient: Floats,
    velocity: Floats | None = None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
) -> None: ...
def adam(
    w: Floats,
    gradient: Floats,
    m: Floats,
    v: Floats,
    *,
    learning_rate: float,
    t: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    decay: float = 0.0,
    floor: float = 0.0,
    step: Floats | None = None,
) -> None: ...
def dropout(out: Floats, x: Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0) -> None: ...
def dropout_mask(out: Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0) -> None: ...
def random_words(
    out: NDArray[np.uint32],
    *,
    seed: int,
    stream: int = 0,
    step: int = 0,
    first_block: int = 0,
) -> None: ...
def shuffle(order: NDArray[np.int64], *, seed: int, step: int) -> None: ...
def gather(out: Floats, x: Floats, rows: NDArray[np.int64]) -> None: ...
def gather_labels(out: NDArray[np.int32], labels: NDArray[np.int32], rows: NDArray[np.int64]) -> None: ...
