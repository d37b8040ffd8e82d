/* optim.c: the optimizers' steps, one flat pass over parameters, gradient and state.
 *
 * SGD     u <- momentum u - lr g;  move = u, or momentum u - lr g (Nesterov), or -lr g (no momentum)
 * Adam    Kingma & Ba 2015, epsilon outside the bias correction (PyTorch's place), the denominator at least `floor`
 *         before epsilon: what makes a proximal L1 behind it converge to the right point (see docs of L1)
 * both    w <- (w + move) - decay w (decoupled decay, of the old w)
 * running_average   w <- w + lr (g - w), g being no gradient but what is averaged; no state, no decay
 *
 * For the first two g is the gradient in memory and, where they have a strength, the slopes of L1 and then L2: the two common penalties
 * need no pass of their own. Their values are summed as in penalty.c, and the bits are those of separate passes.
 * State smaller than 1e-30 becomes 0: the velocity of a zeroed weight would otherwise stick in the subnormals.
 */
#include "fastreg.h"
#include "vec.h"

typedef struct {
    real *w, *m, *v, *step; /* m: SGD's velocity */
    const real *g;
    vec lr, momentum, decay, beta1, rest1, beta2, rest2, correct2, epsilon, rate, floor;
    int nesterov;
} pass;

typedef void move_function(const pass *p, i64 i, int rest, vec old, vec g);

INLINE vec settle(vec u) { return vselect(vlt(vabs(u), vset((real)1e-30)), vset(0), u); }

INLINE void sgd_move(const pass *p, i64 i, int rest, vec old, vec g)
{
    const vec t = p->lr * g;
    vec move = -t;
    if (p->m) {
        const vec velocity = vfma(p->momentum, take(p->m + i, rest), -t);
        move = p->nesterov ? vfma(p->momentum, velocity, -t) : velocity;
        put(p->m + i, settle(velocity), rest);
    }
    put(p->w + i, vfma(-p->decay, old, old + move), rest);
}

INLINE void adam_move(const pass *p, i64 i, int rest, vec old, vec g)
{
    const vec first = vfma(p->beta1, take(p->m + i, rest), p->rest1 * g);
    const vec second = vfma(p->beta2, take(p->v + i, rest), p->rest2 * (g * g));
    const vec root = vsqrt(second * p->correct2);
    const vec denominator = vselect(vlt(root, p->floor), p->floor, root) + p->epsilon;
    put(p->m + i, settle(first), rest);
    put(p->v + i, second, rest);
    put(p->w + i, vfma(-p->decay, old, old - p->rate * first / denominator), rest);
    if (p->step) put(p->step + i, p->lr / denominator, rest);
}

/* The gradient with the slopes of the penalties, whose values are added to the sums. */
INLINE vec penalized(vec g, vec w, vec l1, vec l2, vec *sum1, vec *sum2, const int has_l1, const int has_l2)
{
    if (has_l1) *sum1 = *sum1 + l1_value(w), g = l1_slope(g, w, l1);
    if (has_l2) *sum2 = *sum2 + l2_value(w), g = l2_slope(g, w, l2);
    return g;
}

/* Elements start..stop, a chunk of a penalty's sum; returns the penalties before the move. */
INLINE double move_chunk(const pass *p, i64 start, i64 stop, double l1, double l2, const int has_l1, const int has_l2,
                         move_function *move)
{
    const vec strength1 = vset((real)l1), strength2 = vset((real)l2);
    vec sum1[LV], sum2[LV];
    real lane[LANES];
    double total = 0;
    EACH(j, LV) sum1[j] = sum2[j] = vset(0);
    i64 i = start;
    for (; i + LANES <= stop; i += LANES)
        EACH(j, LV) {
            const i64 at = i + j * VL;
            const vec old = vload(p->w + at);
            const vec g = vload(p->g + at);
            move(p, at, VL, old, penalized(g, old, strength1, strength2, &sum1[j], &sum2[j], has_l1, has_l2));
        }
    for (int j = 0; i < stop; j++, i += VL) {
        const int rest = vrest(i, stop);
        const vec old = vload_n(p->w + i, rest);
        const vec g = vload_n(p->g + i, rest);
        move(p, i, rest, old, penalized(g, old, strength1, strength2, &sum1[j], &sum2[j], has_l1, has_l2));
    }
    if (has_l1) {
        EACH(j, LV) vstore(lane + j * VL, sum1[j]);
        total += l1 * lanes_total(lane);
    }
    if (has_l2) {
        EACH(j, LV) vstore(lane + j * VL, sum2[j]);
        total += l2 * lanes_total(lane);
    }
    return total;
}

INLINE double move_all(const pass *p, i64 n, const fr_step *s, move_function *move)
{
    double total = 0;
    for (i64 i = 0; i < n; i += FR_CHUNK) {
        const i64 stop = n - i < FR_CHUNK ? n : i + FR_CHUNK;
        if (s->l1 != 0 && s->l2 != 0) total += move_chunk(p, i, stop, s->l1, s->l2, 1, 1, move);
        else if (s->l1 != 0) total += move_chunk(p, i, stop, s->l1, 0, 1, 0, move);
        else if (s->l2 != 0) total += move_chunk(p, i, stop, 0, s->l2, 0, 1, move);
        else move_chunk(p, i, stop, 0, 0, 0, 0, move);
    }
    return total;
}

static double k_sgd(void *w, const void *g, void *u, void *v, void *step, i64 n, const fr_step *s)
{
    pass p = {.w = w, .g = g, .m = u, .nesterov = s->nesterov != 0};
    (void)v, (void)step; /* the effective step of SGD is one number: the caller has it */
    p.lr = vset((real)s->learning_rate), p.momentum = vset((real)s->momentum), p.decay = vset((real)s->decay);
    return move_all(&p, n, s, sgd_move);
}

static double k_adam(void *w, const void *g, void *m, void *v, void *step, i64 n, const fr_step *s)
{
    pass p = {.w = w, .g = g, .m = m, .v = v, .step = step};
    p.beta1 = vset((real)s->beta1), p.rest1 = vset((real)(1 - s->beta1));
    p.beta2 = vset((real)s->beta2), p.rest2 = vset((real)(1 - s->beta2));
    p.correct2 = vset((real)(1 / s->correction2)), p.epsilon = vset((real)s->epsilon);
    p.rate = vset((real)(s->learning_rate / s->correction1)), p.lr = vset((real)s->learning_rate);
    p.floor = vset((real)s->floor), p.decay = vset((real)s->decay);
    return move_all(&p, n, s, adam_move);
}

static double k_running_average(void *w_, const void *g_, void *m, void *v, void *step, i64 n, const fr_step *s)
{
    real *w = w_;
    const real *g = g_;
    const vec rate = vset((real)s->learning_rate);
    (void)m, (void)v, (void)step;
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const vec old = take(w + i, rest);
        put(w + i, vfma(rate, take(g + i, rest) - old, old), rest);
    }
    return 0;
}
