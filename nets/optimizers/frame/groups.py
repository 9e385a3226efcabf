"""Groups of parameters: those that have hyperparameters of their own, and those that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeAlias, cast
from weakref import ref

from ...types import Array
from ..storage.storage import Key, listed

Patterns: TypeAlias = str | Sequence[str]
"""A name, a pattern such as "*.bias", or several of either."""
Chosen: TypeAlias = Patterns | Callable[[Key, Array], bool]
"""Patterns; "1-D", for arrays of one axis or none; or a function of name and array."""
Named: TypeAlias = Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]]
"""Pattern -> hyperparameters of a group, or a list of {"params": patterns, name: value, ...}."""

FEW_AXES = "1-D"


class Owner(Protocol):
    """An optimizer, to its groups."""

    def arrays_by_key(self) -> Mapping[Key, Array]: ...

    def retune(self, group: Group, changes: Mapping[str, Any]) -> None: ...


def _nobody() -> None:
    return None


class Group(Mapping[str, Any]):
    """Some of an optimizer's parameters, as a mapping: "params", then hyperparameters by name.

    `group["lr"] = 1e-4` is checked, and acts on the next step. A hyperparameter that the group was
    never given is the optimizer's own: it follows when that is set. `lr` follows, too, in the
    proportion that it had to the optimizer's when it was set: so a schedule moves all groups. One
    that was set while the optimizer's was 0 has no proportion, and stays.
    """

    __slots__ = ("_owner", "base", "changes", "keys_of", "lr_of")

    def __init__(self, keys: Sequence[Key], changes: Mapping[str, Any]) -> None:
        self.keys_of = tuple(keys)
        self.changes = dict(changes)
        self.base: Mapping[str, Any] = {}
        self.lr_of = 0.0  # the optimizer's when the group's own was set
        self._owner: Callable[[], Owner | None] = _nobody

    def belong(self, owner: Owner) -> None:
        """Be one of an optimizer's, which it does not keep alive."""
        self._owner = ref(owner)

    def _of(self) -> Owner:
        owner = self._owner()
        if owner is None:
            raise ReferenceError(
                "the optimizer of this group is gone; keep it while groups are used"
            )
        return owner

    def __getstate__(self) -> Any:
        return self.keys_of, self.changes, self.base, self.lr_of

    def __setstate__(self, state: Any) -> None:
        self.keys_of, changes, self.base, self.lr_of = state
        self.changes = dict(changes)
        self._owner = _nobody

    def hyper(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters, where the optimizer's are `base`."""
        found = {**base, **self.changes}
        if "lr" in self.changes and base["lr"] != self.lr_of and self.lr_of:
            found["lr"] = self.changes["lr"] * (base["lr"] / self.lr_of)
        return found

    def changed(self, changes: Mapping[str, Any]) -> Group:
        """A group like it with some hyperparameters more of its own, set now."""
        group = Group(self.keys_of, {**self.changes, **changes})
        group.lr_of = self.base["lr"] if "lr" in changes else self.lr_of
        return group

    def take(self, other: Group) -> None:
        """Have the hyperparameters that another has."""
        self.changes, self.lr_of = other.changes, other.lr_of

    def __getitem__(self, name: str) -> Any:
        if name == "params":
            arrays = self._of().arrays_by_key()
            return [arrays[key] for key in self.keys_of]
        return self.hyper(self.base)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise TypeError("a group's params can't be set; expected another optimizer for others")
        self._of().retune(self, {name: value})

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self.base))

    def __len__(self) -> int:
        return 1 + len(self.base)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.hyper(self.base).items())
        return f"Group({len(self.keys_of)} arrays: {shown})"


def taken_apart(params: Any) -> tuple[Any, list[Group] | None]:
    """The arrays of PyTorch's list of groups as one list, and the groups; else params and None.

    Raises:
        TypeError: a group is no mapping, or lacks "params".
        ValueError: a parameter is in two groups, or a group has none.
    """
    params = listed(params)
    if not isinstance(params, (list, tuple)) or not any(isinstance(p, Mapping) for p in params):
        return params, None
    arrays: list[Any] = []
    groups: list[Group] = []
    owner: dict[int, int] = {}
    for number, given in enumerate(params):
        if not isinstance(given, Mapping) or "params" not in given:
            raise TypeError(
                f"params[{number}] is {_told(given)}; expected groups such as "
                '{"params": [a, b], "lr": 0.1}, since others are groups'
            )
        own = given["params"]
        if isinstance(own, Mapping):
            raise TypeError(
                f"params[{number}]['params'] is a {type(own).__name__}; expected a list of arrays. "
                "Groups of arrays with names are told by groups="
            )
        own = [own] if hasattr(own, "dtype") else [*listed(own)]
        if not own:
            raise ValueError(f"params[{number}]['params'] are empty; expected at least one array")
        for array in own:
            if owner.setdefault(id(array), number) != number:
                raise ValueError(
                    f"an array is in the groups params[{owner[id(array)]}] and params[{number}]; "
                    "expected each in one"
                )
        changes = {name: value for name, value in given.items() if name != "params"}
        groups.append(Group(range(len(arrays), len(arrays) + len(own)), changes))
        arrays += own
    return arrays, groups


def by_name(arrays: Mapping[Key, Array], groups: Named) -> list[Group]:
    """The groups that patterns choose, after one of all that no pattern matches.

    Raises:
        TypeError: arrays have no names, or a group is no mapping.
        ValueError: a pattern matches nothing, or two groups match one array.
    """
    if not all(isinstance(key, str) for key in arrays):
        raise TypeError(
            "groups choose arrays by name, but params are a list; expected net.parameters() or a "
            'dict, or groups in the list: [{"params": [...], "lr": 0.1}, ...]'
        )
    owner: dict[Key, Any] = {}
    found: list[Group] = []
    for what, patterns, changes in _told_apart(groups):
        keys = chosen(arrays, patterns, what)
        for key in keys:
            if key in owner:
                raise ValueError(
                    f"{key!r} is matched by {owner[key]} and by {what}; expected one group for each"
                )
            owner[key] = what
        found.append(Group(keys, changes))
    if rest := [key for key in arrays if key not in owner]:
        found.insert(0, Group(rest, {}))
    return found


def undecayed(
    groups: Sequence[Group], arrays: Mapping[Key, Array], no_decay: Chosen
) -> list[Group]:
    """The groups, those parted that hold some of `no_decay`, which then have weight_decay 0."""
    spared = {*chosen(arrays, no_decay, "no_decay")}
    found: list[Group] = []
    for group in groups:
        keys = group.keys_of
        if rest := [key for key in keys if key not in spared]:
            found.append(Group(rest, group.changes))
        if own := [key for key in keys if key in spared]:
            found.append(Group(own, {**group.changes, "weight_decay": 0.0}))
    return found


def chosen(arrays: Mapping[Key, Array], choice: Chosen, what: str) -> list[Key]:
    """The keys that a choice means, in the order of `arrays`.

    Raises:
        TypeError: it is no choice.
        ValueError: a pattern matches nothing; the names are listed.
    """
    if callable(choice):
        return [key for key, array in arrays.items() if choice(key, array)]
    patterns = [choice] if isinstance(choice, str) else choice
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(p, str) for p in patterns):
        raise TypeError(
            f'{what} is {choice!r}; expected a pattern such as "*.bias", a list of patterns, '
            f'"{FEW_AXES}", or a function of name and array'
        )
    found: set[Key] = set()
    for pattern in patterns:
        if pattern == FEW_AXES and pattern not in arrays:
            found |= {key for key, array in arrays.items() if array.ndim <= 1}
            continue
        exact = pattern in arrays  # which may hold what patterns give a meaning
        matched = {key for key in arrays if key == pattern or (not exact and _fits(key, pattern))}
        if not matched:
            names = ", ".join(map(repr, arrays))
            raise ValueError(f"{what}: {pattern!r} matches no parameter; there are {names}")
        found |= matched
    return [key for key in arrays if key in found]


def _fits(key: Key, pattern: str) -> bool:
    return isinstance(key, str) and fnmatchcase(key, pattern)


def _told_apart(groups: Named) -> Iterable[tuple[str, Patterns, Mapping[str, Any]]]:
    """(what errors call it, patterns, hyperparameters) of each group."""
    if isinstance(groups, Mapping):
        for pattern, changes in groups.items():
            if not isinstance(changes, Mapping):
                raise TypeError(
                    f"groups[{pattern!r}] is {_told(changes)}; expected a mapping such as "
                    '{"weight_decay": 0.0}'
                )
            yield f"groups[{pattern!r}]", pattern, changes
        return
    if not isinstance(groups, (list, tuple)):
        raise TypeError(
            f"groups is {_told(groups)}; expected a mapping such as "
            '{"*.bias": {"weight_decay": 0.0}}'
        )
    for number, given in enumerate(groups):
        if not isinstance(given, Mapping) or "params" not in given:
            raise TypeError(
                f"groups[{number}] is {_told(given)}; expected a mapping such as "
                '{"params": ["*.bias"], "weight_decay": 0.0}'
            )
        changes = {name: value for name, value in given.items() if name != "params"}
        yield f"groups[{number}]", cast(Patterns, given["params"]), changes


def _told(given: Any) -> str:
    kind = type(given).__name__
    return f"a {kind} without 'params'" if isinstance(given, Mapping) else f"a {kind}"
