"""README's Python blocks run as they stand, one after another."""

from __future__ import annotations

import json
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
    scores = [float(line) for line in capsys.readouterr().out.split()]
    assert len(scores) == 2
    assert min(scores) > 0.9


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
def test_its_figure_is_that_of_the_committed_result():
    text = " ".join(README.read_text(encoding="utf-8").split())
    name = re.search(r"take 3\.7 ms \(\[results\]\((bench/results/[\w.-]+)\)\)", text)[1]
    measured = json.loads((README.parent / name).read_text(encoding="utf-8"))["measurements"]
    wanted = {"section": "steps", "operation": "adam", "label": "1e7", "dtype": "float32"}
    seconds = {
        one["path"]: one["timing"]["median"] for one in measured if wanted.items() <= one.items()
    }
    array, fused, limit = (seconds[path] for path in ("array", "numba", "limit"))
    assert f"{1e3 * array:.0f} ms in NumPy expressions" in text
    assert f"**{1e3 * fused:.1f} ms fused ({array / fused:.0f} x)**" in text
    assert f"addition take {1e3 * limit:.1f} ms" in text


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
def test_the_changelog_begins_with_this_version():
    text = (README.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", text, re.MULTILINE)
    assert versions[0] == onepass.__version__
    assert versions == sorted(versions, reverse=True)


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
