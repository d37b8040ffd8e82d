from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "fastreg.h" nogil:
    ctypedef int64_t i64
    ctypedef uint64_t u64
    ctypedef uint32_t u32

    ctypedef struct fr_stream:
        u64 seed
        u64 step
        u32 stream

    ctypedef struct fr_statistics:
        const void *mean
        const void *variance
        double correction, epsilon
        i64 rows
    ctypedef struct fr_image:
        i64 height, width, channels

    ctypedef struct fr_step:
        double learning_rate, momentum, nesterov, beta1, beta2, epsilon
        double correction1, correction2, decay, floor, l1, l2

    ctypedef struct fr_part:
        i64 row, rows, column, columns

    ctypedef void fr_product(void *c, const void *a, const void *b, const void *bias, i64 m, i64 n, i64 k,
                             int accumulate, const fr_part *part, void *scratch) noexcept nogil
    ctypedef void fr_sparse_product(void *c, const void *value, const int32_t *column, const i64 *start,
                                    const i64 *rows, const void *b, const void *bias, i64 m, i64 n) noexcept nogil
    ctypedef void fr_sparse_transpose(void *value_t, int32_t *row_t, i64 *start_t, const void *value,
                                      const int32_t *column, const i64 *start, const i64 *rows, i64 m,
                                      i64 n) noexcept nogil
    ctypedef void fr_reduction(void *out, const void *x, i64 rows, i64 cols) noexcept nogil
    ctypedef void fr_activation(void *y, const void *x, i64 rows, i64 cols, double alpha) noexcept nogil
    ctypedef void fr_gradient(void *dx, const void *dy, const void *y, i64 rows, i64 cols,
                              double alpha) noexcept nogil
    ctypedef double fr_loss(void *dz, const void *z, const void *target, const void *weight, i64 rows, i64 cols,
                            double scale, double alpha, const double *numbers) noexcept nogil
    ctypedef double fr_penalty(void *g, const void *w, i64 n, double strength) noexcept nogil
    ctypedef void fr_prox(void *w, const void *step, i64 n, double same, double strength) noexcept nogil
    ctypedef double fr_update(void *w, const void *g, void *m, void *v, void *step, i64 n,
                              const fr_step *s) noexcept nogil
    ctypedef double fr_squares(const void *x, i64 n) noexcept nogil
    ctypedef void fr_clip(void *x, i64 n, double number) noexcept nogil
    ctypedef void fr_noise(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                           double value, const fr_stream *key) noexcept nogil
    ctypedef void fr_sum(void *y, const void *a, const void *b, i64 n) noexcept nogil
    ctypedef void fr_moments(void *mean, void *variance, const void *x, i64 rows, i64 cols, i64 column,
                             i64 columns) noexcept nogil
    ctypedef void fr_norm(void *y, const void *x, const void *scale, const void *shift, i64 rows, i64 cols,
                          const fr_statistics *s) noexcept nogil
    ctypedef void fr_norm_sums(void *dscale, void *dshift, const void *dy, const void *x, i64 rows, i64 cols,
                               i64 column, i64 columns, const fr_statistics *s) noexcept nogil
    ctypedef void fr_norm_gradient(void *dx, const void *dy, const void *x, const void *scale, const void *dscale,
                                   const void *dshift, i64 rows, i64 cols, const fr_statistics *s) noexcept nogil
    ctypedef void fr_gather(void *out, const void *x, const i64 *rows, i64 n, i64 cols) noexcept nogil
    ctypedef void fr_augment(void *y, const void *x, const i64 *rows, i64 n, const fr_image *shape,
                             const double *numbers, const fr_stream *key) noexcept nogil
    ctypedef double fr_mix(void *keep, const fr_image *shape, double share, const fr_stream *key) noexcept nogil
    ctypedef void fr_blend(void *y, const void *x, const void *partner, const void *keep, i64 rows,
                           i64 cols) noexcept nogil
    ctypedef void fr_blend_targets(void *target, void *weight, const void *target1, const void *target2,
                                   const void *weight1, const void *weight2, i64 rows, i64 cols,
                                   double share) noexcept nogil
    ctypedef void fr_random(u32 *words, i64 blocks, i64 first_block, const fr_stream *key) noexcept nogil

    ctypedef void (*fr_kernel)() noexcept nogil

    ctypedef struct fr_table:
        const char *level
        fr_kernel *kernel

    enum:
        FR_KERNELS
        FR_CHUNK
        FR_ROW_CHUNK
        FR_FEW_ROWS
        FR_SIDE
        FR_PANEL
        FR_STRIP
    i64 FR_PANEL_SCRATCH(i64 k)
    i64 FR_WEIGHT_SCRATCH(i64 rows, i64 inputs)

    const char **fr_kernel_names
    const char **fr_family_names
    const fr_table *fr_table_for(int float64, const char *level)
    const char *fr_level(int i, int *runs)
    double fr_rounded(double x)
    double fr_dropout_scale(double rate)
    double fr_power(double x, i64 n)

cdef extern from "fpmode.h" nogil:
    u64 fr_enter()
    void fr_leave(u64 mode)

cdef extern from "pool.h" nogil:
    ctypedef void fr_task(void *job, i64 item, int worker) noexcept nogil

    int fr_pool_claim(int threads)
    void fr_pool_release()
    void fr_pool_share(fr_task *task, void *job, i64 items, int threads)
    double fr_seconds()

# The pool of this process, see pool.h: its code is linked into this module alone.
cdef int claim_threads(int threads) noexcept nogil
cdef void release_threads() noexcept nogil
cdef void share_items(fr_task *task, void *job, i64 items, int threads) noexcept nogil
cdef double seconds() noexcept nogil  # of a clock that only goes forward

# A kernel by family and name, of the dtype (0: float32, 1: float64) and the level chosen at import.
cdef fr_kernel kernel_named(str family, str name, bint float64) except NULL
