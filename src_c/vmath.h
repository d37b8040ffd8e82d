/* vmath.h: exp, log, log1p, sigmoid, tanh and erf on a vec.
 *
 * Our own, so that every compiler and level gives the same bits: at most 2 ULP (`make ulp`; 2.5 for a sigmoid without
 * FMA), exact limits at 0 and +-inf, NaN kept, subnormal results exact to the last place. Reductions and polynomials
 * are the classical ones, but for erf:
 *   exp   Cody & Waite reduction by ln 2, then a polynomial (Cephes for float32, Taylor to degree 13 for float64)
 *   log   FreeBSD msun e_log.c: s = f / (2 + f), polynomial in s^2
 *   tanh  Cephes: an odd approximation below 0.625, 1 - 2 / (exp(2x) + 1) above
 *   erf   fitted for this file: x + x P(x^2) below 0.875, 1 - exp(-(x + x Q(x))) above, where Q follows -ln erfc
 * Floats become integers by adding 1.5 * 2^(mantissa bits) and reading the low bits, after clamping.
 */
#ifndef FR_VMATH_H
#define FR_VMATH_H

#include "vec.h"
#include <math.h>

#ifdef FR_F64
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HI 6.93147180369123816490e-01
#define LN2_LO 1.90821492927058770002e-10
#define EXP_MAX 710.0
#define EXP_MIN -746.0
#define SMALLEST_NORMAL 2.2250738585072014e-308
#define SQRT_HALF_BITS 0x3fe6a09e00000000
#define ONE_BITS 0x3ff0000000000000
#else
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define MAGIC 12582912.0f /* 1.5 * 2^23 */
#define LN2_HI 6.9314575195e-01f
#define LN2_LO 1.4286067653e-06f
#define EXP_MAX 89.0f
#define EXP_MIN -104.0f
#define SMALLEST_NORMAL 1.17549435e-38f
#define SQRT_HALF_BITS 0x3f3504f3
#define ONE_BITS 0x3f800000
#endif
#define MANTISSA_BITS (((rint_t)1 << MANTISSA) - 1)
#define INFINITE ((real)INFINITY)
#define NOT_A_NUMBER as_real(iset(((rint_t)EXPONENT_BIAS * 4 + 3) << (MANTISSA - 1)))

#define R(a) vset((real)(a))

/* 2^n for integers n in the normal range */
INLINE vec power_of_two(ivec n)
{
    const ivec biased = n + iset(EXPONENT_BIAS);
#ifdef FR_PLAIN
    return as_real((rint_t)((uint64_t)biased << MANTISSA)); /* of a NaN it may be negative */
#else
    return as_real(biased << MANTISSA);
#endif
}

/* a + b; of the bits of a NaN the sum may wrap around, which is undefined for signed numbers */
INLINE ivec wrapping_sum(ivec a, ivec b) { return (ivec)((uvec)a + (uvec)b); }

INLINE vec exp_polynomial(vec r)
{
#ifdef FR_F64
    vec p = R(1.6059043836821614599e-10); /* 1/13!, 1/12!, ... */
    p = vfma(p, r, R(2.0876756987868098979e-09));
    p = vfma(p, r, R(2.5052108385441718775e-08));
    p = vfma(p, r, R(2.7557319223985890653e-07));
    p = vfma(p, r, R(2.7557319223985892511e-06));
    p = vfma(p, r, R(2.4801587301587301566e-05));
    p = vfma(p, r, R(1.9841269841269841253e-04));
    p = vfma(p, r, R(1.3888888888888889419e-03));
    p = vfma(p, r, R(8.3333333333333332177e-03));
    p = vfma(p, r, R(4.1666666666666664354e-02));
    p = vfma(p, r, R(1.6666666666666665741e-01));
    p = vfma(p, r, R(0.5));
#else
    vec p = R(1.9875691500e-4);
    p = vfma(p, r, R(1.3981999507e-3));
    p = vfma(p, r, R(8.3334519073e-3));
    p = vfma(p, r, R(4.1665795894e-2));
    p = vfma(p, r, R(1.6666665459e-1));
    p = vfma(p, r, R(5.0000001201e-1));
#endif
    return vfma(p, r * r, r) + R(1);
}

INLINE vec vexp(vec x)
{
    x = vselect(vgt(x, R(EXP_MAX)), R(EXP_MAX), x);
    x = vselect(vlt(x, R(EXP_MIN)), R(EXP_MIN), x);
    vec t = vfma(x, R(1.44269504088896340736), R(MAGIC));
    vec n = t - R(MAGIC);
    vec r = vfma(n, R(-LN2_LO), vfma(n, R(-LN2_HI), x));
    ivec whole = as_int(t) - as_int(R(MAGIC));
    ivec half = whole >> 1; /* two factors: 2^n itself may be subnormal or too large */
    return exp_polynomial(r) * power_of_two(half) * power_of_two(whole - half);
}

/* The exponent k as a real: k is small, so the low bits of MAGIC + k hold it. */
INLINE vec small_int_to_real(ivec k) { return as_real(as_int(R(MAGIC)) + k) - R(MAGIC); }

INLINE vec vlog(vec x)
{
    vmask tiny = vlt(x, R(SMALLEST_NORMAL));
    vec scaled = vselect(tiny, x * R((rint_t)1 << (MANTISSA + 2)), x);
    ivec bits = wrapping_sum(as_int(scaled), iset(ONE_BITS - SQRT_HALF_BITS));
    vec k = small_int_to_real((bits >> MANTISSA) - iset(EXPONENT_BIAS));
    k = k - vkeep(tiny, R(MANTISSA + 2));
    vec f = as_real((bits & iset(MANTISSA_BITS)) + iset(SQRT_HALF_BITS)) - R(1);
    vec s = f / (R(2) + f), z = s * s, w = z * z;
#ifdef FR_F64
    vec odd = vfma(w, R(1.479819860511658591e-01), R(1.818357216161805012e-01));
    odd = z * vfma(w, vfma(w, odd, R(2.857142874366239149e-01)), R(6.666666666666735130e-01));
    vec even =
        w * vfma(w, vfma(w, R(1.531383769920937332e-01), R(2.222219843214978396e-01)), R(3.999999999940941908e-01));
#else
    vec odd = z * vfma(w, R(0.28498786688), R(0.66666662693));
    vec even = w * vfma(w, R(0.24279078841), R(0.40000972152));
#endif
    vec half = R(0.5) * f * f;
    vec y = vfma(k, R(LN2_LO), s * (half + (odd + even))) - half + f;
    y = vfma(k, R(LN2_HI), y);
    y = vselect(veq(x, R(0)), R(-INFINITE), y);
    y = vselect(vlt(x, R(0)), NOT_A_NUMBER, y);
    return vselect(vlt(x, R(INFINITE)), y, x); /* +inf and NaN stay */
}

/* log(1 + x) for x >= 0: what rounding 1 + x has lost is added back, times the slope of the logarithm there. */
INLINE vec vlog1p(vec x)
{
    const vec u = R(1) + x, lost = x - (u - R(1));
    return vselect(vlt(x, R(INFINITE)), vlog(u) + lost / u, x);
}

/* 1 / (1 + exp(-x)), from e = exp(-|x|), which cannot overflow; the quotient is corrected by its remainder. */
INLINE vec vsigmoid(vec x)
{
    const vec e = vexp(-vabs(x)), one = R(1);
    const vec top = vselect(vlt(x, R(0)), e, one), below = one + e, lost = e - (below - one);
    const vec inverse = one / below, q = top * inverse;
    return vfma(vfma(-q, below, top) - q * lost, inverse, q);
}

INLINE vec vtanh(vec x)
{
    vec a = vabs(x), z = x * x;
#ifdef FR_F64
    vec p = vfma(z, R(-9.64399179425052238628e-1), R(-9.92877231001918586564e1));
    p = vfma(z, p, R(-1.61468768441708447952e3));
    vec q = vfma(z, z + R(1.12811678491632931402e2), R(2.23548839060100448583e3));
    q = vfma(z, q, R(4.84406305325125486048e3));
    vec near = vfma(a * z, p / q, a);
#else
    vec p = vfma(z, R(-5.70498872745e-3), R(2.06390887954e-2));
    p = vfma(z, p, R(-5.37397155531e-2));
    p = vfma(z, p, R(1.33314422036e-1));
    p = vfma(z, p, R(-3.33332819422e-1));
    vec near = vfma(a * z, p, a);
#endif
    vec far = R(1) - R(2) / (vexp(a + a) + R(1));
    return vcopysign(vselect(vlt(a, R(0.625)), near, far), x);
}

/* Coefficients of P and Q, highest power first: P = erf(x) / x - 1 in x^2, the least relative error of erf below 0.875;
 * Q = (-ln erfc(x) - x) / x, the least absolute error of erf from there to ERF_MAX, whence it rounds to 1. Found by the
 * algorithm of Remez in 50 digits, then rounded. */
#ifdef FR_F64
#define ERF_MAX 6.0
static const real erf_near[] = {-8.655113446393661e-10, 1.4118062415764163e-08,  -1.6288382280746474e-07,
                                1.6456518858702762e-06, -1.4925381515907667e-05, 0.00012055324327564924,
                                -0.000854832683949455,  0.005223977622957159,    -0.026866170644932734,
                                0.11283791670954305,    -0.37612638903183737,    0.1283791670955126};
static const real erf_far[] = {-1.8142626993611004e-12, 7.904592618974774e-11,   -1.613501327615433e-09,
                               2.0495429755233356e-08,  -1.8128639234909986e-07, 1.1813047872822232e-06,
                               -5.826784468156434e-06,  2.1813309052078663e-05,  -5.983005584731118e-05,
                               0.00010323308923823181,  -1.3443902265329106e-05, -0.0005589351315934921,
                               0.001677263402981146,    -0.00020068925956769879, -0.019131106116457044,
                               0.10277311992299862,     0.6366197253593142,      0.12837916712230799};
#else
#define ERF_MAX 4.0f
static const real erf_near[] = {-6.203251542e-04f, 5.032184534e-03f,  -2.679146826e-02f,
                                1.128245592e-01f,  -3.761255145e-01f, 1.283791512e-01f};
static const real erf_far[] = {-2.148047934e-04f, 3.221796826e-03f, -2.291219123e-02f,
                               1.052969918e-01f,  6.356912851e-01f, 1.285224706e-01f};
#endif

/* c[0] x^(n - 1) + ... + c[n - 1], n even: odd and even powers apart, so that fewer steps wait for each other. */
INLINE vec polynomial(vec x, const real *c, int n)
{
    const vec z = x * x;
    vec odd = vset(c[0]), even = vset(c[1]);
    EACH(i, n / 2 - 1) {
        odd = vfma(odd, z, vset(c[2 * i + 2]));
        even = vfma(even, z, vset(c[2 * i + 3]));
    }
    return vfma(odd, x, even);
}
#define POLYNOMIAL(x, c) polynomial(x, c, (int)(sizeof c / sizeof *c))

INLINE vec verf(vec x)
{
    const vec a = vabs(x), t = vselect(vgt(a, R(ERF_MAX)), R(ERF_MAX), a);
    const vec near = vfma(POLYNOMIAL(x * x, erf_near), a, a), far = R(1) - vexp(-vfma(POLYNOMIAL(t, erf_far), t, t));
    return vcopysign(vselect(vlt(a, R(0.875)), near, far), x);
}

#endif
