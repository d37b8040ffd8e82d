/* penalty.c: penalties on parameters, their gradients and proximal steps.
 *
 * A penalty is a value and a slope per element; its sum runs over 16 lanes within chunks of 4,096 elements, and
 * chunks are added in float64, so it does not depend on the vector width or on who computes which chunk.
 */
#include "fastreg.h"
#include "vec.h"

INLINE vec l1_value(vec w) { return vabs(w); }
INLINE vec l1_slope(vec g, vec w, vec strength) /* 0 at 0 */
{
    return g + vkeep(vgt(vabs(w), vset(0)), vcopysign(strength, w));
}
INLINE vec l2_value(vec w) { return w * w; }
INLINE vec l2_slope(vec g, vec w, vec strength) { return vfma(strength + strength, w, g); }

typedef vec value_function(vec w);
typedef vec penalty_slope(vec g, vec w, vec strength);

/* One chunk: g += slope(w); returns the sum of value(w). */
INLINE double penalty_chunk(real *g, const real *w, i64 n, vec strength, value_function *value, penalty_slope *slope)
{
    real lane[LANES];
    vec sum[LV];
    EACH(j, LV) sum[j] = vset(0);
    i64 i = 0;
    for (; i + LANES <= n; i += LANES)
        EACH(j, LV) {
            const i64 at = i + j * VL;
            const vec x = vload(w + at);
            sum[j] = sum[j] + value(x);
            if (g) vstore(g + at, slope(vload(g + at), x, strength));
        }
    for (int j = 0; i < n; j++, i += VL) {
        const int rest = vrest(i, n);
        const vec x = vload_n(w + i, rest);
        sum[j] = sum[j] + value(x);
        if (g) vstore_n(g + i, slope(vload_n(g + i, rest), x, strength), rest);
    }
    EACH(j, LV) vstore(lane + j * VL, sum[j]);
    return lanes_total(lane);
}

INLINE double penalty(void *g_, const void *w_, i64 n, double strength, value_function *value, penalty_slope *slope)
{
    real *g = g_;
    const real *w = w_;
    double total = 0;
    for (i64 i = 0; i < n; i += FR_CHUNK)
        total += penalty_chunk(g ? g + i : NULL, w + i, n - i < FR_CHUNK ? n - i : FR_CHUNK, vset((real)strength),
                               value, slope);
    return strength * total;
}

#define PENALTY(name, value, slope)                                                                                    \
    static double k_##name(void *g, const void *w, i64 n, double strength)                                             \
    {                                                                                                                  \
        return penalty(g, w, n, strength, value, slope);                                                               \
    }

PENALTY(l1, l1_value, l1_slope)
PENALTY(l2, l2_value, l2_slope)

/* ---- proximal steps: threshold = step * strength --------------------------------------------------------------- */

typedef vec prox_function(vec w, vec threshold);

INLINE vec soft(vec w, vec threshold)
{
    const vec rest = vabs(w) - threshold;
    return vselect(vle(rest, vset(0)), vset(0), vcopysign(rest, w));
}
INLINE vec hard(vec w, vec threshold) { return vselect(vlt(vabs(w), threshold), vset(0), w); }

INLINE void prox(void *w_, const void *step_, i64 n, double same, double strength, prox_function *f)
{
    real *w = w_;
    const real *step = step_;
    const vec factor = vset((real)strength), threshold = vset((real)(same * strength));
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const vec t = step ? take(step + i, rest) * factor : threshold;
        put(w + i, f(take(w + i, rest), t), rest);
    }
}

#define PROX(name, f)                                                                                                  \
    static void k_##name(void *w, const void *step, i64 n, double same, double strength)                               \
    {                                                                                                                  \
        prox(w, step, n, same, strength, f);                                                                           \
    }

PROX(soft_threshold, soft)
PROX(hard_threshold, hard)
