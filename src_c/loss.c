/* loss.c: losses fused with their link, value and gradient in one pass.
 *
 *   cross_entropy          l = sum_c t_c (logsumexp(z) - z_c)          dl/dz = softmax(z) sum(t) - t
 *   binary_cross_entropy   l = max(z, 0) - z t + log(1 + exp(-|z|))    dl/dz = sigmoid(z) - t
 *   squared_error          l = (z - t)^2                               dl/dz = 2 (z - t)
 *   absolute_error         l = |z - t|                                 dl/dz = sign(z - t)
 *   huber                  l = (z - t)^2 / 2 up to |z - t| = delta     dl/dz = z - t, at most delta
 *   quantile               l = max(q (t - z), (q - 1) (t - z))         dl/dz = -q below t, 1 - q above it
 *   poisson                l = exp(z) - t + t (log(t) - z)             dl/dz = exp(z) - t
 *   log_loss_labels        cross_entropy and binary_cross_entropy as scikit-learn computes them: probabilities are
 *   binary_log_loss        clipped to [eps, 1 - eps], eps that of the dtype, in the value but not in the gradient
 *
 * Smoothed targets are t - taken t + spread (numbers: taken, spread) in the cross-entropies, a label being a row of zeros
 * with a one; t + smoothing (1/2 - t) in the binary one. Without numbers, or where they are 0, the bits are the plain ones.
 *
 * Row losses are weighted, summed over 16 lanes within chunks of 256 rows, and chunks are added in float64. Sums over
 * classes run in class order up to 16 classes (one lane per row), above that over 16 strided partial sums and a tree.
 */
#include "fastreg.h"
#include "vec.h"
#include "vmath.h"

/* Sum of n <= FR_ROW_CHUNK row losses: lane i of 16 takes rows i, i + 16, ... */
INLINE double rows_total(const real *loss, const real *weight, i64 n)
{
    real lane[LANES] = {0};
    if (n == 1) return weight ? *weight * *loss : *loss;
    for (i64 i = 0; i < n; i++) lane[i % LANES] += weight ? weight[i] * loss[i] : loss[i];
    return lanes_total(lane);
}

/* Minus the logarithm of a probability clipped to [eps, 1 - eps]; NaN stays. */
#ifdef FR_F64
#define LEAST_LOSS 2.220446049250313e-16
#define LARGEST_LOSS 36.04365338911715
#else
#define LEAST_LOSS 1.1920929665620834e-07f
#define LARGEST_LOSS 15.942385f
#endif
INLINE vec clipped(vec loss)
{
    loss = vselect(vlt(loss, vset(LEAST_LOSS)), vset(LEAST_LOSS), loss);
    return vselect(vgt(loss, vset(LARGEST_LOSS)), vset(LARGEST_LOSS), loss);
}

/* ---- softmax cross-entropy -------------------------------------------------------------------------------- */

#define MANY 64 /* classes; of more, one row after the other is computed */

/* Sum over the lanes that classes were added to: one up to 16 classes, above that 16 and a tree. */
INLINE vec class_total(vec lane[LANES], const int wide)
{
    for (int half = wide ? LANES / 2 : 0; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] = lane[i] + lane[i + half];
    return lane[0];
}

/* VL rows at once, a row per lane. z and t hold class c of row i at [c][i]; z becomes dl/dz. */
INLINE vec rows_of_classes(vec z[MANY], const vec t[MANY], const i64 classes, const int wide)
{
    vec max = z[0], e[MANY], sum[LANES], loss[LANES], mass[LANES];
    for (int i = 0; i < (wide ? LANES : 1); i++) sum[i] = loss[i] = mass[i] = vset(0);
    for (i64 c = 1; c < classes; c++) max = vselect(vgt(z[c], max), z[c], max);
    for (i64 c = 0; c < classes; c++) {
        const i64 lane = wide ? c % LANES : 0;
        z[c] = z[c] - max;
        e[c] = vexp(z[c]);
        sum[lane] = sum[lane] + e[c];
    }
    const vec total = class_total(sum, wide), log_sum = vlog(total);
    for (i64 c = 0; c < classes; c++) {
        const i64 k = wide ? c % LANES : 0;
        loss[k] = vselect(veq(t[c], vset(0)), loss[k], vfma(t[c], log_sum - z[c], loss[k])); /* 0 times inf is 0 */
        mass[k] = mass[k] + t[c];
    }
    const vec all = class_total(mass, wide);
    for (i64 c = 0; c < classes; c++) z[c] = vfma(e[c] / total, all, -t[c]);
    return class_total(loss, wide);
}

/* What a class is wanted with, keep t + spread: smoothed targets. */
typedef struct {
    real keep, spread;
    int on;
} smoothing;

INLINE smoothing smoothing_by(const double *numbers)
{
    const double taken = numbers ? numbers[0] : 0, spread = numbers ? numbers[1] : 0;
    return (smoothing){(real)(1 - taken), (real)spread, taken != 0 || spread != 0};
}

/* v[c] = numbers of class c of n <= VL rows, x (n, classes) */
INLINE void load_classes(vec v[MANY], const real *x, i64 n, i64 classes)
{
    for (i64 c = 0; c < classes; c += VL) {
        const int columns = vrest(c, classes);
        EACH(i, VL) v[c + i] = i < n ? take(x + i * classes + c, columns) : vset(0);
        vtranspose(v + c);
    }
}

/* and back; v is overwritten */
INLINE void store_classes(real *x, vec v[MANY], i64 n, i64 classes)
{
    for (i64 c = 0; c < classes; c += VL) {
        const int columns = vrest(c, classes);
        vtranspose(v + c);
        EACH(i, VL)
            if (i < n) put(x + i * classes + c, v[c + i], columns);
    }
}

/* The targets of n <= VL rows of at most MANY classes, from a matrix or from labels. */
INLINE void load_targets(vec t[MANY], const int32_t *label, const real *target, i64 n, i64 classes, smoothing s)
{
    const real of_label = s.keep + s.spread;
    if (label) {
        for (i64 c = 0; c < classes; c++) t[c] = vset(s.spread);
        for (i64 i = 0; i < n; i++) memcpy((char *)&t[label[i]] + i * (i64)sizeof(real), &of_label, sizeof(real));
        return;
    }
    load_classes(t, target, n, classes);
    for (i64 c = 0; c < classes && s.on; c++) t[c] = vfma(t[c], vset(s.keep), vset(s.spread));
}

/* The same for labels, in fewer operations: wanted holds the logits of each row's label, and receives the slopes there. */
INLINE vec rows_of_labels(vec z[MANY], vec *wanted, const i64 classes, const int wide)
{
    vec max = z[0], sum[LANES];
    for (int i = 0; i < (wide ? LANES : 1); i++) sum[i] = vset(0);
    for (i64 c = 1; c < classes; c++) max = vselect(vgt(z[c], max), z[c], max);
    for (i64 c = 0; c < classes; c++) {
        const i64 k = wide ? c % LANES : 0;
        z[c] = vexp(z[c] - max);
        sum[k] = sum[k] + z[c];
    }
    const vec total = class_total(sum, wide), of_label = *wanted - max;
    for (i64 c = 0; c < classes; c++) z[c] = z[c] / total;
    *wanted = vexp(of_label) / total - vset(1);
    return vlog(total) - of_label;
}

/* Row losses of n <= VL rows of at most MANY classes, and their gradient times factor. */
static void some_rows(real *loss, real *dz, const real *z, const int32_t *label, const real *target, const real *weight,
                      i64 n, i64 classes, real scale, smoothing s)
{
    vec logit[MANY], wanted[MANY];
    logit[0] = vset(0); /* of no classes */
    load_classes(logit, z, n, classes);
    wanted[0] = vset(0);
    load_targets(wanted, label, target, n, classes, s);
    if (classes <= LANES) vstore_n(loss, rows_of_classes(logit, wanted, classes, 0), (int)n);
    else vstore_n(loss, rows_of_classes(logit, wanted, classes, 1), (int)n);
    if (!dz) return;
    const vec factor = weight ? vset(scale) * vload_n(weight, (int)n) : vset(scale);
    for (i64 c = 0; c < classes; c++) logit[c] = factor * logit[c];
    store_classes(dz, logit, n, classes);
}

static void some_labels(real *loss, real *dz, const real *z, const int32_t *label, const real *weight, i64 n,
                        i64 classes, real scale)
{
    vec logit[MANY];
    real at_label[VL] = {0};
    for (i64 i = 0; i < n; i++) at_label[i] = z[i * classes + label[i]];
    vec wanted = vload(at_label);
    logit[0] = vset(0); /* of no classes */
    load_classes(logit, z, n, classes);
    if (classes <= LANES) vstore_n(loss, rows_of_labels(logit, &wanted, classes, 0), (int)n);
    else vstore_n(loss, rows_of_labels(logit, &wanted, classes, 1), (int)n);
    if (!dz) return;
    const vec factor = weight ? vset(scale) * vload_n(weight, (int)n) : vset(scale);
    for (i64 c = 0; c < classes; c++) logit[c] = factor * logit[c];
    store_classes(dz, logit, n, classes);
    vstore(at_label, factor * wanted);
    for (i64 i = 0; i < n; i++) dz[i * classes + label[i]] = at_label[i];
}

/* Sum of exp(z - max) of one row: in class order up to 16 classes, above that lane i of 16 takes classes i, i + 16, ...
 * kept (NULL: nowhere) receives the terms, and may be z. */
INLINE real sum_exp(real *kept, const real *z, i64 classes, const vec max)
{
    real lane[LANES] = {0}, sum = 0;
    for (i64 c = 0; c < classes; c += LANES)
        for (i64 i = c, j = 0; i < classes && j < LANES; i += VL, j += VL) {
            const int rest = vrest(i, classes);
            const vec e = vexp(take(z + i, rest) - max);
            put(lane + j, c ? take(lane + j, rest) + e : e, rest);
            if (kept) put(kept + i, e, rest);
        }
    if (classes > LANES) return lanes_total(lane);
    for (i64 c = 0; c < classes; c++) sum += lane[c];
    return sum;
}

/* What classes i, i + 1, ... of a row are wanted with. */
INLINE vec targets_at(const int32_t *label, const real *target, i64 i, int rest, smoothing s)
{
    vec t = target ? take(target + i, rest) : vset(0);
    const i64 at = label ? *label - i : -1;
    const real one = 1;
    if (at >= 0 && at < VL) memcpy((char *)&t + at * (i64)sizeof(real), &one, sizeof one);
    return s.on ? vfma(t, vset(s.keep), vset(s.spread)) : t;
}

/* Sums of t_c (log_sum - z_c + max) and of t_c in the orders of sum_exp: the row's loss, and through *mass what t adds
 * up to. */
INLINE real soft_loss(const real *z, const int32_t *label, const real *target, i64 classes, smoothing s, real max,
                      real log_sum, real *mass)
{
    real loss[LANES] = {0}, sum[LANES] = {0}, t[VL], term[VL];
    for (i64 c = 0; c < classes; c += LANES)
        for (i64 i = c, j = 0; i < classes && j < LANES; i += VL, j += VL) {
            const int rest = vrest(i, classes);
            const vec l = take(loss + j, rest), wanted = targets_at(label, target, i, rest, s);
            const vec missed = vset(log_sum) - (take(z + i, rest) - vset(max));
            if (classes > LANES) {
                put(loss + j, vselect(veq(wanted, vset(0)), l, vfma(wanted, missed, l)), rest); /* 0 times inf is 0 */
                put(sum + j, take(sum + j, rest) + wanted, rest);
                continue;
            }
            vstore(t, wanted);
            vstore(term, missed);
            for (int k = 0; k < rest; k++) {
                if (t[k] != 0) loss[0] = fma1(t[k], term[k], loss[0]);
                sum[0] += t[k];
            }
        }
    *mass = lanes_total(sum);
    return lanes_total(loss);
}

/* One row whose classes and their exponentials stay in a register: the same bits. */
INLINE real short_row(real *dz, const real *z, const int32_t label, int classes, real factor)
{
    const real max = row_max(z, classes), of_label = z[label] - max;
    const vec e = vexp(vload_n(z, classes) - vset(max));
    real lane[VL], sum = 0, log_sum[VL];
    vstore(lane, e);
    for (int c = 0; c < classes; c++) sum += lane[c];
    vstore(log_sum, vlog(vset(sum)));
    if (dz) {
        vstore_n(dz, vset(factor) * (e / vset(sum)), classes);
        dz[label] = factor * (lane[label] / sum - 1);
    }
    return log_sum[0] - of_label;
}

/* One row with its classes side by side; the same bits as in some_labels. */
static real labelled_row(real *dz, const real *z, const int32_t label, i64 classes, real factor)
{
    if (classes <= VL) return short_row(dz, z, label, (int)classes, factor);
    const real max = row_max(z, classes), z_label = z[label]; /* dz may overwrite it */
    const vec top = vset(max), sum = vset(sum_exp(dz, z, classes, top));
    real lane[VL];
    vstore(lane, vlog(sum));
    const real loss = lane[0] - (z_label - max);
    if (!dz) return loss;
    for (i64 i = 0; i < classes; i += VL) {
        const int rest = vrest(i, classes);
        put(dz + i, vset(factor) * (take(dz + i, rest) / sum), rest);
    }
    vstore(lane, vexp(vset(z_label) - top) / sum - vset(1));
    dz[label] = factor * lane[0];
    return loss;
}

/* One row of soft targets, a matrix's or smoothed labels; the same bits as in some_rows. */
static real soft_row(real *dz, const real *z, const int32_t *label, const real *target, i64 classes, real factor,
                     smoothing s)
{
    const real max = row_max(z, classes);
    const vec top = vset(max), sum = vset(sum_exp(NULL, z, classes, top));
    real lane[VL], mass;
    vstore(lane, vlog(sum));
    const real loss = soft_loss(z, label, target, classes, s, max, lane[0], &mass);
    if (!dz) return loss;
    for (i64 i = 0; i < classes; i += VL) {
        const int rest = vrest(i, classes);
        const vec p = vexp(take(z + i, rest) - top) / sum;
        put(dz + i, vset(factor) * vfma(p, vset(mass), -targets_at(label, target, i, rest, s)), rest);
    }
    return loss;
}

INLINE double softmax_loss(real *dz, const real *z, const int32_t *label, const real *target, const real *weight,
                           i64 rows, i64 classes, real scale, const smoothing s, const int clip)
{
    const int plain_labels = label && !s.on;
    double total = 0;
    for (i64 r0 = 0; r0 < rows; r0 += FR_ROW_CHUNK) {
        const i64 n = rows - r0 < FR_ROW_CHUNK ? rows - r0 : FR_ROW_CHUNK;
        real loss[FR_ROW_CHUNK];
        for (i64 i = 0, count; i < n; i += count) {
            const i64 r = r0 + i, at = r * classes;
            count = classes > MANY || n - i <= 2 ? 1 : vrest(i, n);
            real *d = dz ? dz + at : NULL;
            const int32_t *l = label ? label + r : NULL;
            const real *t = target ? target + at : NULL, *w = weight ? weight + r : NULL;
            const real factor = w ? scale * *w : scale;
            if (count == 1 && plain_labels) loss[i] = labelled_row(d, z + at, *l, classes, factor);
            else if (count == 1) loss[i] = soft_row(d, z + at, l, t, classes, factor, s);
            else if (plain_labels) some_labels(loss + i, d, z + at, l, w, count, classes, scale);
            else some_rows(loss + i, d, z + at, l, t, w, count, classes, scale, s);
        }
        for (i64 i = 0; i < n && clip; i += VL) put(loss + i, clipped(take(loss + i, vrest(i, n))), vrest(i, n));
        total += rows_total(loss, weight ? weight + r0 : NULL, n);
    }
    return total;
}

static double k_cross_entropy(void *dz, const void *z, const void *target, const void *weight, i64 rows, i64 cols,
                              double scale, double alpha, const double *numbers)
{
    return softmax_loss(dz, z, NULL, target, weight, rows, cols, (real)scale, smoothing_by(numbers), 0);
}

static double k_cross_entropy_labels(void *dz, const void *z, const void *target, const void *weight, i64 rows,
                                     i64 cols, double scale, double alpha, const double *numbers)
{
    return softmax_loss(dz, z, target, NULL, weight, rows, cols, (real)scale, smoothing_by(numbers), 0);
}

static double k_log_loss_labels(void *dz, const void *z, const void *target, const void *weight, i64 rows, i64 cols,
                                double scale, double alpha, const double *numbers)
{
    return softmax_loss(dz, z, target, NULL, weight, rows, cols, (real)scale, smoothing_by(NULL), 1);
}

/* ---- losses that are sums over outputs ------------------------------------------------------------------------- */

typedef struct {
    vec value, slope;
} loss_terms;
typedef loss_terms output_loss(vec z, vec t, vec number);

INLINE loss_terms squared_error_of(vec z, vec t, vec number)
{
    const vec d = z - t;
    return (loss_terms){d * d, d + d};
}

INLINE loss_terms binary_cross_entropy_of(vec z, vec t, vec number)
{
    const vec positive = vselect(vle(z, vset(0)), vset(0), z); /* NaN stays */
    t = vfma(number, vset((real)0.5) - t, t);                  /* smoothed */
    return (loss_terms){positive - z * t + vlog1p(vexp(-vabs(z))), vsigmoid(z) - t};
}

INLINE loss_terms binary_log_loss_of(vec z, vec t, vec number)
{
    const vec q = vlog1p(vexp(-vabs(z)));
    const vec of_one = clipped(vselect(vle(-z, vset(0)), vset(0), -z) + q);
    const vec of_zero = clipped(vselect(vle(z, vset(0)), vset(0), z) + q);
    return (loss_terms){vfma(t, of_one, (vset(1) - t) * of_zero), vsigmoid(z) - t};
}

INLINE loss_terms absolute_error_of(vec z, vec t, vec number)
{
    const vec d = z - t;
    return (loss_terms){vabs(d), vselect(veq(d, vset(0)), vset(0), vcopysign(vset(1), d))};
}

INLINE loss_terms huber_of(vec z, vec t, vec number)
{
    const vec d = z - t, size = vabs(d), half = vset((real)0.5);
    const vec near = half * d * d, far = number * (size - half * number);
    return (loss_terms){vselect(vgt(size, number), far, near), vselect(vgt(size, number), vcopysign(number, d), d)};
}

INLINE loss_terms quantile_of(vec z, vec t, vec number)
{
    const vec d = t - z, share = vselect(vgt(d, vset(0)), number, number - vset(1));
    return (loss_terms){share * d, vselect(veq(d, vset(0)), vset(0), -share)};
}

INLINE loss_terms poisson_of(vec z, vec t, vec number)
{
    const vec rate = vexp(z), deviance = vselect(veq(t, vset(0)), vset(0), t * (vlog(t) - z));
    return (loss_terms){rate - t + deviance, rate - t};
}

/* n outputs side by side: value and slope. Each has a number of its own, or the same one (by_output NULL). */
INLINE void outputs(real *value, real *slope, const real *z, const real *t, const real *by_output, real number, i64 n,
                    output_loss *f)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const loss_terms l =
            f(take(z + i, rest), take(t + i, rest), by_output ? take(by_output + i, rest) : vset(number));
        put(value + i, l.value, rest);
        if (slope) put(slope + i, l.slope, rest);
    }
}

/* The numbers of n outputs, row by row from a column on, where there is one for each column. */
INLINE void repeat_columns(real *by_output, const double *numbers, i64 column, i64 n, i64 cols)
{
    for (i64 i = 0; i < n; i++) {
        by_output[i] = (real)numbers[column];
        if (++column == cols) column = 0;
    }
}

INLINE void scale_row(real *d, i64 n, real factor)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        vstore_n(d + i, vset(factor) * vload_n(d + i, rest), rest);
    }
}

/* Rows are taken so many at a time that their outputs fill a chunk; a row longer than a chunk is summed by chunks. */
INLINE double output_sum_loss(real *dz, const real *z, const real *target, const real *weight, i64 rows, i64 cols,
                              real scale, real alpha, const double *numbers, const int by_column, output_loss *f)
{
    double total = 0;
    real value[FR_CHUNK], by_output[FR_CHUNK], loss[FR_ROW_CHUNK];
    const real number = numbers ? (real)*numbers : 0;
    const i64 fit = cols && cols <= FR_CHUNK ? FR_CHUNK / cols : 1;
    for (i64 r0 = 0; r0 < rows; r0 += FR_ROW_CHUNK) {
        const i64 n = rows - r0 < FR_ROW_CHUNK ? rows - r0 : FR_ROW_CHUNK;
        for (i64 i = 0; i < n; i += fit) {
            const i64 some = n - i < fit ? n - i : fit;
            for (i64 k = 0; k < some; k++) loss[i + k] = 0;
            for (i64 j = 0; j < cols * some; j += FR_CHUNK) {
                const i64 at = (r0 + i) * cols + j, m = cols * some - j < FR_CHUNK ? cols * some - j : FR_CHUNK;
                if (by_column) repeat_columns(by_output, numbers, j % cols, m, cols);
                outputs(value, dz ? dz + at : NULL, z + at, target + at, by_column ? by_output : NULL, number, m, f);
                const i64 length = cols < m ? cols : m;
                for (i64 k = 0; k * length < m; k++) loss[i + k] += alpha * ordered_sum(value + k * length, length);
            }
        }
        for (i64 i = 0; i < n && dz; i++) {
            const real factor = scale * alpha;
            scale_row(dz + (r0 + i) * cols, cols, weight ? factor * weight[r0 + i] : factor);
        }
        total += rows_total(loss, weight ? weight + r0 : NULL, n);
    }
    return total;
}

#define OUTPUT_LOSS(name, by_column)                                                                                   \
    static double k_##name(void *dz, const void *z, const void *target, const void *weight, i64 rows, i64 cols,        \
                           double scale, double alpha, const double *numbers)                                          \
    {                                                                                                                  \
        return output_sum_loss(dz, z, target, weight, rows, cols, (real)scale, (real)alpha, numbers, by_column,        \
                               name##_of);                                                                             \
    }

OUTPUT_LOSS(binary_cross_entropy, 0)
OUTPUT_LOSS(squared_error, 0)
OUTPUT_LOSS(absolute_error, 0)
OUTPUT_LOSS(huber, 0)
OUTPUT_LOSS(quantile, 1)
OUTPUT_LOSS(binary_log_loss, 0)
OUTPUT_LOSS(poisson, 0)
