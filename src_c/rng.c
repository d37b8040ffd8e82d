/* rng.c: counter-based random numbers (Philox4x32-10, Salmon et al. 2011) and dropout.
 *
 * A number is a pure function of (seed, stream, step, position): nothing is kept, any part can be drawn alone.
 * Counter = (block, stream, step low, step high), key = (seed low, seed high). A block gives four 32-bit words, read
 * as eight 16-bit numbers, low half first. Row r, unit j of a batch has number r * stride + j, where stride is the
 * row's length rounded up to 16. Blocks are computed WL at a time in 64-bit lanes.
 */
#include "fastreg.h"
#include "vec.h"

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

/* ---- dropout ------------------------------------------------------------------------------------------------------ */

/* y = x * scale where its number reaches the threshold, else 0; n <= 8 * WL elements */
INLINE void drop(real *y, const real *x, const uint16_t *number, i64 n, const ivec threshold, const vec scale)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        const ivec dropped = iless(widen16(number + i), threshold);
        const vec kept = x ? take(x + i, rest) * scale : scale;
        put(y + i, as_real(~dropped & as_int(kept)), rest);
    }
}

static void k_dropout(void *y_, const void *x_, i64 rows, i64 cols, i64 first_row, double rate, const fr_stream *key)
{
    real *y = y_;
    const real *x = x_;
    const i64 stride = (cols + 15) / 16 * 16, first = first_row * stride;
    const ivec threshold = iset((rint_t)fr_dropout_threshold(rate));
    const vec scale = vset((real)fr_dropout_scale(rate));
    const philox_key schedule = philox_schedule(key);
    if (stride == cols) { /* rows follow each other without gaps: the batch is one long row */
        cols *= rows;
        rows = 1;
    }
    for (i64 r = 0; r < rows; r++)
        for (i64 j = 0; j < cols; j += 8 * WL) {
            union {
                u64 word[2 * WL];
                uint16_t number[8 * WL];
            } drawn;
            const i64 n = cols - j < 8 * WL ? cols - j : 8 * WL, at = r * cols + j;
            const philox_block block = philox((u64)((first + r * stride + j) / 8), &schedule);
            philox_store(drawn.word, &block);
            drop(y + at, x ? x + at : NULL, drawn.number, n, threshold, scale);
        }
}
