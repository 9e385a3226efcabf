"""Engine "array": operations over rows in NumPy or CuPy expressions, formulas on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import Array
from ..compiling.dtypes import compute_dtype
from .contract import Arrays, RowsEngine
from .skeleton import LEAD, Function, Rows, Shape, Walk, names

_ROW, _COLUMN = (2, 3), (0, 3)
"""Axes of (rows / groups, groups, columns, inner) within a row, and within a column."""


class ArrayRows(RowsEngine):
    """All results are worked out before the first write."""

    name = "array"

    def run(self, rows: Rows, shape: Shape, arrays: Arrays, numbers: tuple[float, ...]) -> None:
        full = (shape.rows // shape.groups, shape.groups, shape.columns, shape.inner)
        stored = arrays.elements[0].dtype
        dtype = np.dtype(compute_dtype(stored))
        by_name = dict(zip(rows.arrays, arrays.elements, strict=True))
        known: dict[str, Any] = dict(rows.constants)
        known["share"] = 1.0 / shape.width
        known.update(zip(rows.numbers, numbers, strict=True))
        for (name, default), vector in zip(rows.vectors.items(), arrays.vectors, strict=True):
            known[name] = default if vector is None else vector.reshape(1, *full[1:3], 1)
        for name, values in zip(rows.given, arrays.given, strict=True):
            known[name] = values.reshape(*full[:2], 1, 1)
        with np.errstate(all="ignore"):  # silent about inf and NaN, as compiled engines are
            held = _store(rows, by_name, full, dtype)
            for name in rows.elements:
                wide = held.get(name, by_name[name]).astype(dtype, copy=False)
                known[name] = wide.reshape(full)
                row = known[name].reshape(*full[:2], shape.width, 1)
                lead = LEAD if shape.width >= LEAD else 1
                known[f"{name}_lead"] = (
                    row[:, :, :lead].mean(axis=_ROW, dtype="float64", keepdims=True).astype(dtype)
                )
            for walk in rows.walks:
                if walk.guess is not None:  # a better one is always taken
                    number, start, better = walk.guess
                    (known[number],) = start(*(known[name] for name in names(start)))
                    known[number] = _finished(rows, walk, better, known)[0].astype(dtype)
                found = _finished(rows, walk, walk.finish, known)
                for name, value in zip(walk.numbers, found, strict=True):
                    known[name] = value.astype(dtype)
            result, *terms = _worked_out(rows, rows.update, known)
            sums = [term.sum(axis=_COLUMN, dtype="float64") for term in terms]
            result = result.astype(stored, copy=False)
            for name, place in zip(rows.kept, arrays.kept, strict=True):
                place[...] = known[name].reshape(-1)
            for total, place in zip(sums, arrays.added, strict=True):
                place[...] = total.reshape(-1)
            for name, array in held.items():
                by_name[name][...] = array
            by_name[rows.written][...] = result.reshape(by_name[rows.written].shape)


def _store(
    rows: Rows, by_name: dict[str, Array], full: tuple[int, ...], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """What is stored before all walks, as it is stored."""
    if rows.store is None:
        return {}
    function, makes = rows.store
    found = function(*(by_name[name].astype(dtype, copy=False) for name in names(function)))
    return {
        name: each.astype(by_name[name].dtype, copy=False)
        for name, each in zip(makes, found, strict=True)
    }


def _worked_out(rows: Rows, function: Function, known: dict[str, Any]) -> tuple[Any, ...]:
    """`function` of what is known, after the steps that it needs."""
    steps, _ = rows.needed(function)
    values = dict(known)
    for step in steps:
        made = step.function(*(values[name] for name in names(step.function)))
        values.update(zip(step.makes, made, strict=True))
    return function(*(values[name] for name in names(function)))


def _finished(rows: Rows, walk: Walk, finish: Function, known: dict[str, Any]) -> tuple[Any, ...]:
    """`finish` of the sums of a walk, in double."""
    terms = _worked_out(rows, walk.terms, known)
    double = {name: _wide(known[name]) for name in names(finish) if name in known}
    for name, term in zip(walk.sums, terms, strict=True):
        double[name] = term.sum(axis=_ROW, dtype="float64", keepdims=True)
    return finish(*(double[name] for name in names(finish)))


def _wide(value: Any) -> Any:
    return value if isinstance(value, float) else value.astype("float64")
