"""The sheet of states in 16 and 8 bits: a row a rule and size, beside the step in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...measuring.measurement import Measurement
from ..words import short_ratio, short_seconds
from .sheet import Sheet, once

BESIDE = {
    "bfloat16": "bfloat16:\nquicker",
    "limit bfloat16": "\nits limit",
    "8bit": "8 bits:\nquicker",
    "limit 8bit": "\nits limit",
}
"""Path -> the column with the time of float32, or of its limit, over that of the path."""
PEERS = {
    "torch fused": "beside 8 bits:\ntorch fused",
    "deepspeed": "\nDeepSpeed",
    "bitsandbytes": "\nbitsandbytes\n8 bits",
    "torchao": "\ntorchao\n8 bits",
}
"""Path -> the column with its time over that of ours in 8 bits."""


def state_formats(title: str, works: Sequence[Mapping[str, Measurement]]) -> Sheet:
    """Times of float32, and how many times as quick the others are."""
    rows = []
    for paths in works:
        time = {path: found.timing.median for path, found in paths.items()}
        if "float32" not in time:
            continue
        first = paths["float32"]
        of = {path: "limit float32" if path.startswith("limit") else "float32" for path in BESIDE}
        rows.append(
            (
                first.operation,
                first.label,
                short_seconds(time["float32"]),
                *(_over(time, of[path], path) for path in BESIDE),
                *(_over(time, path, "8bit") for path in PEERS),
            )
        )
    columns = ("rule", "size", "float32", *BESIDE.values(), *PEERS.values())
    return Sheet("state-formats", title, columns, once(rows), words=2)


def _over(time: Mapping[str, float], path: str, other: str) -> str:
    return short_ratio(time[path] / time[other] if path in time and other in time else None)
