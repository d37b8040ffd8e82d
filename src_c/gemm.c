/* gemm.c: the three products of a dense layer, from one tile.
 *
 *   forward          y  (m, n) = x (m, k)  W (k, n)         NN
 *   weight gradient  dW (m, n) = x (k, m)' dz (k, n)        TN
 *   input gradient   dx (m, n) = dz (m, k) W (n, k)'        NT
 *
 * a) The order of each sum is fixed: ((S0 + S1) + S2) + ..., where S_b is a chain of fused multiply-adds from +0
 *    over 256 consecutive k; then what was there before (accumulate), then the bias. k is never split or padded
 *    otherwise, so tile sizes, panels, levels and threads cannot change a bit.
 * b) A tile is up to 6 rows x NV vectors of accumulators: as many as the registers hold. Each of its k-blocks
 *    ends in registers; the tile is stored once, edges by mask. On AVX-512 two rows share a last vector that is at most
 *    half full: of the 100 columns that are scikit-learn's default no lane is idle then.
 * c) `a` is read in place, element by element, through two strides (row and k), so it may be transposed.
 * d) `b` is read in place while it is small; otherwise a panel of 64 columns is packed just before its use.
 *    A transposed `b` is always packed, transposed in registers.
 * e) A transposed `a` larger than the second-level cache is packed into strips of 48 columns, in one sequential pass:
 *    read in place, its column stride would fetch each cache line ten times. Of more than 1,024 rows one block of 256 is
 *    packed after the other, and added to c.
 * f) A call may compute one part of c alone, with scratch of its own: threads share a product so.
 * g) A product of a few dozen terms is computed number by number, in the same order: setting up tiles costs more.
 */
#include "fastreg.h"
#include "vec.h"

#if defined(__AVX512F__) || defined(__aarch64__)
#define NV 4 /* 32 registers: 24 accumulators, 4 of b, the rest broadcasts of a */
#else
#define NV 2 /* 16 registers: 12 accumulators */
#endif
#define MR 6                                      /* rows of a tile */
#define PANEL (256 / (int)sizeof(real))           /* columns of a packed panel of b: a multiple of NV * VL */
#define STRIP FR_STRIP                            /* columns of a packed strip of a transposed a: a multiple of MR */
#define TINY 128                                  /* terms of a product that is computed number by number */
#define DIRECT_B 16384                            /* elements of b up to which it is read in place */
#define DIRECT_A (512 * 1024 / (int)sizeof(real)) /* and of a transposed a */
#define ALIAS 4096                                /* bytes between numbers that share the first-level cache's lines */
#define NARROW (3 * VL / 2)                       /* columns of c up to which vectors along its rows fill better */
#define LONG(n) (3 * (n))                         /* terms from which that pays for transposing so many columns */

_Static_assert(PANEL <= FR_PANEL && FR_PANEL % PANEL == 0 && PANEL % (NV * VL) == 0, "scratch, parts and tiles fit");
_Static_assert(STRIP % MR == 0 && FR_SIDE % STRIP == 0, "strips are whole tiles");

typedef struct {
    const real *a; /* element (i, kk) at a[i * a_row + kk * a_k] */
    i64 a_row, a_k;
    const real *b; /* element (kk, j) at b[kk * b_k + j] */
    i64 b_k;
    const real *bias; /* (n,) or NULL */
    i64 k;
    int accumulate; /* add to what c holds */
} operands;

/* ---- one tile ---------------------------------------------------------------------------------------------- */

enum {
    WHOLE,
    MASKED,
    PAIRED
}; /* the last vector is read whole, or by mask because b ends there, or shared by two rows */

/* c[mr][nv * VL] = the product's elements. The last vector has `last` columns: at most half of it where two rows share one.
 * A product of one block never leaves the registers. */

INLINE void tile(real *c, i64 ldc, const operands *o, const int mr, const int nv, const int how, int last)
{
    const int full = how == PAIRED ? nv - 1 : nv, pairs = how == PAIRED ? (mr + 1) / 2 : 0;
    vec total[MR][NV], sum[MR][NV], pair_total[MR], pair[MR];
    for (i64 k0 = 0;;) {
        const i64 length = o->k - k0 < FR_BLOCK ? o->k - k0 : FR_BLOCK;
        const real *a = o->a + k0 * o->a_k, *b = o->b + k0 * o->b_k;
        EACH(i, mr)
            EACH(j, full) sum[i][j] = vset(0);
        EACH(i, pairs) pair[i] = vset(0);
        for (i64 kk = 0; kk < length; kk++, a += o->a_k, b += o->b_k) {
            vec row[NV], x[MR];
            EACH(j, nv) row[j] = how != WHOLE && j == nv - 1 ? vload_n(b + j * VL, last) : vload(b + j * VL);
            EACH(i, mr) {
                x[i] = vset(a[i * o->a_row]);
                EACH(j, full) sum[i][j] = vfma(x[i], row[j], sum[i][j]);
            }
            EACH(i, pairs)
                pair[i] =
                    vfma(vlow_high(x[2 * i], x[2 * i + 1 < mr ? 2 * i + 1 : 2 * i]), vlow_twice(row[nv - 1]), pair[i]);
        }
        if (k0) {
            EACH(i, mr)
                EACH(j, full) sum[i][j] = total[i][j] + sum[i][j];
            EACH(i, pairs) pair[i] = pair_total[i] + pair[i];
        }
        if ((k0 += FR_BLOCK) >= o->k) break;
        EACH(i, mr)
            EACH(j, full) total[i][j] = sum[i][j];
        EACH(i, pairs) pair_total[i] = pair[i];
    }
    EACH(i, pairs) {
        sum[2 * i][nv - 1] = pair[i];
        if (2 * i + 1 < mr) sum[2 * i + 1][nv - 1] = vhigh(pair[i]);
    }
    if (o->accumulate)
        EACH(i, mr)
            EACH(j, nv) sum[i][j] = take(c + i * ldc + j * VL, j == nv - 1 ? last : VL) + sum[i][j];
    if (o->bias)
        EACH(j, nv) {
            const vec bias = take(o->bias + j * VL, j == nv - 1 ? last : VL);
            EACH(i, mr) sum[i][j] = sum[i][j] + bias;
        }
    if (last == VL)
        EACH(i, mr)
            EACH(j, nv) vstore(c + i * ldc + j * VL, sum[i][j]);
    else
        EACH(i, mr) {
            EACH(j, nv - 1) vstore(c + i * ldc + j * VL, sum[i][j]);
            vstore_n(c + i * ldc + (nv - 1) * VL, sum[i][nv - 1], last);
        }
}

typedef void tile_function(real *c, i64 ldc, const operands *o, int last);

#define TILE(kind, mr, nv, how)                                                                                        \
    static void kind##_##mr##x##nv(real *c, i64 ldc, const operands *o, int last)                                      \
    {                                                                                                                  \
        tile(c, ldc, o, mr, nv, how, last);                                                                            \
    }
#define TILES_OF(kind, nv, how)                                                                                        \
    TILE(kind, 1, nv, how)                                                                                             \
    TILE(kind, 2, nv, how)                                                                                             \
    TILE(kind, 3, nv, how)                                                                                             \
    TILE(kind, 4, nv, how) TILE(kind, 5, nv, how) TILE(kind, 6, nv, how)
#define ROW_OF(kind, nv) {kind##_1x##nv, kind##_2x##nv, kind##_3x##nv, kind##_4x##nv, kind##_5x##nv, kind##_6x##nv}
#if NV == 4
#define TILES(kind, how) TILES_OF(kind, 1, how) TILES_OF(kind, 2, how) TILES_OF(kind, 3, how) TILES_OF(kind, 4, how)
#define TABLE(kind) {ROW_OF(kind, 1), ROW_OF(kind, 2), ROW_OF(kind, 3), ROW_OF(kind, 4)}
#else
#define TILES(kind, how) TILES_OF(kind, 1, how) TILES_OF(kind, 2, how)
#define TABLE(kind) {ROW_OF(kind, 1), ROW_OF(kind, 2)}
#endif

TILES(tile, WHOLE)
TILES(edge, MASKED)
static tile_function *const whole_tiles[NV][MR] = TABLE(tile);
static tile_function *const edge_tiles[NV][MR] = TABLE(edge);
#if VB == 64
#define PAIRS_PAY 8 /* terms from which it pays to share a vector that is at most half full */
TILES(half, PAIRED)
static tile_function *const half_tiles[NV][MR] = TABLE(half);
#endif

/* The tiles whose last vector has so many columns; `padded` says that b may be read in whole vectors. */
INLINE tile_function *const *tiles_for(i64 index, int last, i64 k, int padded)
{
#if VB == 64
    if (last <= VL / 2 && k >= PAIRS_PAY) return half_tiles[index];
#endif
    return padded || last == VL ? whole_tiles[index] : edge_tiles[index];
}

/* ---- all tiles of some columns ------------------------------------------------------------------------------- */

/* Rows of the next tile: seven to eleven rows are shared by two tiles of nearly equal height. */
INLINE i64 tile_rows(i64 left) { return left <= MR ? left : left < 2 * MR ? (left + 1) / 2 : MR; }

/* Columns of the next tile: the vectors left are shared evenly. One alone has too few sums to keep the machine busy. */
INLINE i64 tile_columns(i64 left)
{
    const i64 vectors = (left + VL - 1) / VL, tiles = (vectors + NV - 1) / NV;
    return tiles <= 1 ? left : (vectors + tiles - 1) / tiles * VL;
}

/* c (m, n); `padded` says that b may be read in whole vectors. */
static void panel(real *c, i64 ldc, operands o, i64 m, i64 n, int padded)
{
    const operands whole = o;
    for (i64 j = 0, columns; j < n; j += columns) {
        columns = tile_columns(n - j);
        const i64 index = (columns - 1) / VL; /* of the last vector */
        const int last = (int)(columns - index * VL);
        tile_function *const *tiles = tiles_for(index, last, o.k, padded);
        o.b = whole.b + j;
        o.bias = whole.bias ? whole.bias + j : NULL;
        for (i64 i = 0, rows; i < m; i += rows) {
            rows = tile_rows(m - i);
            o.a = whole.a + i * o.a_row;
            tiles[rows - 1](c + i * ldc + j, ldc, &o, last);
        }
    }
}

/* The same for a c of few columns, computed transposed, so that its rows fill the vectors: o is the transposed product,
 * of m <= NARROW rows and n <= PANEL columns. */
static void narrow_panel(real *c, i64 ldc, const operands *o, i64 m, i64 n, int padded)
{
    real out[NARROW * PANEL];
    operands plain = *o;
    plain.bias = NULL;
    plain.accumulate = 0;
    panel(out, PANEL, plain, m, n, padded);
    for (i64 j = 0; j < n; j++, c += ldc)
        for (i64 i = 0; i < m; i++) {
            const real y = o->accumulate ? c[i] + out[i * PANEL + j] : out[i * PANEL + j];
            c[i] = o->bias ? y + o->bias[i] : y;
        }
}

/* ---- packing --------------------------------------------------------------------------------------------------- */

/* Columns of the next packed panel. */
INLINE i64 panel_columns(i64 left)
{
    if (PANEL == NV * VL) return tile_columns(left);
    return left < PANEL ? left : PANEL;
}

/* packed (k, width) = columns of b (k, ...), rows of b being b_k apart; zero up to whole vectors */
static void pack(real *packed, i64 width, const real *b, i64 b_k, i64 k, i64 columns)
{
    for (i64 kk = 0; kk < k; kk++, packed += width, b += b_k)
        for (i64 j = 0; j < columns; j += VL) {
            const int n = vrest(j, columns);
            vstore(packed + j, n == VL ? vload(b + j) : vload_n(b + j, n));
        }
}

/* strips of STRIP columns of a (k, columns), one after the other, each (k, STRIP); rows of a being m apart */
static void pack_strips(real *packed, const real *a, i64 m, i64 columns, i64 k)
{
    for (i64 kk = 0; kk < k; kk++)
        for (i64 i = 0; i < columns; i += STRIP)
            pack(packed + i * k + kk * STRIP, STRIP, a + kk * m + i, m, 1, columns - i < STRIP ? columns - i : STRIP);
}

/* packed (columns, PANEL) = the transpose of some rows of b, at most VL x VL numbers; zeros up to whole vectors */
INLINE void transpose_block(real *packed, const real *b, i64 b_row, int rows, int columns)
{
    vec v[VL];
    EACH(i, VL) v[i] = i < rows ? take(b + i * b_row, columns) : vset(0);
    vtranspose(v);
    EACH(i, VL)
        if (i < columns) vstore(packed + i * PANEL, v[i]);
}

/* packed (k, PANEL) = the transpose of rows of b (n, k), n <= PANEL; zeros up to whole vectors */
static void pack_transposed(real *packed, const real *b, i64 k, i64 n)
{
    for (i64 j = 0; j < n; j += VL)
        for (i64 kk = 0; kk < k; kk += VL) {
            real *to = packed + kk * PANEL + j;
            const real *from = b + j * k + kk;
            const int rows = vrest(j, n), columns = vrest(kk, k);
            if (rows == VL && columns == VL) transpose_block(to, from, k, VL, VL);
            else transpose_block(to, from, k, rows, columns);
        }
}

/* ---- few numbers ------------------------------------------------------------------------------------------------- */

/* One row of at most VL columns: the sum stays in one register. */
INLINE void tiny_row(real *c, const real *a, i64 a_k, const real *b, i64 b_k, const real *bias, i64 k, int accumulate,
                     int n)
{
    vec sum = vset(0);
    for (; k > 0; k--, a += a_k, b += b_k) sum = vfma(vset(*a), vload_n(b, n), sum);
    if (accumulate) sum = vload_n(c, n) + sum;
    if (bias) sum = sum + vload_n(bias, n);
    vstore_n(c, sum, n);
}

/* c (m, n) of at most TINY terms, by rows; returns 0 where it does not apply. */
INLINE int tiny(real *c, const real *a, i64 a_row, i64 a_k, const real *b, const real *bias, i64 m, i64 n, i64 k,
                int accumulate)
{
    if (n > VL || m * n * k > TINY || k > FR_BLOCK) return 0;
    if (k == 1 && !accumulate && !bias) { /* a batch of one row: the outer product */
        const vec row = vload_n(b, (int)n);
        for (i64 i = 0; i < m; i++) vstore_n(c + i * n, vfma(vset(a[i * a_row]), row, vset(0)), (int)n);
        return 1;
    }
    for (i64 i = 0; i < m; i++) tiny_row(c + i * n, a + i * a_row, a_k, b, n, bias, k, accumulate, (int)n);
    return 1;
}

/* The same for a transposed b (n, k), number by number. */
INLINE int tiny_transposed(real *c, const real *a, const real *b, const real *bias, i64 m, i64 n, i64 k, int accumulate)
{
    if (m * n * k > TINY || k > FR_BLOCK) return 0;
    for (i64 i = 0; i < m; i++, a += k, c += n)
        for (i64 j = 0; j < n; j++) {
            real sum = 0;
            for (i64 kk = 0; kk < k; kk++) sum = fma1(a[kk], b[j * k + kk], sum);
            if (accumulate) sum = c[j] + sum;
            c[j] = bias ? sum + bias[j] : sum;
        }
    return 1;
}

/* ---- the products ------------------------------------------------------------------------------------------------ */

INLINE fr_part whole(const fr_part *part, i64 m, i64 n) { return part ? *part : (fr_part){0, m, 0, n}; }

/* Rows of a c of so few columns that no part divides them, PANEL rows at a time. a is (k, m), or (m, k) where it is to be
 * packed. */
static void narrow(real *c, const real *a, const real *b, const real *bias, i64 m, i64 n, i64 k, int accumulate,
                   fr_part p, real *packed)
{
    for (i64 i = p.row, end = p.row + p.rows; i < end; i += PANEL) {
        const i64 rows = end - i < PANEL ? end - i : PANEL;
        if (packed) pack_transposed(packed, a + i * k, k, rows);
        const operands o = {b, 1, n, packed ? packed : a + i, packed ? PANEL : m, bias, k, accumulate};
        narrow_panel(c + i * n, n, &o, n, rows, packed != NULL);
    }
}

static void k_gemm_nn(void *c_, const void *a_, const void *b_, const void *bias_, i64 m, i64 n, i64 k, int accumulate,
                      const fr_part *part, void *scratch)
{
    real *c = c_;
    const real *a = a_, *b = b_, *bias = bias_;
    if (!part && tiny(c, a, k, 1, b, bias, m, n, k, accumulate)) return;
    const fr_part p = whole(part, m, n);
    const int few_rows = p.rows <= FR_FEW_ROWS, direct = few_rows || n <= PANEL || n * k <= DIRECT_B;
    if (n <= VL / 4 && !few_rows) {
        narrow(c, a, b, bias, m, n, k, accumulate, p, scratch);
        return;
    }
    for (i64 j = p.column, end = j + p.columns, columns; j < end; j += columns) {
        columns = direct ? end - j : panel_columns(end - j);
        operands o = {a + p.row * k, k, 1, b + j, n, bias ? bias + j : NULL, k, accumulate};
        if (!direct) {
            pack(scratch, PANEL, o.b, n, k, columns);
            o.b = scratch;
            o.b_k = PANEL;
        }
        panel(c + p.row * n + j, n, o, p.rows, columns, !direct);
    }
}

static void k_gemm_nt(void *c_, const void *a_, const void *b_, const void *bias_, i64 m, i64 n, i64 k, int accumulate,
                      const fr_part *part, void *scratch)
{
    real *c = c_;
    const real *a = a_, *b = b_, *bias = bias_;
    if (!part && tiny_transposed(c, a, b, bias, m, n, k, accumulate)) return;
    const fr_part p = whole(part, m, n);
    for (i64 j = p.column, end = j + p.columns, columns; j < end; j += columns) {
        columns = panel_columns(end - j);
        pack_transposed(scratch, b + j * k, k, columns);
        const operands o = {a + p.row * k, k, 1, scratch, PANEL, bias ? bias + j : NULL, k, accumulate};
        panel(c + p.row * n + j, n, o, p.rows, columns, 1);
    }
}

/* A part of c = a' b, from packed or small operands; in_place: both are read where they are */
static void transposed(real *c, const real *a, const real *b, const real *bias, i64 m, i64 n, i64 k, int accumulate,
                       int in_place, fr_part p, real *scratch)
{
    if (n <= NARROW && k >= LONG(n)) {
        narrow(c, a, b, bias, m, n, k, accumulate, p, NULL);
        return;
    }
    const int direct_b = in_place || m <= FR_FEW_ROWS || n <= PANEL || n * k <= (m <= 2 * STRIP ? 2 : 1) * DIRECT_B;
    const int direct_a = in_place || m <= STRIP || (m * k <= DIRECT_A && m * (i64)sizeof(real) % ALIAS);
    const i64 width = direct_a ? p.rows : STRIP, lines = direct_a ? m : STRIP;
    real *packed_b = scratch, *packed_a = packed_b + k * PANEL;
    if (!direct_a) pack_strips(packed_a, a + p.row, m, p.rows, k);
    for (i64 j = p.column, end = j + p.columns, columns; j < end; j += columns) {
        columns = direct_b ? end - j : panel_columns(end - j);
        operands o = {NULL, 1, lines, b + j, n, bias ? bias + j : NULL, k, accumulate};
        if (!direct_b) {
            pack(packed_b, PANEL, o.b, n, k, columns);
            o.b = packed_b;
            o.b_k = PANEL;
        }
        for (i64 i = 0; i < p.rows; i += width) {
            o.a = direct_a ? a + p.row : packed_a + i * k;
            panel(c + (p.row + i) * n + j, n, o, p.rows - i < width ? p.rows - i : width, columns, !direct_b);
        }
    }
}

static void k_gemm_tn(void *c, const void *a_, const void *b_, const void *bias, i64 m, i64 n, i64 k, int accumulate,
                      const fr_part *part, void *scratch)
{
    const real *a = a_, *b = b_;
    if (!part && tiny(c, a, 1, m, b, bias, m, n, k, accumulate)) return;
    const int many = k > FR_STRETCH; /* then block by block, each added to those before: the same order */
    fr_part p = whole(part, m, n);
    for (const i64 end = p.row + p.rows; p.row < end; p.row += FR_SIDE) {
        p.rows = end - p.row < FR_SIDE ? end - p.row : FR_SIDE;
        i64 k0 = 0;
        for (; many && !accumulate && k - k0 > FR_BLOCK; k0 += FR_BLOCK)
            transposed(c, a + k0 * m, b + k0 * n, NULL, m, n, FR_BLOCK, k0 > 0, 0, p, scratch);
        transposed(c, a + k0 * m, b + k0 * n, bias, m, n, k - k0, accumulate || k0, many && accumulate, p, scratch);
    }
}

/* ---- sums of rows, a bias gradient: blocks of 256 rows, each from +0, then block by block ------------------------ */

#define SUM_COLUMNS 1024 /* columns of a partial sum that is kept in memory */

/* out (n,) = sum of x (rows, n), rows being `cols` apart; nv vectors of columns, of the last one n: the sums stay in
 * registers. */
INLINE void sum_few_columns(real *out, const real *x, i64 rows, i64 cols, const int nv, int n)
{
    vec total[NV], sum[NV];
    EACH(j, nv) total[j] = vset(0);
    for (i64 r0 = 0; r0 < rows; r0 += FR_BLOCK) {
        const i64 end = rows - r0 < FR_BLOCK ? rows : r0 + FR_BLOCK;
        EACH(j, nv) sum[j] = vset(0);
        for (i64 r = r0; r < end; r++)
            EACH(j, nv) sum[j] = sum[j] + take(x + r * cols + j * VL, j == nv - 1 ? n : VL);
        EACH(j, nv) total[j] = r0 ? total[j] + sum[j] : sum[j];
    }
    EACH(j, nv) put(out + j * VL, total[j], j == nv - 1 ? n : VL);
}

INLINE void add_row(real *sum, const real *x, i64 n)
{
    for (i64 i = 0; i < n; i += VL) {
        const int rest = vrest(i, n);
        put(sum + i, take(sum + i, rest) + take(x + i, rest), rest);
    }
}

/* The same for n <= SUM_COLUMNS: rows are read in sequence. */
static void sum_many_columns(real *out, const real *x, i64 rows, i64 cols, i64 n)
{
    real sum[SUM_COLUMNS];
    for (i64 r0 = 0; r0 < rows; r0 += FR_BLOCK) {
        const i64 end = rows - r0 < FR_BLOCK ? rows : r0 + FR_BLOCK;
        memset(sum, 0, (size_t)n * sizeof(real));
        for (i64 r = r0; r < end; r++) add_row(sum, x + r * cols, n);
        if (r0) add_row(out, sum, n);
        else memcpy(out, sum, (size_t)n * sizeof(real));
    }
}

static void k_column_sum(void *out_, const void *x_, i64 rows, i64 cols)
{
    real *out = out_;
    const real *x = x_;
    if (rows == 0) memset(out, 0, (size_t)cols * sizeof(real));
    else if (cols <= 128) {
        i64 j = 0;
        for (; j + NV * VL <= cols; j += NV * VL) sum_few_columns(out + j, x + j, rows, cols, NV, VL);
        for (; j < cols; j += VL) sum_few_columns(out + j, x + j, rows, cols, 1, vrest(j, cols));
    } else
        for (i64 j = 0; j < cols; j += SUM_COLUMNS)
            sum_many_columns(out + j, x + j, rows, cols, cols - j < SUM_COLUMNS ? cols - j : SUM_COLUMNS);
}
