"""NetClassifier and NetRegressor: scikit-learn's own checks, and what they promise beyond these."""

from __future__ import annotations

import pickle
import signal
import threading
from math import ceil

import numpy as np
import pytest
from onepass.nets import OPTIMIZERS, Cosine, ExponentialDecay, LinearDecay, OneCycle

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
from cases.estimator_checks import checks_of
from onepass.nets import NetClassifier, NetRegressor
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

EXPECTED_FAILED_CHECKS = {}
"""Name of a check -> why it can't pass; there are none."""


def point_cloud(n=90, seed=0, classes=3):
    """Points around the corners of a triangle, each class far from the origin and wider along x."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    corners = np.array([[0.0, 0.0], [8.0, 1.0], [0.0, 3.0]])
    return rng.normal(0, 1, (n, 2)) * [2.0, 0.3] + corners[y] + [50, -7], y


def line(n=80, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 5, (n, 3))
    return x, 1e4 * (x[:, 0] - 2 * x[:, 1]) + 3e5


@checks_of(
    [NetClassifier(device="cpu"), NetRegressor(device="cpu")],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS,
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_digits_by_cross_validation():
    x, y = load_digits(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(NetClassifier(random_state=0, device="cpu"), x, y, cv=folds)
    assert scores.mean() >= 0.97
    assert scores.min() >= 0.955


# What it computes


def by_hand(fitted, x):
    """The logits, or the normalized predictions, in NumPy from the fitted arrays alone."""
    x = (x - x_mean(fitted)) / fitted.normalizer_.deviation
    state = fitted.net_.state_dict()
    depth = len(state) // 2
    for k in range(depth):
        x = x @ state[f"{k}.weight"] + state[f"{k}.bias"]
        if k < depth - 1:
            x = np.maximum(x, 0)
    return x


def x_mean(fitted):
    return fitted.normalizer_.mean


def test_logits_probabilities_and_classes(reference):
    x, y = point_cloud()
    names = np.array(["north", "east", "south"])[y]
    made = NetClassifier(hidden_layer_sizes=(16, 8), random_state=0, device=reference.device).fit(
        x, names
    )
    assert made.classes_.tolist() == ["east", "north", "south"]
    np.testing.assert_allclose(x_mean(made), x.mean(axis=0))
    np.testing.assert_allclose(made.normalizer_.deviation, x.std(axis=0))
    z = by_hand(made, x)
    np.testing.assert_allclose(made.decision_function(x), z, rtol=1e-9, atol=1e-9)
    p = np.array([[1 / sum(np.exp(other - one) for other in row) for one in row] for row in z])
    np.testing.assert_allclose(made.predict_proba(x), p, rtol=1e-9, atol=1e-12)
    assert made.predict(x).tolist() == made.classes_[p.argmax(axis=1)].tolist()
    assert made.score(x, names) > 0.95
    assert (made.n_features_in_, made.n_iter_, made.history_.epochs) == (2, 200, 200)


@pytest.mark.parametrize("labels", [("no", "yes"), (-1, 1), (False, True), (7, 3)])
def test_two_classes_have_one_logit_that_of_the_second(labels):
    x, y = point_cloud(classes=2)
    y = np.array(labels)[y]
    made = NetClassifier(hidden_layer_sizes=8, random_state=0, device="cpu").fit(x, y)
    assert made.net_.out_features == 1
    z = by_hand(made, x)[:, 0]
    np.testing.assert_allclose(made.decision_function(x), z, rtol=1e-9)
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(made.predict_proba(x), np.stack([1 - p, p], axis=1), rtol=1e-9)
    assert made.predict(x).tolist() == [sorted(labels)[int(each > 0)] for each in z]
    assert made.score(x, y) > 0.95


def test_a_regression_learns_in_its_own_units(reference):
    x, y = line()
    made = NetRegressor(hidden_layer_sizes=(16,), random_state=0, device=reference.device).fit(x, y)
    np.testing.assert_allclose(made.predict(x), by_hand(made, x)[:, 0] * y.std() + y.mean())
    assert made.score(x, y) > 0.95
    assert made.history_.mae[-1] < 1, "in deviations of y"
    scaled = NetRegressor(hidden_layer_sizes=(16,), random_state=0, device=reference.device).fit(
        x, 3 - y
    )
    # The same up to signs: what it learns doesn't depend on the unit.
    assert abs(scaled.score(x, 3 - y) - made.score(x, y)) < 0.05


def test_a_regression_takes_several_targets():
    x, y = line()
    both = np.stack([y, -x[:, 2]], axis=1)
    made = NetRegressor(random_state=0, device="cpu").fit(x, both)
    assert made.predict(x).shape == both.shape
    assert made.score(x, both) > 0.95
    np.testing.assert_allclose(made.target_normalizer_.mean, both.mean(axis=0))
    made.set_params(max_iter=1).fit(x, both[:, :1])
    assert made.predict(x).shape == (len(x), 1), "the shape of y"


def test_without_normalization_the_network_sees_the_samples_as_they_are():
    x, y = line()
    made = NetRegressor(normalize=False, random_state=0, max_iter=2, device="cpu").fit(x, y / 1e5)
    assert made.normalizer_ is None
    assert made.target_normalizer_ is None
    np.testing.assert_array_equal(made.predict(x), made.net_(x)[:, 0])


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [("float32", None, "float32"), ("float64", None, "float64"), ("int64", None, "float64"),
     ("float64", "float32", "float32"), ("float32", "float64", "float64")],
)  # fmt: skip
def test_the_dtype_is_that_of_the_samples_or_the_one_asked_for(given, dtype, expected):
    x, y = point_cloud()
    made = NetClassifier(max_iter=1, dtype=dtype, device="cpu").fit(x.astype(given), y)
    assert made.net_.dtype == expected
    assert made.predict_proba(x.astype(given)).dtype == expected


@pytest.mark.slow
def test_what_a_network_in_float16_gives_goes_into_scikit_learns_metrics_and_calibration():
    x, y = point_cloud()
    made = NetClassifier(
        max_iter=30,
        learning_rate_init=0.02,
        epsilon=1e-4,
        dtype="float16",
        random_state=0,
        device="cpu",
    ).fit(x, y)
    assert made.net_.dtype == "float16"
    assert made.decision_function(x).dtype == made.predict_proba(x).dtype == "float32"
    np.testing.assert_array_equal(made.predict(x), made.predict_proba(x).argmax(axis=1))
    assert roc_auc_score(y, made.predict_proba(x), multi_class="ovr") > 0.9
    calibrated = CalibratedClassifierCV(made, cv=2).fit(x, y)
    assert calibrated.score(x, y) > 0.8
    numbers = NetRegressor(max_iter=1, dtype="float16", device="cpu").fit(*line())
    assert numbers.predict(line()[0]).dtype == "float64"


# What the arguments do


def test_a_seed_gives_one_result_and_none_another():
    x, y = point_cloud()

    def logits(**options):
        made = NetClassifier(
            hidden_layer_sizes=8, keep_prob=0.8, max_iter=3, device="cpu", **options
        )
        return made.fit(x, y).decision_function(x)

    np.testing.assert_array_equal(logits(random_state=3), logits(random_state=3))
    assert (logits(random_state=3) != logits(random_state=4)).any()
    assert (logits() != logits()).any()
    draws = np.random.RandomState(0)
    assert (logits(random_state=draws) != logits(random_state=draws)).any()


def layers(**options):
    x, y = point_cloud()
    return repr(NetClassifier(max_iter=1, device="cpu", **options).fit(x, y).net_)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"hidden_layer_sizes": ()}, "Sequential(Dense(2, 3, init='zeros'))"),
        ({"hidden_layer_sizes": 4},
         "Sequential(Dense(2, 4, init='glorot_uniform', activation='relu', "
         "bias_init='glorot_uniform'), "
         "Dense(4, 3, init='glorot_uniform', bias_init='glorot_uniform'))"),
        ({"hidden_layer_sizes": 4, "activation": "tanh", "init": "xavier"},
         "Sequential(Dense(2, 4, init='xavier', activation='tanh'), Dense(4, 3, init='xavier'))"),
        ({"hidden_layer_sizes": 4, "activation": "gelu", "init": None, "batch_norm": True},
         "Sequential(Dense(2, 4, bias=False), BatchNorm(4), GELU(), "
         "Dense(4, 3, init='xavier'))"),
        ({"hidden_layer_sizes": 4, "activation": "logistic", "init": "he"},
         "Sequential(Dense(2, 4, activation='sigmoid'), Dense(4, 3))"),
        ({"hidden_layer_sizes": [5, 4], "keep_prob": 0.5, "init": "he"},
         "Sequential(Dense(2, 5, activation='relu'), Dropout(0.5), "
         "Dense(5, 4, activation='relu'), Dropout(0.5), Dense(4, 3))"),
        ({"hidden_layer_sizes": (4,), "batch_norm": True, "init": "he"},
         "Sequential(Dense(2, 4, bias=False), BatchNorm(4, activation='relu'), Dense(4, 3))"),
        ({"hidden_layer_sizes": (4,), "batch_norm": True, "activation": "leaky_relu",
          "init": "he"},
         "Sequential(Dense(2, 4, bias=False), BatchNorm(4), LeakyReLU(), Dense(4, 3))"),
    ],
)  # fmt: skip
def test_the_network(options, expected):
    assert layers(**options) == expected


SOLVERS = ["lbfgs", *(name.lower() for name in OPTIMIZERS if name != "Momentum")]


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_learns(solver):
    x, y = point_cloud()
    lr = 1.0 if solver == "adadelta" else 0.02
    made = NetClassifier(16, solver=solver, learning_rate_init=lr, random_state=0, device="cpu")
    assert made.fit(x, y).score(x, y) > 0.9


def test_lr_momentum_and_schedule_reach_the_optimizer():
    x, y = point_cloud()
    base = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0, "device": "cpu"}
    assert NetClassifier(learning_rate_init=0.25, **base).fit(x, y).history_.lr == [0.25] * 3
    decayed = NetClassifier(learning_rate=ExponentialDecay(0.1, 0.5), **base).fit(x, y)
    assert decayed.history_.lr == [0.1, 0.05, 0.025]
    base["learning_rate_init"] = 0.1
    for solver, name in (("adam", "beta_1"), ("sgd", "momentum")):
        fits = [
            NetClassifier(solver=solver, **{name: b}, **base).fit(x, y).decision_function(x)
            for b in (0.9, 0.9, 0.1)
        ]
        np.testing.assert_array_equal(fits[0], fits[1])
        assert np.abs(fits[0] - fits[2]).max() > 1e-3, solver


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
@pytest.mark.parametrize(
    ("name", "schedule"), [("cosine", Cosine), ("linear", LinearDecay), ("one-cycle", OneCycle)]
)
def test_a_schedule_by_name_is_of_the_whole_training(kind, name, schedule):
    x, y = point_cloud()
    base = {
        "hidden_layer_sizes": 4,
        "learning_rate_init": 0.25,
        "max_iter": 3,
        "batch_size": 20,
        "random_state": 0,
    }
    found = kind(learning_rate=name, device="cpu", **base).fit(x, y)
    updates = 3 * ceil(len(x) / 20)
    by_hand = kind(learning_rate=schedule(0.25, updates), device="cpu", **base).fit(x, y)
    assert found.history_.lr == by_hand.history_.lr
    assert found.history_.loss == by_hand.history_.loss
    assert found.history_.lr[-1] < 0.05
    assert clone(found).get_params()["learning_rate"] == name


@pytest.mark.parametrize(
    ("penalty", "size"),
    [("alpha", lambda w, m: 3 / (2 * m) * (w**2).sum()), ("l1", lambda w, m: 3 / m * abs(w).sum())],
)
def test_penalties_are_those_of_their_names(penalty, size):
    x, y = point_cloud()

    def still(**options):
        made = NetClassifier(
            hidden_layer_sizes=4,
            learning_rate_init=0,
            max_iter=1,
            random_state=0,
            device="cpu",
            **options,
        )
        return made.fit(x, y)

    plain, penalized = still(alpha=0), still(**{"alpha": 0, penalty: 3.0})
    weights = [penalized.net_.parameters()[name] for name in ("0.weight", "1.weight")]
    grown = penalized.history_.loss[0] - plain.history_.loss[0]
    assert grown == pytest.approx(sum(size(each, len(x)) for each in weights), rel=1e-6)


def test_early_stopping_holds_samples_out_and_keeps_the_best_weights():
    x, y = point_cloud(200)
    noisy = np.where(np.random.default_rng(1).random(200) < 0.3, (y + 1) % 3, y)
    made = NetClassifier(
        early_stopping=True, validation_fraction=0.25, n_iter_no_change=3, learning_rate_init=0.03,
        batch_size=32, random_state=0, device="cpu",
    ).fit(x, noisy)  # fmt: skip
    scores = made.validation_scores_
    best = int(np.argmax(scores))
    assert made.n_iter_ == len(scores) == best + 1 + 4 < 200, "more than 3 epochs no better"
    assert made.best_validation_score_ == scores[best] > scores[-1]
    np.testing.assert_allclose(scores, made.history_.val_accuracy)
    assert made.best_loss_ is None
    # Trained for as many epochs as it took to the best one it has the same weights.
    fewer = clone(made).set_params(max_iter=best + 1).fit(x, noisy)
    np.testing.assert_array_equal(fewer.decision_function(x), made.decision_function(x))
    means = x_mean(made)
    assert (means != x.mean(axis=0)).all(), "the normalizer saw what was held out"
    np.testing.assert_allclose(means, x.mean(axis=0), atol=1)
    assert "no validation score better by tol=0.0001 in 3 epochs" in made.history_.stopped


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_has_its_share_of_every_class(seed):
    y = np.repeat([0, 1], [36, 4])
    made = NetClassifier(
        early_stopping=True, validation_fraction=0.25, max_iter=1, random_state=seed, device="cpu"
    )
    made.fit(y[:, None], y)  # the mean of what it was trained on is the share of class 1
    np.testing.assert_allclose(x_mean(made), [3 / 30])


def test_class_weights_go_by_the_names_of_the_classes():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (300, 1))
    y = np.where(rng.random(300) < 0.1, "rare", "common")  # nothing to learn but how many
    base = {
        "hidden_layer_sizes": (),
        "max_iter": 60,
        "learning_rate_init": 0.1,
        "random_state": 0,
        "device": "cpu",
    }

    def rare(class_weight):
        made = NetClassifier(class_weight=class_weight, **base).fit(x, y)
        return made.predict_proba(x)[:, made.classes_.tolist().index("rare")].mean()

    share = np.mean(y == "rare")
    assert rare(None) == pytest.approx(share, abs=0.04)
    assert rare("balanced") == pytest.approx(0.5, abs=0.05)
    weighted = 30 * share / (30 * share + 1 - share)
    assert rare({"rare": 30.0}) == pytest.approx(weighted, abs=0.05)


def test_verbose_shows_a_bar_and_else_nothing_is_printed(capfd):
    x, y = point_cloud()
    NetClassifier(max_iter=2, device="cpu").fit(x, y)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    NetClassifier(max_iter=2, verbose=True, device="cpu").fit(x, y)
    shown = capfd.readouterr()
    assert "loss" in shown.out + shown.err


# What scikit-learn's users do with it


def test_pickled_and_cloned():
    x, y = point_cloud()
    made = NetClassifier(
        hidden_layer_sizes=8, batch_norm=True, random_state=0, max_iter=5, device="cpu"
    )
    made.fit(x, y)
    back = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(back.predict_proba(x), made.predict_proba(x))
    assert back.history_ == made.history_
    again = clone(made)
    assert again.get_params() == made.get_params()
    with pytest.raises(NotFittedError):
        again.predict(x)
    np.testing.assert_array_equal(again.fit(x, y).predict_proba(x), made.predict_proba(x))


def test_frames_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = load_iris(as_frame=True)
    made = NetClassifier(random_state=0, device="cpu").fit(frame.data, frame.target)
    assert made.feature_names_in_.tolist() == list(frame.data.columns)
    assert made.score(frame.data, frame.target) > 0.95
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(frame.data[frame.data.columns[::-1]])
    table = made.history_.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert len(table) == made.n_iter_


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals go to the main thread",
)
def test_ctrl_c_ends_the_fit_and_keeps_what_was_learnt():
    x, y = point_cloud()

    def strike(epoch, step):
        if step == 15:
            signal.raise_signal(signal.SIGINT)
        return 0.01

    made = NetClassifier(batch_size=9, learning_rate=strike, random_state=0, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        made.fit(x, y)
    assert made.history_.stopped == "interrupted"
    assert made.n_iter_ == 1  # of the second epoch, half of the batches were done
    assert made.score(x, y) > 0.5


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes\[1\] is 0; expected at least 1"),
        ({"hidden_layer_sizes": "8"}, "hidden_layer_sizes is '8'; expected units of each layer"),
        ({"activation": "mish"}, "activation is 'mish'; expected 'relu', 'leaky_relu'"),
        ({"batch_norm": 1}, "batch_norm is 1"),
        ({"keep_prob": 0}, "keep_prob is 0; expected a number in"),
        ({"solver": "lamb"}, "solver is 'lamb'; expected 'lbfgs', 'sgd', 'adagrad'"),
        ({"solver": "momentum"}, "solver is 'momentum'; expected 'lbfgs', 'sgd', 'adagrad'"),
        ({"learning_rate_init": -1}, "learning_rate_init is -1; expected"),
        ({"solver": "sgd", "momentum": 1.0}, "momentum is 1.0; expected"),
        ({"solver": "sgd", "momentum": 1.5}, "momentum is 1.5; expected"),
        ({"alpha": -0.1}, "alpha is -0.1; expected a finite number >= 0"),
        ({"l1": "much"}, "l1 is 'much'"),
        ({"max_iter": 0}, "max_iter is 0; expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"batch_size": "all"}, "batch_size is 'all'; expected 'auto' or a number"),
        ({"learning_rate": 0.1}, "learning_rate is 0.1; expected 'constant'"),
        ({"learning_rate": "sine"}, "learning_rate is 'sine'; expected 'constant', 'invsc"),
        ({"learning_rate": "cosine", "max_iter": 0}, "max_iter is 0; expected at least 1"),
        ({"learning_rate": "cosine", "batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"early_stopping": "yes"}, "early_stopping is 'yes'"),
        ({"early_stopping": True, "validation_fraction": 0}, "validation_fraction is 0; expected"),
        ({"early_stopping": True, "validation_fraction": 1e-3}, "The validation set is too small"),
        ({"n_iter_no_change": 0}, "n_iter_no_change is 0; expected at least 1"),
        ({"n_iter_no_change": 2.5}, "n_iter_no_change is 2.5"),
        ({"warm_start": "yes"}, "warm_start is 'yes'"),
        ({"shuffle": 0}, "shuffle is 0"),
        ({"tol": -1}, "tol is -1; expected a finite number >= 0"),
        ({"power_t": -0.5}, "power_t is -0.5; expected a finite number >= 0"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5; expected a number in"),
        ({"init": "uniform"}, "init is 'uniform'; expected one of 'he', 'xavier'"),
        ({"callbacks": "print"}, "callbacks hold 'p'; expected such as EarlyStopping"),
        ({"normalize": None}, "normalize is None"),
        ({"random_state": "lucky"}, "'lucky' cannot be used to seed"),
        ({"device": "tpu"}, "device is 'tpu'; expected"),
        ({"engine": "warp"}, "engine is 'warp'; expected"),
        ({"dtype": "int8"}, "dtype is int8; expected float16, float32, float64"),
        ({"class_weight": {"a": 1.0}}, "'a'|class"),
        ({"class_weight": "fair"}, "balanced"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named_in_fit_and_leave_nothing_fitted(options, message):
    x, y = point_cloud()
    made = NetClassifier(**({"device": "cpu"} | options))
    with pytest.raises((TypeError, ValueError), match=message):
        made.fit(x, y)
    assert not hasattr(made, "net_")


def test_labels_that_can_not_be_sorted_are_told_by_their_types():
    x, y = point_cloud()
    names = np.where(y == 0, "near", None)
    with pytest.raises(TypeError, match="labels of types NoneType and str, which can't be sorted"):
        NetClassifier(device="cpu").fit(x, names)


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_bad_samples_are_refused(kind):
    x, y = point_cloud()
    made = kind(device="cpu", max_iter=1)
    holes = x.copy()
    holes[3, 1] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        made.fit(holes, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        made.fit(x, y[:-1])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        made.fit(x[:0], y[:0])
    made.fit(x, y)
    with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 2"):
        made.predict(np.ones((4, 3)))
    with pytest.raises(ValueError, match="contains NaN"):
        made.predict(holes)


def test_one_class_is_refused_by_its_name():
    x, _ = point_cloud()
    with pytest.raises(ValueError, match="y holds one class only, 'cat'; expected at least two"):
        NetClassifier(device="cpu").fit(x, ["cat"] * len(x))


def test_a_constant_feature_does_no_harm():
    x, y = point_cloud()
    x = np.hstack([x, np.full((len(x), 1), 1e9)])
    made = NetClassifier(random_state=0, device="cpu").fit(x, y)
    assert made.score(x, y) > 0.95


def shares_and_total(dtype="float64"):
    """Shares of four parts with their total, which is 1 up to rounding; a target; both sets."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4), 400).astype(dtype)
    x = np.hstack([shares, shares.sum(axis=1, keepdims=True)])
    rounded = x.copy()
    rounded[:, 4] = x[:, 4].round(6) - np.where(np.arange(400) % 2, 1e-6, 0)
    return x[:200], rounded[200:], shares @ np.array([1, 2, -1, 0.5])


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_a_feature_that_is_constant_but_for_rounding_does_no_harm(kind):
    x, new, y = shares_and_total()
    assert np.ptp(x[:, 4]) > 0, "or it would show nothing"
    y = y > np.median(y) if kind is NetClassifier else y
    made = kind(max_iter=60, random_state=0, device="cpu").fit(x, y[:200])
    assert made.normalizer_.deviation[4] == 1
    assert made.score(new, y[200:]) > 0.95


@pytest.mark.parametrize("given", ["float32", "float64"])
@pytest.mark.parametrize("offset", [0, 1e9, 1.7e12])
def test_targets_of_any_size_are_predicted_with_their_digits(given, offset):
    x, _ = line()
    y = x[:, 0] - 2 * x[:, 1]
    made = NetRegressor(random_state=0, dtype="float32", device="cpu").fit(
        x.astype(given), y + offset
    )
    assert made.net_.dtype == np.float32
    found = made.predict(x.astype(given))
    assert found.dtype == np.float64
    assert made.score(x.astype(given), y + offset) > 0.95
    np.testing.assert_allclose(
        found,
        by_hand(made, x)[:, 0] * y.std() + (y + offset).mean(),
        rtol=0,
        atol=1e-4 + 1e-15 * offset,
    )


def test_several_large_targets_keep_their_digits():
    x, _ = line()
    y = np.stack([1.7e9 + x[:, 0] - 2 * x[:, 1], 1e-9 * x[:, 2] - 5], axis=1)
    made = NetRegressor(random_state=0, device="cpu").fit(x.astype("float32"), y)
    assert made.score(x.astype("float32"), y) > 0.95


def test_a_fit_that_diverges_says_so():
    x, y = point_cloud()
    with pytest.raises(FloatingPointError, match="try a lower lr"):
        NetClassifier(learning_rate_init=1e200, solver="sgd", device="cpu").fit(x, y)


def test_a_fit_that_fails_leaves_the_one_before_whole():
    x, y = point_cloud()
    made = NetClassifier(random_state=0, max_iter=5, device="cpu")
    expected = made.fit(x, np.array(["a", "b", "c"])[y]).predict(x).tolist()
    with pytest.raises(FloatingPointError):
        made.set_params(learning_rate_init=1e200, solver="sgd").fit(x, np.array(["x", "y", "z"])[y])
    assert made.predict(x).tolist() == expected
    failed = NetRegressor(learning_rate_init=-1, device="cpu")
    with pytest.raises(ValueError, match="learning_rate_init is -1"):
        failed.fit(x, y)
    with pytest.raises(NotFittedError):
        failed.predict(x)


@pytest.mark.parametrize(("n", "batch_size"), [(33, "auto"), (65, 32), (4, 3), (2, 1)])
def test_batch_norm_never_meets_a_batch_of_one(n, batch_size):
    x, y = point_cloud(n, classes=2)
    options = {"batch_norm": True, "max_iter": 1, "device": "cpu", "batch_size": batch_size}
    if batch_size == 1:
        with pytest.raises(ValueError, match="takes 2 or more to train on"):
            NetClassifier(**options).fit(x, y)
    else:
        NetClassifier(**options).fit(x, y)
