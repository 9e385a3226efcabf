"""From a public function to an engine: check the arrays, pick the engine, run the rule."""

from __future__ import annotations

from collections.abc import Sequence

from numpy import ndarray

from ..backend import Array
from ..backend.layout import check_arrays
from .engines import cpu_engine, find_engine
from .rule import Rule


def launch(
    rule: Rule,
    names: Sequence[str],
    arrays: tuple[Array, ...],
    coefficients: tuple[float, ...],
    engine: str,
) -> None:
    """Run `rule` in place on `arrays` (param, grad, then states, called `names` in errors).

    `coefficients` are the prelude's, then the rule's. Everything is checked before any write.
    """
    if coefficients[1] == 0.0:
        rule = rule.without_decay
    on_cpu = type(arrays[0]) is ndarray and (engine == "auto" or engine == cpu_engine().name)
    if on_cpu and cpu_engine().quick(rule, arrays, coefficients):
        return
    contiguous = check_arrays(names, arrays)
    chosen = find_engine(engine, arrays[0], contiguous)
    if arrays[0].size:
        chosen.run(rule, arrays, coefficients, contiguous)
