"""Reverse mode: the backward segment from the forward one.

a) The records are walked through from the last to the first. `_holds` says which gradient slot has the gradient of
   each slot of activations so far. Slots that do not depend on parameters have none; what leads to them is left out.
b) A gradient slot is free again once nothing holds it; the lowest free one is taken, so a chain of layers needs two.
c) Where a slot of activations was read twice, by a skip connection, its gradients are added. A gradient that two
   slots hold, because it went through a sum unchanged, is copied before one of them changes it.
"""

from fastreg.ops import NONE, op

_ADDITIVE = ("gaussian_noise",)  # noise through which a gradient passes unchanged


def backward(forward, output, first):
    """Return the backward segment, as a list of `op`, and how many gradient slots it uses.

    Parameters
    ----------
    forward : list of `op`
    output : int
        The slot of the outputs, whose gradient the loss writes to the first gradient slot.
    first : int
        Number of the first gradient slot.
    """
    way = _Way(forward, output, first)
    for record in reversed(forward):
        if record["y"] in way.needed or record["op"] == "drop_connect":
            _REVERSED.get(record["op"], _elementwise)(way, record)
    return way.records, way.used


class _Way:
    """The way back so far."""

    def __init__(self, forward, output, first):
        self.records, self.used = [], 0
        self.needed = _needed(forward)
        self._first, self._holds = first, {}
        self._holds[output] = self.take()

    def take(self):
        """Return the lowest gradient slot that nothing holds."""
        slot = self._first
        while slot in self._holds.values():
            slot += 1
        self.used = max(self.used, slot - self._first + 1)
        return slot

    def of(self, slot):
        """Return where the gradient of a slot is; None where it has none so far."""
        return self._holds.get(slot)

    def hold(self, slot, gradient):
        self._holds[slot] = gradient

    def release(self, slot):
        return self._holds.pop(slot)

    def alone(self, slot):
        """Whether no other slot holds the same gradient."""
        return list(self._holds.values()).count(self._holds[slot]) == 1

    def own(self, slot, width):
        """Return where the gradient of a slot is, copied first where another slot holds it too."""
        if not self.alone(slot):
            shared, copy = self._holds[slot], self.take()
            self.records.append(op("activation", kernel="identity", x=shared, y=copy, n_out=width))
            self._holds[slot] = copy
        return self._holds[slot]

    def add(self, slot, gradient, width):
        """Add a gradient to that of a slot, if it has one already."""
        held = self.of(slot)
        if held is not None:
            total = held if self.alone(slot) else self.take()
            self.records.append(op("add", x=held, skip=gradient, y=total, n_out=width))
            gradient = total
        self.hold(slot, gradient)


def _needed(forward):
    """Return the slots that depend on parameters."""
    needed: set = set()
    for record in forward:
        if record["y"] != NONE and (record["weight"] != NONE or needed & {record["x"], record["skip"]}):
            needed.add(record["y"])
    return needed


def _dense(way, record):
    dy = way.own(record["y"], record["n_out"]) if record["kernel"] else way.of(record["y"])
    dx, accumulate = NONE, way.of(record["x"]) is not None
    if record["x"] in way.needed:
        dx = way.own(record["x"], record["n_in"]) if accumulate else way.take()
        way.hold(record["x"], dx)
    way.records.append(_reverse(record, dy=dy, dx=dx, accumulate=int(accumulate)))
    way.release(record["y"])


def _drop_connect(way, record):
    way.records.append(_reverse(record))


def _add(way, record):
    dy = way.of(record["y"])  # held until both have it
    for slot in (record["x"], record["skip"]):
        if slot in way.needed:
            way.add(slot, dy, record["n_out"])
    way.release(record["y"])


def _norm(way, record):
    sums = {"op": "norm_sums", "kernel": record["kernel"] + "_sums"}
    way.records.append(_reverse(record, dy=way.of(record["y"])) | sums)
    _elementwise(way, record)


def _elementwise(way, record):
    """An operation whose gradient may be written over that of its output."""
    alone, dy = way.alone(record["y"]), way.release(record["y"])
    if record["x"] not in way.needed:
        return
    if record["kernel"] in _ADDITIVE:
        dx = dy
    else:
        dx = dy if alone else way.take()
        way.records.append(_reverse(record, dy=dy, dx=dx))
    way.add(record["x"], dx, record["n_out"])


_REVERSED = {"dense": _dense, "drop_connect": _drop_connect, "add": _add, "norm": _norm}


def _reverse(record, **fields):
    """Return the same operation on its way back."""
    back = record | fields | {"op": record["op"] + "_backward"}
    if record["op"] in ("noise", "drop_connect"):
        back["alpha"] = 0.0  # what is masked has no gradient
    elif record["kernel"]:
        back["kernel"] = record["kernel"] + "_gradient"
    if record["kernel"] == "relu":
        back["alpha"] = 1.0  # the scale of its gradient, where no dropout is fused behind it
    return back
