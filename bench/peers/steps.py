"""Other libraries' steps, on the arrays that ours work on, and the check that they do the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend import Array, Backend
from ..cases.steps import CASES, Case
from ..measuring.candidate import Candidate
from .deepspeed_steps import deepspeed_step, why_no_deepspeed
from .jax_steps import jax_step, why_no_jax_step
from .torch_compile import compiled_adam_step, why_no_compiled_step
from .torch_steps import TORCH_PATHS, torch_step, why_no_torch

PEER_PATHS = (*TORCH_PATHS, "torch compile", "deepspeed", "jax")


def why_missing(path: str, rule: str, device: str = "cpu", dtype: str = "float32") -> str:
    """Why `path` can't run `rule` on such arrays; "" if it can.

    The first question after "deepspeed" compiles its kernel, which takes half a minute, and after
    "torch compile" a line.

    Raises:
        ValueError: `path` is none of PEER_PATHS.
    """
    if path not in PEER_PATHS:
        raise ValueError(f"path is {path!r}; expected one of {', '.join(map(repr, PEER_PATHS))}")
    if dtype not in ("float32", "float64"):
        return f"peers compute {dtype} arrays in {dtype}, ours in float32: not the same numbers"
    if path == "deepspeed":
        return why_no_deepspeed(rule, device, dtype)
    if path == "jax":
        return why_no_jax_step(rule, device, dtype)
    if path == "torch compile":
        return why_no_compiled_step(rule, device, dtype)
    return why_no_torch(path, rule, device)


def peer_step(
    path: str, rule: str, arrays: tuple[Array, ...], options: Mapping[str, Any] | None = None
) -> Candidate:
    """The step of `rule` by `path`, which `why_missing` says can run.

    It works on the memory of `arrays`, or has what writes its results there (`after`), and takes
    the step number in `options` first.

    Args:
        path: one of PEER_PATHS.
        rule: a name in CASES.
        arrays: from `Case.arrays` (param, grad and the states), of NumPy or CuPy.
        options: of our public function; those of `Case.call` by default.
    """
    found = {**CASES[rule].options, "lr": 1e-4} if options is None else options
    if path == "deepspeed":
        return deepspeed_step(rule, arrays, found)
    if path == "jax":
        return jax_step(rule, arrays, found)
    if path == "torch compile":
        return compiled_adam_step(arrays, found)
    return torch_step(path, rule, arrays, found)


def same_results(case: Case, size: int, dtype: str, backend: Backend, path: str) -> None:
    """Raise unless a step of `path` gives what our public function gives from the same start.

    The learning rate is large, so that an update weighs as much as a parameter.

    Raises:
        AssertionError: a parameter or a state differs, or the gradient was written.
        ValueError: `path` can't run this case; the reason is told.
    """
    if reason := why_missing(path, case.name, backend.device, dtype):
        raise ValueError(f"path {path!r} can't run {case.name}: {reason}")
    options = {**case.options, "lr": 0.1}
    ours, theirs = (case.arrays(size, dtype, backend) for _ in range(2))
    case.step(*ours, **options)
    candidate = peer_step(path, case.name, theirs, options)
    if candidate.before is not None:
        candidate.before()
    candidate.call()
    if candidate.after is not None:
        candidate.after()
    rtol = {"float64": 1e-12, "float32": 1e-5}[dtype]
    names = ("param", "grad", *(f"state {k}" for k in range(case.states)))
    for name, mine, other in zip(names, ours, theirs, strict=True):
        np.testing.assert_allclose(
            backend.to_numpy(other),
            backend.to_numpy(mine),
            rtol=rtol,
            atol=rtol / 10,
            err_msg=f"{name} of {case.name} by {path!r}",
        )
