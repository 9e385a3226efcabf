"""One promise: a figure, where it comes from in a report, and its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..measuring.measurement import Measurement
from ..report.ratios import PEERS

Paths = dict[str, Measurement]


@dataclass(frozen=True)
class Promise:
    """A figure, how to get it from the paths of its workloads, and what it must be.

    Attributes:
        figure: its name.
        workloads: (section, operation, label) of each workload that it takes, in float32.
        value: from their paths to (value, the measurements behind it); KeyError if one is absent.
        need: the bound; None for a figure that only explains another one.
        at_most: whether the bound is an upper one.
        device: the kind of device on which they were measured, "cpu" or "cuda".
    """

    figure: str
    workloads: tuple[tuple[str, str, str], ...]
    value: Callable[..., tuple[float, list[Measurement]]]
    need: float | None
    at_most: bool = False
    device: str = "cpu"


def ratio(above: str, below: str) -> Callable[[Paths], tuple[float, list[Measurement]]]:
    """Time of one path over that of another; "peer" is the best of the other libraries."""

    def value(paths: Paths) -> tuple[float, list[Measurement]]:
        found = [_path(paths, above), _path(paths, below)]
        return found[0].timing.median / found[1].timing.median, found

    return value


def between(path: str) -> Callable[[Paths, Paths], tuple[float, list[Measurement]]]:
    """Time of a path in one workload over its time in another."""

    def value(first: Paths, second: Paths) -> tuple[float, list[Measurement]]:
        found = [first[path], second[path]]
        return found[0].timing.median / found[1].timing.median, found

    return value


def seconds(path: str, scale: float) -> Callable[[Paths], tuple[float, list[Measurement]]]:
    """The time of a path itself, times `scale`."""
    return lambda paths: (paths[path].timing.median * scale, [paths[path]])


def _path(paths: Paths, name: str) -> Measurement:
    if name != "peer":
        return paths[name]
    peers = [found for path, found in paths.items() if path.startswith(PEERS)]
    if not peers:
        raise KeyError(name)
    return min(peers, key=lambda found: found.timing.median)


def row(promise: Promise, value: float, medians: dict[str, float]) -> dict[str, Any]:
    """What a report holds of a promise: `value`, and the `medians` behind it."""
    need, at_most = promise.need, promise.at_most
    return {
        "figure": promise.figure,
        "value": value,
        "at_most" if at_most else "at_least": need,
        "reached": need is None or (value <= need if at_most else value >= need),
        "seconds": medians,
    }
