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
        _machine(result),
        _stages(result["stages"]),
        *(_details(stage) for stage in result["stages"]),
        _figures(result["benchmark"]),
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
    return [f"- {name}: {value}" for name, value in facts.items() if value not in ("", None)]


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
    for name in ("kernels launched", "measurements", "figures judged"):
        if name in found:
            lines.append(f"- {name}: {found[name]}")
    for name in ("kernels not launched", "passed alone only", "not begun"):
        if found.get(name):
            lines.append(f"- {name}: {', '.join(found[name])}")
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


def _rates(report: dict[str, Any] | None) -> list[str]:
    """Gigabytes a second of what must be moved, at the largest size of each rule."""
    found = [
        one
        for one in (report or {}).get("measurements", ())
        if one["section"] == "steps" and one["dtype"] == "float32"
    ]
    most = max((one["size"] for one in found), default=0)
    found = [one for one in found if one["size"] == most]
    paths = list(dict.fromkeys(one["path"] for one in found))
    rates = {
        (one["operation"], one["path"]): one["bytes"] / one["timing"]["median"] / 1e9
        for one in found
    }
    rows = [
        (rule, *(f"{rates[rule, p]:.0f}" if (rule, p) in rates else "" for p in paths))
        for rule in dict.fromkeys(one["operation"] for one in found)
    ]
    heading = f"## GB/s of one step on {most:,} float32 parameters; limit is a copy on the device"
    return [heading, "", *_table(("rule", *paths), rows)] if rows else []


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _cell(text: str) -> str:
    """One line that is no Markdown of its own."""
    return " ".join(str(text).split()).replace("|", "\\|")[:300]
