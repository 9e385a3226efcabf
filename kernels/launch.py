"""From a public function to an engine: check the arrays, pick the engine, run the rule."""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array
from ..backend.layout import check_arrays
from .engines import Engine, find_engine
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
    contiguous = check_arrays(names, arrays)
    chosen: Engine = find_engine(engine, arrays[0], contiguous)
    if arrays[0].size:
        decayed = coefficients[1] != 0.0
        chosen.run(rule if decayed else rule.without_decay, arrays, coefficients, contiguous)
