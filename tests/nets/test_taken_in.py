"""Arrays of other libraries as gradients, samples, labels and weights, where they are only read."""

from __future__ import annotations

import numpy as np
import pytest
from cases.foreign_arrays import OnlyDLPack, OnlyInterface
from onepass.nets import (
    SGD,
    Adam,
    BinaryCrossEntropy,
    Dense,
    ExponentialAverage,
    MeanSquaredError,
    Normalizer,
    Sequential,
    SoftmaxCrossEntropy,
    accuracy,
    fit,
    outputs,
    predict,
    predict_proba,
    split,
    stratified_split,
)


def tensor(array):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    return torch.from_numpy(array)


def jax_array(array):
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed", exc_type=ImportError)
    return jnp.asarray(array)


@pytest.fixture(
    params=[OnlyDLPack, OnlyInterface, tensor, jax_array], ids=lambda kind: kind.__name__
)
def foreign(request):
    return request.param


R = np.random.default_rng(0)
X = R.standard_normal((40, 3)).astype("float32")
K = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)
TWO, T = (X[:, 0] > 0).astype("int32"), X.sum(axis=1, keepdims=True)
SHAPES = [(3, 2), (5,), (2, 2, 2)]
GRADS = [R.standard_normal(shape).astype("float32") for shape in SHAPES]


def same(found, expected):
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, expected)


# --- gradients ------------------------------------------------------------------------------------
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("options", [{}, {"engine": "array"}, {"clip_norm": 0.5}])
@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize("form", ["dict", "list", "tuple", "one"])
def test_gradients_for_numpy_parameters(foreign, kind, options, form, mixed):
    keys = ["a", "b", "c"]
    found, expected = ([np.ones(shape, "float32") for shape in SHAPES] for _ in range(2))
    given = [g if mixed and k else foreign(g) for k, g in enumerate(GRADS)]
    for params, grads in ((found, given), (expected, GRADS)):
        if form == "one":
            params, grads = params[:1], grads[:1]
        if form == "dict":
            params, grads = (dict(zip(keys, each, strict=True)) for each in (params, grads))
        optimizer = kind(params, **options)
        for _ in range(2):
            optimizer.step(tuple(grads) if form == "tuple" else grads)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (found[0] != 1).all()


@pytest.mark.parametrize("mixed", [False, True])
def test_gradients_for_a_network(foreign, mixed):
    nets = [Sequential(Dense(3, 2), device="cpu") for _ in range(2)]
    grads = [R.standard_normal(shape).astype("float32") for shape in ((3, 2), (2,))]
    for net, wrap in zip(nets, (foreign, np.asarray), strict=True):
        own = net.parameters().grads["0.bias"]
        given = {"0.weight": wrap(grads[0]), "0.bias": own if mixed else wrap(grads[1])}
        SGD(net.parameters(), lr=0.5, clip_norm=1.0).step(given)
    np.testing.assert_array_equal(*[net.parameters().flat for net in nets])


def test_a_gradient_that_does_not_fit_is_named_and_nothing_is_written(foreign):
    params = {"a": np.ones(3, "float32"), "b": np.ones(2, "float32")}
    optimizer = Adam(params)
    with pytest.raises(ValueError, match=r"grads\['b'\] has shape \(3,\)"):
        optimizer.step({"a": np.ones(3, "float32"), "b": foreign(np.ones(3, "float32"))})
    with pytest.raises(TypeError, match=r"grads\['b'\] has dtype float16"):
        optimizer.step({"a": np.ones(3, "float32"), "b": foreign(np.ones(2, "float16"))})
    assert optimizer.steps == 0
    assert all((array == 1).all() for array in params.values())


def test_gradients_that_lie_in_parameters_are_refused_all_the_same():
    params = [np.ones(4, "float32"), np.ones(4, "float32")]
    with pytest.raises(ValueError, match="overlap in memory"):
        SGD(params).step([np.ones(4, "float32"), OnlyInterface(params[0])])


def test_gradients_from_jax_and_from_pytorch_train_numpy_parameters():
    """The step that users of these write: p -= lr g, here of a least-squares line."""
    jax = pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    w = {"w": np.zeros((3, 1), "float32")}
    slope = jax.grad(lambda p: ((X @ p["w"] - T) ** 2).mean())
    optimizer = SGD(w, lr=0.1)
    by_hand = np.zeros((3, 1))
    for _ in range(20):
        optimizer.step(slope(w))
        by_hand -= 0.1 * 2 / len(X) * X.T.astype(float) @ (X @ by_hand - T)
    np.testing.assert_allclose(w["w"], by_hand, rtol=1e-5, atol=1e-6)


# --- samples, labels, weights ---------------------------------------------------------------------
CASES = {
    "classes": (SoftmaxCrossEntropy(), 3, K),
    "two": (BinaryCrossEntropy(), 1, TWO),
    "numbers": (MeanSquaredError(), 1, T),
}


@pytest.mark.parametrize("kind", CASES)
def test_fit(foreign, kind):
    loss, width, y = CASES[kind]
    found = []
    for wrap in (foreign, np.asarray):
        net = Sequential(Dense(3, width), device="cpu")
        options = {"progress": False, "epochs": 2, "validation": (wrap(X), wrap(y))}
        if kind != "numbers":
            options["class_weight"] = wrap(np.array([1.0, 2.0, 0.5][: max(2, width)], "float32"))
        options["augment"] = lambda rows, rng, wrap=wrap: wrap(-rows)
        data = wrap(X), wrap(y)
        history = fit(net, data, loss=loss, optimizer=Adam(net.parameters()), **options)
        figures = [history.loss, history.metric, history.val_loss, history.val_metric]
        found.append((net.parameters().flat.tolist(), figures))
    assert found[0] == found[1]


def test_a_network_and_what_it_says(foreign):
    net = Sequential(Dense(3, 3), device="cpu")
    for function in (outputs, predict, predict_proba):
        same(function(net, foreign(X)), function(net, X))
    assert accuracy(net, foreign(X), foreign(K)) == accuracy(net, X, K)
    dy = np.ones((40, 3), "float32")
    same(net.forward(foreign(X), train=True), net.forward(X, train=True))
    same(net.backward(foreign(dy)), net.backward(dy))


@pytest.mark.parametrize("kind", CASES)
def test_losses(foreign, kind):
    loss, width, y = CASES[kind]
    z, w = X[:, :width].copy(), np.linspace(0, 2, 40, dtype="float32")
    for weights in (None, w):
        expected = loss(z, y, weights)
        found = loss(foreign(z), foreign(y), None if weights is None else foreign(weights))
        assert found[0] == expected[0]
        same(found[1], expected[1])
    same(loss(z, foreign(y), foreign(w))[1], loss(z, y, w)[1])
    assert loss.measure(foreign(z), foreign(y)) == loss.measure(z, y)


def test_normalizer_averages_and_splits(foreign):
    plain, found = Normalizer().fit(X), Normalizer().fit(foreign(X))
    same(found.deviation, plain.deviation)
    same(found.apply(foreign(X)), plain.apply(X))
    same(found.inverse(foreign(X)), plain.inverse(X))
    same(ExponentialAverage().update(foreign(X)), ExponentialAverage().update(X))
    for stratify in (False, True):
        parts = split(foreign(X), foreign(K), stratify=stratify)
        for part, expected in zip(parts, split(X, K, stratify=stratify), strict=True):
            same(part[0], expected[0])
            same(part[1], expected[1])
    found, plain = stratified_split(foreign(K), 0.2), stratified_split(K, 0.2)
    for part, expected in zip(found, plain, strict=True):
        same(part, expected)


@pytest.mark.parametrize("kind", ["NetClassifier", "NetRegressor"])
def test_estimators(foreign, kind):
    pytest.importorskip("sklearn", reason="the estimators stand on scikit-learn")
    from onepass import nets

    y = K if kind == "NetClassifier" else T[:, 0]
    made = [
        getattr(nets, kind)(hidden_layer_sizes=4, max_iter=2, random_state=0, device="cpu")
        for _ in "ab"
    ]
    made[0].fit(foreign(X), foreign(y))
    made[1].fit(X, y)
    same(made[0].predict(foreign(X)), made[1].predict(X))
    if kind == "NetClassifier":
        same(made[0].predict_proba(foreign(X)), made[1].predict_proba(X))
        same(made[0].decision_function(foreign(X)), made[1].decision_function(X))
