"""The compiled interpreter: runs a plan's records, whole epochs without the GIL.

a) Binding. A `Program` is the plan's records as C structs: names have become kernels of the table. From there on
   nothing depends on the dtype: pointers are moved by `itemsize`.
b) Memory. A `Workspace` (slots, gradient, scratch) is taken before the GIL is released; one for the whole fit, one of
   its own for each prediction, so that concurrent predictions share nothing that is written.
c) A step is forward, loss, backward, update. Until the update nothing but the workspace has changed, so a step that is
   cancelled, interrupted or not finite leaves the weights of the last whole step.
d) The update goes through each range of parameters in chunks of 4,096 elements, and through all operations of the range
   within a chunk: penalties, move and proximal steps are separate kernels, but memory is read and written once.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport isfinite
from libc.string cimport memcpy

from fastreg._core.program cimport *
from fastreg._core.table cimport *
from fastreg._core.workspace cimport Workspace

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef double SIGNAL_WORK = 2e8  # floating-point operations between two looks at signals: a few milliseconds


ctypedef struct batch_t:
    i64 rows
    const void *targets  # int32 labels (rows,) or reals (rows, n_outputs)
    const void *weights  # reals (rows,) or NULL
    double scale         # of the gradient: 1 / sum of weights
    bint training
    u64 seed, step       # keys of the random numbers


cdef char *data_of(object array, bint writable=False) except? NULL:
    """Where a C-contiguous array's data starts, NULL for None; the caller keeps the array alive."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0))
    cdef char *start = <char *>view.buf
    PyBuffer_Release(&view)
    return start


cdef int check_signals() except -1 with gil:
    return PyErr_CheckSignals()


@cython.final
cdef class Engine:
    """Interpreter of a plan in compiled code.

    Parameters
    ----------
    plan : fastreg.plan.Plan
    params : array (plan.layout.size,)
        The flat parameter buffer; `run` updates it in place.
    """

    cdef readonly object plan
    cdef readonly object params
    cdef readonly i64 steps_done
    cdef char *weights_of  # the data of `params`
    cdef Program program
    cdef double[::1] scalars
    cdef tuple inference_widths  # of the slots: the input is read in place, gradients are not needed
    cdef i64 itemsize, n_inputs, n_outputs, n_params
    cdef int output, buffers
    cdef bint labels
    cdef int cancelled
    cdef Workspace workspace

    def __cinit__(self, plan, params):
        self.plan, self.params, self.program = plan, params, Program(plan)
        self.itemsize = plan.dtype.itemsize
        if params.dtype != plan.dtype or params.shape != (plan.layout.size,):
            raise ValueError(f"params must be {plan.dtype} of shape ({plan.layout.size},), "
                             f"got {params.dtype} of shape {params.shape}")
        self.weights_of = data_of(params, writable=True)
        self.n_params, self.n_inputs, self.n_outputs = plan.layout.size, plan.n_inputs, plan.n_outputs
        self.output, self.buffers, self.labels = plan.output, plan.buffers, plan.labels
        self.scalars = plan.scalars
        inner = len(plan.slots) - 3
        self.inference_widths = (0, *plan.slots[1:1 + inner], 0, 0)
    # ---- inference -------------------------------------------------------------------------------------------

    def forward(self, out, x):
        """Raw outputs of the rows of x into out, nothing dropped. Safe to call from several threads at once."""
        cdef i64 n = self._rows_of(x)
        if out.shape != (n, self.n_outputs) or out.dtype != self.plan.dtype:
            wanted = f"{self.plan.dtype} of shape {(n, self.n_outputs)}"
            raise ValueError(f"out must be {wanted}, got {out.dtype} {out.shape}")
        cdef Workspace w = self._inference_workspace(n)
        cdef char *result = data_of(out, writable=True)
        cdef const char *rows = data_of(x)
        cdef i64 at = 0
        cdef u64 mode = fr_enter()
        try:
            with nogil:
                while at < n:
                    self._infer(w, rows + at * self.n_inputs * self.itemsize,
                                result + at * self.n_outputs * self.itemsize, min(FR_ROW_CHUNK, n - at))
                    at += FR_ROW_CHUNK
        finally:
            fr_leave(mode)

    def evaluate(self, x, targets, weights=None):
        """Data loss of the rows of x in inference mode: (sum of w_i l_i, sum of w_i)."""
        cdef i64 n = self._rows_of(x)
        self._check_targets(n, targets, weights)
        cdef Workspace w = self._inference_workspace(n)
        cdef char *result = w.slot[self.output]
        cdef const char *rows = data_of(x)
        cdef const char *t = data_of(targets)
        cdef const char *row_weights = data_of(weights)
        cdef const char *batch_weights = NULL
        cdef i64 target_size = 4 if self.labels else self.n_outputs * self.itemsize
        cdef fr_loss *loss = <fr_loss *>self.program.loss.ops[0].kernel
        cdef double total = 0, mass = 0, alpha = self.program.loss.ops[0].alpha
        cdef i64 at = 0, count
        cdef u64 mode = fr_enter()
        try:
            with nogil:
                while at < n:
                    count = min(FR_ROW_CHUNK, n - at)
                    self._infer(w, rows + at * self.n_inputs * self.itemsize, result, count)
                    if row_weights is not NULL:
                        batch_weights = row_weights + at * self.itemsize
                    total += loss(NULL, result, t + at * target_size, batch_weights, count, self.n_outputs, 1, alpha)
                    mass += self._mass(batch_weights, count)
                    at += FR_ROW_CHUNK
        finally:
            fr_leave(mode)
        return total, mass

    cdef int _infer(self, Workspace w, const char *x, char *out, i64 rows) except -1 nogil:
        cdef batch_t batch = batch_t(rows, NULL, NULL, 0, False, 0, 0)
        cdef int i
        w.slot[0] = <char *>x  # read only: nothing writes its input at inference
        w.slot[self.output] = out
        for i in range(self.program.forward.n):
            self._do(&self.program.forward.ops[i], w, &batch)
        return 0

    cdef Workspace _inference_workspace(self, i64 n):
        cdef i64 rows = min(n, FR_ROW_CHUNK)
        scratch = FR_PANEL_SCRATCH(max(self.plan.slots)) if rows > FR_FEW_ROWS else 0
        return Workspace(self.inference_widths, rows, self.itemsize, 0, 0, scratch)

    # ---- one batch -------------------------------------------------------------------------------------------

    def gradient(self, gradient, x, targets, weights=None, *, seed=0, step=0):
        """Mean data loss of one batch in training mode; its gradient overwrites the flat `gradient` (gaps 0)."""
        cdef i64 n = self._rows_of(x)
        self._check_targets(n, targets, weights)
        cdef Workspace w = self._training_workspace(n)
        self._check_flat("gradient", gradient)
        cdef char *result = data_of(gradient, writable=True)
        memcpy(w.slot[0], data_of(x), n * self.n_inputs * self.itemsize)
        cdef const char *t_data = data_of(targets)
        cdef const char *w_data = data_of(weights)
        cdef batch_t batch = batch_t(n, t_data, w_data, 0, True, seed, step)
        cdef double mass = self._mass(<const char *>batch.weights, n), loss
        cdef u64 mode = fr_enter()
        batch.scale = 1 / mass if mass > 0 else 0
        try:
            with nogil:
                loss = self._forward_and_loss(w, &batch)
                self._segment(&self.program.backward, w, &batch)
        finally:
            fr_leave(mode)
        memcpy(result, w.gradient, self.n_params * self.itemsize)
        return loss / mass if mass > 0 else 0.0

    def penalty(self, gradient=None):
        """Sum of the penalties at the parameters; adds their gradients to the flat `gradient` where given."""
        self._check_flat("gradient", gradient)
        cdef char *g = data_of(gradient, writable=True)
        cdef double total = 0
        cdef op_t *op
        cdef int i
        cdef u64 mode = fr_enter()
        for i in range(self.program.update.n):
            op = &self.program.update.ops[i]
            if op.code == PENALTY:
                total += (<fr_penalty *>op.kernel)(g + op.start * self.itemsize if g is not NULL and op.alpha else NULL,
                                                   self.weights_of + op.start * self.itemsize, op.stop - op.start,
                                                   self.scalars[op.strength])
        fr_leave(mode)
        return total

    # ---- training --------------------------------------------------------------------------------------------

    def cancel(self):
        """Ask the run in progress, or the next one, to stop before its next batch. Any thread may call this."""
        self.cancelled = True

    def run(self, x, targets, weights, const i64[::1] order, const i64[::1] bounds, const double[::1] rates, state,
            double[:, ::1] results, *, seed, step):
        """Train ``len(rates)`` steps; returns "done", "cancelled" or "diverged".

        Step s works on the rows ``order[bounds[s]:bounds[s + 1]]`` with learning rate ``rates[s]`` and the random
        numbers of step ``step + s``. ``results[s]`` receives the sums of w_i l_i and of w_i, and the penalty, all
        before its update.
        """
        cdef i64 n = self._rows_of(x), n_steps = rates.shape[0], s, largest = 0
        self._check_targets(n, targets, weights)
        self._check_run(n, order, bounds, n_steps, state, results)
        self.steps_done = 0
        for s in range(n_steps):
            largest = max(largest, bounds[s + 1] - bounds[s])
        cdef Workspace w = self._training_workspace(largest)
        cdef const char *x_data = data_of(x)
        cdef const char *t_data = data_of(targets)
        cdef const char *w_data = data_of(weights)
        cdef char *buffers = data_of(state.buffers, writable=True) if self.buffers else NULL
        cdef double[::1] memory = state.scalars
        cdef u64 first_seed = seed, first_step = step, mode = fr_enter()
        cdef batch_t batch
        cdef int status = 0
        try:
            with nogil:
                for s in range(n_steps):
                    if self.cancelled:
                        self.cancelled = False
                        status = 1
                        break
                    batch = self._load(w, x_data, t_data, w_data, &order[bounds[s]], bounds[s + 1] - bounds[s])
                    batch.seed, batch.step = first_seed, first_step + <u64>s
                    status = self._step(w, &batch, rates[s], buffers, &memory[0], &results[s, 0])
                    if status:
                        break
                    self.steps_done = s + 1
        finally:
            fr_leave(mode)
        return ("done", "cancelled", "diverged")[status]

    cdef batch_t _load(self, Workspace w, const char *x, const char *targets, const char *weights, const i64 *rows,
                       i64 n) noexcept nogil:
        """Copy the batch's rows, targets and weights into the workspace."""
        cdef batch_t batch = batch_t(n, w.targets, NULL, 0, True, 0, 0)
        self.program.gather(w.slot[0], x, rows, n, self.n_inputs)
        if self.labels:
            self.program.gather_labels(w.targets, targets, rows, n, 1)
        else:
            self.program.gather(w.targets, targets, rows, n, self.n_outputs)
        if weights is not NULL:
            self.program.gather(w.weights, weights, rows, n, 1)
            batch.weights = w.weights
        return batch

    cdef int _step(self, Workspace w, batch_t *batch, double rate, char *buffers, double *memory,
                   double *result) except -1 nogil:
        """One step; returns 2 where the loss is not finite, before anything is updated."""
        cdef double mass = self._mass(<const char *>batch.weights, batch.rows)
        result[0], result[1], result[2] = 0, mass, 0
        batch.scale = 1 / mass if mass > 0 else 0
        result[0] = self._forward_and_loss(w, batch)
        if not isfinite(result[0]):
            return 2
        self._segment(&self.program.backward, w, batch)
        result[2] = self._update(w, rate, buffers, memory, mass > 0)
        return 0

    cdef double _forward_and_loss(self, Workspace w, batch_t *batch) except? -1 nogil:
        cdef op_t *op = self.program.loss.ops
        self._segment(&self.program.forward, w, batch)
        return (<fr_loss *>op.kernel)(w.slot[op.dy], w.slot[op.y], batch.targets, batch.weights, batch.rows, op.n_out,
                                      batch.scale, op.alpha)

    cdef int _segment(self, segment_t *segment, Workspace w, batch_t *batch) except -1 nogil:
        """All operations of a segment."""
        cdef int i
        for i in range(segment.n):
            self._do(&segment.ops[i], w, batch)
        return 0

    cdef int _do(self, op_t *op, Workspace w, batch_t *batch) except -1 nogil:
        """One operation of the forward or backward segment."""
        cdef double rate = self.scalars[op.rate] if op.rate >= 0 and batch.training else 0
        cdef char *x = w.slot[op.x]
        cdef char *y = w.slot[op.y]
        cdef char *dx = w.slot[op.dx]
        cdef char *dy = w.slot[op.dy]
        if op.code == DENSE:
            self._dense(op, w, y, x, batch.rows)
            if rate > 0:
                self._drop(op, y, y, batch, rate)
        elif op.code == DENSE_BACKWARD:
            if op.kernel is not NULL:
                (<fr_gradient *>op.kernel)(dy, dy, y, batch.rows, op.n_out, slope_parameter(op, rate))
            self._dense_backward(op, w, dx, dy, x, batch.rows)
        elif op.code == ACTIVATION:
            (<fr_activation *>op.kernel)(y, x, batch.rows, op.n_out, op.alpha)
        elif op.code == ACTIVATION_BACKWARD:
            (<fr_gradient *>op.kernel)(dx, dy, y, batch.rows, op.n_out, op.alpha)
        elif op.code == DROPOUT and batch.training:
            self._drop(op, y, x, batch, rate)
        elif op.code == DROPOUT:
            w.slot[op.y] = x  # at inference the output is the input
        elif op.code == DROPOUT_BACKWARD:
            self._drop(op, dx, dy, batch, rate)
        return 0

    cdef int _dense(self, op_t *op, Workspace w, char *y, char *x, i64 rows) except -1 nogil:
        """Product, bias, activation; so many rows at a time that signals are looked at."""
        cdef char *weight = self.weights_of + op.weight * self.itemsize
        cdef char *bias = self.weights_of + op.bias * self.itemsize if op.bias >= 0 else NULL
        cdef i64 at = 0, n
        while at < rows:
            n = min(FR_STRETCH, rows - at)
            self.program.product_nn(y + at * op.n_out * self.itemsize, x + at * op.n_in * self.itemsize, weight, bias,
                                    n, op.n_out, op.n_in, 0, w.scratch)
            at += n
            self._look_at_signals(w, op.work * n)
        if op.kernel is not NULL:
            (<fr_activation *>op.kernel)(y, y, rows, op.n_out, op.alpha)
        return 0

    cdef int _dense_backward(self, op_t *op, Workspace w, char *dx, char *dy, char *x, i64 rows) except -1 nogil:
        """Gradients of weight, bias and, where there is a layer below, of the input."""
        cdef char *weight = self.weights_of + op.weight * self.itemsize
        cdef char *dweight = w.gradient + op.weight * self.itemsize
        cdef i64 at = 0, n, x_row = op.n_in * self.itemsize, dy_row = op.n_out * self.itemsize
        while at < rows:
            n = rows if rows <= FR_STRETCH else min(FR_BLOCK, rows - at)  # blocks are added in the order of one sum
            self.program.product_tn(dweight, x + at * x_row, dy + at * dy_row, NULL, op.n_in, op.n_out, n, at > 0,
                                    w.scratch)
            if op.has_dx:
                self.program.product_nt(dx + at * x_row, dy + at * dy_row, weight, NULL, n, op.n_in, op.n_out,
                                        <int>op.accumulate, w.scratch)
            at += n
            self._look_at_signals(w, 2 * op.work * n)
        if op.bias >= 0:
            self.program.column_sum(w.gradient + op.bias * self.itemsize, dy, rows, op.n_out)
        return 0

    cdef int _drop(self, op_t *op, char *y, char *x, batch_t *batch, double rate) except -1 nogil:
        cdef fr_stream key = fr_stream(batch.seed, batch.step, <u32>op.layer)
        if rate > 0:
            self.program.dropout(y, x, batch.rows, op.n_out, rate, &key)
        elif y != x:
            memcpy(y, x, batch.rows * op.n_out * self.itemsize)
        return 0

    cdef int _look_at_signals(self, Workspace w, double work) except -1 nogil:
        """Look at signals once the work since the last look has taken a few milliseconds."""
        w.work += work
        if w.work > SIGNAL_WORK:
            w.work = 0
            check_signals()
        return 0

    cdef double _update(self, Workspace w, double rate, char *buffers, double *memory, bint move) noexcept nogil:
        """Penalties, move and proximal steps of all ranges; returns the penalty before the move. memory: [t, c]."""
        cdef fr_step s = self.program.settings
        cdef double total = 0, step_size
        cdef int first = 0, last
        cdef i64 at, start, stop
        if move:
            memory[0] += 1
            memory[1] = s.momentum * memory[1] + rate
        step_size = s.momentum * memory[1] + rate if s.nesterov else memory[1]
        s.learning_rate = rate
        if self.program.element_steps:
            s.correction1 = 1 - fr_power(s.beta1, <i64>memory[0])
            s.correction2 = 1 - fr_power(s.beta2, <i64>memory[0])
        while first < self.program.update.n:
            start, stop = self.program.update.ops[first].start, self.program.update.ops[first].stop
            last = first
            while last < self.program.update.n and self.program.update.ops[last].start == start:
                last += 1
            at = start
            while at < stop:
                total += self._update_chunk(first, last, w, at, min(FR_CHUNK, stop - at), buffers, step_size, &s, move)
                at += FR_CHUNK
            first = last
        return total

    cdef double _update_chunk(self, int first, int last, Workspace w, i64 at, i64 n, char *buffers, double step_size,
                              fr_step *s, bint move) noexcept nogil:
        cdef i64 size = self.itemsize
        cdef char *weight = self.weights_of + at * size
        cdef char *gradient = w.gradient + at * size
        cdef char *m = buffers + at * size if self.buffers > 0 else NULL
        cdef char *v = buffers + (self.n_params + at) * size if self.buffers > 1 else NULL
        cdef bint prox = self.program.update.ops[last - 1].code == PROX
        cdef char *steps = w.steps if prox and self.program.element_steps else NULL
        cdef double total = 0
        cdef op_t *op
        cdef int i
        for i in range(first, last):
            op = &self.program.update.ops[i]
            if op.code == PENALTY:
                total += (<fr_penalty *>op.kernel)(gradient if move and op.alpha else NULL, weight, n,
                                                   self.scalars[op.strength])
            elif move and op.code == UPDATE:
                s.decay = s.learning_rate * self.scalars[op.decay] if op.decay >= 0 else 0
                s.floor = self.scalars[op.strength] if op.strength >= 0 else 0
                (<fr_update *>op.kernel)(weight, gradient, m, v, steps, n, s)
            elif move and op.code == PROX:
                (<fr_prox *>op.kernel)(weight, steps, n, step_size, self.scalars[op.strength])
        return total

    # ---- small things ----------------------------------------------------------------------------------------

    cdef double _mass(self, const char *weights, i64 n) noexcept nogil:
        """Sum of n row weights in float64; n where there are none."""
        cdef double total = 0
        cdef i64 i
        if weights is NULL:
            return n
        for i in range(n):
            total += (<const double *>weights)[i] if self.itemsize == 8 else (<const float *>weights)[i]
        return total

    cdef Workspace _training_workspace(self, i64 rows):
        """The fit's workspace, made anew only for larger batches."""
        if self.workspace is None or self.workspace.rows < rows:
            widest = max(self.plan.slots)
            self.workspace = Workspace(self.plan.slots, rows, self.itemsize, self.n_params, self.n_outputs,
                                       max(FR_PANEL_SCRATCH(widest), FR_WEIGHT_SCRATCH(rows, widest)))
        return self.workspace

    cdef i64 _rows_of(self, x) except -1:
        if x.ndim != 2 or x.shape[1] != self.n_inputs or x.dtype != self.plan.dtype:
            raise ValueError(f"x must be {self.plan.dtype} of shape (rows, {self.n_inputs}), got {x.dtype} {x.shape}")
        return x.shape[0]

    cdef int _check_targets(self, i64 n, targets, weights) except -1:
        shape, dtype = ((n,), "int32") if self.labels else ((n, self.n_outputs), self.plan.dtype)
        if targets.shape != shape or targets.dtype != dtype:
            raise ValueError(f"targets must be {dtype} of shape {shape}, got {targets.dtype} {targets.shape}")
        if weights is not None and (weights.shape != (n,) or weights.dtype != self.plan.dtype):
            raise ValueError(f"weights must be {self.plan.dtype} of shape {(n,)}, got {weights.dtype} {weights.shape}")
        return 0

    cdef int _check_flat(self, str name, array) except -1:
        if array is not None and (array.shape != self.params.shape or array.dtype != self.plan.dtype):
            raise ValueError(f"{name} must be {self.plan.dtype} of shape {self.params.shape}, "
                             f"got {array.dtype} {array.shape}")
        return 0

    cdef int _check_run(self, i64 n, const i64[::1] order, const i64[::1] bounds, i64 n_steps, state,
                        double[:, ::1] results) except -1:
        """What could make a run read or write outside its arrays."""
        cdef i64 i
        cdef bint inside = bounds.shape[0] == n_steps + 1 and bounds[0] >= 0 and bounds[n_steps] <= order.shape[0]
        for i in range(n_steps if inside else 0):
            inside = inside and bounds[i] <= bounds[i + 1]
        if not inside:
            raise ValueError(f"bounds must be {n_steps + 1} rising positions in the order of {order.shape[0]} rows")
        for i in range(order.shape[0]):
            inside = inside and 0 <= order[i] < n
        if not inside:
            raise ValueError(f"order must hold row numbers in 0..{n - 1}")
        if results.shape[0] != n_steps or results.shape[1] != 3:
            raise ValueError(f"results must have shape {(n_steps, 3)}, got {(results.shape[0], results.shape[1])}")
        for buffer in state.buffers[:self.buffers]:
            self._check_flat("state.buffers", buffer)
        if len(state.buffers) < self.buffers or len(state.scalars) != 2:
            raise ValueError(f"state must have {self.buffers} buffers and 2 scalars")
        return 0


cdef inline double slope_parameter(op_t *op, double rate) noexcept nogil:
    """alpha of a gradient kernel: for a ReLU the scale of the dropout fused behind it, else the leak."""
    if op.layer >= 0:
        return fr_dropout_scale(rate)
    return op.alpha if op.alpha else 1
