"""Training that goes on: partial_fit, warm_start; how often a sample counts; and bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onepass.nets import NetClassifier, NetRegressor
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

R = np.random.default_rng(0)
X = R.normal(3, 2, (48, 4))
K = (X[:, 0] > 3).astype(int) + (X[:, 1] > 3)
NAMES = np.array(["low", "mid", "top"])[K]
LABELS = np.stack([X[:, 0] > 3, X[:, 1] > X[:, 2], X[:, 3] < 3], axis=1).astype(int)
T = 100 * X[:, 0] - X[:, 1] * X[:, 2]
CASES = {
    "classes": (NetClassifier, NAMES, {}),
    "two": (NetClassifier, NAMES == "top", {}),
    "labels": (NetClassifier, LABELS, {}),
    "numbers": (NetRegressor, T, {}),
    "several numbers": (NetRegressor, np.stack([T, X[:, 3]], axis=1), {}),
    "counts": (NetRegressor, np.floor(abs(X[:, 0])), {"loss": "poisson"}),
    "huber": (NetRegressor, T, {"loss": "huber"}),
}
BASE = {"hidden_layer_sizes": 6, "random_state": 0, "device": "cpu", "learning_rate_init": 0.01}


def made(case, **options):
    kind, y, own = CASES[case]
    return kind(**{**BASE, **own, **options}), y


def classes_of(case, y):
    return {"classes": np.unique(y)} if case in ("classes", "two") else {}


def arrays(estimator):
    each = (*estimator.coefs_, *estimator.intercepts_)
    return [array.copy() for array in each if array is not None]


def assert_equal(found, expected, **close):
    for one, other in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(one, other, **close)
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, **close)


EXACTLY = {"rtol": 0, "atol": 0}


# partial_fit


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 10},
        {"solver": "sgd", "batch_size": 10, "learning_rate": "invscaling"},
        {"batch_size": 10, "keep_prob": 0.8, "batch_norm": True},
        {"batch_size": 10, "learning_rate": lambda epoch, step: 0.1 / (1 + epoch + step)},
        {"shuffle": False, "normalize": False, "dtype": "float32"},
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_k_times_is_a_fit_of_k_epochs(case, options):
    part, y = made(case, **options)
    for _ in range(4):
        assert part.partial_fit(X, y, **classes_of(case, y)) is part
    whole = clone(part).set_params(max_iter=4).fit(X, y)
    assert_equal(part, whole, **EXACTLY)
    assert (part.n_iter_, part.t_) == (whole.n_iter_, whole.t_) == (4, 4 * 48)
    np.testing.assert_array_equal(part.predict(X), whole.predict(X))


def test_a_stream_in_parts_where_no_part_has_every_class():
    part, _ = made("classes", learning_rate_init=0.03)
    order = np.argsort(K, kind="stable")
    for _ in range(60):
        for rows in np.array_split(order, 6):
            part.partial_fit(X[rows], NAMES[rows], classes=["top", "low", "mid"])
    assert part.classes_.tolist() == ["low", "mid", "top"]
    assert part.score(X, NAMES) > 0.9
    np.testing.assert_allclose(part.normalizer_.mean, X[order[:8]].mean(axis=0))


def test_what_partial_fit_can_not_do():
    part, _ = made("classes")
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        part.partial_fit(X, NAMES)
    assert not [name for name in vars(part) if name == "classes_" or name == "net_"]
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`.*'top'"):
        part.partial_fit(X, NAMES, classes=["low", "mid"])
    assert not hasattr(part, "classes_")
    part.set_params(early_stopping=True)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        part.partial_fit(X, NAMES, classes=np.unique(NAMES))
    part.set_params(early_stopping=False, learning_rate="cosine")
    with pytest.raises(ValueError, match="whose length partial_fit does not know"):
        part.partial_fit(X, NAMES, classes=np.unique(NAMES))
    assert not hasattr(part, "net_")
    assert not hasattr(NetClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(NetRegressor(solver="lbfgs"), "partial_fit")


def test_after_a_fit_partial_fit_goes_on_with_the_optimizer():
    fitted, y = made("numbers", max_iter=3, batch_size=10)
    more = clone(fitted).set_params(max_iter=4).fit(X, y)
    fitted.fit(X, y).partial_fit(X, y)
    assert_equal(fitted, more, **EXACTLY)


# warm_start


@pytest.mark.parametrize("case", CASES)
def test_warm_start_goes_on_with_the_weights(case):
    warm, y = made(case, warm_start=True, max_iter=3, solver="sgd", momentum=0.0, shuffle=False)
    warm.fit(X, y)
    before = arrays(warm)
    warm.fit(X, y)
    whole = clone(warm).set_params(max_iter=6).fit(X, y)  # plain descent has no memory
    assert_equal(warm, whole, **EXACTLY)
    assert (warm.n_iter_, len(warm.loss_curve_), warm.t_) == (3, 6, 6 * 48)
    cold = clone(warm).set_params(warm_start=False).fit(X, y)
    cold.fit(X, y)
    for one, other in zip(arrays(cold), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_warm_start_wants_the_same_classes():
    warm, y = made("classes", warm_start=True, max_iter=2)
    warm.fit(X, y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same cl"):
        warm.fit(X, np.where(y == "top", "best", y))
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same cl"):
        warm.fit(X[y != "top"], y[y != "top"])


# How often a sample counts


@settings(max_examples=25, deadline=None)
@given(
    case=st.sampled_from([*CASES]),
    counts=st.lists(st.integers(0, 3), min_size=48, max_size=48).filter(lambda c: sum(c[:24]) > 9),
    normalize=st.booleans(),
    solver=st.sampled_from(["sgd", "adam", "lbfgs"]),
    penalty=st.sampled_from([{"alpha": 0.0}, {"alpha": 3.0}, {"alpha": 0.0, "l1": 0.5}]),
)
def test_a_weight_of_k_is_as_good_as_the_row_k_times(case, counts, normalize, solver, penalty):
    """In full batches, whatever the weights add up to."""
    counts = np.array(counts)
    options = {"solver": solver, "max_iter": 5, "normalize": normalize, "shuffle": False, **penalty}
    weighted, y = made(case, **options)
    again = np.repeat(np.arange(48), counts)
    assume(case not in ("classes", "two") or len({*y[again]}) == len({*y}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weighted.fit(X, y, counts)
        repeated = clone(weighted).fit(X[again], y[again])
    assert_equal(weighted, repeated, rtol=1e-6, atol=1e-7)
    score = weighted.score(X, y, counts)
    assert score == pytest.approx(repeated.score(X[again], y[again]), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_weights_in_partial_fit(case):
    weights = R.integers(1, 4, 48)
    part, y = made(case, batch_size=10)
    for _ in range(3):
        part.partial_fit(X, y, weights, **classes_of(case, y))
    assert_equal(part, clone(part).set_params(max_iter=3).fit(X, y, weights), **EXACTLY)


def test_early_stopping_weighs_the_score():
    """What is held out is judged by its weights: rows that weigh nothing don't count."""
    y = np.where(R.random(48) < 0.5, NAMES, R.permutation(NAMES))
    fitted, _ = made("classes", early_stopping=True, validation_fraction=0.5, max_iter=4)
    even = clone(fitted).fit(X, y, np.full(48, 7.0))
    plain = clone(fitted).fit(X, y)
    np.testing.assert_allclose(even.validation_scores_, plain.validation_scores_)
    uneven = clone(fitted).fit(X, y, np.where(y == NAMES, 1.0, 1e-9))
    right = [round(share * 24, 6) % 1 for share in plain.validation_scores_]
    assert right == [0] * 4, "shares of 24 rows"
    assert any(round(share * 24, 6) % 1 for share in uneven.validation_scores_)


# Bad input


def holed(x):
    x = x.copy()
    x[3, 1] = np.nan
    return x


def endless(x):
    x = x.copy()
    x[3, 1] = np.inf
    return x


ALWAYS = [
    (holed, None, None, ValueError, "Input X contains NaN"),
    (endless, None, None, ValueError, "Input X contains infinity"),
    (lambda x: x[:, :3], None, None, ValueError, "X has 3 features, but .* is expecting 4"),
    (lambda x: x[:5], None, None, ValueError, "inconsistent numbers of samples"),
    (lambda x: x[:0], lambda y: y[:0], None, ValueError, "minimum of 1 is required"),
    (lambda x: x[:, 0], None, None, ValueError, "Expected 2D array, got 1D array"),
    (lambda x: x.astype(complex), None, None, ValueError, "Complex data not supported"),
    (lambda x: np.where(x > 3, "a", "b"), None, None, ValueError, "could not convert string"),
    (lambda x: sparse.csr_array(x), None, None, ValueError, "X is sparse, but what was learnt"),
    (lambda x: sparse.csr_matrix(holed(x)), None, None, ValueError, "contains NaN"),
    (None, lambda y: np.ma.array(y), None, TypeError, "y is a numpy MaskedArray"),
    (None, None, np.full(48, -1.0), ValueError, "Negative values in data"),
    (None, None, np.ones(47), ValueError, r"sample_weight.shape == \(47,\), expected \(48,\)"),
    (None, None, np.ones((48, 2)), ValueError, "Sample weights must be 1D"),
    (None, None, np.zeros(48), ValueError, "0 for every row|at least one non-zero number"),
    (None, None, np.full(48, np.nan), ValueError, "Input sample_weight contains NaN"),
    (None, None, np.full(48, np.inf), ValueError, "Input sample_weight contains infinity"),
]
OF_ONE = {
    "classes": [
        (lambda y: np.where(y == "top", "best", y), r"has classes not in|same classes"),
        (lambda y: LABELS, "same classes|not the same as on last call"),
        (lambda y: T, "Unknown label type"),
        (lambda y: np.stack([K, K], axis=1), "multiclass-multioutput"),
    ],
    "two": [(lambda y: K, "has classes not in|same classes")],
    "labels": [
        (
            lambda y: LABELS[:, :2],
            "same classes|not the same as on last call|y has 2 labels; expected 3",
        ),
        (lambda y: K, "y has one class a row; expected it to be of the kind"),
        (lambda y: LABELS * 2, "labels hold 2; expected 0 and 1"),
    ],
    "numbers": [
        (lambda y: holed(np.stack([y, y], axis=1))[:, 1], "Input y contains NaN"),
        (lambda y: np.stack([y, y], axis=1), "y has 2 outputs; expected 1"),
        (lambda y: NAMES, "could not convert string"),
    ],
    "several numbers": [(lambda y: y[:, 0], "y has 1 outputs; expected 2")],
    "counts": [(lambda y: y - 5, "y holds -.*; expected numbers >= 0 for loss='poisson'")],
    "huber": [],
}
BAD = [(case, *each) for case in CASES for each in ALWAYS]
BAD += [
    (case, None, change, None, ValueError, message)
    for case, several in OF_ONE.items()
    for change, message in several
]


def remembered(estimator):
    """All that was learnt, by value."""
    state = {name: repr(value) for name, value in sorted(vars(estimator).items())}
    return state, [each.tobytes() for each in arrays(estimator)], estimator._optimizer.steps


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize(("case", "change_x", "change_y", "weights", "error", "message"), BAD)
def test_bad_input_is_named_and_what_was_learnt_is_intact(
    case, change_x, change_y, weights, error, message, how
):
    fitted, y = made(case, max_iter=2, warm_start=True, batch_size=16)
    fitted.fit(X, y)
    before = remembered(fitted)
    predicted = fitted.predict(X)
    x = X if change_x is None else change_x(X)
    y = y if change_y is None else change_y(y)
    with pytest.raises(error, match=message):
        getattr(fitted, how)(x, y, sample_weight=weights)
    assert remembered(fitted) == before
    np.testing.assert_array_equal(fitted.predict(X), predicted)
