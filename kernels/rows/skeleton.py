"""What is computed over rows, written once for every engine.

Functions are those of scalars, under the conditions of a rule's (../rule.py), with `where`, `exp`
and `normal_cdf` too. Their arguments are told by their names. A name stands for

    an element of an array that is read, or of the one that is `stored` before all walks;
    what a `Step` makes of an element;
    the value of a vector in the element's column;
    a number of the row: `<array>_lead`, the mean of its first eight elements, or of fewer the
        first; `given`; what a walk's `finish` made;
    a number of the call: "share", one over the elements of a row, and `numbers`;
    a constant.

`finish` works in double on the sums, everything else in the numbers of the computation; on a GPU,
where double is slow, `finish` does so too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

LEAD = 8
"""Elements of a lead, at most."""

Function = Callable[..., tuple[Any, ...]]


class Step(NamedTuple):
    """Names for what a function makes of an element."""

    function: Function
    makes: tuple[str, ...]


class Guess(NamedTuple):
    """A number of the row that a walk needs before it is known: it is guessed, and if the sums say
    that this was far off, the walk is done once more with a better one.

    Attributes:
        number: what it is called.
        start: the guess.
        better: of the sums, in double: a better one, and a number above 0 if it is needed.
    """

    number: str
    start: Function
    better: Function


class Walk(NamedTuple):
    """Sums over a row, then numbers of the row.

    Attributes:
        terms: of an element, one for each sum.
        sums: what `finish` calls them.
        finish: of the sums, in double.
        numbers: what it returns.
        guess: None, or what is guessed before.
    """

    terms: Function
    sums: tuple[str, ...]
    finish: Function
    numbers: tuple[str, ...]
    guess: Guess | None = None


class Used(NamedTuple):
    """What a loop is given: arrays of elements, vectors, numbers of the row, of the call."""

    arrays: list[str]
    vectors: list[str]
    row: list[str]
    call: list[str]


@dataclass(frozen=True, eq=False)
class Rows:
    """An operation over rows.

    Attributes:
        name: what machine code and errors call it.
        read: arrays of all elements.
        update: an element of the result, then a term for each of `added`.
        written: what the result is called.
        store: None, or a step that makes an array of all elements first, from arrays that nothing
            else reads; others then see what the array holds, rounded as it is.
        vectors: arrays of one value a column; 1 or 0 in all where none is given.
        given, kept: numbers of each row that are read, and those that are written.
        numbers: of a call.
        constants: what they are.
        steps: what is made of an element where something needs it.
        walks: in order.
        added: sums over columns, in double, by what they are called.
    """

    name: str
    read: tuple[str, ...]
    update: Function
    written: str = "y"
    store: Step | None = None
    vectors: Mapping[str, float] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    constants: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    walks: tuple[Walk, ...] = ()
    added: tuple[str, ...] = ()

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """The arrays of all elements that walks and `update` see."""
        if self.store is None:
            return self.read
        used = names(self.store.function)
        return (*(name for name in self.read if name not in used), *self.store.makes)

    @cached_property
    def arrays(self) -> tuple[str, ...]:
        """All arrays of all elements, the result last."""
        stored = () if self.store is None else self.store.makes
        return (*self.read, *stored, self.written)

    def needed(self, function: Function) -> tuple[list[Step], list[str]]:
        """The steps to take before `function`, in order, and the other names that it and they have
        for their arguments."""
        makers = {name: step for step in self.steps for name in step.makes}
        steps: list[Step] = []
        others: list[str] = []

        def ask(wanted: Function) -> None:
            for name in names(wanted):
                step = makers.get(name)
                if step is None:
                    if name not in others:
                        others.append(name)
                elif step not in steps:
                    ask(step.function)
                    steps.append(step)

        ask(function)
        return steps, others

    def used(self, function: Function) -> Used:
        """What a loop that calls `function` is given."""
        _, others = self.needed(function)
        arrays = [each for each in others if each in self.elements]
        vectors = [each for each in others if each in self.vectors]
        call = [each for each in others if each in ("share", *self.numbers)]
        known = (*arrays, *vectors, *call, *self.constants)
        return Used(arrays, vectors, [each for each in others if each not in known], call)


def names(function: Function) -> tuple[str, ...]:
    """What the arguments of a function are called."""
    return function.__code__.co_varnames[: function.__code__.co_argcount]


class Shape(NamedTuple):
    """How rows lie in memory, and which columns they have.

    Attributes:
        rows: how many there are; groups of them follow one another.
        groups: rows after which the columns are the same again.
        columns: of a row.
        inner: elements of a row that follow one another in one column.
    """

    rows: int
    groups: int
    columns: int
    inner: int

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.columns * self.inner

    @property
    def period(self) -> int:
        """The length of a vector."""
        return self.groups * self.columns
