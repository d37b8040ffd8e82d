/* dispatch.c: which levels are compiled in, and which of them this machine runs. */
#include "fastreg.h"

#include <string.h>

#define FR_KERNEL(family, name) #name,
const char *const fr_kernel_names[FR_KERNELS] = {
#include "kernel_list.h"
};
#undef FR_KERNEL
#define FR_KERNEL(family, name) #family,
const char *const fr_family_names[FR_KERNELS] = {
#include "kernel_list.h"
};

extern const fr_table fr_table_baseline_f32, fr_table_baseline_f64;

#ifdef FR_X86_LEVELS /* the build says that it compiles them */
#include <cpuid.h>
extern const fr_table fr_table_avx2_f32, fr_table_avx2_f64, fr_table_avx512_f32, fr_table_avx512_f64;

/* The register sets that the operating system saves (XCR0), 0 without XSAVE. */
static u32 saved_registers(void)
{
    u32 a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return a;
}

static int has_avx2(void)
{
    u32 a, b, c, d;
    if ((saved_registers() & 0x6) != 0x6 || !__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 12))) return 0; /* FMA */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 5));
}

static int has_avx512(void)
{
    const u32 needed = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31); /* F, DQ, BW, VL */
    u32 a, b, c, d;
    if (!has_avx2() || (saved_registers() & 0xe6) != 0xe6) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & needed) == needed;
}
#endif

static int always(void) { return 1; }

static const struct {
    const char *name;
    const fr_table *f32, *f64;
    int (*runs)(void);
} levels[] = {
    {"baseline", &fr_table_baseline_f32, &fr_table_baseline_f64, always},
#ifdef FR_X86_LEVELS /* the build says that it compiles them */
    {"avx2", &fr_table_avx2_f32, &fr_table_avx2_f64, has_avx2},
    {"avx512", &fr_table_avx512_f32, &fr_table_avx512_f64, has_avx512},
#endif
};
#define LEVELS ((int)(sizeof levels / sizeof levels[0]))

const char *fr_level(int i, int *runs)
{
    if (i < 0 || i >= LEVELS) return NULL;
    *runs = levels[i].runs();
    return levels[i].name;
}

const fr_table *fr_table_for(int float64, const char *level)
{
    for (int i = LEVELS - 1; i >= 0; i--)
        if (levels[i].runs() && (!level || !strcmp(level, levels[i].name)))
            return float64 ? levels[i].f64 : levels[i].f32;
    return NULL;
}
