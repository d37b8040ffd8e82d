/* products.c: how long do the products of a dense layer take, and how fast is this core at that moment?
 *
 *   products                            prints the levels that this machine runs
 *   products avx2 float32 < requests    prints a line for each request, a line "nn batch inputs units seconds rounds":
 *                                       seconds of a call, and the FMA peak of that moment in FLOP/s
 *
 * A request is timed in rounds of at least so many seconds, and the best counts; no rounds: one is enough, without the
 * peak (0 is printed). Between two rounds of the product, one of the peak: the clock drifts with what other cores do.
 * Compiled like the kernels: once for each level and dtype (-DFR_LEVEL, -DFR_F64), which gives that peak, and once
 * without, which gives the program.
 */
#ifdef __linux__
#define _GNU_SOURCE
#include <sched.h>
#endif
#include "fastreg.h"
#include "fpmode.h"

#define JOIN_(a, b, c) a##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)

/* `calls` times PEAK_STEPS dependent steps of as many FMAs as fill the machine; returns their FLOPs. */
typedef double peak_function(i64 calls);
#define PEAK_STEPS 1000

#ifdef FR_LEVEL
#include "vec.h"

#if VB == 64 || defined(__aarch64__) /* accumulators: as many as in a tile of gemm.c */
#define CHAINS 24
#else
#define CHAINS 12
#endif
#define ROWS 6 /* in two dimensions, because EACH unrolls up to 16 */
#ifdef FR_F64
#define FR_DTYPE f64
#else
#define FR_DTYPE f32
#endif

peak_function JOIN(peak_, FR_LEVEL, FR_DTYPE);
double JOIN(peak_, FR_LEVEL, FR_DTYPE)(i64 calls)
{
    static volatile real half = (real)0.5; /* another one at each reading, for all that the compiler knows */
    const vec x = vset(half);
    vec sum[ROWS][CHAINS / ROWS], all = vset(0);
    real lane[VL];
    EACH(i, ROWS)
        EACH(j, CHAINS / ROWS) sum[i][j] = vset(half);
    for (i64 step = 0; step < calls * PEAK_STEPS; step++)
        EACH(i, ROWS)
            EACH(j, CHAINS / ROWS) sum[i][j] = vfma(sum[i][j], x, x); /* tends to 1, never constant or subnormal */
    EACH(i, ROWS)
        EACH(j, CHAINS / ROWS) all = all + sum[i][j];
    vstore(lane, all);
    return lane[0] > 0 ? 2.0 * CHAINS * VL * PEAK_STEPS * (double)calls : 0; /* what is not used is not computed */
}

#else
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define ALIGNED(bytes) (((bytes) + 63) / 64 * 64)

/* ---- levels ------------------------------------------------------------------------------------------------------ */

extern peak_function peak_baseline_f32, peak_baseline_f64;
#ifdef FR_X86_LEVELS
extern peak_function peak_avx2_f32, peak_avx2_f64, peak_avx512_f32, peak_avx512_f64;
#endif
static peak_function *const peaks[][2] = {
    {peak_baseline_f32, peak_baseline_f64},
#ifdef FR_X86_LEVELS
    {peak_avx2_f32, peak_avx2_f64},
    {peak_avx512_f32, peak_avx512_f64},
#endif
};

static const fr_table *table;
static peak_function *peak;
static i64 size; /* bytes of a number */

static int choose(const char *level, const char *dtype)
{
    const char *name;
    const int float64 = !strcmp(dtype, "float64");
    for (int i = 0, runs; i < COUNT(peaks) && (name = fr_level(i, &runs)); i++)
        if (runs && !strcmp(name, level)) peak = peaks[i][float64];
    table = fr_table_for(float64, level);
    size = float64 ? 8 : 4;
    return table && peak;
}

/* ---- a product of a layer ---------------------------------------------------------------------------------------- */

enum { NN, NT, TN, KINDS };
static const char *const kinds[KINDS] = {"nn", "nt", "tn"};

typedef struct {
    fr_kernel kernel;
    i64 m, n, k;
    void *c, *a, *b, *bias, *scratch;
} product;

/* The only call. As in training, the forward product alone has a bias. */
static void multiply(const product *p)
{
    ((fr_product *)p->kernel)(p->c, p->a, p->b, p->bias, p->m, p->n, p->k, 0, NULL, p->scratch);
}

static void fill(void *x, i64 n)
{
    for (i64 i = 0; i < n; i++) {
        const double value = (double)(i * 7 % 17 - 8) / 16;
        if (size == 8) ((double *)x)[i] = value;
        else ((float *)x)[i] = (float)value;
    }
}

typedef struct {
    char *start;
    i64 room; /* bytes */
} block;

/* Makes room for arrays of these sizes, each aligned as in training. A block grows and is kept: pages are touched, and
 * numbers written, once. */
static int place(block *b, int n, const i64 *sizes, void **const *arrays)
{
    i64 needed = 64;
    for (int i = 0; i < n; i++) needed += ALIGNED(sizes[i] * size);
    if (needed > b->room) {
        free(b->start);
        if (!(b->start = malloc((size_t)needed))) return 0;
        fill(b->start, needed / size);
        b->room = needed;
    }
    char *next = (char *)ALIGNED((uintptr_t)b->start);
    for (int i = 0; i < n; i++) {
        *arrays[i] = next;
        next += ALIGNED(sizes[i] * size);
    }
    return 1;
}

/* What is read stays apart from what is written, or it would become ever larger. */
static int allocate(product *p, i64 scratch)
{
    static block in, out;
    return place(&in, 3, (const i64[]){p->m * p->k, p->k * p->n, p->n}, (void **[]){&p->a, &p->b, &p->bias}) &&
           place(&out, 2, (const i64[]){p->m * p->n, scratch}, (void **[]){&p->c, &p->scratch});
}

/* The letters of the product from the sizes of the layer; 0 where there is no such product, or no memory for it. */
static int prepare(product *p, const char *name, i64 batch, i64 inputs, i64 units)
{
    int kind = 0;
    while (kind < KINDS && strcmp(name, kinds[kind])) kind++;
    if (kind == KINDS || batch < 1 || inputs < 1 || units < 1) return 0;
    p->kernel = table->kernel[FR_gemm_nn + kind];
    p->m = kind == TN ? inputs : batch;
    p->n = kind == NT ? inputs : units;
    p->k = kind == NN ? inputs : kind == NT ? units : batch;
    if (!allocate(p, kind == TN ? FR_WEIGHT_SCRATCH(batch, inputs) : FR_PANEL_SCRATCH(p->k))) return 0;
    if (kind != NN) p->bias = NULL;
    return 1;
}

/* ---- timing ------------------------------------------------------------------------------------------------------ */

#define LEAST_PEAK 1e-3 /* seconds of a round of the peak, and the most */
#define MOST_PEAK 2e-2

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double time_calls(const product *p, i64 calls)
{
    const double start = now();
    for (i64 i = 0; i < calls; i++) multiply(p);
    return now() - start;
}

/* FLOP/s of independent FMAs, for as long as a round of the product lasts */
static double time_peak(double seconds)
{
    static double calls_per_second = 1000;
    const double wanted = seconds < LEAST_PEAK ? LEAST_PEAK : seconds > MOST_PEAK ? MOST_PEAK : seconds;
    const i64 calls = (i64)(wanted * calls_per_second) + 1;
    const double start = now(), flops = peak(calls), time = now() - start;
    calls_per_second = (double)calls / time;
    return flops / time;
}

static void measure(const product *p, double seconds, int rounds)
{
    i64 calls = 1;
    double time, best, fastest = 0;
    while ((time = time_calls(p, calls)) < seconds) calls = (i64)((double)calls * (1 + seconds / (time + 1e-7)));
    best = time / (double)calls;
    for (int round = 0; round < rounds; round++) {
        const double rate = time_peak(time);
        if (rate > fastest) fastest = rate;
        time = time_calls(p, calls);
        if (time / (double)calls < best) best = time / (double)calls;
    }
    printf("%.5e %.5e\n", best, fastest);
}

static void stay_on_this_core(void)
{
#ifdef __linux__
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
#endif
}

#define SIZE "%" SCNd64

int main(int argc, char **argv)
{
    char kind[3];
    const char *name;
    i64 batch, inputs, units;
    double seconds;
    int rounds, runs;
    if (argc < 3) {
        for (int i = 0; (name = fr_level(i, &runs)); i++)
            if (runs) puts(name);
        return 0;
    }
    if (!choose(argv[1], argv[2])) return fprintf(stderr, "no level %s here\n", argv[1]), 2;
    stay_on_this_core();
    fr_enter();
    while (scanf("%2s" SIZE SIZE SIZE "%lf%d", kind, &batch, &inputs, &units, &seconds, &rounds) == 6) {
        product p;
        if (!prepare(&p, kind, batch, inputs, units)) return fputs("no such product, or no memory\n", stderr), 1;
        measure(&p, seconds, rounds);
    }
    return 0;
}
#endif
