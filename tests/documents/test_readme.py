"""README's Python blocks run as they stand, one after another."""

from __future__ import annotations

import re
from pathlib import Path

import onepass
import pytest

README = Path(onepass.__file__).parent / "README.md"


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
def test_python_blocks_run(capsys):
    pytest.importorskip("sklearn", reason="README's network trains on scikit-learn's digits")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    scope = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert float(capsys.readouterr().out.split()[-1]) > 0.9


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
def test_the_rooms_of_the_benchmarks_are_those_that_are_there():
    bench = README.parent / "bench"
    text = (bench / "README.md").read_text(encoding="utf-8")
    rooms = text.partition("## The rooms\n")[2].partition("\n## ")[0]
    told = re.findall(r"[a-z_]+(?:\.py|/)", rooms)
    there = [path.name for path in bench.glob("*.py") if path.name != "__init__.py"]
    there += [f"{path.name}/" for path in bench.iterdir() if path.is_dir() and path.name[0] != "_"]
    assert sorted(told) == sorted(there)


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "bench/README.md"])
def test_links_and_files_of_the_benchmarks_exist(name):
    file = README.parent / name
    text = file.read_text(encoding="utf-8")
    links = [file.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = [README.parent / path for path in re.findall(r"`(bench/[\w./-]+)`", text)]
    if name == "bench/README.md":
        named += [file.parent / path for path in re.findall(r"`([a-z]+/[\w.]*)`", text)]
    assert links + named
    assert [str(path) for path in links + named if not path.exists()] == []
