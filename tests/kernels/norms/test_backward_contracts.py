"""What the backward passes of norms refuse, by name and before any write."""

from __future__ import annotations

import pytest
from cases.norm_arguments import good, on_device, ones, passed
from cases.norms import OPERATIONS
from onepass import kernels

DY = {
    "list": ([1.0], TypeError, "is a list"),
    "none": (None, TypeError, "is None"),
    "float64": (lambda shape: ones(shape, "float64"), TypeError, "float64"),
    "float16": (lambda shape: ones(shape, "float16"), TypeError, "float16"),
    "int": (lambda shape: ones(shape, "int32"), TypeError, "int32"),
    "other rows": (lambda shape: ones((shape[0] + 1, *shape[1:])), ValueError, "shape"),
    "broadcastable": (lambda shape: ones((1, *shape[1:])), ValueError, "shape"),
    "turned": (lambda shape: ones(shape[::-1]), ValueError, "shape"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("bad", DY)
def test_backward_refuses_dy_and_out(engine, bad, operation):
    value, error, words = DY[bad]
    x, dy, out, saved = passed(engine, operation)
    backward = engine.kernel(f"{operation}_backward")
    wrong = on_device(engine, value(x.shape)) if callable(value) else value
    with engine.refuses(error, {"x": x, "out": out}, "dy", words):
        backward(wrong, saved, out=out)
    if wrong is not None:
        with engine.refuses(error, {"x": x, "dy": dy}, "out", words):
            backward(dy, saved, out=wrong)
    assert backward(dy, saved)[0].shape == x.shape, "a refused call has used saved up"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_backward_refuses_what_no_forward_saved(engine, operation):
    x, dy, out, _ = passed(engine, operation)
    backward = engine.kernel(f"{operation}_backward")
    others = [passed(engine, other)[3] for other in OPERATIONS if other != operation]
    rows = engine.asarray(ones((4, 6)))
    others.append(kernels.batch_norm_forward(rows, None, None, engine="array")[1])
    for wrong in (x, None, (x, dy), "saved", object(), *others):
        with engine.refuses((TypeError, ValueError), {"x": x, "dy": dy, "out": out}, "saved"):
            backward(dy, wrong, out=out)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_backward_refuses_a_read_only_out(engine, operation):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    x, dy, out, saved = passed(engine, operation)
    out.flags.writeable = False
    with engine.refuses(ValueError, {"x": x, "dy": dy, "out": out}, "out is read-only"):
        engine.kernel(f"{operation}_backward")(dy, saved, out=out)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_backward_refuses_an_out_that_overlaps(engine, operation):
    x, _, _, saved = passed(engine, operation)
    room = engine.asarray(ones(200))
    shifted, out = (room[k : k + x.size].reshape(x.shape) for k in (0, 1))
    with engine.refuses(ValueError, {"room": room}, "out", "dy", "overlap"):
        engine.kernel(f"{operation}_backward")(shifted, saved, out=out)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("other", ["x", "gamma", "beta"])
def test_backward_does_not_write_over_what_saved_holds(engine, operation, other):
    arguments = {name: on_device(engine, value) for name, value in good(operation).items()}
    if other not in arguments:
        pytest.skip("RMS norm has no beta")
    arguments |= {"residual": None, "activation": None, "out": None}
    room, like = engine.asarray(ones(200)), arguments[other]
    arguments[other] = room[1 : 1 + like.size].reshape(like.shape)
    _, saved = engine.kernel(f"{operation}_forward")(**arguments)
    x = arguments["x"]
    out, dy = room[: x.size].reshape(x.shape), engine.asarray(ones(x.shape))
    with engine.refuses(ValueError, {"room": room, "dy": dy}, "out", other, "overlap"):
        engine.kernel(f"{operation}_backward")(dy, saved, out=out)
