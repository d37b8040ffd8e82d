"""The table of kernels: chosen once, at import, for the machine's highest level or for `FASTREG_ISA`."""

import os

cdef const fr_table *_tables[2]


def levels():
    """Names of the levels compiled in, each with whether this machine runs it, lowest first."""
    cdef int i = 0, runs = 0
    cdef const char *name
    found = {}
    while True:
        name = fr_level(i, &runs)
        if name is NULL:
            return found
        found[name.decode()] = bool(runs)
        i += 1


def level():
    """Name of the level in use."""
    return _tables[0].level.decode()


def kernels():
    """All kernels of kernel_list.h as a dict of name: family."""
    cdef int i
    return {fr_kernel_names[i].decode(): fr_family_names[i].decode() for i in range(FR_KERNELS)}


def _choose(wanted):
    runnable = [name for name, runs in levels().items() if runs]
    if wanted and wanted not in runnable:
        here = ", ".join(runnable)
        raise ImportError(f"FASTREG_ISA={wanted!r} is not available: this build on this machine has {here}")
    cdef bytes chosen = (wanted or runnable.pop()).encode()
    _tables[0] = fr_table_for(0, chosen)
    _tables[1] = fr_table_for(1, chosen)


_choose(os.environ.get("FASTREG_ISA"))
_INDEX = {name: i for i, name in enumerate(kernels())}
_FAMILY = kernels()


cdef fr_kernel kernel_named(str family, str name, bint float64) except NULL:
    if _FAMILY.get(name) != family:
        known = [kernel for kernel, its_family in _FAMILY.items() if its_family == family]
        raise ValueError(f"no {family} kernel is called {name!r}; there are {known}")
    cdef int index = _INDEX[name]
    return _tables[float64].kernel[index]


cdef int claim_threads(int threads) noexcept nogil:
    return fr_pool_claim(threads)


cdef void release_threads() noexcept nogil:
    fr_pool_release()


cdef void share_items(fr_task *task, void *job, i64 items, int threads) noexcept nogil:
    fr_pool_share(task, job, items, threads)


cdef double seconds() noexcept nogil:
    return fr_seconds()
