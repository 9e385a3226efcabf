"""Layer, RMS and group norm as layers: values, parameters, networks that hold them, refusals."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.batch_norm import assert_summed
from onepass import nets
from onepass.nets import (
    Adam,
    BatchNorm,
    Dense,
    GroupNorm,
    LayerNorm,
    ReLU,
    RMSNorm,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    gradient_check,
    load_torch_state,
    torch_state,
)
from oracles import norms as oracle
from tolerances import GRADIENT_RATIO

# operation, layer, shape of x, what the oracle is told
CASES = {
    "layer": ("layer_norm", lambda: LayerNorm(6), (9, 6), {}),
    "layer, eps": ("layer_norm", lambda: LayerNorm(6, eps=0.5), (9, 6), {"eps": 0.5}),
    "layer, axes": (
        "layer_norm", lambda: LayerNorm((3, 4)), (5, 3, 4), {"normalized_shape": (3, 4)},
    ),
    "layer, the last": ("layer_norm", lambda: LayerNorm(4), (5, 3, 4), {}),
    "layer, no beta": ("layer_norm", lambda: LayerNorm(6, bias=False), (9, 6), {}),
    "layer, neither": ("layer_norm", lambda: LayerNorm(6, affine=False), (9, 6), {}),
    "layer, gelu": (
        "layer_norm", lambda: LayerNorm(6, activation="gelu"), (9, 6), {"activation": "gelu"},
    ),
    "rms": ("rms_norm", lambda: RMSNorm(6), (9, 6), {}),
    "rms, eps": ("rms_norm", lambda: RMSNorm(6, eps=0.5), (9, 6), {"eps": 0.5}),
    "rms, axes": ("rms_norm", lambda: RMSNorm((3, 4)), (5, 3, 4), {"normalized_shape": (3, 4)}),
    "rms, no gamma": ("rms_norm", lambda: RMSNorm(6, affine=False), (9, 6), {}),
    "rms, silu": (
        "rms_norm", lambda: RMSNorm(6, activation="silu"), (9, 6), {"activation": "silu"},
    ),
    "group": ("group_norm", lambda: GroupNorm(3, 6), (9, 6), {"groups": 3}),
    "group, images": ("group_norm", lambda: GroupNorm(2, 4), (5, 4, 3, 2), {"groups": 2}),
    "instance": ("group_norm", lambda: GroupNorm(4, 4, eps=0.1), (5, 4, 6),
                 {"groups": 4, "eps": 0.1}),
    "group, neither": (
        "group_norm", lambda: GroupNorm(2, 6, affine=False), (9, 6), {"groups": 2},
    ),
    "group, relu": ("group_norm", lambda: GroupNorm(2, 6, activation="relu"), (9, 6),
                    {"groups": 2, "activation": "relu"}),
}  # fmt: skip
each_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=[pytest.mark.slow] if "activation" in options else [])
        for name, (_, _, _, options) in CASES.items()
    ],
)
"""With an activation one is compiled anew."""


def network(*layers, dtype="float64", device="cpu"):
    """A network whose gamma and beta are no longer those of the start."""
    net = Sequential(*layers, seed=1, dtype=dtype, device=device)
    rng = np.random.default_rng(2)
    for name, array in net.parameters().items():
        if name.endswith(("gamma", "beta")):
            array[...] = net.backend.asarray(rng.uniform(0.5, 1.5, array.shape).astype(dtype))
    return net


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@each_case
def test_values_and_gradients_are_the_oracles(reference, case, dtype):
    operation, make, shape, options = CASES[case]
    net, rng = network(make(), dtype=dtype, device=reference.device), np.random.default_rng(3)
    x, dy = (rng.normal(2.0, 3.0, shape).astype(dtype) for _ in range(2))
    y = net.forward(x, train=True)
    dx = net.backward(net.backend.asarray(dy))
    assert y.dtype == dx.dtype == dtype
    assert np.array_equal(net.backend.to_numpy(net(x)), net.backend.to_numpy(y))
    parameters, grads = (
        {name.split(".")[1]: net.backend.to_numpy(array) for name, array in each.items()}
        for each in (net.parameters(), net.parameters().grads)
    )
    given = {name: parameters.get(name) for name in ("gamma", "beta")}
    want = oracle.forward(operation, x, **given, **options).y
    wanted = oracle.backward(operation, dy, x, **given, **options)
    terms = oracle.terms(operation, dy, x, **given, **options)
    found = [net.backend.to_numpy(y), net.backend.to_numpy(dx), *map(grads.get, given)]
    for name, one, other, size in zip(terms._fields, found, (want, *wanted), terms, strict=True):
        if one is not None:
            assert_summed(one, other, size, dtype, 2.0 * reference.factor, name)


@each_case
def test_gradient_check(case):
    _, make, shape, _ = CASES[case]
    if len(shape) > 2:
        pytest.skip("a loss takes rows")
    net, rng = (
        network(Dense(5, 6), make(), Dense(6, 3, activation="tanh")),
        np.random.default_rng(4),
    )
    x, labels = rng.standard_normal((8, 5)), rng.integers(0, 3, 8)
    found = gradient_check(net, x, labels, SoftmaxCrossEntropy())
    assert found.ratio < GRADIENT_RATIO, found


def test_gradients_over_several_axes():
    """Against two-sided differences along a direction in x, gamma and beta at once."""
    rng = np.random.default_rng(5)
    for make in (lambda: LayerNorm((3, 4)), lambda: RMSNorm((3, 4)), lambda: GroupNorm(1, 3)):
        net = network(make())
        flat, h = net.parameters().flat, 1e-6
        x, dy, along = rng.standard_normal((3, 5, 3, 4))
        other, start = rng.standard_normal(flat.shape), flat.copy()
        sums = []
        for step in (h, -h):
            flat[...] = start + step * other
            sums.append((net(x + step * along) * dy).sum())
        flat[...] = start
        net.forward(x, train=True)
        slope = (net.backward(dy) * along).sum() + net.parameters().flat_grads @ other
        np.testing.assert_allclose((sums[0] - sums[1]) / (2 * h), slope, rtol=1e-7)


def test_gamma_starts_at_one_and_beta_at_zero():
    net = Sequential(LayerNorm((2, 3)), device="cpu")
    parameters = net.parameters()
    assert {name: array.shape for name, array in parameters.items()} == {
        "0.gamma": (2, 3), "0.beta": (2, 3),
    }  # fmt: skip
    assert (parameters["0.gamma"] == 1).all()
    assert not parameters["0.beta"].any()
    names = {
        "gamma": [RMSNorm(4), LayerNorm(4, bias=False)],
        "gamma beta": [GroupNorm(2, 4), LayerNorm(4)],
        "": [RMSNorm(4, affine=False), GroupNorm(2, 4, affine=False), LayerNorm(4, affine=False)],
    }
    for told, layers in names.items():
        for layer in layers:
            assert [*layer.shapes()] == told.split(), layer
            assert not layer.initial_buffers()


@pytest.mark.parametrize(
    "make", [lambda: LayerNorm(4), lambda: RMSNorm(4), lambda: GroupNorm(2, 4)]
)
def test_rows_do_not_need_one_another(make):
    """A batch of one trains, and no other row changes a row's output: batch norm is otherwise."""
    net, x = network(make()), np.random.default_rng(0).normal(5, 3, (6, 4))
    y = net.forward(x, train=True)
    for k in range(len(x)):
        np.testing.assert_array_equal(net.forward(x[k : k + 1], train=True), y[k : k + 1])
    assert net.least_rows == 1
    assert network(BatchNorm(4)).least_rows == 2


def test_what_comes_in_is_left_untouched():
    for make in (lambda: LayerNorm(4), lambda: RMSNorm(4), lambda: GroupNorm(2, 4)):
        net, (x, dy) = network(make()), np.random.default_rng(0).normal(5, 3, (2, 6, 4))
        kept = x.copy(), dy.copy()
        net.forward(x, train=True)
        expected = net.backward(dy), net.parameters().flat_grads.copy()
        net.parameters().flat_grads[...] = np.nan
        net(x + 1)  # leaves the pending backward alone
        assert net.layers[0].backward(dy, input_grad=False) is None
        np.testing.assert_array_equal(net.parameters().flat_grads, expected[1])
        np.testing.assert_array_equal((x, dy), kept)


TRAINED = {
    "layer": lambda: (Dense(6, 16, bias=False), LayerNorm(16, activation="gelu")),
    "rms": lambda: (Dense(6, 16, bias=False), RMSNorm(16), ReLU()),
    "group": lambda: (Dense(6, 16, bias=False), GroupNorm(4, 16, activation="silu")),
    "first": lambda: (LayerNorm(6), Dense(6, 16, activation="relu")),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", TRAINED)
def test_a_network_with_a_norm_learns(name, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    labels = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = Sequential(*TRAINED[name](), Dense(16, 2), seed=0, dtype=dtype, device="cpu")
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": Adam(net.parameters(), lr=0.03)}
    history = fit(net, (x, labels), epochs=30, batch_size=20, progress=False, **options)
    assert history.loss[-1] < 0.5 * history.loss[0]
    assert nets.accuracy(net, x, labels) > 0.8
    assert history.path == "captured"


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_is_of_its_own(duplicate):
    net = network(LayerNorm(4, eps=0.1), RMSNorm(4, activation="silu"), GroupNorm(2, 4))
    x = np.random.default_rng(0).standard_normal((5, 4))
    net.forward(x, train=True)
    twin = duplicate(net)
    assert repr(twin) == repr(net)
    expected = net(x)
    np.testing.assert_array_equal(twin(x), expected)
    twin.parameters().flat[...] = 0
    np.testing.assert_array_equal(net(x), expected)
    with pytest.raises(RuntimeError, match="needs forward"):
        twin.backward(x)


def test_layers_say_how_they_were_made():
    for text in (
        "LayerNorm(4)", "LayerNorm((3, 4))", "RMSNorm(4)", "GroupNorm(2, 4)",
        "LayerNorm(4, eps=0.1, affine=False, bias=False, activation='gelu')",
        "RMSNorm((3, 4), eps=0.1, affine=False, activation='silu')",
        "GroupNorm(2, 4, eps=0.1, affine=False, activation='relu')",
    ):  # fmt: skip
        layer = eval(text)
        assert repr(layer) == text
        assert repr(type(layer)(**layer.config())) == text
    assert repr(LayerNorm([np.int64(4)])) == "LayerNorm(4)"
    assert repr(LayerNorm([3, 4])) == "LayerNorm((3, 4))"


# --- PyTorch --------------------------------------------------------------------------------------
@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


def theirs_and_ours(torch):
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Linear(5, 8, bias=False), nn.LayerNorm(8), nn.Linear(8, 6), nn.RMSNorm(6, eps=1e-3),
        nn.Linear(6, 6), nn.GroupNorm(2, 6), nn.LayerNorm(6, bias=False),
        nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2),
    )  # fmt: skip
    ours = network(
        Dense(5, 8, bias=False), LayerNorm(8), Dense(8, 6), RMSNorm(6, eps=1e-3),
        Dense(6, 6), GroupNorm(2, 6), LayerNorm(6, bias=False), LayerNorm(6, affine=False),
        Dense(6, 2), dtype="float32",
    )  # fmt: skip
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.rand_like(parameter))
    return theirs, ours


@pytest.mark.parametrize("way", ["in", "out"])
def test_a_network_and_pytorchs_say_the_same(torch, way):
    theirs, ours = theirs_and_ours(torch)
    if way == "in":
        load_torch_state(ours, theirs.state_dict())
    else:
        theirs.load_state_dict(torch_state(ours))
    x = torch.randn(30, 5)
    y = theirs(x)
    np.testing.assert_allclose(
        ours.forward(x.numpy(), train=True), y.detach(), rtol=1e-4, atol=1e-5
    )
    dy = torch.randn(30, 2)
    y.backward(dy)
    ours.backward(dy.numpy())
    wanted = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, gradient in ours.parameters().grads.items():
        k, own = name.split(".")
        want = wanted[f"{k}.{'weight' if own in ('gamma', 'weight') else 'bias'}"].numpy()
        want = want.T if own == "weight" else want
        np.testing.assert_allclose(gradient, want, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_state_of_another_shape_is_refused_by_its_shape(torch):
    net = network(LayerNorm((3, 4)))
    before = net.parameters().flat.copy()
    with pytest.raises(ValueError, match=r"has shape \(4, 3\); expected \(3, 4\) for layer 0"):
        load_torch_state(net, torch.nn.LayerNorm((4, 3)).state_dict())
    np.testing.assert_array_equal(net.parameters().flat, before)


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LayerNorm("4"), TypeError, "normalized_shape is '4'; expected the lengths"),
        (lambda: LayerNorm(4.0), TypeError, "normalized_shape is 4.0; expected the lengths"),
        (lambda: LayerNorm(True), TypeError, "normalized_shape is True"),
        (lambda: RMSNorm((3, None)), TypeError, r"normalized_shape is \(3, None\)"),
        (lambda: RMSNorm(None), TypeError, "normalized_shape is None"),
        (lambda: LayerNorm(()), ValueError, r"normalized_shape is \(\); expected the lengths"),
        (lambda: LayerNorm(0), ValueError, r"normalized_shape is \(0,\); expected lengths"),
        (lambda: RMSNorm((3, -1)), ValueError, r"normalized_shape is \(3, -1\)"),
        (lambda: LayerNorm(4, eps=0), ValueError, "eps is 0; expected a finite number > 0"),
        (lambda: LayerNorm(4, eps=None), TypeError, "eps is None"),
        (lambda: RMSNorm(4, eps="small"), TypeError, "eps is 'small'"),
        (lambda: GroupNorm(2, 4, eps=np.nan), ValueError, "eps is nan"),
        (lambda: LayerNorm(4, affine=1), TypeError, r"affine is 1 \(int\); expected True or False"),
        (lambda: LayerNorm(4, bias="no"), TypeError, "bias is 'no'"),
        (lambda: LayerNorm(4, activation="tanh"), ValueError, "activation is 'tanh'; expected one"),
        (lambda: RMSNorm(4, activation=ReLU()), ValueError, r"activation is ReLU\(\); expected"),
        (lambda: GroupNorm(3, 8), ValueError, "groups is 3 but features is 8; expected a number"),
        (lambda: GroupNorm(0, 8), ValueError, "groups is 0; expected at least 1"),
        (lambda: GroupNorm(2.0, 8), TypeError, "groups is 2.0"),
        (lambda: GroupNorm(2, "8"), TypeError, "features is '8'"),
        (lambda: network(Dense(5, 6), LayerNorm(5)), ValueError, "LayerNorm.5. takes 5 features"),
        (lambda: network(Dense(5, 6), GroupNorm(2, 8)), ValueError, "takes 8 features"),
    ],
)  # fmt: skip
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: LayerNorm(4),
            (2, 3),
            r"x of LayerNorm\(4\) has shape \(2, 3\); expected \(n, 4\)",
        ),
        (lambda: LayerNorm(4), (4,), r"has shape \(4,\); expected \(n, 4\)"),
        (lambda: RMSNorm((3, 4)), (3, 4), r"has shape \(3, 4\); expected \(n, 3, 4\)"),
        (lambda: RMSNorm((3, 4)), (2, 4, 3), r"has shape \(2, 4, 3\); expected \(n, 3, 4\)"),
        (lambda: GroupNorm(2, 4), (2, 3), r"has shape \(2, 3\); expected \(n, 4, ...\)"),
        (lambda: GroupNorm(2, 4), (4,), r"has shape \(4,\); expected \(n, 4, ...\)"),
        (lambda: GroupNorm(4, 4), (2, 4), "1 value in each of 4 groups; expected at least 2"),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_other_shapes_are_refused(make, shape, message, train):
    net = network(make())
    with pytest.raises(ValueError, match=message):
        net.forward(np.ones(shape), train)
    with pytest.raises(RuntimeError, match="needs forward"):
        net.backward(np.ones(shape))


def test_gradients_of_other_shapes_are_refused():
    net = network(LayerNorm(4))
    net.forward(np.ones((3, 4)), train=True)
    net.parameters().flat_grads[...] = 7
    with pytest.raises(ValueError, match=r"dy of LayerNorm\(4\) has shape \(2, 4\); expected"):
        net.backward(np.ones((2, 4)))
    assert (net.parameters().flat_grads == 7).all()
