"""The estimators with other settings than the default ones: scikit-learn's checks, and advice."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onepass.__main__ import main
from onepass.nets import Adam, EarlyStopping, MeanSquaredError, Momentum, fit

pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
from cases.estimator_checks import checks_of
from onepass.nets import NetClassifier, NetRegressor
from onepass.nets.estimators import estimator
from onepass.nets.network.multilayer import multilayer
from onepass.nets.optimizers.by_name import optimizer_by_name, optimizer_type
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.utils.estimator_checks import (
    check_class_weight_classifiers,
    check_estimators_partial_fit_n_features,
    check_fit_score_takes_y,
    check_methods_subset_invariance,
    check_n_features_in_after_fitting,
)
from tolerances import ROWS_LIMIT

# scikit-learn's own checks

BOTH = [
    {"hidden_layer_sizes": (), "learning_rate_init": 0.1},
    {"hidden_layer_sizes": (), "early_stopping": True, "learning_rate_init": 0.1},
    {"batch_norm": True, "keep_prob": 0.8, "early_stopping": True},
    {
        "solver": "sgd",
        "nesterovs_momentum": False,
        "learning_rate": "adaptive",
        "alpha": 0.01,
        "clip_norm": 1.0,
    },
    {"solver": "lbfgs"},
    {"dtype": "float32", "batch_norm": True, "max_iter": 25, "learning_rate_init": 0.001},
    {
        "dtype": "float16",
        "hidden_layer_sizes": 16,
        "epsilon": 1e-3,
    },  # slow products; 1e-8 is 0 in float16
    {"batch_norm": True},
    {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 2},
    {"hidden_layer_sizes": (), "alpha": 0.1, "batch_size": 32},
    {
        "solver": "rmsprop",
        "beta_2": 0.9,
        "epsilon": 1e-6,
        "weight_decay": 1e-4,
        "hidden_layer_sizes": (16, 8),
        "activation": "tanh",
    },
    {
        "solver": "adamw",
        "weight_decay": 0.1,
        "beta_2": 0.99,
        "clip_norm": 5.0,
        "no_decay": "1-D",
        "groups": {"0.*": {"lr": 0.003}},
    },
    {"normalize": False, "engine": "array"},
]
OF_CLASSES = [
    {"class_weight": "balanced", "early_stopping": True, "dtype": "float32"},
    {"hidden_layer_sizes": (), "class_weight": "balanced", "learning_rate_init": 0.1},
]


# Few and large updates, and the same ones each time: some checks don't seed.
SHORT = {"device": "cpu", "max_iter": 10, "learning_rate_init": 0.03, "random_state": 0}


def made(settings, *kinds):
    return [kind(**SHORT | options) for options in settings for kind in kinds]


@pytest.fixture
def one_thread(set_threads):
    """For networks this small others have nothing to do, and wait at full speed for a while."""
    set_threads(1)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@checks_of(made(BOTH, NetClassifier, NetRegressor) + made(OF_CLASSES, NetClassifier))
def test_scikit_learns_checks(estimator, check):
    if estimator.dtype == "float32" and check.func is check_methods_subset_invariance:
        pytest.skip("of float64 samples it asks for 1e-7, which is eps of float32: see below")
    if estimator.early_stopping and check.func in (
        check_estimators_partial_fit_n_features,
        check_fit_score_takes_y,
        check_n_features_in_after_fitting,
    ):
        pytest.skip("it calls partial_fit, which refuses early_stopping, as scikit-learn's does")
    if "sample_weight_equivalence" in check.func.__name__:
        if estimator.early_stopping or estimator.batch_norm or estimator.dtype == "float16":
            pytest.skip("what is held out, batch norm's statistics and float16's steps go by rows")
        if getattr(estimator, "class_weight", None):
            pytest.skip("classes are balanced by their rows")
        if estimator.hidden_layer_sizes == () and isinstance(estimator, NetRegressor):
            pytest.skip("its bias starts with a gradient of 0 but for rounding, which Adam scales")
    if estimator.early_stopping and check.func is check_class_weight_classifiers:
        pytest.skip(
            "the weighted accuracy that is watched is 1 where rows without weight are wrong"
        )
    check(estimator)


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_in_float32_rows_alone_give_what_they_give_together(kind):
    x, y = load_diabetes(return_X_y=True)
    trained = kind(**SHORT | {"dtype": "float32", "batch_norm": True}).fit(x[:200], y[:200] > 150)
    method = trained.predict_proba if kind is NetClassifier else trained.predict
    alone = np.concatenate([method(row[None]) for row in x[:200]])
    limit = ROWS_LIMIT * np.finfo("float32").eps
    np.testing.assert_allclose(alone, method(x[:200]), rtol=0, atol=limit)


# Early stopping


@pytest.mark.parametrize("few", [1, 2])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.5, 0.75])
def test_what_is_held_out_is_never_all_of_a_class(few, fraction, monkeypatch):
    seen = []

    def spy(net, data, **options):
        seen[:] = [np.unique(data[1]).tolist(), len(data[1]) + len(options["validation"][1])]
        return fit(net, data, **options)

    monkeypatch.setattr(estimator, "fit", spy)
    options = {"early_stopping": True, "validation_fraction": fraction, "max_iter": 1}
    for many in range(6, 12):
        for others in (many, many - 1):
            y = np.repeat([0, 1, 2], [many, few, others])
            for seed in range(3):
                net = NetClassifier(2, random_state=seed, device="cpu", **options)
                net.fit(np.arange(len(y))[:, None], y)
                assert seen == [[0, 1, 2], len(y)]


def test_a_sample_of_each_class_can_not_be_held_out():
    net = NetClassifier(early_stopping=True, validation_fraction=0.5, device="cpu")
    with pytest.raises(ValueError, match=r"validation set is too small.* is 0.5, n_samples=2"):
        net.fit([[0.0], [1.0]], ["a", "b"])


def test_of_too_few_samples_none_are_held_out():
    net = NetRegressor(early_stopping=True, validation_fraction=0.2, device="cpu")
    with pytest.raises(ValueError, match=r"The validation set is too small.*n_samples=3"):
        net.fit(np.arange(3.0)[:, None], np.arange(3.0))
    assert not hasattr(net, "net_")
    assert len(net.fit(np.arange(5.0)[:, None], np.arange(5.0)).validation_scores_)


def test_of_numbers_two_samples_are_held_out_at_least():
    """R^2 of one is none."""
    x = np.arange(5.0)[:, None]
    net = NetRegressor(early_stopping=True, validation_fraction=0.1, max_iter=2, device="cpu")
    assert np.isfinite(net.fit(x, x[:, 0]).validation_scores_).all()
    assert net.t_ == 2 * 3, "epochs of the others"


# Without hidden layers


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_without_hidden_layers_weights_start_at_0_and_else_do_not(kind):
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    options = {"learning_rate_init": 0.0, "max_iter": 1, "random_state": 0, "device": "cpu"}
    found = kind(hidden_layer_sizes=(), **options).fit(x, y).net_
    assert not found.parameters().flat.any()
    found = kind(hidden_layer_sizes=4, **options).fit(x, y).net_
    assert all(view.any() for name, view in found.parameters().items() if "weight" in name)


# The optimizer's arguments

GIVEN = {
    "sgd": ({"momentum": 0.5}, {"momentum": 0.5, "nesterov": True, "form": "velocity"}),
    "rmsprop": ({"beta_2": 0.8, "epsilon": 1e-3}, {"alpha": 0.8, "eps": 1e-3, "momentum": 0.0}),
    "adagrad": ({"epsilon": 1e-3}, {"eps": 1e-3}),
    "adam": ({"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}, {"betas": (0.5, 0.8), "eps": 1e-3}),
    "adamw": ({"beta_2": 0.8}, {"betas": (0.9, 0.8)}),
    "nadam": ({"beta_1": 0.5, "epsilon": 1e-3}, {"betas": (0.5, 0.999), "eps": 1e-3}),
    "radam": ({"beta_2": 0.8}, {"betas": (0.9, 0.8)}),
    "adamax": ({"beta_2": 0.8}, {"betas": (0.9, 0.8)}),
    "adadelta": ({"beta_2": 0.8, "epsilon": 1e-3}, {"rho": 0.8, "eps": 1e-3}),
    "lion": ({"beta_1": 0.5, "beta_2": 0.8}, {"betas": (0.5, 0.8), "decoupled": True}),
    "amsgrad": ({"epsilon": 1e-3}, {"betas": (0.9, 0.999), "eps": 1e-3}),
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_what_is_given_reaches_the_optimizer(kind, name, monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    seen = []

    def spy(net, data, *, optimizer, **options):
        seen.append((dict(optimizer.hyper), optimizer.clip_norm))
        return fit(net, data, optimizer=optimizer, **options)

    monkeypatch.setattr(estimator, "fit", spy)
    given, expected = GIVEN[name]
    given = {"solver": name, "weight_decay": 0.25, "clip_norm": 0.5, **given}
    common = {"hidden_layer_sizes": 4, "max_iter": 2, "random_state": 0, "device": "cpu"}
    assert given.items() <= clone(kind(**given)).get_params().items()
    found = kind(**given, **common).fit(x, y)
    hyper, clip_norm = seen.pop()
    assert {**expected, "weight_decay": 0.25}.items() <= hyper.items()
    assert clip_norm == 0.5
    left_out = kind(solver=name, **common).fit(x, y)
    hyper, clip_norm = seen.pop()
    if name == "sgd":  # scikit-learn's: with a momentum of its own
        own = Momentum([np.zeros(1)], 1e-3, 0.9, form="velocity", nesterov=True).hyper
    else:
        own = optimizer_type(name)([np.zeros(1)]).hyper
    assert hyper == own, "an argument that is None changed the optimizer's own"
    assert clip_norm is None
    flat = [each.net_.parameters().flat for each in (found, left_out)]
    assert (flat[0] != flat[1]).any()


@pytest.mark.parametrize(
    ("name", "given", "error", "message"),
    [
        ("sgd", {"epsilon": 1e-6}, ValueError, "epsilon is 1e-06, but the solver 'sgd' has none"),
        ("lion", {"epsilon": 1e-6}, ValueError, "epsilon is 1e-06, but the solver 'lion' has non"),
        ("sgd", {"beta_2": 0.9}, ValueError, "beta_2 is 0.9, but the solver 'sgd' has none; exp"),
        ("adagrad", {"beta_1": 0.9}, ValueError, "beta_1 is 0.9, but the solver 'adagrad' has"),
        ("rmsprop", {"beta_1": 0.9}, ValueError, "beta_1 is 0.9, but the solver 'rmsprop' has"),
        ("adam", {"beta_2": 1.0}, ValueError, r"beta_2 is 1.0; expected a number in \[0, 1\)"),
        ("rmsprop", {"beta_2": -0.1}, ValueError, "beta_2 is -0.1; expected"),
        ("adam", {"beta_1": "much"}, TypeError, "beta_1 is 'much'"),
        ("sgd", {"momentum": 2}, ValueError, "momentum is 2; expected"),
        ("sgd", {"nesterovs_momentum": "yes"}, TypeError, "nesterovs_momentum is 'yes'"),
        ("adam", {"epsilon": -1}, ValueError, "epsilon is -1; expected a finite number >= 0"),
        ("sgd", {"weight_decay": -1}, ValueError, "weight_decay is -1; expected"),
        ("sgd", {"clip_norm": 0}, ValueError, "clip_norm is 0; expected None or a finite numbe"),
        (["sgd"], {}, ValueError, r"solver is \['sgd'\]; expected 'lbfgs', 'sgd'"),
        ("sgd", {"activation": ["relu"]}, ValueError, r"activation is \['relu'\]; expected 'relu'"),
        ("sgd", {"loss": "mse"}, ValueError, "loss is 'mse'; expected 'squared_error', 'huber'"),
        ("sgd", {"loss": "huber", "delta": 0}, ValueError, "delta is 0; expected"),
    ],
)
def test_arguments_are_checked_by_fit_and_named(name, given, error, message):
    net = NetRegressor(solver=name, device="cpu", **given)
    with pytest.raises(error, match=message):
        net.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 3.0])
    assert not hasattr(net, "net_")


# Advice


def line(n=80):
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 5, (n, 3))
    return x, 1e4 * (x[:, 0] - 2 * x[:, 1]) + 3e5


def by_fit(**options):
    x, y = line()
    x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    net = multilayer(3, 128, 1, dtype="float64", device="cpu")
    optimizer = optimizer_by_name("momentum", net.parameters(), **options)
    fit(net, (x, y), loss=MeanSquaredError(), optimizer=optimizer, batch_size=8, progress=False)


def by_estimator(lr, **options):
    options |= {"learning_rate_init": lr, "batch_size": 8, "max_iter": 10, "random_state": 0}
    NetRegressor(
        128, solver="sgd", nesterovs_momentum=False, init="he", device="cpu", **options
    ).fit(*line())


@pytest.fixture
def by_command(tmp_path, capsys):
    rows = np.column_stack(line())
    np.savetxt(tmp_path / "line.csv", rows, delimiter=",", header="a,b,c,y", comments="")

    def run(**options):
        given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        data = ["--data", str(tmp_path / "line.csv"), "--target", "y", "--hidden", "128"]
        common = ["--quiet", "--epochs", "10", "--device", "cpu", "--optimizer", "momentum"]
        if main(["train", *data, *common, *given]):
            raise FloatingPointError(capsys.readouterr().err)

    return run


@pytest.mark.parametrize("where", ["fit", "estimator", "command"])
def test_the_advice_of_a_run_that_diverged_can_be_followed(where, by_command):
    run = {"fit": by_fit, "estimator": by_estimator, "command": by_command}[where]
    with pytest.raises(FloatingPointError, match=r"try a lower lr \(it is 0\.3\) or ") as caught:
        run(lr=0.3)
    name, value = re.search(r" or (\w+)=(.+)\.$", str(caught.value).strip()).groups()
    run(**{"lr": 0.3, name: float(value)})
    run(lr=0.3 / 300)
    with pytest.raises(FloatingPointError, match=r"or a smaller clip_norm \(it is 1e\+300\)"):
        run(lr=0.3, clip_norm=1e300)


def test_a_first_loss_that_is_not_finite_is_no_matter_of_the_rate():
    x, y = line()
    with pytest.raises(FloatingPointError, match=r"whatever the lr: .*normalize=True") as caught:
        NetRegressor(normalize=False, device="cpu").fit(x, 1e200 * y)
    assert "lower lr" not in str(caught.value)
    NetRegressor(normalize=True, max_iter=2, device="cpu").fit(x, 1e140 * y)


@pytest.mark.parametrize("data", [["--data", "digits"], []])
def test_the_command_for_digits_clips_too(data, monkeypatch, capsys):
    seen = []
    step = Adam.step

    def spy(optimizer, *args, **options):
        seen.append(optimizer.clip_norm)
        return step(optimizer, *args, **options)

    monkeypatch.setattr(Adam, "step", spy)
    common = ["--quiet", "--epochs", "1", "--device", "cpu", "--clip-norm", "0.75"]
    assert main(["train", *data, *common]) == 0
    assert set(seen) == {0.75}
    assert main(["train", "--quiet", "--clip-norm", "-1"]) == 2
    assert "clip_norm is -1.0; expected None or a finite number > 0" in capsys.readouterr().err


# Names of classes


@pytest.mark.parametrize(
    "labels",
    [
        ["01000", "02000", "10115"],
        ["0.10", "0.20", "0.30"],
        ["1e1", "10", "2e1"],
        ["none", "NA", "nan"],
        [900719925474099301, 900719925474099302, 900719925474099400],
        np.array([2**63 + 1, 2**63 + 2, 2**64 - 1], np.uint64),
        np.array(["a", "b"], object),
        np.array([-128, 127], np.int8),
        np.array(["2020-01-01", "2021-01-01"], "M8[D]"),
        [False, True],
    ],
)
def test_classes_come_back_as_they_were(labels):
    y = [labels[k % len(labels)] for k in range(30)]
    y = np.array(y, labels.dtype) if isinstance(labels, np.ndarray) else y
    x = np.arange(30)[:, None] % len(labels) * np.array([[5.0, -3.0]])
    options = {
        "learning_rate_init": 0.03,
        "random_state": 0,
        "device": "cpu",
        "early_stopping": True,
    }
    found = NetClassifier(class_weight="balanced", **options).fit(x, y)
    assert sorted(found.classes_.tolist()) == sorted(np.asarray(labels).tolist())
    assert found.predict(x).tolist() == (y if isinstance(y, list) else y.tolist())


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Int64 array"])
def test_integers_of_pandas_do_not_become_floats(dtype):
    """Beyond 2^53 they would be merged."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    labels = [False, True] if dtype == "boolean" else [900719925474099301, 900719925474099302]
    y = pandas.Series([labels[k % 2] for k in range(30)], dtype=dtype.split()[0])
    y = y.array if "array" in dtype else y
    x = np.arange(30)[:, None] % 2
    found = NetClassifier(learning_rate_init=0.03, random_state=0, device="cpu").fit(x, y)
    assert found.classes_.tolist() == labels
    assert found.classes_.dtype == np.asarray(labels).dtype
    assert found.predict(x).tolist() == list(y)
    missing = pandas.Series([1, 2, None], dtype="Int64")
    with pytest.raises(ValueError, match="contains NaN"):
        NetClassifier(device="cpu").fit(x[:3], missing)


@pytest.mark.parametrize("kind", [NetClassifier, NetRegressor])
def test_a_fit_that_fails_leaves_the_width_and_names_of_before(kind):
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    y = y > 150 if kind is NetClassifier else y
    made = kind(**SHORT).fit(x, y)
    before = made.predict(x)
    for method in (made.fit, made.partial_fit):
        with pytest.raises(ValueError, match=r"Negative values|feature names"):
            method(x.iloc[:, :3], y, sample_weight=-np.ones(len(y)))
        with pytest.raises(ValueError, match=r"(?i)nan|feature names|one class"):
            method(x.iloc[:, :3], np.full(len(y), np.nan))
        assert made.n_features_in_ == x.shape[1]
        assert list(made.feature_names_in_) == list(x.columns)
        np.testing.assert_array_equal(made.predict(x), before)


@pytest.mark.parametrize(
    ("word", "value"),
    [("beta_1", 0.9), ("beta_2", 0.9), ("epsilon", 1e-8), ("weight_decay", 0.1),
     ("clip_norm", 1.0), ("groups", {"*.bias": {"lr": 0.1}}), ("no_decay", "1-D"),
     ("engine", "array"), ("callbacks", [EarlyStopping("loss")])],
)  # fmt: skip
def test_lbfgs_refuses_what_is_asked_of_steps(word, value):
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(ValueError, match=f"{word} is .*, but the solver 'lbfgs' has none"):
        NetRegressor(solver="lbfgs", device="cpu", **{word: value}).fit(x, y)
