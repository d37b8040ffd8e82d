/* augment.c: images changed at random, row by row, on their way into a batch.
 *
 * What happens to a row is a pure function of (seed, epoch, the row's number in its table, the number of the
 * augmentation): neither the size nor the order of batches matters. The words of a row are Philox blocks with counter
 * (block, stream, row, epoch). Decisions are made on integers and float64 without rounding, so that all levels, both
 * dtypes and the NumPy twin make the same.
 */
#include "fastreg.h"
#include "vec.h"

#define WORDS 8 /* of a row, for all that is decided once for an image */

/* The keys of one row, from those of its epoch. */
INLINE fr_stream stream_of_row(const fr_stream *key, i64 row)
{
    return (fr_stream){key->seed, key->step << 32 | ((u64)row & 0xffffffff), key->stream};
}

/* Whether an event of such a probability happens. */
INLINE int happens(u32 word, double probability) { return word < 4294967296.0 * probability; }

/* An integer in [0, n). */
INLINE i64 below(u32 word, i64 n) { return (i64)((u64)word * (u64)n >> 32); }

/* A number in (-1, 1), none of them more probable. */
INLINE double between(u32 word) { return (2.0 * word + 1) / 4294967296.0 - 1; }

typedef void image_function(real *y, const real *x, const fr_image *shape, const double *numbers, const u32 *word);

INLINE void each_image(void *y_, const void *x_, const i64 *rows, i64 n, const fr_image *shape, const double *numbers,
                       const fr_stream *key, image_function *change)
{
    real *y = y_;
    const real *x = x_;
    const i64 size = shape->height * shape->width * shape->channels;
    for (i64 i = 0; i < n; i++, y += size, x += size) {
        u32 word[WORDS];
        const fr_stream of_row = stream_of_row(key, rows[i]);
        k_random_words(word, WORDS / 4, 0, &of_row);
        change(y, x, shape, numbers, word);
    }
}

#define AUGMENT(name, change)                                                                                          \
    static void k_##name(void *y, const void *x, const i64 *rows, i64 n, const fr_image *shape, const double *numbers, \
                         const fr_stream *key)                                                                         \
    {                                                                                                                  \
        each_image(y, x, rows, n, shape, numbers, key, change);                                                        \
    }

/* ---- pixels that move --------------------------------------------------------------------------------------------- */

/* Where pixels come from: pixel (i, j) of y is pixel start + i down + j across of x. */
typedef struct {
    i64 start, down, across;
} pixel_map;

INLINE void copy_pixel(real *y, const real *x, i64 channels)
{
    for (i64 c = 0; c < channels; c++) y[c] = x[c];
}

INLINE void map_pixels(real *y, const real *x, const fr_image *s, pixel_map from)
{
    const i64 row = s->width * s->channels;
    for (i64 i = 0; i < s->height; i++, y += row) {
        const real *source = x + (from.start + i * from.down) * s->channels;
        if (from.across == 1) memcpy(y, source, (size_t)row * sizeof(real));
        else
            for (i64 j = 0; j < s->width; j++)
                copy_pixel(y + j * s->channels, source + j * from.across * s->channels, s->channels);
    }
}

/* numbers: probabilities of left and right, and of top and bottom, to change places */
static void flip_image(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const int mirrored = happens(word[0], numbers[0]), upside_down = happens(word[1], numbers[1]);
    const i64 last_row = (s->height - 1) * s->width;
    const pixel_map from = {(upside_down ? last_row : 0) + (mirrored ? s->width - 1 : 0),
                            upside_down ? -s->width : s->width, mirrored ? -1 : 1};
    map_pixels(y, x, s, from);
}

/* numbers: the sum of 2^k for each k of quarter turns, counterclockwise, that may happen, all as probably; k = 1 and 3 are
 * for square images */
static void rotate_image(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const i64 w = s->width, last = s->height * w - 1;
    const pixel_map turned[] = {{0, w, 1}, {w - 1, -1, w}, {last, -w, -1}, {last - w + 1, 1, -w}};
    int turns[4], n = 0;
    for (int k = 0; k < 4; k++)
        if ((int)numbers[0] >> k & 1) turns[n++] = k;
    map_pixels(y, x, s, turned[turns[below(word[0], n)]]);
}

AUGMENT(random_flip, flip_image)
AUGMENT(random_rotate, rotate_image)

/* ---- parts of an image, and a constant around or in them ---------------------------------------------------------- */

INLINE i64 within(i64 i, i64 n) { return i < 0 ? 0 : i < n ? i : n; }

INLINE void fill(real *y, i64 start, i64 stop, real value)
{
    for (i64 i = start; i < stop; i++) y[i] = value;
}

/* Row i of y is row i - down of x, moved to the right; what comes from outside is `value`. */
INLINE void shift_row(real *y, const real *x, const fr_image *s, i64 i, i64 down, i64 right, real value)
{
    const i64 c = s->channels, row = s->width * c, from = i - down;
    const int inside = 0 <= from && from < s->height;
    const i64 first = inside ? within(right, s->width) * c : row;
    const i64 stop = inside ? within(s->width + right, s->width) * c : row;
    y += i * row;
    fill(y, 0, first, value);
    if (first < stop) memcpy(y + first, x + from * row + first - right * c, (size_t)(stop - first) * sizeof(real));
    fill(y, stop, row, value);
}

/* y = x inside rows top to bottom and columns left to right, `value` outside; or, with `inverse`, just the reverse */
INLINE void keep_box(real *y, const real *x, const fr_image *s, const i64 box[4], int inverse, real value)
{
    const i64 c = s->channels, row = s->width * c;
    const i64 top = within(box[0], s->height), bottom = within(box[1], s->height);
    const i64 left = within(box[2], s->width) * c, right = within(box[3], s->width) * c;
    for (i64 i = 0; i < s->height; i++, y += row, x += row) {
        const int crosses = top <= i && i < bottom;
        if (inverse || crosses) memcpy(y, x, (size_t)row * sizeof(real));
        else fill(y, 0, row, value);
        if (!crosses) continue;
        if (inverse) fill(y, left, right, value);
        else fill(y, 0, left, value), fill(y, right, row, value);
    }
}

/* numbers: pixels, at most, up or down, and to either side; what comes in from outside */
static void shift_image(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const i64 rows = (i64)numbers[0], columns = (i64)numbers[1];
    const i64 down = below(word[0], 2 * rows + 1) - rows, right = below(word[1], 2 * columns + 1) - columns;
    for (i64 i = 0; i < s->height; i++) shift_row(y, x, s, i, down, right, (real)numbers[2]);
}

/* numbers: rows and columns that are cut off at each side, how probably, and what takes their place */
static void crop_image(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const int crops = happens(word[0], numbers[2]);
    const i64 rows = crops ? (i64)numbers[0] : 0, columns = crops ? (i64)numbers[1] : 0;
    const i64 box[] = {rows, s->height - rows, columns, s->width - columns};
    keep_box(y, x, s, box, 0, (real)numbers[3]);
}

/* numbers: the side of the square that is cut out, anywhere, beyond the border too; how probably; what it becomes */
static void cut_out(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const i64 side = happens(word[0], numbers[1]) ? (i64)numbers[0] : 0;
    const i64 top = below(word[1], s->height) - side / 2, left = below(word[2], s->width) - side / 2;
    const i64 box[] = {top, top + side, left, left + side};
    keep_box(y, x, s, box, 1, (real)numbers[2]);
}

AUGMENT(random_shift, shift_image)
AUGMENT(center_crop, crop_image)
AUGMENT(cutout, cut_out)

/* ---- brightness, contrast, saturation ----------------------------------------------------------------------------- */

/* The mean of n numbers, summed as everything is: 16 lanes, chunks in float64. */
static double mean_of(const real *x, i64 n)
{
    double total = 0;
    for (i64 i = 0; i < n; i += FR_CHUNK) total += ordered_sum(x + i, n - i < FR_CHUNK ? n - i : FR_CHUNK);
    return total / (double)n;
}

/* y = gain (x - center) + level */
INLINE void rescale(real *y, const real *x, i64 n, double gain, double center, double level)
{
    const vec g = vset((real)gain), c = vset((real)center), l = vset((real)level);
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        put(y + i, vfma(g, take(x + i, rest) - c, l), rest);
    }
}

/* Each pixel of three channels away from its grey (ITU-R BT.601), or towards it, in place. */
INLINE void saturate(real *y, const fr_image *s, double gain)
{
    for (i64 i = 0; i < s->height * s->width; i++, y += 3) {
        const real grey = fma1((real)0.299, y[0], fma1((real)0.587, y[1], (real)0.114 * y[2]));
        for (int c = 0; c < 3; c++) y[c] = fma1((real)gain, y[c] - grey, grey);
    }
}

/* numbers: how much, at most, is added; by how much the distances from the image's mean change; those from grey */
static void jitter_image(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const i64 n = s->height * s->width * s->channels;
    const double added = numbers[0] * between(word[0]), mean = numbers[1] ? mean_of(x, n) : 0;
    rescale(y, x, n, 1 + numbers[1] * between(word[1]), mean, mean + added);
    if (numbers[2] && s->channels == 3) saturate(y, s, 1 + numbers[2] * between(word[2]));
}

AUGMENT(color_jitter, jitter_image)

/* numbers: the standard deviation. Number j of an image has word j of its row. */
static void k_pixel_noise(void *y_, const void *x_, const i64 *rows, i64 n, const fr_image *shape,
                          const double *numbers, const fr_stream *key)
{
    real *y = y_;
    const real *x = x_;
    const i64 size = shape->height * shape->width * shape->channels;
    for (i64 i = 0; i < n; i++, y += size, x += size) {
        const fr_stream of_row = stream_of_row(key, rows[i]);
        k_gaussian_noise(y, x, 1, size, 0, 1, numbers[0], 0, &of_row);
    }
}

/* ---- one of several ----------------------------------------------------------------------------------------------- */

/* Row i moves to the right by (i - middle) slope, rounded. */
INLINE void shear_right(real *y, const real *x, const fr_image *s, double slope)
{
    const double middle = (double)(s->height - 1) / 2;
    for (i64 i = 0; i < s->height; i++) shift_row(y, x, s, i, 0, (i64)fr_rounded(slope * ((double)i - middle)), 0);
}

/* Column j moves down by (j - middle) slope, rounded. */
INLINE void shear_down(real *y, const real *x, const fr_image *s, double slope)
{
    const double middle = (double)(s->width - 1) / 2;
    const i64 c = s->channels;
    for (i64 j = 0; j < s->width; j++) {
        const i64 down = (i64)fr_rounded(slope * ((double)j - middle));
        for (i64 i = 0; i < s->height; i++) {
            real *to = y + (i * s->width + j) * c;
            if (0 <= i - down && i - down < s->height) copy_pixel(to, x + ((i - down) * s->width + j) * c, c);
            else fill(to, 0, c, 0);
        }
    }
}

/* numbers: the magnitude, in [0, 1]. Ranges are those of RandAugment in torchvision, and of Cutout half a side. */
static void change_somehow(real *y, const real *x, const fr_image *s, const double *numbers, const u32 *word)
{
    const i64 n = s->height * s->width * s->channels;
    const double size = numbers[0], sign = word[1] & 1 ? -1 : 1, gain = 1 + sign * 0.9 * size;
    const double cut[] = {fr_rounded(0.5 * size * (double)(s->height < s->width ? s->height : s->width)), 1, 0};
    const i64 down = (i64)fr_rounded(sign * size * 0.45 * (double)s->height);
    const i64 right = (i64)fr_rounded(sign * size * 0.45 * (double)s->width);
    double mean;
    switch (below(word[0], 9)) {
    case 0:
        shear_right(y, x, s, sign * 0.3 * size);
        break;
    case 1:
        shear_down(y, x, s, sign * 0.3 * size);
        break;
    case 2:
        for (i64 i = 0; i < s->height; i++) shift_row(y, x, s, i, down, 0, 0);
        break;
    case 3:
        for (i64 i = 0; i < s->height; i++) shift_row(y, x, s, i, 0, right, 0);
        break;
    case 4:
        rescale(y, x, n, gain, 0, 0);
        break;
    case 5:
        mean = mean_of(x, n);
        rescale(y, x, n, gain, mean, mean);
        break;
    case 6:
        cut_out(y, x, s, cut, word + 2);
        break;
    case 7:
        memcpy(y, x, (size_t)n * sizeof(real));
        if (s->channels == 3) saturate(y, s, gain);
        break;
    default:
        memcpy(y, x, (size_t)n * sizeof(real));
    }
}

AUGMENT(rand_augment, change_somehow)
