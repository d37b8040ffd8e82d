from cpython.object cimport PyObject

from fastreg._core.table cimport (
    fr_blend, fr_blend_targets, fr_gather, fr_image, fr_kernel, fr_noise, fr_product, fr_reduction, fr_sparse_product,
    fr_sparse_transpose, fr_step, fr_sum, i64,
)

cdef enum:
    AUGMENT
    MIX
    DENSE
    ACTIVATION
    NOISE
    ADD
    DROP_CONNECT
    MOMENTS
    NORM
    LOSS
    DENSE_BACKWARD
    ACTIVATION_BACKWARD
    NOISE_BACKWARD
    DROP_CONNECT_BACKWARD
    NORM_SUMS
    NORM_BACKWARD
    PENALTY
    UPDATE
    PROX
    SQUARES
    CLIP
    AVERAGE


ctypedef struct op_t:
    int code
    fr_kernel kernel  # NULL: none (identity)
    i64 x, y, dx, dy, skip  # slots; 0 where there is none
    i64 weight, bias, mean, variance, n_in, n_out, start, stop, layer, rate, strength, decay, accumulate, masked
    fr_image image
    bint has_dx
    int within  # of a penalty that the update of its range takes with it: 1 as an L1, 2 as an L2
    double alpha


ctypedef struct segment_t:
    op_t *ops
    int n
    i64 chunks  # of FR_CHUNK parameters that all its ranges have


ctypedef struct program_t:
    segment_t batch, forward, loss, backward, measure, update
    fr_product *product_nn
    fr_product *product_nt
    fr_product *product_tn
    fr_sparse_product *csr_product
    fr_sparse_transpose *csr_transpose
    fr_reduction *column_sum
    fr_gather *gather
    fr_gather *gather_labels
    fr_gather *gather_one_hot
    fr_blend *blend
    fr_blend_targets *blend_targets
    fr_noise *dropout
    fr_sum *add
    fr_step settings
    bint element_steps  # the optimizer's effective step size differs by element
    bint epsilon_hat    # Adam's epsilon is added before the bias correction
    bint mixes  # rows of a batch with each other
    bint penalty_per_batch  # strengths are divided by the batch's sum of weights
    i64 output  # the slot of the raw outputs
    PyObject *own_loss  # of a user, called with the GIL where the loss has no kernel; else NULL


cdef class Program:
    cdef op_t *ops
    cdef program_t c
    cdef object own_loss  # which the struct only borrows
