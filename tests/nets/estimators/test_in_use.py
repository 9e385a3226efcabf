"""What people lean on: names, labels, frames, files, weights that are passed on, workers."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from programs import PYTHONPATH

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
import joblib
import sklearn
from onepass.backend.version import __version__
from onepass.nets import Callback, NetClassifier, NetRegressor
from scipy import sparse
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

R = np.random.default_rng(0)
X = R.normal(0, 1, (60, 4))
K = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
LABELS = np.stack([X[:, 0] > 0, X[:, 1] > X[:, 2], X[:, 3] < 0.3], axis=1).astype(int)
T = X[:, 0] - X[:, 1] * X[:, 2]
BASE = {"hidden_layer_sizes": 6, "random_state": 0, "device": "cpu", "max_iter": 3}
LONG = BASE | {"hidden_layer_sizes": 30, "learning_rate_init": 0.03, "max_iter": 200}
KINDS = [(NetClassifier, K), (NetRegressor, T)]


# Names


@pytest.mark.parametrize(
    ("ours", "theirs"), [(NetClassifier, MLPClassifier), (NetRegressor, MLPRegressor)]
)
def test_arguments_have_the_names_and_the_defaults_of_scikit_learns(ours, theirs):
    mine, expected = ours().get_params(), theirs().get_params()
    assert expected.keys() <= mine.keys()
    differ = {name for name, value in expected.items() if mine[name] != value}
    # None: the solver's own, which is the same of those that scikit-learn has.
    assert differ == {"learning_rate_init", "beta_1", "beta_2", "epsilon"}
    assert all(mine[name] is None for name in differ)
    given = ours(solver="adam").set_params(**{name: expected[name] for name in differ})
    plain = ours(random_state=0, max_iter=2, device="cpu").fit(X, K)
    given.set_params(random_state=0, max_iter=2, device="cpu").fit(X, K)
    np.testing.assert_array_equal(given.coefs_[0], plain.coefs_[0])


@pytest.mark.parametrize(
    ("ours", "theirs", "y"),
    [(NetClassifier, MLPClassifier, K), (NetClassifier, MLPClassifier, LABELS),
     (NetRegressor, MLPRegressor, T)],
)  # fmt: skip
@pytest.mark.parametrize("early_stopping", [False, True])
def test_what_was_learnt_has_the_names_of_scikit_learns(ours, theirs, y, early_stopping):
    options = {"max_iter": 3, "random_state": 0, "early_stopping": early_stopping}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found, expected = ours(device="cpu", **options).fit(X, y), theirs(**options).fit(X, y)
    names = [name for name in dir(expected) if name.endswith("_") and not name.startswith("_")]
    names = {name for name in names if hasattr(expected, name)}
    assert {"coefs_", "intercepts_", "loss_curve_", "n_iter_", "t_", "out_activation_"} <= names
    for name in names:
        mine, one = getattr(found, name), getattr(expected, name)
        assert (mine is None) == (one is None), name
        if isinstance(one, list):
            assert [np.shape(each) for each in mine] == [np.shape(each) for each in one], name
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.loss_ == found.loss_curve_[-1]
    if early_stopping:
        assert found.best_validation_score_ == max(found.validation_scores_)
    else:
        assert found.best_loss_ == min(found.loss_curve_)


def test_before_a_fit_there_is_nothing():
    for kind, _ in KINDS:
        made = kind()
        learnt = ("coefs_", "intercepts_", "net_", "classes_", "n_iter_", "loss_curve_")
        assert not [name for name in learnt if hasattr(made, name)]
        with pytest.raises(NotFittedError):
            made.predict(X)


def test_get_params_set_params_and_clone():
    for kind, y in KINDS:
        made = kind(**BASE, groups={"0.*": {"lr": 0.1}}, learning_rate="adaptive").fit(X, y)
        again = clone(made)
        assert again.get_params() == made.get_params()
        assert not hasattr(again, "net_")
        assert again.set_params(alpha=0.5, solver="sgd") is again
        assert kind(**again.get_params()).get_params() == again.get_params()
        with pytest.raises(ValueError, match="Invalid parameter 'hidden'"):
            made.set_params(hidden=3)
        assert get_tags(made).input_tags.sparse
    assert get_tags(NetClassifier()).classifier_tags.multi_label
    assert get_tags(NetRegressor()).target_tags.multi_output


# Labels


@pytest.mark.parametrize(
    "labels",
    [["no", "yes"], [False, True], [-1, 1], [0.0, 2.0], ["a", "bb", "ccc"], [3, 1, 2],
     np.array(["x", "y", "z"], object),],
)  # fmt: skip
def test_any_labels_come_back_as_they_were(labels):
    labels = np.asarray(labels)
    y = labels[K % len(labels)]
    fitted = NetClassifier(**BASE).fit(X, y)
    np.testing.assert_array_equal(fitted.classes_, np.unique(labels))
    assert fitted.classes_.dtype == labels.dtype
    assert set(fitted.predict(X).tolist()) <= set(labels.tolist())
    p = fitted.predict_proba(X)
    assert p.shape == (60, len(labels))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(p), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[p.argmax(axis=1)])


def test_bytes_are_no_labels():
    with pytest.raises(TypeError, match="bytes"):
        NetClassifier(**BASE).fit(X, np.array([b"p", b"q"])[K % 2])


def test_several_labels_are_a_sigmoid_each():
    fitted = NetClassifier(**LONG).fit(X, LABELS)
    logits = fitted.decision_function(X)
    np.testing.assert_allclose(fitted.predict_proba(X), expit(logits))
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(X)), expit(logits))
    np.testing.assert_array_equal(fitted.predict(X), logits > 0)
    assert fitted.score(X, LABELS) > 0.9
    assert fitted.out_activation_ == "logistic"
    assert fitted.classes_.tolist() == [0, 1, 2]
    again = clone(fitted).fit(X, sparse.csr_array(LABELS))
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    early = clone(fitted).set_params(early_stopping=True, validation_fraction=0.3).fit(X, LABELS)
    assert len(early.validation_scores_) == early.n_iter_


def test_log_probabilities_keep_their_digits_where_probabilities_are_0_or_1():
    for y in (K, K > 0):
        fitted = NetClassifier(**BASE).fit(X, y)
        fitted.coefs_[-1][...] *= 1e3
        far = fitted.predict_log_proba(X * 1e3)
        assert np.isfinite(far).all()
        assert far.min() < -1e4
        assert fitted.predict_proba(X * 1e3).min() == 0


def test_class_weights_are_how_often_a_row_counts_for_the_loss():
    """In full batches: that of a class is that of each of its rows, with their sum left alone."""
    options = BASE | {"alpha": 0.0, "normalize": False}
    for y, weight in ((K, {0: 3.0, 2: 0.5}), (K > 0, {True: 2.0})):
        factor = np.array([weight.get(each, 1.0) for each in y.tolist()])
        by_class = NetClassifier(class_weight=weight, **options, solver="sgd").fit(X, y)
        rate = 1e-3 * factor.mean()  # weights of samples are divided by their mean
        options_of_rows = options | {"solver": "sgd", "learning_rate_init": rate}
        by_row = NetClassifier(**options_of_rows).fit(X, y, factor)
        for one, other in zip(by_class.coefs_, by_row.coefs_, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_class_weights_of_several_labels():
    balanced = NetClassifier(**BASE, class_weight="balanced").fit(X, LABELS)
    assert np.isfinite(balanced.loss_)
    options = LONG | {"alpha": 0.0, "hidden_layer_sizes": (), "max_iter": 100}
    noise = np.stack([R.random(60) < 0.3, R.random(60) < 0.5], axis=1).astype(int)
    plain = NetClassifier(**options).fit(X * 1e-9, noise, None)
    often = NetClassifier(**options, class_weight=[{1: 20.0, 0: 1.0}, {0: 1.0, 1: 1.0}])
    often.set_params(normalize=False).fit(X * 1e-9, noise)
    assert often.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean() + 0.2


@pytest.mark.parametrize(("y", "classes"), [(K, 3), (K > 0, 2)])
def test_smoothed_labels_end_at_the_smoothed_share(y, classes):
    """Logits of what can be told apart for sure end where p is the smoothed label."""
    smoothing = 0.3
    far = np.eye(3)[K] * 4
    options = BASE | {"max_iter": 300, "learning_rate_init": 0.05, "alpha": 0.0, "tol": 0.0}
    options |= {"n_iter_no_change": np.inf, "normalize": False}
    fitted = NetClassifier(label_smoothing=smoothing, **options).fit(far, y)
    top = fitted.predict_proba(far).max(axis=1)
    np.testing.assert_allclose(top, 1 - smoothing + smoothing / classes, atol=0.02)
    with pytest.raises(ValueError, match=r"label_smoothing is 0.3 with several labels; expected 0"):
        clone(fitted).fit(X, LABELS)


# Frames


def test_frames_of_pandas_give_their_names():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    for kind, y in KINDS:
        for how in ("fit", "partial_fit"):
            options = {"classes": [0, 1, 2]} if how == "partial_fit" and y is K else {}
            fitted = getattr(kind(**BASE), how)(frame, pandas.Series(y), **options)
            assert fitted.feature_names_in_.tolist() == ["a", "b", "c", "d"]
            np.testing.assert_array_equal(fitted.predict(frame), fitted.predict(frame.copy()))
            with pytest.raises(ValueError, match="feature names should match"):
                fitted.predict(frame[["b", "a", "c", "d"]])
            with pytest.warns(UserWarning, match="X does not have valid feature names"):
                fitted.predict(X)
    plain = NetRegressor(**BASE).fit(X, T)
    assert not hasattr(plain, "feature_names_in_")


def test_frames_of_polars_give_their_names():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({name: X[:, k] for k, name in enumerate("abcd")})
    fitted = NetRegressor(**BASE).fit(frame, T)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(fitted.predict(frame), NetRegressor(**BASE).fit(X, T).predict(X))


# Files


@pytest.mark.parametrize("case", ["fit", "partial_fit"])
@pytest.mark.parametrize(("kind", "y"), KINDS)
def test_saved_and_read_again(kind, y, case, tmp_path):
    fitted = kind(**BASE, batch_size=16, keep_prob=0.9)
    options = {"classes": [0, 1, 2]} if case == "partial_fit" and y is K else {}
    getattr(fitted, case)(X, y, **options)
    joblib.dump(fitted, tmp_path / "net.joblib")
    copies = [pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "net.joblib")]
    fitted.partial_fit(X, y)
    for back in copies:
        assert back.get_params() == fitted.get_params()
        back.partial_fit(X, y)  # with the same optimizer and the same order of rows
        np.testing.assert_array_equal(back.predict(X), fitted.predict(X))
        assert back.loss_curve_ == fitted.loss_curve_


def test_versions_that_differ_in_the_first_number_are_told():
    fitted = NetRegressor(**BASE).fit(X, T)
    state = fitted.__getstate__()
    assert state["_onepass_version"] == __version__
    first, *rest = __version__.split(".")
    for version, warns in (
        (__version__, False),
        (f"{first}.99.0", False),
        (f"{int(first) + 1}.{'.'.join(rest)}", True),
        (None, True),
    ):
        saved = {**state, "_onepass_version": version}
        if version is None:
            del saved["_onepass_version"]
        back = NetRegressor.__new__(NetRegressor)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            back.__setstate__(saved)
        assert any("was saved by onepass" in str(each.message) for each in told) == warns, version
        np.testing.assert_array_equal(back.predict(X), fitted.predict(X))


def test_an_argument_that_is_newer_than_the_file_has_its_default():
    fitted = NetClassifier(**BASE, label_smoothing=0.2, alpha=0.5).fit(X, K)
    state = fitted.__getstate__()
    del state["label_smoothing"], state["init"]
    back = NetClassifier.__new__(NetClassifier)
    back.__setstate__(state)
    assert (back.label_smoothing, back.init, back.alpha) == (0.0, "glorot_uniform", 0.5)
    assert back.get_params().keys() == fitted.get_params().keys()
    np.testing.assert_array_equal(back.predict_proba(X), fitted.predict_proba(X))
    back.fit(X, K)


# Weights that are passed on


def test_weights_are_passed_on_where_they_are_asked_for():
    weights = np.where(K == 2, 1.0, 1e-6)
    seen = []

    class Spy(NetClassifier):
        def fit(self, X, y, sample_weight=None):
            seen.append(None if sample_weight is None else np.asarray(sample_weight).tolist())
            return super().fit(X, y, sample_weight)

    with sklearn.config_context(enable_metadata_routing=True):
        net = Spy(**BASE).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        steps = [("scale", StandardScaler()), ("net", net)]
        steps[0][1].set_fit_request(sample_weight=False)
        search = GridSearchCV(Pipeline(steps), {"net__alpha": [0.0, 1.0]}, cv=2, refit=True)
        search.fit(X, K, sample_weight=weights)
        assert len(seen) == 5
        assert seen[-1] == weights.tolist()
        assert sorted(seen[0] + seen[1]) == sorted(weights.tolist())
        best = search.best_estimator_.named_steps["net"]
        plain = NetClassifier(**BASE, alpha=best.alpha)
        plain.fit(StandardScaler().fit_transform(X), K, weights)
        np.testing.assert_allclose(best.coefs_[0], plain.coefs_[0])
        routed = cross_validate(net, X, K, cv=2, params={"sample_weight": weights})
        assert np.isfinite(routed["test_score"]).all()
        with pytest.raises(ValueError, match="sample_weight"):
            cross_validate(NetClassifier(**BASE), X, K, cv=2, params={"sample_weight": weights})
        NetClassifier(**BASE).set_partial_fit_request(sample_weight=True, classes=True)
        NetRegressor(**BASE).set_partial_fit_request(sample_weight=True)


# How it trains


@pytest.mark.parametrize("early_stopping", [False, True])
def test_convergence_is_warned_of_where_max_iter_ends_it(early_stopping):
    options = BASE | {"early_stopping": early_stopping, "validation_fraction": 0.3}
    for kind, y in KINDS:
        with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached") as told:
            fitted = kind(**options).fit(X, y)
        assert told[0].filename == __file__, "of the line that called fit"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted.set_params(max_iter=500, tol=0.5, n_iter_no_change=2).fit(X, y)
        assert fitted.n_iter_ < 500
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        NetRegressor(**BASE | {"solver": "lbfgs"}).fit(X, T)


@pytest.mark.parametrize("rate", ["cosine", "linear", "one-cycle"])
def test_rates_over_all_of_a_training_end_it_without_a_warning(rate):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = NetRegressor(**BASE | {"learning_rate": rate, "batch_size": 20}).fit(X, T)
    assert fitted.n_iter_ == 3
    assert fitted.history_.lr[-1] < 0.001


def test_rates_by_words_and_by_a_function():
    options = BASE | {"solver": "sgd", "learning_rate_init": 0.1, "max_iter": 4}

    def rates(**more):
        return NetRegressor(**options | more).fit(X, T).history_.lr

    assert rates() == [0.1] * 4
    falling = rates(learning_rate="invscaling", power_t=0.25)
    np.testing.assert_allclose(falling, [0.1, *(0.1 / (60 * k + 1) ** 0.25 for k in (1, 2, 3))])
    adaptive = rates(learning_rate="adaptive", tol=1e9, n_iter_no_change=1, max_iter=9)
    np.testing.assert_allclose(adaptive, 0.1 / 5.0 ** np.array([0, 0, 0, 1, 1, 2, 2, 3, 3]))
    assert rates(learning_rate=lambda epoch, step: 0.5**epoch) == [0.5**k for k in range(4)]


@pytest.mark.parametrize(
    ("init", "deviation", "biases"),
    [("glorot_uniform", (2 / 240) ** 0.5, True), ("he", 0.1, False), ("xavier", 200**-0.5, False),
     ("glorot", (2 / 240) ** 0.5, False), ("normal", 0.01, False)],
)  # fmt: skip
def test_how_weights_start(init, deviation, biases):
    wide = R.normal(0, 1, (20, 200))
    options = BASE | {"hidden_layer_sizes": 40, "init": init, "learning_rate_init": 0.0}
    fitted = NetClassifier(**options).fit(wide, np.arange(20) % 3)
    assert fitted.coefs_[0].std() == pytest.approx(deviation, rel=0.03)
    bound = (6 / 240) ** 0.5
    if biases:
        assert 0.9 * bound < abs(fitted.coefs_[0]).max() <= bound
        assert 0.7 * bound < abs(fitted.intercepts_[0]).max() <= bound
    else:
        assert not fitted.intercepts_[0].any()


def test_callbacks_are_told_of_the_training_and_may_end_it():
    class Ends(Callback):
        def __init__(self):
            self.told = []

        def on_epoch(self, run):
            self.told.append(run.history.epochs)
            if len(self.told) == 2:
                run.stop("enough")

    for given in (Ends(), [Ends()]):
        fitted = NetRegressor(**BASE | {"callbacks": given, "max_iter": 9}).fit(X, T)
        told = (given[0] if isinstance(given, list) else given).told
        assert told == [1, 2]
        assert (fitted.n_iter_, fitted.history_.stopped) == (2, "enough")


@pytest.mark.parametrize(
    ("loss", "weight"), [("squared_error", 0.0), ("huber", 1e9), ("poisson", 0.0)]
)
def test_losses_of_numbers_are_their_formulas(loss, weight):
    y = np.stack([abs(T), abs(X[:, 3])], axis=1)
    options = BASE | {"loss": loss, "max_iter": 1, "learning_rate_init": 0.0, "alpha": 0.0}
    options |= {"normalize": False, "delta": weight or 1.0}
    fitted = NetRegressor(**options).fit(X, y)
    p = fitted.predict(X)
    if loss == "poisson":
        assert (p > 0).all()
        expected = (p - y + y * np.log(y / p)).sum(axis=1).mean()
    else:
        expected = ((p - y) ** 2 / 2).sum(axis=1).mean()
    assert fitted.loss_ == pytest.approx(expected, rel=1e-9)


def test_huber_goes_straight_from_delta_on():
    options = BASE | {"loss": "huber", "delta": 0.5, "max_iter": 1, "learning_rate_init": 0.0}
    fitted = NetRegressor(**options, alpha=0.0, normalize=False).fit(X, 10 * T)
    away = abs(fitted.predict(X) - 10 * T)
    expected = np.where(away <= 0.5, away**2 / 2, 0.5 * (away - 0.25)).mean()
    assert fitted.loss_ == pytest.approx(expected, rel=1e-9)


# Workers

WORKERS = """
    import json, sys
    from joblib import Parallel, delayed

    def threads(_):
        from onepass.kernels import get_num_threads
        return get_num_threads()

    print(json.dumps(Parallel(n_jobs=2, backend="loky")(delayed(threads)(k) for k in range(4))))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("told", "expected"), [(None, None), ("3", 3)])
def test_joblibs_workers_share_the_cores_unless_told_otherwise(told, expected):
    """joblib gives each its share of the cores, by OMP_NUM_THREADS; at least one thread."""
    limits = ("ONEPASS_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    env = {k: v for k, v in os.environ.items() if k not in limits} | {"PYTHONPATH": PYTHONPATH}
    if told is not None:
        env["ONEPASS_NUM_THREADS"] = told
    command = [sys.executable, "-c", textwrap.dedent(WORKERS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 0, done.stderr
    share = max(joblib.cpu_count() // 2, 1)
    assert json.loads(done.stdout) == [share if expected is None else expected] * 4
