/* level.c: all kernels of one level and dtype. Compiled once for each pair; emits one symbol, the table.
 *
 * Build with -DFR_LEVEL=avx2 (baseline, avx2, avx512) and the flags of that level, -DFR_F64 for float64, and always
 * -ffp-contract=off. Everything else is static: a function compiled for AVX-512 must never be found by the linker. The kernel `relu` of the
 * list is the function k_relu.
 */
#include "fastreg.h"

#include "gemm.c"
#include "sparse.c"
#include "elementwise.c"
#include "loss.c"
#include "penalty.c"
#include "optim.c"
#include "clip.c"
#include "rng.c"
#include "norm.c"
#include "augment.c"
#include "mix.c"

#define JOIN_(a, b, c) a##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#ifdef FR_F64
#define FR_DTYPE f64
#else
#define FR_DTYPE f32
#endif

/* clang-format off */
extern const fr_table JOIN(fr_table_, FR_LEVEL, FR_DTYPE);
const fr_table JOIN(fr_table_, FR_LEVEL, FR_DTYPE) = {TEXT(FR_LEVEL), {
#define FR_KERNEL(family, name) (fr_kernel)(fr_##family *)k_##name,
#include "kernel_list.h"
}};
