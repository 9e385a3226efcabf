"""What the page counts: each kernel's loop in machine code, and the launches of each call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from onepass import kernels
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.compiling.python_text import array_names
from onepass.kernels.rules import RULES

from proving.absence.made_up_gpu import Machine
from proving.account import Kernel, shipped
from proving.compiled import forms, gate, nvrtc
from proving.compiled.sass import Loop
from proving.layouts import LAYOUTS

DTYPE, ITEMSIZE = "float32", 4
_LEFT_OUT = ("strided", "wide")  # forms of arrays with gaps, and of 2^30 elements and more
_OF_FEW = ("squares_total",)
"""Kernels that have one block: no loop over elements."""

_BOUNDS = re.compile(r"__launch_bounds__\((\d+)")


class Values(NamedTuple):
    """Of arrays as large as x, what a kernel must read and write an element."""

    read: int
    written: int


class Counted(NamedTuple):
    """One form of a kernel.

    Attributes:
        values: None where nothing is known of the kernel: all that its loop moves then counts.
        threads: of a block.
    """

    kernel: str
    form: str
    values: Values | None
    registers: int
    threads: int
    loop: Loop

    @property
    def elements(self) -> float:
        """Of a turn of the loop. What is written tells, or else what is read: coefficients of a
        channel are read, too, but come from a cache."""
        if self.values is None:
            return self.loop.bytes / ITEMSIZE
        stored = self.loop.bytes - self.loop.loaded
        if self.values.written:
            return stored / ITEMSIZE / self.values.written
        return self.loop.loaded / ITEMSIZE / self.values.read

    @property
    def bytes(self) -> int:
        """Read and written for an element; those of a value where the kernel is not known."""
        return ITEMSIZE * (1 if self.values is None else sum(self.values))

    @property
    def instructions(self) -> float:
        """For an element."""
        return self.loop.instructions / self.elements


def values_of(name: str) -> Values | None:
    """What is known of a kernel: of rules and activations by their arguments."""
    rule = name.removesuffix("_chunks").removesuffix("_by_table")
    if rule in RULES:
        arrays = len(array_names(RULES[rule]))
        return Values(arrays, arrays - 1)  # the gradient is not written
    if name in forms.ACTIVATIONS:
        kind = forms.ACTIVATIONS[name]
        both = kind.endswith("gradient") and kind != "linear_gradient"  # dy, and y
        return Values(1 + both, 1)
    return _OPERATIONS.get(name)


_OPERATIONS = {
    "moments": Values(1, 0),
    "products": Values(2, 0),
    "normalize": Values(1, 1),
    "differentiate": Values(2, 1),
    "infer": Values(1, 1),
    "whole_forward": Values(1, 1),
    "whole_backward": Values(2, 1),
    "normalize_residual": Values(2, 1),
    "products_residual": Values(3, 1),
    "infer_residual": Values(2, 1),
    "whole_forward_residual": Values(2, 1),
    "whole_backward_residual": Values(3, 2),
    "squares_array": Values(1, 0),
    "squares_chunks": Values(1, 0),
    "column_sums": Values(1, 0),
    "graph_take": Values(1, 1),
    "dropout": Values(1, 1),
    "softmax_lanes": Values(1, 1),
    "softmax_block": Values(1, 1),
}


def names() -> list[str]:
    """Every kernel of the engine that has a loop over elements of one size."""
    found = [each.name for each in shipped() if each[::2] == ("cupy", DTYPE)]
    return [name for name in found if name not in _OF_FEW and name not in LAYOUTS]


def counted(name: str) -> Iterator[Counted]:
    """Each form of a kernel but those that few take."""
    registers = gate.reports(Kernel("cupy", name, DTYPE), nvrtc.LOOKED_AT)
    for form, text in forms.texts(name, DTYPE).items():
        if any(word in form for word in _LEFT_OUT):
            continue
        bounds = _BOUNDS.search(text[0])
        threads = int(bounds[1]) if bounds else cuda_launch.THREADS
        loop = gate.code(text).busiest_loop()
        yield Counted(name, form, values_of(name), registers[form].registers, threads, loop)


# --- launches of calls ----------------------------------------------------------------------------
def calls() -> dict[str, Callable[[Machine], Callable[[], Any]]]:
    """What makes a call of each kind, on arrays of a made-up GPU."""

    def rows(m: Machine) -> Any:
        return m.draw((6, 5), DTYPE)

    def vectors(m: Machine) -> Any:
        return m.draw((4, 5), DTYPE)

    def step(m: Machine) -> Callable[[], Any]:
        arrays = [m.draw((9,), DTYPE) for _ in range(4)]
        return lambda: kernels.adam_step(*arrays, step=1, engine="cupy")

    def forward(m: Machine) -> Callable[[], Any]:
        x, given = rows(m), vectors(m)
        return lambda: kernels.batch_norm_forward(x, *given, engine="cupy")

    def backward(m: Machine) -> Callable[[], Any]:
        dy, saved = rows(m), forward(m)()[1]
        return lambda: kernels.batch_norm_backward(dy, saved, engine="cupy")

    def inference(m: Machine) -> Callable[[], Any]:
        x, given = rows(m), vectors(m)
        return lambda: kernels.batch_norm_inference(x, *given, engine="cupy")

    def activation(m: Machine) -> Callable[[], Any]:
        x, bias = rows(m), vectors(m)[0]
        return lambda: kernels.activation_forward(x, "relu", bias=bias, engine="cupy")

    def gradient(m: Machine) -> Callable[[], Any]:
        dy, y = rows(m), rows(m)
        return lambda: kernels.activation_backward(dy, y, "relu", engine="cupy")

    def gradients(m: Machine) -> Callable[[], Any]:
        dy, y, sums = rows(m), rows(m), vectors(m)[0]
        return lambda: kernels.activation_backward(dy, y, "relu", bias_grad=sums, engine="cupy")

    def dropout(m: Machine) -> Callable[[], Any]:
        x = rows(m)
        return lambda: kernels.dropout(x, 0.5, seed=1, draw=2, engine="cupy")

    def softmax(m: Machine) -> Callable[[], Any]:
        z, labels = rows(m), m.array(np.arange(6) % 5)
        return lambda: kernels.softmax_cross_entropy(z, labels, engine="cupy")

    return {
        "a step of a rule": step,
        "batch norm forward": forward,
        "batch norm backward": backward,
        "batch norm at inference": inference,
        "an activation with its bias": activation,
        "an activation's gradient": gradient,
        "an activation's gradient with its bias'": gradients,
        "dropout": dropout,
        "softmax cross-entropy with its gradient": softmax,
    }


def launched(make: Callable[[Machine], Callable[[], Any]]) -> list[str]:
    """The kernels of ours that a call launches where all is compiled, in order."""
    seen: list[str] = []

    def note(engine: str, name: str, like: Any, args: Any) -> None:
        seen.append(name)

    with Machine().installed() as machine:
        call = make(machine)
        call()
        cuda_launch.observers.append(note)
        try:
            call()
        finally:
            if note in cuda_launch.observers:
                cuda_launch.observers.remove(note)
    return seen
