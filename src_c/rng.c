/* rng.c: counter-based random numbers (Philox4x32-10, Salmon et al. 2011) and noise.
 *
 * A number is a pure function of (seed, stream, step, position): nothing is kept, any part can be drawn alone.
 * Counter = (block, stream, step low, step high), key = (seed low, seed high). A block gives four 32-bit words, read
 * as eight 16-bit numbers, low half first, as four words or as two pairs of words. Row r, unit j of a batch has number
 * r * stride + j, where stride is the row's length rounded up to 16. Blocks are computed WL at a time in 64-bit lanes.
 */
#include "fastreg.h"
#include "vec.h"
#include "vmath.h"

#define ROUNDS 10

typedef struct {
    wide k0[ROUNDS], k1[ROUNDS]; /* the key of each round */
    wide stream, step_low, step_high;
} philox_key;

typedef struct {
    wide word[4]; /* one 32-bit word per 64-bit lane */
} philox_block;

INLINE philox_key philox_schedule(const fr_stream *key)
{
    philox_key s = {.stream = wide_set(key->stream)};
    for (u64 round = 0; round < ROUNDS; round++) {
        s.k0[round] = wide_set((key->seed + round * 0x9E3779B9) & 0xffffffff);
        s.k1[round] = wide_set(((key->seed >> 32) + round * 0xBB67AE85) & 0xffffffff);
    }
    s.step_low = wide_set(key->step & 0xffffffff);
    s.step_high = wide_set(key->step >> 32);
    return s;
}

INLINE philox_block philox(u64 first_block, const philox_key *key)
{
    const wide m0 = wide_set(0xD2511F53), m1 = wide_set(0xCD9E8D57), low = wide_set(0xffffffff);
    wide c0 = wide_count(first_block), c1 = key->stream, c2 = key->step_low, c3 = key->step_high;
    EACH(round, ROUNDS) { /* products read low halves only: high halves may hold anything */
        const wide p0 = wide_mul32(c0, m0), p1 = wide_mul32(c2, m1);
        c0 = (p1 >> 32) ^ c1 ^ key->k0[round];
        c1 = p1;
        c2 = (p0 >> 32) ^ c3 ^ key->k1[round];
        c3 = p0;
    }
    return (philox_block){{c0 & low, c1 & low, c2 & low, c3 & low}};
}

/* The words of WL blocks in order: word 0..3 of the first, of the second, ... */
INLINE void philox_store(u64 out[2 * WL], const philox_block *b)
{
    wide_store_zipped(out, b->word[0] | (b->word[1] << 32), b->word[2] | (b->word[3] << 32));
}

static void k_random_words(u32 *words, i64 blocks, i64 first_block, const fr_stream *key)
{
    const philox_key schedule = philox_schedule(key);
    for (i64 b = 0; b < blocks; b += WL) {
        u64 out[2 * WL];
        const i64 count = blocks - b < WL ? blocks - b : WL;
        const philox_block block = philox((u64)(first_block + b), &schedule);
        philox_store(out, &block);
        memcpy(words + 4 * b, out, (size_t)count * 16);
    }
}

/* ---- noise, number by number -------------------------------------------------------------------------------------- */

typedef union {
    u64 pair[2 * WL];
    u32 word[4 * WL];
    uint16_t number[8 * WL];
} drawn;

typedef struct {
    ivec threshold;
    vec scale, value;
} noise_pass;

/* y = x with noise from what was drawn for these n elements; x NULL: the noise itself */
typedef void noise_function(real *y, const real *x, const drawn *d, i64 n, const noise_pass *p);

/* All elements of a batch, as many at once as the WL blocks have numbers */
INLINE void noise_of(real *y, const real *x, i64 rows, i64 cols, i64 first_row, const fr_stream *key,
                     const int per_block, const noise_pass *p, noise_function *f)
{
    const i64 stride = (cols + 15) / 16 * 16, first = first_row * stride, at_once = per_block * WL;
    const philox_key schedule = philox_schedule(key);
    if (stride == cols) { /* rows follow each other without gaps: the batch is one long row */
        cols *= rows;
        rows = 1;
    }
    for (i64 r = 0; r < rows; r++)
        for (i64 j = 0; j < cols; j += at_once) {
            drawn d;
            const i64 n = cols - j < at_once ? cols - j : at_once, at = r * cols + j;
            const philox_block block = philox((u64)((first + r * stride + j) / per_block), &schedule);
            philox_store(d.pair, &block);
            f(y + at, x ? x + at : NULL, &d, n, p);
        }
}

/* x * scale where its number reaches the threshold, else 0 */
INLINE void drop(real *y, const real *x, const drawn *d, i64 n, const noise_pass *p)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const ivec dropped = iless(widen16(d->number + i), p->threshold);
        const vec kept = x ? take(x + i, rest) * p->scale : p->scale;
        put(y + i, as_real(~dropped & as_int(kept)), rest);
    }
}

/* x where its number reaches the threshold, else the value */
INLINE void mask(real *y, const real *x, const drawn *d, i64 n, const noise_pass *p)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const ivec masked = iless(widen16(d->number + i), p->threshold);
        const vec kept = x ? take(x + i, rest) : R(1);
        put(y + i, as_real((~masked & as_int(kept)) | (masked & as_int(p->value))), rest);
    }
}

static void k_dropout(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                      double value, const fr_stream *key)
{
    const noise_pass p = {.threshold = iset((rint_t)fr_dropout_threshold(rate)),
                          .scale = vset((real)fr_dropout_scale(rate))};
    (void)batch_rows, (void)value;
    noise_of(y, x, rows, cols, first_row, key, 8, &p, drop);
}

static void k_feature_mask(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                           double value, const fr_stream *key)
{
    const noise_pass p = {.threshold = iset((rint_t)fr_dropout_threshold(rate)), .value = vset((real)value)};
    (void)batch_rows;
    noise_of(y, x, rows, cols, first_row, key, 8, &p, mask);
}

/* ---- normal numbers ----------------------------------------------------------------------------------------------- */

/* sqrt(2) erfinv(u) of u = (2 k + 1) / 2^23 - 1, k the 23 upper bits of a word: Giles 2010, in single precision */
INLINE vec normal(ivec word)
{
    static const real near[] = {2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
                                -0.00125372503, -0.00417768164, 0.246640727,    1.50140941};
    static const real far[] = {-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
                               -0.0076224613,   0.00943887047,  1.00167406,    2.83297682};
    const ivec k = (word >> 9) & iset(0x7fffff);
    const vec t = as_real(iset(ONE_BITS) | (k << (MANTISSA - 23))) - R(1); /* k / 2^23, and so is all of u exact */
    const vec u = (t + t) - R(1 - 1.0 / 8388608);
    const vec w = -vlog((R(1) - u) * (R(1) + u));
    const vmask tail = vle(R(5), w);
    const vec v = vselect(tail, vsqrt(w) - R(3), w - R(2.5));
    vec p = vselect(tail, R(far[0]), R(near[0]));
    EACH(i, 8) p = vfma(p, v, vselect(tail, R(far[i + 1]), R(near[i + 1])));
    return R(1.41421356237309504880) * (p * u);
}

INLINE void shake(real *y, const real *x, const drawn *d, i64 n, const noise_pass *p)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        put(y + i, vfma(p->scale, normal(widen32(d->word + i)), x ? take(x + i, rest) : R(0)), rest);
    }
}

INLINE void stretch(real *y, const real *x, const drawn *d, i64 n, const noise_pass *p)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const vec factor = vfma(p->scale, normal(widen32(d->word + i)), R(1));
        put(y + i, x ? take(x + i, rest) * factor : factor, rest);
    }
}

static void k_gaussian_noise(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                             double value, const fr_stream *key)
{
    const noise_pass p = {.scale = vset((real)rate)};
    (void)batch_rows, (void)value;
    noise_of(y, x, rows, cols, first_row, key, 4, &p, shake);
}

static void k_multiplicative_noise(void *y, const void *x, i64 rows, i64 cols, i64 first_row, i64 batch_rows,
                                   double rate, double value, const fr_stream *key)
{
    const noise_pass p = {.scale = vset((real)rate)};
    (void)batch_rows, (void)value;
    noise_of(y, x, rows, cols, first_row, key, 4, &p, stretch);
}

/* ---- whole rows, other rows ----------------------------------------------------------------------------------------- */

/* Each row times what dropout would multiply its first unit by in a batch of one column */
static void k_drop_path(void *y_, const void *x_, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                        double value, const fr_stream *key)
{
    real *y = y_, factor;
    const real *x = x_;
    for (i64 r = 0; r < rows; r++, y += cols) {
        k_dropout(&factor, NULL, 1, 1, first_row + r, batch_rows, rate, value, key);
        const vec f = vset(factor);
        for (i64 j = 0; j < cols; j += VL) {
            const int rest = vrest(j, cols);
            const vec kept = x ? take(x + r * cols + j, rest) * f : f;
            put(y + j, factor == 0 ? R(0) : kept, rest);
        }
    }
}

/* A number of the first word of its pair below the threshold: the same column of the row that the second one chooses
 * among the others of the batch. */
static void k_swap_noise(void *y_, const void *x_, i64 rows, i64 cols, i64 first_row, i64 batch_rows, double rate,
                         double value, const fr_stream *key)
{
    real *y = y_;
    const real *x = x_;
    const i64 stride = (cols + 15) / 16 * 16, at_once = 2 * WL;
    const u64 threshold = batch_rows > 1 ? (u64)fr_dropout_threshold(rate) : 0;
    const philox_key schedule = philox_schedule(key);
    (void)value;
    for (i64 r = 0; r < rows; r++)
        for (i64 j = 0; j < cols; j += at_once) {
            drawn d;
            const i64 n = cols - j < at_once ? cols - j : at_once;
            const philox_block block = philox((u64)(((first_row + r) * stride + j) / 2), &schedule);
            philox_store(d.pair, &block);
            for (i64 i = 0; i < n; i++) {
                i64 from = r;
                if ((d.pair[i] & 0xffff) < threshold) {
                    from += 1 + (i64)(((d.pair[i] >> 32) * (u64)(batch_rows - 1)) >> 32);
                    if (first_row + from >= batch_rows) from -= batch_rows; /* round the end of the batch */
                }
                y[r * cols + j + i] = x[from * cols + j + i];
            }
        }
}
