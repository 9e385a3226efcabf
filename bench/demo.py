"""The gain of the fused steps over the array path, as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.progress import track
from rich.table import Table

from ..backend import Backend
from ..kernels import engines
from .cases.sizes import GAIN
from .cases.steps import CASES, assert_same
from .measuring.synchronized import waited
from .measuring.timing import interleaved


def print_gain(backend: Backend, console: Console, dtype: str = "float32") -> None:
    """Time every rule's array path and fused path at three sizes and print time and gain."""
    engine = engines()["numba" if backend.device == "cpu" else "cupy"]
    if not engine.available:
        console.print(f"nothing to time: engine {engine.name!r} can't be used: {engine.reason}")
        return
    table = Table(
        title=f"One optimizer step on {backend.device}, {dtype}: array expressions -> fused"
    )
    table.add_column("rule")
    for label in GAIN:
        table.add_column(f"{label} elements", justify="right")
    rows = [(case, size) for case in CASES.values() for size in GAIN.values()]
    cells: list[str] = []
    for case, size in track(rows, "timing", console=console, transient=True):
        assert_same(case, min(size, 10_000), dtype, backend, "auto")
        arrays = case.arrays(size, dtype, backend)

        times = interleaved(
            {
                "array": waited(case.call(arrays, "array"), backend),
                "fused": waited(case.call(arrays, "auto"), backend),
            },
            rounds=3,
            block=2e-3,
            least=1,
            pause=0.0,
        )
        plain, fused = times["array"].median, times["fused"].median
        cells.append(f"{_seconds(plain)} -> {_seconds(fused)}  {plain / fused:5.1f} x")
    for k, name in enumerate(CASES):
        table.add_row(name, *cells[k * len(GAIN) : (k + 1) * len(GAIN)])
    console.print(table)


def _seconds(value: float) -> str:
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if value * factor < 1000:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"
