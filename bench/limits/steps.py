"""The limit in the same run: the loads and stores of a step around a single addition.

It goes through the fused CPU engine's own machinery (same chunks, same threads), so that only the
arithmetic differs. The addition is there so that no load can be left out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from ...backend import Array, Backend
from ...kernels.engine_table import get_engine
from ...kernels.rule import PLAIN, Rule
from ..measuring.candidate import Call
from ..measuring.synchronized import waited


def untouched(p, g, scale, decay, keep):
    w = p
    d = g
    return w, d


def move0(p, g):
    p = p + g
    return (p,)


def move1(p, g, a):
    p, a = a, p + g
    return p, a


def move2(p, g, a, b):
    p, a, b = a, b, p + g
    return p, a, b


def move3(p, g, a, b, c):
    p, a, b, c = a, b, c, p + g
    return p, a, b, c


@cache
def _rule(states: int) -> Rule:
    update = (move0, move1, move2, move3)[states]
    return Rule(f"move{states}", update, ("a", "b", "c")[:states], untouched)


def mover(arrays: tuple[Array, ...]) -> Callable[[], None]:
    """A call that reads every array once and writes every one but the second once."""
    engine, rule = get_engine("numba"), _rule(len(arrays) - 2)
    return lambda: engine.run(rule, arrays, PLAIN, True)


def limit(arrays: tuple[Array, ...], backend: Backend) -> Call:
    """What memory allows a step on `arrays`: `mover` on the CPU, a device copy on a GPU."""
    if backend.device == "cpu":
        return mover(arrays)
    written = (arrays[0], *arrays[2:])
    return copy_limit(sum(array.nbytes for array in (*arrays, *written)), backend)


def copy_limit(moved: int, backend: Backend) -> Call:
    """A copy that reads and writes `moved` bytes together, waited for."""
    source, target = (backend.xp.zeros(moved // 2, "uint8") for _ in range(2))

    return waited(partial(backend.xp.copyto, target, source), backend)
