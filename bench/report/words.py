"""Numbers in few letters, as tables, plots and pages show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .ratios import BreakEven
from .record import Report


def short_seconds(value: float) -> str:
    """Two digits and a unit: 5.7 ms."""
    for unit, factor in (("ns", 1e9), ("us", 1e6), ("ms", 1e3), ("s", 1.0)):
        if value * factor < 999.5 or unit == "s":
            break
    number = value * factor
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def short_bytes(value: float) -> str:
    """Two digits and a unit of a thousand times the one before: 5.7 MB."""
    for unit, factor in (("B", 1e0), ("kB", 1e-3), ("MB", 1e-6), ("GB", 1e-9)):
        if value * factor < 999.5 or unit == "GB":
            break
    number = value * factor
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def short_size(value: float) -> str:
    """Two digits: 1e6, 2.5e4; small whole numbers as they are."""
    if value < 999.5:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def short_ratio(value: float | None) -> str:
    """Two or three digits and x: 0.87 x, 17 x."""
    if value is None:
        return ""
    return f"{value:.2f} x" if value < 9.95 else f"{value:.0f} x"


def short_range(values: Sequence[float], words: Callable[[float], str]) -> str:
    """From the smallest to the largest, in words."""
    ends = words(min(values)), words(max(values))
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def break_even_words(found: BreakEven) -> str:
    """From where on it pays, in words."""
    if found.size is not None:
        return f"from {short_size(found.size)}"
    ends = f"{short_size(found.smallest)} to {short_size(found.largest)}"
    return f"always ({ends})" if found.when == "always" else f"never ({ends})"


def headline(report: Report) -> str:
    """Date, mode and how long it took, in one line."""
    took = f" in {short_seconds(report.seconds)}" if report.seconds else ""
    return f"onepass bench, {report.mode}, {report.date}: {len(report.measurements)} times{took}"
