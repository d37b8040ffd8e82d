"""How a batch is mixed: the share that rows keep, and whom with.

Of block 0, word 0 decides whether, and word 1 with which row. The share is Beta(alpha, alpha), from a point (u, v) in
the unit circle (Bailey 1994, Math. Comp. 62, by Student's t with 2 alpha degrees of freedom; Devroye 1996):

    w = u^2 + v^2 < 1,  q = u^2 / w (w^(-1 / alpha) - 1),  share = 1/2 + sign(u) sqrt(q / (1 + q)) / 2

rounded to 1/65536, in float64 with the table's own logarithm and exponential: the same bits everywhere. Words 2 and 3
of block k are the k-th try at such a point.
"""

from libc.math cimport copysign, sqrt

from fastreg._core.table cimport *

cdef fr_random *random_words = <fr_random *>kernel_named("random", "random_words", False)
cdef fr_activation *log_of = <fr_activation *>kernel_named("activation", "log", True)
cdef fr_activation *exp_of = <fr_activation *>kernel_named("activation", "exp", True)


cdef mixing_t draw_mixing(double alpha, double probability, i64 rows, const fr_stream *key) noexcept nogil:
    cdef u32[4] word
    cdef mixing_t mixing
    mixing.share, mixing.shift = 1, 0
    random_words(word, 1, 0, key)
    if rows > 1 and word[0] < 4294967296.0 * probability:
        mixing.shift = 1 + <i64>((<u64>word[1] * <u64>(rows - 1)) >> 32)
        mixing.share = fr_rounded(65536 * draw_share(alpha, key)) / 65536
    return mixing


cdef double draw_share(double alpha, const fr_stream *key) noexcept nogil:
    cdef double u, v, w = 2, power, q
    cdef i64 block = 0
    while w >= 1:
        u, v = point(key, block)
        w = u * u + v * v
        block += 1
    log_of(&power, &w, 1, 1, 0)
    power = min(-power / alpha, 700.0)  # e^710 is no number
    exp_of(&power, &power, 1, 1, 0)
    q = u * u / w * (power - 1)
    return 0.5 + copysign(0.5 * sqrt(q / (1 + q)), u)


cdef inline (double, double) point(const fr_stream *key, i64 block) noexcept nogil:
    """A point in the square (-1, 1)^2, neither of whose numbers is 0."""
    cdef u32[4] word
    random_words(word, 1, block, key)
    return (2.0 * word[2] + 1) / 4294967296.0 - 1, (2.0 * word[3] + 1) / 4294967296.0 - 1
