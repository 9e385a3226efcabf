"""The measured tables of estimators are what the last result says."""

from __future__ import annotations

import pytest
from cases.reports import full_report
from documents import estimator_table
from documents.estimator_table import BEGIN, END, FILE, document, measured


@pytest.mark.skipif(not FILE.exists(), reason="documents are not part of an installed wheel")
def test_the_document_has_the_last_result():
    text = FILE.read_text(encoding="utf-8")
    assert text == document(text), "run: python tests/documents/estimator_table.py"


def test_only_what_is_between_the_markers_is_written():
    text = document(f"head\n{BEGIN}\nwhat was there\n{END}\ntail\n")
    assert text.startswith(f"head\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\ntail\n")
    assert "what was there" not in text
    assert document(text) == text


@pytest.mark.parametrize("text", ["", f"{BEGIN}", f"{END}\n{BEGIN}"])
def test_a_missing_marker_is_told(text):
    with pytest.raises(ValueError, match=r"lacks .*expected both"):
        document(text)


def test_tables_are_in_markdown_with_every_row():
    lines = measured(full_report(), "some.json").splitlines()
    assert "| table | path | an epoch | beside ours |" in "\n".join(lines)
    (row,) = (line for line in lines if line.startswith("| digits | onepass |"))
    assert row == "| digits | onepass | 1.2 ms |  | 4 | 4.8 ms | 640 kB |"
    assert "| digits, accuracy | 1347 x 64 | 10 | 5 | 97.00% ± 0.18 | 97.00% ± 0.18 |" in lines
    widths = [line.count("|") for line in lines if line.startswith("|")]
    assert set(widths) == {8, 7}
    assert "[some.json](../../bench/results/some.json)" in lines[-1]


def test_the_last_result_is_the_one_with_the_latest_date(tmp_path, monkeypatch):
    monkeypatch.setattr(estimator_table, "RESULTS", tmp_path)
    assert estimator_table.newest() is None
    assert "No result is kept yet" in document(f"{BEGIN}{END}")
    for name in ("2026-11-30-a-estimators", "2026-12-01-b-estimators", "2026-12-02-c-training"):
        full_report().write(tmp_path / f"{name}.json")
    assert estimator_table.newest().name == "2026-12-01-b-estimators.json"
    assert "2026-12-01-b-estimators.json" in document(f"{BEGIN}{END}")
