"""Softmax cross-entropy on any engine: how a case is drawn, run, and held to the oracle."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from oracles.softmax import softmax_cross_entropy as oracle
from tolerances import SOFTMAX_LIMITS, assert_close

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class Case(NamedTuple):
    logits: Any
    labels: Any
    weights: Any = None
    smoothing: float = 0.0


def example(shape: Any, dtype: str = "float32", spread: float = 3.0, seed: int = 0) -> Any:
    """Logits and labels."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        logits = (rng.standard_normal(shape) * spread).astype(dtype)
    return logits, rng.integers(0, shape[1], shape[0])


def make(shape: Any, dtype: str = "float32", *, weighted: bool = False, **options: Any) -> Case:
    """A case; weights of the dtype, 0 among them."""
    logits, labels = example(shape, dtype, **options)
    if not weighted:
        return Case(logits, labels)
    weights = np.random.default_rng(shape[0]).uniform(0.1, 3.0, shape[0])
    weights[shape[0] // 2 + 1 :: 5] = 0
    return Case(logits, labels, weights.astype(dtype))


def run(engine: Any, case: Case, **options: Any) -> Any:
    """(loss, gradient) of an engine; it must leave what it is given untouched."""
    given = [None if array is None else engine.asarray(array) for array in case[:3]]
    if case.smoothing:
        options["label_smoothing"] = case.smoothing
    if given[2] is not None:
        options["weights"] = given[2]
    found = engine.kernel("softmax_cross_entropy")(*given[:2], **options)
    for name, array, before in zip(Case._fields[:3], given, case[:3], strict=True):
        same = array is None or np.array_equal(engine.to_numpy(array), before, equal_nan=True)
        assert same, f"{name} were written"
    return found


def check(engine: Any, case: Case) -> None:
    """Hold what an engine finds to the oracle, and the rows that it counts as right."""
    correct = engine.asarray(np.array(-1, "int64"))
    assert_right(engine, run(engine, case, correct=correct), *case)
    assert int(engine.to_numpy(correct)) == rows_right(case.logits, case.labels), (
        "rows that are right"
    )


def rows_right(logits: Any, labels: Any) -> int:
    """Rows of finite loss whose first largest logit is that of their class."""
    top = [
        max(row) if not any(math.isnan(each) for each in row) else math.nan
        for row in logits.tolist()
    ]
    return sum(
        math.isfinite(most) and row.index(most) == k
        for most, row, k in zip(top, logits.tolist(), labels.tolist(), strict=True)
    )


def assert_right(
    engine: Any,
    found: Any,
    logits: Any,
    labels: Any,
    weights: Any = None,
    smoothing: float = 0.0,
) -> None:
    """Hold (loss, gradient) to the oracle, element by element."""
    rows, dtype = len(logits), logits.dtype.newbyteorder("=")
    want = oracle(logits, labels, weights, smoothing)
    factors = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    computed = np.finfo("float64" if dtype == "float64" else "float32")
    loss, gradient = found
    assert loss.dtype == np.float64
    assert loss.shape == ()
    finite = np.where(np.isfinite(want.distance), want.distance, 0.0)
    scale = np.nan_to_num(want.p) * (1 + finite) / rows
    chosen = np.arange(rows), labels.astype(np.int64)
    scale[chosen] = np.maximum(scale[chosen], 1 / rows)  # what was subtracted
    scale = np.maximum(scale, smoothing / logits.shape[1] / rows)
    scale *= factors[:, None]
    scale = np.maximum(scale, float(computed.tiny) / float(np.finfo(dtype).eps))  # or flushed to 0
    assert_close(
        engine.to_numpy(gradient).astype(dtype),
        want.gradient,
        dtype.name,
        scale=scale,
        limit=SOFTMAX_LIMITS[dtype.name] * engine.factor,
        what="gradient",
    )
    aims = (1 - smoothing) * finite[chosen] + smoothing * finite.mean(axis=1)
    size = (factors * (1 + aims + math.log(logits.shape[1]))).mean()
    margin = SOFTMAX_LIMITS["float32"] * engine.factor * float(computed.eps) * size
    np.testing.assert_allclose(float(loss), want.loss, rtol=0, atol=margin, err_msg="loss")


def check_large_equal_and_infinite_logits(engine, width, dtype):
    logits = np.zeros((6, width), dtype)
    logits[0] = 1e4
    logits[1, 1] = 1e4
    logits[2, ::2] = -1e4
    logits[3, 0] = -np.inf
    logits[4, 1:] = -np.inf
    labels = np.array([0, 0, 1, 1, 0, 2])
    found = engine.kernel("softmax_cross_entropy")(engine.asarray(logits), labels)
    assert_right(engine, found, logits, labels)
    assert math.isfinite(float(found[0]))
    check(engine, Case(logits, labels))


def check_nan_and_inf_make_their_row_nan(engine, bad, width, dtype):
    logits, labels = example((4, width), dtype)
    logits[1, -1] = {"nan": np.nan, "-nan": -np.nan, "inf": np.inf}.get(bad, 0)
    if bad == "all -inf":
        logits[1] = -np.inf
    correct = engine.asarray(np.array(-1, "int64"))
    call = engine.kernel("softmax_cross_entropy")
    loss, gradient = call(engine.asarray(logits), engine.asarray(labels), correct=correct)
    assert math.isnan(float(loss))
    assert int(engine.to_numpy(correct)) == rows_right(logits, labels)
    assert np.isnan(engine.to_numpy(gradient)).all(axis=1).tolist() == [False, True, False, False]
    assert np.isnan(engine.to_numpy(gradient)).any(axis=1).tolist() == [False, True, False, False]


def check_a_chosen_class_of_probability_zero_costs_infinity(engine):
    logits = np.array([[0.0, -np.inf], [0.0, 0.0]])
    loss, gradient = engine.kernel("softmax_cross_entropy")(
        engine.asarray(logits), np.array([1, 0])
    )
    assert float(loss) == math.inf
    assert engine.to_numpy(gradient).tolist() == [[0.5, -0.5], [-0.25, 0.25]]


def check_weights_of_1_change_nothing_and_of_0_leave_nothing(engine, dtype):
    case = make((9, 11), dtype)
    plain, ones, none = (
        run(engine, case._replace(weights=weights))
        for weights in (None, np.ones(9, dtype), np.zeros(9, dtype))
    )
    assert float(ones[0]) == float(plain[0])
    assert np.array_equal(engine.to_numpy(ones[1]), engine.to_numpy(plain[1]))
    assert float(none[0]) == 0
    assert not engine.to_numpy(none[1]).any()


def check_smoothed_labels_of_extreme_logits(engine, width, dtype):
    """All classes are aimed at: one of probability 0 costs infinity, whichever it is."""
    logits = np.zeros((5, width), dtype)
    logits[0] = 1e4
    logits[1, 1] = 1e4
    logits[2, ::2] = -1e4
    labels = np.array([0, 0, 1, 1, 2])
    check(engine, Case(logits, labels, smoothing=0.1))
    for place, far in (((3, 0), -np.inf), ((4, 2), -np.inf), ((3, -1), np.nan), ((4, 0), np.inf)):
        bad = logits.copy()
        bad[place] = far
        loss, gradient = run(engine, Case(bad, labels, smoothing=0.1))
        infinite = far == -np.inf
        assert float(loss) == math.inf if infinite else math.isnan(float(loss))
        wrong = np.isnan(engine.to_numpy(gradient))
        assert wrong.all(axis=1).tolist() == [i == place[0] and not infinite for i in range(5)]
        assert wrong.any(axis=1).tolist() == wrong.all(axis=1).tolist()
