from fastreg._core.table cimport fr_stream, i64


ctypedef struct mixing_t:
    double share  # that each row keeps; 1: the batch is not mixed
    i64 shift     # row i is mixed with row i + shift, modulo their number

cdef mixing_t draw_mixing(double alpha, double probability, i64 rows, const fr_stream *key) noexcept nogil
