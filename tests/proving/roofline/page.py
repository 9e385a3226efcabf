"""The page of predictions: python -m proving.roofline.page [FILE.md] [--update]

Writes it to FILE.md or to the terminal; --update puts it into proving/roofline/README.md, where
tests hold it to what is counted now. It takes whatever kernels the engine "cupy" ships and the
compile gate has forms of: for a new one counts.py is to be told what it reads and writes an
element.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from proving.compiled import gate
from proving.compiled.versions import compilers
from proving.roofline import counts
from proving.roofline.counts import Counted
from proving.roofline.devices import COPY, DEPENDENT, DEVICES
from proving.roofline.model import predicted

PAGE = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).resolve().parents[3] / "bench" / "results"
SIZE = 64_000_000
_PACKAGES = ("cupy-cuda13x", "nvidia-cuda-nvrtc")

_HEAD = """# How fast the GPU kernels should be: a prediction

**PREDICTION. Nothing on this page was measured: {results}.** It is
made from machine code and from data sheets, and what `make gpu` measures will count in its place.

Made by `PYTHONPATH=tests python -m proving.roofline.page --update`, for sm_90 and {dtype}, with
{versions}. Every kernel of the engine `cupy` with a loop over
elements is there, in each form but those for arrays with gaps and of more than 2^30 elements.

For {size:,} elements a kernel is taken to need the longest of three times:

- **memory**: the bytes an element, at {copy:.0f} % of the data sheet's bandwidth, which is what a
  copy on the device is taken to reach;
- **instructions**: those of the loop that moves most, by nvdisasm, without what is called for rare
  numbers; each of a multiprocessor's four schedulers begins one a cycle, for 32 threads. Where a
  loop has two ways (16 bytes at a time, or one element), both are counted;
- **latency**: each thread that fits a multiprocessor, by its registers, waits once a turn of the
  loop for what it loads, and {dependent} cycles for each instruction, and does nothing else then.

The share is that of the copy's speed: memory's time over the longest. Launches, L2 caches that
hold small arrays and the tail of a grid are left out; so are kernels with a thread a channel.
"""


def page() -> str:
    """All of it."""
    versions = compilers()
    parts = [
        _HEAD.format(
            results=_results(),
            versions=", ".join(f"{name} {versions[name]}" for name in _PACKAGES),
            dtype=counts.DTYPE,
            size=SIZE,
            copy=100 * COPY,
            dependent=DEPENDENT,
        ),
        "## The devices\n\n" + _lines(_devices()),
        "## The kernels\n\nMicroseconds, share of the copy, and what bounds it.\n\n"
        + _lines(_kernels(counts.names())),
        "## The calls\n\nKernels of this library that a call launches, once all is compiled.\n\n"
        + _lines(_calls()),
    ]
    return "\n".join(parts)


def _results() -> str:
    """What is there to hold it against."""
    found = sorted(file.name for file in RESULTS.glob("*-gpu-*-proof.json"))
    return (
        f"results are in bench/results/: {', '.join(found)}"
        if found
        else ("no GPU was at hand, and bench/results/ has no result of one")
    )


def _devices() -> Iterator[Sequence[str]]:
    yield "GPU", "multiprocessors", "GHz", "TB/s", "threads of one", "latency, us (assumed)"
    for one in DEVICES:
        yield (
            one.name, str(one.multiprocessors), f"{one.hertz / 1e9:g}",
            f"{one.bytes_per_second / 1e12:g}", str(one.threads), f"{one.latency * 1e6:g}",
        )  # fmt: skip


def _kernels(names: Iterable[str]) -> Iterator[Sequence[str]]:
    yield (
        "kernel", "form", "bytes", "registers", "elements a turn", "instructions an element",
        *(one.name for one in DEVICES),
    )  # fmt: skip
    for name in names:
        for kernel in counts.counted(name):
            yield row(kernel)


def row(kernel: Counted) -> Sequence[str]:
    """One form of a kernel."""
    known = kernel.values is not None
    return (
        kernel.kernel.replace("_", " "),
        kernel.form,
        str(kernel.bytes) if known else "not told",
        str(kernel.registers),
        f"{kernel.elements:g}" if known else "",
        f"{kernel.instructions:.3g}" if known else "",
        *(_predicted(kernel, k) for k in range(len(DEVICES))),
    )


def _predicted(kernel: Counted, device: int) -> str:
    found = predicted(kernel, DEVICES[device])
    told = f"{found.share:.2f} {found.bound}"
    return told if kernel.values is None else f"{found.seconds * SIZE * 1e6:.0f}, {told}"


def _calls() -> Iterator[Sequence[str]]:
    yield "call", "launches", "kernels"
    for what, make in counts.calls().items():
        seen = counts.launched(make)
        yield what, str(len(seen)), ", ".join(name.replace("_", " ") for name in seen)


def _lines(rows: Iterable[Sequence[str]]) -> str:
    head, *others = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *others))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="default: the terminal")
    parser.add_argument("--update", action="store_true", help="write proving/roofline/README.md")
    options = parser.parse_args(arguments)
    try:
        gate.needed_for_code()
        made = page()
    except pytest.skip.Exception as missing:
        print(f'{missing}; to install what is needed: pip install -e ".[test,cuda-check]"')
        return 1
    files = [PAGE] * options.update + ([options.file] if options.file else [])
    for file in files:
        file.write_text(made, encoding="utf-8")
    if not files:
        print(made, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
