"""How long a kernel's loop takes, by three limits: memory, instructions, and bytes under way."""

from __future__ import annotations

from typing import NamedTuple

from proving.roofline.counts import Counted
from proving.roofline.devices import DEPENDENT, REGISTERS, Device

_GRAIN = 8  # registers of a thread are given out in steps of so many


class Prediction(NamedTuple):
    """Of one kernel on one GPU.

    Attributes:
        seconds: for an element.
        share: of the speed of a copy.
        bound: what limits it: "memory", "instructions" or "latency".
    """

    seconds: float
    share: float
    bound: str


def predicted(kernel: Counted, device: Device) -> Prediction:
    """The longest of three times for an element.

    Memory: a copy of as many bytes. Instructions: those of the loop, begun one a cycle by each
    scheduler. Latency: each resident thread waits once a turn for what it loads, and some cycles
    after each instruction, and does nothing else meanwhile.
    """
    loop, turn = kernel.loop, kernel.elements
    there = device.multiprocessors * resident(kernel.registers, kernel.threads, device)
    waiting = device.latency + loop.instructions * DEPENDENT / device.hertz
    times = {
        "memory": kernel.bytes / device.copied,
        "instructions": loop.instructions / turn / device.instructions,
        "latency": waiting / turn / there,
    }
    bound = max(times, key=lambda name: times[name])
    return Prediction(times[bound], times["memory"] / times[bound], bound)


def resident(registers: int, threads: int, device: Device) -> int:
    """Threads of whole blocks that a multiprocessor holds at a time."""
    kept = -(-registers // _GRAIN) * _GRAIN
    return min(REGISTERS // (kept * threads), device.threads // threads) * threads
