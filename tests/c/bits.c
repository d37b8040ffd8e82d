/* bits.c: do all levels, compilers and machines compute the same bits?
 *
 *   bits            every level that this machine runs
 *   bits avx2       that level only
 *
 * For float32 and float64 it calls each kernel of the list on awkward sizes, then trains five small networks as the
 * engine does: gather, dropout, forward, loss, backward, penalties, update, proximal step. One line per kernel and per
 * network: level, dtype, name, a hash of all that was computed, and the sum of its magnitudes, by which levels without
 * FMA hardware are compared. Input comes from an integer generator, nothing from the C library's mathematics.
 */
#include "fastreg.h"
#include "fpmode.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fr_table *table;
static i64 size; /* bytes of a number of the table's dtype */

#define KERNEL(family, id) ((fr_##family *)table->kernel[id])
#define CALL(family, name) KERNEL(family, FR_##name)
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EACH(item, list) for (int item = 0; item < COUNT(list); item++)

/* ---- numbers, and the memory they are in: exactly as much as asked for, so that a sanitizer sees every step beside it */

static u64 random_state;
static void *kept[256];
static int n_kept;

/* In [-1, 1), 53 bits: exact in float64. */
static double uniform(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)((i64)(random_state >> 11) - ((i64)1 << 52)) / 4503599627370496.0;
}

static void *keep(void *block)
{
    if (!block || n_kept == COUNT(kept)) abort();
    return kept[n_kept++] = block;
}

static void release(void)
{
    while (n_kept) free(kept[--n_kept]);
}

static void *at(void *x, i64 i) { return (char *)x + i * size; }
static double get(const void *x, i64 i) { return size == 8 ? ((const double *)x)[i] : ((const float *)x)[i]; }
static void set(void *x, i64 i, double value)
{
    if (size == 8) ((double *)x)[i] = value;
    else ((float *)x)[i] = (float)value;
}

static void *constant(i64 n, double value)
{
    void *x = keep(malloc((size_t)(n * size + !n)));
    for (i64 i = 0; i < n; i++) set(x, i, value);
    return x;
}

static void *numbers(i64 n, double center, double spread)
{
    void *x = constant(n, 0);
    for (i64 i = 0; i < n; i++) set(x, i, center + spread * uniform());
    return x;
}

/* Numbers among which are those where instruction sets like to differ. */
static void *salted(i64 n, double spread)
{
    const double special[] = {0, -0.0, INFINITY, -INFINITY, NAN, 1e-40, -1e-310, 1e-7, 0.625, -0.625, 88, -104, 1e30};
    void *x = numbers(n, 0, spread);
    EACH(i, special)
        if (n > 16) set(x, i * 7 % n, special[i]);
    return x;
}

/* Integers in [0, limit) of our own generator, as labels or row numbers. */
static void *integers(i64 n, u32 limit, int wide)
{
    const fr_stream key = {7, (u64)n, 1 << 16};
    u32 *word = keep(malloc((size_t)(n + 4) * sizeof *word));
    void *out = keep(malloc((size_t)(n + 1) * 8));
    CALL(random, random_words)(word, (n + 3) / 4, 0, &key);
    for (i64 i = 0; i < n; i++)
        if (wide) ((i64 *)out)[i] = word[i] % limit;
        else ((int32_t *)out)[i] = (int32_t)(word[i] % limit);
    return out;
}

/* ---- the hash: FNV-1a, 64 bits. Any NaN counts as the same: processors differ in which one they make ------------ */

static u64 hash;
static double magnitude;

static void absorb_bits(u64 bits, int bytes)
{
    for (int i = 0; i < bytes; i++) hash = (hash ^ (bits >> 8 * i & 0xff)) * 0x100000001b3u;
}

static void absorb_double(double x)
{
    u64 bits;
    memcpy(&bits, &x, 8);
    absorb_bits(x != x ? 0x7ff8000000000000u : bits, 8);
    if (-1e6 < x && x < 1e6) magnitude += x < 0 ? -x : x;
}

static void absorb(const void *x, i64 n) /* float to double is exact */
{
    for (i64 i = 0; i < n; i++) absorb_double(get(x, i));
}

static void begin(void)
{
    hash = 0xcbf29ce484222325u;
    magnitude = 0;
    random_state = 1;
}

static void report(const char *what)
{
    printf("%s %s %s %016" PRIx64 " %.9g\n", table->level, size == 8 ? "float64" : "float32", what, hash, magnitude);
    release();
}

/* ---- each kernel on awkward sizes: one probe per family ----------------------------------------------------------- */

static const i64 lengths[] = {1, 7, 8, 9, 15, 16, 17, 33, 100, 3001};
static const i64 widths[] = {1, 2, 10, 15, 16, 17, 37, 1000};

/* Exactly what a layer's products may use, poisoned. */
static void *scratch_for(i64 rows, i64 inputs, i64 units)
{
    const i64 longest = inputs > units ? inputs : units;
    const i64 panel = FR_PANEL_SCRATCH(rows > longest ? rows : longest), weight = FR_WEIGHT_SCRATCH(rows, inputs);
    return constant(panel > weight ? panel : weight, NAN);
}

static void probe_product(fr_kernel f, int id)
{
    static const i64 sizes[][3] = {{1, 1, 1},      {3, 5, 7},     {5, 9, 0},      {33, 70, 300}, {7, 37, 513},
                                   {17, 100, 256}, {12, 300, 70}, {300, 70, 600}, {61, 200, 90}, {1, 130, 257}};
    EACH(i, sizes) {
        const i64 m = sizes[i][0], n = sizes[i][1], k = sizes[i][2];
        const i64 layer[][3] = {{m, k, n}, {m, n, k}, {k, m, n}}; /* (rows, inputs, units) of the layer: NN, NT, TN */
        const i64 *l = layer[id - FR_gemm_nn];
        void *a = numbers(m * k, 0, 1), *b = numbers(k * n, 0, 1), *c = numbers(m * n, 0, 1);
        void *bias = i % 3 ? numbers(n, 0, 1) : NULL, *scratch = scratch_for(l[0], l[1], l[2]);
        const fr_part parts[] = {{0, m / 2, 0, n}, {m / 2, m - m / 2, 0, n / 3}, {m / 2, m - m / 2, n / 3, n - n / 3}};
        if (i % 4 < 2) ((fr_product *)f)(c, a, b, bias, m, n, k, i % 2, NULL, scratch);
        else
            EACH(j, parts) ((fr_product *)f)(c, a, b, bias, m, n, k, i % 2, &parts[j], scratch);
        absorb(c, m * n);
    }
}

/* A table of m sparse rows of n columns: every third number, and none in the first row. */
typedef struct {
    void *value;
    int32_t *column;
    i64 *start;
} sparse;

static sparse sparse_rows(i64 m, i64 n)
{
    sparse s = {numbers(m * n, 0, 1), keep(malloc((size_t)(m * n + 1) * 4)), keep(malloc((size_t)(m + 1) * 8))};
    i64 k = s.start[0] = 0;
    for (i64 i = 0; i < m; i++) {
        for (i64 j = 0; j < n && i; j++)
            if ((i * n + j) % 3 == 0) s.column[k++] = (int32_t)j;
        s.start[i + 1] = k;
    }
    return s;
}

static void probe_sparse_product(fr_kernel f, int id)
{
    static const i64 sizes[][2] = {{1, 1}, {7, 16}, {70, 33}, {300, 100}, {1000, 130}};
    (void)id;
    EACH(i, sizes) {
        const i64 k = sizes[i][0], n = sizes[i][1];
        const sparse s = sparse_rows(20, k);
        void *c = constant(33 * n, NAN), *b = numbers(k * n, 0, 1), *bias = i % 2 ? numbers(n, 0, 1) : NULL;
        ((fr_sparse_product *)f)(c, s.value, s.column, s.start, integers(33, 20, 1), b, bias, 33, n);
        absorb(c, 33 * n);
    }
}

static void probe_sparse_transpose(fr_kernel f, int id)
{
    const i64 m = 40, n = 70;
    const sparse s = sparse_rows(m, n);
    void *value = constant(m * n, 0);
    int32_t *row = keep(calloc((size_t)(m * n), 4));
    i64 *start = keep(malloc((size_t)(n + 1) * 8));
    (void)id;
    ((fr_sparse_transpose *)f)(value, row, start, s.value, s.column, s.start, NULL, m, n);
    absorb(value, m * n);
    for (i64 i = 0; i < m * n; i++) absorb_bits((u64)row[i], 4);
    for (i64 j = 0; j <= n; j++) absorb_bits((u64)start[j], 8);
}

static void probe_reduction(fr_kernel f, int id)
{
    static const i64 sizes[][2] = {{0, 3}, {1, 1}, {33, 70}, {600, 16}, {257, 129}, {300, 1100}};
    (void)id;
    EACH(i, sizes) {
        void *out = constant(sizes[i][1], NAN);
        ((fr_reduction *)f)(out, numbers(sizes[i][0] * sizes[i][1], 0, 1), sizes[i][0], sizes[i][1]);
        absorb(out, sizes[i][1]);
    }
}

static void probe_activation(fr_kernel f, int id)
{
    (void)id;
    EACH(i, widths)
        for (int salt = 0; salt < 2; salt++) {
            const i64 n = 3 * widths[i];
            void *y = constant(n, NAN);
            ((fr_activation *)f)(y, salt ? salted(n, 2) : numbers(n, 0, 16), 3, widths[i], 0.01);
            absorb(y, n);
        }
}

static void probe_gradient(fr_kernel f, int id)
{
    (void)id;
    EACH(i, widths)
        for (int salt = 0; salt < 2; salt++) {
            const i64 n = 3 * widths[i];
            void *dx = constant(n, NAN), *dy = numbers(n, 0, 2);
            ((fr_gradient *)f)(dx, dy, salt ? salted(n, 1) : numbers(n, 0, 1), 3, widths[i], 1.25);
            absorb(dx, n);
        }
}

static int takes_labels(int id) { return id == FR_cross_entropy_labels || id == FR_log_loss_labels; }

static void probe_loss(fr_kernel f, int id)
{
    static const i64 rows[] = {1, 2, 3, 17, 33, 300};
    static double by_output[5000], none[2]; /* numbers of the losses that have some: of each output, or two */
    EACH(i, by_output) by_output[i] = 0.1 + 0.001 * (double)(i % 700);
    EACH(i, rows)
        EACH(j, widths) {
            const double *own = (i + j) % 2 && id != FR_quantile ? none : by_output;
            const i64 n = rows[i] * widths[j];
            void *target = takes_labels(id) ? integers(rows[i], (u32)widths[j], 0) : numbers(n, 0.5, 0.5);
            void *dz = constant(n, NAN), *weight = i % 2 ? numbers(rows[i], 0.5, 0.5) : NULL;
            absorb_double(((fr_loss *)f)(dz, numbers(n, 0, 8), target, weight, rows[i], widths[j], 0.3, 0.7, own));
            absorb(dz, n);
            if (j % 4 == 3) release();
        }
    if (takes_labels(id)) return;
    void *dz = constant(3 * 5000, NAN), *target = numbers(3 * 5000, 0.5, 0.5); /* rows longer than a chunk */
    absorb_double(((fr_loss *)f)(dz, numbers(3 * 5000, 0, 8), target, NULL, 3, 5000, 0.3, 0.7, by_output));
    absorb(dz, 3 * 5000);
}

static void probe_penalty(fr_kernel f, int id)
{
    static const i64 sizes[] = {1, 7, 16, 33, FR_CHUNK, 9001};
    (void)id;
    EACH(i, sizes) {
        const i64 n = sizes[i];
        void *g = numbers(n, 0, 1);
        absorb_double(((fr_penalty *)f)(g, numbers(n, 0, 1), n, 0.1));
        absorb(g, n);
    }
}

static void probe_prox(fr_kernel f, int id)
{
    (void)id;
    EACH(i, lengths) {
        void *w = salted(lengths[i], 1);
        ((fr_prox *)f)(w, i % 2 ? numbers(lengths[i], 0.5, 0.5) : NULL, lengths[i], 0.3, 0.6);
        absorb(w, lengths[i]);
    }
}

static void probe_update(fr_kernel f, int id)
{
    EACH(i, lengths) {
        const i64 n = lengths[i];
        const fr_step s = {0.1, 0.9, i % 2, 0.9, 0.999, 1e-8, 0.1, 0.001, i % 3 ? 0.01 : 0, i % 4 ? 1e-3 : 0};
        const int stateless = id == FR_sgd && i % 4 == 1;
        void *w = numbers(n, 0, 1), *m = stateless ? NULL : numbers(n, 0, 1);
        void *v = stateless ? NULL : numbers(n, 0.5, 0.5), *step = i % 2 && id == FR_adam ? constant(n, NAN) : NULL;
        ((fr_update *)f)(w, numbers(n, 0, 1), m, v, step, n, &s);
        absorb(w, n);
        if (m) absorb(m, n), absorb(v, n);
        if (step) absorb(step, n);
    }
}

static void probe_squares(fr_kernel f, int id)
{
    static const i64 sizes[] = {1, 7, 16, 33, FR_CHUNK, 9001};
    (void)id;
    EACH(i, sizes) absorb_double(((fr_squares *)f)(numbers(sizes[i], 0, 1e20), sizes[i]));
}

static void probe_clip(fr_kernel f, int id)
{
    (void)id;
    EACH(i, lengths) {
        void *x = salted(lengths[i], 1);
        ((fr_clip *)f)(x, lengths[i], 0.3);
        absorb(x, lengths[i]);
    }
}

static void probe_noise(fr_kernel f, int id)
{
    const fr_stream key = {0x0123456789abcdef, 0xfedcba9876543210, 3};
    EACH(i, widths)
        for (int mask = 0; mask < 2; mask++) {
            void *y = constant(33 * widths[i], NAN);
            void *x = mask && id != FR_swap_noise ? NULL : numbers(33 * widths[i], 0, 1);
            ((fr_noise *)f)(y, x, 33, widths[i], 0, 33, 0.1 + 0.05 * i, 0.5, &key);
            absorb(y, 33 * widths[i]);
        }
}

static void probe_sum(fr_kernel f, int id)
{
    (void)id;
    EACH(i, lengths) {
        void *y = constant(lengths[i], NAN);
        ((fr_sum *)f)(y, numbers(lengths[i], 0, 1), numbers(lengths[i], 0, 1), lengths[i]);
        absorb(y, lengths[i]);
    }
}

static const i64 batches[] = {1, 2, 33, 300};

static void probe_moments(fr_kernel f, int id)
{
    (void)id;
    EACH(i, batches)
        EACH(j, widths) {
            const i64 cols = widths[j], first = cols / 3; /* in two parts */
            void *mean = constant(cols, NAN), *variance = constant(cols, NAN), *x = numbers(batches[i] * cols, 1, 1);
            ((fr_moments *)f)(mean, variance, x, batches[i], cols, 0, first);
            ((fr_moments *)f)(mean, variance, x, batches[i], cols, first, cols - first);
            absorb(mean, cols), absorb(variance, cols);
            if (j % 4 == 3) release();
        }
}

static fr_statistics statistics(i64 rows, i64 cols)
{
    return (fr_statistics){numbers(cols, 0, 1), numbers(cols, 0.6, 0.5), 0.75, 1e-5, rows};
}

static void probe_norm(fr_kernel f, int id)
{
    (void)id;
    EACH(j, widths) {
        const i64 cols = widths[j];
        const fr_statistics s = statistics(33, cols);
        void *y = constant(33 * cols, NAN), *scale = numbers(cols, 0, 1), *shift = numbers(cols, 0, 1);
        ((fr_norm *)f)(y, numbers(33 * cols, 0, 2), scale, shift, 33, cols, &s);
        absorb(y, 33 * cols);
    }
}

static void probe_norm_sums(fr_kernel f, int id)
{
    (void)id;
    EACH(i, batches)
        EACH(j, widths) {
            const i64 rows = batches[i], cols = widths[j], first = cols / 3;
            const fr_statistics s = statistics(rows, cols);
            void *dscale = constant(cols, NAN), *dshift = constant(cols, NAN), *dy = numbers(rows * cols, 0, 1);
            void *x = numbers(rows * cols, 0, 2);
            ((fr_norm_sums *)f)(dscale, dshift, dy, x, rows, cols, 0, first, &s);
            ((fr_norm_sums *)f)(dscale, dshift, dy, x, rows, cols, first, cols - first, &s);
            absorb(dscale, cols), absorb(dshift, cols);
            if (j % 4 == 3) release();
        }
}

static void probe_norm_gradient(fr_kernel f, int id)
{
    (void)id;
    EACH(j, widths) {
        const i64 cols = widths[j];
        const fr_statistics s = statistics(33, cols);
        void *dx = constant(33 * cols, NAN), *x = numbers(33 * cols, 0, 2), *scale = numbers(cols, 0, 1);
        void *dy = numbers(33 * cols, 0, 1), *dscale = numbers(cols, 0, 1), *dshift = numbers(cols, 0, 1);
        ((fr_norm_gradient *)f)(dx, dy, x, scale, dscale, dshift, 33, cols, &s);
        absorb(dx, 33 * cols);
    }
}

static void probe_gather(fr_kernel f, int id)
{
    const int labels = id == FR_gather_labels, one_hot = id == FR_gather_one_hot;
    EACH(i, widths) {
        const i64 cols = labels ? 1 : widths[i];
        void *x = labels || one_hot ? integers(50, 10, 0) : numbers(50 * cols, 0, 1), *out = constant(33 * cols, 0);
        ((fr_gather *)f)(out, x, integers(33, 50, 1), 33, cols);
        for (i64 j = 0; j < 33 && labels; j++) absorb_bits((u64)((int32_t *)out)[j], 4);
        if (!labels) absorb(out, 33 * cols);
    }
}

static void probe_random(fr_kernel f, int id)
{
    const fr_stream key = {0x0123456789abcdef, 0xfedcba9876543210, 1 << 16};
    (void)id;
    EACH(i, lengths) {
        u32 *words = keep(malloc((size_t)lengths[i] * 16));
        ((fr_random *)f)(words, lengths[i], i * 1000003, &key);
        for (i64 j = 0; j < 4 * lengths[i]; j++) absorb_bits(words[j], 4);
    }
}

static const fr_image images[] = {{1, 1, 1}, {3, 4, 1}, {5, 5, 3}, {17, 2, 1}, {28, 28, 1}};

static void probe_augment(fr_kernel f, int id)
{
    const fr_stream key = {0x0123456789abcdef, 77, 3 << 16};
    const double settings[][4] = {[FR_random_flip] = {0.5, 0.3},   [FR_random_rotate] = {5},
                                  [FR_random_shift] = {2, 1, 0.5}, [FR_center_crop] = {1, 1, 0.5, 0.3},
                                  [FR_cutout] = {3, 0.8, 0.3},     [FR_color_jitter] = {0.3, 0.4, 0.5},
                                  [FR_pixel_noise] = {0.5},        [FR_rand_augment] = {0.7}};
    EACH(i, images) {
        const i64 cols = images[i].height * images[i].width * images[i].channels;
        void *y = constant(33 * cols, NAN);
        ((fr_augment *)f)(y, numbers(33 * cols, 0, 1), integers(33, 1000, 1), 33, &images[i], settings[id], &key);
        absorb(y, 33 * cols);
    }
}

static void probe_mix(fr_kernel f, int id)
{
    const fr_stream key = {0x0123456789abcdef, 0xfedcba9876543210, 4 << 16};
    (void)id;
    EACH(i, images) {
        const i64 cols = images[i].height * images[i].width * images[i].channels;
        void *keep = constant(cols, NAN);
        absorb_double(((fr_mix *)f)(keep, &images[i], 0.3, &key));
        absorb(keep, cols);
    }
}

static void probe_blend(fr_kernel f, int id)
{
    (void)id;
    EACH(i, widths) {
        const i64 n = 33 * widths[i];
        void *y = constant(n, NAN), *x = numbers(n, 0, 1), *partner = numbers(n, 0, 1);
        ((fr_blend *)f)(y, x, partner, numbers(widths[i], 0.5, 0.5), 33, widths[i]);
        absorb(y, n);
    }
}

static void probe_blend_targets(fr_kernel f, int id)
{
    (void)id;
    EACH(i, widths) {
        const i64 n = 33 * widths[i];
        void *t = constant(n, NAN), *w = i % 2 ? constant(33, NAN) : NULL;
        void *t1 = numbers(n, 0.5, 0.5), *t2 = numbers(n, 0.5, 0.5);
        void *w1 = numbers(33, 0.5, 0.5), *w2 = numbers(33, 0.5, 0.5);
        ((fr_blend_targets *)f)(t, w, t1, t2, w1, w2, 33, widths[i], 0.3);
        absorb(t, n);
        if (w) absorb(w, 33);
    }
}

static const struct {
    const char *name;
    void (*probe)(fr_kernel f, int id);
} probes[] = {
#define FR_KERNEL(family, name) {#name, probe_##family},
#include "kernel_list.h"
#undef FR_KERNEL
};

/* ---- five networks, trained as the engine does -------------------------------------------------------------------- */

#define LAYERS 3
#define ROWS 350 /* of the data */

typedef struct {
    const char *name;
    int loss, update, activation[2], softmax;
    i64 batch, width[LAYERS + 1];
    double rate;
} network;

static const network networks[] = {
    {"train/classes", FR_cross_entropy_labels, FR_sgd, {FR_relu, FR_tanh}, 0, 33, {300, 70, 37, 10}, 0.05},
    {"train/20_classes", FR_cross_entropy_labels, FR_adam, {FR_leaky_relu, FR_sigmoid}, 0, 33, {300, 70, 37, 20}, 0.01},
    {"train/binary", FR_binary_cross_entropy, FR_adam, {FR_relu, FR_tanh}, 0, 33, {300, 70, 37, 5}, 0.01},
    {"train/regression", FR_squared_error, FR_sgd, {FR_sigmoid, FR_relu}, 0, 300, {37, 70, 33, 3}, 0.05},
    {"train/softmax", FR_squared_error, FR_sgd, {FR_tanh, FR_leaky_relu}, 1, 33, {300, 70, 37, 17}, 0.05},
};

/* A network in training. Parameters, gradient and state are flat: all weights, then all biases. */
typedef struct {
    i64 weight[LAYERS], bias[LAYERS], n_weights, n;
    void *w, *g, *m, *v, *steps;
    void *data, *data_targets, *data_weights;                          /* all rows */
    void *y[LAYERS + 1], *d[LAYERS + 1], *targets, *weights, *scratch; /* of a batch */
    fr_step step;
} training;

static training prepare(const network *net)
{
    training t = {.step = {net->rate, 0.9, 1, 0.9, 0.999, 1e-8, 1, 1, net->rate * 0.01, 1e-4}};
    const i64 *width = net->width, outputs = width[LAYERS], widest = width[0] > width[1] ? width[0] : width[1];
    const int labels = net->loss == FR_cross_entropy_labels;
    for (int l = 0; l < LAYERS; l++) t.weight[l] = t.n, t.n += (width[l] * width[l + 1] + 15) / 16 * 16;
    t.n_weights = t.n;
    for (int l = 0; l < LAYERS; l++) t.bias[l] = t.n, t.n += (width[l + 1] + 15) / 16 * 16;
    t.w = numbers(t.n, 0, 0.125);
    t.g = constant(t.n, 0), t.m = constant(t.n, 0), t.v = constant(t.n, 0), t.steps = constant(FR_CHUNK, NAN);
    t.data = numbers(ROWS * width[0], 0, 1), t.data_weights = numbers(ROWS, 0.5, 0.5);
    t.data_targets = labels ? integers(ROWS, (u32)outputs, 0) : numbers(ROWS * outputs, 0.5, 0.5);
    for (int l = 0; l <= LAYERS; l++)
        t.y[l] = constant(net->batch * width[l], NAN), t.d[l] = constant(net->batch * width[l], NAN);
    t.targets = constant(net->batch * outputs, 0), t.weights = constant(net->batch, 0);
    t.scratch = scratch_for(net->batch, widest, widest);
    return t;
}

/* Activations of the batch in y[0]; dropout on the input, and fused behind a ReLU in the first layer. */
static void forward(const network *net, training *t, u64 step)
{
    const i64 batch = net->batch, *width = net->width;
    CALL(noise, dropout)(t->y[0], t->y[0], batch, width[0], 0, batch, 0.2, 0, &(fr_stream){99, step, 0});
    for (int l = 0; l < LAYERS; l++) {
        void *y = t->y[l + 1], *w = at(t->w, t->weight[l]), *b = at(t->w, t->bias[l]);
        CALL(product, gemm_nn)(y, t->y[l], w, b, batch, width[l + 1], width[l], 0, NULL, t->scratch);
        if (l < LAYERS - 1) KERNEL(activation, net->activation[l])(y, y, batch, width[l + 1], 0.01);
        else if (net->softmax) CALL(activation, softmax)(y, y, batch, width[l + 1], 0);
        if (l == 0 && net->activation[0] == FR_relu)
            CALL(noise, dropout)(y, y, batch, width[1], 0, batch, 0.5, 0, &(fr_stream){99, step, 1});
    }
}

/* Gradient of all parameters into g, from that of the outputs in the last d. */
static void backward(const network *net, training *t)
{
    const i64 batch = net->batch, *width = net->width;
    for (int l = LAYERS - 1; l >= 0; l--) {
        void *d = t->d[l + 1], *y = t->y[l + 1];
        const int slope = l < LAYERS - 1 ? FR_identity_gradient + net->activation[l] - FR_identity
                          : net->softmax ? FR_softmax_gradient
                                         : FR_identity_gradient;
        const double alpha = slope != FR_relu_gradient ? 0.01 : l == 0 ? fr_dropout_scale(0.5) : 1;
        KERNEL(gradient, slope)(d, d, y, batch, width[l + 1], alpha);
        CALL(product, gemm_tn)(at(t->g, t->weight[l]), t->y[l], d, NULL, width[l], width[l + 1], batch, 0, NULL,
                               t->scratch);
        CALL(reduction, column_sum)(at(t->g, t->bias[l]), d, batch, width[l + 1]);
        void *w = at(t->w, t->weight[l]);
        if (l) CALL(product, gemm_nt)(t->d[l], d, w, NULL, batch, width[l], width[l + 1], 0, NULL, t->scratch);
    }
}

/* Penalties, move and proximal step of parameters start .. stop, chunk by chunk. Returns the penalty before. */
static double update(const network *net, training *t, i64 start, i64 stop, double same, double strength)
{
    double penalty = 0;
    for (i64 i = start; i < stop; i += FR_CHUNK) {
        const i64 n = stop - i < FR_CHUNK ? stop - i : FR_CHUNK;
        void *w = at(t->w, i), *g = at(t->g, i), *steps = net->update == FR_adam ? t->steps : NULL;
        penalty += CALL(penalty, l1)(g, w, n, strength);
        penalty += CALL(penalty, l2)(g, w, n, strength);
        KERNEL(update, net->update)(w, g, at(t->m, i), at(t->v, i), steps, n, &t->step);
        CALL(prox, soft_threshold)(w, steps, n, same, 1e-3);
    }
    return penalty;
}

/* Copies a batch, its targets and weights; returns the sum of the weights. */
static double load(const network *net, training *t, const i64 *rows)
{
    const i64 batch = net->batch;
    double mass = 0;
    CALL(gather, gather)(t->y[0], t->data, rows, batch, net->width[0]);
    CALL(gather, gather)(t->weights, t->data_weights, rows, batch, 1);
    if (net->loss == FR_cross_entropy_labels) CALL(gather, gather_labels)(t->targets, t->data_targets, rows, batch, 1);
    else CALL(gather, gather)(t->targets, t->data_targets, rows, batch, net->width[LAYERS]);
    for (i64 i = 0; i < batch; i++) mass += get(t->weights, i);
    return mass;
}

static void train(const network *net)
{
    const i64 outputs = net->width[LAYERS];
    const double alpha = net->loss == FR_cross_entropy_labels ? 1 : 1.0 / (double)outputs;
    training t = prepare(net);
    const i64 *order = integers(10 * net->batch, ROWS, 1);
    double memory = 0, power1 = 1, power2 = 1; /* no pow of the C library: it is not the same everywhere */
    for (int step = 0; step < 30; step++) {
        const double mass = load(net, &t, order + step % 10 * net->batch);
        forward(net, &t, (u64)step);
        absorb_double(KERNEL(loss, net->loss)(t.d[LAYERS], t.y[LAYERS], t.targets, t.weights, net->batch, outputs,
                                              1 / mass, alpha, NULL));
        backward(net, &t);
        t.step.correction1 = 1 - (power1 *= t.step.beta1);
        t.step.correction2 = 1 - (power2 *= t.step.beta2);
        memory = t.step.momentum * memory + net->rate;
        const double same = t.step.momentum * memory + net->rate;
        absorb_double(update(net, &t, 0, t.n_weights, same, 1e-4));
        absorb_double(update(net, &t, t.n_weights, t.n, same, 0));
    }
    absorb(t.w, t.n), absorb(t.m, t.n), absorb(t.v, t.n);
}

int main(int argc, char **argv)
{
    const char *name;
    int found = 0, runs;
    const uint64_t mode = fr_enter();
    for (int i = 0; (name = fr_level(i, &runs)); i++) {
        if (!runs || (argc > 1 && strcmp(name, argv[1]))) continue;
        for (size = 4, found = 1; size <= 8; size += 4) {
            table = fr_table_for(size == 8, name);
            EACH(k, probes) begin(), probes[k].probe(table->kernel[k], k), report(probes[k].name);
            EACH(k, networks) begin(), train(&networks[k]), report(networks[k].name);
        }
    }
    fr_leave(mode);
    return found ? 0 : (fprintf(stderr, "no level %s here\n", argc > 1 ? argv[1] : ""), 2);
}
