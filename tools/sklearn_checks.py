"""scikit-learn's checks of estimators, on fastreg's: nothing may fail, be skipped or be expected to fail.

    SCIPY_ARRAY_API=1 python tools/sklearn_checks.py             six configurations of both estimators
    SCIPY_ARRAY_API=1 python tools/sklearn_checks.py --default   the default alone

Configurations that scikit-learn's own estimators fail (a learning rate that is too small to fit the checks' tables, a
weak `alpha` whose probabilities round to 1) are not among them, nor tanh layers that are wide or of (50, 20) units: on
unscaled noise, with class weights of 10^7 to 1, they give 76 to 86 % of rows the class of which 87 % are demanded.

Without pandas, or without that variable, some checks skip themselves. Two are counted as not applicable: one about
`decision_function`, which scikit-learn's own MLPClassifier has not either, and, where units are dropped, that a row of
weight 2 is two rows: these have two masks. Five checks follow that scikit-learn's list leaves out. Exit status 1 where
anything did not pass.
"""

import sys
import warnings
from collections import Counter

import pandas  # noqa: F401  (where it is missing, checks skip themselves)
from sklearn.utils import estimator_checks

import fastreg

OF_FASTREG = {
    "label_smoothing": 0.1, "class_weight": "balanced", "clip_norm": 1.0, "penalty_scale": "mean",
    "validation_split": "stratified",
}  # fmt: skip
CONFIGURATIONS = (
    {},
    {"solver": "lbfgs", "alpha": 1.0},
    {"hidden_layer_sizes": (64, 32), "activation": "tanh", "n_threads": 1},
    {"activation": "logistic", "learning_rate_init": 0.01, "alpha": 0.01, "shuffle": False},
    OF_FASTREG,
    OF_FASTREG | {"dropout": 0.1, "input_dropout": 0.05},
)
NOT_APPLICABLE = {("check_classifiers_multilabel_output_format_decision_function", "skipped")}
OF_DROPOUT = {(f"check_sample_weight_equivalence_on_{kind}_data", "failed") for kind in ("dense", "sparse")}
EXTRA = (
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
)
OF_KIND = {"MLPClassifier": "check_classifier_multioutput", "MLPRegressor": "check_regressor_multioutput"}


def checked(estimator):
    """The results of all checks: (name, "passed", "skipped" or "failed", exception)."""
    name = type(estimator).__name__
    excused = NOT_APPLICABLE | (OF_DROPOUT if estimator.dropout else set())
    results = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for instance, check in estimator_checks.estimator_checks_generator(estimator):
            results.append(result(check.func.__name__, lambda c=check, i=instance: c(i), excused))
        for extra in (*EXTRA, OF_KIND[name]):
            if hasattr(estimator_checks, extra):  # older versions lack some
                check = getattr(estimator_checks, extra)
                results.append(result(extra, lambda c=check: c(name, estimator), excused))
    return results


def result(name, run, excused):
    try:
        run()
    except Exception as error:  # whatever a check may raise is its answer
        status = "skipped" if type(error).__name__ in ("SkipTest", "SkipTestWarning", "Skipped") else "failed"
        return name, "not applicable" if (name, status) in excused else status, error
    return name, "passed", None


def main(argv):
    configurations = CONFIGURATIONS[:1] if "--default" in argv else CONFIGURATIONS
    bad = 0
    for kind in (fastreg.MLPClassifier, fastreg.MLPRegressor):
        for settings in configurations:
            known = kind().get_params()
            estimator = kind(**{name: value for name, value in settings.items() if name in known})
            results = checked(estimator)
            counts = Counter(status for _, status, _ in results)
            print(f"{estimator}: {len(results)} checks, {dict(counts)}")
            for name, status, error in results:
                if status in ("failed", "skipped"):
                    bad += 1
                    print(f"    {status}: {name}: {type(error).__name__}: {str(error)[:500]}")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
