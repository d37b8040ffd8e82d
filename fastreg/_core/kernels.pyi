"""Types of the kernels' doors."""

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float32] | NDArray[np.float64]

def gemm_nn(
    out: _Floats,
    a: _Floats,
    b: _Floats,
    bias: _Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def gemm_nt(
    out: _Floats,
    a: _Floats,
    b: _Floats,
    bias: _Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def gemm_tn(
    out: _Floats,
    a: _Floats,
    b: _Floats,
    bias: _Floats | None = None,
    *,
    accumulate: bool = False,
) -> None: ...
def csr_product(
    out: _Floats,
    values: _Floats,
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    b: _Floats,
    bias: _Floats | None = None,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def csr_transpose(
    values_t: _Floats,
    rows_t: NDArray[np.int32],
    starts_t: NDArray[np.int64],
    values: _Floats,
    columns: NDArray[np.int32],
    starts: NDArray[np.int64],
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def column_sum(out: _Floats, x: _Floats) -> None: ...
def dense_forward(out: _Floats, x: _Floats, weight: _Floats, bias: _Floats | None = None) -> None: ...
def dense_backward(
    dweight: _Floats,
    dbias: _Floats | None,
    dx: _Floats | None,
    dout: _Floats,
    x: _Floats,
    weight: _Floats,
) -> None: ...
def identity(out: _Floats, x: _Floats) -> None: ...
def relu(out: _Floats, x: _Floats) -> None: ...
def leaky_relu(out: _Floats, x: _Floats, leak: float = 0.01) -> None: ...
def sigmoid(out: _Floats, x: _Floats) -> None: ...
def tanh(out: _Floats, x: _Floats) -> None: ...
def selu(out: _Floats, x: _Floats) -> None: ...
def softmax(out: _Floats, x: _Floats) -> None: ...
def exp(out: _Floats, x: _Floats) -> None: ...
def log(out: _Floats, x: _Floats) -> None: ...
def erf(out: _Floats, x: _Floats) -> None: ...
def identity_gradient(dx: _Floats, dy: _Floats, y: _Floats) -> None: ...
def relu_gradient(dx: _Floats, dy: _Floats, y: _Floats, scale: float = 1.0) -> None: ...
def leaky_relu_gradient(dx: _Floats, dy: _Floats, y: _Floats, leak: float = 0.01) -> None: ...
def sigmoid_gradient(dx: _Floats, dy: _Floats, y: _Floats) -> None: ...
def tanh_gradient(dx: _Floats, dy: _Floats, y: _Floats) -> None: ...
def selu_gradient(dx: _Floats, dy: _Floats, y: _Floats) -> None: ...
def softmax_gradient(dx: _Floats, dy: _Floats, y: _Floats) -> None: ...
def add(out: _Floats, a: _Floats, b: _Floats) -> None: ...
def column_moments(mean: _Floats, variance: _Floats, x: _Floats) -> None: ...
def batch_norm(
    out: _Floats,
    x: _Floats,
    scale: _Floats,
    shift: _Floats,
    mean: _Floats,
    variance: _Floats,
    *,
    epsilon: float = 1e-5,
    correction: float = 1.0,
) -> None: ...
def layer_norm(out: _Floats, x: _Floats, scale: _Floats, shift: _Floats, *, epsilon: float = 1e-5) -> None: ...
def batch_norm_sums(
    dscale: _Floats,
    dshift: _Floats,
    dy: _Floats,
    x: _Floats,
    mean: _Floats,
    variance: _Floats,
    *,
    epsilon: float = 1e-5,
    correction: float = 1.0,
) -> None: ...
def layer_norm_sums(dscale: _Floats, dshift: _Floats, dy: _Floats, x: _Floats, *, epsilon: float = 1e-5) -> None: ...
def batch_norm_gradient(
    dx: _Floats,
    dy: _Floats,
    x: _Floats,
    scale: _Floats,
    dscale: _Floats,
    dshift: _Floats,
    mean: _Floats,
    variance: _Floats,
    *,
    epsilon: float = 1e-5,
    correction: float = 1.0,
) -> None: ...
def layer_norm_gradient(dx: _Floats, dy: _Floats, x: _Floats, scale: _Floats, *, epsilon: float = 1e-5) -> None: ...
def cross_entropy_labels(
    dz: _Floats | None,
    z: _Floats,
    labels: NDArray[np.int32],
    weights: _Floats | None = None,
    scale: float = 1.0,
    taken: float = 0.0,
    spread: float = 0.0,
) -> float: ...
def cross_entropy(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    taken: float = 0.0,
    spread: float = 0.0,
) -> float: ...
def binary_cross_entropy(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
    smoothing: float = 0.0,
) -> float: ...
def squared_error(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def log_loss_labels(
    dz: _Floats | None,
    z: _Floats,
    labels: NDArray[np.int32],
    weights: _Floats | None = None,
    scale: float = 1.0,
) -> float: ...
def binary_log_loss(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def poisson(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def absolute_error(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def huber(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
    delta: float = 1.0,
) -> float: ...
def quantile(
    dz: _Floats | None,
    z: _Floats,
    targets: _Floats,
    levels: _Floats,
    weights: _Floats | None = None,
    scale: float = 1.0,
    output_weight: float = 1.0,
) -> float: ...
def l1(w: _Floats, strength: float, gradient: _Floats | None = None) -> float: ...
def l2(w: _Floats, strength: float, gradient: _Floats | None = None) -> float: ...
def soft_threshold(w: _Floats, step: float | _Floats, strength: float) -> None: ...
def hard_threshold(w: _Floats, step: float | _Floats, strength: float) -> None: ...
def sgd(
    w: _Floats,
    gradient: _Floats,
    velocity: _Floats | None = None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
) -> float: ...
def adam(
    w: _Floats,
    gradient: _Floats,
    m: _Floats,
    v: _Floats,
    *,
    learning_rate: float,
    t: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    decay: float = 0.0,
    floor: float = 0.0,
    step: _Floats | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
) -> float: ...
def running_average(w: _Floats, values: _Floats, *, learning_rate: float) -> None: ...
def square_sum(x: _Floats) -> float: ...
def rescale(x: _Floats, factor: float) -> None: ...
def clamp(x: _Floats, bound: float) -> None: ...
def dropout(
    out: _Floats, x: _Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0, first_row: int = 0
) -> None: ...
def dropout_mask(
    out: _Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0, first_row: int = 0
) -> None: ...
def feature_mask(
    out: _Floats,
    x: _Floats,
    rate: float,
    value: float = 0.0,
    *,
    seed: int,
    step: int = 0,
    layer: int = 0,
    first_row: int = 0,
) -> None: ...
def gaussian_noise(
    out: _Floats, x: _Floats, sigma: float, *, seed: int, step: int = 0, layer: int = 0, first_row: int = 0
) -> None: ...
def multiplicative_noise(
    out: _Floats, x: _Floats, sigma: float, *, seed: int, step: int = 0, layer: int = 0, first_row: int = 0
) -> None: ...
def drop_path(
    out: _Floats, x: _Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0, first_row: int = 0
) -> None: ...
def swap_noise(out: _Floats, x: _Floats, rate: float, *, seed: int, step: int = 0, layer: int = 0) -> None: ...
def random_words(
    out: NDArray[np.uint32],
    *,
    seed: int,
    stream: int = 0,
    step: int = 0,
    first_block: int = 0,
) -> None: ...
def shuffle(order: NDArray[np.int64], *, seed: int, step: int) -> None: ...
def gather(out: _Floats, x: _Floats, rows: NDArray[np.int64]) -> None: ...
def gather_labels(out: NDArray[np.int32], labels: NDArray[np.int32], rows: NDArray[np.int64]) -> None: ...
def gather_one_hot(out: _Floats, labels: NDArray[np.int32], rows: NDArray[np.int64]) -> None: ...
def random_flip(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    horizontal: float = 0.5,
    vertical: float = 0.0,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def random_rotate(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    turns: int = 15,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def random_shift(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    vertical: int = 1,
    horizontal: int = 1,
    fill: float = 0.0,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def center_crop(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    rows_cut: int = 1,
    columns_cut: int = 1,
    probability: float = 1.0,
    fill: float = 0.0,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def cutout(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    size: int = 1,
    probability: float = 1.0,
    fill: float = 0.0,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def color_jitter(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def pixel_noise(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    sigma: float = 0.1,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def rand_augment(
    out: _Floats,
    x: _Floats,
    shape: tuple[int, int, int],
    magnitude: float = 0.9,
    *,
    seed: int,
    epoch: int = 0,
    number: int = 0,
    rows: NDArray[np.int64] | None = None,
) -> None: ...
def mixing(
    alpha: float, probability: float, n_rows: int, *, seed: int, step: int = 0, number: int = 0
) -> tuple[float, int]: ...
def mixup(
    keep: _Floats, shape: tuple[int, int, int], share: float, *, seed: int = 0, step: int = 0, number: int = 0
) -> float: ...
def cutmix(
    keep: _Floats, shape: tuple[int, int, int], share: float, *, seed: int, step: int = 0, number: int = 0
) -> float: ...
def cutmix_features(
    keep: _Floats, shape: tuple[int, int, int], share: float, *, seed: int, step: int = 0, number: int = 0
) -> float: ...
def blend(out: _Floats, x: _Floats, partner: _Floats, keep: _Floats) -> None: ...
def blend_targets(
    out: _Floats,
    targets: _Floats,
    partner: _Floats,
    share: float,
    weights: _Floats | None = None,
    own_weights: _Floats | None = None,
    partner_weights: _Floats | None = None,
) -> None: ...
