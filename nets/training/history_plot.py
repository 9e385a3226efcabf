"""The picture of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

Curve = tuple[str, list[float], list[float]]
"""A name, its figures in training, and its figures over held-out data, where there are any."""


def plot(curves: tuple[Curve, Curve], axes: Sequence[Any] | None) -> Any:
    """What `History.plot` does: two axes, told apart by line style and marker, not by color."""
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "onepass[plot]"') from error
    if not curves[0][1]:
        raise ValueError("history has no finished epoch; expected at least one to draw")
    if axes is None:
        axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")[1]
    if len(axes) != 2:
        names = " and ".join(name for name, *_ in curves)
        raise ValueError(f"axes are {len(axes)}; expected two, for {names}")
    for own, (name, training, held_out) in zip(axes, curves, strict=True):
        _draw(own, training, held_out, name)
        if name == "accuracy":
            own.yaxis.set_major_formatter(import_module("matplotlib.ticker").PercentFormatter(1))
    return axes


def _draw(axes: Any, training: list[float], held_out: list[float], name: str) -> None:
    epochs = range(1, len(training) + 1)
    every = max(1, len(epochs) // 10)  # markers that don't run together
    axes.plot(epochs, training, "-o", color="black", markevery=every, label="training")
    if held_out:
        style = {"color": "0.45", "markerfacecolor": "white", "markevery": every}
        axes.plot(epochs, held_out, "--s", label="validation", **style)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    axes.legend()
