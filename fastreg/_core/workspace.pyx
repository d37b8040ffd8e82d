"""The memory of a run: taken in one piece before the GIL is released, so that nothing can fail after that."""

cimport cython
from libc.stdint cimport int32_t
from libc.stdlib cimport calloc, free

from fastreg._core.table cimport i64

cdef i64 ALIGNMENT = 64  # bytes


cdef inline i64 aligned(i64 size) noexcept nogil:
    return (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


@cython.final
cdef class Workspace:
    """One block of memory: the slots for `rows` rows, for training the batch and the gradient, and threads' scratch.

    scratch: numbers for each thread. partials: float64 sums of chunks. nonzeros, columns: of a transposed sparse batch.
    spare: columns of a second input, where the batch is augmented. mixes: whether it is mixed too.
    """

    def __cinit__(self, tuple widths, i64 rows, i64 itemsize, i64 n_params, i64 n_outputs, i64 partials, i64 scratch,
                  int threads, i64 nonzeros=0, i64 columns=0, i64 n_masked=0, i64 spare=0, bint mixes=False):
        cdef i64 n = len(widths)
        cdef list sizes = [aligned(rows * width * itemsize) for width in widths]
        self.c.scratch_bytes = aligned(scratch * itemsize)
        sizes += [aligned(n_params * itemsize), aligned(rows * n_outputs * max(itemsize, 4)), aligned(rows * itemsize),
                  aligned(partials * sizeof(double)), self.c.scratch_bytes * threads,
                  aligned(nonzeros * itemsize), aligned(nonzeros * 4), aligned((columns + 1) * 8 if columns else 0),
                  aligned(n_masked * itemsize), aligned(rows * spare * itemsize), aligned(spare * itemsize),
                  aligned(rows * n_outputs * itemsize * mixes), aligned(rows * itemsize * mixes)]
        self.rows, self.threads, self.nonzeros, self.sparse = rows, threads, nonzeros, columns > 0
        self.block = <char *>calloc(sum(sizes) + ALIGNMENT, 1)
        self.c.slot = <char **>calloc(n, sizeof(char *))
        if self.block is NULL or self.c.slot is NULL:
            raise MemoryError(f"the workspace for batches of {rows} rows needs {sum(sizes) / 2**20:.0f} MiB")
        cdef char *next_free = <char *>aligned(<i64>self.block)
        cdef list starts = []
        for size in sizes:
            starts.append(<size_t>next_free)
            next_free += <i64>size
        for i in range(n):
            self.c.slot[i] = <char *><size_t>starts[i]
        self.c.gradient, self.c.targets = <char *><size_t>starts[n], <char *><size_t>starts[n + 1]
        self.c.weights, self.c.partial = <char *><size_t>starts[n + 2], <double *><size_t>starts[n + 3]
        self.c.scratch = <char *><size_t>starts[n + 4]
        self.c.value_t, self.c.row_t = <char *><size_t>starts[n + 5], <int32_t *><size_t>starts[n + 6]
        self.c.start_t, self.c.masked = <i64 *><size_t>starts[n + 7], <char *><size_t>starts[n + 8]
        self.c.input = self.c.slot[0]
        self.c.spare, self.c.keep = <char *><size_t>starts[n + 9], <char *><size_t>starts[n + 10]
        self.c.spare_targets, self.c.spare_weights = <char *><size_t>starts[n + 11], <char *><size_t>starts[n + 12]

    def __dealloc__(self):
        free(self.block)
        free(self.c.slot)
