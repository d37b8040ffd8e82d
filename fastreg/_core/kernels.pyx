"""The kernels' doors: checked, documented, and the same table entries that the engine calls.

Every door writes into arrays that the caller owns, so the inner lines of a NumPy training loop can be replaced one at a
time. Arrays are C-contiguous, all float32 or all float64; inputs may be read-only. What is wrong with an argument is
said with its name (TypeError for what is no such array, ValueError for shapes and numbers).
"""

from numpy import arange as _arange
from numpy import ascontiguousarray as _asarray
from numpy import dtype as _dtype

from libc.stdlib cimport free, malloc

from fastreg._core.mixing cimport draw_mixing, mixing_t
from fastreg._core.table cimport *

_F32, _F64 = _dtype("float32"), _dtype("float64")

ctypedef fused real:
    float
    double


# ---- checks ---------------------------------------------------------------------------------------------------------


cdef bint _is_double(str name, array) except -1:
    """Whether the array is float64 (1) or float32 (0)."""
    dtype = getattr(array, "dtype", None)
    if dtype is None or not hasattr(array, "flags"):
        raise TypeError(f"{name} must be a NumPy array of float32 or float64, got {type(array).__name__}")
    if dtype is not _F32 and dtype is not _F64 and dtype not in (_F32, _F64):
        raise TypeError(f"{name} must be float32 or float64, got {dtype}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous; pass np.ascontiguousarray({name})")
    return dtype == _F64


cdef bint _same_dtype(dict required, dict optional) except -1:
    """Check the arrays, the optional ones unless they are None; all share one dtype. Returns whether it is float64."""
    cdef bint double = False
    given = {name: array for name, array in optional.items() if array is not None}
    first = None
    for name, array in {**required, **given}.items():
        is_double = _is_double(name, array)
        if first is None:
            first, double = name, is_double
        elif is_double != double:
            raise TypeError(f"{name} is {array.dtype}, {first} is {required[first].dtype}; all need one dtype")
    return double


cdef int _shape(str name, array, tuple shape, str why) except -1:
    if array is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape} ({why})")
    return 0


cdef int _matrix(str name, array) except -1:
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D, got shape {array.shape}")
    return 0


cdef int _strength(str name, double value) except -1:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number >= 0, got {value}")
    return 0


cdef fr_stream _stream(seed, step, stream) except *:
    cdef fr_stream key
    for name, value, bits in (("seed", seed, 64), ("step", step, 64), ("stream or layer", stream, 32)):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must be in [0, 2**{bits}), got {value}")
    key.seed, key.step, key.stream = seed, step, stream
    return key


def _flat(array):
    """The same memory as one row; the checks above have made sure that no copy is needed."""
    return array if array is None or array.ndim == 1 else array.reshape(-1)


# ---- products -------------------------------------------------------------------------------------------------------


cdef int _product(str name, real[:, ::1] out, const real[:, ::1] a, const real[:, ::1] b, const real[::1] bias,
                  i64 k, bint accumulate) except -1:
    cdef fr_product *kernel = <fr_product *>kernel_named("product", name, real is double)
    cdef i64 m = out.shape[0], n = out.shape[1]
    cdef i64 size = FR_WEIGHT_SCRATCH(k, m) if name == "gemm_tn" else FR_PANEL_SCRATCH(k)
    cdef void *scratch
    cdef u64 mode
    if m and n:
        if k and (overlap(&out[0, 0], m * n, &a[0, 0], m * k) or overlap(&out[0, 0], m * n, &b[0, 0], k * n)):
            raise ValueError(f"{name}: out overlaps an input; pass an array of its own")
        scratch = malloc((size + 64) * sizeof(real))
        if scratch is NULL:
            raise MemoryError(f"{name}: no memory for {size} numbers of scratch")
        with nogil:
            mode = fr_enter()
            kernel(&out[0, 0], <void *>&a[0, 0] if k else NULL, <void *>&b[0, 0] if k else NULL,
                   NULL if bias is None else <void *>&bias[0], m, n, k, accumulate, NULL, scratch)
            fr_leave(mode)
        free(scratch)
    return 0


cdef bint overlap(const real *out, i64 n_out, const real *x, i64 n) noexcept nogil:
    """Whether two stretches of memory share a number."""
    return n > 0 and out < x + n and x < out + n_out


cdef int _gemm(str name, out, a, b, bias, bint accumulate, int a_k, int b_k) except -1:
    """Checks common to the three products; a_k and b_k are the axes of a and b that are summed over."""
    double = _same_dtype({"out": out, "a": a, "b": b}, {"bias": bias})
    for label, array in (("out", out), ("a", a), ("b", b)):
        _matrix(label, array)
    if a.shape[a_k] != b.shape[b_k]:
        raise ValueError(f"{name}: inner lengths differ: a has shape {a.shape}, b has shape {b.shape}")
    m, n = a.shape[1 - a_k], b.shape[1 - b_k]
    _shape("out", out, (m, n), f"{name} of a {a.shape} and b {b.shape}")
    _shape("bias", bias, (n,), f"one number per column of out {out.shape}")
    if double:
        return _product[double](name, out, a, b, bias, a.shape[a_k], accumulate)
    return _product[float](name, out, a, b, bias, a.shape[a_k], accumulate)


def gemm_nn(out, a, b, bias=None, *, accumulate=False):
    """Product ``out = a @ b + bias``: the forward pass of a dense layer.

    Parameters
    ----------
    out : array (m, n)
        Written in place. Must not overlap the inputs.
    a, b : array (m, k), (k, n)
    bias : array (n,), optional
    accumulate : bool, default False
        Add to what `out` holds.

    Notes
    -----
    Every element is the sum, block after block, of fused multiply-add chains over 256 consecutive k: the same bits at
    every level with FMA hardware.
    """
    _gemm("gemm_nn", out, a, b, bias, accumulate, 1, 0)


def gemm_nt(out, a, b, bias=None, *, accumulate=False):
    """Product ``out = a @ b.T + bias`` with b of shape (n, k): the gradient of a dense layer's input. See `gemm_nn`."""
    _gemm("gemm_nt", out, a, b, bias, accumulate, 1, 1)


def gemm_tn(out, a, b, bias=None, *, accumulate=False):
    """Product ``out = a.T @ b + bias``, a of shape (k, m): the gradient of a dense layer's weight. See `gemm_nn`."""
    _gemm("gemm_tn", out, a, b, bias, accumulate, 0, 0)


cdef i64 _sparse_rows(values, columns, starts, rows, i64 n_columns) except -1:
    """Check sparse rows of at most `n_columns` columns; returns how many numbers the rows of these numbers have."""
    for name, array, dtype in (("columns", columns, "int32"), ("starts", starts, "int64"), ("rows", rows, "int64")):
        if array is None and name == "rows":
            continue
        if getattr(array, "dtype", None) != dtype or array.ndim != 1 or not array.flags.c_contiguous:
            found = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name} must be a contiguous 1-D {dtype} array, got {found}")
    _shape("columns", columns, values.shape, "one column for each of the values")
    cdef const int32_t[::1] column = columns
    cdef const int64_t[::1] start = starts
    cdef i64 n = len(columns), n_rows = len(starts) - 1, r, k
    cdef bint rising = n_rows >= 0 and start[0] == 0 and start[n_rows] == n
    for r in range(n_rows if rising else 0):
        rising = rising and start[r] <= start[r + 1]
    if not rising:
        raise ValueError(f"starts of shape {starts.shape} must rise from 0 to the {n} values of shape {values.shape}")
    for r in range(n_rows):
        for k in range(start[r], start[r + 1]):
            if not (column[k - 1] if k > start[r] else -1) < column[k] < n_columns:
                raise ValueError(f"columns of row {r} must rise within 0..{n_columns - 1}, got {column[k]}")
    if rows is None:
        return n
    if rows.size and not (rows.min() >= 0 and rows.max() < n_rows):
        raise ValueError(f"rows must be in 0..{n_rows - 1}, got {rows.min()}..{rows.max()}")
    return int((starts[rows + 1] - starts[rows]).sum())


cdef int _csr_product(real[:, ::1] out, const real[::1] values, const int32_t[::1] columns, const int64_t[::1] starts,
                      const real[:, ::1] b, const real[::1] bias, const int64_t[::1] rows) except -1:
    cdef fr_sparse_product *kernel = <fr_sparse_product *>kernel_named("sparse_product", "csr_product", real is double)
    cdef const int64_t *chosen = NULL
    cdef u64 mode
    if out.shape[0] and out.shape[1]:
        if rows is not None:
            chosen = &rows[0]
        if b.shape[0] and overlap(&out[0, 0], out.shape[0] * out.shape[1], &b[0, 0], b.shape[0] * b.shape[1]):
            raise ValueError("csr_product: out overlaps b; pass an array of its own")
        with nogil:
            mode = fr_enter()
            kernel(&out[0, 0], &values[0] if values.shape[0] else NULL, &columns[0] if columns.shape[0] else NULL,
                   &starts[0], chosen, &b[0, 0] if b.shape[0] else NULL,
                   NULL if bias is None else <void *>&bias[0], out.shape[0], out.shape[1])
            fr_leave(mode)
    return 0


def csr_product(out, values, columns, starts, b, bias=None, rows=None):
    """Product ``out = a @ b + bias`` with a sparse a: the first layer of a network on sparse data, forward or back.

    Parameters
    ----------
    out : array (m, n)
        Written in place. Must not overlap b.
    values : array (z,)
    columns : int32 array (z,)
        Rising within each row.
    starts : int64 array (r + 1,)
        Row i of a table of r rows has ``values[starts[i]:starts[i + 1]]`` in these columns.
    b : array (k, n)
    bias : array (n,), optional
    rows : int64 array (m,), optional
        The rows of the table that a consists of; None for all, m = r.

    Notes
    -----
    The sums are those of `gemm_nn` to the bit, where b is finite: the zeros that are left out would not change them.
    """
    double = _same_dtype({"out": out, "values": values, "b": b}, {"bias": bias})
    _matrix("out", out)
    _matrix("b", b)
    _sparse_rows(values, columns, starts, rows, b.shape[0])
    m = len(starts) - 1 if rows is None else len(rows)
    why = f"rows {(m,)} of a table with starts {starts.shape}, and b {b.shape}"
    _shape("out", out, (m, b.shape[1]), why)
    _shape("bias", bias, b.shape[1:], f"one number per column of b {b.shape}")
    if double:
        _csr_product[double](out, values, columns, starts, b, bias, rows)
    else:
        _csr_product[float](out, values, columns, starts, b, bias, rows)


cdef int _csr_transpose(real[::1] values_t, int32_t[::1] rows_t, int64_t[::1] starts_t, const real[::1] values,
                        const int32_t[::1] columns, const int64_t[::1] starts, const int64_t[::1] rows,
                        i64 m) except -1:
    cdef fr_sparse_transpose *kernel = <fr_sparse_transpose *>kernel_named("sparse_transpose", "csr_transpose",
                                                                           real is double)
    cdef const int64_t *chosen = NULL
    if rows is not None and m:
        chosen = &rows[0]
    with nogil:
        kernel(&values_t[0] if values_t.shape[0] else NULL, &rows_t[0] if rows_t.shape[0] else NULL, &starts_t[0],
               &values[0] if values.shape[0] else NULL, &columns[0] if columns.shape[0] else NULL, &starts[0],
               chosen, m, starts_t.shape[0] - 1)
    return 0


def csr_transpose(values_t, rows_t, starts_t, values, columns, starts, rows=None):
    """The sparse rows of these numbers, or all, column by column, each in the order of the rows.

    Parameters
    ----------
    values_t : array (z,)
    rows_t : int32 array (z,)
    starts_t : int64 array (n + 1,), n being how many columns the table has
        Written in place.
    values, columns, starts, rows : as for `csr_product`
    """
    double = _same_dtype({"values_t": values_t, "values": values}, {})
    for name, array, dtype in (("rows_t", rows_t, "int32"), ("starts_t", starts_t, "int64")):
        if getattr(array, "dtype", None) != dtype or array.ndim != 1 or not array.flags.c_contiguous:
            raise TypeError(f"{name} must be a contiguous 1-D {dtype} array, got {getattr(array, 'dtype', array)}")
    if not len(starts_t):
        raise ValueError("starts_t must have one entry more than the table has columns, got shape (0,)")
    count = _sparse_rows(values, columns, starts, rows, len(starts_t) - 1)
    _shape("values_t", values_t, (count,), f"as many as these rows have values, of {values.shape} in all")
    _shape("rows_t", rows_t, (count,), f"as many as these rows have values, of {values.shape} in all")
    m = len(starts) - 1 if rows is None else len(rows)
    if double:
        _csr_transpose[double](values_t, rows_t, starts_t, values, columns, starts, rows, m)
    else:
        _csr_transpose[float](values_t, rows_t, starts_t, values, columns, starts, rows, m)


cdef int _column_sum(real[::1] out, const real[:, ::1] x) except -1:
    cdef fr_reduction *kernel = <fr_reduction *>kernel_named("reduction", "column_sum", real is double)
    cdef u64 mode
    if x.shape[1]:
        with nogil:
            mode = fr_enter()
            kernel(&out[0], <void *>&x[0, 0] if x.shape[0] else NULL, x.shape[0], x.shape[1])
            fr_leave(mode)
    return 0


def column_sum(out, x):
    """Sum of the rows: ``out = x.sum(axis=0)``, the gradient of a bias; out (n,), x (m, n). Blocks of 256 rows."""
    double = _same_dtype({"out": out, "x": x}, {})
    _matrix("x", x)
    _shape("out", out, x.shape[1:], f"one number per column of x {x.shape}")
    _column_sum[double](out, x) if double else _column_sum[float](out, x)


def dense_forward(out, x, weight, bias=None):
    """Dense layer before its activation: ``out = x @ weight + bias``.

    Parameters
    ----------
    out : array (rows, units)
        Written in place.
    x : array (rows, inputs)
    weight : array (inputs, units)
    bias : array (units,), optional
    """
    gemm_nn(out, x, weight, bias)


def dense_backward(dweight, dbias, dx, dout, x, weight):
    """Gradients of a dense layer from the gradient `dout` (rows, units) of its output.

    Parameters
    ----------
    dweight : array (inputs, units)
        Receives ``x.T @ dout``.
    dbias : array (units,) or None
        Receives ``dout.sum(axis=0)``; None where there is no bias.
    dx : array (rows, inputs) or None
        Receives ``dout @ weight.T``; None where it is not needed (the first layer).
    dout, x, weight : array (rows, units), (rows, inputs), (inputs, units)
    """
    gemm_tn(dweight, x, dout)
    if dbias is not None:
        column_sum(dbias, dout)
    if dx is not None:
        gemm_nt(dx, dout, weight)


# ---- activations ----------------------------------------------------------------------------------------------------


cdef int _map(str name, real[::1] out, const real[::1] x, i64 rows, i64 cols, double alpha) except -1:
    cdef fr_activation *kernel = <fr_activation *>kernel_named("activation", name, real is double)
    cdef u64 mode
    if rows and cols:
        if &out[0] != &x[0] and overlap(&out[0], rows * cols, &x[0], rows * cols):
            raise ValueError(f"{name}: out overlaps x in part; pass the same array or one of its own")
        with nogil:
            mode = fr_enter()
            kernel(&out[0], &x[0], rows, cols, alpha)
            fr_leave(mode)
    return 0


cdef int _activation(str name, out, x, double alpha) except -1:
    double = _same_dtype({"out": out, "x": x}, {})
    _shape("out", out, x.shape, "the shape of x")
    if name == "softmax":
        _matrix("x", x)
    rows, cols = x.shape if x.ndim == 2 else (1, x.size)
    if double:
        return _map[double](name, _flat(out), _flat(x), rows, cols, alpha)
    return _map[float](name, _flat(out), _flat(x), rows, cols, alpha)


def identity(out, x):
    """Copy: ``out = x``. Any shape; out may be x."""
    _activation("identity", out, x, 0)


def relu(out, x):
    """Rectifier: ``out = max(x, 0)``, NaN kept. Any shape; out may be x."""
    _activation("relu", out, x, 0)


def leaky_relu(out, x, leak=0.01):
    """Leaky rectifier: x where x > 0, ``leak * x`` elsewhere (Maas et al. 2013). Any shape; out may be x."""
    _activation("leaky_relu", out, x, leak)


def sigmoid(out, x):
    """Logistic function ``1 / (1 + exp(-x))``, at most 2 ULP off (2.4 without FMA). Any shape; out may be x."""
    _activation("sigmoid", out, x, 0)


def tanh(out, x):
    """Hyperbolic tangent, at most 2 ULP off. Any shape; out may be x."""
    _activation("tanh", out, x, 0)


def selu(out, x):
    """Self-normalizing unit (Klambauer et al. 2017): ``s * x`` where x > 0, ``s * a * (exp(x) - 1)`` elsewhere.

    s = 1.0507009873554805, a = 1.6732632423543772. Any shape; out may be x.
    """
    _activation("selu", out, x, 0)


def softmax(out, x):
    """Softmax of each row of x (m, C), shifted by the row's maximum so that it cannot overflow; out may be x."""
    _activation("softmax", out, x, 0)


def exp(out, x):
    """Exponential, at most 2 ULP off; infinite and subnormal results without a warning. Any shape; out may be x."""
    _activation("exp", out, x, 0)


def log(out, x):
    """Natural logarithm, at most 2 ULP off; -inf of 0 and NaN of x < 0 without a warning. Any shape; out may be x."""
    _activation("log", out, x, 0)


def erf(out, x):
    """Error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x; at most 2 ULP off.

    Any shape; out may be x.
    """
    _activation("erf", out, x, 0)


cdef int _slope(str name, real[::1] dx, const real[::1] dy, const real[::1] y, i64 rows, i64 cols,
                double alpha) except -1:
    cdef fr_gradient *kernel = <fr_gradient *>kernel_named("gradient", name, real is double)
    cdef u64 mode
    if rows and cols:
        with nogil:
            mode = fr_enter()
            kernel(&dx[0], &dy[0], &y[0], rows, cols, alpha)
            fr_leave(mode)
    return 0


cdef int _gradient(str name, dx, dy, y, double alpha) except -1:
    double = _same_dtype({"dx": dx, "dy": dy, "y": y}, {})
    _shape("dx", dx, y.shape, "the shape of y")
    _shape("dy", dy, y.shape, "the shape of y")
    if name == "softmax_gradient":
        _matrix("y", y)
    rows, cols = y.shape if y.ndim == 2 else (1, y.size)
    if double:
        return _slope[double](name, _flat(dx), _flat(dy), _flat(y), rows, cols, alpha)
    return _slope[float](name, _flat(dx), _flat(dy), _flat(y), rows, cols, alpha)


def identity_gradient(dx, dy, y):
    """Gradient through the identity: ``dx = dy``. dx may be dy."""
    _gradient("identity_gradient", dx, dy, y, 0)


def relu_gradient(dx, dy, y, scale=1.0):
    """Gradient through `relu` from its output y: ``scale * dy`` where y > 0, else 0. dx may be dy.

    With `scale` = 1 / (1 - p) it is also the gradient through an inverted dropout behind the ReLU: dropped units have
    y = 0, so no mask is needed.
    """
    _gradient("relu_gradient", dx, dy, y, scale)


def leaky_relu_gradient(dx, dy, y, leak=0.01):
    """Gradient through `leaky_relu` from its output y: dy where y > 0, ``leak * dy`` elsewhere. dx may be dy."""
    _gradient("leaky_relu_gradient", dx, dy, y, leak)


def sigmoid_gradient(dx, dy, y):
    """Gradient through `sigmoid` from its output y: ``dy * y * (1 - y)``. dx may be dy."""
    _gradient("sigmoid_gradient", dx, dy, y, 0)


def tanh_gradient(dx, dy, y):
    """Gradient through `tanh` from its output y: ``dy * (1 - y**2)``. dx may be dy."""
    _gradient("tanh_gradient", dx, dy, y, 0)


def selu_gradient(dx, dy, y):
    """Gradient through `selu` from its output y: ``dy * s`` where y > 0, else ``dy * (y + s * a)``. dx may be dy."""
    _gradient("selu_gradient", dx, dy, y, 0)


def softmax_gradient(dx, dy, y):
    """Gradient through `softmax` from its output y (m, C): ``y * (dy - sum(dy * y))`` row by row. dx may be dy."""
    _gradient("softmax_gradient", dx, dy, y, 0)


# ---- sums, and normalization ---------------------------------------------------------------------------------------


cdef int _add(real[::1] out, const real[::1] a, const real[::1] b) except -1:
    cdef fr_sum *kernel = <fr_sum *>kernel_named("sum", "add", real is double)
    cdef u64 mode
    if out.shape[0]:
        with nogil:
            mode = fr_enter()
            kernel(&out[0], &a[0], &b[0], out.shape[0])
            fr_leave(mode)
    return 0


def add(out, a, b):
    """Sum: ``out = a + b``. Any shape; out may be a or b."""
    double = _same_dtype({"out": out, "a": a, "b": b}, {})
    _shape("out", out, a.shape, "the shape of a")
    _shape("b", b, a.shape, "the shape of a")
    if double:
        _add[double](_flat(out), _flat(a), _flat(b))
    else:
        _add[float](_flat(out), _flat(a), _flat(b))


cdef int _moments(real[::1] mean, real[::1] variance, const real[:, ::1] x) except -1:
    cdef fr_moments *kernel = <fr_moments *>kernel_named("moments", "column_moments", real is double)
    cdef u64 mode
    if x.shape[1]:
        with nogil:
            mode = fr_enter()
            kernel(&mean[0], &variance[0], &x[0, 0] if x.shape[0] else NULL, x.shape[0], x.shape[1], 0, x.shape[1])
            fr_leave(mode)
    return 0


def column_moments(mean, variance, x):
    """Mean and unbiased variance of each column of x (m, n), into mean (n,) and variance (n,).

    ``variance = sum((x - mean)**2) / (m - 1)``, 0 where m = 1. Sums in blocks of 256 rows.
    """
    double = _same_dtype({"mean": mean, "variance": variance, "x": x}, {})
    _matrix("x", x)
    for name, array in (("mean", mean), ("variance", variance)):
        _shape(name, array, x.shape[1:], f"one number per column of x {x.shape}")
    _moments[double](mean, variance, x) if double else _moments[float](mean, variance, x)


cdef void *_numbers(array, bint written=False) except? NULL:
    """Where an array's numbers are; NULL for None, and where there are none."""
    cdef const unsigned char[::1] memory
    cdef unsigned char[::1] writable
    if array is None or not array.size:
        return NULL
    if written:
        writable = array.reshape(-1).view("u1")
        return &writable[0]
    memory = array.reshape(-1).view("u1")
    return <void *>&memory[0]


cdef int _norm(str name, dict matrices, dict columns, double correction, double epsilon) except -1:
    """Check and call a kernel of normalization: `matrices` have one shape, `columns` a number for each column."""
    double = _same_dtype({**matrices, **columns}, {})
    x = matrices["x"]
    _matrix("x", x)
    for label, array in matrices.items():
        _shape(label, array, x.shape, "the shape of x")
    for label, array in columns.items():
        _shape(label, array, x.shape[1:], f"one number per column of x {x.shape}")
    _strength("epsilon", epsilon)
    cdef str family = "norm_sums" if name.endswith("_sums") else "norm_gradient" if "dx" in matrices else "norm"
    cdef fr_kernel kernel = kernel_named(family, name, double)
    cdef bint forward = family == "norm", sums = family == "norm_sums"
    cdef void *out = _numbers(matrices.get("out", matrices.get("dx")), written=True)
    cdef void *dscale = _numbers(columns.get("dscale"), written=sums)
    cdef void *dshift = _numbers(columns.get("dshift"), written=sums)
    cdef void *given = _numbers(x)
    cdef void *dy = _numbers(matrices.get("dy"))
    cdef void *scale = _numbers(columns.get("scale"))
    cdef void *shift = _numbers(columns.get("shift"))
    cdef i64 rows = x.shape[0], cols = x.shape[1]
    cdef fr_statistics s = fr_statistics(_numbers(columns.get("mean")), _numbers(columns.get("variance")), correction,
                                         epsilon, rows)
    cdef u64 mode
    with nogil:
        mode = fr_enter()
        if forward:
            (<fr_norm *>kernel)(out, given, scale, shift, rows, cols, &s)
        elif sums:
            (<fr_norm_sums *>kernel)(dscale, dshift, dy, given, rows, cols, 0, cols, &s)
        else:
            (<fr_norm_gradient *>kernel)(out, dy, given, scale, dscale, dshift, rows, cols, &s)
        fr_leave(mode)
    return 0


def batch_norm(out, x, scale, shift, mean, variance, *, epsilon=1e-5, correction=1.0):
    """Batch normalization (Ioffe & Szegedy 2015) by given statistics, column by column.

    ``out = scale * (x - mean) / sqrt(correction * variance + epsilon) + shift``

    Parameters
    ----------
    out, x : array (rows, units)
        out may be x.
    scale, shift, mean, variance : array (units,)
    epsilon : float >= 0, default 1e-5
    correction : float, default 1.0
        (rows - 1) / rows where variance is the unbiased one of these rows.
    """
    _norm("batch_norm", {"out": out, "x": x},
          {"scale": scale, "shift": shift, "mean": mean, "variance": variance},
          correction, epsilon)


def layer_norm(out, x, scale, shift, *, epsilon=1e-5):
    """Layer normalization (Ba et al. 2016): each row by its own mean and (biased) variance. See `batch_norm`."""
    _norm("layer_norm", {"out": out, "x": x}, {"scale": scale, "shift": shift},
          1, epsilon)


def batch_norm_sums(dscale, dshift, dy, x, mean, variance, *, epsilon=1e-5, correction=1.0):
    """Gradients of scale and shift from that of `batch_norm`'s output: sums down the columns, in blocks of 256 rows.

    ``dshift = dy.sum(axis=0)``, ``dscale = (dy * normalized_x).sum(axis=0)``

    Parameters
    ----------
    dscale, dshift : array (units,)
        Written in place.
    dy, x : array (rows, units)
    mean, variance : array (units,)
    epsilon, correction : float
        As for `batch_norm`.
    """
    _norm("batch_norm_sums", {"dy": dy, "x": x},
          {"dscale": dscale, "dshift": dshift, "mean": mean, "variance": variance},
          correction, epsilon)


def layer_norm_sums(dscale, dshift, dy, x, *, epsilon=1e-5):
    """Gradients of scale and shift from that of `layer_norm`'s output. See `batch_norm_sums`."""
    _norm("layer_norm_sums", {"dy": dy, "x": x}, {"dscale": dscale, "dshift": dshift},
          1, epsilon)


def batch_norm_gradient(dx, dy, x, scale, dscale, dshift, mean, variance, *, epsilon=1e-5, correction=1.0):
    """Gradient of `batch_norm`'s input where mean and variance are those of x itself; dx may be dy.

    ``dx = scale / deviation * (dy - (dshift + normalized_x * dscale) / rows)``, with the sums of `batch_norm_sums`.
    """
    _norm("batch_norm_gradient", {"dx": dx, "dy": dy, "x": x},
          {"scale": scale, "dscale": dscale, "dshift": dshift, "mean": mean, "variance": variance},
          correction, epsilon)


def layer_norm_gradient(dx, dy, x, scale, *, epsilon=1e-5):
    """Gradient of `layer_norm`'s input; dx may be dy.

    With ``g = dy * scale``: ``dx = (g - mean(g) - normalized_x * mean(g * normalized_x)) / deviation``, row by row.
    """
    _norm("layer_norm_gradient", {"dx": dx, "dy": dy, "x": x}, {"scale": scale},
          1, epsilon)


# ---- losses ---------------------------------------------------------------------------------------------------------


cdef double _loss_value(str name, real[:, ::1] dz, const real[:, ::1] z, const int32_t[::1] labels,
                        const real[:, ::1] targets, const real[::1] weights, double scale, double alpha,
                        const double[::1] numbers) except? -1:
    cdef fr_loss *kernel = <fr_loss *>kernel_named("loss", name, real is double)
    cdef const void *target = <const void *>&labels[0] if labels is not None else <const void *>&targets[0, 0]
    cdef const double *own = NULL
    cdef double value
    cdef u64 mode
    if numbers is not None:
        own = &numbers[0]
    with nogil:
        mode = fr_enter()
        value = kernel(NULL if dz is None else <void *>&dz[0, 0], &z[0, 0], target,
                       NULL if weights is None else <void *>&weights[0], z.shape[0], z.shape[1], scale, alpha,
                       own)
        fr_leave(mode)
    return value


cdef double _loss(str name, dz, z, labels, targets, weights, double scale, double alpha, numbers=None) except? -1:
    by_label = name.endswith("_labels")
    double = _same_dtype({"z": z} if by_label else {"z": z, "targets": targets}, {"dz": dz, "weights": weights})
    _matrix("z", z)
    _shape("dz", dz, z.shape, "the shape of z")
    _shape("targets", targets, z.shape, "the shape of z")
    _shape("weights", weights, z.shape[:1], f"one per row of z {z.shape}")
    if by_label:
        _labels(labels, z)
    if not z.size:
        return 0.0
    numbers = None if numbers is None else _asarray(numbers, "float64")
    if double:
        return _loss_value[double](name, dz, z, labels, targets, weights, scale, alpha, numbers)
    return _loss_value[float](name, dz, z, labels, targets, weights, scale, alpha, numbers)


cdef int _labels(labels, z) except -1:
    if getattr(labels, "dtype", None) != "int32" or not labels.flags.c_contiguous:
        found = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"labels must be a contiguous int32 array, got {found}")
    _shape("labels", labels, z.shape[:1], f"one per row of z {z.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < z.shape[1]):
        raise ValueError(f"labels must be in 0..{z.shape[1] - 1}, got {labels.min()}..{labels.max()}")
    return 0


def cross_entropy_labels(dz, z, labels, weights=None, scale=1.0, taken=0.0, spread=0.0):
    """Softmax cross-entropy of logits and integer labels, fused with the softmax.

    Parameters
    ----------
    dz : array (m, C) or None
        Receives ``scale * w_i * (softmax(z_i) - onehot_i)``; None for the value alone. May be z.
    z : array (m, C)
        Logits.
    labels : int32 array (m,)
        Classes 0..C-1.
    weights : array (m,), optional
        Row weights w_i.
    scale : float, default 1.0
        Factor of the gradient: 1 / sum(w) for the mean loss.
    taken, spread : float, default 0.0
        Smoothing: a row's targets are ``(1 - taken) * onehot + spread``. Where both are 0, a class that is not wanted
        may have a logit of minus infinity.

    Returns
    -------
    float
        ``sum_i w_i (logsumexp(z_i) - z_i[label_i])``, not divided by anything; smoothed, the same for each class times
        its target.
    """
    return _loss("cross_entropy_labels", dz, z, labels, None, weights, scale, 1, (taken, spread))


def cross_entropy(dz, z, targets, weights=None, scale=1.0, taken=0.0, spread=0.0):
    """Softmax cross-entropy with soft targets (m, C), rows of sum 1. See `cross_entropy_labels`."""
    return _loss("cross_entropy", dz, z, None, targets, weights, scale, 1, (taken, spread))


def binary_cross_entropy(dz, z, targets, weights=None, scale=1.0, output_weight=1.0, smoothing=0.0):
    """Cross-entropy of independent outputs, fused with the sigmoid; z and targets (m, L), targets in [0, 1].

    Returns ``sum_i w_i output_weight sum_j l_ij``; dz receives ``scale w_i output_weight (sigmoid(z) - targets)``.
    Targets count as ``targets + smoothing * (1 / 2 - targets)``.
    """
    return _loss("binary_cross_entropy", dz, z, None, targets, weights, scale, output_weight, (smoothing,))


def squared_error(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Squared error; z and targets (m, L).

    Returns ``sum_i w_i output_weight sum_j (z - targets)_ij**2``; dz receives its derivative times `scale`.
    """
    return _loss("squared_error", dz, z, None, targets, weights, scale, output_weight)


def log_loss_labels(dz, z, labels, weights=None, scale=1.0):
    """`cross_entropy_labels` as scikit-learn's MLP reports it: probabilities count as at least eps, at most 1 - eps.

    eps is that of the dtype, so that no row loses more than 36.04 (float32: 15.94). The gradient is not clipped.
    """
    return _loss("log_loss_labels", dz, z, labels, None, weights, scale, 1)


def binary_log_loss(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """`binary_cross_entropy` with probabilities clipped as in `log_loss_labels`."""
    return _loss("binary_log_loss", dz, z, None, targets, weights, scale, output_weight)


def poisson(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Half the Poisson deviance of the rates exp(z), fused with the exponential; z and targets (m, L), targets >= 0.

    Returns ``sum_i w_i output_weight sum_j l_ij`` with ``l = exp(z) - t + t (log(t) - z)``, 0 log(0) being 0; dz
    receives ``scale w_i output_weight (exp(z) - targets)``.
    """
    return _loss("poisson", dz, z, None, targets, weights, scale, output_weight)


def absolute_error(dz, z, targets, weights=None, scale=1.0, output_weight=1.0):
    """Absolute error ``|z - targets|``, its slope at 0 being 0; otherwise as `squared_error`."""
    return _loss("absolute_error", dz, z, None, targets, weights, scale, output_weight)


def huber(dz, z, targets, weights=None, scale=1.0, output_weight=1.0, delta=1.0):
    """Huber's loss of d = z - targets, ``d**2 / 2`` up to a size of delta > 0 and ``delta * (|d| - delta / 2)`` beyond;
    otherwise as `squared_error`."""
    return _loss("huber", dz, z, None, targets, weights, scale, output_weight, (delta,))


def quantile(dz, z, targets, levels, weights=None, scale=1.0, output_weight=1.0):
    """Pinball loss of d = targets - z, ``max(q * d, (q - 1) * d)``, q being the level of the column, levels (L,) in
    (0, 1); its slope at 0 is 0. Otherwise as `squared_error`."""
    _same_dtype({"z": z, "targets": targets, "levels": levels}, {})
    _matrix("z", z)
    _shape("levels", levels, z.shape[1:], f"one per column of z {z.shape}")
    return _loss("quantile", dz, z, None, targets, weights, scale, output_weight, levels)


# ---- penalties ------------------------------------------------------------------------------------------------------


cdef double _penalty_value(str name, const real[::1] w, double strength, real[::1] gradient) except? -1:
    cdef fr_penalty *kernel = <fr_penalty *>kernel_named("penalty", name, real is double)
    cdef double value
    cdef u64 mode
    with nogil:
        mode = fr_enter()
        value = kernel(NULL if gradient is None else <void *>&gradient[0], &w[0], w.shape[0], strength)
        fr_leave(mode)
    return value


cdef double _penalty(str name, w, double strength, gradient) except? -1:
    double = _same_dtype({"w": w}, {"gradient": gradient})
    _shape("gradient", gradient, w.shape, "the shape of w")
    _strength("strength", strength)
    if not w.size:
        return 0.0
    if double:
        return _penalty_value[double](name, _flat(w), strength, _flat(gradient))
    return _penalty_value[float](name, _flat(w), strength, _flat(gradient))


def l1(w, strength, gradient=None):
    """L1 penalty ``strength * sum(|w|)``; adds ``strength * sign(w)``, sign(0) = 0, to `gradient` where given.

    Parameters
    ----------
    w : array of any shape
    strength : float >= 0
    gradient : array like w, optional

    Returns
    -------
    float
    """
    return _penalty("l1", w, strength, gradient)


def l2(w, strength, gradient=None):
    """L2 penalty ``strength * sum(w**2)``; adds ``2 * strength * w`` to `gradient` where given. See `l1`."""
    return _penalty("l2", w, strength, gradient)


cdef int _prox_step(str name, real[::1] w, const real[::1] step, double same, double strength) except -1:
    cdef fr_prox *kernel = <fr_prox *>kernel_named("prox", name, real is double)
    cdef u64 mode
    if w.shape[0]:
        with nogil:
            mode = fr_enter()
            kernel(&w[0], NULL if step is None else <void *>&step[0], w.shape[0], same, strength)
            fr_leave(mode)
    return 0


cdef int _prox(str name, w, step, double strength) except -1:
    _strength("strength", strength)
    steps = step if getattr(step, "ndim", 0) else None
    double = _same_dtype({"w": w}, {"step": steps})
    _shape("step", steps, w.shape, "one number, or the shape of w")
    cdef double same = 0 if steps is not None else float(step)
    _strength("step", same)
    if double:
        return _prox_step[double](name, _flat(w), _flat(steps), same, strength)
    return _prox_step[float](name, _flat(w), _flat(steps), same, strength)


def soft_threshold(w, step, strength):
    """Proximal step of the L1 penalty, in place: ``sign(w) * max(|w| - step * strength, 0)``.

    Parameters
    ----------
    w : array of any shape
    step : float or array like w
        Effective step size of each element: the move that the optimizer makes for a gradient held at 1.
    strength : float >= 0
    """
    _prox("soft_threshold", w, step, strength)


def hard_threshold(w, step, strength):
    """Clip to zero, in place: 0 where ``|w| < step * strength``. Parameters as for `soft_threshold`."""
    _prox("hard_threshold", w, step, strength)


# ---- optimizers -----------------------------------------------------------------------------------------------------


cdef double _step(str name, real[::1] w, const real[::1] g, real[::1] m, real[::1] v, real[::1] step,
                  const fr_step *s) except? -1:
    cdef fr_update *kernel = <fr_update *>kernel_named("update", name, real is double)
    cdef double penalty = 0
    cdef u64 mode
    if w.shape[0]:
        with nogil:
            mode = fr_enter()
            penalty = kernel(&w[0], &g[0], NULL if m is None else <void *>&m[0], NULL if v is None else <void *>&v[0],
                             NULL if step is None else <void *>&step[0], w.shape[0], s)
            fr_leave(mode)
    return penalty


cdef double _update(str name, dict required, dict optional, const fr_step *s) except? -1:
    """The step of an optimizer; returns the penalties before it.

    Both dicts together are w, gradient, first and second state, effective steps.
    """
    double = _same_dtype(required, optional)
    w, arrays = required["w"], {**required, **optional}
    for label, array in arrays.items():
        _shape(label, array, w.shape, "the shape of w")
    flat = [_flat(array) for array in arrays.values()]
    if double:
        return _step[double](name, flat[0], flat[1], flat[2], flat[3], flat[4], s)
    return _step[float](name, flat[0], flat[1], flat[2], flat[3], flat[4], s)


def sgd(w, gradient, velocity=None, *, learning_rate, momentum=0.0, nesterov=False, decay=0.0, l1=0.0, l2=0.0):
    """One step of gradient descent, in place; returns the penalties ``l1 * sum |w| + l2 * sum w^2`` before it.

    With g = gradient + l1 * sign(w) + 2 * l2 * w, u = velocity: ``u <- momentum * u - learning_rate * g``, then
    ``w += u``, or with Nesterov ``w += momentum * u - learning_rate * g``; without velocity
    ``w -= learning_rate * g``. Then ``w -= decay * w_old``.

    Parameters
    ----------
    w, gradient : arrays of one shape
    velocity : array like w, optional
        State, zero at the start; needed for momentum > 0. Entries below 1e-30 become 0.
    learning_rate, momentum, nesterov, decay : float, float, bool, float
    l1, l2 : float >= 0
    """
    if velocity is None and momentum:
        raise ValueError(f"momentum={momentum} needs a velocity array like w, zero at the start")
    cdef fr_step s = fr_step(learning_rate, momentum, 1.0 if nesterov else 0.0, 0, 0, 0, 1, 1, decay, 0, l1, l2)
    return _update("sgd", {"w": w, "gradient": gradient}, {"velocity": velocity, "v": None, "step": None}, &s)


def adam(w, gradient, m, v, *, learning_rate, t, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0, floor=0.0, step=None,
         l1=0.0, l2=0.0):
    """One step of Adam (Kingma & Ba 2015), in place; with decay = learning_rate * weight_decay, of AdamW.

    Returns the penalties ``l1 * sum |w| + l2 * sum w^2`` before it; their gradients count as part of the gradient.

    ``w += -learning_rate * m_hat / D - decay * w_old`` with ``D = max(sqrt(v_hat), floor) + epsilon``.

    Parameters
    ----------
    w, gradient, m, v : arrays of one shape
        m and v are the moments, zero at the start.
    learning_rate : float
    t : int
        Number of this update, from 1.
    beta1, beta2, epsilon, decay : float
    floor : float, default 0
        Smallest denominator: the strength of an L1 penalty whose proximal step follows.
    step : array like w, optional
        Receives ``learning_rate / D``, the effective step sizes for that proximal step.
    l1, l2 : float >= 0
    """
    if t < 1:
        raise ValueError(f"t counts updates from 1, got {t}")
    cdef fr_step s = fr_step(learning_rate, 0, 0, beta1, beta2, epsilon, 1 - fr_power(beta1, t),
                             1 - fr_power(beta2, t), decay, floor, l1, l2)
    return _update("adam", {"w": w, "gradient": gradient, "m": m, "v": v}, {"step": step}, &s)


def running_average(w, values, *, learning_rate):
    """One step of an exponential moving average, in place: ``w += learning_rate * (values - w)``.

    Parameters
    ----------
    w, values : arrays of one shape
    learning_rate : float
        The share of the new values.
    """
    cdef fr_step s = fr_step(learning_rate, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0)
    _update("running_average", {"w": w, "values": values}, {"m": None, "v": None, "step": None}, &s)


# ---- clipping -------------------------------------------------------------------------------------------------------


cdef double _squares(const real[::1] x) except? -1:
    cdef fr_squares *kernel = <fr_squares *>kernel_named("squares", "square_sum", real is double)
    cdef double total = 0
    cdef u64 mode
    if x.shape[0]:
        with nogil:
            mode = fr_enter()
            total = kernel(&x[0], x.shape[0])
            fr_leave(mode)
    return total


def square_sum(x):
    """The sum of the squares of x, an array of any shape, in float64: the square of its Euclidean norm."""
    return _squares[double](_flat(x)) if _same_dtype({"x": x}, {}) else _squares[float](_flat(x))


cdef int _clip(str name, real[::1] x, double number) except -1:
    cdef fr_clip *kernel = <fr_clip *>kernel_named("clip", name, real is double)
    cdef u64 mode
    if x.shape[0]:
        with nogil:
            mode = fr_enter()
            kernel(&x[0], x.shape[0], number)
            fr_leave(mode)
    return 0


def rescale(x, factor):
    """Multiply x, an array of any shape, by one number, in place."""
    if _same_dtype({"x": x}, {}):
        _clip[double]("rescale", _flat(x), factor)
    else:
        _clip[float]("rescale", _flat(x), factor)


def clamp(x, bound):
    """Clip each element of x, an array of any shape, to -bound .. bound, in place; NaN stays NaN.

    Parameters
    ----------
    x : array
    bound : float >= 0
    """
    _strength("bound", bound)
    if _same_dtype({"x": x}, {}):
        _clip[double]("clamp", _flat(x), bound)
    else:
        _clip[float]("clamp", _flat(x), bound)


# ---- random numbers -------------------------------------------------------------------------------------------------


cdef int _noise(str name, real[:, ::1] out, const real[:, ::1] x, i64 first_row, double rate, double value,
                const fr_stream *key) except -1:
    cdef fr_noise *kernel = <fr_noise *>kernel_named("noise", name, real is double)
    cdef i64 size = out.shape[0] * out.shape[1]
    cdef u64 mode
    if size:
        if name == "swap_noise" and overlap(&out[0, 0], size, &x[0, 0], size):
            raise ValueError("swap_noise: out overlaps x; pass an array of its own")
        with nogil:
            mode = fr_enter()
            kernel(&out[0, 0], NULL if x is None else <void *>&x[0, 0], out.shape[0], out.shape[1], first_row,
                   first_row + out.shape[0], rate, value, key)
            fr_leave(mode)
    return 0


cdef int _noisy(str name, out, x, bint itself, double rate, seed, step, layer, first_row, double value=0) except -1:
    """Noise in a batch, or the noise itself."""
    double = _same_dtype({"out": out}, {}) if itself else _same_dtype({"out": out, "x": x}, {})
    _matrix("out", out)
    _shape("x", x, out.shape, "the shape of out")
    if not 0 <= layer < 1 << 16:
        raise ValueError(f"layer must be in [0, 2**16), got {layer}")
    if not 0 <= first_row < 1 << 40:
        raise ValueError(f"first_row must be in [0, 2**40), got {first_row}")
    cdef fr_stream key = _stream(seed, step, layer)
    if double:
        return _noise[double](name, out, x, first_row, rate, value, &key)
    return _noise[float](name, out, x, first_row, rate, value, &key)


cdef int _probability(double rate) except -1:
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    return 0


def dropout(out, x, rate, *, seed, step=0, layer=0, first_row=0):
    """Inverted dropout of a batch: each unit is 0 with probability `rate`, else scaled so that its mean is kept.

    With T = round(65536 * rate), a unit is kept where its 16-bit random number is at least T and multiplied by
    65536 / (65536 - T). The number is a pure function of (seed, layer, step, row in the batch, unit): Philox4x32-10.

    Parameters
    ----------
    out, x : array (rows, units)
        out may be x.
    rate : float in [0, 1)
    seed, step, layer : int
    first_row : int, default 0
        Where in the batch out's first row stands: a batch may be done in parts.
    """
    _probability(rate)
    _noisy("dropout", out, x, False, rate, seed, step, layer, first_row)


def dropout_mask(out, rate, *, seed, step=0, layer=0, first_row=0):
    """The mask that `dropout` multiplies by: 0 or the scale, written to out (rows, units)."""
    _probability(rate)
    _noisy("dropout", out, None, True, rate, seed, step, layer, first_row)


def feature_mask(out, x, rate, value=0.0, *, seed, step=0, layer=0, first_row=0):
    """Each number becomes `value` with probability `rate`, by the numbers of `dropout`; nothing is scaled."""
    _probability(rate)
    _noisy("feature_mask", out, x, False, rate, seed, step, layer, first_row, value)


def gaussian_noise(out, x, sigma, *, seed, step=0, layer=0, first_row=0):
    """``out = x + sigma * z``, z being independent standard normal numbers.

    ``z = sqrt(2) * erfinv(u)`` by Giles' polynomial in single precision (GPU Computing Gems 2, 2011), with
    ``u = (2 k + 1) / 2**23 - 1`` from the 23 upper bits k of a random word; so |z| < 5.3.

    Parameters
    ----------
    out, x : array (rows, units)
        out may be x.
    sigma : float >= 0
    seed, step, layer, first_row : int
        As for `dropout`.
    """
    _strength("sigma", sigma)
    _noisy("gaussian_noise", out, x, False, sigma, seed, step, layer, first_row)


def multiplicative_noise(out, x, sigma, *, seed, step=0, layer=0, first_row=0):
    """``out = x * (1 + sigma * z)``, z as in `gaussian_noise`; out may be x."""
    _strength("sigma", sigma)
    _noisy("multiplicative_noise", out, x, False, sigma, seed, step, layer, first_row)


def drop_path(out, x, rate, *, seed, step=0, layer=0, first_row=0):
    """Each row is 0 with probability `rate`, else scaled: times the `dropout_mask` of one column; out may be x."""
    _probability(rate)
    _noisy("drop_path", out, x, False, rate, seed, step, layer, first_row)


def swap_noise(out, x, rate, *, seed, step=0, layer=0):
    """Each number becomes, with probability `rate`, that of the same column in another row of the batch.

    All other rows are equally likely. Two random words a number: the 16 lower bits of the first decide, the second
    chooses the row. x (rows, units), which out may not be.
    """
    _probability(rate)
    _noisy("swap_noise", out, x, False, rate, seed, step, layer, 0)


def random_words(out, *, seed, stream=0, step=0, first_block=0):
    """Raw words of Philox4x32-10 (Salmon et al. 2011), four per block.

    Parameters
    ----------
    out : uint32 array (4 * blocks,)
    seed : int
        64-bit key.
    stream, step, first_block : int
        Counter: (block, stream, step low, step high).
    """
    if getattr(out, "dtype", None) != "uint32" or out.ndim != 1 or len(out) % 4:
        raise TypeError("out must be a contiguous uint32 array whose length is a multiple of 4")
    cdef u32[::1] words = out
    cdef fr_stream key = _stream(seed, step, stream)
    cdef i64 first = first_block
    if len(words):
        with nogil:
            _words(&words[0], words.shape[0] // 4, first, &key)


cdef void _words(u32 *words, i64 blocks, i64 first, const fr_stream *key) noexcept nogil:
    (<fr_random *>_random_kernel)(words, blocks, first, key)


cdef fr_kernel _random_kernel = kernel_named("random", "random_words", False)

_SHUFFLE_STREAM = 1 << 16


def shuffle(order, *, seed, step):
    """A permutation of 0..n-1 into order (n,), int64: Fisher and Yates, numbers from Philox (seed, stream 1, step)."""
    if getattr(order, "dtype", None) != "int64" or order.ndim != 1:
        raise TypeError("order must be a contiguous 1-D int64 array")
    if len(order) >= 1 << 32:
        raise ValueError(f"order must have fewer than 2**32 entries, got {len(order)}")
    cdef int64_t[::1] rows = order
    cdef fr_stream key = _stream(seed, step, _SHUFFLE_STREAM)
    if len(rows):
        with nogil:
            _shuffle(&rows[0], rows.shape[0], &key)


cdef void _shuffle(int64_t *order, i64 n, const fr_stream *key) noexcept nogil:
    """Each swap takes two words r0, r1: j = floor((r0 + r1 / 2^32) bound / 2^32)."""
    cdef u32[1024] words
    cdef i64 i, block = 0, used = 1024
    cdef u64 j, bound
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        if used == 1024:
            _words(words, 256, block, key)
            block += 256
            used = 0
        bound = <u64>i + 1
        j = (words[used] * bound + ((words[used + 1] * bound) >> 32)) >> 32
        used += 2
        order[i], order[j] = order[j], order[i]


# ---- rows by number -------------------------------------------------------------------------------------------------


cdef int _gather(real[:, ::1] out, const real[:, ::1] x, const int64_t[::1] rows) except -1:
    cdef fr_gather *kernel = <fr_gather *>kernel_named("gather", "gather", real is double)
    if out.shape[0] and out.shape[1]:
        if overlap(&out[0, 0], out.shape[0] * out.shape[1], &x[0, 0], x.shape[0] * x.shape[1]):
            raise ValueError("gather: out overlaps x; pass an array of its own")
        with nogil:
            kernel(&out[0, 0], &x[0, 0], &rows[0], rows.shape[0], x.shape[1])
    return 0


cdef int _rows(rows, x) except -1:
    if getattr(rows, "dtype", None) != "int64" or rows.ndim != 1:
        raise TypeError("rows must be a contiguous 1-D int64 array")
    if rows.size and not (rows.min() >= 0 and rows.max() < x.shape[0]):
        raise ValueError(f"rows must be in 0..{x.shape[0] - 1}, got {rows.min()}..{rows.max()}")
    return 0


def gather(out, x, rows):
    """Rows by number: ``out = x[rows]``; out (len(rows), n), x (m, n), rows int64."""
    double = _same_dtype({"out": out, "x": x}, {})
    _matrix("x", x)
    _rows(rows, x)
    _shape("out", out, (len(rows), x.shape[1]), f"rows {rows.shape} of x {x.shape}")
    _gather[double](out, x, rows) if double else _gather[float](out, x, rows)


def gather_labels(out, labels, rows):
    """Labels by number: ``out = labels[rows]``; out and labels int32, rows int64."""
    for name, array in (("out", out), ("labels", labels)):
        if getattr(array, "dtype", None) != "int32" or array.ndim != 1:
            raise TypeError(f"{name} must be a contiguous 1-D int32 array, got {type(array).__name__}")
    cdef int32_t[::1] chosen = out
    cdef const int32_t[::1] every = labels
    _rows(rows, labels)
    cdef const int64_t[::1] order = rows
    cdef fr_gather *kernel = <fr_gather *>kernel_named("gather", "gather_labels", False)
    _shape("out", out, rows.shape, "one label per row number")
    if len(rows):
        with nogil:
            kernel(&chosen[0], &every[0], &order[0], order.shape[0], 1)


def gather_one_hot(out, labels, rows):
    """Labels by number as rows of a matrix: ``out[i, labels[rows[i]]] = 1``, all else 0; out (len(rows), classes)."""
    double = _is_double("out", out)
    _matrix("out", out)
    if getattr(labels, "dtype", None) != "int32" or labels.ndim != 1:
        raise TypeError(f"labels must be a contiguous 1-D int32 array, got {type(labels).__name__}")
    _rows(rows, labels)
    _shape("out", out, (len(rows), out.shape[1]), f"rows {rows.shape}")
    if labels.size and not (labels.min() >= 0 and labels.max() < out.shape[1]):
        raise ValueError(f"labels must be in 0..{out.shape[1] - 1}, got {labels.min()}..{labels.max()}")
    _one_hot[double](out, labels, rows) if double else _one_hot[float](out, labels, rows)


cdef int _one_hot(real[:, ::1] out, const int32_t[::1] labels, const int64_t[::1] rows) except -1:
    cdef fr_gather *kernel = <fr_gather *>kernel_named("gather", "gather_one_hot", real is double)
    if out.shape[0] and out.shape[1]:
        with nogil:
            kernel(&out[0, 0], &labels[0], &rows[0], out.shape[0], out.shape[1])
    return 0


# ---- batches changed at random --------------------------------------------------------------------------------------

_AUGMENT_STREAM, _MIX_STREAM = 3 << 16, 4 << 16


cdef fr_image _image(shape, cols) except *:
    """The image that `cols` columns are."""
    cdef fr_image image
    image.height, image.width, image.channels = shape
    if min(shape) < 1 or image.height * image.width * image.channels != cols:
        raise ValueError(f"shape must be (height, width, channels) of {cols} columns, got {shape}")
    return image


cdef int _change(str name, real[:, ::1] out, const real[:, ::1] x, const int64_t[::1] rows, const fr_image *image,
                 const double[::1] numbers, const fr_stream *key) except -1:
    cdef fr_augment *kernel = <fr_augment *>kernel_named("augment", name, real is double)
    cdef u64 mode
    if overlap(&out[0, 0], out.shape[0] * out.shape[1], &x[0, 0], x.shape[0] * x.shape[1]):
        raise ValueError(f"{name}: out overlaps x; pass an array of its own")
    with nogil:
        mode = fr_enter()
        kernel(&out[0, 0], &x[0, 0], &rows[0], out.shape[0], image, &numbers[0], key)
        fr_leave(mode)
    return 0


cdef int _augment(str name, out, x, shape, tuple numbers, seed, epoch, number, rows) except -1:
    double = _same_dtype({"out": out, "x": x}, {})
    _matrix("x", x)
    _shape("out", out, x.shape, "the shape of x")
    cdef fr_image image = _image(shape, x.shape[1])
    if not 0 <= epoch < 1 << 32 or not 0 <= number < 1 << 16:
        raise ValueError(f"epoch must be in [0, 2**32) and number in [0, 2**16), got {epoch} and {number}")
    cdef fr_stream key = _stream(seed, epoch, _AUGMENT_STREAM | number)
    if rows is None:
        rows = _arange(len(x), dtype="int64")
    if getattr(rows, "dtype", None) != "int64" or not rows.flags.c_contiguous:
        raise TypeError("rows must be a contiguous 1-D int64 array")
    _shape("rows", rows, x.shape[:1], f"one for each row of x {x.shape}")
    if not len(x):
        return 0
    settings = _asarray(numbers, dtype="float64")
    if double:
        return _change[double](name, out, x, rows, &image, settings, &key)
    return _change[float](name, out, x, rows, &image, settings, &key)


def random_flip(out, x, shape, horizontal=0.5, vertical=0.0, *, seed, epoch=0, number=0, rows=None):
    """Mirror images: left and right change places with probability `horizontal`, top and bottom with `vertical`.

    Parameters
    ----------
    out, x : array (n, height * width * channels)
        out must be an array of its own.
    shape : (height, width, channels)
    horizontal, vertical : float in [0, 1]
    seed, epoch, number : int
        What happens to a row is a pure function of these and of its row number.
    rows : int64 array (n,), optional
        The row numbers; None: 0, 1, ...
    """
    _augment("random_flip", out, x, shape, (horizontal, vertical), seed, epoch, number, rows)


def random_rotate(out, x, shape, turns=15, *, seed, epoch=0, number=0, rows=None):
    """Turn images counterclockwise by 0, 90, 180 or 270 degrees, whichever may be, all as probably.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    turns : int in 1..15, default 15
        The sum of 2^k for each number k of quarter turns that may be. Those with k = 1 and 3 are for square images.
    """
    if not 1 <= turns <= 15 or turns != int(turns):
        raise ValueError(f"turns must be an integer in 1..15, got {turns}")
    if shape[0] != shape[1] and int(turns) & 10:
        raise ValueError(f"quarter turns are for square images, not for shape {shape}")
    _augment("random_rotate", out, x, shape, (turns,), seed, epoch, number, rows)


def random_shift(out, x, shape, vertical=1, horizontal=1, fill=0.0, *, seed, epoch=0, number=0, rows=None):
    """Move images by up to so many pixels up or down and to either side, all as probably.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    vertical, horizontal : int >= 0
    fill : float
        What comes in from outside.
    """
    _pixels(vertical, horizontal)
    _augment("random_shift", out, x, shape, (vertical, horizontal, fill), seed, epoch, number, rows)


def center_crop(out, x, shape, rows_cut=1, columns_cut=1, probability=1.0, fill=0.0, *, seed, epoch=0, number=0,
                rows=None):
    """Keep the middle of images: with `probability` so many rows and columns at each side become `fill`.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    rows_cut, columns_cut : int >= 0
    probability : float in [0, 1]
    fill : float
    """
    _pixels(rows_cut, columns_cut)
    _augment("center_crop", out, x, shape, (rows_cut, columns_cut, probability, fill), seed, epoch, number, rows)


def cutout(out, x, shape, size=1, probability=1.0, fill=0.0, *, seed, epoch=0, number=0, rows=None):
    """Cut a square out of images, anywhere; at the border it is cut off. (DeVries & Taylor 2017.)

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    size : int >= 0
        Its side in pixels.
    probability : float in [0, 1]
    fill : float
        What it becomes.
    """
    _pixels(size, size)
    _augment("cutout", out, x, shape, (size, probability, fill), seed, epoch, number, rows)


def color_jitter(out, x, shape, brightness=0.0, contrast=0.0, saturation=0.0, *, seed, epoch=0, number=0, rows=None):
    """Change the light of images: ``(1 + c) * (x - mean) + mean + b``, and colours away from their grey by ``1 + s``.

    b, c and s are uniform in (-brightness, brightness) and so on; mean is the image's own. Grey is
    0.299 R + 0.587 G + 0.114 B; images of one channel have no colours. Nothing is clipped.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    brightness, contrast, saturation : float >= 0
    """
    _augment("color_jitter", out, x, shape, (brightness, contrast, saturation), seed, epoch, number, rows)


def pixel_noise(out, x, shape, sigma=0.1, *, seed, epoch=0, number=0, rows=None):
    """Add normal numbers of deviation `sigma` to all numbers of images, as `gaussian_noise` does to batches.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    sigma : float >= 0
    """
    _strength("sigma", sigma)
    _augment("pixel_noise", out, x, shape, (sigma,), seed, epoch, number, rows)


def rand_augment(out, x, shape, magnitude=0.9, *, seed, epoch=0, number=0, rows=None):
    """Change each image in one of nine ways: one operation of RandAugment (Cubuk et al. 2020).

    They are: shear by up to 0.3, and move by up to 0.45 of the side, each in both directions; brightness (a factor),
    contrast and saturation by up to 0.9; a square of half a side cut out; nothing.

    Parameters
    ----------
    out, x, shape, seed, epoch, number, rows
        See `random_flip`.
    magnitude : float in [0, 1]
        How much of that.
    """
    if not 0 <= magnitude <= 1:
        raise ValueError(f"magnitude must be in [0, 1], got {magnitude}")
    _augment("rand_augment", out, x, shape, (magnitude,), seed, epoch, number, rows)


cdef int _pixels(first, second) except -1:
    for count in (first, second):
        if not 0 <= count < 1 << 31 or count != int(count):
            raise ValueError(f"pixels are counted by integers >= 0, got {count}")
    return 0


def mixing(alpha, probability, n_rows, *, seed, step=0, number=0):
    """How `Mixup` and its like mix a batch: (share, shift), row i with row i + shift; a share of 1 means not at all.

    Parameters
    ----------
    alpha : float > 0
        The share is Beta(alpha, alpha), to 1/65536.
    probability : float in [0, 1]
        Of being mixed.
    n_rows : int
        A single row is never mixed.
    seed, step, number : int
    """
    if not alpha > 0 or not 0 <= probability <= 1 or n_rows < 0 or not 0 <= number < 1 << 16:
        raise ValueError(f"mixing takes alpha > 0, probability in [0, 1], n_rows >= 0 and number in [0, 2**16), got "
                         f"{alpha}, {probability}, {n_rows} and {number}")
    cdef fr_stream key = _stream(seed, step, _MIX_STREAM | number)
    cdef mixing_t drawn = draw_mixing(alpha, probability, n_rows, &key)
    return drawn.share, drawn.shift


cdef double _keep(str name, real[::1] keep, const fr_image *image, double share, const fr_stream *key) except -1:
    cdef fr_mix *kernel = <fr_mix *>kernel_named("mix", name, real is double)
    with nogil:
        share = kernel(&keep[0], image, share, key)
    return share


cdef double _mix(str name, keep, shape, double share, seed, step, number) except -1:
    double = _is_double("keep", keep)
    _shape("keep", keep, (shape[0] * shape[1] * shape[2],), f"one share for each column of an image {shape}")
    cdef fr_image image = _image(shape, keep.size)
    if not 0 <= share <= 1 or not 0 <= number < 1 << 16:
        raise ValueError(f"share must be in [0, 1] and number in [0, 2**16), got {share} and {number}")
    cdef fr_stream key = _stream(seed, step, _MIX_STREAM | number)
    return _keep[double](name, keep, &image, share, &key) if double else _keep[float](name, keep, &image, share, &key)


def mixup(keep, shape, share, *, seed=0, step=0, number=0):
    """The share of its own row that each column keeps: `share` in all. Returns their mean.

    Parameters
    ----------
    keep : array (height * width * channels,)
    shape : (height, width, channels)
    share : float in [0, 1]
    seed, step, number : int
        Of no effect here; other kernels of this family draw which columns they keep.
    """
    return _mix("mixup", keep, shape, share, seed, step, number)


def cutmix(keep, shape, share, *, seed, step=0, number=0):
    """The columns that are kept when a box of another image is pasted: 1, in the box 0. (Yun et al. 2019.)

    The box has the area of ``1 - share`` of the image, lies anywhere, and is cut off at the border. Returns the share
    that is kept. See `mixup` for the arguments; here seed, step and number say where the box is.
    """
    return _mix("cutmix", keep, shape, share, seed, step, number)


def cutmix_features(keep, shape, share, *, seed, step=0, number=0):
    """The columns of a table that are kept, 1, when others are of another row, 0: kept with probability `share` each.

    Returns the share that is kept. See `mixup` for the arguments; here seed, step and number say which columns.
    """
    return _mix("cutmix_features", keep, shape, share, seed, step, number)


cdef int _blend(real[:, ::1] out, const real[:, ::1] x, const real[:, ::1] partner, const real[::1] keep) except -1:
    cdef fr_blend *kernel = <fr_blend *>kernel_named("blend", "blend", real is double)
    cdef i64 n = out.shape[0] * out.shape[1]
    cdef u64 mode
    if n:
        if overlap(&out[0, 0], n, &x[0, 0], n) or overlap(&out[0, 0], n, &partner[0, 0], n):
            raise ValueError("blend: out overlaps an input; pass an array of its own")
        with nogil:
            mode = fr_enter()
            kernel(&out[0, 0], &x[0, 0], &partner[0, 0], &keep[0], out.shape[0], out.shape[1])
            fr_leave(mode)
    return 0


def blend(out, x, partner, keep):
    """Rows mixed column by column: ``out = keep * x + (1 - keep) * partner``; all (m, n), but keep (n,)."""
    double = _same_dtype({"out": out, "x": x, "partner": partner, "keep": keep}, {})
    _matrix("x", x)
    _shape("out", out, x.shape, "the shape of x")
    _shape("partner", partner, x.shape, "the shape of x")
    _shape("keep", keep, x.shape[1:], "one share for each column")
    _blend[double](out, x, partner, keep) if double else _blend[float](out, x, partner, keep)


cdef int _blend_targets(real[:, ::1] out, real[::1] weights, const real[:, ::1] targets, const real[:, ::1] partner,
                        const real[::1] own_weights, const real[::1] partner_weights, double share) except -1:
    cdef fr_blend_targets *kernel = <fr_blend_targets *>kernel_named("blend_targets", "blend_targets", real is double)
    cdef i64 n = out.shape[0] * out.shape[1]
    cdef u64 mode
    if n:
        if overlap(&out[0, 0], n, &targets[0, 0], n) or overlap(&out[0, 0], n, &partner[0, 0], n):
            raise ValueError("blend_targets: out overlaps an input; pass an array of its own")
        with nogil:
            mode = fr_enter()
            kernel(&out[0, 0], NULL if weights is None else &weights[0], &targets[0, 0], &partner[0, 0],
                   NULL if weights is None else <void *>&own_weights[0],
                   NULL if weights is None else <void *>&partner_weights[0], out.shape[0], out.shape[1], share)
            fr_leave(mode)
    return 0


def blend_targets(out, targets, partner, share, weights=None, own_weights=None, partner_weights=None):
    """Targets and weights of rows of which `share` is a row's own and the rest its partner's.

    ``weights = share * own_weights + (1 - share) * partner_weights``, and out such that ``weights * out`` is the same
    mean of ``own_weights * targets`` and ``partner_weights * partner``.

    Parameters
    ----------
    out, targets, partner : array (m, n)
    share : float in [0, 1]
    weights, own_weights, partner_weights : array (m,), optional
        All three, or none: then all weights are 1.
    """
    three = {"weights": weights, "own_weights": own_weights, "partner_weights": partner_weights}
    double = _same_dtype({"out": out, "targets": targets, "partner": partner}, three)
    _matrix("targets", targets)
    for name, array in (("out", out), ("partner", partner)):
        _shape(name, array, targets.shape, "the shape of targets")
    for name, array in three.items():
        _shape(name, array, targets.shape[:1], "one weight for each row")
    if any(array is None for array in three.values()) and any(array is not None for array in three.values()):
        raise ValueError("blend_targets takes weights, own_weights and partner_weights together, or none of them")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    if double:
        _blend_targets[double](out, weights, targets, partner, own_weights, partner_weights, share)
    else:
        _blend_targets[float](out, weights, targets, partner, own_weights, partner_weights, share)
