"""pytest plugin: scikit-learn's tests of its multilayer perceptrons see fastreg's in their place.

    cd tools && python -m pytest -c /dev/null -p drop_in --pyargs sklearn.neural_network.tests.test_mlp

`make sklearn-suite` does that. The classes are exchanged before the tests are collected; the file itself is the one of
the installed wheel.
"""

from sklearn import neural_network

import fastreg

neural_network.MLPClassifier, neural_network.MLPRegressor = fastreg.MLPClassifier, fastreg.MLPRegressor


def pytest_collection_modifyitems(items):
    for module in {item.module for item in items}:
        assert module.MLPClassifier is fastreg.MLPClassifier
        assert module.MLPRegressor is fastreg.MLPRegressor


def pytest_report_header():
    return f"MLPClassifier and MLPRegressor: {neural_network.MLPClassifier.__module__}, fastreg {fastreg.__version__}"
