"""A state_dict of an optimizer of PyTorch's, read for one here: checked, and in our names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

import numpy as np

from ..optimizers.frame.groups import Group
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.storage.storage import Key
from ..state_checks import check_keys
from ..types import HostArray
from .torch_optimizers import TorchKind, ours_for
from .torch_state import on_host


class TorchOptimizerReading:
    """What PyTorch's state_dict says of each group and parameter of an optimizer.

    Attributes:
        options: ours, of each group.
        states: the names of ours that these options take.

    Raises:
        TypeError, ValueError: it does not fit; what differs is named.
    """

    def __init__(
        self, kind: TorchKind, optimizer: Optimizer, state: Any, turned: frozenset[Key]
    ) -> None:
        self._kind, self._optimizer, self._turned = kind, optimizer, turned
        check_keys(state, ("state", "param_groups"), "state")
        given = _groups(optimizer, state["param_groups"])
        pairs = [*zip(optimizer.param_groups, given, strict=True)]
        self.options = [self._options(number, *pair) for number, pair in enumerate(pairs)]
        self.states = self._one_kind_of_states()
        self._ids: dict[Key, Any] = {
            key: number
            for group, theirs in pairs
            for key, number in zip(group.keys_of, theirs["params"], strict=True)
        }
        self._given = self._by_parameter(state["state"])

    def steps(self) -> int:
        """The one number of steps that all parameters took."""
        kind, optimizer = self._kind, self._optimizer
        counts: dict[int, list[Any]] = {}
        for key, own in self._given.items():
            if key not in optimizer.frozen:
                taken = self._count(key) if kind.counts else int(bool(own))
                counts.setdefault(taken, []).append(self._ids[key])
        matters = kind.counts or any(each.get("dampening") for each in self.options)
        if len(counts) > 1 and matters:
            told = ", ".join(f"{taken} of {numbers}" for taken, numbers in sorted(counts.items()))
            raise ValueError(
                f"state has different numbers of steps of its parameters: {told}; expected one "
                "number, which is all that is kept here. What PyTorch never stepped can be frozen"
            )
        if kind.counts:
            steps = next(iter(counts), optimizer.steps)
            self._check_what_follows(steps)
            return steps
        return max(optimizer.steps, 1) if max(counts, default=0) or not kind.states else 0

    def arrays(self) -> dict[str, dict[Key, HostArray]]:
        """Our states by name and parameter; zeros where PyTorch has none yet."""
        found: dict[str, dict[Key, HostArray]] = {name: {} for name in self.states}
        for group in self._optimizer.param_groups:
            for key, param in zip(group.keys_of, group["params"], strict=True):
                for name in self.states:
                    value = self._array(key, self._kind.states[name], param.shape)
                    found[name][key] = value.astype(param.dtype)
        return found

    def shared(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The options of all as the optimizer's own, and those of each group that it has by itself.

        A group keeps by itself what it has so now, and gets what differs from the first that has
        not.
        """
        pairs = [*zip(self._optimizer.param_groups, self.options, strict=True)]
        base = {
            name: next((given[name] for group, given in pairs if name not in group.changes), value)
            for name, value in self._optimizer.hyper.items()
        }
        own = [
            {
                name: given[name]
                for name, value in base.items()
                if name in group.changes or given[name] != value
            }
            for group, given in pairs
        ]
        return base, own

    def _options(self, number: int, group: Group, given: Mapping[str, Any]) -> dict[str, Any]:
        """All our options of a group, from PyTorch's."""
        kind = self._kind
        given = {name: plain(value) for name, value in given.items()}
        if found := [*kind.differences(given)]:
            remedy = f"expected a group of torch.optim.{kind.name}"
            if others := ours_for(given):
                name = type(self._optimizer).__name__
                remedy = f"it goes into {' or '.join(others)} here, not into {name}"
            raise ValueError(f"state['param_groups'][{number}] {', '.join(found)}; {remedy}")
        older = {"maximize": False, "decoupled_weight_decay": group["decoupled"]}
        theirs = {**older, **given}
        return {ours: theirs[name] for ours, name in kind.options.items()} | {**kind.apart}

    def _one_kind_of_states(self) -> tuple[str, ...]:
        """The states that the options take, which are the same for all groups."""
        found = [self._optimizer.states_of(each) for each in self.options]
        if len({*found}) > 1:
            told = "; ".join(f"group {k}: {', '.join(names)}" for k, names in enumerate(found))
            raise ValueError(f"state has groups with different states ({told}); expected one kind")
        return found[0]

    def _by_parameter(self, given: Any) -> dict[Key, Mapping[str, Any]]:
        """PyTorch's states of each parameter; none where it has none."""
        if not isinstance(given, Mapping):
            raise TypeError(f"state['state'] is a {type(given).__name__}; expected a mapping")
        if unknown := [number for number in given if number not in self._ids.values()]:
            raise ValueError(
                f"state['state'] has {', '.join(map(repr, unknown))}, which no group has in its "
                f"'params'; expected some of {', '.join(map(str, self._ids.values()))}"
            )
        kind = self._kind
        expected = [kind.states[name] for name in self.states]
        expected += [*kind.follows, *["step"] * kind.counts]
        found: dict[Key, Mapping[str, Any]] = {}
        for key, number in self._ids.items():
            own = given.get(number, {})
            if isinstance(own, Mapping):
                own = {name: value for name, value in own.items() if value is not None}
            found[key] = check_keys(own, expected, self._place(key)) if own else {}
        return found

    def _place(self, key: Key, name: str | None = None) -> str:
        return f"state['state'][{self._ids[key]}]" + (f"[{name!r}]" if name else "")

    def _count(self, key: Key) -> int:
        if not self._given[key]:
            return 0
        value = plain(self._given[key]["step"])
        if not isinstance(value, (int, float, np.number)) or value < 0 or value != int(value):
            raise ValueError(
                f"{self._place(key, 'step')} is {value!r}; expected a whole number of steps"
            )
        return int(value)

    def _check_what_follows(self, steps: int) -> None:
        """Refuse numbers other than those that come of a group's options, but for rounding."""
        for group, options in zip(self._optimizer.param_groups, self.options, strict=True):
            for name, number in self._kind.follows.items():
                expected = number(options, steps)
                for key in self._stepped(group):
                    value = plain(self._given[key].get(name, expected))
                    if not isclose(value, expected, rel_tol=1e-4, abs_tol=1e-9):
                        raise ValueError(
                            f"{self._place(key, name)} is {value!r}; expected {expected!r}, which "
                            f"comes of {steps} steps with its group's options, since no other is "
                            "kept here: they must have been others for some of the steps"
                        )

    def _stepped(self, group: Group) -> Iterator[Key]:
        return (key for key in group.keys_of if key not in self._optimizer.frozen)

    def _array(self, key: Key, name: str, shape: tuple[int, ...]) -> HostArray:
        if not self._given[key]:
            return np.zeros(shape)
        place = self._place(key, name)
        value = on_host(self._given[key][name], place)
        expected = shape[::-1] if key in self._turned else shape
        if value.shape != expected:
            raise ValueError(
                f"{place} has shape {value.shape}; expected {expected} for parameter {key!r}"
            )
        return value.T if key in self._turned else value


def plain(value: Any) -> Any:
    """A number, where PyTorch has a tensor of one; of each element of a pair, too."""
    if isinstance(value, (list, tuple)):
        return tuple(map(plain, value))
    return value.item() if getattr(value, "shape", None) in ((), (1,)) else value


def _groups(optimizer: Optimizer, given: Any) -> list[Mapping[str, Any]]:
    """PyTorch's groups, where they have as many parameters as those here."""
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"state['param_groups'] is a {type(given).__name__}; expected a list")
    for number, group in enumerate(given):
        params = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(params, (list, tuple)) or not all(type(p) is int for p in params):
            raise TypeError(
                f"state['param_groups'][{number}] is {group!s:.60}; expected a mapping whose "
                "'params' are a list of numbers, as PyTorch's optimizer.state_dict() has it"
            )
    theirs = [len(group["params"]) for group in given]
    ours = [len(group.keys_of) for group in optimizer.param_groups]
    if theirs != ours:
        raise ValueError(
            f"state has {_counted(theirs)}, but the optimizer has {_counted(ours)}; expected the "
            "same. Make it of groups as PyTorch's was, in that order"
        )
    numbers = [number for group in given for number in group["params"]]
    if len({*numbers}) != len(numbers):
        raise ValueError(f"state has the parameters {numbers}; expected each number once")
    return list(given)


def _counted(sizes: list[int]) -> str:
    groups = "1 group" if len(sizes) == 1 else f"{len(sizes)} groups"
    return f"{groups} of {', '.join(map(str, sizes))} parameters"
