"""The kernels' twins but for random numbers: each formula as NumPy says it, in place, by its fastest words.

a) Long arrays are worked through in blocks that stay in the cache together with their scratch, so a kernel of
   many passes reads memory once, and its scratch is small.
b) NumPy has slow words and fast ones. A maximum with zeros takes a quarter of a maximum with 0; ones @ x
   beats a sum down the columns; a difference of comparisons beats `sign`; reductions over a short last axis
   are slow, so softmax works class by class.
"""

import math

import numpy as np

BLOCK = 32768  # elements; measured: half as many cost 5 % of a step, twice as many gain nothing
_TINY = 1e-30  # state below this is 0: it would otherwise stick in the subnormals
_ZEROS, _ONES = ({np.dtype(t): np.full(BLOCK, n, t) for t in (np.float32, np.float64)} for n in (0, 1))
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
_ERF = np.vectorize(math.erf, otypes=[np.float64])


# Products and sums


def gemm_nn(out, a, b, bias=None, *, accumulate=False):
    """out (m, n) = a (m, k) @ b (k, n) + bias (n,) [+ out]."""
    if accumulate:
        out += a @ b
    else:
        a.dot(b, out=out)
    if bias is not None:
        out += bias


def gemm_nt(out, a, b, bias=None, *, accumulate=False):
    """out (m, n) = a (m, k) @ b.T + bias (n,) [+ out], with b (n, k)."""
    gemm_nn(out, a, b.T, bias, accumulate=accumulate)


def gemm_tn(out, a, b, bias=None, *, accumulate=False):
    """out (m, n) = a.T @ b + bias (n,) [+ out], with a (k, m) and b (k, n)."""
    gemm_nn(out, a.T, b, bias, accumulate=accumulate)


def dense_forward(out, x, weight, bias=None):
    """out (rows, units) = x (rows, inputs) @ weight (inputs, units) + bias (units,)."""
    gemm_nn(out, x, weight, bias)


def dense_backward(dweight, dbias, dx, dout, x, weight):
    """Gradients of a dense layer from that of its output; dbias and dx may be None."""
    gemm_tn(dweight, x, dout)
    if dbias is not None:
        column_sum(dbias, dout)
    if dx is not None:
        gemm_nt(dx, dout, weight)


def csr_product(out, values, columns, starts, b, bias=None, rows=None):
    """out (m, n) = a @ b + bias (n,), a being sparse: the rows of these numbers, or all."""
    rows = range(len(starts) - 1) if rows is None else rows
    for total, row in zip(out, rows, strict=True):
        some = slice(starts[row], starts[row + 1])
        total[...] = values[some] @ b[columns[some]]
    if bias is not None:
        out += bias


def csr_transpose(values_t, rows_t, starts_t, values, columns, starts, rows=None):
    """The sparse rows of these numbers, or all, column by column; starts_t has an entry more than there are columns."""
    rows = np.arange(len(starts) - 1) if rows is None else rows
    counts = starts[rows + 1] - starts[rows]
    ends = np.cumsum(counts)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[rows] - ends + counts, counts)
    order = np.argsort(columns[places], kind="stable")
    values_t[...] = values[places[order]]
    rows_t[...] = np.repeat(np.arange(len(rows)), counts)[order]
    starts_t[0] = 0
    np.cumsum(np.bincount(columns[places], minlength=len(starts_t) - 1), out=starts_t[1:])


def column_sum(out, x):
    """out (n,) = sum of the rows of x (m, n)."""
    if len(x) <= BLOCK:
        _ONES[x.dtype][: len(x)].dot(x, out=out)
    else:
        np.add.reduce(x, axis=0, out=out)


# Activations, and their gradients from the output y; dx may be dy


def identity(out, x):
    """out = x."""
    np.copyto(out, x)


def relu(out, x):
    """out = max(x, 0)."""
    for out_, x_ in _blocks(out, x):
        np.maximum(x_, _ZEROS[x_.dtype][: x_.size].reshape(x_.shape), out=out_)


def leaky_relu(out, x, leak=0.01):
    """out = x where x > 0, else leak * x."""
    for out_, x_ in _blocks(out, x):
        slope = np.where(x_ > 0, x_.dtype.type(1), x_.dtype.type(leak))
        np.multiply(x_, slope, out=out_)


def sigmoid(out, x):
    """out = 1 / (1 + exp(-x)), by exp(-|x|), which cannot overflow."""
    for out_, x_ in _blocks(out, x):
        small = _exp_minus_abs(x_)
        numerator = np.where(x_ >= 0, x_.dtype.type(1), small)
        small += 1
        np.divide(numerator, small, out=out_)


def tanh(out, x):
    """out = tanh(x)."""
    np.tanh(x, out=out)


def softmax(out, x):
    """Rows of out (m, C) = exp(x) / sum(exp(x)), shifted by the row's maximum."""
    classes = _shifted_classes(x)
    _to_softmax(classes)
    np.copyto(out, classes.T)


def selu(out, x):
    """out = scale * x where x > 0, else scale * alpha * (exp(x) - 1)."""
    for out_, x_ in _blocks(out, x):
        below = np.minimum(x_, 0)
        np.expm1(below, out=below)
        below *= _SELU_SCALE * _SELU_ALPHA
        np.copyto(out_, np.where(x_ > 0, x_ * x_.dtype.type(_SELU_SCALE), below))


def exp(out, x):
    """out = exp(x)."""
    with np.errstate(over="ignore", under="ignore"):
        np.exp(x, out=out)


def log(out, x):
    """out = log(x), -inf at 0 and NaN below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        np.log(x, out=out)


def erf(out, x):
    """out = erf(x), number by number: NumPy has none, and no network needs it."""
    out[...] = _ERF(x)


def identity_gradient(dx, dy, y):
    """dx = dy."""
    np.copyto(dx, dy)


def relu_gradient(dx, dy, y, scale=1.0):
    """dx = scale * dy where y > 0, else 0; scale is that of a dropout fused behind the ReLU."""
    for dx_, dy_, y_ in _blocks(dx, dy, y):
        slope = y_ > 0
        if scale != 1:
            slope = np.multiply(slope, scale, dtype=dy_.dtype)
        np.multiply(dy_, slope, out=dx_)


def leaky_relu_gradient(dx, dy, y, leak=0.01):
    """dx = dy where y > 0, else leak * dy."""
    for dx_, dy_, y_ in _blocks(dx, dy, y):
        np.multiply(dy_, np.where(y_ > 0, y_.dtype.type(1), y_.dtype.type(leak)), out=dx_)


def sigmoid_gradient(dx, dy, y):
    """dx = dy * y * (1 - y)."""
    for dx_, dy_, y_ in _blocks(dx, dy, y):
        slope = 1 - y_
        slope *= y_
        np.multiply(dy_, slope, out=dx_)


def tanh_gradient(dx, dy, y):
    """dx = dy * (1 - y^2)."""
    for dx_, dy_, y_ in _blocks(dx, dy, y):
        slope = y_ * y_
        np.subtract(1, slope, out=slope)
        np.multiply(dy_, slope, out=dx_)


def selu_gradient(dx, dy, y):
    """dx = scale * dy where y > 0, else (y + scale * alpha) * dy."""
    for dx_, dy_, y_ in _blocks(dx, dy, y):
        slope = np.where(y_ > 0, y_.dtype.type(_SELU_SCALE), y_ + y_.dtype.type(_SELU_SCALE * _SELU_ALPHA))
        np.multiply(dy_, slope, out=dx_)


def softmax_gradient(dx, dy, y):
    """Rows of dx = y * (dy - sum(dy * y))."""
    inner = np.einsum("ij,ij->i", dy, y)
    np.subtract(dy, inner[:, None], out=dx)
    dx *= y


# Sums, and normalization


def add(out, a, b):
    """out = a + b."""
    np.add(a, b, out=out)


def column_moments(mean, variance, x):
    """Mean and unbiased variance of each column of x (m, n); of one row the variance is 0."""
    rows = max(len(x), 1)
    np.divide(np.add.reduce(x, axis=0), rows, out=mean)
    centered = x - mean
    np.divide(np.einsum("ij,ij->j", centered, centered), max(rows - 1, 1), out=variance)


def batch_norm(out, x, scale, shift, mean, variance, *, epsilon=1e-5, correction=1.0):
    """out = scale * (x - mean) / sqrt(correction * variance + epsilon) + shift, column by column."""
    np.multiply(x - mean, scale / np.sqrt(correction * variance + epsilon), out=out)
    out += shift


def layer_norm(out, x, scale, shift, *, epsilon=1e-5):
    """The same by the mean and the variance of each row of x."""
    normalized, _ = _normalized_rows(x, epsilon)
    np.multiply(normalized, scale, out=out)
    out += shift


def batch_norm_sums(dscale, dshift, dy, x, mean, variance, *, epsilon=1e-5, correction=1.0):
    """dshift = sum of the rows of dy, dscale = that of dy * normalized x."""
    column_sum(dshift, dy)
    np.divide(np.einsum("ij,ij->j", dy, x - mean), np.sqrt(correction * variance + epsilon), out=dscale)


def layer_norm_sums(dscale, dshift, dy, x, *, epsilon=1e-5):
    """The same for `layer_norm`."""
    column_sum(dshift, dy)
    np.einsum("ij,ij->j", dy, _normalized_rows(x, epsilon)[0], out=dscale)


def batch_norm_gradient(dx, dy, x, scale, dscale, dshift, mean, variance, *, epsilon=1e-5, correction=1.0):
    """dx = scale / deviation * (dy - (dshift + normalized x * dscale) / rows), mean and variance being those of x."""
    inverse, rows = 1 / np.sqrt(correction * variance + epsilon), max(len(x), 1)
    along = x - mean
    along *= inverse * dscale / rows
    along += dshift / rows
    np.subtract(dy, along, out=dx)
    dx *= scale * inverse


def layer_norm_gradient(dx, dy, x, scale, *, epsilon=1e-5):
    """dx = (g - mean(g) - normalized x * mean(g * normalized x)) / deviation with g = dy * scale, row by row."""
    normalized, inverse = _normalized_rows(x, epsilon)
    slopes, columns = dy * scale, max(x.shape[1], 1)
    along = np.einsum("ij,ij->i", slopes, normalized)[:, None] / columns
    slopes -= slopes.sum(axis=1, keepdims=True) / columns
    normalized *= along
    np.subtract(slopes, normalized, out=dx)
    dx *= inverse


def _normalized_rows(x, epsilon):
    """Return the rows of x less their mean, over their deviation; and the inverse of that, (rows, 1)."""
    columns = max(x.shape[1], 1)
    centered = x - x.sum(axis=1, keepdims=True) / columns
    inverse = 1 / np.sqrt(np.einsum("ij,ij->i", centered, centered)[:, None] / columns + epsilon)
    centered *= inverse
    return centered, inverse


# Losses: return sum_i w_i l_i; dz = scale * w_i * dl_i/dz, None for the value alone; dz may be z


def cross_entropy_labels(dz, z, labels, weights=None, scale=1.0, taken=0.0, spread=0.0):
    """Softmax cross-entropy of logits z (m, C) and labels, int32 (m,), smoothed: (1 - taken) onehot + spread."""
    classes = np.arange(z.shape[1], dtype=labels.dtype)
    wanted, mass = classes[:, None] == labels, None
    if taken or spread:
        wanted = np.where(wanted, 1 - taken + spread, spread).astype(z.dtype, copy=False)
        mass = np.add.reduce(wanted, axis=0)
    return _softmax_loss(dz, z, wanted, mass, weights, scale)


def cross_entropy(dz, z, targets, weights=None, scale=1.0, taken=0.0, spread=0.0):
    """Softmax cross-entropy of logits z (m, C) and targets (m, C) whose rows sum to 1, smoothed as labels are."""
    if taken or spread:
        targets = targets * (1 - taken)
        targets += spread
    return _softmax_loss(dz, z, targets.T, np.add.reduce(targets, axis=1), weights, scale)


def binary_cross_entropy(dz, z, targets, weights=None, scale=1.0, output_weight=1.0, smoothing=0.0):
    """Sigmoid cross-entropy of logits z (m, L) and targets (m, L): max(z, 0) - z t + log(1 + exp(-|z|))."""
    if smoothing:
        targets = targets + smoothing * (0.5 - targets)
    losses = _exp_minus_abs(z)
    np.log1p(losses, out=losses)
    losses += np.maximum(z, 0)
    losses -= z * targets
    total = output_weight * _total(np.add.reduce(losses, axis=1), weights)
    if dz is not None:
        sigmoid(dz, z)
        dz -= targets
        dz *= _row_factors(scale * output_weight, weights)
    return total


def squared_error(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Squared error of outputs z (m, L) and targets (m, L)."""
    errors = np.subtract(z, targets, out=dz)
    total = output_weight * _total(np.einsum("ij,ij->i", errors, errors), weights)
    if dz is not None:
        dz *= _row_factors(2 * scale * output_weight, weights)
    return total


def log_loss_labels(dz, z, labels, weights=None, scale=1.0):
    """Softmax cross-entropy as scikit-learn reports it: probabilities clipped to [eps, 1 - eps] of the dtype."""
    classes = _shifted_classes(z)
    rows = np.arange(len(z))
    losses = -classes[labels, rows]
    losses += _to_softmax(classes)
    if dz is not None:
        classes[labels, rows] -= 1
        np.multiply(classes.T, _row_factors(scale, weights), out=dz)
    return _total(_clipped(losses), weights)


def binary_log_loss(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Sigmoid cross-entropy of logits z (m, L) and targets (m, L), probabilities clipped to [eps, 1 - eps]."""
    curved = _exp_minus_abs(z)
    np.log1p(curved, out=curved)
    losses = _clipped(np.maximum(-z, 0) + curved) * targets
    losses += _clipped(np.maximum(z, 0) + curved) * (1 - targets)
    total = output_weight * _total(np.add.reduce(losses, axis=1), weights)
    if dz is not None:
        sigmoid(dz, z)
        dz -= targets
        dz *= _row_factors(scale * output_weight, weights)
    return total


def poisson(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Half the Poisson deviance of rates exp(z): exp(z) - t + t (log(t) - z), z and targets (m, L)."""
    rates = np.empty_like(z)
    exp(rates, z)
    logs = np.zeros_like(z)
    with np.errstate(invalid="ignore"):  # of a negative target: NaN
        np.log(targets, out=logs, where=targets != 0)
    logs -= z
    slopes = rates - targets
    total = output_weight * _total(np.add.reduce(slopes + np.where(targets == 0, 0, targets * logs), axis=1), weights)
    if dz is not None:
        np.multiply(slopes, _row_factors(scale * output_weight, weights), out=dz)
    return total


def absolute_error(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """|z - t| of outputs z (m, L) and targets (m, L)."""
    errors = np.subtract(z, targets, out=dz)
    total = output_weight * _total(np.add.reduce(np.abs(errors), axis=1), weights)
    if dz is not None:
        np.sign(errors, out=dz)
        dz *= _row_factors(scale * output_weight, weights)
    return total


def huber(dz, z, targets, weights=None, scale=1.0, output_weight=1.0, delta=1.0):
    """d^2 / 2 up to |d| = delta, delta (|d| - delta / 2) beyond, of d = z - t; z and targets (m, L)."""
    errors = np.subtract(z, targets, out=dz)
    size = np.abs(errors)
    near = np.minimum(size, delta)
    losses = near * (size - near / 2)
    total = output_weight * _total(np.add.reduce(losses, axis=1), weights)
    if dz is not None:
        np.clip(errors, -delta, delta, out=dz)
        dz *= _row_factors(scale * output_weight, weights)
    return total


def quantile(dz, z, targets, levels, weights=None, scale=1.0, output_weight=1.0):
    """max(q d, (q - 1) d) of d = t - z; z and targets (m, L), a level q for each column."""
    missing = targets - z
    shares = np.where(missing > 0, levels, levels - 1)
    total = output_weight * _total(np.add.reduce(shares * missing, axis=1), weights)
    if dz is not None:
        np.multiply(-shares, missing != 0, out=dz)
        dz *= _row_factors(scale * output_weight, weights)
    return total


def _clipped(losses):
    """Return minus the logarithms of probabilities as if those were clipped to [eps, 1 - eps]."""
    eps = np.finfo(losses.dtype).eps
    return np.clip(losses, -np.log1p(-eps), -np.log(eps), out=losses)


def _softmax_loss(dz, z, targets, mass, weights, scale):
    """The loss sum_c t_c (log(sum(exp(z))) - z_c); targets (C, m), mass their sums, None for ones."""
    classes = _shifted_classes(z)
    weighted = classes if weights is None else classes * weights
    wanted = np.vdot(weighted, targets)
    if not np.isfinite(wanted):  # 0 times an infinite logit is 0
        wanted = np.vdot(np.where(targets == 0, 0, weighted), targets)
    logs = _to_softmax(classes)
    if mass is not None:
        logs *= mass
        classes *= mass
    if dz is not None:
        classes -= targets
        np.multiply(classes.T, _row_factors(scale, weights), out=dz)
    return _total(logs, weights) - float(wanted)


def _shifted_classes(z):
    """Return z (m, C) class by class, (C, m), less the maximum of each row: no exponential overflows."""
    classes = z.T.copy()
    return np.subtract(classes, np.maximum.reduce(classes, axis=0), out=classes)


def _to_softmax(classes):
    """Turn shifted logits (C, m) into their softmax; return log(sum(exp)) of each row."""
    np.exp(classes, out=classes)
    sums = np.add.reduce(classes, axis=0)
    classes /= sums
    return np.log(sums, out=sums)


def _row_factors(scale, weights):
    return scale if weights is None else (scale * weights)[:, None]


def _total(losses, weights):
    return float(np.add.reduce(losses if weights is None else losses * weights))


# Penalties: return the value; their gradient is added where asked. Proximal steps act in place


def l1(w, strength, gradient=None):
    """strength * sum|w|; gradient += strength * sign(w), with sign(0) = 0."""
    total = 0.0
    for w_, gradient_ in _blocks(w, gradient):
        signs = (w_ > 0).view(np.int8) - (w_ < 0).view(np.int8)
        slope = np.multiply(signs, strength, dtype=w_.dtype)
        total += float(np.vdot(slope, w_))
        if gradient_ is not None:
            gradient_ += slope
    return total


def l2(w, strength, gradient=None):
    """strength * sum w^2; gradient += 2 * strength * w."""
    total = 0.0
    for w_, gradient_ in _blocks(w, gradient):
        total += float(np.vdot(w_, w_))
        if gradient_ is not None:
            gradient_ += w_ * (2 * strength)
    return strength * total


def soft_threshold(w, step, strength):
    """w = sign(w) max(|w| - step * strength, 0); step is a number or an array like w."""
    for w_, step_ in _blocks(w, step):
        threshold = step_ * strength
        inner = np.minimum(w_, threshold)
        np.maximum(inner, -threshold, out=inner)
        w_ -= inner


def hard_threshold(w, step, strength):
    """w = 0 where |w| < step * strength; step is a number or an array like w."""
    for w_, step_ in _blocks(w, step):
        np.copyto(w_, 0, where=np.abs(w_) < step_ * strength)


# Updates


def _penalized(w, gradient, strength1, strength2):
    """Return the gradient with those of an L1 and an L2 of these strengths, and the value of both."""
    if not (strength1 or strength2):
        return gradient, 0.0
    gradient = gradient.copy()
    return gradient, l1(w, strength1, gradient) + l2(w, strength2, gradient)


def sgd(w, gradient, velocity=None, *, learning_rate, momentum=0.0, nesterov=False, decay=0.0, l1=0.0, l2=0.0):
    """One step: u = momentum u - learning_rate g; w += u, or momentum u - learning_rate g (Nesterov).

    Without a velocity w -= learning_rate g. Decoupled decay: w -= decay * (old w). Returns the penalties of these
    strengths before the step; g includes their gradients.
    """
    gradient, penalty = _penalized(w, gradient, l1, l2)
    for w_, gradient_, u in _blocks(w, gradient, velocity):
        shrink = w_ * decay if decay else None
        move = gradient_ * -learning_rate
        if u is not None:
            u *= momentum
            u += move
            move = move + momentum * u if nesterov else u
        w_ += move
        if u is not None:
            _flush(u)
        if decay:
            w_ -= shrink
    return penalty


def adam(w, gradient, m, v, *, learning_rate, t, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0, floor=0.0,
         step=None, l1=0.0, l2=0.0):  # fmt: skip
    """One step of Adam, the t-th: w -= learning_rate / (1 - beta1^t) * m / D.

    D = max(sqrt(v / (1 - beta2^t)), floor) + epsilon. `step` receives learning_rate / D, the effective step
    size of each weight. Decoupled decay: w -= decay * (old w). Penalties as for `sgd`.
    """
    gradient, penalty = _penalized(w, gradient, l1, l2)
    rate, correction = learning_rate / (1 - beta1**t), 1 / (1 - beta2**t)
    for w_, g, m_, v_, step_ in _blocks(w, gradient, m, v, step):
        m_ *= beta1
        m_ += g * (1 - beta1)
        squares = g * g
        squares *= 1 - beta2
        v_ *= beta2
        v_ += squares
        denominator = np.multiply(v_, correction, out=squares)
        np.sqrt(denominator, out=denominator)
        np.maximum(denominator, floor, out=denominator)
        denominator += epsilon
        if step_ is not None:
            np.divide(learning_rate, denominator, out=step_)
        shrink = w_ * decay if decay else None
        move = np.divide(m_, denominator, out=denominator)
        move *= rate
        w_ -= move
        _flush(m_)
        if decay:
            w_ -= shrink
    return penalty


def running_average(w, values, *, learning_rate):
    """w += learning_rate * (values - w)."""
    for w_, values_ in _blocks(w, values):
        w_ += learning_rate * (values_ - w_)


def _flush(state):
    large = np.abs(state) >= _TINY
    if np.count_nonzero(large) < large.size:
        state *= large


# Clipping


def square_sum(x):
    """Sum of x^2 in float64."""
    total = 0.0
    for (x_,) in _blocks(x):
        wide = x_.reshape(-1).astype(np.float64)
        total += float(np.dot(wide, wide))
    return total


def rescale(x, factor):
    """x *= factor."""
    x *= factor


def clamp(x, bound):
    """x = x clipped to -bound .. bound."""
    np.clip(x, -bound, bound, out=x)


# Rows by number


def gather(out, x, rows):
    """out[i] = x[rows[i]]."""
    x.take(rows, axis=0, out=out, mode="clip")  # any other mode would go through a copy


def gather_labels(out, labels, rows):
    """out[i] = labels[rows[i]], int32."""
    labels.take(rows, out=out, mode="clip")


def gather_one_hot(out, labels, rows):
    """out[i] = 1 in column labels[rows[i]], else 0."""
    np.equal(np.arange(out.shape[1], dtype=labels.dtype), labels[rows, None], out=out)


def _exp_minus_abs(x):
    small = np.abs(x)
    np.negative(small, out=small)
    return np.exp(small, out=small)


def _blocks(first, *others):
    """Return blocks of arrays of one shape, side by side; None and numbers are passed on."""
    if first.size <= BLOCK:
        return ((first, *others),)
    return _flat_blocks(first, *others)


def _flat_blocks(first, *others):
    """Yield the same blocks, one-dimensional."""
    arrays = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in (first, *others)]
    for start in range(0, first.size, BLOCK):
        yield [a[start : start + BLOCK] if isinstance(a, np.ndarray) else a for a in arrays]
