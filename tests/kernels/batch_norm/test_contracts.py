"""What batch normalization refuses, before any write, and its documented signatures."""

from __future__ import annotations

import inspect

import numpy as np
import onepass
import pytest
from cases.batch_norm import ORDER, SHAPE, arrays, passes, refused
from onepass import kernels

# --- signatures -----------------------------------------------------------------------------------
SIGNATURES = {
    "forward": "x gamma beta running_mean=None running_var=None * momentum=0.1 eps=1e-05 "
    "running_var_ddof=1 channel_axis=1 activation=None residual=None out=None merge=None "
    "engine=auto",
    "backward": "dy saved * out=None gamma_grad=None beta_grad=None residual_grad=None merge=None "
    "engine=auto",
    "inference": "x gamma beta running_mean running_var * eps=1e-05 channel_axis=1 "
    "activation=None residual=None out=None engine=auto",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    parameters = inspect.signature(getattr(kernels, f"batch_norm_{name}")).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    assert " ".join([*words[:positional], "*", *words[positional:]]) == SIGNATURES[name]


# --- refused by training and inference alike ------------------------------------------------------
def host(shape, dtype="float32"):
    return np.ones(shape, dtype)


BAD = {
    "x list": ("x", lambda: [[1.0]], TypeError, ["x is a list"]),
    "x scalar": ("x", lambda: np.float32(1), TypeError, ["x is a numpy float32"]),
    "x none": ("x", lambda: None, TypeError, ["x is None"]),
    "x masked": ("x", lambda: np.ma.array(host(SHAPE)), TypeError, ["x is", "MaskedArray"]),
    "x int": ("x", lambda: host(SHAPE, "int32"), TypeError, ["x has dtype int32", "float32"]),
    "x complex": ("x", lambda: host(SHAPE, "complex64"), TypeError, ["x has dtype complex64"]),
    "x bool": ("x", lambda: host(SHAPE, "bool"), TypeError, ["x has dtype bool"]),
    "x float64": ("x", lambda: host(SHAPE, "float64"), TypeError, ["float32", "float64"]),
    "x 1-D": ("x", lambda: host(12), ValueError, ["x has", "2"]),
    "x 0-D": ("x", lambda: host(()), ValueError, ["x has", "2"]),
    "x channels": ("x", lambda: host((4, 7)), ValueError, ["gamma", "(3,)", "(7,)"]),
    "out list": ("out", lambda: [1.0], TypeError, ["out is a list"]),
    "out int": ("out", lambda: host(SHAPE, "int32"), TypeError, ["out", "int32"]),
    "out float64": ("out", lambda: host(SHAPE, "float64"), TypeError, ["out", "float64"]),
    "out shape": ("out", lambda: host((4, 5, 3)), ValueError, ["out", "(4, 5, 3)", str(SHAPE)]),
    "out broadcastable": ("out", lambda: host((1, 4, 3, 5)), ValueError, ["out", str(SHAPE)]),
    "channel_axis 3": ("channel_axis", lambda: 3, ValueError, ["channel_axis is 3"]),
    "channel_axis -4": ("channel_axis", lambda: -4, ValueError, ["channel_axis is -4"]),
    "channel_axis 1.0": ("channel_axis", lambda: 1.0, TypeError, ["channel_axis is 1.0"]),
    "channel_axis None": ("channel_axis", lambda: None, TypeError, ["channel_axis is None"]),
    "eps 0": ("eps", lambda: 0.0, ValueError, ["eps is 0"]),
    "eps < 0": ("eps", lambda: -1e-5, ValueError, ["eps is -1e-05"]),
    "eps inf": ("eps", lambda: np.inf, ValueError, ["eps is inf"]),
    "eps nan": ("eps", lambda: np.nan, ValueError, ["eps is nan"]),
    "eps text": ("eps", lambda: "small", TypeError, ["eps is 'small'"]),
    "gelu": ("activation", lambda: "gelu", ValueError, ["activation is 'gelu'", "relu"]),
}
VECTORS = {
    "list": (lambda: [1.0] * 3, TypeError, "is a list"),
    "complex": (lambda: host(3, "complex64"), TypeError, "complex64"),
    "bool": (lambda: host(3, "bool"), TypeError, "bool"),
    "4": (lambda: host(4), ValueError, "(4,)"),
    "1": (lambda: host(1), ValueError, "(1,)"),
    "column": (lambda: host((3, 1)), ValueError, "(3, 1)"),
    "0-D": (lambda: host(()), ValueError, "()"),
}
BAD |= {
    f"{name} {kind}": (name, value, error, [name, words])
    for name in ORDER[1:]
    for kind, (value, error, words) in VECTORS.items()
}


def on_device(engine, value):
    plain = type(value) is np.ndarray and value.dtype != object
    return engine.asarray(value) if plain else value


@pytest.mark.parametrize("function", ["forward", "inference"])
@pytest.mark.parametrize("bad", BAD)
def test_refused_before_any_write(engine, bad, function):
    name, value, error, words = BAD[bad]
    given_ = arrays(engine, **{name: on_device(engine, value())})
    refused(engine, function, given_, error, *words)


@pytest.mark.parametrize("momentum", [-0.1, 1.1, np.nan, np.inf, "0.1", None])
def test_momentum_is_refused(engine, momentum):
    error = TypeError if isinstance(momentum, str | None) else ValueError
    refused(engine, "forward", arrays(engine, momentum=momentum), error, "momentum is")


@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
def test_running_statistics_come_in_pairs(engine, missing):
    given_ = arrays(engine, **{missing: None})
    refused(engine, "forward", given_, ValueError, "running_mean", "running_var", "None")


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (1, 3, 1), (0, 3, 5), (5, 3, 0)])
def test_training_needs_two_values_of_a_channel(engine, shape):
    x = engine.asarray(np.ones(shape, "float32"))
    given_ = arrays(engine, x=x, out=engine.asarray(np.ones(shape, "float32")))
    refused(engine, "forward", given_, ValueError, "x", str(shape), "2")


@pytest.mark.parametrize("name", ["running_mean", "running_var", "out"])
def test_read_only_where_it_would_be_written(engine, name):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    given_ = arrays(engine)
    given_[name].flags.writeable = False
    refused(engine, "forward", given_, ValueError, f"{name} is read-only")
    if name == "out":
        refused(engine, "inference", given_, ValueError, "out is read-only")


BAD_DY = {
    "list": (lambda: [1.0], TypeError, "dy is a list"),
    "float64": (lambda: host(SHAPE, "float64"), TypeError, "dy has dtype float64"),
    "int": (lambda: host(SHAPE, "int32"), TypeError, "dy has dtype int32"),
    "shape": (lambda: host((4, 5, 3)), ValueError, "(4, 5, 3)"),
    "broadcastable": (lambda: host((1, 3, 5)), ValueError, "(1, 3, 5)"),
}


@pytest.mark.parametrize("bad", BAD_DY)
def test_backward_refuses_dy_and_out(engine, bad):
    value, error, words = BAD_DY[bad]
    forward, backward = passes(engine)
    x, dy = (engine.asarray(host(SHAPE)) for _ in range(2))
    _, saved = forward(x, None, None)
    wrong, out = on_device(engine, value()), engine.asarray(host(SHAPE))
    with engine.refuses(error, {"x": x, "out": out}, words):
        backward(wrong, saved, out=out)
    with engine.refuses(
        error, {"x": x, "dy": dy}, words.replace("dy has", "out has").replace("dy is", "out is")
    ):
        backward(dy, saved, out=wrong)
    with engine.refuses(TypeError, {"dy": dy}, "saved is"):
        backward(dy, x)
    assert backward(dy, saved)[0].shape == SHAPE, "a refused call has used saved up"


def test_an_engine_that_can_t_run_is_refused(engine):
    given_ = arrays(engine)
    elsewhere = "cupy" if engine.device == "cpu" else "numba"
    _, saved = passes(engine)[0](given_["x"], None, None)
    for name, error in [(elsewhere, onepass.EngineUnavailableError), ("fast", ValueError)]:
        for function in ("forward", "inference"):
            with engine.refuses(error, given_, repr(name)):
                call = getattr(kernels, f"batch_norm_{function}")
                call(*(given_[key] for key in ORDER), out=given_["out"], engine=name)
        with engine.refuses(error, given_, repr(name)):
            kernels.batch_norm_backward(given_["out"], saved, out=given_["out"], engine=name)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
@pytest.mark.parametrize("name", [*ORDER, "out"])
def test_mixed_backends(reference, name):
    given_ = arrays(reference, **{name: host(SHAPE if name in ("x", "out") else 3)})
    for function in ("forward", "inference"):
        refused(reference, function, given_, onepass.MixedBackendsError, name, "cpu", "cuda")


def test_a_processor_without_float16_conversions_says_so(monkeypatch):
    from onepass.kernels.simd import half

    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    x = np.arange(8, dtype="float16").reshape(4, 2)
    y, _ = kernels.batch_norm_forward(x, None, None)
    expected, _ = kernels.batch_norm_forward(x, None, None, engine="array")
    np.testing.assert_array_equal(y, expected)
    with pytest.raises(onepass.EngineUnavailableError, match="no float16 conversions"):
        kernels.batch_norm_forward(x, None, None, engine="numba")
    kernels.batch_norm_forward(x.astype("float32"), None, None, engine="numba")
