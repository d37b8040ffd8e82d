"""A network with numbers in it: plans, parameters, and the engines that run them."""

import importlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from fastreg import reference
from fastreg.inference import Inference
from fastreg.initial import write_initial_weights
from fastreg.layers import flattened
from fastreg.layout import Parameters, aligned_zeros
from fastreg.losses import Loss
from fastreg.plan import lower_layers


@dataclass(frozen=True)
class Spec:
    """What a network is before it has numbers."""

    layers: tuple
    loss: Loss
    penalties: dict
    dtype: np.dtype
    engine: str

    def body(self, n_inputs):
        return lower_layers(self.layers, self.loss, n_inputs, self.dtype, penalties=self.penalties)


class Model:
    """The parameters of a network for tables of `n_inputs` columns.

    Attributes
    ----------
    plan : Plan
        Of inference.
    weights : ndarray of shape (plan.layout.size,)
        All parameters; `parameters` holds views of it by name.
    inference : Inference
    flat : bool
        Whether predictions of the single output are 1-D, as the last y was.
    """

    def __init__(self, spec, n_inputs, *, seed):
        self.spec, self._body, self._plans = spec, spec.body(n_inputs), {}
        self.plan = self.plan_for(None, False)
        self.weights = aligned_zeros(self.plan.layout.size, spec.dtype)
        self.parameters = Parameters(self.plan.layout, self.weights)
        engines = _engines_of_inference(spec.engine, self._body, self.weights)
        self.inference = Inference(engines, spec.loss, self.plan.n_outputs, spec.dtype)
        self.flat = self.plan.n_outputs == 1
        if seed is not None:
            self.draw(seed)

    @property
    def penalties(self):
        """The penalty of each parameter by name, or None."""
        return self._body.penalties

    @property
    def n_inputs(self):
        return self.plan.n_inputs

    def draw(self, seed):
        """Write the initial weights of `seed`."""
        weights = np.empty_like(self.weights)
        write_initial_weights(weights, self.plan, flattened(self.spec.layers), seed=seed, ones=self._body.ones)
        self.weights[...] = weights

    def plan_for(self, optimizer, labels, augment=()):
        """Return the plan that trains with `optimizer` (None: inference) on labels or on a matrix."""
        key = optimizer, labels, augment
        if key not in self._plans:
            self._plans = {k: plan for k, plan in self._plans.items() if k[0] is None}  # one for training is enough
            self._plans[key] = self._body.plan(*key)
        return self._plans[key]

    def engine(self, labels, optimizer=None, augment=()):
        """Return a new engine that runs such a plan on these weights."""
        return interpreter(self.spec.engine)[0](self.plan_for(optimizer, labels, augment), self.weights)

    @property
    def kernels(self):
        """The module whose kernels run beside the engine."""
        return interpreter(self.spec.engine)[1]


def _engines_of_inference(name, body, weights):
    """Return a function of `labels`. It does not hold the model: its memory is free as soon as nobody else does."""
    return lambda labels: interpreter(name)[0](body.plan(None, labels), weights)


@cache
def interpreter(name):
    """Return the Engine class and the module of kernels that `engine=name` means."""
    if name == "reference":
        return reference.Engine, reference
    return importlib.import_module("fastreg._core.engine").Engine, importlib.import_module("fastreg.kernels")
