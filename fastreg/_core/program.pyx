"""A plan made executable: its records as C structs, with the kernels they name found in the table."""

cimport cython
from libc.stdlib cimport calloc, free

from fastreg._core.table cimport *

# Operation -> (code, family of its kernel)
_OPERATIONS = {
    b"augment": (AUGMENT, "augment"),
    b"mix": (MIX, "mix"),
    b"dense": (DENSE, "activation"),
    b"activation": (ACTIVATION, "activation"),
    b"noise": (NOISE, "noise"),
    b"add": (ADD, ""),
    b"drop_connect": (DROP_CONNECT, "noise"),
    b"moments": (MOMENTS, "moments"),
    b"norm": (NORM, "norm"),
    b"loss": (LOSS, "loss"),
    b"dense_backward": (DENSE_BACKWARD, "gradient"),
    b"activation_backward": (ACTIVATION_BACKWARD, "gradient"),
    b"noise_backward": (NOISE_BACKWARD, "noise"),
    b"drop_connect_backward": (DROP_CONNECT_BACKWARD, "noise"),
    b"norm_sums": (NORM_SUMS, "norm_sums"),
    b"norm_backward": (NORM_BACKWARD, "norm_gradient"),
    b"penalty": (PENALTY, "penalty"),
    b"update": (UPDATE, "update"),
    b"prox": (PROX, "prox"),
    b"squares": (SQUARES, "squares"),
    b"clip": (CLIP, "clip"),
    b"average": (AVERAGE, "update"),
}


@cython.final
cdef class Program:
    """The segments of a plan, the kernels of its dtype, and the optimizer's numbers."""

    def __cinit__(self, plan):
        cdef bint double = plan.dtype.itemsize == 8
        self.c.product_nn = <fr_product *>kernel_named("product", "gemm_nn", double)
        self.c.product_nt = <fr_product *>kernel_named("product", "gemm_nt", double)
        self.c.product_tn = <fr_product *>kernel_named("product", "gemm_tn", double)
        self.c.csr_product = <fr_sparse_product *>kernel_named("sparse_product", "csr_product", double)
        self.c.csr_transpose = <fr_sparse_transpose *>kernel_named("sparse_transpose", "csr_transpose", double)
        self.c.column_sum = <fr_reduction *>kernel_named("reduction", "column_sum", double)
        self.c.gather = <fr_gather *>kernel_named("gather", "gather", double)
        self.c.gather_labels = <fr_gather *>kernel_named("gather", "gather_labels", double)
        self.c.gather_one_hot = <fr_gather *>kernel_named("gather", "gather_one_hot", double)
        self.c.blend = <fr_blend *>kernel_named("blend", "blend", double)
        self.c.blend_targets = <fr_blend_targets *>kernel_named("blend_targets", "blend_targets", double)
        self.c.dropout = <fr_noise *>kernel_named("noise", "dropout", double)
        self.c.add = <fr_sum *>kernel_named("sum", "add", double)
        names = ("batch", "forward", "loss", "backward", "measure", "update")
        cdef list segments = [getattr(plan, name).tolist() for name in names]
        self.ops = <op_t *>calloc(sum(map(len, segments)) + 1, sizeof(op_t))
        if self.ops is NULL:
            raise MemoryError("no memory for the plan's operations")
        cdef op_t *op = self.ops
        self.c.batch, op = bind_segment(op, segments[0], double), op + len(segments[0])
        self.c.forward, op = bind_segment(op, segments[1], double), op + len(segments[1])
        self.c.loss, op = bind_segment(op, segments[2], double), op + len(segments[2])
        self.c.backward, op = bind_segment(op, segments[3], double), op + len(segments[3])
        self.c.measure, op = bind_segment(op, segments[4], double), op + len(segments[4])
        self.c.update = bind_segment(op, segments[5], double)
        self.c.mixes = plan.mixes
        self.c.output = plan.output
        self.c.measure.chunks, self.c.update.chunks = count_chunks(&self.c.measure), count_chunks(&self.c.update)
        take_into_updates(&self.c.update, kernel_named("penalty", "l1", double), kernel_named("penalty", "l2", double))
        for name, value in plan.settings.items():
            if name == "epsilon_hat":
                self.c.epsilon_hat = value
            else:
                set_number(&self.c.settings, name, value)
        if plan.own_loss is not None:
            self.own_loss = plan.own_loss.in_memory
            self.c.own_loss = <PyObject *>self.own_loss
        self.c.penalty_per_batch = plan.penalty_per_batch
        self.c.element_steps = "beta2" in plan.settings

    def __dealloc__(self):
        free(self.ops)


cdef segment_t bind_segment(op_t *ops, list records, bint double) except *:
    """Fill ops with the records; return the segment that they make."""
    cdef int i = 0
    for record in records:
        bind(&ops[i], record, double)
        i += 1
    return segment_t(ops, i, 0)


cdef int bind(op_t *op, tuple record, bint double) except -1:
    """One record of the plan, its fields in the order of fastreg.ops.OP, as a struct."""
    (name, kernel, op.x, op.y, op.dx, op.dy, op.skip, op.weight, op.bias, op.mean, op.variance, op.n_in, op.n_out,
     op.start, op.stop, op.image.height, op.image.width, op.image.channels, op.layer, op.rate, op.strength, op.decay,
     op.accumulate, op.masked, op.alpha) = record
    op.code, family = _OPERATIONS[name]
    op.has_dx = op.dx >= 0
    op.x, op.y, op.dx, op.dy, op.skip = max(op.x, 0), max(op.y, 0), max(op.dx, 0), max(op.dy, 0), max(op.skip, 0)
    if kernel:
        op.kernel = kernel_named(family, kernel.decode(), double)
    return 0


cdef i64 count_chunks(segment_t *ranges) noexcept:
    """How many chunks the ranges of parameters have; operations of one range follow each other."""
    cdef i64 chunks = 0
    cdef int i
    for i in range(ranges.n):
        if i == 0 or ranges.ops[i].start != ranges.ops[i - 1].start:
            chunks += (ranges.ops[i].stop - ranges.ops[i].start + FR_CHUNK - 1) // FR_CHUNK
    return chunks


cdef int take_into_updates(segment_t *update, fr_kernel l1, fr_kernel l2) noexcept:
    """Number the penalties that the update of their range computes on its way: an L1 (1), an L2 (2), or both."""
    cdef op_t *ops = update.ops
    cdef int i, first = 0, k, number, last
    for i in range(update.n):
        if ops[i].start != ops[first].start:
            first = i
        if ops[i].code != UPDATE:
            continue
        last = 0
        for k in range(first, i):
            number = 1 if ops[k].kernel == l1 else 2 if ops[k].kernel == l2 else 0
            if ops[k].alpha == 0 or number <= last:  # of value alone, of another kind, or out of order: none at all
                break
            ops[k].within = last = number
        else:
            continue
        for k in range(first, i):
            ops[k].within = 0
    return 0


cdef int set_number(fr_step *step, str name, double value) except -1:
    """Set one of the optimizer's numbers by its name."""
    if name == "momentum":
        step.momentum = value
    elif name == "nesterov":
        step.nesterov = value
    elif name == "beta1":
        step.beta1 = value
    elif name == "beta2":
        step.beta2 = value
    elif name == "epsilon":
        step.epsilon = value
    else:
        raise ValueError(f"no optimizer has a setting {name!r}")
    return 0
