"""The table that `Network.summary` shows."""

from itertools import count

from fastreg.layers import Dense, Parametric, Residual

_HEAD = ("layer", "parameter", "shape", "size", "penalty")


def summary(layers, plan, penalties):
    """Return a table of the layers: their parameters, shapes, sizes and penalties.

    Parameters
    ----------
    layers : sequence of layers, which were lowered to `plan`
    plan : Plan
    penalties : dict of parameter names to penalties, or None
    """
    fields: dict = {}  # by the layer's name
    for field in plan.layout.fields:
        fields.setdefault(field.name.rpartition(".")[0], []).append(field)
    rows = [_HEAD, *_rows(layers, fields, penalties, count())]
    total = f"{plan.layout.n_parameters:,} parameters, {plan.dtype}, {plan.n_inputs} inputs"
    head, *lines = _aligned(rows)
    return "\n".join([head, "-" * max(map(len, lines)), *lines, total])


def _rows(layers, fields, penalties, numbers, indent=""):
    for layer in layers:
        label = indent + _label(layer)
        if not isinstance(layer, Parametric):
            yield label, "", "", "", ""
            if isinstance(layer, Residual):
                yield from _rows(layer.block, fields, penalties, numbers, indent + "  ")
            continue
        number = next(numbers)
        for field in fields[layer.name or str(number)]:
            penalty = penalties[field.name] if field.trained else "not trained"
            yield label, field.name, str(field.shape), f"{field.size:,}", str(penalty) if penalty else ""
            label = ""


def _label(layer):
    if isinstance(layer, Dense):
        return f"Dense({layer.units}, {getattr(layer.activation, 'name', '')!r})"
    return f"Residual(drop_path={layer.drop_path})" if isinstance(layer, Residual) else repr(layer)


def _aligned(rows):
    """Return the rows as lines with their columns below each other; sizes end below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    alignments = [f"<{widths[0]}", f"<{widths[1]}", f"<{widths[2]}", f">{widths[3]}", ""]
    cells = [[format(*pair) for pair in zip(row, alignments, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in cells]
