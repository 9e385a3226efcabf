"""The reference: a page for every public name, and one that lists them all by their rooms."""

from __future__ import annotations

import re
from pathlib import Path

from .docstrings import prose, to_rst
from .names import Public, public_names

TITLES = {
    "onepass.backend": "Devices and arrays",
    "onepass.kernels.rules": "Optimizer steps",
    "onepass.kernels.batch_norm": "Batch normalization",
    "onepass.kernels.norms": "Norms of rows",
    "onepass.kernels.activation": "Activations",
    "onepass.kernels.inverted_dropout": "Dropout",
    "onepass.kernels.softmax": "Softmax cross-entropy",
    "onepass.kernels.state_formats": "States in 16 and 8 bits",
    "onepass.kernels.rule_engines": "Engines",
    "onepass.kernels.crew": "Threads",
    "onepass.kernels": "For all of them",
    "onepass.nets.layers": "Layers",
    "onepass.nets.network": "Networks and predictions",
    "onepass.nets.losses": "Losses",
    "onepass.nets.optimizers.schedules": "Learning rates",
    "onepass.nets.optimizers": "Optimizers",
    "onepass.nets.training": "Training",
    "onepass.nets.saving": "Saving and loading",
    "onepass.nets.parallel": "Several processes",
    "onepass.nets.estimators": "Estimators for scikit-learn",
    "onepass.nets.tuning": "Searching hyperparameters",
    "onepass.nets.data": "Data",
    "onepass.nets.diagnosis": "Diagnosis",
    "onepass.nets.command": "Recipes",
}
"""A room and what is in it, in the order of the page. A room without a line has its own name."""
PACKAGES = {
    "onepass": "`onepass`: devices",
    "onepass.kernels": "`onepass.kernels`: steps and operations on arrays",
    "onepass.nets": "`onepass.nets`: networks",
}


def write_reference(folder: Path, examples: dict[str, list[str]]) -> None:
    """Write all pages, and take away those of names that are gone.

    Args:
        folder: where.
        examples: name -> the examples that import it.
    """
    folder.mkdir(exist_ok=True)
    pages = {
        f"{full}.rst": page(one, examples.get(one.name, [])) for full, one in public_names().items()
    }
    pages["index.rst"] = index()
    for old in folder.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def resolve(said: str) -> str | None:
    """The full name of what a docstring calls `said`: `Adam`, `kernels.adam_step`, `fit()`."""
    bare = said.removesuffix("()")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", bare):
        return None
    names = public_names()
    for full in (bare, f"onepass.{bare}", *(f"{package}.{bare}" for package in reversed(PACKAGES))):
        if full in names:
            return full
    return None


def room_of(one: Public) -> str:
    """The room whose title a name stands under: the longest that its module begins with.

    A room that nobody gave a title, below one of the packages, is itself.
    """
    rooms = [room for room in TITLES if f"{one.room}.".startswith(f"{room}.")]
    room = max(rooms, key=len, default="")
    parts = one.room.split(".")
    return ".".join(parts[:3]) if room in PACKAGES and len(parts) > 3 else room or one.room


def _package(one: Public) -> str:
    return one.full.rpartition(".")[0]


def page(one: Public, examples: list[str]) -> str:
    title = one.full.removeprefix("onepass.")
    head = [_heading(title, "="), f".. currentmodule:: {_package(one)}", ""]
    if one.kind == "data":
        text = to_rst(one.doc, resolve)
        body = [f".. py:data:: {one.name}", "", *(f"   {line}" for line in text.split("\n")), ""]
        body += ["   .. code-block:: python", "", *(f"      {key!r}" for key in one.thing), ""]
    else:
        options = ["   :members:", "   :show-inheritance:"] if one.kind != "function" else []
        body = [f".. auto{one.kind}:: {one.full}", *options, ""]
    if examples:
        links = ", ".join(f":doc:`{each} </gallery/{each}>`" for each in examples)
        body += [f"Examples: {links}.", ""]
    return "\n".join([*head, *body])


def index() -> str:
    """Every name with the first line of its docstring, by rooms."""
    lines = [_heading("Reference", "=")]
    lines += ["Every public name, with its formula, shapes, errors and sources.", ""]
    lines += [".. toctree::", "   :hidden:", ""]
    lines += [
        f"   {one.full.removeprefix('onepass.')} <{full}>" for full, one in public_names().items()
    ]
    lines.append("")
    for package, title in PACKAGES.items():
        lines += [_heading(title.replace("`", "``"), "-"), f".. py:module:: {package}", ""]
        rooms: dict[str, list[Public]] = {}
        for one in public_names().values():
            if _package(one) == package:
                rooms.setdefault(room_of(one), []).append(one)
        order = [*TITLES]
        for room in sorted(rooms, key=lambda room: order.index(room) if room in TITLES else 99):
            lines += [_heading(TITLES.get(room, room.rpartition(".")[2].replace("_", " ")), "~")]
            lines += [".. list-table::", "   :widths: 30 70", "   :class: names", ""]
            for one in rooms[room]:
                first = prose(one.doc.split("\n\n")[0].replace("\n", " "), resolve)
                lines += [f"   * - :py:obj:`{one.name} <{one.full}>`", f"     - {first}"]
            lines.append("")
    return "\n".join(lines)


def _heading(title: str, line: str) -> str:
    return f"{title}\n{line * len(title)}\n"
