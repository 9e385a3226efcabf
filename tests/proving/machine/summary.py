"""The result of the proof on a GPU as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

VERDICTS = {
    0: "Everything was proven.",
    1: "Something failed.",
    2: "Not everything could be run to its end; nothing that ran failed.",
}
MOST = 20  # lines of one kind


def summary(result: dict[str, Any]) -> str:
    """What a person wants to know of `result`, the content of the JSON file."""
    gpu = result["machine"]["gpu"]
    what = gpu["name"] if gpu["available"] else "no GPU"
    parts = [
        [f"# {result['date']}: {what}", "", f"**{VERDICTS[result['status']]}**"],
        [f"**This is {result['kind']}.**"] if "worthless" in result else [],
        _machine(result),
        _stages(result["stages"]),
        *(_details(stage) for stage in result["stages"]),
        _figures(result["benchmark"]),
        _calls(result["benchmark"]),
        _rates(result["benchmark"]),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _machine(result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    facts = {
        **{name: value for name, value in machine["gpu"].items() if name != "available"},
        "processor": machine["cpu"],
        **machine["versions"],
        "commit": result["commit"],
        "began": result["began"],
        "took": f"{result['seconds']:.0f} s",
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value not in ("", None)]
    lines += [f"- {name} is not there: {what}" for name, what in machine["left_out"].items()]
    said = [f"    {line}" for line in machine["nvidia_smi"]]
    return lines + ["", *said] * bool(said)


def _stages(stages: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        (s["name"], f"**{s['outcome']}**", f"{s['seconds']:.0f} s", _cell(s["reason"]))
        for s in stages
    ]
    return ["## Stages", "", *_table(("stage", "outcome", "took", "why"), rows)]


def _details(stage: dict[str, Any]) -> list[str]:
    found, lines = stage["details"], list[str]()
    counts = {word: found[word] for word in ("passed", "failed", "skipped") if word in found}
    if counts:
        lines.append(", ".join(f"{number} {word}" for word, number in counts.items()))
    for name in (
        *("runs held to the oracle", "kernels launched", "measurements", "figures judged"),
    ):
        if name in found:
            lines.append(f"- {name}: {found[name]}")
    for name in ("kernels not launched", "passed alone only", "not begun"):
        if found.get(name):
            more = len(found[name]) - MOST
            lines.append(f"- {name}: {', '.join(found[name][:MOST])}")
            lines[-1] += f" and {more} more" if more > 0 else ""
    for name, reason in list(found.get("left out", {}).items())[:MOST]:
        lines.append(f"- left out: {name} ({_cell(reason)})")
    for name, reason in list(found.get("skipped because", {}).items())[:MOST]:
        lines.append(f"- {reason} skipped: {_cell(name)}")
    failed = [*found.get("failures", ()), *found.get("output", ())]
    lines += [f"- **failed**: `{_cell(name)}`" for name in failed[:MOST]]
    if len(failed) > MOST:
        lines.append(f"- and {len(failed) - MOST} more: the JSON file has them all")
    if "runs" in found:
        rows = [
            (name, run["errors"], run.get("kernels", ""), f"{run['seconds']:.0f} s")
            for name, run in found["runs"].items()
        ]
        lines += ["", *_table(("tool and kernels", "found", "launched", "took"), rows)]
    for name, last in found.get("rehearsal", {}).items():
        lines.append(f"- rehearsal on {name}: {_cell(last)}")
    return [f"## {stage['name']}", "", *lines] if lines else []


def _figures(report: dict[str, Any] | None) -> list[str]:
    rows = [
        (
            one["figure"].strip(),
            f"{one['value']:.2f}",
            "" if one["at_least"] is None else f"{one['at_least']:g}",
            "" if one["at_least"] is None else "yes" if one["reached"] else "**no**",
        )
        for one in (report or {}).get("figures", ())
        if "at_least" in one
    ]
    heading = "## Figures: how many times as long the first of the two takes"
    return [heading, "", *_table(("figure", "value", "aim", "reached"), rows)] if rows else []


def _calls(report: dict[str, Any] | None) -> list[str]:
    """Microseconds for which a call keeps the host, by each path."""
    found = [one for one in (report or {}).get("measurements", ()) if one["section"] == "calls"]
    paths = list(dict.fromkeys(one["path"] for one in found))
    times = {
        (one["operation"], one["label"], one["path"]): f"{one['timing']['median'] * 1e6:.1f}"
        for one in found
    }
    rows = [
        (f"{what} {label}", *(times.get((what, label, path), "") for path in paths))
        for what, label in dict.fromkeys(key[:2] for key in times)
    ]
    heading = "## Microseconds of the host for a call that nobody waits for"
    return [heading, "", *_table(("call", *paths), rows)] if rows else []


def _rates(report: dict[str, Any] | None) -> list[str]:
    """Gigabytes a second of what must be moved, by the GPU's own time."""
    found = [one for one in (report or {}).get("measurements", ()) if one["section"] == "kernels"]
    paths = list(dict.fromkeys(one["path"] for one in found))
    rates = {
        (one["operation"], one["label"], one["dtype"], one["path"]): (
            f"{one['bytes'] / one['timing']['median'] / 1e9:.0f}"
        )
        for one in found
    }
    rows = [
        (*key, *(rates.get((*key, path), "") for path in paths))
        for key in dict.fromkeys(key[:3] for key in rates)
    ]
    heading = "## GB/s of what must be moved, by the GPU's own time; limit is a copy on the device"
    return [heading, "", *_table(("what", "size", "dtype", *paths), rows)] if rows else []


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _cell(text: str) -> str:
    """One line that is no Markdown of its own."""
    return " ".join(str(text).split()).replace("|", "\\|")[:300]
