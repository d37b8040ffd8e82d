/* clip.c: the norm of a gradient, and what makes it smaller.
 *
 * Squares are summed in float64, over 16 lanes within chunks of 4,096 elements and chunk after chunk: a float32 gradient
 * that has to be clipped is one whose squares may overflow.
 */
#include "fastreg.h"
#include "vec.h"

INLINE double chunk_of_squares(const real *x, i64 n)
{
    double lane[LANES] = {0};
    i64 i = 0;
    for (; i + LANES <= n; i += LANES)
        EACH(j, LANES) lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i < n; i++, j++) lane[j] += (double)x[i] * (double)x[i];
    double total = 0;
    EACH(j, LANES) total += lane[j];
    return total;
}

static double k_square_sum(const void *x_, i64 n)
{
    const real *x = x_;
    double total = 0;
    for (i64 i = 0; i < n; i += FR_CHUNK) total += chunk_of_squares(x + i, n - i < FR_CHUNK ? n - i : FR_CHUNK);
    return total;
}

static void k_rescale(void *x_, i64 n, double factor)
{
    real *x = x_;
    const vec by = vset((real)factor);
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        put(x + i, by * take(x + i, rest), rest);
    }
}

static void k_clamp(void *x_, i64 n, double bound) /* NaN stays */
{
    real *x = x_;
    const vec high = vset((real)bound), low = -high;
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const vec v = take(x + i, rest);
        put(x + i, vselect(vlt(v, low), low, vselect(vgt(v, high), high, v)), rest);
    }
}
