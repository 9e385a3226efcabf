"""Hyperparameters, options and groups of an optimizer: read, changed, checked, and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from .... import kernels
from ....backend.checks.numbers import non_negative
from ....kernels import in_order, prepare
from ....kernels.launch import AVERAGE, joined, with_average, with_factor, with_range
from ...state_checks import check_keys
from ...types import Array
from ..storage.storage import Key, Storage
from . import groups as grouping
from . import options as own
from .groups import Chosen, Group, Named
from .hyperparameter import Hyperparameter
from .options import Option

ARRANGEMENT = "groups", "frozen"
"""What a checkpoint has beside the rest, where parameters are not all stepped alike."""


class Tuned:
    """What tells each step its coefficients; `Optimizer` has the arrays, and takes the steps."""

    __slots__ = (
        "__weakref__",
        "_frozen",
        "_group_of",
        "_groups",
        "_hyper",
        "_options",
        "_plain",
        "_state",
        "_steps",
        "_storage",
        "_swapped",
        "_values",
    )

    _state: dict[str, tuple[Array, ...]]
    _steps: int
    _storage: Storage
    _swapped: bool

    @property
    def steps(self) -> int:
        """How many steps were taken; `_steps` is the least that it may be, where a GPU counts."""
        return self._steps

    rule: ClassVar[str]
    """The stem of the kernel's name."""

    states: ClassVar[tuple[str, ...]] = ()
    """Names of the state arrays, in the order in which the kernel takes them."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "weight_decay": 0.0,
        "decoupled": False,
        "maximize": False,
    }
    """Of hyperparameters that are left out, by whoever makes one and by older checkpoints; those of
    a subclass come on top of these."""

    clip_norm = Option[float | None]()
    clip_each_norm = Option[float | None]()
    clip_value = Option[float | None]()
    use_ema = Option[bool]()
    ema_momentum = Option[float]()
    swa_start = Option[int | None]()
    swa_every = Option[int]()

    lr = Hyperparameter[float]()
    weight_decay = Hyperparameter[float]()
    decoupled = Hyperparameter[bool]()
    maximize = Hyperparameter[bool]()

    @classmethod
    def states_of(cls, hyper: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of an optimizer with these hyperparameters: more, where one needs another state."""
        return cls.states

    @classmethod
    def states_with(cls, hyper: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, ...]:
        """The same with what options keep."""
        averages = own.averages({**own.DEFAULTS, **options})
        return (*cls.states_of(hyper), *([AVERAGE] if averages else []))

    def _arrange(
        self,
        hyper: dict[str, Any],
        given: list[Group] | None,
        groups: Named | None,
        no_decay: Chosen | None,
        frozen: Chosen | None,
    ) -> None:
        """Part the parameters into groups."""
        arrays = self._storage.arrays()
        if given is not None and groups is not None:
            raise TypeError("params are groups, and groups are given; expected one of the two")
        made = given or [Group(tuple(arrays), {})]
        if groups is not None:
            made = grouping.by_name(arrays, groups)
        if no_decay is not None:
            made = grouping.undecayed(made, arrays, no_decay)
        still = [] if frozen is None else grouping.chosen(arrays, frozen, "frozen")
        self._groups, self._hyper = tuple(made), hyper
        for group in made:
            group.changes, group.lr_of = self._checked(group.changes), hyper["lr"]
            group.belong(self)
        self._set_hyper(hyper)
        self._frozen: tuple[Key, ...] = tuple(still)
        self._arrange_calls()

    def _arrange_calls(self) -> None:
        """Tell which arrays are stepped with which coefficients: a group's, or their own where each
        has a factor of its own."""
        each = self._options["clip_each_norm"] is not None
        numbers = {key: k for k, group in enumerate(self._groups) for key in group.keys_of}
        stepped = [key for key in self._storage.arrays() if key not in self.frozen]
        if each:
            self._storage.arrange({key: k for k, key in enumerate(stepped)}, True)
        else:
            self._storage.arrange({key: numbers[key] for key in stepped}, len(self._groups) > 1)
        self._group_of = [numbers[key] for key in stepped] if each else None

    @property
    def frozen(self) -> tuple[Key, ...]:
        """The parameters that stay as they are, by name or index."""
        return self._frozen

    @property
    def param_groups(self) -> tuple[Group, ...]:
        """The groups, to read and to change: `optimizer.param_groups[0]["lr"] = 1e-4`."""
        return self._groups

    @property
    def hyper(self) -> Mapping[str, Any]:
        """Every hyperparameter of the kernel by name, to read; groups may have others."""
        return MappingProxyType(self._hyper)

    def tune(self, **changes: Any) -> None:
        """Set several hyperparameters of the kernel at once, or none where one is refused.

        Groups follow that have none of their own, and all of them follow `lr`, in proportion.
        """
        hyper = self._hyper | self._checked(changes)
        self._check_states(changes, hyper, self._groups)
        self._set_hyper(hyper)

    def arrays_by_key(self) -> Mapping[Key, Array]:
        """The parameters by name or index, as a group of them looks for its own."""
        return self._storage.arrays()

    def retune(self, group: Group, changes: Mapping[str, Any]) -> None:
        """Set some of a group's own, as the group does."""
        changed = group.changed(self._checked(changes))
        groups = [changed if each is group else each for each in self._groups]
        self._check_states(changes, self._hyper, groups)
        self._set_hyper(self._hyper, groups)
        group.take(changed)

    def _checked(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters that this optimizer has, and can have."""
        if unknown := changes.keys() - self._hyper.keys():
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(map(repr, sorted(unknown)))}; expected "
                f"some of {', '.join(self._hyper)}"
            )
        return kernels.validate(self.rule, **changes)

    @property
    def options(self) -> Mapping[str, Any]:
        """What is not the kernel's: clipping and averages, by name, to read."""
        return MappingProxyType(self._options)

    def set_options(self, **changes: Any) -> None:
        """Set several of them at once, or none where one is refused."""
        options = own.checked({**self._options, **changes})
        self._check_begun(options)
        if own.averages(options) != own.averages(self._options):
            kept = "keeps an average" if own.averages(self._options) else "keeps no average"
            wished = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            raise ValueError(f"{wished}: this {type(self).__name__} {kept}; make a new one")
        apart = options["clip_each_norm"], self._options["clip_each_norm"]
        self._take_options(options)
        if (apart[0] is None) != (apart[1] is None):
            self._arrange_calls()

    def _check_begun(self, options: Mapping[str, Any]) -> None:
        """Refuse another kind of average than that of which there are steps already."""
        for name in ("use_ema", "swa_start", "swa_every"):
            changed = own.averages(self._options) and options[name] != self.options[name]
            if changed and self.steps:
                raise ValueError(
                    f"{name}={options[name]!r}: the average is of {self.steps} steps with "
                    f"{self.options[name]!r} already; make a new {type(self).__name__}"
                )

    def _take_options(self, options: dict[str, Any]) -> None:
        self._options = options
        special = options["clip_value"] is not None or options["clip_each_norm"] is not None
        self._plain = not special and not own.averages(options)

    def prepared(self, steps_ahead: int = 0) -> Any:
        """The rule, and its coefficients for the step after that many more."""
        return self._prepared(self.steps + 1 + steps_ahead, 1.0)

    def _prepared(
        self, step: int, grad_scale: float, factors: Sequence[float] | None = None
    ) -> Any:
        values = self._values
        if len(values) == 1 and self._plain:
            return prepare(self.rule, step, values[0], grad_scale)
        found = [prepare(self.rule, step, each, grad_scale) for each in values]
        if self._swapped:
            raise ValueError(
                "the parameters are their averages here, inside averaged(); expected steps outside"
            )
        if (most := self._options["clip_value"]) is not None:
            found = [with_range(each, most) for each in found]
        if own.averages(self._options):
            coefficients = own.average_coefficients(self._options, step)
            found = [with_average(each, *coefficients) for each in found]
        if factors is None or self._group_of is None:
            return joined(found)
        return joined(
            [with_factor(found[k], f) for k, f in zip(self._group_of, factors, strict=True)]
        )

    def _states(
        self,
        hyper: Mapping[str, Any],
        groups: Sequence[Group] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[str, ...]:
        """The states that all groups have."""
        first, *_ = self._groups if groups is None else groups
        return self.states_with(first.hyper(hyper), self._options if options is None else options)

    def _check_states(
        self, changes: Mapping[str, Any], hyper: Mapping[str, Any], groups: Sequence[Group]
    ) -> None:
        """Refuse hyperparameters that would take other states."""
        if (states := self._states(hyper, groups)) != (kept := tuple(self._state)):
            wished = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            raise ValueError(
                f"{wished}: the states would be {', '.join(states)}, but this "
                f"{type(self).__name__} keeps {', '.join(kept)}; make a new one"
            )

    def _set_hyper(self, hyper: dict[str, Any], groups: Sequence[Group] | None = None) -> None:
        """Take hyperparameters with those of the groups, or of others in their place; or none.

        Raises:
            ValueError: groups would be stepped by different rules.
        """
        groups = self._groups if groups is None else groups
        values = tuple(in_order(self.rule, group.hyper(hyper)) for group in groups)
        joined([prepare(self.rule, self._steps + 1, each, 1.0) for each in values])
        for group in self._groups:
            group.base = hyper
        self._hyper, self._values = hyper, values

    def arrangement(self) -> dict[str, Any]:
        """Groups and what is frozen, in a checkpoint; nothing where there is none of either."""
        groups = [
            {"params": [*group.keys_of], "hyper": {**group.changes}, "lr_of": group.lr_of}
            for group in self._groups
        ]
        found: dict[str, Any] = {}
        if len(groups) > 1 or groups[0]["hyper"]:
            found["groups"] = groups
        if self.frozen:
            found["frozen"] = [*self.frozen]
        return found

    def _arranged(self, state: Mapping[str, Any]) -> list[Group]:
        """The groups of a checkpoint; ValueError where they are of other parameters."""
        everything = {"params": [*self._storage.arrays()], "hyper": {}, "lr_of": 0.0}
        given = state.get("groups", [everything])
        if not isinstance(given, (list, tuple)):
            raise TypeError(f"state['groups'] is a {type(given).__name__}; expected a list")
        found = []
        for number, each in enumerate(given):
            what = f"state['groups'][{number}]"
            check_keys(each, ("params", "hyper", "lr_of"), what)
            if not isinstance(each["params"], (list, tuple)):
                kind = type(each["params"]).__name__
                raise TypeError(f"{what}['params'] is a {kind}; expected a list of names")
            check_keys(each["hyper"], each["hyper"] or (), f"{what}['hyper']")
            group = Group(each["params"], self._checked(each["hyper"]))
            group.lr_of = non_negative(f"{what}['lr_of']", each["lr_of"])
            found.append(group)
        both = zip((found, self._groups), ("state has", "expected those here:"), strict=True)
        said = [f"{who} {[list(group.keys_of) for group in groups]}" for groups, who in both]
        if said[0].partition("[")[2] != said[1].partition("[")[2]:
            raise ValueError(f"state is of other groups: {'; '.join(said)}")
        still = state.get("frozen", [])
        if not isinstance(still, (list, tuple)) or {*map(str, still)} != {*map(str, self._frozen)}:
            raise ValueError(f"state has the frozen {still!r}; expected {[*self._frozen]}, as here")
        return found

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value!r}" for name, value in self._hyper.items())
        others = {k: v for k, v in self._options.items() if v != own.DEFAULTS[k]}
        chosen = {"clip_norm": self.clip_norm, **others}
        shown = ", ".join([hyper, *(f"{name}={value!r}" for name, value in chosen.items())])
        if "groups" in self.arrangement():
            changes = [f"{len(each.keys_of)} arrays: {each.changes}" for each in self._groups]
            shown += f", groups=[{', '.join(changes)}]"
        if self.frozen:
            shown += f", frozen={[*self.frozen]}"
        return f"{type(self).__name__}({shown})"
