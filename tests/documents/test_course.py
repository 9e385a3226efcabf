"""The course table: every technique is in it, its example runs, and what it names exists."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import onepass
import pytest
from programs import TESTS

ROOT = Path(onepass.__file__).parent
README = ROOT / "examples" / "README.md"
COLUMNS = ["row", "technique", "formula", "where", "example", "test"]
ROWS = [
    f"{part}{k}"
    for part, count in {"V": 3, "N": 8, "R": 10, "O": 15, "B": 5, "T": 5}.items()
    for k in range(1, count + 1)
]

pytestmark = pytest.mark.skipif(
    not README.exists(), reason="examples are not part of an installed wheel"
)


def read():
    return README.read_text(encoding="utf-8") if README.exists() else ""


def course(text):
    """The rows of the course's tables, each {column: cell}; AssertionError names a bad line."""
    rows = []
    for line in text.partition("## The course")[2].splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = line.strip("| ").split(" | ")
            assert len(cells) == len(COLUMNS), f"{len(cells)} cells in: {line}"
            if cells != COLUMNS:
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def code(cell):
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def preamble(text):
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return block


def functions(path):
    """The tests of a file, read without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def missing_tests(cell):
    """Those that a cell names and that don't exist."""
    named = [name.partition("::") for name in code(cell)]
    return [
        f"{file}::{test}"
        for file, _, test in named
        if not (TESTS / file).is_file() or test not in functions(TESTS / file)
    ] or ([] if named else ["none at all"])


def missing_places(cell):
    """Files and public names that a cell names and that don't exist.

    A name is looked for in the files named before it in the cell, else in onepass or its parts.
    """
    import_module("sklearn.experimental.enable_halving_search_cv")
    absent, scope = [], [onepass, onepass.kernels, onepass.nets]
    for word in code(cell):
        if "/" in word:
            if not (ROOT / word).exists():
                absent.append(word)
            elif word.endswith(".py") and not word.startswith("examples/"):
                name = word.removesuffix(".py").replace("/", ".")
                scope.insert(0, import_module(f"onepass.{name}"))
        elif re.fullmatch(r"(kernels\.)?\w+", word) and not word.isdigit():
            last = word.rpartition(".")[2]
            outside = import_module("sklearn.model_selection"), import_module("builtins")
            if not any(hasattr(module, last) for module in (*scope, *outside)):
                absent.append(word)
    return absent


TABLE = {row["row"]: row for row in course(read())}


def test_every_technique_is_there_once():
    assert [row["row"] for row in course(read())] == ROWS


@pytest.mark.parametrize("row", ROWS)
def test_what_a_row_names_exists(row):
    pytest.importorskip("sklearn", reason="some rows name what stands on scikit-learn")
    assert not missing_tests(TABLE[row]["test"])
    assert not missing_places(TABLE[row]["where"])
    assert TABLE[row]["formula"]


@pytest.mark.parametrize("row", ROWS)
def test_a_rows_example_runs(row):
    """As someone types it: after the README's block, on its own; it gives or changes something."""
    pytest.importorskip("sklearn", reason="the README's block imports it")
    (example,) = code(TABLE[row]["example"])
    if example.startswith("python examples/"):
        run = f'run("{Path(example.split()[1]).name}"'
        assert run in (TESTS / "documents" / "test_examples.py").read_text(encoding="utf-8")
        return
    scope: dict[str, Any] = {}
    with onepass.use_device("cpu"):
        exec(compile(preamble(README.read_text(encoding="utf-8")), str(README), "exec"), scope)
        before = scope["p"].copy()
        value = eval(compile(example, f"<{row}>", "eval"), scope)
    values = value if isinstance(value, tuple) else (value,)
    assert any(each is not None for each in values) or (scope["p"] != before).all()


def test_every_script_is_listed():
    listed = re.findall(r"^\| `python examples/(\w+\.py)` \|", read(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in README.parent.glob("*.py"))


def test_mistakes_in_the_table_are_seen():
    pytest.importorskip("sklearn", reason="some rows name what stands on scikit-learn")
    text = read()
    assert "R3" not in {row["row"] for row in course(text.replace("| R3 |", "| R3 and R4 |"))}
    with pytest.raises(AssertionError, match="7 cells in"):
        course(text.replace("| R3 |", "| R3 | more |"))
    assert missing_tests("`kernels/test_rules.py::test_no_such`, `test_no_file.py::test_it`") == [
        "kernels/test_rules.py::test_no_such",
        "test_no_file.py::test_it",
    ]
    assert missing_tests("nothing") == ["none at all"]
    assert missing_places(
        "`nets/losses/softmax_cross_entropy.py` `SoftmaxCrossEntropy`, `SoftmaxCrossEntropie`"
    ) == ["SoftmaxCrossEntropie"]
    assert missing_places("`nets/loses.py`") == ["nets/loses.py"]
