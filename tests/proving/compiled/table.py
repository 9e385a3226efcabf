"""The registers of every CUDA kernel: python -m proving.compiled.table [FILE.md] [--update]

Writes the table as Markdown to FILE.md, or to the terminal, and beside it FILE.json with every form
of every kernel. --update puts the table into proving/README.md, and what the compilers gave into
kept.json: a test holds both to the kernels that ship. What is kept there is not compiled again,
which --everything does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tolerances import DTYPES

from proving import layouts
from proving.account import ARCHITECTURES, Kernel, shipped
from proving.compiled import gate as cuda_gate
from proving.compiled import kept
from proving.compiled.versions import compilers
from proving.layouts import LAYOUTS

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- registers -->\n", "<!-- end of registers -->\n"


def needed() -> None:
    """Skip, with the reason, where not every kernel can be compiled."""
    for engine in dict.fromkeys(kernel.engine for kernel in shipped()):
        cuda_gate.needed(engine)


def heading(versions: dict[str, str]) -> str:
    """The line that tells what the table was made with."""
    return "Made with " + ", ".join(f"{name} {text}" for name, text in versions.items()) + ".\n"


def markdown() -> str:
    """A row for each engine and kernel; the most of any form for each GPU in turn. Those of encoded
    states compute in float32, whatever their arrays are."""
    head = ["engine", "kernel", *DTYPES]
    lines = [head, ["---"] * len(head)]
    for engine, name in dict.fromkeys(kernel[:2] for kernel in shipped()):
        dtypes = DTYPES if name not in LAYOUTS else ("", layouts.dtype(LAYOUTS[name]), "")
        cells = [_cell(Kernel(engine, name, dtype)) for dtype in dtypes]
        lines.append([f"`{engine}`", name.replace("_", " "), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(kernel: Kernel) -> str:
    def most(architecture: str) -> int:
        return max(form.registers for form in cuda_gate.reports(kernel, architecture).values())

    if kernel not in {*shipped()}:
        return "-"
    return " ".join(str(most(architecture)) for architecture in ARCHITECTURES)


def records() -> Iterator[dict[str, Any]]:
    """One for each form of each kernel: registers and spilled bytes by compute capability."""
    for kernel in shipped():
        found = {each: cuda_gate.reports(kernel, each) for each in ARCHITECTURES}
        for form in found[ARCHITECTURES[0]]:
            reports = {each: found[each][form] for each in ARCHITECTURES}
            yield {
                **kernel._asdict(),
                "form": form,
                "registers": {each: report.registers for each, report in reports.items()},
                "spilled_bytes": {each: report.spilled for each, report in reports.items()},
            }


def write(file: Path) -> None:
    """The table to `file`, and every form beside it as JSON."""
    table, versions = markdown(), compilers()
    content = {"compilers": versions, "kernels": list(records())}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{heading(versions)}\n{table}", encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def replaced(document: str, made: str) -> str:
    """The document with another table between its marks."""
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the document lacks the marks {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}{made}{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="Markdown; JSON is written beside it")
    parser.add_argument(
        "--update", action="store_true", help="renew the table in proving/README.md, and kept.json"
    )
    parser.add_argument("--everything", action="store_true", help="compile what is kept, too")
    options = parser.parse_args(arguments)
    if options.everything:
        os.environ[kept.ALL] = "1"
    try:
        needed()
        if options.update:
            cuda_gate.needed_for_code()
        made = f"{heading(compilers())}\n{markdown()}"
    except pytest.skip.Exception as missing:
        print(f'{missing}; to install what is needed: pip install -e ".[test,cuda-check]"')
        return 1
    if options.update:
        README.write_text(replaced(README.read_text(encoding="utf-8"), made), encoding="utf-8")
        kept.write()
    if options.file:
        write(options.file)
    elif not options.update:
        print(made, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
