"""The regularizers that scikit-learn's MLPs lack: what is neutral, what a plan makes of them, who may have which."""

from dataclasses import dataclass

from scipy import sparse

from fastreg.layers import Dense, Dropout, Layer

NEUTRAL = {
    "dropout": 0.0,
    "input_dropout": 0.0,
    "label_smoothing": 0.0,
    "class_weight": None,
    "clip_norm": None,
    "penalty_scale": "sklearn",
    "validation_split": "sklearn",
}
"""Parameters that change numbers, with the values that change none."""

_OF_STEPS = ("dropout", "input_dropout", "clip_norm")


@dataclass(frozen=True)
class Regularizers:
    """What a plan that trains has besides the plain network.

    Parameters
    ----------
    strength : float
        Of `L2` on the weights.
    dropout, input_dropout, label_smoothing : float
        As in the estimators.
    """

    strength: float = 0.0
    dropout: float = 0.0
    input_dropout: float = 0.0
    label_smoothing: float = 0.0

    @classmethod
    def of(cls, estimator, strength):
        """Return those of an estimator; regressors have no labels to smooth."""
        smoothing = getattr(estimator, "label_smoothing", 0.0)
        return cls(strength, float(estimator.dropout), float(estimator.input_dropout), float(smoothing))

    @property
    def draw(self):
        """Whether each step needs random numbers."""
        return self.dropout > 0 or self.input_dropout > 0

    def layers(self, units, activation):
        """Return the layers of a perceptron of these units, inputs first."""
        *hidden, last = units[1:]
        layers: list[Layer] = [Dropout(self.input_dropout)] if self.input_dropout else []
        for n_units in hidden:
            layers += [Dense(n_units, activation), *([Dropout(self.dropout)] if self.dropout else [])]
        return [*layers, Dense(last)]


def check_solver(estimator):
    """Demand no regularizer of single steps where the solver minimizes one function of the whole table."""
    for name in _OF_STEPS if estimator.solver == "lbfgs" else ():
        value = getattr(estimator, name)
        if value != NEUTRAL[name]:
            raise ValueError(
                f"{name}={value!r} needs the solver 'sgd' or 'adam', not 'lbfgs', which makes no such steps"
            )


def check_rows(estimator, X):
    """Demand dense rows where inputs are dropped."""
    if estimator.input_dropout and sparse.issparse(X):
        raise ValueError(
            f"input_dropout={estimator.input_dropout!r} needs a dense X, got a sparse one: set it to 0, or pass"
            " X.toarray()"
        )
