"""What activations refuse: by name, with what came and what was expected, before any write."""

from __future__ import annotations

import inspect

import numpy as np
import onepass
import pytest
from cases.activation import KINDS
from onepass import kernels

SHAPE = (4, 5)
READ_ONLY = np.ones(SHAPE, "float32")
READ_ONLY.flags.writeable = False
ROOM = np.ones(60, "float32")
WIDE = np.lib.stride_tricks.as_strided(np.ones(5, "float32"), SHAPE, (0, 4))


def ones(shape=SHAPE, dtype="float32"):
    return np.ones(shape, dtype)


FORWARD = {
    "x no array": ({"x": [[1.0]]}, TypeError, ["x is a list"]),
    "x of integers": ({"x": ones(dtype=int)}, TypeError, ["x has dtype int64", "astype"]),
    "x complex": ({"x": ones(dtype="complex64")}, TypeError, ["x has dtype complex64"]),
    "kind unknown": ({"kind": "mish"}, ValueError, ["kind is 'mish'", "'relu'", "'softplus'"]),
    "kind no string": ({"kind": None}, TypeError, ["kind is None", "'relu'"]),
    "kind not hashable": ({"kind": ["relu"]}, TypeError, ["kind is ['relu']"]),
    "slope 0": ({"slope": 0.0}, ValueError, ["slope is 0.0", "> 0"]),
    "slope below 0": ({"slope": -0.1}, ValueError, ["slope is -0.1", "> 0"]),
    "slope infinite": ({"slope": float("inf")}, ValueError, ["slope is inf", "finite"]),
    "slope NaN": ({"slope": float("nan")}, ValueError, ["slope is nan", "finite"]),
    "slope a string": ({"slope": "0.1"}, TypeError, ["slope is '0.1'"]),
    "slope a flag": ({"slope": True}, TypeError, ["slope is True"]),
    "slope an array": ({"slope": np.ones(2)}, TypeError, ["slope is array("]),
    "alpha 0": ({"alpha": 0.0}, ValueError, ["alpha is 0.0", "> 0"]),
    "alpha a flag": ({"alpha": True}, TypeError, ["alpha is True"]),
    "beta below 0": ({"beta": -1}, ValueError, ["beta is -1", "> 0"]),
    "beta a string": ({"beta": "1"}, TypeError, ["beta is '1'"]),
    "threshold below 0": ({"threshold": -1.0}, ValueError, ["threshold is -1.0", ">= 0"]),
    "threshold infinite": ({"threshold": float("inf")}, ValueError, ["threshold is inf", "finite"]),
    "threshold None": ({"threshold": None}, TypeError, ["threshold is None"]),
    "bias no array": ({"bias": [0.0] * 5}, TypeError, ["bias is a list"]),
    "bias of another dtype": ({"bias": ones(5, "float64")}, TypeError,
                              ["bias has dtype float64 but x has float32", "astype('float32')"]),
    "bias too short": ({"bias": ones(4)}, ValueError, ["bias has shape (4,)", "(4, 5)", "(5,)"]),
    "bias empty": ({"bias": ones(0)}, ValueError, ["bias has shape (0,)", "(5,)"]),
    "bias a scalar": ({"bias": ones(())}, ValueError, ["bias has shape ()", "(5,)"]),
    "bias a row": ({"bias": ones((1, 5))}, ValueError, ["bias has shape (1, 5)", "(5,)"]),
    "bias of one number": ({"x": ones(()), "bias": ones(1)}, ValueError,
                           ["bias has shape (1,)", "no bias, since x has no axes"]),
    "out no array": ({"out": [[0.0]]}, TypeError, ["out is a list"]),
    "out of another dtype": ({"out": ones(dtype="float64")}, TypeError, ["out", "float64"]),
    "out of another shape": ({"out": ones((5, 4))}, ValueError, ["out", "(5, 4)", "(4, 5)"]),
    "out read-only": ({"out": READ_ONLY}, ValueError, ["out is read-only"]),
    "x read-only and out": ({"x": READ_ONLY, "out": READ_ONLY}, ValueError, ["out is read-only"]),
    "out overlaps itself": ({"out": WIDE}, ValueError, ["out overlaps itself"]),
    "out beside x": ({"x": ROOM[:20].reshape(SHAPE), "out": ROOM[1:21].reshape(SHAPE)},
                     ValueError, ["out and x overlap"]),
    "out over the bias": ({"bias": ROOM[:5], "out": ROOM[:20].reshape(SHAPE)},
                          ValueError, ["out and bias overlap"]),
    "engine unknown": ({"engine": "opencl"}, ValueError, ["engine is 'opencl'", "'numba'"]),
    "engine no string": ({"engine": 3}, TypeError, ["engine is 3"]),
}  # fmt: skip
BACKWARD = {
    "dy no array": ({"dy": [[1.0]]}, TypeError, ["dy is a list"]),
    "dy of integers": ({"dy": ones(dtype=int)}, TypeError, ["dy has dtype int64"]),
    "y no array": ({"y": None}, TypeError, ["y is None"]),
    "y of another dtype": ({"y": ones(dtype="float16")}, TypeError,
                           ["y has dtype float16 but dy has float32"]),
    "y of another shape": ({"y": ones((4, 1))}, ValueError, ["y has shape (4, 1)", "(4, 5)"]),
    "kind unknown": ({"kind": "softmax"}, ValueError, ["kind is 'softmax'", "'relu'"]),
    "slope 0": ({"slope": 0}, ValueError, ["slope is 0", "> 0"]),
    "alpha NaN": ({"alpha": float("nan")}, ValueError, ["alpha is nan", "finite"]),
    "threshold a list": ({"threshold": [20.0]}, TypeError, ["threshold is [20.0]"]),
    "bias too short": ({"bias": ones(4)}, ValueError, ["bias has shape (4,) but dy has", "(5,)"]),
    "bias of another dtype": ({"kind": "silu", "bias": ones(5, "float64")}, TypeError,
                              ["bias has dtype float64 but dy has float32"]),
    "out over the bias": ({"kind": "silu", "bias": ROOM[:5], "out": ROOM[:20].reshape(SHAPE)},
                          ValueError, ["out and bias overlap"]),
    "bias_grad is the bias": ({"kind": "silu", "bias": ROOM[:5], "bias_grad": ROOM[:5]},
                              ValueError, ["bias_grad and bias overlap"]),
    "bias_grad no array": ({"bias_grad": [0.0] * 5}, TypeError, ["bias_grad is a list"]),
    "bias_grad of another dtype": ({"bias_grad": ones(5, "float64")}, TypeError,
                                   ["bias_grad has dtype float64 but dy has float32"]),
    "bias_grad too long": ({"bias_grad": ones(6)}, ValueError,
                           ["bias_grad has shape (6,)", "(5,)"]),
    "bias_grad empty": ({"bias_grad": ones(0)}, ValueError, ["bias_grad has shape (0,)"]),
    "bias_grad read-only": ({"bias_grad": READ_ONLY[0]}, ValueError, ["bias_grad is read-only"]),
    "bias_grad broadcast": ({"bias_grad": np.broadcast_to(ones(1), 5)}, ValueError,
                            ["bias_grad is read-only"]),
    "bias_grad over dy": ({"dy": ROOM[:20].reshape(SHAPE), "bias_grad": ROOM[:5]},
                          ValueError, ["bias_grad and dy overlap"]),
    "bias_grad over y": ({"y": ROOM[:20].reshape(SHAPE), "bias_grad": ROOM[9:14]},
                         ValueError, ["bias_grad and y overlap"]),
    "bias_grad over out": ({"out": ROOM[:20].reshape(SHAPE), "bias_grad": ROOM[9:14]},
                           ValueError, ["out and bias_grad overlap"]),
    "out of another shape": ({"out": ones((2, 5))}, ValueError, ["out", "(2, 5)"]),
    "out of another dtype": ({"out": ones(dtype="float64")}, TypeError, ["out", "float64"]),
    "out read-only": ({"out": READ_ONLY}, ValueError, ["out is read-only"]),
    "out beside dy": ({"dy": ROOM[:20].reshape(SHAPE), "out": ROOM[1:21].reshape(SHAPE)},
                      ValueError, ["out and dy overlap"]),
    "out beside y": ({"y": ROOM[:20].reshape(SHAPE), "out": ROOM[1:21].reshape(SHAPE)},
                     ValueError, ["out and y overlap"]),
    "out is y": ({"y": ROOM[:20].reshape(SHAPE), "out": ROOM[:20].reshape(SHAPE)},
                 ValueError, ["out and y overlap"]),
}  # fmt: skip


def refused(name, given, error, words):
    kept = {key: value.copy() for key, value in given.items() if isinstance(value, np.ndarray)}
    with pytest.raises(error) as caught:
        getattr(kernels, name)(**given)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    for key, value in kept.items():
        assert np.array_equal(given[key], value), f"{key} was written"


@pytest.mark.parametrize("engine", ["auto", "array", "numba"])
@pytest.mark.parametrize("case", FORWARD)
def test_forward_refuses(case, engine):
    changed, error, words = FORWARD[case]
    given = {"x": ones(), "kind": "leaky_relu", "bias": ones(5), "engine": engine} | changed
    refused("activation_forward", given, error, words)


@pytest.mark.parametrize("engine", ["auto", "array", "numba"])
@pytest.mark.parametrize("case", BACKWARD)
def test_backward_refuses(case, engine):
    changed, error, words = BACKWARD[case]
    given = {"dy": ones(), "y": ones(), "kind": "relu", "bias_grad": ones(5), "engine": engine}
    refused("activation_backward", given | changed, error, words)


@pytest.mark.parametrize("name", ["x", "bias", "out"])
def test_a_dtype_that_numpy_lacks_is_named(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    given = {"x": ones(), "bias": ones(5)} | {name: torch.ones(5, dtype=torch.bfloat16)}
    with pytest.raises(TypeError, match=f"{name} is a Tensor of torch.bfloat16"):
        kernels.activation_forward(given.pop("x"), "relu", **given)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("other", ["bias", "bias_grad", "y", "out"])
def test_the_other_byte_order_is_not_taken_for_the_native_one(other, dtype):
    """Compiled code that is asked by its types alone would read such numbers as they lie."""
    swapped = np.dtype(dtype).newbyteorder()
    x, vector = ones(dtype=dtype), ones(5, swapped)
    if other == "bias":
        assert (kernels.activation_forward(x, "linear", bias=vector) == 2).all()
    elif other == "bias_grad":
        kernels.activation_backward(x, x, "relu", bias_grad=vector)
        assert (vector == 4).all()
    elif other == "y":
        assert (kernels.activation_backward(x, x.astype(swapped), "relu") == 1).all()
    else:
        given = {"x": x, "kind": "relu", "out": ones(dtype=swapped)}
        refused("activation_forward", given, TypeError, [f"out has dtype {swapped} but x has"])


@pytest.mark.parametrize("name", ["cupy", "numba-cuda"])
def test_engines_of_a_gpu_refuse_numpy_arrays(name):
    available = kernels.engines()[name].available
    words = "runs on cuda but the arrays are on cpu" if available else "can't be used"
    with pytest.raises(onepass.EngineUnavailableError, match=words):
        kernels.activation_forward(ones(), "relu", engine=name)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_leave_the_gradient_of_the_bias_at_zero(engine, kind):
    empty, sums = engine.asarray(ones((0, 5))), engine.asarray(ones(5))
    assert engine.kernel("activation_backward")(empty, empty, kind, bias_grad=sums).shape == (0, 5)
    assert (engine.to_numpy(sums) == 0).all()


def test_arrays_on_two_devices_are_named(engine):
    if engine.device == "cpu":
        pytest.skip("takes a GPU and the CPU")
    with engine.refuses(onepass.MixedBackendsError, {}, "bias", "x"):
        engine.kernel("activation_forward")(engine.asarray(ones()), "relu", bias=ones(5))


@pytest.mark.parametrize("name", ["activation_forward", "activation_backward"])
def test_docstrings_follow_the_template(name):
    function = getattr(kernels, name)
    doc = inspect.getdoc(function)
    for heading in ("Args:", "Raises:", "Conventions:", "Source:", *map(repr, KINDS)):
        assert heading.replace("'", '"') in doc, heading
    for argument in inspect.signature(function).parameters:
        assert f"{argument}:" in doc, argument
