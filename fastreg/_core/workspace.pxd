from fastreg._core.table cimport i64


ctypedef struct memory_t:
    char **slot
    char *gradient
    char *targets
    char *weights
    double *partial  # sums of chunks: of the update, and of the rows of a batch
    char *scratch    # of the first thread; each has so many bytes
    i64 scratch_bytes


cdef class Workspace:
    cdef char *block
    cdef memory_t c
    cdef i64 rows
    cdef int threads
