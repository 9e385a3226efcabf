"""What is promised of a GPU. What "auto" takes there is the engine "cupy".

Kernels are judged by the GPU's own time (section "kernels"), what a call costs the host by the
host's (section "calls"), and what users wait for by both together ("tensors", "training-steps").
"""

from __future__ import annotations

from collections.abc import Iterator

from ..cases.batch_norm import CHANNELS_LAST, DENSE, IMAGES, LARGE
from ..cases.sizes import TENSOR_SIZE, TENSORS
from ..cases.steps import CASES
from .promise import Promise, ratio, seconds

_SIZE = "6.4e7"
_CALLS = [
    *((what, "(128, 256)") for what in ("forward", "backward", "dropout")),
    ("softmax", "(128, 10)"),
]
"""Calls whose time on the host is told; nothing is promised of it."""

_EXPRESSIONS = dict.fromkeys(("adam", "adamw", "amsgrad"), 5)
"""Times that CuPy's expressions take: SGD's can't take as many, their passes move too little."""


def gpu_promises() -> Iterator[Promise]:
    """Every one of them; the other engine's share of the limit is told beside them."""
    for name in CASES:
        what, at = f"{name} {_SIZE}", ("kernels", name, _SIZE)
        yield _promise(f"{what}: copy / fused", at, "limit", "cupy", 0.9)
        yield _promise(f"  {what}: copy / numba-cuda", at, "limit", "numba-cuda")
        yield _promise(f"{what}: PyTorch fused / fused", at, "torch fused", "cupy", 1)
        yield _promise(f"{what}: best of PyTorch / fused", at, "peer", "cupy")
        yield _promise(f"{what}: CuPy / fused", at, "array", "cupy", _EXPRESSIONS.get(name))
    what = f"{TENSORS} x {TENSOR_SIZE}"
    for path in ("flat", "separate"):
        at = ("tensors", "adam", what)
        yield _promise(f"{what}: PyTorch fused / {path}", at, "torch fused", path, 3)
    for case in (*IMAGES, *CHANNELS_LAST, *DENSE, *LARGE):
        for direction in ("forward", "backward"):
            what, at = f"{case.name} {direction}", ("kernels", direction, case.name)
            large = case in LARGE
            yield _promise(f"{what}: PyTorch / fused", at, "torch", "cupy", None if large else 1)
            yield _promise(f"{what}: CuPy / fused", at, "array", "cupy", 5)
            yield _promise(f"{what}: copy / fused", at, "limit", "cupy", 0.8 if large else None)
    step = ("training-steps", "step", "784-256-128-10, batch 128")
    yield _promise("training step: PyTorch / onepass", step, "torch fused", "onepass")
    for what, label in (("sgd", "1e3"), ("adam", "1e3"), *_CALLS):
        call = f"call of {what} {label}, us of the host"
        yield Promise(
            f"GPU {call}", (("calls", what, label),), seconds("cupy", 1e6), None, True, "cuda"
        )


def _promise(
    figure: str, at: tuple[str, str, str], above: str, below: str, need: float | None = None
) -> Promise:
    return Promise(f"GPU {figure}", (at,), ratio(above, below), need, device="cuda")
