from fastreg._core.table cimport fr_gather, fr_kernel, fr_noise, fr_product, fr_reduction, fr_step, i64

cdef enum:
    DENSE
    ACTIVATION
    DROPOUT
    LOSS
    DENSE_BACKWARD
    ACTIVATION_BACKWARD
    DROPOUT_BACKWARD
    PENALTY
    UPDATE
    PROX


ctypedef struct op_t:
    int code
    fr_kernel kernel  # NULL: none (identity)
    i64 x, y, dx, dy  # slots; 0 where there is none
    i64 weight, bias, n_in, n_out, start, stop, layer, rate, strength, decay, accumulate
    bint has_dx
    double alpha
    double work  # floating-point operations for one row, about


ctypedef struct segment_t:
    op_t *ops
    int n


cdef class Program:
    cdef op_t *ops
    cdef segment_t forward, loss, backward, update
    cdef fr_product *product_nn
    cdef fr_product *product_nt
    cdef fr_product *product_tn
    cdef fr_reduction *column_sum
    cdef fr_gather *gather
    cdef fr_gather *gather_labels
    cdef fr_noise *dropout
    cdef fr_step settings
    cdef bint element_steps  # the optimizer's effective step size differs by element
