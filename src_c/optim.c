/* optim.c: the optimizers' steps, one flat pass over parameters, gradient and state.
 *
 * SGD     u <- momentum u - lr g;  move = u, or momentum u - lr g (Nesterov), or -lr g (no momentum)
 * Adam    Kingma & Ba 2015, epsilon outside the bias correction (PyTorch's place), the denominator at least `floor`
 *         before epsilon: what makes a proximal L1 behind it converge to the right point (see docs of L1)
 * both    w <- (w + move) - decay w (decoupled decay, of the old w)
 *
 * State smaller than 1e-30 becomes 0: the velocity of a zeroed weight would otherwise stick in the subnormals.
 */
#include "fastreg.h"
#include "vec.h"

INLINE vec settle(vec u) { return vselect(vlt(vabs(u), vset((real)1e-30)), vset(0), u); }

INLINE void sgd_part(real *w, const real *g, real *u, int rest, const vec lr, const vec momentum, const vec decay,
                     int nesterov)
{
    const vec old = take(w, rest), t = lr * take(g, rest);
    vec move = -t;
    if (u) {
        const vec velocity = vfma(momentum, take(u, rest), -t);
        move = nesterov ? vfma(momentum, velocity, -t) : velocity;
        put(u, settle(velocity), rest);
    }
    put(w, vfma(-decay, old, old + move), rest);
}

static void k_sgd(void *w_, const void *g_, void *u_, void *v_, void *step, i64 n, const fr_step *s)
{
    real *w = w_, *u = u_;
    const real *g = g_;
    const vec lr = vset((real)s->learning_rate), momentum = vset((real)s->momentum), decay = vset((real)s->decay);
    const int nesterov = s->nesterov != 0;
    (void)v_, (void)step; /* the effective step of SGD is one number: the caller has it */
    i64 i = 0;
    for (; i + VL <= n; i += VL) sgd_part(w + i, g + i, u ? u + i : NULL, VL, lr, momentum, decay, nesterov);
    if (i < n) sgd_part(w + i, g + i, u ? u + i : NULL, (int)(n - i), lr, momentum, decay, nesterov);
}

static void k_adam(void *w_, const void *g_, void *m_, void *v_, void *step_, i64 n, const fr_step *s)
{
    real *w = w_, *m = m_, *v = v_, *step = step_;
    const real *g = g_;
    const vec beta1 = vset((real)s->beta1), rest1 = vset((real)(1 - s->beta1));
    const vec beta2 = vset((real)s->beta2), rest2 = vset((real)(1 - s->beta2));
    const vec correct2 = vset((real)(1 / s->correction2)), epsilon = vset((real)s->epsilon);
    const vec rate = vset((real)(s->learning_rate / s->correction1)), lr = vset((real)s->learning_rate);
    const vec floor = vset((real)s->floor), decay = vset((real)s->decay);
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const vec grad = take(g + i, rest), old = take(w + i, rest);
        const vec first = vfma(beta1, take(m + i, rest), rest1 * grad);
        const vec second = vfma(beta2, take(v + i, rest), rest2 * (grad * grad));
        const vec root = vsqrt(second * correct2);
        const vec denominator = vselect(vlt(root, floor), floor, root) + epsilon;
        put(m + i, settle(first), rest);
        put(v + i, second, rest);
        put(w + i, vfma(-decay, old, old - rate * first / denominator), rest);
        if (step) put(step + i, lr / denominator, rest);
    }
}
