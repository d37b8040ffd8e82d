"""scikit-learn's multilayer perceptrons on fastreg's engine: the same names, the same numbers, in less time.

mlp          what both estimators share: parameters, checks, fit, predictions
classifier   regressor
regularizers, class_weights   what scikit-learn's own lack: dropout, label smoothing and the like
stochastic   sgd and adam: epochs in the engine, and between them what scikit-learn does there
lbfgs        SciPy's L-BFGS-B on the engine's gradient
net          the numbers of a fitted estimator, and what computes with them
exchange     to and from scikit-learn's own estimators
"""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError("MLPClassifier and MLPRegressor need scikit-learn: pip install 'fastreg[sklearn]'") from error

from fastreg.estimators.classifier import MLPClassifier as MLPClassifier
from fastreg.estimators.regressor import MLPRegressor as MLPRegressor
