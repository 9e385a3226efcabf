"""CUDA C text as g++ takes it: no comments, and shared memory that the block has."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_DECLARATOR = r"\w+(?:\s*\[[^\]]*\])*"
_SHARED = re.compile(
    r"(?P<extern>extern\s+)?__shared__\s+(?:__align__\(\w+\)\s+)?(?P<type>(?:\w+\s+)+)"
    rf"(?P<names>{_DECLARATOR}(?:\s*,\s*{_DECLARATOR})*)\s*;"
)


def without_comments(code: str) -> str:
    """The same lines, without their comments."""
    return _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), code)


def with_shared_memory(code: str, name: str) -> str:
    """`code` without `__shared__`; an AssertionError names the kernel, if one can't be read."""
    text = _SHARED.sub(_declare, code)
    assert "__shared__" not in text, f"{name}: a declaration of __shared__ is unreadable"
    return text


def _declare(found: re.Match[str]) -> str:
    """A declaration of shared memory, as one of a reference into what the block has."""
    kind, text = found["type"].strip(), ""
    for declarator in found["names"].split(","):
        name = declarator.split("[")[0].strip()
        sizes = declarator.strip().removeprefix(name)
        if found["extern"]:
            text += f"{kind} *const {name} = ({kind} *)onepass::shared_memory(nullptr, 0); "
        else:
            memory = f"onepass::shared_memory(&{name}_key, sizeof({kind} {sizes}))"
            text += (
                f"static char {name}_key; {kind} (&{name}){sizes} = *({kind} (*){sizes}){memory}; "
            )
    return text + "\n" * found[0].count("\n")
