"""The measured tables of documents are what the last results say."""

from __future__ import annotations

import json
import re

import pytest
from cases.reports import full_report
from documents import measured_tables
from documents.measured_tables import BEGIN, END, ROOT, TABLES

ESTIMATORS, RANKS = TABLES["estimators"], TABLES["ranks"]
each = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@each
def test_the_document_has_the_last_result(table):
    if not table.file.exists():
        pytest.skip("documents are not part of an installed wheel")
    text = table.file.read_text(encoding="utf-8")
    assert text == table.document(text), "run: python tests/documents/measured_tables.py"


@each
def test_only_what_is_between_the_markers_is_written(table):
    text = table.document(f"head\n{BEGIN}\nwhat was there\n{END}\ntail\n")
    assert text.startswith(f"head\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\ntail\n")
    assert "what was there" not in text
    assert table.document(text) == text


@pytest.mark.parametrize("text", ["", f"{BEGIN}", f"{END}\n{BEGIN}"])
def test_a_missing_marker_is_told(text):
    with pytest.raises(ValueError, match=r"lacks .*expected both"):
        ESTIMATORS.document(text)


def test_tables_are_in_markdown_with_every_row():
    lines = ESTIMATORS.measured(full_report(), "some.json").splitlines()
    assert "| table | path | an epoch | beside ours |" in "\n".join(lines)
    (row,) = (line for line in lines if line.startswith("| digits | onepass |"))
    assert row == "| digits | onepass | 1.2 ms |  | 4 | 4.8 ms | 640 kB |"
    assert "| digits, accuracy | 1347 x 64 | 10 | 5 | 97.00% ± 0.18 | 97.00% ± 0.18 |" in lines
    widths = [line.count("|") for line in lines if line.startswith("|")]
    assert set(widths) == {8, 7}
    assert "[some.json](../../bench/results/some.json)" in lines[-1]


def test_tables_of_ranks_have_times_bytes_and_the_model():
    lines = RANKS.measured(full_report(), "some.json").splitlines()
    assert "| 2, sharded | 1 | 941 kB | 941 kB | 3.3 MB | 3.3 MB | 941 kB | 470 kB |" in lines
    assert "| link: alpha | 5.0 us |" in lines
    assert "| overlap, polled: part hidden | 0.50 |" in lines
    assert "| link: beta | 2 GB/s |" in lines
    assert "| meeting, 7 numbers | 2 ranks | 10 us | 10 us | 1.00 x |" in lines


@each
def test_the_last_result_is_the_one_with_the_latest_date(table, tmp_path, monkeypatch):
    monkeypatch.setattr(measured_tables, "RESULTS", tmp_path)
    assert table.newest() is None
    assert "No result is kept yet" in table.document(f"{BEGIN}{END}")
    own = table.section
    for name in (f"2026-11-30-a-{own}", f"2026-12-01-b-{own}", "2026-12-02-c-training"):
        full_report().write(tmp_path / f"{name}.json")
    assert table.newest().name == f"2026-12-01-b-{own}.json"
    assert f"2026-12-01-b-{own}.json" in table.document(f"{BEGIN}{END}")


def test_accuracies_of_state_formats_are_those_of_their_result():
    file = ROOT / "kernels" / "state_formats" / "README.md"
    if not file.exists():
        pytest.skip("documents are not part of an installed wheel")
    page = file.read_text(encoding="utf-8")
    (name,) = {*re.findall(r"bench/results/([\w-]*accuracy-state-formats[\w-]*\.json)", page)}
    found = json.loads((ROOT / "bench" / "results" / name).read_text(encoding="utf-8"))["accuracy"]
    for data, label in (("digits", "digits"), ("mnist", "MNIST"), ("embedding", "10 million")):
        cells = []
        for kind in ("float32", "bfloat16", "8bit"):
            each = [100 * row["accuracy"] for row in found[data] if row["state_format"] == kind]
            assert len(each) == 5
            cells.append(f"{sum(each) / 5:.2f} ({min(each):.2f})")
        assert re.search(rf"\| {label}[^|]* \| {re.escape(' | '.join(cells))} \|", page)
