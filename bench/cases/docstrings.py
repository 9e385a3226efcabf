"""Texts that are there wherever scikit-learn is: docstrings, each by the module that it is from."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("numba", "numpy", "scipy", "sklearn")
"""Whose docstrings are read; their files are read as text, nothing is imported."""

WORDS = 20
"""That a docstring has at least."""

MEMBERS = 50
"""Docstrings that a module has at least; those of smaller ones are left out."""

_DOCSTRING = re.compile(r'"""(.+?)"""', re.DOTALL)


@cache
def docstrings(packages: tuple[str, ...] = PACKAGES) -> tuple[list[str], list[str]]:
    """Texts, and the module of each, such as "scipy.stats"; the same for the same versions.

    Tests are left out, and what is in none of a package's folders.
    """
    texts, modules = [], []
    for package in packages:
        for root in map(Path, _folders(package)):
            for file in sorted(root.rglob("*.py")):
                folder, *_ = parts = file.relative_to(root).parts
                if len(parts) > 1 and "tests" not in parts:
                    found = _DOCSTRING.findall(file.read_text(encoding="utf-8", errors="replace"))
                    long = [text for text in found if len(text.split()) >= WORDS]
                    texts += long
                    modules += [f"{package}.{folder}"] * len(long)
    members = Counter(modules)
    kept = [k for k, module in enumerate(modules) if members[module] >= MEMBERS]
    return [texts[k] for k in kept], [modules[k] for k in kept]


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    return [] if spec is None else list(spec.submodule_search_locations or ())
