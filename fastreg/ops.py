"""The vocabulary of a plan: one record per operation, the same for both interpreters.

Fields of a record
    x, y, dx, dy       slot numbers: activations and their gradients. Slot 0 is the batch's input
    skip               the slot that a sum adds to x
    weight, bias       where the layer's parameters start in the flat buffer, in elements: of a norm, scale and shift
    mean, variance     where the running statistics of a norm start there
    n_in, n_out        columns that the operation reads and writes
    start, stop        the range of the flat buffer that an update operation works on
    height, width, channels   of the images that the rows are
    layer              the number of the noise, augmentation or mixing: part of the key of its random numbers
    rate, strength, decay   index into the plan's table of scalars; of a loss, strength is where its own numbers begin:
                       how it smooths targets, the levels of quantiles
    accumulate         1: a gradient is added to what its slot holds
    masked             1: the weights are those that the drop_connect before has left
    alpha              the leak of a leaky ReLU; the scale of a ReLU's gradient; the output weight of a loss;
                       of a penalty, 1 if its gradient is added and 0 if only its value counts; of an update, 1 if
                       its decay is not multiplied by the learning rate; what a noise puts in place of a masked number;
                       the epsilon of a norm

Operations, by segment
    batch     augment (slot 0), mix (slot 0, targets and weights); strength = the first of their n_in numbers
    forward   noise (x -> y), dense (x -> y; kernel = activation, rate and layer where a dropout is fused behind
              a ReLU), activation (x -> y), add (x + skip -> y), drop_connect (the next dense's weights, n_in rows
              of n_out, through a noise), moments (of x: what norms are trained by), norm (x -> y)
    loss      loss (y = outputs, dy = their gradient)
    backward  noise_backward (dy -> dx), dense_backward (x, y, dy -> dx; dy becomes dz on the way),
              activation_backward (dy, y -> dx), drop_connect_backward (of the weights' gradient), norm_sums (x, dy:
              the gradients of scale and shift), norm_backward (x, dy -> dx); activation (a copy) and add on gradients
    measure   per range, where the gradient is clipped by its norm, for all ranges before the update: penalty*, squares
              (strength = the largest norm)
    update    per range: penalty*, clip (kernel = clamp: strength = the bound; rescale: by what the norm asks for),
              update (strength = the floor that a proximal L1 asks of Adam; rate: its own learning rate, of running
              statistics), prox*, average (strength = the smallest share of the new weights)
"""

import numpy as np

INTEGERS = (
    *("x", "y", "dx", "dy", "skip", "weight", "bias", "mean", "variance", "n_in", "n_out", "start", "stop"),
    *("height", "width", "channels", "layer", "rate", "strength", "decay", "accumulate", "masked"),
)
FLAGS = ("accumulate", "masked")
OP = np.dtype([("op", "S24"), ("kernel", "S32"), *[(name, "i8") for name in INTEGERS], ("alpha", "f8")])

NONE = -1
"""What an integer field holds where an operation has no use for it."""

_EMPTY = {"op": "", "kernel": "", **dict.fromkeys(INTEGERS, NONE), **dict.fromkeys(FLAGS, 0), "alpha": 0.0}


def op(name, **fields):
    """Return one operation, still a dict: fields not named are `NONE`, flags and `alpha` are 0."""
    unknown = fields.keys() - _EMPTY.keys()
    if unknown:
        raise KeyError(f"an operation has no field {', '.join(unknown)}")
    return {**_EMPTY, "op": name, **fields}


def records(operations):
    """Return a segment, an array of dtype `OP`, of what `op` made."""
    return np.array([tuple(operation.values()) for operation in operations], dtype=OP)
