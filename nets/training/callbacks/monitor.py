"""The figure of a run that a callback watches."""

from __future__ import annotations

from ..run import Run


def check_monitor(run: Run, monitor: str) -> None:
    """ValueError where the run's history won't have that figure."""
    names = ["loss", run.loss.metric]
    names += [f"val_{name}" for name in names] if run.validated else []
    if monitor not in names:
        needs = "" if run.validated else ", or validation=(x, y) for fit"
        raise ValueError(f"monitor is {monitor!r}; expected {', '.join(map(repr, names))}{needs}")


def larger_is_better(run: Run, monitor: str) -> bool:
    """Of a metric such as accuracy; losses and errors are better when smaller."""
    return run.loss.larger_is_better and not monitor.endswith("loss")
