from libc.stdint cimport int32_t

from fastreg._core.table cimport i64


ctypedef struct memory_t:
    char **slot
    char *input      # the memory of slot 0, and a second one that the batch's operations write in turn
    char *spare
    char *keep       # what mixing writes: shares of columns, and other targets and weights
    char *spare_targets
    char *spare_weights
    char *gradient
    char *masked     # parameters, of which some weights are dropped in this step
    char *targets
    char *weights
    double *partial  # sums of chunks: of the update, and of the rows of a batch
    char *scratch    # of the first thread; each has so many bytes
    i64 scratch_bytes
    char *value_t    # of a sparse batch, column by column: numbers, their rows, where each column begins
    int32_t *row_t
    i64 *start_t


cdef class Workspace:
    cdef char *block
    cdef memory_t c
    cdef i64 rows, nonzeros
    cdef int threads
    cdef bint sparse
