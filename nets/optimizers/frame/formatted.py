"""Which formats an optimizer's states have, and what it does with those in 16 and 8 bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from ....kernels.encoded_states import Call
from ...state_checks import check_values
from ...types import Array
from ..storage.storage import Key
from .encoding import DEFAULTS as FORMATS
from .encoding import REMAINDER, Encoding, check_encoded, decoded
from .groups import Group
from .tuned import Tuned


class Formatted(Tuned):
    """What knows the formats; `Optimizer` takes the steps."""

    __slots__ = ("_encoding",)

    _encoding: Encoding | None

    def columns(self) -> tuple[tuple[Array, ...], ...]:
        """All parameters, all gradients, and each state, as they are now."""
        raise NotImplementedError

    def _follow(self) -> None:
        """Bring the states to where the parameters are now."""
        raise NotImplementedError

    @property
    def remainders(self) -> dict[Key, Array]:
        """The lower half of each bfloat16 parameter, by name or index, to read and to write: what
        `kernels.split_param` parts float32 numbers into is `params` and these."""
        self._follow()
        halves = self._storage.views(self._state[REMAINDER]) if REMAINDER in self._state else {}
        return {key: half for key, half in halves.items() if half is not None}

    def encoded_calls(self) -> tuple[Sequence[Call], np.ndarray]:
        """The calls of a step with the network's own gradients, where states are encoded, and the
        group of each; none where all are of the first."""
        assert self._encoding is not None
        calls, rule = self._storage.calls(self.columns(), frozenset()), self.prepared()[0]
        return self._encoding.calls(calls, rule, (*self._state,)), calls.kept.groups

    def noise_keys(self, ahead: int, arrays: int) -> list[int]:
        """The keys of their noise in the step after that many more."""
        assert self._encoding is not None
        return self._encoding.keys(self.steps + 1 + ahead, arrays)

    def _zeros(self, state: str) -> tuple[Any, ...]:
        if self._encoding is None:
            return self._storage.zeros()
        with self._storage.backend.scope():
            return self._encoding.zeros(self._storage.arrays(), state)

    def _checked_state(self, name: str, arrays: Any) -> Mapping[Key, Any]:
        """A checkpoint's arrays of a state, in the formats that this optimizer has."""
        what, params = f"state['state'][{name!r}]", self._storage.arrays()
        if self._encoding is None:
            return check_values(decoded(arrays, what), params, what)
        check_encoded(arrays, params, name, what)
        return {key: self._encoding.taken(key, name, value) for key, value in arrays.items()}

    def _states(
        self,
        hyper: Mapping[str, Any],
        groups: Sequence[Group] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[str, ...]:
        halves = self._encoding is not None and self._encoding.halves
        return (*super()._states(hyper, groups, options), *([REMAINDER] if halves else []))

    @property
    def formats(self) -> dict[str, Any]:
        """What it was told about the formats of its states, where that changes any; else empty."""
        return {} if self._encoding is None else deepcopy(self._encoding.config)

    def __repr__(self) -> str:
        changed = {k: v for k, v in self.formats.items() if v != FORMATS[k]}
        told = "".join(f", {name}={value!r}" for name, value in changed.items())
        return f"{super().__repr__()[:-1]}{told})"
