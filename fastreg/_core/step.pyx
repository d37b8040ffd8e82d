"""One training step over a plan's records, shared by the threads of a run; no Python in here.

a) A step is a row of sections: a product, a pass over the rows of a batch, the update. A section is cut into items that
   any thread may compute in any order: parts of a product's output, ranges of rows, chunks of parameters. A sum is cut
   nowhere but at the borders that its order has anyway; sums of chunks are put down by number and added in order. So
   the bits do not depend on the threads.
b) A section is shared only where that pays; below `PAYS` operations, or in a run of one thread, the caller does it all.
c) A worker's item touches its own part of the workspace, and its own scratch. Only the calling thread looks at signals,
   between its items; once interrupted it takes what is left of the section without computing it, so nothing waits. It
   does so only where it is the main thread: Python ends others when they ask for the GIL at exit, amid a section.
d) The update goes through all operations of a range within one chunk of 4,096 elements, so that memory is read and
   written once. L1 and L2 are computed by the kernel that moves, other penalties and proximal steps by their own.
"""

from cpython.object cimport PyObject
from libc.math cimport sqrt
from libc.string cimport memcpy

from fastreg._core.mixing cimport draw_mixing
from fastreg._core.program cimport *
from fastreg._core.table cimport *

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept  # what a handler raises stays pending until the run's caller returns it
    # Undeclared exceptions stay pending here too.
    int PyBUF_READ, PyBUF_WRITE
    PyObject *PyMemoryView_FromMemory(char *start, Py_ssize_t size, int flags) noexcept
    PyObject *PyObject_CallFunction(PyObject *function, const char *format, ...) noexcept
    double PyFloat_AsDouble(PyObject *number) noexcept
    void Py_IncRef(PyObject *object) noexcept
    void Py_DecRef(PyObject *object) noexcept

# Work is counted in floating-point operations of a product, some hundreds to the nanosecond.
cdef double SIGNAL_WORK = 2e8   # between two looks at the clock: about a millisecond
cdef double SIGNAL_WAIT = 0.03  # seconds between two looks at signals: each may wait 5 ms for a GIL that others want
cdef double PAYS = 2e6         # of a section, for more than one thread
cdef double ITEM = 1e6         # of an item, about
cdef double CALL = 5e4         # of an item that does next to nothing: tiny steps are looked after as well
cdef double GATHER, ELEMENT, UNIT, PARAMETER  # of one number of the batch, of an activation, loss, update
GATHER, ELEMENT, UNIT, PARAMETER = 20, 50, 200, 100
cdef u32 AUGMENT_STREAM = 3 << 16, MIX_STREAM = 4 << 16  # purposes of random numbers; 0 to 2 are older
cdef double SPARSE = 4         # of a number of a sparse batch and a unit


# ---- sharing --------------------------------------------------------------------------------------------------------


cdef i64 items_for(run_t *run, double work) noexcept nogil:
    """How many items a section should have: one where one thread computes it, but for looks at signals."""
    cdef double items = work / SIGNAL_WORK
    if run.threads > 1 and work >= PAYS:
        items = max(items, <double>run.threads, min(work / ITEM, 4.0 * run.threads))
    return <i64>items if items > 1 else 1


cdef i64 cut(run_t *run, double work, i64 n) noexcept nogil:
    """Cut n rows or chunks into items of `per_item`; returns how many items."""
    cdef i64 items = items_for(run, work)
    run.per_item = n
    if items == 1 or n < 2:
        return n > 0
    run.per_item = (n + items - 1) // items
    return (n + run.per_item - 1) // run.per_item


cdef void share(run_t *run, fr_task *task, i64 items, double work) noexcept nogil:
    """Run all items of a section; nothing once the run is interrupted."""
    cdef i64 item
    if run.interrupted:
        return
    if run.threads > 1 and items > 1 and work >= PAYS:
        share_items(task, run, items, run.threads)
    else:
        for item in range(items):
            task(run, item, 0)


cdef void look_at_signals(run_t *run, double work) noexcept nogil:
    """Count the calling thread's work; let signal handlers run once it has taken some tens of milliseconds."""
    run.work += work + CALL
    if run.work > SIGNAL_WORK and run.watches and not run.interrupted:
        run.work = 0
        if seconds() - run.looked > SIGNAL_WAIT:
            run.interrupted = handle_signals() != 0
            run.looked = seconds()


cdef int handle_signals() noexcept with gil:
    return PyErr_CheckSignals()


cdef bint skipped(run_t *run, int worker, double work) noexcept nogil:
    """Whether an interrupted run's calling thread is to skip its item of a shared section."""
    if worker == 0:
        look_at_signals(run, work)
    return worker == 0 and run.interrupted


cdef tiles_t tiles_of(i64 m, i64 n, i64 count, bint rows_first) noexcept nogil:
    """Parts of an output (m, n): whole panels of columns, whole strips of rows.

    An operand is packed once for each part. Columns first leaves that of the forward product and of the input gradient
    in one piece; rows first does so for the weight gradient.
    """
    cdef tiles_t t
    cdef i64 panels = (n + FR_PANEL - 1) // FR_PANEL, strips = (m + FR_STRIP - 1) // FR_STRIP, down, across
    t.m, t.n, t.rows, t.columns, t.across, t.count = m, n, m, n, 1, 0
    if count == 0 or panels == 0 or strips == 0:
        return t
    if rows_first:
        down = min(strips, count)
        across = min(panels, (count + down - 1) // down)
    else:
        across = min(panels, count)
        down = min(strips, (count + across - 1) // across)
    t.rows, t.columns = (strips + down - 1) // down * FR_STRIP, (panels + across - 1) // across * FR_PANEL
    t.across = (n + t.columns - 1) // t.columns
    t.count = t.across * ((m + t.rows - 1) // t.rows)
    return t


cdef fr_part part_of(const tiles_t *t, i64 item) noexcept nogil:
    cdef fr_part part
    part.row, part.column = item // t.across * t.rows, item % t.across * t.columns
    part.rows, part.columns = min(t.rows, t.m - part.row), min(t.columns, t.n - part.column)
    return part


cdef inline char *scratch_of(run_t *run, int worker) noexcept nogil:
    return run.memory.scratch + worker * run.memory.scratch_bytes


cdef int useful_threads(const program_t *program, i64 rows, i64 n_params, int threads) noexcept nogil:
    cdef double most = n_params * PARAMETER
    cdef int i
    for i in range(program.forward.n):
        most = max(most, rows * 2.0 * max(program.forward.ops[i].n_in, 1) * program.forward.ops[i].n_out)
    return threads if most >= PAYS else 1


cdef i64 target_bytes(const table_t *table, i64 itemsize) noexcept nogil:
    return 4 if table.labels else table.n_outputs * itemsize


# ---- the batch ------------------------------------------------------------------------------------------------------


cdef void load(run_t *run, const table_t *table, const i64 *rows, i64 n) noexcept nogil:
    """Copy the batch's rows, targets and weights into the workspace; augment and mix them."""
    cdef double work = GATHER * n * table.n_inputs
    run.batch.rows, run.batch.targets, run.batch.training, run.batch.noisy = n, run.memory.targets, True, True
    run.batch.weights = run.memory.weights if table.weights is not NULL else NULL
    run.table, run.rows = table, rows
    run.input = sparse_t(table.x, table.columns, table.starts, rows)
    run.memory.slot[0], run.spare = run.memory.input, run.memory.spare
    share(run, load_rows, cut(run, work, n), work)
    if run.program.batch.n:
        change_batch(run)


cdef void load_rows(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const table_t *t = run.table
    cdef i64 at = item * run.per_item, n = min(run.per_item, run.batch.rows - at), size = run.itemsize
    cdef const i64 *rows = run.rows + at
    if skipped(run, worker, GATHER * n * t.n_inputs):
        return
    if t.starts is NULL:
        run.program.gather(run.memory.slot[0] + at * t.n_inputs * size, t.x, rows, n, t.n_inputs)
    if t.one_hot:
        run.program.gather_one_hot(run.memory.targets + at * t.n_outputs * size, t.targets, rows, n, t.n_outputs)
    elif t.labels:
        run.program.gather_labels(run.memory.targets + at * 4, t.targets, rows, n, 1)
    else:
        run.program.gather(run.memory.targets + at * t.n_outputs * size, t.targets, rows, n, t.n_outputs)
    if t.weights is not NULL:
        run.program.gather(run.memory.weights + at * size, t.weights, rows, n, 1)


cdef void change_batch(run_t *run) noexcept nogil:
    """The batch segment: each operation reads slot 0, writes the spare memory, and makes that slot 0."""
    cdef const segment_t *ops = &run.program.batch
    cdef double work
    cdef int i
    run.spare_targets, run.spare_weights = run.memory.spare_targets, run.memory.spare_weights
    for i in range(ops.n):
        run.op = &ops.ops[i]
        work = ELEMENT * run.batch.rows * run.table.n_inputs
        if run.op.code == AUGMENT:
            share(run, augment_rows, cut(run, work, run.batch.rows), work)
        elif begin_mixing(run):
            share(run, mix_rows, cut(run, work, run.batch.rows), work)
            end_mixing(run)
        else:
            continue
        run.memory.slot[0], run.spare = run.spare, run.memory.slot[0]


cdef void augment_rows(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * run.per_item, n = min(run.per_item, run.batch.rows - at)
    cdef i64 offset = at * run.table.n_inputs * run.itemsize
    cdef fr_stream key = fr_stream(run.batch.seed, run.batch.epoch, AUGMENT_STREAM | <u32>op.layer)
    if not skipped(run, worker, ELEMENT * n * run.table.n_inputs):
        (<fr_augment *>op.kernel)(run.spare + offset, run.memory.slot[0] + offset, run.rows + at, n, &op.image,
                                  run.scalars + op.strength, &key)


cdef bint begin_mixing(run_t *run) noexcept nogil:
    """Draw how the batch is mixed; whether it is."""
    cdef const op_t *op = run.op
    cdef fr_stream key = fr_stream(run.batch.seed, run.batch.step, MIX_STREAM | <u32>op.layer)
    cdef mixing_t mixing = draw_mixing(run.scalars[op.strength], run.scalars[op.strength + 1], run.batch.rows, &key)
    if mixing.share == 1:
        return False
    mixing.share = (<fr_mix *>op.kernel)(run.memory.keep, &op.image, mixing.share, &key)
    run.mixing = mixing
    return True


cdef void mix_rows(void *job, i64 item, int worker) noexcept nogil:
    """Rows and their partners are two ranges, or four where the partners begin again with row 0."""
    cdef run_t *run = <run_t *>job
    cdef i64 at = item * run.per_item, n = min(run.per_item, run.batch.rows - at)
    cdef i64 partner = (at + run.mixing.shift) % run.batch.rows, first = min(n, run.batch.rows - partner)
    if not skipped(run, worker, ELEMENT * n * run.table.n_inputs):
        mix_range(run, at, partner, first)
        mix_range(run, at + first, 0, n - first)


cdef void mix_range(run_t *run, i64 at, i64 partner, i64 n) noexcept nogil:
    cdef i64 size = run.itemsize, row = run.table.n_inputs * size, target = run.table.n_outputs * size
    cdef const char *x = run.memory.slot[0]
    cdef const char *targets = run.batch.targets
    cdef const char *weights = run.batch.weights
    cdef bint weighted = weights is not NULL
    run.program.blend(run.spare + at * row, x + at * row, x + partner * row, run.memory.keep, n, run.table.n_inputs)
    run.program.blend_targets(run.spare_targets + at * target, run.spare_weights + at * size if weighted else NULL,
                              targets + at * target, targets + partner * target,
                              weights + at * size if weighted else NULL, weights + partner * size if weighted else NULL,
                              n, run.table.n_outputs, run.mixing.share)


cdef void end_mixing(run_t *run) noexcept nogil:
    """The mixed targets and weights become those of the batch."""
    cdef char *targets = <char *>run.batch.targets
    cdef char *weights = <char *>run.batch.weights
    run.batch.targets, run.spare_targets = run.spare_targets, targets
    if weights is not NULL:
        run.batch.weights, run.spare_weights = run.spare_weights, weights


# ---- operations of a layer ------------------------------------------------------------------------------------------


cdef void elements(run_t *run, const op_t *op) noexcept nogil:
    """What an operation does to its rows, each by itself: activation, noise, sum, norm, their gradients."""
    cdef double work = ELEMENT * run.batch.rows * op.n_out
    cdef i64 items = cut(run, work, run.batch.rows)
    run.op = op
    if items == 1:
        elements_of_rows(run, op, 0, run.batch.rows)
    else:
        share(run, element_rows, items, work)


cdef void element_rows(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef i64 at = item * run.per_item, n = min(run.per_item, run.batch.rows - at)
    if not skipped(run, worker, ELEMENT * n * run.op.n_out):
        elements_of_rows(run, run.op, at, n)


cdef void elements_of_rows(run_t *run, const op_t *op, i64 at, i64 n) noexcept nogil:
    cdef double rate = rate_of(run, op)
    cdef i64 offset = at * op.n_out * run.itemsize
    cdef char *x = run.memory.slot[op.x] + offset
    cdef char *y = run.memory.slot[op.y] + offset
    cdef char *dx = run.memory.slot[op.dx] + offset
    cdef char *dy = run.memory.slot[op.dy] + offset
    cdef fr_statistics statistics
    if op.code == DENSE:
        if op.kernel is not NULL:
            (<fr_activation *>op.kernel)(y, y, n, op.n_out, op.alpha)
        if rate > 0:
            noise(run, op, run.program.dropout, y, y, at, n)
    elif op.code == ACTIVATION:
        (<fr_activation *>op.kernel)(y, x, n, op.n_out, op.alpha)
    elif op.code == NOISE:
        noise(run, op, <fr_noise *>op.kernel, y, x, at, n)
    elif op.code == ADD:
        run.program.add(y, x, run.memory.slot[op.skip] + offset, n * op.n_out)
    elif op.code == NORM:
        statistics = statistics_of(run, op)
        (<fr_norm *>op.kernel)(y, x, param(run, op.weight), param(run, op.bias), n, op.n_out, &statistics)
    elif op.code == DENSE_BACKWARD:
        (<fr_gradient *>op.kernel)(dy, dy, y, n, op.n_out, slope_parameter(op, rate))
    elif op.code == ACTIVATION_BACKWARD:
        (<fr_gradient *>op.kernel)(dx, dy, y, n, op.n_out, op.alpha)
    elif op.code == NOISE_BACKWARD:
        noise(run, op, <fr_noise *>op.kernel, dx, dy, at, n)
    elif op.code == NORM_BACKWARD:
        statistics = statistics_of(run, op)
        (<fr_norm_gradient *>op.kernel)(dx, dy, x, param(run, op.weight), slope(run, op.weight), slope(run, op.bias), n,
                                        op.n_out, &statistics)


cdef inline char *param(run_t *run, i64 start) noexcept nogil:
    return run.params + start * run.itemsize


cdef inline char *slope(run_t *run, i64 start) noexcept nogil:
    """Where the gradient of a parameter is; of running statistics, those of the batch."""
    return run.memory.gradient + start * run.itemsize


cdef inline double rate_of(run_t *run, const op_t *op) noexcept nogil:
    return run.scalars[op.rate] if op.rate >= 0 and run.batch.noisy else 0


cdef void noise(run_t *run, const op_t *op, fr_noise *kernel, char *y, char *x, i64 at, i64 n) noexcept nogil:
    """Rows of the batch from `at` on. Without training a row has no others to be mixed with."""
    cdef fr_stream key = fr_stream(run.batch.seed, run.batch.step, <u32>op.layer)
    cdef double rate = rate_of(run, op)
    if rate > 0:
        kernel(y, x, n, op.n_out, run.batch.first_row + at, run.batch.rows if run.batch.training else 1, rate, op.alpha,
               &key)
    elif y != x:
        memcpy(y, x, n * op.n_out * run.itemsize)


cdef fr_statistics statistics_of(run_t *run, const op_t *op) noexcept nogil:
    """What a batch is normalized by: its own statistics in training, the running ones otherwise."""
    cdef double rows = run.batch.rows
    if op.mean < 0:
        return fr_statistics(NULL, NULL, 1, op.alpha, run.batch.rows)
    if not run.batch.training:
        return fr_statistics(param(run, op.mean), param(run, op.variance), 1, op.alpha, run.batch.rows)
    return fr_statistics(slope(run, op.mean), slope(run, op.variance), (rows - 1) / rows if rows > 0 else 1, op.alpha,
                         run.batch.rows)


cdef inline double slope_parameter(const op_t *op, double rate) noexcept nogil:
    """alpha of a gradient kernel: for a ReLU the scale of the dropout fused behind it, else the leak."""
    return fr_dropout_scale(rate) if op.layer >= 0 else op.alpha


cdef void columns(run_t *run, const op_t *op) noexcept nogil:
    """Sums down the columns of the batch: statistics, and the gradients of scale and shift."""
    cdef double work = ELEMENT * run.batch.rows * op.n_out
    run.op = op
    share(run, some_columns, cut(run, work, op.n_out), work)


cdef void some_columns(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * run.per_item, n = min(run.per_item, op.n_out - at), rows = run.batch.rows
    cdef const char *x = run.memory.slot[op.x]
    cdef fr_statistics statistics
    if skipped(run, worker, ELEMENT * rows * n):
        return
    if op.code == NORM_SUMS:
        statistics = statistics_of(run, op)
        (<fr_norm_sums *>op.kernel)(slope(run, op.weight), slope(run, op.bias), run.memory.slot[op.dy], x, rows,
                                    op.n_out, at, n, &statistics)
        return
    (<fr_moments *>op.kernel)(slope(run, op.mean), slope(run, op.variance), x, rows, op.n_out, at, n)
    if rows < 2:  # one row has no variance: the running one stays
        memcpy(slope(run, op.variance + at), param(run, op.variance + at), n * run.itemsize)


cdef void weights(run_t *run, const op_t *op) noexcept nogil:
    """Noise in the weights of a layer, or in their gradient; the same for all rows of the batch."""
    cdef double work = ELEMENT * op.n_in * op.n_out
    run.op = op
    share(run, some_weights, cut(run, work, op.n_in), work)


cdef void some_weights(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * run.per_item, n = min(run.per_item, op.n_in - at), start = op.weight + at * op.n_out
    cdef fr_stream key = fr_stream(run.batch.seed, run.batch.step, <u32>op.layer)
    cdef bint back = op.code == DROP_CONNECT_BACKWARD
    cdef char *y = slope(run, start) if back else run.memory.masked + start * run.itemsize
    if not skipped(run, worker, ELEMENT * n * op.n_out):
        (<fr_noise *>op.kernel)(y, y if back else param(run, start), n, op.n_out, at, op.n_in, rate_of(run, op),
                                op.alpha, &key)


cdef inline char *weight_of(run_t *run, const op_t *op) noexcept nogil:
    """The weights that a product takes."""
    return (run.memory.masked if op.masked and run.batch.noisy else run.params) + op.weight * run.itemsize


cdef void dense(run_t *run, const op_t *op) noexcept nogil:
    """Product and bias; then activation and dropout."""
    cdef double work = 2.0 * run.batch.rows * op.n_in * op.n_out
    cdef i64 items = items_for(run, work)
    run.op = op
    if run.input.starts is not NULL and op.x == 0:
        sparse_dense(run)
    elif items == 1:
        forward_product(run, NULL, 0)
        run.work += work
    else:
        run.product = tiles_of(run.batch.rows, op.n_out, items, False)
        share(run, dense_part, run.product.count, work)
    if op.kernel is not NULL or rate_of(run, op) > 0:
        elements(run, op)


cdef void dense_part(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef fr_part part = part_of(&run.product, item)
    if not skipped(run, worker, 2.0 * part.rows * part.columns * run.op.n_in):
        forward_product(run, &part, worker)


cdef void dense_backward(run_t *run, const op_t *op) noexcept nogil:
    """The gradient through the activation; then those of weight, input where there is a layer below, and bias."""
    cdef double work = 2.0 * run.batch.rows * op.n_in * op.n_out
    cdef i64 items = items_for(run, work)
    if op.kernel is not NULL:
        elements(run, op)
    run.op = op
    if run.input.starts is not NULL and op.x == 0:
        sparse_weight_gradient(run)
        bias_gradient(run)
    elif items == 1:
        weight_gradient(run, NULL, 0)
        if op.has_dx:
            input_gradient(run, NULL, 0)
        bias_gradient(run)
        run.work += 2 * work
    else:
        run.gradient = tiles_of(op.n_in, op.n_out, items, True)
        run.product = tiles_of(run.batch.rows, op.n_in, items if op.has_dx else 0, False)
        share(run, dense_backward_part, run.gradient.count + run.product.count + 1, work)


cdef void dense_backward_part(void *job, i64 item, int worker) noexcept nogil:
    """Items: the parts of the weight gradient, those of the input gradient, and the whole bias gradient."""
    cdef run_t *run = <run_t *>job
    cdef fr_part part
    if item < run.gradient.count:
        part = part_of(&run.gradient, item)
        if not skipped(run, worker, 2.0 * part.rows * part.columns * run.batch.rows):
            weight_gradient(run, &part, worker)
    elif item < run.gradient.count + run.product.count:
        part = part_of(&run.product, item - run.gradient.count)
        if not skipped(run, worker, 2.0 * part.rows * part.columns * run.op.n_out):
            input_gradient(run, &part, worker)
    elif not skipped(run, worker, ELEMENT * run.batch.rows * run.op.n_out):
        bias_gradient(run)


cdef void forward_product(run_t *run, const fr_part *part, int worker) noexcept nogil:
    cdef const op_t *op = run.op
    cdef const char *bias = run.params + op.bias * run.itemsize if op.bias >= 0 else NULL
    run.program.product_nn(run.memory.slot[op.y], run.memory.slot[op.x], weight_of(run, op), bias, run.batch.rows,
                           op.n_out, op.n_in, 0, part, scratch_of(run, worker))


cdef void weight_gradient(run_t *run, const fr_part *part, int worker) noexcept nogil:
    cdef const op_t *op = run.op
    run.program.product_tn(run.memory.gradient + op.weight * run.itemsize, run.memory.slot[op.x],
                           run.memory.slot[op.dy], NULL, op.n_in, op.n_out, run.batch.rows, 0, part,
                           scratch_of(run, worker))


cdef void input_gradient(run_t *run, const fr_part *part, int worker) noexcept nogil:
    cdef const op_t *op = run.op
    run.program.product_nt(run.memory.slot[op.dx], run.memory.slot[op.dy], weight_of(run, op), NULL, run.batch.rows,
                           op.n_in, op.n_out, <int>op.accumulate, part, scratch_of(run, worker))


cdef void bias_gradient(run_t *run) noexcept nogil:
    cdef const op_t *op = run.op
    if op.bias >= 0:
        run.program.column_sum(run.memory.gradient + op.bias * run.itemsize, run.memory.slot[op.dy], run.batch.rows,
                               op.n_out)


# ---- the first layer on sparse data: products in proportion to the non-zero numbers ---------------------------------


cdef double sparse_work(run_t *run) noexcept nogil:
    """Operations of a product with the batch, about: two for each of its numbers and each unit."""
    cdef i64 i, r, numbers = 0
    for i in range(run.batch.rows):
        r = run.input.rows[i] if run.input.rows is not NULL else i
        numbers += run.input.starts[r + 1] - run.input.starts[r]
    return SPARSE * numbers * run.op.n_out


cdef void sparse_dense(run_t *run) noexcept nogil:
    cdef double work = sparse_work(run)
    share(run, sparse_rows, cut(run, work, run.batch.rows), work)


cdef void sparse_rows(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * run.per_item, n = min(run.per_item, run.batch.rows - at), size = run.itemsize
    cdef const i64 *starts = run.input.starts if run.input.rows is not NULL else run.input.starts + at
    cdef const i64 *rows = run.input.rows + at if run.input.rows is not NULL else NULL
    cdef const char *bias = run.params + op.bias * size if op.bias >= 0 else NULL
    if not skipped(run, worker, GATHER * n * op.n_out):
        run.program.csr_product(run.memory.slot[op.y] + at * op.n_out * size, run.input.values, run.input.columns,
                                starts, rows, weight_of(run, op), bias, n, op.n_out)


cdef void sparse_weight_gradient(run_t *run) noexcept nogil:
    cdef double work = sparse_work(run)
    if run.interrupted:
        return
    run.program.csr_transpose(run.memory.value_t, run.memory.row_t, run.memory.start_t, run.input.values,
                              run.input.columns, run.input.starts, run.input.rows, run.batch.rows, run.op.n_in)
    share(run, sparse_columns, cut(run, work + run.op.n_in * run.op.n_out, run.op.n_in), work)


cdef void sparse_columns(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * run.per_item, n = min(run.per_item, op.n_in - at)
    if not skipped(run, worker, GATHER * n * op.n_out):
        run.program.csr_product(run.memory.gradient + (op.weight + at * op.n_out) * run.itemsize, run.memory.value_t,
                                run.memory.row_t, run.memory.start_t + at, NULL, run.memory.slot[op.dy], NULL, n,
                                op.n_out)


# ---- segments -------------------------------------------------------------------------------------------------------


cdef void segment(run_t *run, const segment_t *ops) noexcept nogil:
    """All operations of the forward or the backward segment."""
    cdef int i
    cdef const op_t *op
    for i in range(ops.n):
        op = &ops.ops[i]
        if run.interrupted:
            return
        if op.code == DENSE:
            dense(run, op)
        elif op.code == DENSE_BACKWARD:
            dense_backward(run, op)
        elif op.code == NOISE and not run.batch.noisy:
            run.memory.slot[op.y] = run.memory.slot[op.x]
        elif op.code == DROP_CONNECT or op.code == DROP_CONNECT_BACKWARD:
            if run.batch.noisy:
                weights(run, op)
        elif op.code == MOMENTS or op.code == NORM_SUMS:
            if run.batch.training:
                columns(run, op)
        else:
            elements(run, op)


cdef double forward_and_loss(run_t *run) noexcept nogil:
    """The batch's sum of w_i l_i; its gradient stands in the loss's dy."""
    cdef const op_t *op = run.program.loss.ops
    cdef i64 chunks = (run.batch.rows + FR_ROW_CHUNK - 1) // FR_ROW_CHUNK, i
    cdef double total = 0
    segment(run, &run.program.forward)
    if run.program.own_loss is not NULL:
        return own_loss(run, run.memory.slot[op.dy], run.memory.slot[op.y], run.batch.targets, run.batch.weights,
                        run.batch.rows, run.batch.scale)
    run.op = op
    share(run, loss_rows, chunks, UNIT * run.batch.rows * op.n_out)
    for i in range(chunks):
        total += run.memory.partial[i]
    return total


cdef void loss_rows(void *job, i64 item, int worker) noexcept nogil:
    cdef run_t *run = <run_t *>job
    cdef const op_t *op = run.op
    cdef i64 at = item * FR_ROW_CHUNK, n = min(FR_ROW_CHUNK, run.batch.rows - at), size = run.itemsize
    cdef i64 offset = at * op.n_out * size
    cdef const char *targets = run.batch.targets + at * target_bytes(run.table, size)
    cdef const char *weights = run.batch.weights + at * size if run.batch.weights is not NULL else NULL
    if skipped(run, worker, UNIT * n * op.n_out):
        return
    run.memory.partial[item] = (<fr_loss *>op.kernel)(run.memory.slot[op.dy] + offset, run.memory.slot[op.y] + offset,
                                                      targets, weights, n, op.n_out, run.batch.scale, op.alpha,
                                                      numbers_of(run, op))


cdef inline const double *numbers_of(run_t *run, const op_t *op) noexcept nogil:
    """A loss's own numbers: how targets are smoothed, levels of quantiles."""
    return run.scalars + op.strength if op.strength >= 0 else NULL


cdef double own_loss(run_t *run, char *dz, const char *z, const char *targets, const char *weights, i64 rows,
                     double scale) noexcept nogil:
    """The same of a user's function. What it raises stays pending, like what a signal's handler raises."""
    cdef double value = 0
    if not run.interrupted:
        run.interrupted = call_own_loss(run, dz, z, targets, weights, rows, scale, &value) != 0
    return value


cdef int call_own_loss(run_t *run, char *dz, const char *z, const char *targets, const char *weights, i64 rows,
                       double scale, double *value) noexcept with gil:
    cdef i64 bytes_of_row = run.program.loss.ops.n_out * run.itemsize
    cdef PyObject *result = PyObject_CallFunction(
        run.program.own_loss, "NNNNd", view_of(dz, rows * bytes_of_row, PyBUF_WRITE),
        view_of(<char *>z, rows * bytes_of_row, PyBUF_READ),
        view_of(<char *>targets, rows * target_bytes(run.table, run.itemsize), PyBUF_READ),
        view_of(<char *>weights, rows * run.itemsize, PyBUF_READ), scale)
    if result is NULL:
        return -1
    value[0] = PyFloat_AsDouble(result)
    Py_DecRef(result)
    return 0


cdef PyObject *view_of(char *start, i64 size, int flags) noexcept:
    """A new reference to a memoryview, of nothing to None; NULL, with an error pending, where there is no memory."""
    if start is NULL:
        Py_IncRef(<PyObject *>None)
        return <PyObject *>None
    return PyMemoryView_FromMemory(start, size, flags)


cdef void backward(run_t *run) noexcept nogil:
    segment(run, &run.program.backward)


cdef void infer(run_t *run, const table_t *table, i64 at, char *out, i64 rows) noexcept nogil:
    """The forward segment of the rows from `at` on, where they are; out NULL: to the workspace."""
    run.batch.rows, run.batch.first_row, run.batch.training, run.table = rows, at, False, table
    if table.starts is NULL and run.batch.noisy:  # in place, maybe
        memcpy(run.memory.slot[0], table.x + at * table.n_inputs * run.itemsize, rows * table.n_inputs * run.itemsize)
    elif table.starts is NULL:
        run.memory.slot[0] = <char *>table.x + at * table.n_inputs * run.itemsize
    else:
        run.input = sparse_t(table.x, table.columns, table.starts + at, NULL)
    if out is not NULL:
        run.memory.slot[run.program.output] = out
    segment(run, &run.program.forward)


# ---- the update -----------------------------------------------------------------------------------------------------


cdef double update(run_t *run, double rate, double *memory, bint move) noexcept nogil:
    """Penalties, move and proximal steps of all parameters; returns the penalty before the move. memory: [t, c]."""
    cdef const program_t *program = run.program
    cdef double total = 0
    run.settings, run.move = program.settings, move
    run.settings.learning_rate = rate
    if move:
        memory[0] += 1
        memory[1] = run.settings.momentum * memory[1] + rate
    run.step_size = run.settings.momentum * memory[1] + rate if run.settings.nesterov else memory[1]
    if program.element_steps:
        run.settings.correction1 = 1 - fr_power(run.settings.beta1, <i64>memory[0])
        run.settings.correction2 = 1 - fr_power(run.settings.beta2, <i64>memory[0])
        if program.epsilon_hat:
            run.settings.epsilon /= sqrt(run.settings.correction2)
    run.age = 10 / (memory[0] + 9)
    if program.measure.n:
        total = through_parameters(run, &program.measure)
        run.clip = clip_factor(run) if move else 1
    return total + through_parameters(run, &program.update)


cdef double clip_factor(run_t *run) noexcept nogil:
    """What makes the gradient's norm the largest that is allowed; 1 where it is none larger, or NaN."""
    cdef const segment_t *measure = &run.program.measure
    cdef double *squares = run.memory.partial + measure.chunks
    cdef double largest = run.scalars[measure.ops[measure.n - 1].strength], total = 0
    cdef i64 i
    for i in range(measure.chunks):
        total += squares[i]
    return largest / sqrt(total) if sqrt(total) > largest else 1


cdef double through_parameters(run_t *run, const segment_t *ranges) noexcept nogil:
    """All operations of a segment on all its ranges; returns the penalties that are among them."""
    cdef double work = PARAMETER * run.n_params, total = 0
    cdef i64 i
    run.ranges = ranges
    run.work += work  # no look at signals in here: an update is made as a whole
    share(run, update_chunks, cut(run, work, ranges.chunks), work)
    for i in range(ranges.chunks):
        total += run.memory.partial[i]
    return total


cdef void update_chunks(void *job, i64 item, int worker) noexcept nogil:
    """Chunks are numbered through all ranges: find each range's first, and do those that are in this item."""
    cdef run_t *run = <run_t *>job
    cdef const segment_t *ops = run.ranges
    cdef i64 chunk = item * run.per_item, end = min(chunk + run.per_item, ops.chunks), of_range = 0, chunks
    cdef int first = 0, last
    while first < ops.n and chunk < end:
        last = first
        while last < ops.n and ops.ops[last].start == ops.ops[first].start:
            last += 1
        chunks = (ops.ops[first].stop - ops.ops[first].start + FR_CHUNK - 1) // FR_CHUNK
        while chunk < min(end, of_range + chunks):
            update_chunk(run, first, last, chunk, (chunk - of_range) * FR_CHUNK, worker)
            chunk += 1
        of_range += chunks
        first = last


cdef void update_chunk(run_t *run, int first, int last, i64 chunk, i64 offset, int worker) noexcept nogil:
    """The operations first .. last on one chunk of their range; the penalties are put down by the chunk's number."""
    cdef const op_t *op = &run.ranges.ops[first]
    cdef i64 size = run.itemsize, at = op.start + offset, n = min(FR_CHUNK, op.stop - at)
    cdef char *weight = run.params + at * size
    cdef char *gradient = run.memory.gradient + at * size
    cdef char *m = run.buffers + at * size if run.n_buffers > 0 else NULL
    cdef char *v = run.buffers + (run.n_params + at) * size if run.n_buffers > 1 else NULL
    cdef char *steps = NULL
    cdef fr_step settings = run.settings
    cdef double total = 0
    cdef int i
    for i in range(first, last):
        op = &run.ranges.ops[i]
        if op.code == PENALTY and op.within and run.move:
            if op.within == 1:
                settings.l1 = strength_of(run, op)
            else:
                settings.l2 = strength_of(run, op)
        elif op.code == PENALTY:
            total += (<fr_penalty *>op.kernel)(gradient if run.move and op.alpha else NULL, weight, n,
                                               strength_of(run, op))
        elif run.move and op.code == UPDATE:
            if op.rate >= 0:
                settings.learning_rate = run.scalars[op.rate]
            settings.decay = run.scalars[op.decay] * (1 if op.alpha else settings.learning_rate) if op.decay >= 0 else 0
            settings.floor = strength_of(run, op) if op.strength >= 0 else 0
            if run.program.element_steps and i + 1 < last and run.ranges.ops[i + 1].code == PROX:
                steps = scratch_of(run, worker)
            total += (<fr_update *>op.kernel)(weight, gradient, m, v, steps, n, &settings)
        elif run.move and op.code == PROX:
            (<fr_prox *>op.kernel)(weight, steps, n, run.step_size, strength_of(run, op))
        elif run.move and op.code == SQUARES:
            run.memory.partial[run.ranges.chunks + chunk] = (<fr_squares *>op.kernel)(gradient, n)
        elif run.move and op.code == CLIP and (op.strength >= 0 or run.clip != 1):
            (<fr_clip *>op.kernel)(gradient, n, run.scalars[op.strength] if op.strength >= 0 else run.clip)
        elif run.move and op.code == AVERAGE:
            settings.learning_rate = max(run.scalars[op.strength], run.age)
            (<fr_update *>op.kernel)(run.averages + at * size, weight, NULL, NULL, NULL, n, &settings)
    run.memory.partial[chunk] = total


cdef inline double strength_of(run_t *run, const op_t *op) noexcept nogil:
    """The strength of a penalty in this step."""
    return run.scalars[op.strength] * (run.batch.scale if run.program.penalty_per_batch else 1)


cdef double mass_of(const char *weights, i64 n, i64 itemsize) noexcept nogil:
    """Sum of n row weights in float64; n where there are none."""
    cdef double total = 0
    cdef i64 i
    if weights is NULL:
        return n
    for i in range(n):
        total += (<const double *>weights)[i] if itemsize == 8 else (<const float *>weights)[i]
    return total
