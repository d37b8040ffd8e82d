/* norm.c: batch normalization (Ioffe & Szegedy 2015) and layer normalization (Ba et al. 2016).
 *
 * Sums down the columns go over blocks of FR_BLOCK rows, each from +0, then block by block: a column's sum does not
 * depend on which other columns are computed with it. Sums along a row have 16 lanes and the fixed tree.
 */
#include "fastreg.h"
#include "vec.h"

#define GROUP 4 /* vectors of columns at a time */

/* ---- the columns of a batch ----------------------------------------------------------------------------------------- */

/* Elements of the k-th vector of a group that begins with the i-th of n */
INLINE int group_rest(i64 i, int k, i64 n)
{
    const i64 rest = n - i - (i64)k * VL;
    return rest < 0 ? 0 : rest < VL ? (int)rest : VL;
}

INLINE vec inverse_root(vec variance) { return R(1) / vsqrt(variance); }

/* What normalizes the columns from j on */
INLINE void column_statistics(vec mean[GROUP], vec inverse[GROUP], const fr_statistics *s, i64 j, i64 n)
{
    EACH(k, GROUP) {
        const int rest = group_rest(j, k, n);
        const vec variance = take((const real *)s->variance + j + k * VL, rest);
        mean[k] = take((const real *)s->mean + j + k * VL, rest);
        inverse[k] = inverse_root(vfma(variance, R(s->correction), R(s->epsilon)));
    }
}

static void k_column_moments(void *mean_, void *variance_, const void *x_, i64 rows, i64 cols, i64 column, i64 columns)
{
    real *mean = mean_, *variance = variance_;
    const real *x = x_;
    const i64 end = column + columns;
    for (i64 j = column; j < end; j += GROUP * VL) {
        vec center[GROUP], total[GROUP], sum[GROUP];
        EACH(k, GROUP) center[k] = total[k] = R(0);
        for (int pass = 0; pass < 2; pass++) {
            for (i64 r0 = 0; r0 < rows; r0 += FR_BLOCK) {
                const i64 stop = rows - r0 < FR_BLOCK ? rows : r0 + FR_BLOCK;
                EACH(k, GROUP) sum[k] = R(0);
                for (i64 r = r0; r < stop; r++)
                    EACH(k, GROUP) {
                        const vec d = take(x + r * cols + j + k * VL, group_rest(j, k, end)) - center[k];
                        sum[k] = pass ? vfma(d, d, sum[k]) : sum[k] + d;
                    }
                EACH(k, GROUP) total[k] = r0 ? total[k] + sum[k] : sum[k];
            }
            EACH(k, GROUP) {
                const int rest = group_rest(j, k, end);
                if (pass) put(variance + j + k * VL, total[k] / R(rows > 1 ? rows - 1 : 1), rest);
                else put(mean + j + k * VL, center[k] = total[k] / R(rows > 1 ? rows : 1), rest);
            }
        }
    }
}

static void k_batch_norm(void *y_, const void *x_, const void *scale_, const void *shift_, i64 rows, i64 cols,
                         const fr_statistics *s)
{
    real *y = y_;
    const real *x = x_, *scale = scale_, *shift = shift_;
    for (i64 j = 0; j < cols; j += GROUP * VL) {
        vec mean[GROUP], inverse[GROUP], a[GROUP], b[GROUP];
        column_statistics(mean, inverse, s, j, cols);
        EACH(k, GROUP) {
            const int rest = group_rest(j, k, cols);
            a[k] = take(scale + j + k * VL, rest), b[k] = take(shift + j + k * VL, rest);
        }
        for (i64 r = 0; r < rows; r++)
            EACH(k, GROUP) {
                const i64 at = r * cols + j + k * VL;
                const int rest = group_rest(j, k, cols);
                put(y + at, vfma((take(x + at, rest) - mean[k]) * inverse[k], a[k], b[k]), rest);
            }
    }
}

static void k_batch_norm_sums(void *dscale_, void *dshift_, const void *dy_, const void *x_, i64 rows, i64 cols,
                              i64 column, i64 columns, const fr_statistics *s)
{
    real *dscale = dscale_, *dshift = dshift_;
    const real *dy = dy_, *x = x_;
    const i64 end = column + columns;
    for (i64 j = column; j < end; j += GROUP * VL) {
        vec mean[GROUP], inverse[GROUP], scales[GROUP], shifts[GROUP], scale[GROUP], shift[GROUP];
        column_statistics(mean, inverse, s, j, end);
        EACH(k, GROUP) scales[k] = shifts[k] = R(0);
        for (i64 r0 = 0; r0 < rows; r0 += FR_BLOCK) {
            const i64 stop = rows - r0 < FR_BLOCK ? rows : r0 + FR_BLOCK;
            EACH(k, GROUP) scale[k] = shift[k] = R(0);
            for (i64 r = r0; r < stop; r++)
                EACH(k, GROUP) {
                    const i64 at = r * cols + j + k * VL;
                    const int rest = group_rest(j, k, end);
                    const vec g = take(dy + at, rest);
                    shift[k] = shift[k] + g;
                    scale[k] = vfma(g, (take(x + at, rest) - mean[k]) * inverse[k], scale[k]);
                }
            EACH(k, GROUP) {
                scales[k] = r0 ? scales[k] + scale[k] : scale[k];
                shifts[k] = r0 ? shifts[k] + shift[k] : shift[k];
            }
        }
        EACH(k, GROUP) {
            const int rest = group_rest(j, k, end);
            put(dscale + j + k * VL, scales[k], rest);
            put(dshift + j + k * VL, shifts[k], rest);
        }
    }
}

/* scale / sqrt(variance) (dy - (dshift + normalized x * dscale) / n) */
static void k_batch_norm_gradient(void *dx_, const void *dy_, const void *x_, const void *scale_, const void *dscale_,
                                  const void *dshift_, i64 rows, i64 cols, const fr_statistics *s)
{
    real *dx = dx_;
    const real *dy = dy_, *x = x_, *scale = scale_, *dscale = dscale_, *dshift = dshift_;
    for (i64 j = 0; j < cols; j += GROUP * VL) {
        vec mean[GROUP], inverse[GROUP], factor[GROUP], slope[GROUP], offset[GROUP];
        column_statistics(mean, inverse, s, j, cols);
        EACH(k, GROUP) {
            const int rest = group_rest(j, k, cols);
            factor[k] = take(scale + j + k * VL, rest) * inverse[k];
            slope[k] = take(dscale + j + k * VL, rest) * inverse[k] / R(s->rows);
            offset[k] = take(dshift + j + k * VL, rest) / R(s->rows);
        }
        for (i64 r = 0; r < rows; r++)
            EACH(k, GROUP) {
                const i64 at = r * cols + j + k * VL;
                const int rest = group_rest(j, k, cols);
                const vec centered = take(x + at, rest) - mean[k];
                put(dx + at, factor[k] * (take(dy + at, rest) - vfma(centered, slope[k], offset[k])), rest);
            }
    }
}

/* ---- the rows of a batch, each by itself ---------------------------------------------------------------------------- */

typedef struct {
    const real *x, *dy, *scale;
    real mean, inverse;
} row_pass;

typedef vec row_term(const row_pass *p, i64 i, int rest);

INLINE vec row_value(const row_pass *p, i64 i, int rest) { return take(p->x + i, rest); }
INLINE vec row_normalized(const row_pass *p, i64 i, int rest)
{
    return (take(p->x + i, rest) - R(p->mean)) * R(p->inverse);
}
INLINE vec row_square(const row_pass *p, i64 i, int rest)
{
    const vec d = take(p->x + i, rest) - R(p->mean);
    return d * d;
}
INLINE vec row_slope(const row_pass *p, i64 i, int rest) { return take(p->dy + i, rest) * take(p->scale + i, rest); }
INLINE vec row_product(const row_pass *p, i64 i, int rest)
{
    return row_slope(p, i, rest) * row_normalized(p, i, rest);
}

/* The mean of n terms */
INLINE real row_mean(const row_pass *p, i64 n, row_term *term)
{
    real lane[LANES], part[VL];
    vec sum[LV];
    EACH(j, LV) sum[j] = R(0);
    i64 i = 0;
    for (; i + LANES <= n; i += LANES)
        EACH(j, LV) sum[j] = sum[j] + term(p, i + j * VL, VL);
    for (int j = 0; i < n; j++, i += VL) { /* what stands beyond the row is no term */
        vstore(part, term(p, i, vrest(i, n)));
        sum[j] = sum[j] + vload_n(part, vrest(i, n));
    }
    EACH(j, LV) vstore(lane + j * VL, sum[j]);
    return lanes_total(lane) / (real)n;
}

INLINE row_pass row_statistics(const real *x, i64 n, double epsilon)
{
    row_pass p = {.x = x};
    real lane[VL];
    p.mean = row_mean(&p, n, row_value);
    vstore(lane, inverse_root(R(row_mean(&p, n, row_square)) + R(epsilon)));
    p.inverse = lane[0];
    return p;
}

static void k_layer_norm(void *y_, const void *x_, const void *scale_, const void *shift_, i64 rows, i64 cols,
                         const fr_statistics *s)
{
    real *y = y_;
    const real *x = x_, *scale = scale_, *shift = shift_;
    for (i64 r = 0; r < rows; r++, x += cols, y += cols) {
        const row_pass p = row_statistics(x, cols, s->epsilon);
        for (i64 i = 0; i < cols; i += VL) {
            const int rest = vrest(i, cols);
            put(y + i, vfma(row_normalized(&p, i, rest), take(scale + i, rest), take(shift + i, rest)), rest);
        }
    }
}

static void k_layer_norm_sums(void *dscale_, void *dshift_, const void *dy_, const void *x_, i64 rows, i64 cols,
                              i64 column, i64 columns, const fr_statistics *s)
{
    real *dscale = dscale_, *dshift = dshift_, mean[FR_BLOCK], inverse[FR_BLOCK];
    const real *dy = dy_, *x = x_;
    const i64 end = column + columns;
    for (i64 j = column; j < end && !rows; j++) dscale[j] = dshift[j] = 0;
    for (i64 r0 = 0; r0 < rows; r0 += FR_BLOCK) {
        const i64 n = rows - r0 < FR_BLOCK ? rows - r0 : FR_BLOCK;
        for (i64 r = 0; r < n; r++) {
            const row_pass p = row_statistics(x + (r0 + r) * cols, cols, s->epsilon);
            mean[r] = p.mean, inverse[r] = p.inverse;
        }
        for (i64 j = column; j < end; j += VL) {
            const int rest = vrest(j, end);
            vec scale = R(0), shift = R(0);
            for (i64 r = 0; r < n; r++) {
                const i64 at = (r0 + r) * cols + j;
                const vec g = take(dy + at, rest);
                shift = shift + g;
                scale = vfma(g, (take(x + at, rest) - R(mean[r])) * R(inverse[r]), scale);
            }
            put(dscale + j, r0 ? take(dscale + j, rest) + scale : scale, rest);
            put(dshift + j, r0 ? take(dshift + j, rest) + shift : shift, rest);
        }
    }
}

/* With g = scale dy: (g - mean of g - normalized x * mean of (g * normalized x)) / sqrt(variance) */
static void k_layer_norm_gradient(void *dx_, const void *dy_, const void *x_, const void *scale_, const void *dscale,
                                  const void *dshift, i64 rows, i64 cols, const fr_statistics *s)
{
    real *dx = dx_;
    const real *dy = dy_, *x = x_;
    (void)dscale, (void)dshift;
    for (i64 r = 0; r < rows; r++, x += cols, dy += cols, dx += cols) {
        row_pass p = row_statistics(x, cols, s->epsilon);
        p.dy = dy, p.scale = scale_;
        const real offset = row_mean(&p, cols, row_slope), slope = row_mean(&p, cols, row_product);
        for (i64 i = 0; i < cols; i += VL) {
            const int rest = vrest(i, cols);
            const vec g = row_slope(&p, i, rest) - vfma(row_normalized(&p, i, rest), R(slope), R(offset));
            put(dx + i, R(p.inverse) * g, rest);
        }
    }
}
