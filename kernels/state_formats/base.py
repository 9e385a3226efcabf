"""What an engine of steps with states in other formats owes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ..operation import OperationEngine
from ..rule import Rule
from .contract import Call


class Step(NamedTuple):
    """A call, with what a step makes of it.

    Attributes:
        coefficients: of the rule.
        key: of the noise.
    """

    call: Call
    coefficients: tuple[float, ...]
    key: int


class EncodedEngine(OperationEngine):
    """Runs checked calls of one device."""

    looks: ClassVar[bool] = False
    """Whether `run` looks at all arrays itself before it writes to any."""

    def quick(
        self, rule: Rule, arrays: tuple[Any, ...], coefficients: tuple[float, ...], key: int
    ) -> bool:
        """Step one call of unchecked arrays, not all of them plain, if that is safe; False if
        nothing was done, and the checks are to explain.

        Args:
            arrays: param, grad and states.
            key: of the noise.
        """
        return False

    @abstractmethod
    def run(self, steps: Sequence[Step], kept: dict[str, Any]) -> bool:
        """Take all of these steps, none of which is empty; on a GPU what can't be compiled or finds
        no memory is told before the first writes. False where nothing was done, since arrays are
        not what they were, or not of the plainest kind.

        `kept` is what the last call of the same arrays has left, and the engine's to write.
        """
