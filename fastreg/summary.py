"""The table that `Network.summary` shows."""

from fastreg.penalties import match_penalties

_HEAD = ("layer", "parameter", "shape", "size", "penalty")


def summary(layers, plan, patterns):
    """Return a table of the layers: their parameters, shapes, sizes and penalties.

    Parameters
    ----------
    layers : sequence of layers, which were lowered to `plan`
    plan : Plan
    patterns : dict of name patterns to penalties
    """
    dense = [layer for layer in layers if hasattr(layer, "units")]
    fields = plan.layout.fields
    pairs = list(zip(fields[: len(dense)], fields[len(dense) :], strict=True))  # all weights, then all biases
    own: dict = {}
    for layer, (weight, bias) in zip(dense, pairs, strict=True):
        own |= {weight.name: layer.weight_penalty, bias.name: layer.bias_penalty}
    rows = [_HEAD, *_rows(layers, iter(pairs), match_penalties(own, patterns))]
    total = f"{plan.layout.n_parameters:,} parameters, {plan.dtype}, {plan.n_inputs} inputs"
    head, *lines = _aligned(rows)
    return "\n".join([head, "-" * max(map(len, lines)), *lines, total])


def _rows(layers, pairs, penalties):
    for layer in layers:
        if not hasattr(layer, "units"):
            yield repr(layer), "", "", "", ""
            continue
        label = f"Dense({layer.units}, {layer.activation.name!r})"
        for field in next(pairs):
            penalty = penalties[field.name]
            yield label, field.name, str(field.shape), f"{field.size:,}", repr(penalty) if penalty else ""
            label = ""


def _aligned(rows):
    """Return the rows as lines with their columns below each other; sizes end below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    alignments = [f"<{widths[0]}", f"<{widths[1]}", f"<{widths[2]}", f">{widths[3]}", ""]
    cells = [[format(*pair) for pair in zip(row, alignments, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]
