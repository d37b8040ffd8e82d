/* vec.h: one text for every instruction level.
 *
 * A `vec` holds VL numbers of the type `real`: 16, 8 or 4 float32, half as many float64, or one where the
 * compiler has no vector extensions. Only what the language lacks is spelled with intrinsics, once per level:
 * fused multiply-add, square root, compare and select, partial load and store, widening multiply, interleave.
 * Fused operations happen only where vfma is written (build with -ffp-contract=off), comparisons select by mask
 * and never by min/max instructions, and no reciprocal estimates are used: so all levels with FMA hardware
 * produce the same bits, signed zeros included (a NaN is one everywhere, but its sign bit is the machine's).
 */
#ifndef FR_VEC_H
#define FR_VEC_H

#include <stdint.h>
#include <string.h>

#ifdef FR_F64
typedef double real;
typedef int64_t rint_t; /* the integer as wide as a real */
typedef uint64_t runsigned_t;
#else
typedef float real;
typedef int32_t rint_t;
typedef uint32_t runsigned_t;
#endif

#if !defined(__GNUC__) || defined(FR_SCALAR)
#define FR_PLAIN 1 /* no vector extensions: one lane */
#ifdef FR_F64
#define VB 8
#else
#define VB 4
#endif
#elif defined(__AVX512F__)
#include <immintrin.h>
#define VB 64
#elif defined(__AVX2__)
#include <immintrin.h>
#define VB 32
#else
#define VB 16
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#endif

#define VL (VB / (int)sizeof(real)) /* lanes of a vec */

#ifdef _MSC_VER
#define INLINE static __forceinline
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#endif
/* A short loop over 0..n-1 with constant n, unrolled: its arrays of vectors become registers. */
#define EACH(i, n) UNROLL for (int i = 0; i < (n); i++)

/* ---- types, load, store ------------------------------------------------------------------------------- */

#ifdef FR_PLAIN
typedef real vec;
typedef rint_t ivec;
typedef runsigned_t uvec;
INLINE vec vset(real a) { return a; }
INLINE vec vload(const real *p) { return *p; }
INLINE void vstore(real *p, vec v) { *p = v; }
#else
typedef real vec __attribute__((vector_size(VB)));
typedef rint_t ivec __attribute__((vector_size(VB)));
typedef runsigned_t uvec __attribute__((vector_size(VB)));
typedef real vec_u __attribute__((vector_size(VB), aligned(sizeof(real)), may_alias));
INLINE vec vset(real a) { return a - (vec){0}; } /* -0 stays -0 */
INLINE vec vload(const real *p) { return *(const vec_u *)p; }
INLINE void vstore(real *p, vec v) { *(vec_u *)p = v; }
#endif

INLINE ivec as_int(vec v)
{
    ivec i;
    memcpy(&i, &v, sizeof i);
    return i;
}

INLINE vec as_real(ivec i)
{
    vec v;
    memcpy(&v, &i, sizeof v);
    return v;
}

#if defined(__AVX512F__) && !defined(FR_PLAIN)
#ifdef FR_F64
#define M512(op) _mm512_##op##_pd
typedef __mmask8 vmask;
#define VCMP(a, b, how) _mm512_cmp_pd_mask(a, b, how)
#else
#define M512(op) _mm512_##op##_ps
typedef __mmask16 vmask;
#define VCMP(a, b, how) _mm512_cmp_ps_mask(a, b, how)
#endif
#define FIRST(n) ((vmask)((1u << (n)) - 1))
INLINE vec vload_n(const real *p, int n) { return (vec)M512(maskz_loadu)(FIRST(n), p); }
INLINE void vstore_n(real *p, vec v, int n) { M512(mask_storeu)(p, FIRST(n), v); }
INLINE vec vfma(vec a, vec b, vec c) { return (vec)M512(fmadd)(a, b, c); }
INLINE vec vsqrt(vec a) { return (vec)M512(sqrt)(a); }
INLINE vmask vgt(vec a, vec b) { return VCMP(a, b, _CMP_GT_OQ); }
INLINE vmask vle(vec a, vec b) { return VCMP(a, b, _CMP_LE_OQ); }
INLINE vmask vlt(vec a, vec b) { return VCMP(a, b, _CMP_LT_OQ); }
INLINE vmask veq(vec a, vec b) { return VCMP(a, b, _CMP_EQ_OQ); }
INLINE vec vselect(vmask m, vec a, vec b) { return (vec)M512(mask_blend)(m, b, a); }
INLINE vec vkeep(vmask m, vec a) { return (vec)M512(maskz_mov)(m, a); }

#elif defined(__AVX2__) && !defined(FR_PLAIN)
typedef ivec vmask;
#ifdef FR_F64
#define M256(op) _mm256_##op##_pd
#else
#define M256(op) _mm256_##op##_ps
#endif
static const rint_t fr_first[2 * VL] = {
#ifdef FR_F64
    -1, -1, -1, -1
#else
    -1, -1, -1, -1, -1,
    -1, -1, -1
#endif
};
INLINE __m256i first(int n) { return _mm256_loadu_si256((const __m256i *)(fr_first + VL - n)); }
INLINE vec vload_n(const real *p, int n) { return (vec)M256(maskload)(p, first(n)); }
INLINE void vstore_n(real *p, vec v, int n) { M256(maskstore)(p, first(n), v); }
INLINE vec vfma(vec a, vec b, vec c) { return (vec)M256(fmadd)(a, b, c); }
INLINE vec vsqrt(vec a) { return (vec)M256(sqrt)(a); }
INLINE vmask vgt(vec a, vec b) { return (vmask)M256(cmp)(a, b, _CMP_GT_OQ); }
INLINE vmask vle(vec a, vec b) { return (vmask)M256(cmp)(a, b, _CMP_LE_OQ); }
INLINE vmask vlt(vec a, vec b) { return (vmask)M256(cmp)(a, b, _CMP_LT_OQ); }
INLINE vmask veq(vec a, vec b) { return (vmask)M256(cmp)(a, b, _CMP_EQ_OQ); }
INLINE vec vselect(vmask m, vec a, vec b) { return (vec)M256(blendv)(b, a, (vec)m); }
INLINE vec vkeep(vmask m, vec a) { return as_real(m & as_int(a)); }

#else /* 16-byte registers, or one lane */
typedef ivec vmask;
INLINE vec vload_n(const real *p, int n)
{
    real lane[VL] = {0};
    for (int i = 0; i < n; i++) lane[i] = p[i];
    return vload(lane);
}
INLINE void vstore_n(real *p, vec v, int n)
{
    real lane[VL];
    vstore(lane, v);
    for (int i = 0; i < n; i++) p[i] = lane[i];
}
#ifdef FR_PLAIN
#include <math.h>
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
INLINE vec vsqrt(vec a) { return (vec)sqrt(a); } /* exact for float32 too: rounded twice, 53 >= 2*24+2 bits */
INLINE vmask vgt(vec a, vec b) { return -(rint_t)(a > b); }
INLINE vmask vle(vec a, vec b) { return -(rint_t)(a <= b); }
INLINE vmask vlt(vec a, vec b) { return -(rint_t)(a < b); }
INLINE vmask veq(vec a, vec b) { return -(rint_t)(a == b); }
#else
INLINE vmask vgt(vec a, vec b) { return (vmask)(a > b); }
INLINE vmask vle(vec a, vec b) { return (vmask)(a <= b); }
INLINE vmask vlt(vec a, vec b) { return (vmask)(a < b); }
INLINE vmask veq(vec a, vec b) { return (vmask)(a == b); }
#if defined(__aarch64__) && defined(FR_F64)
INLINE vec vfma(vec a, vec b, vec c) { return (vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE vec vsqrt(vec a) { return (vec)vsqrtq_f64((float64x2_t)a); }
#elif defined(__aarch64__)
INLINE vec vfma(vec a, vec b, vec c) { return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE vec vsqrt(vec a) { return (vec)vsqrtq_f32((float32x4_t)a); }
#elif defined(__SSE2__) && defined(FR_F64)
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; } /* no FMA hardware: two roundings */
INLINE vec vsqrt(vec a) { return (vec)_mm_sqrt_pd((__m128d)a); }
#elif defined(__SSE2__)
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
INLINE vec vsqrt(vec a) { return (vec)_mm_sqrt_ps((__m128)a); }
#else
INLINE vec vfma(vec a, vec b, vec c) { return a * b + c; }
INLINE vec vsqrt(vec a)
{
    for (int i = 0; i < VL; i++) a[i] = (real)__builtin_sqrt(a[i]);
    return a;
}
#endif
#endif
INLINE vec vselect(vmask m, vec a, vec b) { return as_real((m & as_int(a)) | (~m & as_int(b))); }
INLINE vec vkeep(vmask m, vec a) { return as_real(m & as_int(a)); }
#endif

/* The next `rest` elements: a whole vector, or the last few of an array. */
INLINE vec take(const real *p, int rest) { return rest == VL ? vload(p) : vload_n(p, rest); }
INLINE void put(real *p, vec v, int rest)
{
    if (rest == VL) vstore(p, v);
    else vstore_n(p, v, rest);
}

/* The fused multiply-add of one number, as vfma does it in a lane. */
INLINE real fma1(real a, real b, real c)
{
#if defined(FR_PLAIN) || (defined(__SSE2__) && !defined(__FMA__))
    return a * b + c;
#elif defined(FR_F64)
    return __builtin_fma(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}

/* ---- sign ---------------------------------------------------------------------------------------------- */

INLINE ivec iset(rint_t a)
{
#ifdef FR_PLAIN
    return a;
#else
    return a - (ivec){0};
#endif
}

#define SIGN_BIT ((rint_t)((uint64_t)1 << (8 * sizeof(real) - 1)))
INLINE vec vabs(vec a) { return as_real(as_int(a) & iset(~SIGN_BIT)); }
INLINE vec vcopysign(vec a, vec s) { return as_real(as_int(vabs(a)) | (as_int(s) & iset(SIGN_BIT))); }

/* ---- interleave: (a0 b0 a1 b1 ...), low and high half: a transposition is log2(VL) rounds of it ---------- */

#ifndef FR_PLAIN
#if VB == 64 && defined(FR_F64)
#define ZIP_LO 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HI 4, 12, 5, 13, 6, 14, 7, 15
#elif VB == 64
#define ZIP_LO 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HI 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VB == 32 && defined(FR_F64)
#define ZIP_LO 0, 4, 1, 5
#define ZIP_HI 2, 6, 3, 7
#elif VB == 32
#define ZIP_LO 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HI 4, 12, 5, 13, 6, 14, 7, 15
#elif defined(FR_F64)
#define ZIP_LO 0, 2
#define ZIP_HI 1, 3
#else
#define ZIP_LO 0, 4, 1, 5
#define ZIP_HI 2, 6, 3, 7
#endif
#define ZIP_ROUNDS (VL == 16 ? 4 : VL == 8 ? 3 : VL == 4 ? 2 : 1)
INLINE vec vzip_lo(vec a, vec b) { return __builtin_shufflevector(a, b, ZIP_LO); }
INLINE vec vzip_hi(vec a, vec b) { return __builtin_shufflevector(a, b, ZIP_HI); }
#endif

/* The transpose of VL x VL numbers, row i of which is v[i] */
INLINE void vtranspose(vec v[VL])
{
#ifdef FR_PLAIN
    (void)v;
#else
    vec w[VL];
    EACH(round, ZIP_ROUNDS) {
        EACH(i, VL / 2) {
            w[2 * i] = vzip_lo(v[i], v[i + VL / 2]);
            w[2 * i + 1] = vzip_hi(v[i], v[i + VL / 2]);
        }
        EACH(i, VL) v[i] = w[i];
    }
#endif
}

/* ---- halves of vectors: the low one twice, the high one first, the low one of a before the high one of b ------ */

#if VB == 64
INLINE vec vlow_twice(vec a) { return (vec)_mm512_shuffle_f64x2((__m512d)a, (__m512d)a, 0x44); }
INLINE vec vhigh(vec a) { return (vec)_mm512_shuffle_f64x2((__m512d)a, (__m512d)a, 0xee); }
INLINE vec vlow_high(vec a, vec b) { return vselect(FIRST(VL / 2), a, b); }
#else /* not used: only with masks and 32 registers does it pay */
INLINE vec vlow_twice(vec a) { return a; }
INLINE vec vhigh(vec a) { return a; }
INLINE vec vlow_high(vec a, vec b) { return a; }
#endif

/* ---- 64-bit lanes for the random numbers: the product of the low 32 bits of each, interleaving -------------- */

#ifdef FR_PLAIN
typedef uint64_t wide;
#define WL 1
INLINE wide wide_mul32(wide a, wide b) { return (a & 0xffffffff) * (b & 0xffffffff); }
INLINE wide wide_set(uint64_t a) { return a; }
INLINE wide wide_count(uint64_t first) { return first; }
INLINE void wide_store_zipped(uint64_t *p, wide a, wide b)
{
    p[0] = a;
    p[1] = b;
}
#else
typedef uint64_t wide __attribute__((vector_size(VB)));
#define WL (VB / 8)
typedef uint64_t wide_u __attribute__((vector_size(VB), aligned(8), may_alias));
#if WL == 8
#define COUNT 0, 1, 2, 3, 4, 5, 6, 7
#define WIDE_LO 0, 8, 1, 9, 2, 10, 3, 11
#define WIDE_HI 4, 12, 5, 13, 6, 14, 7, 15
#elif WL == 4
#define COUNT 0, 1, 2, 3
#define WIDE_LO 0, 4, 1, 5
#define WIDE_HI 2, 6, 3, 7
#else
#define COUNT 0, 1
#define WIDE_LO 0, 2
#define WIDE_HI 1, 3
#endif
INLINE wide wide_set(uint64_t a) { return a - (wide){0}; }
INLINE wide wide_count(uint64_t first) { return first + (wide){COUNT}; }
INLINE void wide_store_zipped(uint64_t *p, wide a, wide b)
{
    *(wide_u *)p = __builtin_shufflevector(a, b, WIDE_LO);
    *(wide_u *)(p + WL) = __builtin_shufflevector(a, b, WIDE_HI);
}
INLINE wide wide_mul32(wide a, wide b)
{
#if VB == 64
    return (wide)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif VB == 32
    return (wide)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (wide)_mm_mul_epu32((__m128i)a, (__m128i)b);
#elif defined(__aarch64__)
    return (wide)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
    return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}
#endif

/* VL 16-bit numbers as integers of a real's width */
INLINE ivec widen16(const uint16_t *p)
{
#if VB <= 16
    uint16_t number[VL]; /* copied: the numbers were stored as words */
    memcpy(number, p, sizeof number);
#endif
#ifdef FR_PLAIN
    return number[0];
#elif VB == 64 && defined(FR_F64)
    return (ivec)_mm512_cvtepu16_epi64(_mm_loadu_si128((const __m128i *)p));
#elif VB == 64
    return (ivec)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
#elif VB == 32 && defined(FR_F64)
    return (ivec)_mm256_cvtepu16_epi64(_mm_loadl_epi64((const __m128i *)p));
#elif VB == 32
    return (ivec)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
#else
    ivec wider = {0};
    for (int i = 0; i < VL; i++) wider[i] = number[i];
    return wider;
#endif
}

/* VL 32-bit words as integers of a real's width */
INLINE ivec widen32(const uint32_t *p)
{
#if defined(FR_F64) && VB == 64
    return (ivec)_mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)p));
#elif defined(FR_F64) && VB == 32
    return (ivec)_mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)p));
#else
    uint32_t word[VL]; /* copied: they were stored in pairs */
    runsigned_t wider[VL];
    ivec result;
    memcpy(word, p, sizeof word);
    for (int i = 0; i < VL; i++) wider[i] = word[i];
    memcpy(&result, wider, sizeof result);
    return result;
#endif
}

/* All bits where a < b, else none */
INLINE ivec iless(ivec a, ivec b)
{
#ifdef FR_PLAIN
    return -(rint_t)(a < b);
#else
    return a < b;
#endif
}

/* ---- 16 partial sums, whatever the vector width -------------------------------------------------------------- */

#define LANES 16
#define LV (LANES / VL) /* vectors that make 16 lanes */

/* Elements of the vector at i when only n are left in all. */
INLINE int vrest(int64_t i, int64_t n) { return n - i < VL ? (int)(n - i) : VL; }

/* The fixed tree: halves are folded onto each other. */
INLINE real lanes_total(real lane[LANES])
{
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

#endif
