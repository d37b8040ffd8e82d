"""The builder that layers lower themselves with: it writes the forward segment and places the parameters."""

from fastreg.layout import Layout
from fastreg.ops import NONE, op

_PLACED = ("weight", "bias", "mean", "variance")  # fields that hold a parameter's name until it has its place


class Scalars(list):
    """The plan's table of numbers while it grows; `schedules` has those that change, by their place in it."""

    def __init__(self, numbers=(), schedules=()):
        super().__init__(numbers)
        self.schedules = dict(schedules)

    def copy(self):
        return Scalars(self, self.schedules)


class Builder:
    """What a layer sees of the plan while it lowers itself: the current `width` and its verbs."""

    def __init__(self, n_inputs):
        self.slots = [n_inputs]
        self.slot = 0  # of the newest activations
        self.records = []
        self.scalars = Scalars()
        self.penalties = {}  # by parameter name: the layer's own
        self.ones = []  # names of the vectors that begin with ones
        self.momenta = {}  # of running statistics by name: where their rate stands among the scalars
        self._shapes, self._vectors, self._state = {}, {}, {}  # by parameter name: weights; what else is trained; state
        self._names = []  # of the layers with parameters
        self._kept = set()  # slots that a residual reads again
        self._noises = 0

    @property
    def width(self):
        """Columns of the newest activations."""
        return self.slots[self.slot]

    def dense(self, units, activation, *, weight_penalty=None, bias_penalty=None, name=None):
        """Add a product with weights and a bias, and the activation behind it."""
        name, n_in, x = self._new_name(name), self.width, self.slot
        weight, bias = f"{name}.weight", f"{name}.bias"
        self._shapes[weight], self._vectors[bias] = (n_in, units), (units,)
        self.penalties |= {weight: weight_penalty, bias: bias_penalty}
        shape = {"weight": weight, "n_in": n_in, "n_out": units}
        masked = bool(self.records) and self.records[-1]["op"] == "drop_connect"
        if masked:
            self.records[-1].update(shape)
        self.records.append(op("dense", x=x, y=self._new_slot(units), bias=bias, masked=int(masked), **shape))
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

    def dropout(self, rate, schedule=None):
        """Add a dropout: behind a ReLU fused into its `Dense`."""
        relu = self._fresh_dense("relu")
        if relu is not None and relu["rate"] == NONE:
            relu.update(self._noise(rate, schedule))
        else:
            self.noise("dropout", rate, schedule)

    def noise(self, kernel, rate, schedule=None, *, value=0.0, in_place=True):
        """Add a noise: on the input in place where the kernel can do that."""
        x = self.slot
        y = x if in_place and x == 0 and x not in self._kept else self._new_slot(self.width)
        key = self._noise(rate, schedule)
        self.records.append(op("noise", kernel=kernel, x=x, y=y, n_out=self.width, alpha=value, **key))

    def input_noise(self, kernel, rate, layer, schedule=None):
        """Add a noise that has no gradient: before all parameters."""
        if self._names:
            raise ValueError(f"{layer!r} works on inputs: it must stand before the first layer with parameters")
        self.noise(kernel, rate, schedule, in_place=False)

    def drop_connect(self, kernel, rate, schedule=None):
        """Add a noise in the weights of the `Dense` that must follow."""
        self.records.append(op("drop_connect", kernel=kernel, **self._noise(rate, schedule)))

    def residual(self, block, drop_path, schedule=None):
        """Add what the layers of the block make of the newest activations to these."""
        skip = self.slot
        self._kept.add(skip)
        for layer in block:
            layer.lower(self)
        if self.width != self.slots[skip]:
            raise ValueError(
                f"the block of a Residual must end as wide as it begins: it gets {self.slots[skip]} columns"
                f" and makes {self.width}"
            )
        if drop_path:
            self.noise("drop_path", drop_path, schedule, in_place=False)
        x = self.slot
        self.records.append(op("add", x=x, skip=skip, y=self._new_slot(self.width), n_out=self.width))

    def norm(self, kernel, epsilon, *, momentum=None, name=None):
        """Add a normalization with scale and shift; with a momentum, one by statistics of the batch."""
        name, x, width = self._new_name(name), self.slot, self.width
        names = {"weight": f"{name}.scale", "bias": f"{name}.shift"}
        self._vectors |= dict.fromkeys(names.values(), (width,))
        self.penalties |= dict.fromkeys(names.values())
        self.ones.append(names["weight"])
        if momentum is not None:
            state = {"mean": f"{name}.mean", "variance": f"{name}.variance"}
            self._state |= dict.fromkeys(state.values(), (width,))
            self.ones.append(state["variance"])
            self.momenta |= dict.fromkeys(state.values(), put(momentum, self.scalars))
            names |= state
            self.records.append(op("moments", kernel="column_moments", x=x, n_out=width, **state))
        self.records.append(
            op("norm", kernel=kernel, x=x, y=self._new_slot(width), n_out=width, alpha=epsilon, **names)
        )

    def place_parameters(self, dtype):
        """Lay out all weights, then all other vectors, then state; tell each record where its own are."""
        layout = Layout.arrange(self._shapes | self._vectors, dtype, self._state)
        starts = {field.name: field.start for field in layout.fields}
        for record in self.records:
            if record["op"] == "drop_connect" and record["weight"] == NONE:
                raise ValueError("a DropConnect must stand directly before the Dense whose weights it drops")
            record.update({field: starts.get(record[field], NONE) for field in _PLACED})
        return layout

    def _new_name(self, name):
        name = str(len(self._names)) if name is None else name
        if name in self._names:
            raise ValueError(f"two layers are called {name!r}; give one of them another name")
        self._names.append(name)
        return name

    def _new_slot(self, width):
        self.slots.append(width)
        self.slot = len(self.slots) - 1
        return self.slot

    def _noise(self, rate, schedule):
        """Return what a record says of its random numbers."""
        self._noises += 1
        return {"rate": put(rate, self.scalars, schedule), "layer": self._noises - 1}

    def _fresh_dense(self, kernel):
        """Return the newest record if it is a `dense` with this activation, whose output nothing else reads."""
        newest = self.records[-1] if self.records else None
        if newest is None or newest["op"] != "dense" or newest["kernel"] != kernel or newest["y"] in self._kept:
            return None
        return newest


def put(value, scalars, schedule=None):
    """Append a number to the plan's `Scalars` and return where it stands; a schedule multiplies it step by step."""
    scalars.append(value)
    if schedule is not None:
        scalars.schedules[len(scalars) - 1] = schedule
    return len(scalars) - 1
