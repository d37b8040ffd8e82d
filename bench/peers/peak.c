/* The most that a core can multiply: independent chains of FMAs, enough to hide their latency, on as many registers as
 * there are. What the compiler's flags allow decides how long a vector is; REAL is float or double. */
#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { BYTES = 32, CHAINS = 12 };
#elif defined(__aarch64__)
enum { BYTES = 16, CHAINS = 24 };
#else
enum { BYTES = 16, CHAINS = 12 };
#endif

enum { LANES = BYTES / sizeof(REAL) };
typedef REAL vec __attribute__((vector_size(BYTES)));

/* Makes so many rounds, and returns the number of operations in them; `end` keeps the compiler from leaving them out. */
double multiply(long rounds, REAL end[1]) {
    vec chain[CHAINS], factor = {0}, sum = {0};
    factor += (REAL)0.5;
    for (int c = 0; c < CHAINS; c++) chain[c] = factor + (REAL)c;
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 24
        for (int c = 0; c < CHAINS; c++) chain[c] = chain[c] * factor + factor;
    for (int c = 0; c < CHAINS; c++) sum += chain[c];
    end[0] = sum[0];
    return 2.0 * LANES * CHAINS * rounds;
}
