"""The batch segment, bound to a batch's arrays: what augmentations and mixings do to them, in place."""

from functools import partial
from typing import NamedTuple

import numpy as np

from fastreg.reference import augment, mix


class Keys(NamedTuple):
    """Of the random numbers of one step."""

    seed: int
    step: int
    epoch: int


def bind_batch(plan, x, targets, weights):
    """Return the segment's operations, each a call of the batch's row numbers and its `Keys`."""
    return [_BINDERS[record["op"]](record, plan, x, targets, weights) for record in plan.batch]


def _augment(record, plan, x, targets, weights):
    kernel, before = getattr(augment, record["kernel"].decode()), np.empty_like(x)

    def change(rows, keys):
        np.copyto(before, x)
        kernel(x, before, _shape(record), *_numbers(record, plan), seed=keys.seed, epoch=keys.epoch,
               number=int(record["layer"]), rows=rows)  # fmt: skip

    return change


def _mix(record, plan, x, targets, weights):
    kernel, number = getattr(mix, record["kernel"].decode()), int(record["layer"])
    keep, shape = np.empty(x.shape[1], x.dtype), _shape(record)

    def change(rows, keys):
        keyed = {"seed": keys.seed, "step": keys.step, "number": number}
        alpha, probability = _numbers(record, plan)
        share, shift = mix.mixing(alpha, probability, len(rows), **keyed)
        if share == 1:
            return
        share, with_partner = kernel(keep, shape, share, **keyed), partial(np.roll, shift=-shift, axis=0)
        mix.blend(x, x.copy(), with_partner(x), keep)
        own = (None, None, None) if weights is None else (weights, weights.copy(), with_partner(weights))
        mix.blend_targets(targets, targets.copy(), with_partner(targets), share, *own)

    return change


def _shape(record):
    return int(record["height"]), int(record["width"]), int(record["channels"])


def _numbers(record, plan):
    """Return the settings as they are now: schedules may change them."""
    return plan.scalars[record["strength"] :][: record["n_in"]].tolist()


_BINDERS = {b"augment": _augment, b"mix": _mix}
