"""Reports in files: they come back as they were, and other files are refused with the reason."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from cases.reports import full_report, made_timing, measurement, small_report
from onepass.bench import command
from onepass.bench.report.record import FORMAT, read_report
from onepass.bench.report.to_json import to_json

RESULTS = Path(command.__file__).with_name("results")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "report.json"
    full_report(gpu=True).write(path)
    return path.read_bytes()


@pytest.fixture
def file(written, tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(written)
    return path


def test_a_report_comes_back_as_it_was(file, tmp_path):
    assert read_report(file) == full_report(gpu=True)
    again = tmp_path / "again.json"
    read_report(file).write(again)
    assert again.read_bytes() == file.read_bytes()
    assert sorted(tmp_path.iterdir()) == [again, file]


def test_each_entry_is_a_line_of_its_own(file):
    report, lines = full_report(gpu=True), file.read_text(encoding="utf-8").splitlines()
    entries = [*report.measurements, *report.curves, *report.fits, *report.ranks, *report.skipped]
    wanted = [json.dumps(entry) for entry in (*map(asdict, entries), *report.figures)]
    found = [line.strip().removesuffix(",") for line in lines if line.startswith("  {")]
    assert found == wanted
    assert ' "date": "2026-11-21",' in lines
    assert len(lines) < len(wanted) + 30


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"a": {}, "b": [], "c": None, "d": "\u2603 [\n{,", "e": -1.5e-300},
        {"a": {"b": {"c": [1, [2, []], {"d": {"e": 3}}]}}, "f": [True, "g", 0.1]},
    ],
)
def test_what_is_written_is_read_back_equal(content):
    assert json.loads(to_json(content)) == content


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_as_they_are_written_today(path):
    text = path.read_text(encoding="utf-8")
    assert to_json(json.loads(text)) == text


def test_blocks_and_counts_survive(tmp_path):
    timing = made_timing(1e-3, noise=0.3)
    small_report(measurement("array", timing, moved=5, launches=None)).write(tmp_path / "a")
    (found,) = read_report(tmp_path / "a").measurements
    assert found.timing == timing
    assert isinstance(found.timing.blocks, tuple)
    assert (found.moved, found.launches) == (5, None)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "7", '{"rows": []}', '{"format": 1, "date"', "not json"]
)
def test_foreign_files_are_refused(tmp_path, text):
    path = tmp_path / "foreign.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"foreign\.json is not a result of `onepass bench`"):
        read_report(path)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x01", b'{"format": "\xe9"}', b"\x89PNG\r\n\x1a\n", b"[" * 100_000]
)
def test_bytes_that_are_no_text_are_refused(tmp_path, content):
    path = tmp_path / "foreign.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.json is not a result of `onepass bench`"):
        read_report(path)


def test_a_newer_file_is_refused_with_both_numbers(file):
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "format": FORMAT + 1}))
    with pytest.raises(
        ValueError, match=f"has format {FORMAT + 1}; this version reads .* {FORMAT}"
    ):
        read_report(file)


def without(*keys):
    def damage(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return damage


def changed(value, *keys):
    def damage(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        without("measurements"),
        without("curves"),
        without("date"),
        without("measurements", 0, "path"),
        without("measurements", 0, "timing"),
        without("measurements", 0, "timing", "median"),
        without("skipped", 0, "reason"),
        without("measurements", 0, "timing", "blocks"),
        without("figures", 0, "value"),
        changed(1, "measurements", 0, "surprise"),
        changed(3, "curves"),
        changed([3], "measurements"),
    ],
)
def test_damaged_files_are_refused(file, damage):
    content = json.loads(file.read_text())
    damage(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report\.json is damaged: "):
        read_report(file)


TIMING = ("measurements", 0, "timing")


@pytest.mark.parametrize(
    ("value", "keys", "words"),
    [
        (
            "abc",
            (*TIMING, "median"),
            r"report\.measurements\[0\]\.timing\.median is 'abc'; .*number",
        ),
        (None, (*TIMING, "low"), r"timing\.low is None; expected a number"),
        (True, (*TIMING, "high"), r"timing\.high is True; expected a number"),
        (1.5, (*TIMING, "calls"), r"timing\.calls is 1\.5; expected a whole number"),
        (3, (*TIMING, "blocks"), r"timing\.blocks is 3; expected a list"),
        ("abc", (*TIMING, "blocks"), r"timing\.blocks is 'abc'; expected a list"),
        (["a"], (*TIMING, "blocks"), r"timing\.blocks\[0\] is 'a'; expected a number"),
        (-1.0, (*TIMING, "median"), r"steps sgd .* took -1\.0 s; expected a number above 0"),
        (0, (*TIMING, "median"), r"took 0 s; expected a number above 0"),
        (float("nan"), (*TIMING, "high"), r"took nan s; expected a number above 0"),
        ([1.0, -2.0], (*TIMING, "blocks"), r"took -2\.0 s; expected a number above 0"),
        (-1, (*TIMING, "calls"), r"calls below 0"),
        (-1, ("measurements", 0, "size"), r"a size, bytes or calls below 0"),
        ("1e6", ("measurements", 0, "size"), r"\.size is '1e6'; expected a whole number"),
        (7, ("measurements", 0, "path"), r"\.path is 7; expected a string"),
        ([], ("measurements", 0, "moved"), r"\.moved is \[\]; expected a whole number"),
        (-5.0, ("seconds",), r"report\.seconds is -5\.0; expected a number of 0 or more"),
        (3, ("versions", "numpy"), r"report\.versions\['numpy'\] is 3; expected a string"),
        ("cpu", ("hardware",), r"report\.hardware is 'cpu'; expected a list"),
        (-1.0, ("curves", 0, "seconds", 0), r"curve of onepass has seconds that are below 0"),
        ([1.0], ("curves", 0, "loss"), r"curve of onepass has lists of different lengths"),
        (0, ("fits", 0, "rows"), r"fits of digits by onepass have a size below 1"),
        ([], ("fits", 0, "scores"), r"fits of digits by onepass have no scores, or lists of"),
        ([[]], ("fits", 0, "scores"), r"fits of digits by onepass have no scores, or lists of"),
        ([1.0], ("fits", 0, "scores", 0), r"fits of digits .* lists of different lengths"),
        (float("nan"), ("fits", 0, "scores", 0, 0), r"fits of digits .* that are no number"),
        ("x", ("figures", 0, "value"), r"report\.figures\[0\]\.value is 'x'; expected a number"),
        (1, ("figures", 0, "reached"), r"\.reached is 1; expected true or false"),
    ],
)
def test_wrong_fields_are_named(file, value, keys, words):
    content = json.loads(file.read_text())
    changed(value, *keys)(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"report\.json is damaged: .*" + words):
        read_report(file)


def test_fields_that_were_added_later_may_be_missing_and_losses_may_be_nan(file):
    content = json.loads(file.read_text())
    without("seconds")(content)
    without("fits")(content)
    without("measurements", 0, "memory")(content)
    changed(float("nan"), "curves", 0, "loss", 0)(content)
    file.write_text(json.dumps(content))
    report = read_report(file)
    assert report.seconds == 0
    assert report.fits == []
    assert report.measurements[0].memory is None


def test_a_workload_is_one_though_its_rows_are_apart():
    rows = [
        measurement(path, 1.0, operation=rule)
        for path in ("array", "numba")
        for rule in ("sgd", "adam")
    ]
    works = list(small_report(*rows).workloads())
    assert [list(paths) for paths in works] == [["array", "numba"]] * 2
    assert [paths["numba"].operation for paths in works] == ["sgd", "adam"]


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_report(tmp_path / "nowhere.json")
