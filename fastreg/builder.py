"""The builder that layers lower themselves with: it writes the forward segment and places the parameters."""

from fastreg.layout import Layout
from fastreg.ops import NONE, op


class Builder:
    """What a layer sees of the plan while it lowers itself: the current `width` and three verbs."""

    def __init__(self, n_inputs):
        self.slots = [n_inputs]
        self.slot = 0  # of the newest activations
        self.records = []
        self.scalars = []
        self.penalties = {}  # by parameter name: the layer's own
        self._shapes = {}  # weights by layer name
        self._dropouts = 0

    @property
    def width(self):
        """Columns of the newest activations."""
        return self.slots[self.slot]

    def dense(self, units, activation, *, weight_penalty=None, bias_penalty=None, name=None):
        """Add a product with weights and a bias, and the activation behind it."""
        name = str(len(self._shapes)) if name is None else name
        if name in self._shapes:
            raise ValueError(f"two layers are called {name!r}; give one of them another name")
        self._shapes[name] = self.width, units
        self.penalties |= {f"{name}.weight": weight_penalty, f"{name}.bias": bias_penalty}
        n_in, x = self.width, self.slot
        self.records.append(op("dense", x=x, y=self._new_slot(units), n_in=n_in, n_out=units))
        self.activation(activation)

    def activation(self, activation):
        """Add an activation, fused into the `Dense` before it where that has none yet."""
        if activation.name == "identity":
            return
        kernel, alpha = activation.name, activation.leak if activation.name == "leaky_relu" else 0.0
        bare = self._fresh_dense("")
        if bare is not None and kernel != "softmax":
            bare["kernel"], bare["alpha"] = kernel, alpha
            return
        x, y = self.slot, self.slot if bare is not None else self._new_slot(self.width)
        self.records.append(op("activation", kernel=kernel, x=x, y=y, n_out=self.width, alpha=alpha))

    def dropout(self, rate):
        """Add a dropout: on the input in place, behind a ReLU fused into its `Dense`."""
        layer, self._dropouts = self._dropouts, self._dropouts + 1
        key = {"rate": put(rate, self.scalars), "layer": layer}
        relu = self._fresh_dense("relu")
        if relu is not None and relu["rate"] == NONE:
            relu["rate"], relu["layer"] = key["rate"], layer
            return
        x, y = self.slot, self.slot if self.slot == 0 else self._new_slot(self.width)
        self.records.append(op("dropout", x=x, y=y, n_out=self.width, **key))

    def place_parameters(self, dtype):
        """Lay out all weights, then all biases; tell each `dense` where its own are."""
        weights = {f"{name}.weight": shape for name, shape in self._shapes.items()}
        biases = {f"{name}.bias": shape[1:] for name, shape in self._shapes.items()}
        layout = Layout.arrange(weights | biases, dtype)
        dense = [record for record in self.records if record["op"] == "dense"]
        fields = iter(layout.fields)
        for which in ("weight", "bias"):
            for record in dense:
                record[which] = next(fields).start
        return layout

    def _new_slot(self, width):
        self.slots.append(width)
        self.slot = len(self.slots) - 1
        return self.slot

    def _fresh_dense(self, kernel):
        """Return the newest record if it is a `dense` with this activation."""
        newest = self.records[-1] if self.records else None
        if newest is None or newest["op"] != "dense" or newest["kernel"] != kernel:
            return None
        return newest


def put(value, scalars):
    """Append a number to the plan's table and return where it stands."""
    scalars.append(value)
    return len(scalars) - 1
