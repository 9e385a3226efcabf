"""Compiling ahead, so that no training step does."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..backend import EngineUnavailableError, get_backend
from .engines import find_engine
from .rules import RULES


def warmup(
    dtypes: str | Iterable[str] = ("float32",),
    engine: str = "auto",
    rules: Iterable[str] | None = None,
) -> None:
    """Compile rules now instead of at their first call.

    Each takes about 1 s, once: the machine code is kept on disk.

    Args:
        dtypes: one or several of "float16", "float32", "float64".
        engine: one engine's name; "auto" means the one that "auto" picks on the current device.
        rules: names of rules; all by default.

    Raises:
        ValueError: an unknown rule, dtype or engine.
        EngineUnavailableError: the engine can't be used here.
    """
    names = list(RULES if rules is None else rules)
    for name in names:
        if name not in RULES:
            raise ValueError(f"rules holds {name!r}; expected {', '.join(map(repr, RULES))}")
    backend = get_backend("auto" if engine == "auto" else _device_for(engine))
    for dtype in [dtypes] if isinstance(dtypes, str) else dtypes:
        if dtype not in ("float16", "float32", "float64"):
            raise ValueError(f"dtypes holds {dtype!r}; expected 'float16', 'float32' or 'float64'")
        chosen = find_engine(engine, backend.asarray(np.zeros(1, dtype)), contiguous=True)
        with backend.scope():
            for name in names:
                chosen.warmup(RULES[name], dtype)
                chosen.warmup(RULES[name].without_decay, dtype)


def _device_for(engine: str) -> str:
    from .engines import engines

    status = engines().get(engine)
    if status is None or "cpu" in status.devices:
        return "cpu"
    if not status.available:
        raise EngineUnavailableError(
            f"engine {engine!r} can't be used: {status.reason}. {status.remedy}"
        )
    return "cuda"
