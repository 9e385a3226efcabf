"""At equal settings, from an equal start, the estimators are scikit-learn's MLPs, to rounding."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
from hypothesis import given, settings
from hypothesis import strategies as st
from onepass.nets import NetClassifier, NetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

PLAIN = {"normalize": False, "dtype": "float64", "device": "cpu"}
SHORT = {"hidden_layer_sizes": (7, 5), "shuffle": False, "random_state": 0, "batch_size": 15}
R = np.random.default_rng(0)
X = R.normal(0, 1, (60, 4))  # four batches
K = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
LABELS = np.stack([X[:, 0] > 0, X[:, 1] > X[:, 2], X[:, 3] < 0.3], axis=1).astype(int)
T = X[:, 0] - X[:, 1] * X[:, 2]
COUNTS = R.poisson(np.exp(0.5 * X[:, 0] + 0.2)).astype(float)
CASES = {
    "classes": (NetClassifier, MLPClassifier, K, {}),
    "two": (NetClassifier, MLPClassifier, K > 0, {}),
    "labels": (NetClassifier, MLPClassifier, LABELS, {}),
    "numbers": (NetRegressor, MLPRegressor, T, {}),
    "several numbers": (NetRegressor, MLPRegressor, np.stack([T, X[:, 3]], axis=1), {}),
    "counts": (NetRegressor, MLPRegressor, COUNTS, {"loss": "poisson"}),
}
SOLVERS = {
    "plain": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.02},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.02},
    # Theirs adds epsilon before, ours after the first steps' correction: it has to be nothing.
    "adam": {"solver": "adam", "epsilon": 1e-15, "learning_rate_init": 0.01},
    "slower": {"solver": "adam", "epsilon": 1e-15, "beta_1": 0.8, "beta_2": 0.9},
}


def quietly(estimator, *data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **options)


def both(case, epochs=8, sample_weight=None, **options):
    """Ours and theirs, trained alike from one start, which one epoch of theirs has found."""
    ours, theirs, y, own = CASES[case]
    options = {**SHORT, **own, **options, "max_iter": 1, "warm_start": True}
    theirs, ours = theirs(**options), ours(**options, **PLAIN)
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    for estimator in (theirs, ours):
        quietly(estimator, X, y, **weights)
    for mine, one in zip(arrays(ours), arrays(theirs), strict=True):
        mine[...] = one
    ours.best_loss_ = vars(theirs).get("best_loss_")  # L-BFGS has none there
    for estimator in (theirs, ours):
        quietly(estimator.set_params(max_iter=epochs), X, y, **weights)
    return ours, theirs


def arrays(estimator):
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same(case, ours, theirs, rtol=1e-9):
    for mine, one in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_allclose(mine, one, rtol=rtol, atol=rtol)
    if case != "several numbers":  # of these theirs trains on the sum, and reports the mean
        np.testing.assert_allclose(ours.loss_curve_[1:], theirs.loss_curve_[1:], rtol=rtol)
        np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=rtol)
        np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=rtol)
    assert len(ours.loss_curve_) == len(theirs.loss_curve_)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.predict(X).shape == theirs.predict(X).shape
    if hasattr(theirs, "predict_proba"):
        assert ours.out_activation_ == theirs.out_activation_
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        for method in ("predict_proba", "predict_log_proba"):
            expected = getattr(theirs, method)(X)
            np.testing.assert_allclose(getattr(ours, method)(X), expected, rtol=1e-6, atol=1e-9)
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", CASES)
def test_every_solver_on_every_kind_of_target(case, solver):
    ours, theirs = both(case, **SOLVERS[solver])
    assert_same(case, ours, theirs)


@pytest.mark.parametrize("case", CASES)
def test_the_penalty_of_full_batches(case):
    ours, theirs = both(case, alpha=5.0, batch_size=60, **SOLVERS["nesterov"])
    assert_same(case, ours, theirs)
    without, _ = both(case, alpha=0.0, batch_size=60, **SOLVERS["nesterov"])
    assert np.abs(without.coefs_[0] - ours.coefs_[0]).max() > 1e-3, "or it would show nothing"


@pytest.mark.parametrize("case", CASES)
def test_the_penalty_of_batches_that_are_equal(case):
    """alpha/(2b), b the samples of a batch, not all of them."""
    assert_same(case, *both(case, alpha=5.0, **SOLVERS["plain"]))


@pytest.mark.parametrize("activation", ["relu", "logistic", "tanh", "identity"])
def test_activations(activation):
    for case in ("classes", "numbers"):
        assert_same(case, *both(case, activation=activation, **SOLVERS["nesterov"]))


@pytest.mark.parametrize("case", CASES)
def test_weights_of_samples_in_full_batches(case):
    weights = R.integers(0, 4, 60).astype(float)
    options = {"batch_size": 60, "alpha": 1.0, **SOLVERS["nesterov"]}
    ours, theirs = both(case, sample_weight=weights, **options)
    assert_same(case, ours, theirs)
    even, _ = both(case, **options)
    assert np.abs(even.coefs_[0] - ours.coefs_[0]).max() > 1e-3
    score = ours.score(X, CASES[case][2], weights)
    assert score == pytest.approx(theirs.score(X, CASES[case][2], weights), rel=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_part_by_part_with_a_rate_that_falls_with_the_samples_seen(case):
    ours, theirs, y, own = CASES[case]
    options = {**SHORT, **own, "solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.3}
    options |= {"learning_rate": "invscaling", "power_t": 0.4}
    theirs, ours = theirs(**options), ours(**options, **PLAIN)
    known = {"labels": np.arange(3), "classes": np.arange(3), "two": [False, True]}.get(case)
    known = {} if known is None else {"classes": known}
    for estimator in (theirs, ours):
        estimator.partial_fit(X, y, **known)
    for mine, one in zip(arrays(ours), arrays(theirs), strict=True):
        mine[...] = one
    ours.best_loss_ = theirs.best_loss_
    for k in (2, 4, 1, 3, 2, 4):
        for estimator in (theirs, ours):
            estimator.partial_fit(X[: 15 * k], y[: 15 * k])
        assert ours._optimizer.lr == pytest.approx(theirs._optimizer.learning_rate)
    assert ours.n_iter_ == 7
    theirs.n_iter_ = 7  # theirs counts anew in each call
    assert_same(case, ours, theirs)


@pytest.mark.parametrize("rate", ["constant", "adaptive"])
@pytest.mark.parametrize("case", ["classes", "numbers"])
def test_training_ends_in_the_same_epoch(case, rate):
    options = {"tol": 0.01, "n_iter_no_change": 3, "learning_rate": rate, "epochs": 300}
    ours, theirs = both(case, **SOLVERS["nesterov"], **options)
    assert ours.n_iter_ == theirs.n_iter_ < 300
    assert_same(case, ours, theirs, rtol=1e-8)
    if rate == "adaptive":
        assert ours._optimizer.lr == pytest.approx(theirs._optimizer.learning_rate)
        assert ours._optimizer.lr < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_lbfgs(case):
    options = {"solver": "lbfgs", "alpha": 0.1}
    ours, theirs = both(case, epochs=6, **options)
    for mine, one in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_allclose(mine, one, rtol=1e-5, atol=1e-6)


def test_where_epsilon_is_added_is_the_only_difference_of_adam():
    ours, theirs = both("classes", solver="adam")
    assert_same("classes", ours, theirs, rtol=1e-4)
    assert np.abs(ours.coefs_[0] - theirs.coefs_[0]).max() > 0


@settings(max_examples=15, deadline=None)
@given(
    case=st.sampled_from([*CASES]),
    sizes=st.lists(st.integers(1, 9), min_size=0, max_size=3),
    batch_size=st.sampled_from([10, 20, 60, "auto"]),
    solver=st.sampled_from([*SOLVERS]),
    alpha=st.floats(0, 2),
    activation=st.sampled_from(["logistic", "tanh"]),
)
def test_any_network(case, sizes, batch_size, solver, alpha, activation):
    options = {"hidden_layer_sizes": tuple(sizes), "batch_size": batch_size, "alpha": alpha}
    ours, theirs = both(case, epochs=3, activation=activation, **options, **SOLVERS[solver])
    assert_same(case, ours, theirs, rtol=1e-7)
