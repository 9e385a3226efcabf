"""The gallery: each script of examples/ with its picture, what it printed, and its source.

A script is run once, as a user runs it, and what it wrote is kept in build/examples under a
checksum of the script and of the library; the tests of the examples leave theirs there, too.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .docstrings import prose, to_rst
from .reference import resolve

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
KEPT = ROOT / "build" / "examples"
ROOMS = ("backend", "kernels", "nets", "bench/limits")
NEEDS = {"torch_parameters.py": "torch"}
"""A package that a script can't do without, and that the manual does."""


class Example(NamedTuple):
    path: Path
    about: str
    """The first paragraph of its docstring."""
    text: str
    """The rest."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def title(self) -> str:
        return self.name.replace("_", " ").capitalize()


class Ran(NamedTuple):
    picture: Path
    printed: str


def examples() -> list[Example]:
    found = []
    for path in sorted(EXAMPLES.glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        about, _, text = doc.partition("\n\n")
        found.append(Example(path, about.replace("\n", " "), text))
    return found


def examples_of_names() -> dict[str, list[str]]:
    """Public names, and the examples that import them."""
    found: dict[str, list[str]] = {}
    for one in examples():
        for node in ast.walk(ast.parse(one.path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("onepass"):
                for alias in node.names:
                    found.setdefault(alias.name, []).append(one.name)
    return found


@cache
def _library() -> bytes:
    found = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            found.update(path.read_bytes())
    return found.digest()


def kept(path: Path) -> Ran | None:
    """What a script wrote when it, and the library, were as they are now."""
    folder = folder_of(path)
    picture, printed = folder / "picture.png", folder / "printed.txt"
    return Ran(picture, printed.read_text(encoding="utf-8")) if printed.exists() else None


def folder_of(path: Path) -> Path:
    """Where it is kept."""
    key = hashlib.sha256(_library() + path.read_bytes()).hexdigest()[:16]
    return KEPT / f"{path.stem}-{key}"


def keep(path: Path, picture: Path, printed: str) -> None:
    """Keep what a script wrote, and nothing that it wrote before."""
    for old in KEPT.glob(f"{path.stem}-*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = folder_of(path)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture, folder / "picture.png")
    (folder / "printed.txt").write_text(printed, encoding="utf-8")


def run(path: Path) -> Ran | None:
    """What a script writes, kept or new; None where it needs what is not installed.

    Raises:
        RuntimeError: it fails, with what it says.
    """
    if found := kept(path):
        return found
    if path.name in NEEDS and not _there(NEEDS[path.name]):
        return None
    picture = KEPT / f"{path.stem}.new.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(path), "--device", "cpu", "--out", str(picture)]
    one_core = {"OPENBLAS_NUM_THREADS": "1", "ONEPASS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | one_core
    )
    if done.returncode:
        raise RuntimeError(f"{path} fails:\n{done.stderr}")
    keep(path, picture, done.stdout)
    picture.unlink()
    return kept(path)


def _there(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def write_gallery(folder: Path) -> None:
    """Write a page for each example and one of all; run those whose results are not kept, two at
    a time.
    """
    folder.mkdir(exist_ok=True)
    found = examples()
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        ran = list(pool.map(run, [one.path for one in found]))
    pages = {"index.rst": index(found, ran)}
    for one, result in zip(found, ran, strict=True):
        if result:
            shutil.copyfile(result.picture, folder / f"{one.name}.png")
        pages[f"{one.name}.rst"] = page(one, result)
    for old in folder.iterdir():
        if old.name not in pages and old.stem not in {one.name for one in found}:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def page(one: Example, ran: Ran | None) -> str:
    lines = [one.title, "=" * len(one.title), "", prose(one.about, resolve), ""]
    if ran:
        lines += [f".. image:: {one.name}.png", f"   :alt: {_alt(one)}", ""]
    lines += [to_rst(one.text, resolve), ""]
    if ran:
        lines += ["It prints:", "", ".. code-block:: text", ""]
        lines += [
            f"   {line}" for line in ran.printed.splitlines() if not line.startswith("wrote ")
        ]
    else:
        lines.append(f"It needs {NEEDS[one.path.name]}, and was not run for this page.")
    lines += ["", f":download:`{one.path.name} <../../examples/{one.path.name}>`:", ""]
    lines += [f".. literalinclude:: ../../examples/{one.path.name}", "   :language: python", ""]
    return "\n".join(lines)


def _alt(one: Example) -> str:
    return one.about.replace("`", "")


def index(found: list[Example], ran: list[Ran | None]) -> str:
    lines = ["Gallery", "=======", ""]
    lines += [
        "Scripts that train or compute something in seconds, say what they found, and draw it.",
        "",
    ]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {one.name}" for one in found), ""]
    lines += [".. grid:: 1 2 3 3", "   :gutter: 3", ""]
    for one, result in zip(found, ran, strict=True):
        lines += [
            f"   .. grid-item-card:: {one.title}",
            f"      :link: {one.name}",
            "      :link-type: doc",
        ]
        lines += (
            [f"      :img-top: {one.name}.png", f"      :img-alt: {_alt(one)}"] if result else []
        )
        lines += ["", f"      {prose(one.about, resolve)}", ""]
    return "\n".join(lines)
