"""The manual's pages: their blocks run as they stand, what they include and name is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import onepass
import pytest
from onepass import kernels, nets
from onepass.backend import devices
from onepass.backend.failures import NUMBA_OFF

pytest.importorskip("manual", reason="the manual is not part of an installed wheel")

from manual.course import PICTURES, course
from manual.gallery import examples
from manual.names import public_names
from manual.plots import DRAWN
from manual.readmes import PAGES, expanded, linked, sections
from manual.reference import TITLES, index, resolve, room_of, write_reference
from manual.tables import TABLES

ROOT = Path(onepass.__file__).parent
DOCS = ROOT / "docs"
FILES = sorted(DOCS.glob("*.md"))
each_page = pytest.mark.parametrize("page", FILES, ids=lambda path: path.stem)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


WITH_CODE = [path for path in FILES if blocks(path.read_text(encoding="utf-8"), "python")]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda path: path.stem)
def test_python_blocks_run(page, tmp_path):
    """One after another, in a process of their own."""
    pytest.importorskip("sklearn", reason="pages train on scikit-learn's digits")
    script, folder = tmp_path / "page.py", tmp_path / "here"
    script.write_text("\n".join(blocks(page.read_text(encoding="utf-8"), "python")))
    folder.mkdir()
    command = [sys.executable, "-W", "error::DeprecationWarning", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []


def commands():
    """(page, line) of each command that a page shows."""
    for path in FILES:
        for block in blocks(path.read_text(encoding="utf-8"), "console"):
            for line in block.splitlines():
                yield pytest.param(line.removeprefix("$ "), id=f"{path.stem}: {line}")


@pytest.mark.parametrize("line", list(commands()))
def test_a_command_is_one_that_there_is(line, monkeypatch, capsys):
    words = shlex.split(re.sub(r".*&& ", "", line).replace(".venv/bin/", ""))
    if words[0] == "mpiexec":
        words = words[3:]
    if words[0] == "pip":
        wanted = re.fullmatch(r"(?:onepass|\.)\[([\w,]+)\]", words[-1])[1].split(",")
        settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert all(re.search(rf"^{extra} = \[", settings, re.MULTILINE) for extra in wanted)
    elif words[0] == "python":
        assert words[1] == "script.py" or (ROOT / words[1]).exists()
    else:
        assert words[0] == "onepass"
        command, options = words[1], [word for word in words if word.startswith("--")]
        with pytest.raises(SystemExit):
            _main([command, "--help"], monkeypatch)
        told = capsys.readouterr().out
        assert all(option.partition("=")[0] in told for option in options)


def _main(arguments, monkeypatch):
    from onepass.__main__ import main

    monkeypatch.setattr("sys.argv", ["onepass", *arguments])
    raise SystemExit(main())


@each_page
def test_what_a_page_includes_and_links_to_is_there(page):
    text = expanded(page.read_text(encoding="utf-8"))
    assert not re.search(r"<!-- (include|table|course)", text)
    generated = {f"reference/{full}.rst" for full in public_names()}
    generated |= {f"gallery/{one.name}.rst" for one in examples()}
    generated |= {"gallery/index.rst", "reference/index.rst"}
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if link not in generated and not (DOCS / link).exists()] == []


def test_an_include_that_finds_nothing_is_refused():
    with pytest.raises(LookupError, match="has no section 'Nowhere'"):
        expanded("<!-- include: bench/README.md; Nowhere -->")


def test_links_of_a_readme_are_right_from_the_manual():
    file = ROOT / "kernels" / "state_formats" / "README.md"
    assert linked("[a](../../bench/README.md#b)", file) == "[a](benchmarks.md#b)"
    assert linked("[a](eight_bit.py)", file) == "[a](../kernels/state_formats/eight_bit.py)"
    assert linked("[a](cpu)", file) == "a (`kernels/state_formats/cpu`)"
    assert linked("[a](https://x.org)", file) == "[a](https://x.org)"


def test_tables_of_files_stay_in_the_readme():
    text = "# T\n\nFirst.\n\n| file | x |\n|---|---|\n| a | b |\n\n## S\n\nMore.\n"
    assert sections(text, [], ROOT / "x.md") == ["\nFirst.\n\n\n", "## S\n\nMore.\n"]
    assert sections(text, ["S"], ROOT / "x.md") == ["## S\n\nMore.\n"]


def test_every_document_of_the_repository_is_a_page():
    skipped = {".git", "build", ".venv", ".pytest_cache", "docs"}
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.md")
        if not skipped & {*path.relative_to(ROOT).parts}
    }
    assert found == {*PAGES}
    assert all((DOCS / f"{page}.md").exists() for page in PAGES.values())


def test_the_front_leads_to_every_page():
    front = (DOCS / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"```\{toctree\}\n(.*?)```", front, re.DOTALL)
    listed = re.findall(r"^(?:.*<)?([\w/]+)>?$", "\n".join(trees), re.MULTILINE)
    assert sorted(listed) == sorted(
        [*(path.stem for path in FILES if path.stem != "index"), "gallery/index", "reference/index"]
    )


def test_every_public_name_has_a_page(tmp_path):
    (tmp_path / "onepass.nets.Gone.rst").write_text("of a name that was")
    write_reference(tmp_path, {"Adam": ["optimizer_paths"]})
    pages = {path.name.removesuffix(".rst") for path in tmp_path.glob("*.rst")} - {"index"}
    assert pages == {*public_names()}
    for package in (onepass, kernels, nets):
        names = {*package.__all__} - {"kernels", "nets"}
        assert {f"{package.__name__}.{name}" for name in names} <= pages
    assert "onepass.nets.fit" in pages
    assert "onepass.nets.NetClassifier" in pages
    text = (tmp_path / "onepass.nets.Adam.rst").read_text(encoding="utf-8")
    assert ".. autoclass:: onepass.nets.Adam" in text
    assert ":doc:`optimizer_paths </gallery/optimizer_paths>`" in text


def test_the_reference_lists_every_name_in_its_room():
    text = index()
    for full, one in public_names().items():
        assert f"<{full}>`" in text
        assert one.doc, f"{full} has no docstring"
    assert room_of(public_names()["onepass.nets.Cosine"]) == "onepass.nets.optimizers.schedules"
    assert room_of(public_names()["onepass.nets.Adam"]) == "onepass.nets.optimizers"
    assert room_of(public_names()["onepass.kernels.warmup"]) == "onepass.kernels"
    assert len({*TITLES.values()}) == len(TITLES)


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("Adam", "onepass.nets.Adam"),
        ("kernels.adam_step", "onepass.kernels.adam_step"),
        ("get_backend()", "onepass.get_backend"),
        ("delta", None),
        ("--only", None),
    ],
)
def test_names_are_found_as_docstrings_call_them(said, full):
    assert resolve(said) == full


def test_every_remedy_for_a_missing_gpu_is_told():
    page = (DOCS / "install.md").read_text(encoding="utf-8")
    plain = " ".join(page.replace("`", "").replace('"', "").split())
    remedies = [devices._NO_CUPY, devices._NO_DRIVER, devices._NO_DEVICE, devices._NO_MEMORY]
    for remedy in remedies:
        assert " ".join(remedy.replace("`", "").replace('"', "").split()) in plain, remedy
    source = Path(devices.__file__).read_text(encoding="utf-8")
    for reason in re.findall(r'unavailable\(\s*f?"([^"({]+)', source):
        assert reason.strip() in plain, reason
    assert NUMBA_OFF[0].partition(" is ")[0] == "Numba's compiler"


def test_tables_and_plots_are_of_committed_results():
    for make in TABLES.values():
        lines = make().splitlines()
        widths = {line.count("|") for line in lines if line.startswith("|")}
        assert len(widths) == 1
        assert len(lines) > 5
    results = {path.stem for path in (ROOT / "bench" / "results").glob("*.json")}
    assert {*DRAWN} <= results
    drawn = {f"plots/{result}-{name}.png" for result, names in DRAWN.items() for name in names}
    drawn |= {"plots/headline.png"}
    texts = "".join(expanded(path.read_text(encoding="utf-8")) for path in FILES)
    shown = {*re.findall(r"plots/[\w.-]+\.png", texts)}
    assert shown == drawn


def test_every_row_of_the_course_has_its_formula_line_and_link():
    text = course()
    rows = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert len(rows) == 46
    assert all("```" in row and "Where: " in row and "Held by: " in row for row in rows)
    assert sum("$" in row for row in rows) > 25
    assert sum("{image}" in row for row in rows) > 20
    names = {one.name for one in examples()}
    assert {*re.findall(r"gallery/(\w+)", text)} <= names
    assert {*PICTURES} <= {row.partition(":")[0] for row in rows}
