/* elementwise.c: activations and their gradients, exp, log and erf, softmax, gathering of rows.
 *
 * Gradients are functions of the activation's output y, so the input need not be kept.
 * ReLU keeps NaN (0 only where x <= 0), so that a diverging training is seen in its loss.
 */
#include "fastreg.h"
#include "vec.h"
#include "vmath.h"

/* ---- y = f(x), element by element ------------------------------------------------------------------------ */

typedef vec map_function(vec x, vec alpha);
typedef vec slope_function(vec dy, vec y, vec alpha);

INLINE void map(void *y_, const void *x_, i64 n, double alpha, map_function *f)
{
    real *y = y_;
    const real *x = x_;
    const vec a = vset((real)alpha);
    i64 i = 0;
    for (; i + VL <= n; i += VL) vstore(y + i, f(vload(x + i), a));
    if (i < n) vstore_n(y + i, f(vload_n(x + i, (int)(n - i)), a), (int)(n - i));
}

INLINE void map_slope(void *dx_, const void *dy_, const void *y_, i64 n, double alpha, slope_function *f)
{
    real *dx = dx_;
    const real *dy = dy_, *y = y_;
    const vec a = vset((real)alpha);
    i64 i = 0;
    for (; i + VL <= n; i += VL) vstore(dx + i, f(vload(dy + i), vload(y + i), a));
    if (i < n) {
        const int rest = (int)(n - i);
        vstore_n(dx + i, f(vload_n(dy + i, rest), vload_n(y + i, rest), a), rest);
    }
}

#define ACTIVATION(name, f)                                                                                            \
    static void k_##name(void *y, const void *x, i64 rows, i64 cols, double alpha) { map(y, x, rows * cols, alpha, f); }
#define GRADIENT(name, f)                                                                                              \
    static void k_##name(void *dx, const void *dy, const void *y, i64 rows, i64 cols, double alpha)                    \
    {                                                                                                                  \
        map_slope(dx, dy, y, rows * cols, alpha, f);                                                                   \
    }
INLINE vec relu_of(vec x, vec a) { return vselect(vle(x, vset(0)), vset(0), x); }
INLINE vec leaky_relu_of(vec x, vec a) { return vselect(vle(x, vset(0)), a * x, x); }
INLINE vec sigmoid_of(vec x, vec a) { return vsigmoid(x); }
INLINE vec tanh_of(vec x, vec a) { return vtanh(x); }
/* Klambauer et al. 2017: scale x above 0, scale alpha (exp(x) - 1) below, by tanh(x / 2), which loses nothing near 0 */
#define SELU_SCALE 1.0507009873554805
#define SELU_ALPHA 1.6732632423543772
INLINE vec selu_of(vec x, vec a)
{
    const vec t = vtanh(R(0.5) * x);
    return vselect(vgt(x, vset(0)), R(SELU_SCALE) * x, R(SELU_SCALE * SELU_ALPHA) * ((t + t) / (R(1) - t)));
}
INLINE vec exp_of(vec x, vec a) { return vexp(x); }
INLINE vec log_of(vec x, vec a) { return vlog(x); }
INLINE vec erf_of(vec x, vec a) { return verf(x); }

INLINE vec relu_slope(vec dy, vec y, vec a) { return vkeep(vgt(y, vset(0)), a * dy); }
INLINE vec leaky_relu_slope(vec dy, vec y, vec a) { return vselect(vgt(y, vset(0)), dy, a * dy); }
INLINE vec sigmoid_slope(vec dy, vec y, vec a) { return dy * (y * (vset(1) - y)); }
INLINE vec tanh_slope(vec dy, vec y, vec a) { return dy * (vset(1) - y * y); }
INLINE vec selu_slope(vec dy, vec y, vec a)
{
    return dy * vselect(vgt(y, vset(0)), R(SELU_SCALE), y + R(SELU_SCALE * SELU_ALPHA));
}

ACTIVATION(relu, relu_of)
ACTIVATION(leaky_relu, leaky_relu_of)
ACTIVATION(sigmoid, sigmoid_of)
ACTIVATION(tanh, tanh_of)
ACTIVATION(selu, selu_of)
ACTIVATION(exp, exp_of)
ACTIVATION(log, log_of)
ACTIVATION(erf, erf_of)
GRADIENT(relu_gradient, relu_slope)
GRADIENT(leaky_relu_gradient, leaky_relu_slope)
GRADIENT(sigmoid_gradient, sigmoid_slope)
GRADIENT(tanh_gradient, tanh_slope)
GRADIENT(selu_gradient, selu_slope)

static void k_identity(void *y, const void *x, i64 rows, i64 cols, double alpha)
{
    if (y != x && rows && cols) memmove(y, x, (size_t)(rows * cols) * sizeof(real));
}

static void k_identity_gradient(void *dx, const void *dy, const void *y, i64 rows, i64 cols, double alpha)
{
    k_identity(dx, dy, rows, cols, alpha);
}

static void k_add(void *y_, const void *a_, const void *b_, i64 n)
{
    real *y = y_;
    const real *a = a_, *b = b_;
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        put(y + i, take(a + i, rest) + take(b + i, rest), rest);
    }
}

/* ---- softmax, row by row ------------------------------------------------------------------------------------ */

INLINE real row_max(const real *x, i64 n)
{
    real m = x[0];
    i64 i = 0;
    if (n >= VL) {
        vec v = vload(x);
        for (i = VL; i + VL <= n; i += VL) {
            const vec w = vload(x + i);
            v = vselect(vgt(w, v), w, v);
        }
        real lane[VL];
        vstore(lane, v);
        m = lane[0];
        for (int j = 1; j < VL; j++) m = lane[j] > m ? lane[j] : m;
    }
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

/* Sum of n terms: in order up to 16, above that 16 strided partial sums and a fixed tree. */
INLINE real ordered_sum(const real *x, i64 n)
{
    real lane[LANES] = {0};
    if (n <= LANES) {
        real sum = 0;
        for (i64 i = 0; i < n; i++) sum += x[i];
        return sum;
    }
    vec sum[LV];
    for (int j = 0; j < LV; j++) sum[j] = vset(0);
    i64 i = 0;
    for (; i + LANES <= n; i += LANES)
        EACH(j, LV) sum[j] = sum[j] + vload(x + i + j * VL);
    for (int j = 0; j < LV; j++) vstore(lane + j * VL, sum[j]);
    for (int j = 0; i + j < n; j++) lane[j] += x[i + j];
    return lanes_total(lane);
}

/* y = exp(x - max); returns the sum. */
INLINE real exp_row(real *y, const real *x, i64 n, real max)
{
    const vec m = vset(max);
    i64 i = 0;
    for (; i + VL <= n; i += VL) vstore(y + i, vexp(vload(x + i) - m));
    if (i < n) vstore_n(y + i, vexp(vload_n(x + i, (int)(n - i)) - m), (int)(n - i));
    return ordered_sum(y, n);
}

static void k_softmax(void *y_, const void *x_, i64 rows, i64 cols, double alpha)
{
    real *y = y_;
    const real *x = x_;
    for (i64 r = 0; r < rows && cols; r++, y += cols, x += cols) {
        const real sum = exp_row(y, x, cols, row_max(x, cols));
        for (i64 i = 0; i < cols; i++) y[i] /= sum;
    }
}

/* dx = y (dy - sum_j dy_j y_j) */
static void k_softmax_gradient(void *dx_, const void *dy_, const void *y_, i64 rows, i64 cols, double alpha)
{
    real *dx = dx_;
    const real *dy = dy_, *y = y_;
    for (i64 r = 0; r < rows; r++, dx += cols, dy += cols, y += cols) {
        real lane[LANES] = {0};
        for (i64 i = 0; i < cols; i++) lane[cols <= LANES ? 0 : i % LANES] += dy[i] * y[i];
        const real dot = lanes_total(lane);
        for (i64 i = 0; i < cols; i++) dx[i] = y[i] * (dy[i] - dot);
    }
}

/* ---- rows by number ------------------------------------------------------------------------------------------- */

static void k_gather(void *out_, const void *x_, const i64 *rows, i64 n, i64 cols)
{
    real *out = out_;
    const real *x = x_;
    for (i64 i = 0; i < n; i++, out += cols) memcpy(out, x + rows[i] * cols, (size_t)cols * sizeof(real));
}

static void k_gather_labels(void *out_, const void *x_, const i64 *rows, i64 n, i64 cols)
{
    int32_t *out = out_;
    const int32_t *x = x_;
    for (i64 i = 0; i < n; i++) out[i] = x[rows[i]];
}

static void k_gather_one_hot(void *out_, const void *x_, const i64 *rows, i64 n, i64 cols)
{
    real *out = out_;
    const int32_t *x = x_;
    for (i64 i = 0; i < n; i++, out += cols)
        for (i64 j = 0; j < cols; j++) out[j] = j == x[rows[i]];
}
