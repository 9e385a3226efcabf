"""Good arguments of norms, whose numbers do not matter, for tests of what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

SHAPE, GROUPED = (4, 6), (3, 4, 5)


def ones(shape: Any, dtype: str = "float32") -> Any:
    return np.ones(shape, dtype)


def good(operation: str) -> dict[str, Any]:
    """Of the forward pass, `out` among them."""
    shape = GROUPED if operation == "group_norm" else SHAPE
    width = 4 if operation == "group_norm" else 6
    arguments = {"x": ones(shape), "gamma": ones(width), "beta": ones(width)}
    arguments |= {"residual": ones(shape), "out": np.full(shape, 7, "float32")}
    if operation == "rms_norm":
        del arguments["beta"]
    options = {"groups": 2} if operation == "group_norm" else {}
    return arguments | {"activation": "gelu"} | options


def on_device(engine: Any, value: Any) -> Any:
    return engine.asarray(value) if type(value) is np.ndarray else value


def passed(engine: Any, operation: str) -> tuple[Any, ...]:
    """x, dy, out and saved."""
    arguments = {name: on_device(engine, value) for name, value in good(operation).items()}
    del arguments["out"]
    _, saved = engine.kernel(f"{operation}_forward")(**arguments)
    x = arguments["x"]
    dy, out = (engine.asarray(np.full(x.shape, n, "float32")) for n in (3, 7))
    return x, dy, out, saved
