"""Batch normalization of a batch that lies on several ranks: each is called in turn in one process,
first for what it sends, then with what all have sent; or all at once, in a thread each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onepass.backend import backend_of

from cases.batch_norm import Case, assert_batch_norm, needs, passes


class Sent(Exception):
    """Ends a call of a rank once it has sent what it has."""


def stacked(arrays: Sequence[Any]) -> Any:
    return backend_of(arrays[0]).xp.stack(list(arrays))


def together(calls: Sequence[Callable[..., Any]]) -> list[Any]:
    """What each call, one a rank, returns: it takes `merge`, which it must call once."""
    sent: list[Any] = []

    def ends(values: Any) -> Any:
        sent.append(values.copy())
        raise Sent

    for call in calls:
        with pytest.raises(Sent):
            call(merge=ends)
    results = []
    for rank, call in enumerate(calls):
        given: list[Any] = []

        def gathers(values: Any, given: list[Any] = given) -> Any:
            given.append(values)
            return stacked(sent)

        results.append(call(merge=gathers))
        assert len(given) == 1, "merge is called once"
        assert (values := given[0]).flags.c_contiguous
        assert values.dtype == "float64"
        assert values.tobytes() == sent[rank].tobytes()
    return results


def in_threads(ranks: int, work: Callable[[int, Callable[[Any], Any]], Any]) -> list[Any]:
    """What `work(rank, merge)` returns of each, all at once; merge waits for the other ranks."""
    slots, barrier = [None] * ranks, threading.Barrier(ranks, timeout=60)

    def run(rank: int) -> Any:
        def merge(values: Any) -> Any:
            slots[rank] = values
            barrier.wait()
            found = stacked(slots)
            barrier.wait()  # nobody puts the next there before all have read
            return found

        try:
            return work(rank, merge)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return [future.result() for future in [pool.submit(run, rank) for rank in range(ranks)]]


def split(array: NDArray[Any], shares: Sequence[int]) -> list[NDArray[Any]]:
    """So many rows for each rank."""
    assert sum(shares) == len(array)
    return np.split(array, np.cumsum(shares)[:-1])


def bits(arrays: Sequence[Any]) -> int:
    """How many of them differ."""
    return len({array.tobytes() for array in arrays})


def assert_ranks(
    engine: Any, case: Case, shares: Sequence[int], *, momentum: float = 0.3, factor: float = 1.0
) -> None:
    """Hold ranks with these shares of the rows to the oracle of all rows together."""
    needs(engine, str(case.x.dtype))
    run_forward, run_backward = passes(engine)

    def forward(x: Any, gamma: Any, beta: Any, *running: Any, **options: Any) -> tuple[Any, Any]:
        own = [[a if a is None else engine.asarray(a) for a in running] for _ in shares]
        parts = [engine.asarray(part) for part in split(x, shares)]
        affine = [a if a is None else engine.asarray(a) for a in (gamma, beta)]
        residual = options.pop("residual", None)
        beside = [None for _ in shares] if residual is None else split(residual, shares)
        beside = [a if a is None else engine.asarray(a) for a in beside]

        def call(part: Any, mine: Any, more: Any) -> Callable[..., Any]:
            both = {"residual": more, **options}
            return lambda merge: run_forward(part, *affine, *mine, merge=merge, **both)

        calls = [call(*each) for each in zip(parts, own, beside, strict=True)]
        results = together(calls)
        for part, before in zip(parts, split(x, shares), strict=True):
            assert engine.to_numpy(part).tobytes() == before.tobytes(), "x was written"
        saved = [each for _, each in results]
        statistics = [engine.to_numpy(each.kept) for each in saved]
        assert bits(statistics) == 1
        assert {each.count for each in saved} == {case.values}
        for k, array in enumerate(running):
            if array is not None:
                found = [engine.to_numpy(mine[k]) for mine in own]
                assert bits(found) == 1
                array[...] = found[0]
        y = np.concatenate([engine.to_numpy(y) for y, _ in results])
        mean, inv_std = (engine.to_numpy(each) for each in (saved[0].mean, saved[0].inv_std))
        return y, SimpleNamespace(mean=mean, inv_std=inv_std, ranks=saved)

    def backward(dy: Any, saved: Any) -> list[Any]:
        parts = [engine.asarray(part) for part in split(dy, shares)]

        def call(part: Any, kept: Any) -> Callable[..., Any]:
            return lambda merge: run_backward(part, kept, merge=merge)

        results = together([call(*each) for each in zip(parts, saved.ranks, strict=True)])
        dx = np.concatenate([engine.to_numpy(dx) for dx, *_ in results])
        sums = zip(*(sums[:2] for _, *sums in results), strict=True)
        beside = zip(*(more for _, _, _, *more in results), strict=True)
        more = [np.concatenate([engine.to_numpy(each) for each in all_]) for all_ in beside]
        return [dx, *(added(engine, each) for each in sums), *more]

    assert_batch_norm(forward, backward, case, momentum=momentum, factor=engine.factor * factor)


def added(engine: Any, gradients: Sequence[Any]) -> Any:
    """The sum over ranks, each of which has rounded its own."""
    if gradients[0] is None:
        return None
    own = [engine.to_numpy(each) for each in gradients]
    return np.sum(own, axis=0, dtype="float64").astype(own[0].dtype)
