"""A mask is never dropped without a word: masked arrays are refused wherever arrays go in."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from onepass import kernels
from onepass.nets import (
    Adam,
    BinaryCrossEntropy,
    Dense,
    Ensemble,
    MeanSquaredError,
    Normalizer,
    Sequential,
    SoftmaxCrossEntropy,
    accuracy,
    exponential_average,
    fit,
    gradient_check,
    load_torch_state,
    outputs,
    predict,
    predict_proba,
    rotate,
    shift,
    split,
    stratified_split,
)

N = 12
X = np.random.default_rng(0).standard_normal((N, 3)).astype("float32")
Y = np.arange(N) % 2
IMAGES = np.ones((N, 4, 4), "float32")


def network(dtype="float32", outputs=2):
    return Sequential(Dense(3, outputs), dtype=dtype, device="cpu")


def train(x=X, y=Y, outputs=2, loss=None, **options):
    net = network(outputs=outputs)
    loss = loss or SoftmaxCrossEntropy()
    optimizer = Adam(net.parameters())
    kept = net.parameters().flat.copy()
    try:
        fit(net, (x, y), loss=loss, optimizer=optimizer, epochs=1, progress=False, **options)
    finally:
        np.testing.assert_array_equal(net.parameters().flat, kept)


def masked(array):
    return np.ma.array(array, mask=np.arange(array.size).reshape(array.shape) % 3 == 0)


def rows(array):
    """A list of masked rows, which numpy.asarray makes a plain array of."""
    return list(masked(array))


def state(net):
    return {name: np.ma.array(value) for name, value in net.state_dict().items()}


CHECK = network("float64"), SoftmaxCrossEntropy()
CASES = [
    ("x of data", lambda hide: train(x=hide(X))),
    ("y of data", lambda hide: train(y=hide(Y))),
    ("y of data", lambda hide: train(y=hide(X[:, :1]), outputs=1, loss=MeanSquaredError())),
    ("y of data", lambda hide: train(y=hide(Y[:, None]), outputs=1, loss=BinaryCrossEntropy())),
    ("x of validation", lambda hide: train(validation=(hide(X), Y))),
    ("y of validation", lambda hide: train(validation=(X, hide(Y)))),
    ("class_weight", lambda hide: train(class_weight=hide(np.ones(2)))),
    ("x", lambda hide: outputs(network(), hide(X))),
    ("x", lambda hide: predict(network(), hide(X))),
    ("x", lambda hide: predict_proba(network(), hide(X))),
    ("x", lambda hide: accuracy(network(), hide(X), Y)),
    ("y", lambda hide: accuracy(network(), X, hide(Y))),
    ("x", lambda hide: network()(hide(X))),
    ("x", lambda hide: Ensemble([network()]).predict(hide(X))),
    ("y", lambda hide: Ensemble([network()]).accuracy(X, hide(Y))),
    ("x of data", lambda hide: gradient_check(CHECK[0], hide(X), Y, CHECK[1])),
    ("y of data", lambda hide: gradient_check(CHECK[0], X, hide(Y), CHECK[1])),
    ("x", lambda hide: split(hide(X), Y)),
    ("y", lambda hide: split(X, hide(Y), stratify=True)),
    ("y", lambda hide: stratified_split(hide(Y), 0.5)),
    ("values", lambda hide: exponential_average(hide(X))),
    ("angle", lambda hide: rotate(IMAGES, hide(np.ones(N)))),
]
ARRAYS = [
    ("x", lambda hide: Normalizer().fit(hide(X))),
    ("x", lambda hide: Normalizer().fit(X).apply(hide(X))),
    ("x", lambda hide: Normalizer().fit(X).inverse(hide(X))),
    ("x", lambda hide: shift(hide(IMAGES), 1, 1)),
    ("what augment returned", lambda hide: train(augment=lambda x, rng: hide(x))),
    ("labels", lambda hide: kernels.softmax_cross_entropy(X, hide(Y))),
    ("weights", lambda hide: kernels.softmax_cross_entropy(X, Y, weights=hide(X[:, 0]))),
    ("targets", lambda hide: MeanSquaredError()(X, hide(X))),
    ("labels", lambda hide: BinaryCrossEntropy()(X[:, 0], hide(Y))),
    ("weights", lambda hide: MeanSquaredError()(X, X, hide(X[:, 0]))),
    ("grads[0]", lambda hide: Adam([np.zeros(3)]).step([hide(np.ones(3))])),
    ("params[0]", lambda hide: Adam([hide(np.ones(3))])),
    ("dy", lambda hide: backward(hide(np.ones((N, 2), "float32")))),
    ("state['0.weight']", lambda hide: network().load_state_dict(state(network()))),
    (
        "state['fc.weight']",
        lambda hide: load_torch_state(
            network(), {"fc.weight": hide(np.ones((2, 3))), "fc.bias": np.ones(2)}
        ),
    ),
]


def backward(dy):
    net = network()
    net.forward(X, train=True)
    net.backward(dy)


@pytest.mark.parametrize("hide", [masked, rows], ids=["masked", "list of masked"])
@pytest.mark.parametrize(("name", "call"), CASES)
def test_a_masked_array_is_refused_by_name(name, call, hide):
    with pytest.raises(TypeError, match=rf"^{name}(\[0\])? is a numpy Masked.*filled"):
        call(hide)


@pytest.mark.parametrize(("name", "call"), ARRAYS)
def test_where_lists_are_none_either(name, call):
    with pytest.raises(TypeError, match=rf"^{re.escape(name)} is a numpy MaskedArray.*filled"):
        call(masked)


@pytest.mark.parametrize(("name", "call"), CASES)
def test_a_matrix_is_refused_as_by_kernels_and_scikit_learn(name, call):
    with pytest.raises(TypeError, match=f"^{name} is a numpy matrix.*numpy.asarray makes one"):
        call(lambda array: array.reshape(len(array), -1).view(np.matrix))


@pytest.mark.parametrize("hide", [masked, rows], ids=["masked", "list of masked"])
def test_estimators_refuse_them_where_scikit_learn_drops_the_mask(hide):
    pytest.importorskip("sklearn", reason="estimators need scikit-learn")
    from onepass.nets import NetClassifier, NetRegressor

    for kind, y in ((NetClassifier, Y), (NetRegressor, X[:, 0])):
        fitted = kind(hidden_layer_sizes=4, max_iter=1, device="cpu").fit(X, y)
        says = [fitted.predict]
        says += [fitted.predict_proba, fitted.decision_function] if kind is NetClassifier else []
        says += [partial(fitted.score, y=y), partial(fitted.fit, y=y)]
        for call in says:
            with pytest.raises(TypeError, match=r"^X(\[0\])? is a numpy Masked.*filled"):
                call(hide(X))
        with pytest.raises(TypeError, match=r"^y(\[0\])? is a numpy Masked.*filled"):
            fitted.fit(X, hide(y))
