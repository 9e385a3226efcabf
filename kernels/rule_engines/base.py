"""What an engine is: who compiles and launches a rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...backend import Array
from ..rule import Rule


@dataclass(frozen=True)
class EngineStatus:
    """One engine as `engines()` found it: available, or why not and what to do about it.

    Attributes:
        name: what the argument `engine=` calls it.
        available: whether it can run here.
        devices: the kinds of device it runs on, "cpu" and "cuda".
        dtypes: the dtypes it takes; float16 is computed in float32.
        reason: why it is not available; empty where it is.
        remedy: what would change that.
    """

    name: str
    available: bool
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    reason: str = ""
    remedy: str = ""


class Kept:
    """What engines know of the arrays of many calls from one step to the next, to be quick.

    Args:
        arrays: how many there are, of all calls together.
        groups: of each call, the group whose coefficients it is stepped with; None: all the first.

    Attributes:
        groups: int64, one for each call; empty where all are of the first.
        order: numbers from 0 to that of all arrays, the order in which they lay in memory.
        bundle: what an engine of a GPU knows of them, and has told the GPU.
        in_tables: the same for steps whose coefficients lie in a table.

    A copy, and what comes out of a pickle, knows nothing yet.
    """

    __slots__ = ("bundle", "groups", "in_tables", "order")

    def __init__(self, arrays: int, groups: Sequence[int] | None = None) -> None:
        self.groups = np.array([] if groups is None else groups, np.int64)
        self.order = np.arange(arrays)
        self.bundle: Any = None
        self.in_tables: Kept | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.order.size, self.groups.tolist() or None)


class Engine(ABC):
    """Compiles rules and runs them in place. One object each, made when it is first asked for."""

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]]
    dtypes: ClassVar[tuple[str, ...]] = ("float16", "float32", "float64")
    strided: ClassVar[bool] = True
    """Whether it takes arrays that are not contiguous."""

    @abstractmethod
    def missing(self) -> tuple[str, str]:
        """(reason, remedy) where the engine can't run on this machine, ("", "") where it can."""

    def quick(self, rule: Rule, arrays: tuple[Array, ...], coefficients: tuple[float, ...]) -> bool:
        """Run `rule` on unchecked arrays of its devices if that is safe; False if nothing was done.

        An engine that refuses what it was not made for, before any write, can take a small step at
        once; whatever is refused, the checks then explain.
        """
        return False

    def quick_each(
        self,
        rule: Rule,
        columns: tuple[tuple[Array, ...], ...],
        coefficients: tuple[float, ...],
        kept: Kept,
    ) -> bool:
        """`quick` for many calls together: all of them, or False and nothing was done.

        `columns` are all params, all grads, and all of each state: unchecked, one of each a call.
        `coefficients` are those of each group in turn. `kept` tells the group of each call; the
        rest of it is of the last time, and the engine's to write.
        """
        return False

    def fits_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> bool:
        """Whether `quick_each` would run them."""
        return False

    def squares_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> float | None:
        """The sum of squares of all grads, where `kept` makes that quick; they fit."""
        return None

    def tables_each(self, columns: tuple[tuple[Array, ...], ...], kept: Kept) -> Any:
        """The chunks of many calls, as `PendingSteps` takes them, on a GPU of this engine; None
        where it can't, or not on these arrays, and what is done is to be waited for."""
        return None

    @abstractmethod
    def run(
        self,
        rule: Rule,
        arrays: tuple[Array, ...],
        coefficients: tuple[float, ...],
        contiguous: bool,
    ) -> None:
        """Run `rule` on checked arrays: one device, dtype and shape, not empty, no overlap."""

    def run_each(
        self,
        rule: Rule,
        calls: Sequence[tuple[Array, ...]],
        coefficients: Sequence[tuple[float, ...]],
        contiguous: Sequence[bool],
    ) -> None:
        """Run `rule` on the arrays of several calls, each with its coefficients, checked as for
        `run`.

        An engine that runs on a GPU does all of them, or none where memory runs out or code can't
        be compiled.
        """
        for arrays, numbers, run_of_memory in zip(calls, coefficients, contiguous, strict=True):
            self.run(rule, arrays, numbers, run_of_memory)

    @abstractmethod
    def warmup(self, rule: Rule, dtype: str) -> None:
        """Compile what `run` would compile at its first call."""

    def status(self) -> EngineStatus:
        reason, remedy = self.missing()
        return EngineStatus(self.name, not reason, self.devices, self.dtypes, reason, remedy)
