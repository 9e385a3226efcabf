"""What a residual asks of forward and backward: what is saved, and where its gradient goes."""

from __future__ import annotations

from ...backend import Array, backend_of
from ..array_arguments import check_out, same_memory
from ..order import copy, place_of, run_like
from .contract import Gate, Saved

PLACE = "residual_grad"


def is_out(residual: Array, out: Array | None) -> bool:
    """Whether y takes the memory of the residual."""
    return out is not None and same_memory(residual, out)


def with_residual(saved: Saved, y: Array) -> Saved:
    """`saved`, of a forward that added one."""
    saved.residual = True
    if saved.activation is not None:
        saved.y = y
    return saved


def check_residual_grad(place: Array | None, dy: Array, saved: Saved, out: Array | None) -> None:
    """`place` can take dz, and nothing else is written there."""
    if not saved.residual:
        if place is not None:
            raise ValueError(
                f"{PLACE} is given but the forward had no residual, so that there is no gradient "
                f"of it; expected {PLACE}=None"
            )
        return
    if place is not None:
        check_out("dy", place, dy, PLACE)
    if saved.y is None and out is not None and same_memory(out, dy):
        raise ValueError(
            "out is dy, which is the residual's gradient, too, where no activation follows; "
            "expected another array. Leave out= away"
        )


def gate_of(saved: Saved, place: Array | None, apart: bool) -> Gate | None:
    """What a ReLU after a residual lets pass; dz in new memory without a place, or if `apart`."""
    if saved.y is None:
        return None
    fresh = place is None or apart
    return Gate(saved.y, backend_of(saved.y).empty_like(saved.x) if fresh else place)


def put_gradient(dz: Array, place: Array | None) -> Array:
    """dz in its place, if it has one."""
    if place is None or same_memory(place, dz):
        return dz if place is None else place
    copy(place, dz)
    return place


def run_like_gate(gate: Gate, place: Array) -> Gate:
    """The same in the order of the run of memory `place`."""
    return Gate(run_like(gate.y, place, fresh=False), place_of(gate.dz, place))
