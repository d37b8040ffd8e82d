from libc.stdint cimport int32_t

from fastreg._core.mixing cimport mixing_t
from fastreg._core.program cimport op_t, program_t, segment_t
from fastreg._core.table cimport fr_step, i64, u64
from fastreg._core.workspace cimport memory_t


ctypedef struct batch_t:
    i64 rows
    const char *targets  # int32 labels (rows,) or reals (rows, n_outputs)
    const char *weights  # reals (rows,) or NULL
    double scale         # of the gradient: 1 / sum of weights
    bint training        # by the batch's own statistics
    bint noisy
    u64 seed, step       # keys of the random numbers
    i64 first_row        # where in the table the batch begins, as far as random numbers go
    u64 epoch            # the one of augmentations


ctypedef struct table_t:  # the rows that batches are taken from
    const char *x
    const char *targets
    const char *weights  # or NULL
    bint one_hot         # the targets are labels, of which a batch makes a matrix
    const int32_t *columns  # of a sparse x, else NULL
    const i64 *starts
    i64 n_inputs, n_outputs
    bint labels  # what the loss takes


ctypedef struct sparse_t:  # where the numbers of a sparse input are; row i of the batch is rows[i], or i
    const char *values
    const int32_t *columns
    const i64 *starts  # NULL: the input is dense
    const i64 *rows


ctypedef struct tiles_t:  # a product's output in parts, row by row of parts
    i64 m, n, rows, columns, across, count


ctypedef struct run_t:
    const program_t *program
    memory_t memory
    const double *scalars
    char *params
    char *buffers  # the optimizer's state, one array of n_params after the other
    int n_buffers
    char *averages  # of the parameters
    i64 n_params, itemsize
    int threads
    batch_t batch
    sparse_t input
    bint watches      # for signals: the interpreter's main thread, which alone handles them
    double work       # its floating-point operations since it last looked at the clock, about
    double looked     # when it last looked at signals
    bint interrupted  # a signal handler has raised: what is left of the section is skipped
    # The section of work in progress, for the threads that share it
    const op_t *op
    const table_t *table
    const i64 *rows
    char *spare  # for the batch's next operation
    char *spare_targets
    char *spare_weights
    mixing_t mixing
    i64 per_item  # rows or chunks
    tiles_t product, gradient
    const segment_t *ranges  # the segment that goes through the parameters
    fr_step settings  # of this update
    double step_size
    double clip  # what the gradient is multiplied by
    double age  # of the averages: 10 / (t + 9), the share of the new weights while they are young
    bint move


# Threads that a run of steps of so many rows may have: 1 unless some section of a step is worth sharing.
cdef int useful_threads(const program_t *program, i64 rows, i64 n_params, int threads) noexcept nogil

cdef void load(run_t *run, const table_t *table, const i64 *rows, i64 n) noexcept nogil
cdef double forward_and_loss(run_t *run) noexcept nogil
cdef double own_loss(run_t *run, char *dz, const char *z, const char *targets, const char *weights, i64 rows,
                     double scale) noexcept nogil
cdef void backward(run_t *run) noexcept nogil
cdef double update(run_t *run, double rate, double *memory, bint move) noexcept nogil
cdef void infer(run_t *run, const table_t *table, i64 at, char *out, i64 rows) noexcept nogil
cdef double mass_of(const char *weights, i64 n, i64 itemsize) noexcept nogil
cdef i64 target_bytes(const table_t *table, i64 itemsize) noexcept nogil  # of one row
cdef void look_at_signals(run_t *run, double work) noexcept nogil
