/* sparse.c: products with a sparse left factor: the first layer of a network on sparse data, forward and back.
 *
 * Rows are compressed (CSR): row r has the numbers value[k] in the columns column[k], rising, k from start[r] to
 * start[r + 1]. A weight gradient is the same product with the batch transposed.
 *
 * The order of a sum is that of gemm.c, blocks of 256 consecutive columns, of which only those with a number count:
 * a zero times a finite number, added by fma, changes no sum. So sparse and dense training have the same bits.
 */
#include "fastreg.h"
#include "vec.h"

/* c[nv * VL] = one row times the columns of b; the last vector has `last` columns. */
INLINE void sparse_tile(real *c, const real *value, const int32_t *column, i64 count, const real *b, i64 n,
                        const real *bias, const int nv, int last)
{
    vec total[NV], sum[NV];
    EACH(j, nv) total[j] = vset(0);
    for (i64 k = 0; k < count;) {
        const i64 end = ((i64)column[k] / FR_BLOCK + 1) * FR_BLOCK;
        EACH(j, nv) sum[j] = vset(0);
        for (; k < count && column[k] < end; k++) {
            const vec x = vset(value[k]);
            const real *row = b + column[k] * n;
            EACH(j, nv) sum[j] = vfma(x, j == nv - 1 ? take(row + j * VL, last) : vload(row + j * VL), sum[j]);
        }
        EACH(j, nv) total[j] = total[j] + sum[j];
    }
    EACH(j, nv) {
        const int width = j == nv - 1 ? last : VL;
        put(c + j * VL, bias ? total[j] + take(bias + j * VL, width) : total[j], width);
    }
}

static void k_csr_product(void *c_, const void *value_, const int32_t *column, const i64 *start, const i64 *rows,
                          const void *b_, const void *bias_, i64 m, i64 n)
{
    real *c = c_;
    const real *value = value_, *b = b_, *bias = bias_;
    for (i64 i = 0; i < m; i++, c += n) {
        const i64 r = rows ? rows[i] : i, from = start[r], count = start[r + 1] - from;
        for (i64 j = 0; j < n; j += NV * VL) {
            const i64 columns = n - j < NV * VL ? n - j : NV * VL, vectors = (columns + VL - 1) / VL;
            const int last = (int)(columns - (vectors - 1) * VL);
            const real *beta = bias ? bias + j : NULL;
            if (vectors == 1) sparse_tile(c + j, value + from, column + from, count, b + j, n, beta, 1, last);
            else if (vectors == 2) sparse_tile(c + j, value + from, column + from, count, b + j, n, beta, 2, last);
#if NV == 4
            else if (vectors == 3) sparse_tile(c + j, value + from, column + from, count, b + j, n, beta, 3, last);
            else sparse_tile(c + j, value + from, column + from, count, b + j, n, beta, 4, last);
#endif
        }
    }
}

/* By counting: how many numbers each column has, where each begins, then row by row to their places. */
static void k_csr_transpose(void *value_t_, int32_t *row_t, i64 *start_t, const void *value_, const int32_t *column,
                            const i64 *start, const i64 *rows, i64 m, i64 n)
{
    real *value_t = value_t_;
    const real *value = value_;
    memset(start_t, 0, (size_t)(n + 1) * sizeof *start_t);
    for (i64 i = 0; i < m; i++) {
        const i64 r = rows ? rows[i] : i;
        for (i64 k = start[r]; k < start[r + 1]; k++) start_t[column[k] + 1]++;
    }
    for (i64 j = 0; j < n; j++) start_t[j + 1] += start_t[j];
    for (i64 i = 0; i < m; i++) {
        const i64 r = rows ? rows[i] : i;
        for (i64 k = start[r]; k < start[r + 1]; k++) {
            const i64 at = start_t[column[k]]++;
            value_t[at] = value[k];
            row_t[at] = (int32_t)i;
        }
    }
    memmove(start_t + 1, start_t, (size_t)n * sizeof *start_t); /* each has become the next one's */
    start_t[0] = 0;
}
