"""JSON that people and `diff` read: a line for each field, and for each entry of a list."""

from __future__ import annotations

import json
from typing import Any


def to_json(content: dict[str, Any]) -> str:
    """`content` as JSON text, which `json.loads` reads back equal.

    Objects are broken into a line for each field, but for those that are an entry of a list, such
    as a measurement: an entry is one line, whatever it holds.
    """
    return _lines(content, "\n") + "\n"


def _lines(value: Any, start: str) -> str:
    """`start` is what a line of `value` begins with: a new line and how far it is indented."""
    inner = f"{start} "
    if isinstance(value, dict) and value:
        fields = (f"{json.dumps(key)}: {_lines(each, inner)}" for key, each in value.items())
        return f"{{{inner}{f',{inner}'.join(fields)}{start}}}"
    if isinstance(value, (list, tuple)) and value:
        return f"[{inner}{f',{inner}'.join(map(json.dumps, value))}{start}]"
    return json.dumps(value)
