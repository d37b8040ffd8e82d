"""The vocabulary of a plan: one record per operation, the same for both interpreters.

Fields of a record
    x, y, dx, dy       slot numbers: activations and their gradients. Slot 0 is the batch's input
    weight, bias       where the layer's parameters start in the flat buffer, in elements
    n_in, n_out        columns that the operation reads and writes
    start, stop        the range of the flat buffer that an update operation works on
    layer              the number of the dropout layer: part of the key of its random numbers
    rate, strength, decay   index into the plan's table of scalars; of a loss, strength is where its own numbers begin:
                       how it smooths targets, the levels of quantiles
    accumulate         1: a gradient is added to what its slot holds
    alpha              the leak of a leaky ReLU; the scale of a ReLU's gradient; the output weight of a loss;
                       of a penalty, 1 if its gradient is added and 0 if only its value counts

Operations, by segment
    forward   dropout (x -> y), dense (x -> y; kernel = activation, rate and layer where a dropout is
              fused behind a ReLU), activation (x -> y)
    loss      loss (y = outputs, dy = their gradient)
    backward  dropout_backward (dy -> dx), dense_backward (x, y, dy -> dx; dy becomes dz on the way),
              activation_backward (dy, y -> dx)
    update    per range: penalty*, update (strength = the floor that a proximal L1 asks of Adam), prox*
"""

import numpy as np

INTEGERS = (
    *("x", "y", "dx", "dy", "weight", "bias", "n_in", "n_out", "start", "stop"),
    *("layer", "rate", "strength", "decay", "accumulate"),
)
OP = np.dtype([("op", "S24"), ("kernel", "S32"), *[(name, "i8") for name in INTEGERS], ("alpha", "f8")])

NONE = -1
"""What an integer field holds where an operation has no use for it."""

_EMPTY = {"op": "", "kernel": "", **dict.fromkeys(INTEGERS, NONE), "accumulate": 0, "alpha": 0.0}


def op(name, **fields):
    """Return one operation, still a dict: fields not named are `NONE`, `accumulate` and `alpha` are 0."""
    unknown = fields.keys() - _EMPTY.keys()
    if unknown:
        raise KeyError(f"an operation has no field {', '.join(unknown)}")
    return {**_EMPTY, "op": name, **fields}


def records(operations):
    """Return a segment, an array of dtype `OP`, of what `op` made."""
    return np.array([tuple(operation.values()) for operation in operations], dtype=OP)
