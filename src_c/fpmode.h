/* fpmode.h: round to nearest with subnormals kept, set around everything that computes, and put back.
 *
 * Another library of the process may have left flush-to-zero on (one that was linked with -ffast-math does).
 */
#ifndef FR_FPMODE_H
#define FR_FPMODE_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <xmmintrin.h>
#define FR_MODE_FLAGS 0x3fu    /* exceptions seen so far: not part of the mode */
#define FR_MODE_DEFAULT 0x1f80 /* exceptions masked, to nearest, no FTZ, no DAZ */
static inline uint64_t fr_enter(void)
{
    const uint32_t mode = _mm_getcsr();
    if ((mode & ~FR_MODE_FLAGS) != FR_MODE_DEFAULT) _mm_setcsr(FR_MODE_DEFAULT);
    return mode;
}
static inline void fr_leave(uint64_t mode)
{
    if ((mode & ~FR_MODE_FLAGS) != FR_MODE_DEFAULT) _mm_setcsr((uint32_t)mode);
}
#elif defined(__aarch64__) && defined(__GNUC__)
static inline uint64_t fr_enter(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    if (mode) __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)0));
    return mode;
}
static inline void fr_leave(uint64_t mode)
{
    if (mode) __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
static inline uint64_t fr_enter(void) { return 0; }
static inline void fr_leave(uint64_t mode) { (void)mode; }
#endif

#endif
