/* mix.c: rows blended with other rows of their batch, and their targets and weights in the same shares.
 *
 * A kernel of the family `mix` writes which share each column keeps of its own row; `blend` does it. Nothing is blended
 * in place: a row is its own and, for another, the partner.
 */
#include "fastreg.h"
#include "vec.h"
#include <math.h>

/* Mixup (Zhang et al. 2018): the same share in all columns. */
static double k_mixup(void *keep_, const fr_image *shape, double share, const fr_stream *key)
{
    real *keep = keep_;
    const i64 size = shape->height * shape->width * shape->channels;
    for (i64 j = 0; j < size; j++) keep[j] = (real)share;
    return share;
}

#define FIRST_BLOCK (1 << 30) /* those before are what decides about the batch */

/* CutMix (Yun et al. 2019): all but a box, of the share that is not kept before it is cut at the border. */
static double k_cutmix(void *keep_, const fr_image *shape, double share, const fr_stream *key)
{
    real *keep = keep_;
    u32 word[4];
    k_random_words(word, 1, FIRST_BLOCK, key);
    const i64 size = shape->height * shape->width * shape->channels;
    const double side = sqrt(1 - share);
    const i64 rows = (i64)(side * (double)shape->height), columns = (i64)(side * (double)shape->width);
    const i64 top = below(word[0], shape->height) - rows / 2, left = below(word[1], shape->width) - columns / 2;
    const i64 first = within(top, shape->height), last = within(top + rows, shape->height);
    const i64 from = within(left, shape->width), to = within(left + columns, shape->width);
    fill(keep, 0, size, 1);
    for (i64 i = first; i < last; i++)
        fill(keep, (i * shape->width + from) * shape->channels, (i * shape->width + to) * shape->channels, 0);
    return 1 - (double)((last - first) * (to - from)) / (double)(shape->height * shape->width);
}

/* The same of a table: each column is kept with the probability `share`. */
static double k_cutmix_features(void *keep_, const fr_image *shape, double share, const fr_stream *key)
{
    real *keep = keep_;
    const i64 size = shape->height * shape->width * shape->channels;
    i64 kept = 0;
    u32 word[4];
    for (i64 j = 0; j < size; j++) {
        if (j % 4 == 0) k_random_words(word, 1, FIRST_BLOCK + j / 4, key);
        keep[j] = (real)happens(word[j % 4], share);
        kept += happens(word[j % 4], share);
    }
    return (double)kept / (double)size;
}

static void k_blend(void *y_, const void *x_, const void *partner_, const void *keep_, i64 rows, i64 cols)
{
    real *y = y_;
    const real *x = x_, *partner = partner_, *keep = keep_;
    for (i64 i = 0; i < rows; i++, y += cols, x += cols, partner += cols)
        for (i64 j = 0; j < cols; j += VL) {
            const int rest = vrest(j, cols);
            const vec own = take(keep + j, rest);
            put(y + j, vfma(own, take(x + j, rest), (vset(1) - own) * take(partner + j, rest)), rest);
        }
}

/* A row of weight w1 and its partner of weight w2 make one of weight w = share w1 + (1 - share) w2, whose target t is
 * such that w t = share w1 t1 + (1 - share) w2 t2: the loss, linear in t, of both rows in their shares. */
static void k_blend_targets(void *t_, void *w_, const void *t1_, const void *t2_, const void *w1_, const void *w2_,
                            i64 rows, i64 cols, double share)
{
    real *t = t_, *w = w_;
    const real *t1 = t1_, *t2 = t2_, *w1 = w1_, *w2 = w2_;
    for (i64 i = 0; i < rows; i++, t += cols, t1 += cols, t2 += cols) {
        real own = (real)share;
        if (w) {
            const real first = own * w1[i], second = (1 - own) * w2[i];
            w[i] = first + second;
            if (w[i] > 0) own = first / w[i];
        }
        for (i64 j = 0; j < cols; j++) t[j] = fma1(own, t1[j], (1 - own) * t2[j]);
    }
}
