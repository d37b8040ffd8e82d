from fastreg._core.table cimport i64


cdef class Workspace:
    cdef char *block
    cdef char **slot
    cdef char *gradient
    cdef char *targets
    cdef char *weights
    cdef char *scratch
    cdef char *steps  # effective step sizes of one chunk
    cdef i64 rows
    cdef double work  # floating-point operations since signals were looked at, about
