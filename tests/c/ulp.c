/* ulp.c: how far are exp, log, tanh, sigmoid and erf from the exact result, and do all levels give the same?
 *
 *   ulp erf float32 all 0 4294967296         inputs are the bit patterns 0 .. 2^32 - 1
 *   ulp erf float64 sample 0 10000000        inputs are numbers 0 .. 10^7 - 1 of the sample
 *   ulp erf float64 bits 0 10000000          those inputs, but results are not judged: their hash only
 *
 * One line for each level that this machine runs, highest first: its name; inputs; largest error in units in the last
 * place of the exact result, and at which input; sum of the errors; results that are not the bits of the highest level;
 * a hash of inputs and results, the sum over any parts of a range being that of the whole. An error is infinite where
 * NaN, an infinity or the sign of a zero is wrong. Exact results are those of the C library in a wider type: double for
 * float32, __float128 (with -DFR_QUAD and libquadmath) or long double for float64; where that is no wider than double,
 * errors are NaN.
 */
#include "fastreg.h"
#include "fpmode.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FR_QUAD
#include <quadmath.h>
typedef __float128 wide;
#define WIDE(f) f##q
#define WIDE_MANTISSA FLT128_MANT_DIG
#else
typedef long double wide;
#define WIDE(f) f##l
#define WIDE_MANTISSA LDBL_MANT_DIG
#endif

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define BLOCK 4096
#define LEVELS 8

static int size; /* bytes of a number of the dtype */

/* ---- the exact functions ------------------------------------------------------------------------------------- */

static double logistic(double x) { return 1 / (1 + exp(-x)); }
static wide logistic_wide(wide x) { return 1 / (1 + WIDE(exp)(-x)); }

static const struct {
    const char *name;
    int kernel;
    double (*f)(double);
    wide (*f_wide)(wide);
} functions[] = {
    {"exp", FR_exp, exp, WIDE(exp)},     {"log", FR_log, log, WIDE(log)},
    {"tanh", FR_tanh, tanh, WIDE(tanh)}, {"sigmoid", FR_sigmoid, logistic, logistic_wide},
    {"erf", FR_erf, erf, WIDE(erf)},
};

/* An exact result: near + rest * ulp; it rounds to `rounded`. */
typedef struct {
    double near, rest, rounded, ulp;
} result;

static result exact(int function, double x)
{
    const int lowest = size == 4 ? FLT_MIN_EXP : DBL_MIN_EXP, digits = size == 4 ? FLT_MANT_DIG : DBL_MANT_DIG;
    const wide w = size == 4 ? 0 : functions[function].f_wide(x);
    int exponent;
    result y = {.near = size == 4 ? functions[function].f(x) : (double)w};
    y.rounded = size == 4 ? (float)y.near : y.near;
    if (size == 4) frexp(y.near, &exponent);
    else (void)WIDE(frexp)(w, &exponent);
    y.ulp = ldexp(1, (exponent < lowest || y.near == 0 ? lowest : exponent) - digits);
    if (size == 8) y.rest = WIDE_MANTISSA > DBL_MANT_DIG ? (double)((w - y.near) / y.ulp) : NAN;
    return y;
}

static double error(double got, result y)
{
    if (got != got || y.near != y.near) return got != got && y.near != y.near ? 0 : INFINITY;
    if (isinf(got) || isinf(y.rounded)) return got == y.rounded ? 0 : INFINITY;
    if (got == 0 && signbit(got) != signbit(y.near)) return INFINITY;
    return fabs((got - y.near) / y.ulp - y.rest);
}

/* ---- inputs: integers only, so that they are the same everywhere ------------------------------------------------ */

/* Limits, edges of branches, and where results overflow, underflow or reach their limit: each is tried with its AROUND
 * neighbours on both sides, and negative. */
/* clang-format off */
static const double special[] = {
    0, 1, 0.34657359027997264, 0.5, 0.625, 0.70710678118654752, 0.875, 1.4142135623730951, 2, 3.92, 5.92, 8.7, 9.01,
    16.63, 17.33, 18.71, 19.06, 36.74, 37.5, 87.3, 88.722839, 103.97, 708.39, 709.78271289338397, 745.13321910194122,
    FLT_MIN, DBL_MIN, INFINITY,
};
/* clang-format on */
#define AROUND 64
#define SPECIALS ((u64)COUNT(special) * 2 * (2 * AROUND + 1))

static u64 bits_of(double x)
{
    u64 bits;
    memcpy(&bits, &x, 8);
    return x != x ? 0x7ff8000000000000u : bits; /* processors differ in which NaN they make */
}

static u64 scramble(u64 x) /* the finalizer of splitmix64 */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static u64 special_bits(u64 i)
{
    const double x = special[i / 2 / (2 * AROUND + 1)];
    const float x32 = (float)x;
    u64 bits = bits_of(x);
    if (size == 4) memcpy(&bits, &x32, 4), bits &= 0xffffffff;
    return (bits + i / 2 % (2 * AROUND + 1) - AROUND) ^ (i % 2) << (8 * size - 1);
}

/* The bits of the i-th input of the sample: the special ones, then all signs and exponents in turn, every second time
 * among those of 2^-40 .. 2^12, with random mantissas. */
static u64 sample_bits(u64 i)
{
    if (i < SPECIALS) return special_bits(i);
    const int mantissa = size == 4 ? FLT_MANT_DIG - 1 : DBL_MANT_DIG - 1;
    const u64 bias = size == 4 ? FLT_MAX_EXP - 1 : DBL_MAX_EXP - 1;
    const u64 exponent = i % 2 ? bias - 40 + i / 4 % 52 : i / 4 % (2 * bias + 2);
    return (i / 2 % 2) << (8 * size - 1) | exponent << mantissa | scramble(i) >> (64 - mantissa);
}

/* ---- levels ------------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    fr_activation *kernel;
    u64 differ, hash;
    double worst, at, sum;
} level;

static int find_levels(level *found, int kernel)
{
    const char *name;
    int n = 0, runs, last = 0;
    while (fr_level(last, &runs)) last++;
    while (last-- > 0) {
        name = fr_level(last, &runs);
        if (!runs || n == LEVELS) continue;
        found[n++] = (level){.name = name, .kernel = (fr_activation *)fr_table_for(size == 8, name)->kernel[kernel]};
    }
    return n;
}

/* ---- a block of inputs --------------------------------------------------------------------------------------- */

static double x[BLOCK], y[LEVELS][BLOCK]; /* float32 uses half */
static level levels[LEVELS];
static int n_levels;

static double get(const void *a, i64 i) { return size == 8 ? ((const double *)a)[i] : ((const float *)a)[i]; }

static void fill(u64 start, i64 n, int all)
{
    for (i64 i = 0; i < n; i++) {
        const u64 bits = all ? start + (u64)i : sample_bits(start + (u64)i);
        const u32 bits32 = (u32)bits;
        if (size == 8) memcpy(x + i, &bits, 8);
        else memcpy((float *)x + i, &bits32, 4);
    }
}

static void judge(level *l, double input, double got, double first, double e)
{
    l->differ += bits_of(got) != bits_of(first);
    l->hash += scramble(scramble(bits_of(input)) + bits_of(got));
    l->sum += e;
    if (e > l->worst) l->worst = e, l->at = input;
}

static void judge_block(int function, i64 n, int judged)
{
    for (int l = 0; l < n_levels; l++) levels[l].kernel(y[l], x, 1, n, 0);
    for (i64 i = 0; i < n; i++) {
        const double input = get(x, i);
        const result wanted = judged ? exact(function, input) : (result){0};
        for (int l = 0; l < n_levels; l++) {
            const double got = get(y[l], i);
            judge(&levels[l], input, got, get(y[0], i), judged ? error(got, wanted) : 0);
        }
    }
}

int main(int argc, char **argv)
{
    int function = 0;
    if (argc != 6) return fprintf(stderr, "usage: ulp FUNCTION DTYPE all|sample|bits FIRST STOP\n"), 2;
    while (function < COUNT(functions) && strcmp(functions[function].name, argv[1])) function++;
    if (function == COUNT(functions)) return fprintf(stderr, "no function %s\n", argv[1]), 2;
    size = strcmp(argv[2], "float64") ? 4 : 8;
    n_levels = find_levels(levels, functions[function].kernel);
    const u64 first = strtoull(argv[4], NULL, 10), stop = strtoull(argv[5], NULL, 10);
    const uint64_t mode = fr_enter();
    for (u64 start = first; start < stop; start += BLOCK) {
        const i64 n = stop - start < BLOCK ? (i64)(stop - start) : BLOCK;
        fill(start, n, !strcmp(argv[3], "all"));
        judge_block(function, n, strcmp(argv[3], "bits"));
    }
    fr_leave(mode);
    for (level *l = levels; l < levels + n_levels; l++)
        printf("%s %" PRIu64 " %.17g %.17g %.17g %" PRIu64 " %" PRIu64 "\n", l->name, stop - first, l->worst, l->at,
               l->sum, l->differ, l->hash);
    return 0;
}
