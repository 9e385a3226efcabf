"""What layer, RMS and group norm refuse, by name and before any write, and their signatures."""

from __future__ import annotations

import inspect

import numpy as np
import onepass
import pytest
from cases.norm_arguments import GROUPED, SHAPE, good, on_device, ones, passed
from cases.norms import BFLOAT16, OPERATIONS
from onepass import kernels

SIGNATURES = {
    "layer_norm_forward": "x gamma=None beta=None * normalized_shape=None eps=1e-05 residual=None "
    "activation=None out=None engine=auto",
    "rms_norm_forward": "x gamma=None * normalized_shape=None eps=None residual=None "
    "activation=None out=None engine=auto",
    "group_norm_forward": "x gamma=None beta=None * groups eps=1e-05 residual=None "
    "activation=None out=None engine=auto",
    **{f"{operation}_backward": "dy saved * out=None engine=auto" for operation in OPERATIONS},
}
LAST = ("layer_norm", "rms_norm")


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    """More keywords may follow."""
    parameters = inspect.signature(getattr(kernels, name)).parameters.values()
    words = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    wanted, keywords = (part.split() for part in SIGNATURES[name].split(" * "))
    assert words[:positional] == wanted
    assert not set(keywords) - set(words[positional:])
    assert words[-1] == "engine=auto"


@pytest.mark.parametrize("name", SIGNATURES)
def test_docstrings_follow_the_template(name):
    function = getattr(kernels, name)
    doc = inspect.getdoc(function)
    headings = ["Args:", "Returns:", "Raises:", "Source:"]
    for heading in headings if name.endswith("forward") else headings[:3]:
        assert heading in doc, heading
    for argument in inspect.signature(function).parameters:
        assert argument in doc, argument
    if name.endswith("forward"):
        for kind in ("relu", "silu", "gelu"):
            assert f'"{kind}"' in doc, kind


# --- what forward refuses -------------------------------------------------------------------------
BAD = {  # name: (what is changed, the error, words of its message)
    "x list": ({"x": [[1.0]]}, TypeError, ["x is a list"]),
    "x none": ({"x": None}, TypeError, ["x is None"]),
    "x int": ({"x": ones(SHAPE, "int32")}, TypeError, ["x has dtype int32", "float32"]),
    "x bool": ({"x": ones(SHAPE, "bool")}, TypeError, ["x has dtype bool"]),
    "x complex": ({"x": ones(SHAPE, "complex64")}, TypeError, ["x has dtype complex64"]),
    "x masked": ({"x": np.ma.array(ones(SHAPE))}, TypeError, ["x is", "MaskedArray"]),
    "x without axes": ({"x": ones(())}, ValueError, ["x has no axes"]),
    "eps NaN": ({"eps": np.nan}, ValueError, ["eps is nan"]),
    "eps inf": ({"eps": np.inf}, ValueError, ["eps is inf"]),
    "eps < 0": ({"eps": -1e-5}, ValueError, ["eps is -1e-05"]),
    "eps text": ({"eps": "small"}, TypeError, ["eps is 'small'"]),
    "activation tanh": ({"activation": "tanh"}, ValueError,
                        ["activation is 'tanh'", "relu", "silu", "gelu"]),
    "activation in capitals": ({"activation": "ReLU"}, ValueError, ["activation is 'ReLU'"]),
    "activation no string": ({"activation": 1}, (TypeError, ValueError), ["activation is 1"]),
    "activation not hashable": ({"activation": ["relu"]}, (TypeError, ValueError),
                                ["activation is ['relu']"]),
    "engine unknown": ({"engine": "opencl"}, ValueError, ["engine is 'opencl'", "'numba'"]),
    "engine no string": ({"engine": 3}, TypeError, ["engine is 3"]),
    "residual list": ({"residual": [1.0]}, TypeError, ["residual is a list"]),
    "residual int": ({"residual": ones(SHAPE, "int32")}, TypeError, ["residual", "int32"]),
    "residual float64": ({"residual": ones(SHAPE, "float64")}, TypeError,
                         ["residual", "float64", "float32"]),
    "residual float16": ({"residual": ones(SHAPE, "float16")}, TypeError, ["residual", "float16"]),
    "residual of other rows": ({"residual": ones((5, 6))}, ValueError, ["residual", "(5, 6)"]),
    "residual broadcastable": ({"residual": ones((1, 6))}, ValueError, ["residual", "(1, 6)"]),
    "residual one number": ({"residual": ones(())}, ValueError, ["residual", "()"]),
    "out list": ({"out": [1.0]}, TypeError, ["out is a list"]),
    "out int": ({"out": ones(SHAPE, "int32")}, TypeError, ["out", "int32"]),
    "out float64": ({"out": ones(SHAPE, "float64")}, TypeError, ["out", "float64"]),
    "out of other rows": ({"out": ones((5, 6))}, ValueError, ["out", "(5, 6)"]),
    "out too large to be broadcast": ({"out": ones((1, 4, 6))}, ValueError, ["out", "(1, 4, 6)"]),
}  # fmt: skip
VECTORS = {
    "list": ([1.0] * 6, TypeError, "is a list"),
    "complex": (ones(6, "complex64"), TypeError, "complex64"),
    "bool": (ones(6, "bool"), TypeError, "bool"),
    "float64": (ones(6, "float64"), TypeError, "float64"),
    "float16": (ones(6, "float16"), TypeError, "float16"),
    "too long": (ones(7), ValueError, "(7,)"),
    "too short": (ones(3), ValueError, "(3,)"),
    "one": (ones(1), ValueError, "(1,)"),
    "empty": (ones(0), ValueError, "(0,)"),
    "a row": (ones((1, 6)), ValueError, "(1, 6)"),
    "a column": (ones((6, 1)), ValueError, "(6, 1)"),
    "no axes": (ones(()), ValueError, "()"),
}
BAD |= {
    f"{name} {kind}": ({name: value}, error, [name, words])
    for name in ("gamma", "beta")
    for kind, (value, error, words) in VECTORS.items()
}
NORMALIZED = {  # of x (4, 6)
    "other length": (5, ValueError, ["5", "(4, 6)"]),
    "other lengths": ((3, 6), ValueError, ["(3, 6)", "(4, 6)"]),
    "leading axis": ((4,), ValueError, ["(4,)", "(4, 6)"]),
    "longer than x": ((1, 4, 6), ValueError, ["(1, 4, 6)", "(4, 6)"]),
    "no axes": ((), ValueError, ["()"]),
    "zero": (0, ValueError, ["0"]),
    "negative": (-1, ValueError, ["-1"]),
    "float": (6.0, TypeError, ["6.0"]),
    "float in a tuple": ((6.0,), TypeError, ["6.0"]),
    "flag": (True, TypeError, ["True"]),
    "text": ("6", TypeError, ["'6'"]),
}


def refused(engine, operation, changed, error, words):
    arguments = {name: on_device(engine, v) for name, v in (good(operation) | changed).items()}
    call = getattr(kernels, f"{operation}_forward")
    with engine.refuses(error, arguments, *words):
        call(**({"engine": engine.name} | arguments))


@pytest.mark.parametrize("operation", LAST)
@pytest.mark.parametrize("bad", BAD)
def test_refused_before_any_write(engine, bad, operation):
    if "beta" in BAD[bad][0] and operation == "rms_norm":
        pytest.skip("RMS norm has no beta")
    refused(engine, operation, *BAD[bad])


@pytest.mark.parametrize("form", NORMALIZED)
@pytest.mark.parametrize("operation", LAST)
def test_a_normalized_shape_that_does_not_fit(engine, operation, form):
    value, error, words = NORMALIZED[form]
    changed = {"normalized_shape": value, "gamma": None}
    refused(engine, operation, changed, error, ["normalized_shape", *words])


@pytest.mark.parametrize("operation", LAST)
def test_gamma_has_the_normalized_shape(engine, operation):
    x = {"x": ones((2, 3, 4)), "residual": None, "out": None, "normalized_shape": (3, 4)}
    for shape in ((4,), (12,), (4, 3), (1, 3, 4)):
        words = ["gamma", str(shape), "(3, 4)"]
        refused(engine, operation, x | {"gamma": ones(shape)}, ValueError, words)


GROUPS = {
    "no divisor": (3, ValueError, ["groups is 3", "4"]),
    "more than channels": (8, ValueError, ["groups is 8", "4"]),
    "zero": (0, ValueError, ["groups is 0"]),
    "negative": (-2, ValueError, ["groups is -2"]),
    "float": (2.0, TypeError, ["groups is 2.0"]),
    "flag": (True, TypeError, ["groups is True"]),
    "none": (None, TypeError, ["groups is None"]),
    "text": ("2", TypeError, ["groups is '2'"]),
}


@pytest.mark.parametrize("form", GROUPS)
def test_groups_that_do_not_divide_the_channels(engine, form):
    value, error, words = GROUPS[form]
    refused(engine, "group_norm", {"groups": value}, error, words)


def test_groups_must_be_given():
    with pytest.raises(TypeError, match="groups"):
        kernels.group_norm_forward(ones(GROUPED))


GROUP_NORM = {
    "x of one axis": ({"x": ones(4)}, ValueError, ["x has shape (4,)", "2"]),
    "x without axes": ({"x": ones(())}, ValueError, ["x has"]),
    "x of integers": ({"x": ones(GROUPED, int)}, TypeError, ["x has dtype int64"]),
    "gamma too long": ({"gamma": ones(5)}, ValueError, ["gamma", "(5,)", "(4,)"]),
    "gamma of groups": ({"gamma": ones(2)}, ValueError, ["gamma", "(2,)", "(4,)"]),
    "gamma to be broadcast": ({"gamma": ones((4, 1))}, ValueError, ["gamma", "(4, 1)"]),
    "gamma float64": ({"gamma": ones(4, "float64")}, TypeError, ["gamma", "float64"]),
    "beta too short": ({"beta": ones(3)}, ValueError, ["beta", "(3,)", "(4,)"]),
    "beta float64": ({"beta": ones(4, "float64")}, TypeError, ["beta", "float64"]),
    "residual of another shape": ({"residual": ones((3, 4, 1))}, ValueError,
                                  ["residual", "(3, 4, 1)"]),
    "residual float64": ({"residual": ones(GROUPED, "float64")}, TypeError,
                         ["residual", "float64"]),
    "out of another shape": ({"out": ones((3, 5, 4))}, ValueError, ["out", "(3, 5, 4)"]),
    "activation": ({"activation": "elu"}, ValueError, ["activation is 'elu'"]),
    "eps": ({"eps": -1.0}, ValueError, ["eps is -1"]),
    "eps None": ({"eps": None}, TypeError, ["eps is None"]),
}  # fmt: skip


@pytest.mark.parametrize("bad", GROUP_NORM)
def test_group_norm_refuses(engine, bad):
    refused(engine, "group_norm", *GROUP_NORM[bad])


def test_layer_norm_takes_no_eps_of_none(engine):
    refused(engine, "layer_norm", {"eps": None}, TypeError, ["eps is None"])


@pytest.mark.parametrize(("shape", "groups"), [((3, 4), 4), ((1, 4, 1), 4), ((5, 2, 1, 1), 2)])
def test_a_group_needs_two_values(engine, shape, groups):
    changed = {"x": ones(shape), "residual": None, "gamma": None, "beta": None, "groups": groups}
    changed["out"] = np.full(shape, 7, "float32")
    refused(engine, "group_norm", changed, ValueError, ["x", str(shape), "group"])


@pytest.mark.parametrize("dtype", [BFLOAT16])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_bfloat16_beside_other_dtypes(engine, operation, dtype):
    """Only gamma and beta may be float32, and only beside it may they be bfloat16."""
    narrow = {name: value.astype(dtype) for name, value in good(operation).items()
              if isinstance(value, np.ndarray)}  # fmt: skip
    width = len(narrow["gamma"])
    for name, other in [("residual", "float16"), ("residual", "float32"), ("out", "float32")]:
        changed = narrow | {name: narrow["x"].astype(other)}
        refused(engine, operation, changed, TypeError, [name, other, "bfloat16"])
    for other in ("float16", "float64"):
        changed = narrow | {"gamma": ones(width, other)}
        words = ["gamma", other, "expected bfloat16 or float32", "gamma.astype('bfloat16')"]
        refused(engine, operation, changed, TypeError, words)
    for other in ("float16", "float32"):
        wide = {name: value.astype(other) for name, value in narrow.items()}
        words = [other, "bfloat16"]
        changed = wide | {"gamma": narrow["gamma"]}
        refused(engine, operation, changed, TypeError, ["gamma", *words])
        changed = wide | {"residual": narrow["residual"]}
        refused(engine, operation, changed, TypeError, ["residual", *words])
    if engine.device == "cpu":  # CuPy has no other dtype of ml_dtypes
        changed = narrow | {"x": narrow["x"].astype("float8_e5m2")}
        refused(engine, operation, changed, TypeError, ["x has dtype float8_e5m2", "bfloat16"])


# --- memory ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("operation", OPERATIONS)
def test_read_only_out(engine, operation):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    arguments = good(operation)
    arguments["out"].flags.writeable = False
    with engine.refuses(ValueError, arguments, "out is read-only"):
        engine.kernel(f"{operation}_forward")(**arguments)
    arguments["out"] = arguments["x"]
    arguments["x"].flags.writeable = False
    with engine.refuses(ValueError, arguments, "out is read-only"):
        engine.kernel(f"{operation}_forward")(**arguments)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("other", ["x", "gamma", "beta", "residual"])
def test_out_that_overlaps(engine, operation, other):
    arguments = {name: on_device(engine, value) for name, value in good(operation).items()}
    if other not in arguments:
        pytest.skip("RMS norm has no beta")
    room = engine.asarray(ones(200))
    size, shape = arguments["x"].size, arguments["x"].shape
    arguments["out"] = room[:size].reshape(shape)
    like = arguments[other]
    arguments[other] = room[1 : 1 + like.size].reshape(like.shape)
    with engine.refuses(ValueError, arguments | {"room": room}, "out", other, "overlap"):
        engine.kernel(f"{operation}_forward")(**arguments)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_out_that_overlaps_itself(operation):
    shape = GROUPED if operation == "group_norm" else SHAPE
    room = ones(20)
    arguments = good(operation)
    arguments["out"] = np.lib.stride_tricks.as_strided(room, shape, (0,) * len(shape))
    for name in ("array", "numba", "auto"):
        with pytest.raises(ValueError, match="out overlaps itself"):
            getattr(kernels, f"{operation}_forward")(**arguments, engine=name)
    assert (room == 1).all()


# --- engines --------------------------------------------------------------------------------------
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_engine_that_can_t_run_is_refused(engine, operation):
    _, dy, out, saved = passed(engine, operation)
    elsewhere = "cupy" if engine.device == "cpu" else "numba"
    for name, error in [(elsewhere, onepass.EngineUnavailableError), ("fast", ValueError)]:
        arguments = {n: on_device(engine, v) for n, v in good(operation).items()}
        with engine.refuses(error, arguments, repr(name)):
            getattr(kernels, f"{operation}_forward")(**arguments, engine=name)
        with engine.refuses(error, {"dy": dy, "out": out}, repr(name)):
            getattr(kernels, f"{operation}_backward")(dy, saved, out=out, engine=name)


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
@pytest.mark.parametrize("name", ["x", "gamma", "beta", "residual", "out"])
def test_mixed_backends(reference, name):
    arguments = {n: on_device(reference, v) for n, v in good("layer_norm").items()}
    arguments[name] = good("layer_norm")[name]
    with reference.refuses(onepass.MixedBackendsError, arguments, name, "cpu", "cuda"):
        kernels.layer_norm_forward(**arguments)
    *_, saved = passed(reference, "layer_norm")
    with pytest.raises(onepass.MixedBackendsError, match="dy"):
        kernels.layer_norm_backward(ones(SHAPE), saved)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", ["x", "gamma", "residual", "out"])
def test_a_dtype_that_numpy_lacks_is_named(operation, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    arguments = good(operation)
    arguments[name] = torch.ones(arguments[name].shape, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=f"{name} is a Tensor of torch.bfloat16"):
        getattr(kernels, f"{operation}_forward")(**arguments)


def test_a_processor_without_float16_conversions_says_so(monkeypatch):
    from onepass.kernels.simd import half

    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    x = np.arange(8, dtype="float16").reshape(4, 2)
    for operation in OPERATIONS:
        call = getattr(kernels, f"{operation}_forward")
        cut = {"groups": 1} if operation == "group_norm" else {}
        np.testing.assert_array_equal(call(x, **cut)[0], call(x, engine="array", **cut)[0])
        with pytest.raises(onepass.EngineUnavailableError, match="no float16 conversions"):
            call(x, engine="numba", **cut)
        call(x.astype("float32"), engine="numba", **cut)


def test_warmup_takes_norms():
    assert kernels.warmup("float32", engine="numba", rules=(), norms=OPERATIONS) is None
    with pytest.raises(ValueError, match="norms holds 'instance'; expected 'layer_norm'"):
        kernels.warmup(rules=(), norms=["instance"])
