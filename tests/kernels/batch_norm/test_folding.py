"""fold_batch_norm: one layer in place of two, on every backend; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass import MixedBackendsError, kernels
from oracles import batch_norm as batchnorm
from tolerances import DTYPES

NAMES = ("weight", "bias", "gamma", "beta", "running_mean", "running_var")
EPS = 1e-2


def arrays(shape=(7, 5), channels=5, outputs=None, dtype="float32", seed=0):
    draw = np.random.default_rng(seed)
    vectors = [draw.normal(size=channels), draw.normal(size=channels), draw.normal(size=channels)]
    values = [draw.normal(size=shape), draw.normal(size=outputs or channels), *vectors]
    values.append(draw.uniform(0.5, 2.0, channels))
    return dict(zip(NAMES, (value.astype(dtype) for value in values), strict=True))


def in_double(given_):
    return {name: None if a is None else np.float64(a) for name, a in given_.items()}


def normalized(x, of, axis=1):
    vectors = (of[name] for name in NAMES[2:])
    return batchnorm.inference(x, *vectors, eps=EPS, channel_axis=axis)


def both(x, of, before):
    """What the two layers give, in float64, and the sizes of the terms of that."""
    wide, bias = in_double(of), 0.0 if of["bias"] is None else np.float64(of["bias"])
    if before:
        y = normalized(x, wide) @ wide["weight"] + bias
        return y, np.abs(normalized(x, wide)) @ np.abs(wide["weight"]) + np.abs(bias)
    z = x @ wide["weight"] + bias
    scale = np.ones(z.shape[1]) if wide["gamma"] is None else np.abs(wide["gamma"])
    terms = np.abs(x) @ np.abs(wide["weight"]) + np.abs(bias) + np.abs(wide["running_mean"])
    shift = 0.0 if wide["beta"] is None else np.abs(wide["beta"])
    return normalized(z, wide), scale / np.sqrt(wide["running_var"] + EPS) * terms + shift


@pytest.mark.parametrize("without", [(), ("bias",), ("gamma", "beta"), ("bias", "gamma", "beta")])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_layer_does_what_both_did(reference, dtype, before, without):
    of = arrays(channels=7, outputs=5, dtype=dtype) if before else arrays(dtype=dtype)
    of |= dict.fromkeys(without)
    given_ = {name: None if a is None else reference.asarray(a) for name, a in of.items()}
    weight, bias = map(
        reference.to_numpy, kernels.fold_batch_norm(**given_, eps=EPS, before=before)
    )
    assert (weight.shape, bias.shape) == ((7, 5), (5,))
    assert str(weight.dtype) == str(bias.dtype) == dtype
    for name, array in given_.items():
        assert array is None or reference.to_numpy(array).tobytes() == of[name].tobytes()
    x = np.random.default_rng(1).normal(size=(11, 7))
    want, terms = both(x, of, before)
    got = x @ np.float64(weight) + np.float64(bias)
    assert (np.abs(got - want) <= 2 * np.finfo(dtype).eps * (np.abs(want) + terms)).all()


@given(shape=st.tuples(*[st.integers(1, 5)] * 4), axis=st.integers(-4, 3), seed=st.integers(0, 99))
def test_any_axis_has_the_outputs(shape, axis, seed):
    of = arrays(shape, shape[axis], dtype="float64", seed=seed)
    weight, bias = kernels.fold_batch_norm(**of, eps=EPS, axis=axis)
    scale = of["gamma"] / np.sqrt(of["running_var"] + EPS)
    want = np.moveaxis(np.moveaxis(of["weight"], axis, -1) * scale, -1, axis)
    np.testing.assert_allclose(weight, want, rtol=1e-14, atol=0)
    want = (of["bias"] - of["running_mean"]) * scale + of["beta"]
    np.testing.assert_allclose(bias, want, rtol=1e-12, atol=1e-13)


def test_inputs_on_axis_1_before_a_layer():
    of = arrays((5, 7), 7, 5, dtype="float64")
    weight, bias = kernels.fold_batch_norm(**of, eps=EPS, axis=1, before=True)
    turned = of | {"weight": of["weight"].T}
    other = kernels.fold_batch_norm(**turned, eps=EPS, before=True)
    np.testing.assert_array_equal(weight.T, other[0])
    np.testing.assert_array_equal(bias, other[1])


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_torch_agrees(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    from torch.nn.utils import fusion

    of = arrays((5, 7) if kind == "linear" else (5, 3, 2, 2), dtype="float64")
    t = {name: torch.from_numpy(a) for name, a in of.items()}
    fuse = fusion.fuse_linear_bn_weights if kind == "linear" else fusion.fuse_conv_bn_weights
    want = fuse(
        t["weight"], t["bias"], t["running_mean"], t["running_var"], EPS, t["gamma"], t["beta"]
    )
    got = kernels.fold_batch_norm(**t, eps=EPS, axis=0)  # which takes PyTorch's arrays, too
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-14, atol=1e-15)


def test_float16_is_rounded_once_and_parameters_may_have_another_dtype():
    of = arrays(dtype="float16") | {"running_var": np.full(5, 3e-8, "float32")}
    of["bias"] = None
    weight, bias = kernels.fold_batch_norm(**of, eps=1e-8)
    scale = np.float64(of["gamma"]) / np.sqrt(np.float64(of["running_var"]) + 1e-8)
    np.testing.assert_array_equal(weight, (np.float64(of["weight"]) * scale).astype("float16"))
    assert bias.dtype == "float16"
    whole = of | {"gamma": np.ones(5, "int64"), "running_var": np.ones(5, "float16")}
    assert kernels.fold_batch_norm(**whole)[0].dtype == "float16"


BAD = {
    "a list": ({"weight": [[1.0]]}, TypeError, ["weight is a list"]),
    "integers": ({"weight": np.ones((7, 5), int)}, TypeError, ["weight has dtype int64"]),
    "one axis": ({"weight": np.ones(5)}, ValueError, ["weight", "(5,)", "2 axes"]),
    "a bias of another length": ({"bias": np.ones(7)}, ValueError, ["bias", "(7,)", "(5,)"]),
    "a bias of integers": ({"bias": np.ones(5, int)}, TypeError, ["bias has dtype int64"]),
    "gamma of another length": ({"gamma": np.ones(7)}, ValueError, ["gamma", "(7,)", "of weight"]),
    "no mean": ({"running_mean": None}, TypeError, ["running_mean is None"]),
    "no variance": ({"running_var": None}, TypeError, ["running_var is None"]),
    "eps 0": ({"eps": 0}, ValueError, ["eps is 0"]),
    "axis 2": ({"axis": 2}, ValueError, ["axis is 2"]),
    "axis 1.0": ({"axis": 1.0}, TypeError, ["axis is 1.0"]),
    "before 1": ({"before": 1}, TypeError, ["before is 1"]),
    "four axes behind": (
        {"weight": np.ones((5, 5, 2, 2)), "before": True}, ValueError, ["weight", "2 axes"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_refused(bad):
    changed, error, words = BAD[bad]
    with pytest.raises(error) as caught:
        kernels.fold_batch_norm(**(arrays() | changed))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_two_devices_are_refused(reference, name):
    given_ = {key: reference.asarray(value) for key, value in arrays().items()}
    given_[name] = arrays()[name]
    with pytest.raises(MixedBackendsError, match=name):
        kernels.fold_batch_norm(**given_)
