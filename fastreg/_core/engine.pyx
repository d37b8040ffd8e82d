"""The compiled interpreter: runs a plan's records, whole epochs without the GIL.

a) Binding. A `Program` is the plan's records as C structs: names have become kernels of the table. From there on
   nothing depends on the dtype: pointers are moved by `itemsize`.
b) Memory. A `Workspace` (slots, gradient, scratch) is taken before the GIL is released; one for the whole fit, one of
   its own for each thread of a prediction, so that concurrent predictions share nothing that is written.
c) A step is forward, loss, backward, update, see step.pyx. Until the update nothing but the workspace has changed, so a
   step that is cancelled, interrupted or not finite leaves the weights of the last whole step.
d) Threads. A call asks the pool for as many as its caller allows and its steps are worth, and gives them back at its
   end; without any it computes alone.
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.math cimport isfinite
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from threading import get_ident, main_thread

import numpy

from fastreg._core.program cimport *
from fastreg._core.step cimport *
from fastreg._core.table cimport *
from fastreg._core.workspace cimport Workspace


cdef enum:
    DONE
    CANCELLED
    DIVERGED


ctypedef struct inference_t:  # chunks of rows, each run through the network by one thread
    run_t *runs  # one for each thread
    table_t table
    i64 rows
    char *out  # NULL: only the losses are wanted


cdef void infer_chunk(void *job_, i64 item, int worker) noexcept nogil:
    """One chunk of rows: its outputs, or its sums of w_i l_i and of w_i in the first thread's `partial`."""
    cdef inference_t *job = <inference_t *>job_
    cdef run_t *run = &job.runs[worker]
    cdef const table_t *t = &job.table
    cdef i64 at = item * FR_ROW_CHUNK, n = min(FR_ROW_CHUNK, job.rows - at), size = run.itemsize
    cdef const op_t *loss = run.program.loss.ops
    cdef const char *targets = t.targets + at * target_bytes(t, size)
    cdef const char *weights = t.weights + at * size if t.weights is not NULL else NULL
    look_at_signals(run, 0)  # of the chunks before
    infer(run, t, at, job.out + at * t.n_outputs * size if job.out is not NULL else NULL, n)
    if t.targets is NULL or run.interrupted:
        return
    if run.program.own_loss is not NULL:
        job.runs[0].memory.partial[2 * item] = own_loss(run, NULL, run.memory.slot[run.program.output], targets,
                                                        weights, n, 1)
    else:
        job.runs[0].memory.partial[2 * item] = (<fr_loss *>loss.kernel)(
            NULL, run.memory.slot[run.program.output], targets, weights, n, t.n_outputs, 1, loss.alpha,
            run.scalars + loss.strength if loss.strength >= 0 else NULL)
    job.runs[0].memory.partial[2 * item + 1] = mass_of(weights, n, size)


cdef char *data_of(object array, bint writable=False) except? NULL:
    """Where a C-contiguous array's data starts, NULL for None; the caller keeps the array alive."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0))
    cdef char *start = <char *>view.buf
    PyBuffer_Release(&view)
    return start


@cython.final
cdef class Engine:
    """Interpreter of a plan in compiled code.

    Parameters
    ----------
    plan : fastreg.plan.Plan
    params : array (plan.layout.size,)
        The flat parameter buffer; `run` updates it in place.

    Notes
    -----
    Tables of rows, `x`, are arrays or `fastreg.csr.CSR`.
    """

    cdef readonly object plan
    cdef readonly object params
    cdef readonly i64 steps_done
    cdef char *weights_of  # the data of `params`
    cdef Program program
    cdef double[::1] scalars
    cdef i64 itemsize, n_inputs, n_outputs, n_params
    cdef i64 n_trained  # of the parameters: behind them are running statistics
    cdef i64 n_masked   # n_params where weights are dropped, else 0
    cdef int buffers
    cdef bint labels, one_hot
    cdef int cancelled
    cdef Workspace workspace

    def __cinit__(self, plan, params):
        self.plan, self.params, self.program = plan, params, Program(plan)
        self.itemsize = plan.dtype.itemsize
        if params.dtype != plan.dtype or params.shape != (plan.layout.size,):
            raise ValueError(f"params must be {plan.dtype} of shape ({plan.layout.size},), "
                             f"got {params.dtype} of shape {params.shape}")
        self.weights_of = data_of(params)
        self.n_params, self.n_inputs, self.n_outputs = plan.layout.size, plan.n_inputs, plan.n_outputs
        self.n_trained, self.n_masked = plan.layout.trained, plan.layout.size if plan.forward["masked"].any() else 0
        self.buffers, self.labels = plan.buffers, plan.labels
        self.one_hot = plan.labels and plan.mixes
        self.scalars = plan.scalars

    # ---- inference -------------------------------------------------------------------------------------------

    def forward(self, out, x, *, int threads=1, seed=None, step=0):
        """Raw outputs of the rows of x into out. Safe to call from several threads at once.

        With a seed there is noise, of random numbers that belong to the seed, the step and the rows' places in x.
        """
        cdef i64 n = self._rows_of(x)
        if out.shape != (n, self.n_outputs) or out.dtype != self.plan.dtype:
            wanted = f"{self.plan.dtype} of shape {(n, self.n_outputs)}"
            raise ValueError(f"out must be {wanted}, got {out.dtype} {out.shape}")
        self._infer(x, None, None, out, threads, seed, step)

    def evaluate(self, x, targets, weights=None, *, int threads=1):
        """Data loss of the rows of x in inference mode: (sum of w_i l_i, sum of w_i)."""
        if self.one_hot:
            raise ValueError("a plan that mixes rows makes a matrix of labels, and is for training alone")
        self._check_targets(self._rows_of(x), targets, weights)
        return self._infer(x, targets, weights, None, threads, None, 0)

    cdef _infer(self, x, targets, weights, out, int threads, seed, step):
        """Run all rows through the network, in chunks of FR_ROW_CHUNK; targets or out is None."""
        cdef i64 n = x.shape[0], chunks = (n + FR_ROW_CHUNK - 1) // FR_ROW_CHUNK, i
        cdef double total = 0, mass = 0
        cdef inference_t job
        cdef bint noisy = seed is not None
        cdef i64 partials = 2 * chunks if targets is not None else 0
        cdef Workspace first = self._inference_workspace(min(n, FR_ROW_CHUNK), partials, noisy)
        cdef list others = None
        cdef run_t alone
        if self.program.c.own_loss is not NULL and targets is not None:
            threads = 1  # what a user's function raises must be raised in the calling thread
        if threads > 1:  # a worker has slept since the last call, and whole chunks leave a rest: ten times the work
            threads = max(1, min(useful_threads(&self.program.c, n // 10, 0, threads), chunks // 2))
        job.table = self._table(x, targets, weights)
        job.rows, job.out, job.runs = n, data_of(out, writable=True), &alone
        if threads > 1:
            others = [self._inference_workspace(FR_ROW_CHUNK, 0, noisy) for _ in range(threads - 1)]
            job.runs = <run_t *>calloc(threads, sizeof(run_t))
            if job.runs is NULL:
                raise MemoryError("no memory for the threads of a prediction")
            for i in range(1, threads):
                self._begin(&job.runs[i], others[i - 1])
                job.runs[i].watches = False  # the calling thread looks at signals
        self._begin(&job.runs[0], first)
        for i in range(threads if noisy else 0):
            job.runs[i].batch.noisy, job.runs[i].batch.seed, job.runs[i].batch.step = True, seed, step
        cdef double *partial = job.runs[0].memory.partial
        cdef u64 mode = fr_enter()
        threads = claim_threads(threads)
        try:
            with nogil:
                if threads > 1:
                    share_items(infer_chunk, &job, chunks, threads)
                else:
                    for i in range(chunks):
                        infer_chunk(&job, i, 0)
                if job.runs[0].interrupted:
                    raise_what_is_pending()
        finally:
            if threads > 1:
                release_threads()
            if job.runs is not &alone:
                free(job.runs)
            fr_leave(mode)
        if targets is None:
            return None
        for i in range(chunks):
            total += partial[2 * i]
            mass += partial[2 * i + 1]
        return total, mass

    cdef Workspace _inference_workspace(self, i64 rows, i64 partials, bint noisy):
        """Without gradients; the input is read in place but where noise could change it."""
        first, *inner = self.plan.slots[:self.plan.first_gradient]
        scratch = FR_PANEL_SCRATCH(max(self.plan.slots)) if rows > FR_FEW_ROWS else 0
        return Workspace((first if noisy else 0, *inner), rows, self.itemsize, 0, 0, partials, scratch, 1,
                         n_masked=self.n_masked if noisy else 0)

    # ---- one batch -------------------------------------------------------------------------------------------

    def gradient(self, gradient, x, targets, weights=None, *, seed=0, step=0, int threads=1):
        """Mean data loss of one batch in training mode; its gradient overwrites the flat `gradient` (gaps 0)."""
        cdef i64 n = self._rows_of(x)
        self._check_targets(n, targets, weights)
        self._check_flat("gradient", gradient)
        cdef char *result = data_of(gradient, writable=True)
        cdef table_t table = self._table(x, targets, weights)
        cdef run_t run
        cdef double loss = 0, mass = mass_of(table.weights, n, self.itemsize)
        cdef const i64[::1] rows = numpy.arange(n, dtype="int64") if self.program.c.batch.n else None
        threads = useful_threads(&self.program.c, n, 0, threads)
        self._begin(&run, self._training_workspace(n, threads, len(x.values) if table.starts is not NULL else -1))
        run.memory.slot[0] = run.memory.input
        if table.starts is NULL and rows is None:
            memcpy(run.memory.slot[0], table.x, n * self.n_inputs * self.itemsize)
        run.input = sparse_t(table.x, table.columns, table.starts, NULL)
        run.table = &table
        run.batch = batch_t(n, table.targets, table.weights, 1 / mass if mass > 0 else 0, True, True, seed, step, 0, 0)
        cdef u64 mode = fr_enter()
        run.threads = claim_threads(threads)
        try:
            with nogil:
                if rows is not None and n:
                    load(&run, &table, &rows[0], n)
                loss = forward_and_loss(&run)
                backward(&run)
                if run.interrupted:
                    raise_what_is_pending()
        finally:
            self._end(&run, mode)
        memcpy(result, run.memory.gradient, self.n_trained * self.itemsize)
        memset(result + self.n_trained * self.itemsize, 0, (self.n_params - self.n_trained) * self.itemsize)
        return loss / mass if mass > 0 else 0.0

    def penalty(self, gradient=None, *, const double[::1] numbers=None):
        """Sum of the penalties at the parameters; adds their gradients to the flat `gradient` where given.

        `numbers` (n_scalars,) takes the place of the plan's scalars where given.
        """
        self._check_flat("gradient", gradient)
        if numbers is None:
            numbers = self.scalars
        elif numbers.shape[0] != self.scalars.shape[0]:
            raise ValueError(f"numbers must have shape ({self.scalars.shape[0]},), got ({numbers.shape[0]},)")
        cdef char *g = data_of(gradient, writable=True)
        cdef double total = 0
        cdef const segment_t *ranges = &self.program.c.measure if self.program.c.measure.n else &self.program.c.update
        cdef const op_t *op
        cdef int i
        cdef u64 mode = fr_enter()
        for i in range(ranges.n):
            op = &ranges.ops[i]
            if op.code == PENALTY:
                total += (<fr_penalty *>op.kernel)(g + op.start * self.itemsize if g is not NULL and op.alpha else NULL,
                                                   self.weights_of + op.start * self.itemsize, op.stop - op.start,
                                                   numbers[op.strength])
        fr_leave(mode)
        return total

    # ---- training --------------------------------------------------------------------------------------------

    def cancel(self):
        """Ask the run in progress, or the next one, to stop before its next batch. Any thread may call this."""
        self.cancelled = True

    def run(self, x, targets, weights, const i64[::1] order, const i64[::1] bounds, const double[::1] rates, state,
            double[:, ::1] results, *, seed, step, const i64[::1] epochs=None, int threads=1,
            bint stop_at_divergence=True, const double[:, ::1] numbers=None):
        """Train ``len(rates)`` steps; returns "done", "cancelled" or "diverged".

        Step s works on the rows ``order[bounds[s]:bounds[s + 1]]`` with learning rate ``rates[s]`` and the random
        numbers of step ``step + s`` and, for augmentations, of epoch ``epochs[s]`` (None: 0). ``results[s]`` receives
        the sums of w_i l_i and of w_i, and the penalty, all before its update. At most `threads` threads compute.
        Without `stop_at_divergence` a loss that is not finite is trained on like any other. ``numbers[s]``, where
        given, takes the place of the plan's scalars in step s.
        """
        cdef i64 n = self._rows_of(x), n_steps = rates.shape[0], s, largest = 0, nonzeros = -1
        self._check_targets(n, targets, weights)
        self._check_run(n, order, bounds, n_steps, state, results)
        if epochs is not None and epochs.shape[0] != n_steps:
            raise ValueError(f"epochs must have {n_steps} entries, one for each step, got {epochs.shape[0]}")
        cdef i64 n_numbers = self._check_numbers(numbers, n_steps)
        data_of(self.params, writable=True)
        self.steps_done = 0
        for s in range(n_steps):
            largest = max(largest, bounds[s + 1] - bounds[s])
        cdef table_t table = self._table(x, targets, weights)
        if table.starts is not NULL:
            nonzeros = most_nonzeros(table.starts, order, bounds)
        cdef double[::1] memory = state.scalars
        cdef run_t run
        cdef int status = 0
        threads = useful_threads(&self.program.c, largest, self.n_params, threads)
        self._begin(&run, self._training_workspace(largest, threads, nonzeros))
        run.buffers = data_of(state.buffers, writable=True) if self.buffers else NULL
        if len(self.plan.averages):
            run.n_buffers -= 1
            run.averages = run.buffers + run.n_buffers * self.n_params * self.itemsize
        run.batch.seed, run.batch.step = seed, step
        cdef u64 mode = fr_enter()
        run.threads = claim_threads(threads)
        try:
            with nogil:
                for s in range(n_steps):
                    if self.cancelled:
                        self.cancelled = False
                        status = CANCELLED
                        break
                    run.batch.epoch = epochs[s] if epochs is not None else 0
                    if n_numbers:
                        run.scalars = &numbers[s, 0]
                    load(&run, &table, &order[bounds[s]], bounds[s + 1] - bounds[s])
                    status = train_step(&run, rates[s], &memory[0], &results[s, 0], stop_at_divergence)
                    if status:
                        break
                    run.batch.step += 1
                    self.steps_done = s + 1
        finally:
            self._end(&run, mode)
        return ("done", "cancelled", "diverged")[status]

    # ---- small things ----------------------------------------------------------------------------------------

    cdef int _begin(self, run_t *run, Workspace space) except -1:
        """A run on this engine's parameters in the memory of a workspace, one thread until it claims more."""
        memset(run, 0, sizeof(run_t))
        run.program, run.memory, run.params = &self.program.c, space.c, self.weights_of
        run.scalars = &self.scalars[0] if self.scalars.shape[0] else NULL
        run.n_buffers, run.n_params, run.itemsize = self.buffers, self.n_params, self.itemsize
        run.threads, run.watches = 1, get_ident() == main_thread().ident
        return 0

    cdef int _end(self, run_t *run, u64 mode) except -1:
        if run.threads > 1:
            release_threads()
        fr_leave(mode)
        return 0

    cdef table_t _table(self, x, targets, weights) except *:
        cdef const int32_t *columns = NULL
        cdef const i64 *starts = NULL
        if not hasattr(x, "starts"):
            values = x
        else:
            values = x.values
            columns, starts = <const int32_t *>data_of(x.columns), <const i64 *>data_of(x.starts)
            self._check_sparse(x)
        return table_t(data_of(values), data_of(targets), data_of(weights), self.one_hot, columns, starts,
                       self.n_inputs, self.n_outputs, self.labels and not self.one_hot)

    cdef Workspace _training_workspace(self, i64 rows, int threads, i64 nonzeros):
        """The fit's workspace, made anew only for larger batches or more threads. nonzeros -1: dense rows."""
        cdef Workspace space = self.workspace
        cdef bint sparse = nonzeros >= 0
        if space is None or space.rows < rows or space.threads < threads or space.nonzeros < nonzeros \
                or space.sparse != sparse:
            slots = (0, *self.plan.slots[1:]) if sparse else self.plan.slots
            widest = max(slots)
            partials = max(self.program.c.update.chunks, 2 * self.program.c.measure.chunks,
                           (rows + FR_ROW_CHUNK - 1) // FR_ROW_CHUNK)
            scratch = max(FR_PANEL_SCRATCH(widest), FR_WEIGHT_SCRATCH(rows, widest), <i64>FR_CHUNK)
            self.workspace = None  # before the next one is made
            self.workspace = Workspace(slots, rows, self.itemsize, self.n_params, self.n_outputs, partials, scratch,
                                       threads, max(nonzeros, 0), self.n_inputs if sparse else 0, self.n_masked,
                                       self.n_inputs if self.program.c.batch.n else 0, self.program.c.mixes)
        return self.workspace

    cdef i64 _rows_of(self, x) except -1:
        if x.ndim != 2 or x.shape[1] != self.n_inputs or x.dtype != self.plan.dtype:
            raise ValueError(f"x must be {self.plan.dtype} of shape (rows, {self.n_inputs}), got {x.dtype} {x.shape}")
        return x.shape[0]

    cdef int _check_sparse(self, x) except -1:
        """What could make the products of a sparse x read or write outside its arrays."""
        cdef const int32_t[::1] columns = x.columns
        cdef const i64[::1] starts = x.starts
        cdef i64 rows = starts.shape[0] - 1, n = columns.shape[0], r, k
        cdef bint whole = rows >= 0 and starts[0] == 0 and starts[rows] == n and len(x.values) == n
        for r in range(rows if whole else 0):
            whole = whole and starts[r] <= starts[r + 1] <= n
        if not whole:
            raise ValueError(f"starts of a sparse x must rise from 0 to its {n} numbers")
        for r in range(rows):
            for k in range(starts[r], starts[r + 1]):
                if not (columns[k - 1] if k > starts[r] else -1) < columns[k] < self.n_inputs:
                    raise ValueError(f"row {r} of a sparse x: its columns must rise within 0..{self.n_inputs - 1}, "
                                     f"got {columns[k]}")
        if len(self.plan.batch):
            raise ValueError("sparse rows cannot be augmented or mixed")
        first = self.plan.forward[0]
        if first["op"] != b"dense":
            raise ValueError(f"a network on sparse rows must begin with a Dense, not with {first['op'].decode()}")
        return 0

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

    cdef i64 _check_numbers(self, const double[:, ::1] numbers, i64 n_steps) except -1:
        """How many scalars change from step to step: none, or all."""
        if numbers is None:
            return 0
        if numbers.shape[0] != n_steps or numbers.shape[1] != self.scalars.shape[0]:
            raise ValueError(f"numbers must have shape {(n_steps, self.scalars.shape[0])}, "
                             f"got {(numbers.shape[0], numbers.shape[1])}")
        return numbers.shape[1]


cdef int train_step(run_t *run, double rate, double *memory, double *result, bint stop_at_divergence) except -1 nogil:
    """One step on the batch that is loaded; DIVERGED, where asked, before an update by a loss that is not finite."""
    cdef double mass = mass_of(run.batch.weights, run.batch.rows, run.itemsize)
    result[0], result[1], result[2] = 0, mass, 0
    run.batch.scale = 1 / mass if mass > 0 else 0
    result[0] = forward_and_loss(run)
    if not run.interrupted:
        if stop_at_divergence and not isfinite(result[0]):
            return DIVERGED
        backward(run)
        look_at_signals(run, 0)
    if run.interrupted:
        raise_what_is_pending()
    result[2] = update(run, rate, memory, mass > 0)
    return DONE


cdef i64 most_nonzeros(const i64 *starts, const i64[::1] order, const i64[::1] bounds) noexcept:
    """Of all batches the largest number of non-zero numbers."""
    cdef i64 s, i, numbers, most = 0
    for s in range(bounds.shape[0] - 1):
        numbers = 0
        for i in range(bounds[s], bounds[s + 1]):
            numbers += starts[order[i] + 1] - starts[order[i]]
        most = max(most, numbers)
    return most


cdef int raise_what_is_pending() except -1 nogil:
    """A signal's handler has raised in this thread."""
    return -1
