/* fastreg.h: what the kernels are, and the table through which everybody calls them.
 *
 * Kernels come in families; the members of a family have one signature and are interchangeable. Each is written
 * once and compiled for every instruction level and for float32 and float64 (`void *` below is an array of the
 * table's dtype). kernel_list.h is the only list of them. Matrices are row-major and unpadded, sizes are in
 * elements, outputs come first. Kernels never allocate, never fail and keep no state.
 */
#ifndef FASTREG_H
#define FASTREG_H

#include <stddef.h>
#include <stdint.h>

typedef int64_t i64;
typedef uint64_t u64;
typedef uint32_t u32;

/* Sums run over blocks of so many k (products) or rows (bias gradients), each from +0, then block by block. */
#define FR_BLOCK 256
/* Penalties and losses are summed in chunks of so many elements and rows; chunks are added in float64. */
#define FR_CHUNK 4096
#define FR_ROW_CHUNK 256
/* A weight gradient of more rows is summed block by block, and of more inputs computed so many at a time: which bounds
 * its scratch. */
#define FR_STRETCH 1024
#define FR_SIDE 192
/* Columns of a packed panel, at most, and of a packed strip of a transposed operand: parts of a product are whole ones. */
#define FR_PANEL 64
#define FR_STRIP 48
/* Elements of scratch: of a forward product or an input gradient with inner length k (a panel of 64 columns), and of a
 * weight gradient of so many rows and inputs (a panel, and a copy of the input in strips of 48 columns). */
#define FR_PANEL_SCRATCH(k) (FR_PANEL * (i64)(k))
#define FR_WEIGHT_SCRATCH(rows, inputs)                                                                                \
    (((i64)(rows) < FR_STRETCH ? (i64)(rows) : FR_STRETCH) *                                                           \
     (FR_PANEL + FR_STRIP + ((i64)(inputs) < FR_SIDE ? (i64)(inputs) : FR_SIDE)))
/* Forward products of at most so many rows need none. */
#define FR_FEW_ROWS 16

/* The keys of counter-based random numbers: Philox4x32-10 with counter (block, stream, step). */
typedef struct {
    u64 seed;   /* key */
    u64 step;   /* 64-bit step of the training */
    u32 stream; /* purpose << 16 | layer */
} fr_stream;

/* A row of a table as an image: height * width pixels of so many channels, channel by channel. */
typedef struct {
    i64 height, width, channels;
} fr_image;

/* What a batch is normalized by. */
typedef struct {
    const void *mean, *variance; /* of the columns; not used where each row has its own */
    double correction;           /* times variance: (rows - 1) / rows where it is that of these rows, else 1 */
    double epsilon;              /* added to the variance */
    i64 rows;                    /* of the batch */
} fr_statistics;

/* One step of an optimizer, in numbers. */
typedef struct {
    double learning_rate;            /* of this step */
    double momentum;                 /* SGD */
    double nesterov;                 /* SGD: 1 or 0 */
    double beta1, beta2, epsilon;    /* Adam */
    double correction1, correction2; /* Adam: 1 - beta^t */
    double decay;                    /* w <- (w + move) - decay * w */
    double floor;                    /* Adam: smallest denominator, the strength of a proximal L1 */
    double l1, l2;                   /* penalties whose slopes are added to the gradient on the way */
} fr_step;

/* The rows and columns of a product that a call computes. */
typedef struct {
    i64 row, rows, column, columns;
} fr_part;

/* c (m, n) = a b + bias (n,) or, with accumulate, c + a b + bias; the name says which is transposed. part NULL: all. */
typedef void fr_product(void *c, const void *a, const void *b, const void *bias, i64 m, i64 n, i64 k, int accumulate,
                        const fr_part *part, void *scratch);
/* c (m, n) = a b + bias (n,), a sparse: its row i is the row r = rows[i] (rows NULL: i) with the numbers value[k] in the
 * columns column[k], rising, k from start[r] to start[r + 1]. The sums are those of fr_product. */
typedef void fr_sparse_product(void *c, const void *value, const int32_t *column, const i64 *start, const i64 *rows,
                               const void *b, const void *bias, i64 m, i64 n);
/* the same a (m, n), its columns as rows: value_t, row_t as many as a has numbers, start_t (n + 1,) */
typedef void fr_sparse_transpose(void *value_t, int32_t *row_t, i64 *start_t, const void *value, const int32_t *column,
                                 const i64 *start, const i64 *rows, i64 m, i64 n);
/* out (cols,) = sum of the rows of x (rows, cols) */
typedef void fr_reduction(void *out, const void *x, i64 rows, i64 cols);
/* y (rows, cols) = f(x); alpha is the leak where there is one. y may be x. */
typedef void fr_activation(void *y, const void *x, i64 rows, i64 cols, double alpha);
/* dx = dy * f'(x), from the output y. alpha: leak, or the scale of a dropout behind a ReLU. dx may be dy. */
typedef void fr_gradient(void *dx, const void *dy, const void *y, i64 rows, i64 cols, double alpha);
/* returns sum_i w_i l_i of z (rows, cols); dz = scale w_i dl_i/dz unless dz is NULL; weight may be NULL (ones).
 * target: int32 labels (rows,) or reals (rows, cols). alpha weighs each output. numbers: the loss's own, such as how
 * targets are smoothed; NULL where it has none. dz may be z. */
typedef double fr_loss(void *dz, const void *z, const void *target, const void *weight, i64 rows, i64 cols,
                       double scale, double alpha, const double *numbers);
/* returns the penalty of w (n,); adds its gradient to g unless g is NULL. */
typedef double fr_penalty(void *g, const void *w, i64 n, double strength);
/* w <- prox(w) with threshold step * strength; a step per element, or `same` for all where step is NULL. */
typedef void fr_prox(void *w, const void *step, i64 n, double same, double strength);
/* w <- w + move(g, state), state m and v (NULL where the optimizer has none); step (NULL: not wanted) receives
 * the effective step size of each element. Returns the penalties s->l1 and s->l2 before. */
typedef double fr_update(void *w, const void *g, void *m, void *v, void *step, i64 n, const fr_step *s);
/* returns the sum of the squares of x (n,) */
typedef double fr_squares(const void *x, i64 n);
/* x (n,) times a number, or clamped to -number .. number */
typedef void fr_clip(void *x, i64 n, double number);
/* y = x with noise of this rate (or deviation); x NULL: the noise itself, of zeros where it is added and of ones where it
 * multiplies. Row r of the batch and unit j have random numbers of their own; first_row is that of the first row here.
 * value: what stands in place of a masked number. y may be x but where rows of the batch are swapped. */
typedef void fr_noise(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                      double value, const fr_stream *key);
/* y = a + b, n numbers; y may be either */
typedef void fr_sum(void *y, const void *a, const void *b, i64 n);
/* Of x (rows, cols), the columns from `column` on: mean and variance, sum (x - mean)^2 / (rows - 1), 0 of one row. */
typedef void fr_moments(void *mean, void *variance, const void *x, i64 rows, i64 cols, i64 column, i64 columns);
/* y = scale (x - mean) / sqrt(variance + epsilon) + shift; y may be x. */
typedef void fr_norm(void *y, const void *x, const void *scale, const void *shift, i64 rows, i64 cols,
                     const fr_statistics *s);
/* The gradients of scale and shift, of some columns, from that of y; x is what was normalized. */
typedef void fr_norm_sums(void *dscale, void *dshift, const void *dy, const void *x, i64 rows, i64 cols, i64 column,
                          i64 columns, const fr_statistics *s);
/* The gradient of x from those of y, scale and shift. dx may be dy. */
typedef void fr_norm_gradient(void *dx, const void *dy, const void *x, const void *scale, const void *dscale,
                              const void *dshift, i64 rows, i64 cols, const fr_statistics *s);
/* out[i] = x[rows[i]], rows of cols elements (labels: int32, cols 1; one_hot: x is labels, out a row of 0 and 1 each) */
typedef void fr_gather(void *out, const void *x, const i64 *rows, i64 n, i64 cols);
/* y = x (n, image) with each image changed at random: by the numbers, which are its settings, and by the row's own
 * random numbers, keyed by the epoch (key->step), its number in the table (rows) and the stream. y must not be x. */
typedef void fr_augment(void *y, const void *x, const i64 *rows, i64 n, const fr_image *shape, const double *numbers,
                        const fr_stream *key);
/* keep (image,): which share each column keeps of its row when rows are mixed, about `share`; returns their mean. */
typedef double fr_mix(void *keep, const fr_image *shape, double share, const fr_stream *key);
/* y (rows, cols) = keep (cols,) * x + (1 - keep) * partner; y must be neither. */
typedef void fr_blend(void *y, const void *x, const void *partner, const void *keep, i64 rows, i64 cols);
/* target (rows, cols), weight (rows,) of rows mixed from those of two; weight NULL: all are 1. */
typedef void fr_blend_targets(void *target, void *weight, const void *target1, const void *target2, const void *weight1,
                              const void *weight2, i64 rows, i64 cols, double share);
/* words of `blocks` Philox blocks (four each) from first_block on */
typedef void fr_random(u32 *words, i64 blocks, i64 first_block, const fr_stream *key);

typedef void (*fr_kernel)(void);

enum {
#define FR_KERNEL(family, name) FR_##name,
#include "kernel_list.h"
#undef FR_KERNEL
    FR_KERNELS
};

typedef struct {
    const char *level;
    fr_kernel kernel[FR_KERNELS];
} fr_table;

/* dispatch.c */
extern const char *const fr_kernel_names[FR_KERNELS];
extern const char *const fr_family_names[FR_KERNELS];
/* Highest level this machine runs, or the one named; NULL where there is no such level here. */
const fr_table *fr_table_for(int float64, const char *level);
/* The i-th level compiled in, lowest first; NULL behind the last. *runs tells whether this machine has it. */
const char *fr_level(int i, int *runs);

/* Of |x| < 2^51 the nearest integer, half to even. */
static inline double fr_rounded(double x)
{
    const double magic = 6755399441055744.0; /* 1.5 * 2^52 */
    return (x + magic) - magic;
}

/* Of 65,536 numbers, those below the threshold are dropped: rounded half to even, at most 65,535. */
static inline double fr_dropout_threshold(double rate)
{
    const double t = fr_rounded(65536 * rate);
    return t < 65535 ? t : 65535;
}
static inline double fr_dropout_scale(double rate) { return 65536 / (65536 - fr_dropout_threshold(rate)); }

/* x^n by squaring: libm's pow differs in the last bit between machines. */
static inline double fr_power(double x, i64 n)
{
    double power = 1;
    for (; n > 0; n /= 2, x *= x)
        if (n % 2) power *= x;
    return power;
}

#endif
