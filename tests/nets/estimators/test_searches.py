"""The estimators in scikit-learn's pipelines and searches, in one process and in several."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
from onepass.nets import NetClassifier, NetRegressor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

X, Y = load_iris(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(X))
X, Y = X[ORDER], Y[ORDER]


def test_in_a_pipeline_under_cross_validation():
    options = {"hidden_layer_sizes": 16, "learning_rate_init": 0.01, "batch_size": 32}
    options |= {"random_state": 0, "max_iter": 40, "device": "cpu"}
    made = NetClassifier(**options)
    scores = cross_val_score(make_pipeline(PolynomialFeatures(), made), X, Y, cv=4)
    assert scores.shape == (4,)
    assert scores.mean() > 0.93
    target = X[:, 3]
    made = NetRegressor(**options)
    assert cross_val_score(made, X[:, :3], target, cv=4).mean() > 0.9


def test_a_grid_finds_what_learns():
    made = make_pipeline(PolynomialFeatures(), NetClassifier(random_state=0, device="cpu"))
    grid = {"netclassifier__learning_rate_init": [1e-7, 1e-2], "netclassifier__max_iter": [5, 20]}
    search = GridSearchCV(made, grid, cv=3).fit(X, Y)
    assert search.best_params_ == {
        "netclassifier__learning_rate_init": 1e-2,
        "netclassifier__max_iter": 20,
    }
    assert search.best_score_ > 0.9
    assert search.predict_proba(X).shape == (len(X), 3)


def test_a_search_at_random_and_a_halving_one_by_epochs():
    from scipy.stats import randint
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    made = NetClassifier(learning_rate_init=0.02, batch_size=32, random_state=0, device="cpu")
    boxes = {"hidden_layer_sizes": randint(4, 32), "keep_prob": [0.8, 1.0]}
    options = {"cv": 3, "random_state": 0}
    search = RandomizedSearchCV(made.set_params(max_iter=10), boxes, n_iter=3, **options).fit(X, Y)
    assert search.best_score_ > 0.9
    halving = HalvingRandomSearchCV(
        made, boxes, resource="max_iter", min_resources=2, max_resources=18, **options
    ).fit(X, Y)
    assert halving.n_resources_ == [2, 6, 18]
    assert halving.best_estimator_.n_iter_ == 18
    assert halving.best_score_ > 0.9


def test_a_point_that_diverges_gets_no_score_and_the_search_goes_on():
    made = NetClassifier(solver="sgd", random_state=0, max_iter=10, device="cpu")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search = GridSearchCV(made, {"learning_rate_init": [0.1, 1e200]}, cv=3).fit(X, Y)
    assert any("try a lower lr" in str(each.message) for each in told)
    assert search.best_params_ == {"learning_rate_init": 0.1}
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


SEVERAL = """
    import sys, time
    import numpy as np
    from joblib import parallel_config
    from onepass import kernels
    from onepass.kernels.crew import crew
    from onepass.nets import NetClassifier
    from sklearn.model_selection import cross_val_score

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (96, 40)).astype("float32")
    y = x[:, :3].argmax(axis=1)
    # 640,000 weights: each step is shared out among the crew's threads, between matrix products
    net = NetClassifier((700, 850), max_iter=3, batch_size=32, random_state=0, device="cpu")
    alone = cross_val_score(net, x, y, cv=4)
    names = {thread.name for thread in __import__("threading").enumerate()}
    print("crew", any(name.startswith("onepass-") for name in names))
    for backend in sys.argv[1:]:
        with parallel_config(backend, n_jobs=2):
            beside = cross_val_score(net, x, y, cv=4)
        print(backend, np.allclose(alone, beside), alone.mean())
"""


@pytest.mark.slow
def test_two_at_a_time_beside_the_threads_of_crew_and_blas():
    """The parent's crew is at work already, so that a fork happens beside it; nothing hangs."""
    backends = ["loky", *["multiprocessing"] * hasattr(os, "fork"), "threading"]
    keep = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", textwrap.dedent(SEVERAL), *backends]
    env = keep | {"ONEPASS_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 0, done.stderr
    assert "crew True" in done.stdout
    for backend in backends:
        assert f"{backend} True" in done.stdout


ARRAY_API = """
    from onepass.nets import NetClassifier, NetRegressor
    from sklearn.utils.estimator_checks import estimator_checks_generator

    for made in (NetClassifier(device="cpu", max_iter=3), NetRegressor(device="cpu", max_iter=3)):
        for estimator, check in estimator_checks_generator(made):
            if (name := check.func.__name__) == "check_array_api_input":
                check(estimator)
                print(name, "passed")
"""


@pytest.mark.slow
def test_the_check_that_scikit_learn_skips_without_an_environment_variable():
    command = [sys.executable, "-c", textwrap.dedent(ARRAY_API)]
    env = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    assert done.stdout.splitlines() == ["check_array_api_input passed"] * 2, done.stderr


# Without scikit-learn

WITHOUT = """
    import sys
    import onepass.nets
    assert not {"sklearn", "scipy", "joblib", "pandas"} & {*sys.modules}
    assert "NetClassifier" in dir(onepass.nets)
    sys.modules["sklearn"] = None
    from onepass.nets import *
    for name in ("NetClassifier", "NetRegressor", "coarse_to_fine", "plot_search", "log_uniform"):
        try:
            getattr(onepass.nets, name)
        except ImportError as error:
            print(name, error)
"""


def test_nets_without_scikit_learn_says_what_to_install_when_it_is_asked_for():
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(WITHOUT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert 'needs scikit-learn 1.6 or newer: pip install "onepass[sklearn]"' in line


def test_an_unknown_name_is_no_import():
    from onepass import nets

    with pytest.raises(AttributeError, match=r"'onepass.nets' has no attribute 'NetCluster'"):
        nets.NetCluster  # noqa: B018


def test_what_comes_late_is_documented_too():
    from onepass import nets

    assert len(nets._WITH_SCIKIT_LEARN) == 11
    for name in nets._WITH_SCIKIT_LEARN:
        assert len(getattr(nets, name).__doc__) > 30, name
