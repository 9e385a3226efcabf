"""Reports as tables: they fit 80 columns, and what matters is in them, whole."""

from __future__ import annotations

import io

import pytest
from cases.reports import full_report, measurement, small_report
from onepass.bench.report.record import Skipped
from onepass.bench.report.sheets.all_sheets import sheets
from onepass.bench.report.terminal import print_report
from onepass.bench.report.words import short_bytes, short_seconds, short_size
from rich.console import Console


def shown(report):
    console = Console(width=80, file=io.StringIO())
    print_report(report, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def text():
    return shown(full_report(gpu=True))


def line_of(text, title, word):
    """The cells of the first line that begins with `word`, under the title."""
    assert f"\n{title}\n" in text
    part = text.partition(f"\n{title}\n")[2]
    return next(line for line in part.splitlines() if line.split()[:1] == [word]).split()


def test_every_line_fits_and_nothing_is_cut(text):
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "..." not in text


def test_every_number_of_a_step_is_there():
    paths = {"array": 57e-3, "numba": 5.7e-3, "limit": 5.13e-3, "torch fused": 11.4e-3}
    text = shown(small_report(*(measurement(p, s, bytes=28_000_000) for p, s in paths.items())))
    cells = line_of(text, "steps, float32, cpu", "adam")
    assert cells == ["adam", "1e6", "5.7", "ms", "4.9", "90%", "10", "x", "2.00", "x"]


def test_every_section_has_its_table(text):
    for section in ("steps", "batch-norm", "tensors", "beside-blas", "vectorize", "growth"):
        assert f"\n{section}, float32, cpu\n" in text
    assert "\nsteps, float32, cuda:0\n" in text
    cells = line_of(text, "vectorize, float32, cpu", "logistic")
    assert "loop" in cells
    assert line_of(text, "training, float32, cpu", "product")[:3] == ["product", "281", "ms"]


def test_long_words_are_folded_not_cut(text):
    part = text.partition("\nbatch-norm, float32, cpu\n")[2].partition("\ntensors, ")[0]
    folded = "".join(line[:42].rstrip() for line in part.splitlines()).replace(" ", "")
    assert "channels" in folded
    assert "last" in folded


def test_times_of_ours_are_not_compared_with_themselves():
    text = shown(small_report(measurement("onepass", 0.3, section="first-call")))
    assert "1.00 x" not in text
    assert "beside" not in text


def test_figures_say_what_was_missed(text):
    assert line_of(text, "Promised figures", "adam")[-4:] == ["17.46", ">=", "10", "yes"]
    missed = next(line for line in text.splitlines() if "whole call, us" in line)
    assert missed.split()[-4:] == ["5.61", "<=", "5.0", "NO"]
    explaining = next(line for line in text.splitlines() if "its limit 3e4" in line)
    assert explaining.split()[-1] == "2.00"


def test_each_reason_for_skipping_is_told_once(text):
    part = " ".join(text.partition("\nSkipped\n")[2].split())
    assert part.count("deepspeed is missing") == 1
    assert "steps: deepspeed, tensors: deepspeed" in part
    assert "steps: cupy" in part


def test_markup_in_words_is_printed_as_it_is(text):
    assert '"a[b]"' in text
    report = small_report(
        measurement("numba", 1.0, label="[red]x[/red]", operation="[/]"),
        skipped=[Skipped("steps", "[bold]p", "[link=x]why")],
        mode="[/nothing]",
    )
    for words in ("[red]x[/red]", "[/]", "[bold]p", "[link=x]why", "[/nothing]"):
        assert words in shown(report)


def test_break_even_words(text):
    part = text.partition("\nFrom where on it pays\n")[2]
    assert "from 115" in next(line for line in part.splitlines() if "steps, sgd" in line)
    assert "always (100 to 1e8)" in next(line for line in part.splitlines() if "amsgrad" in line)


def test_exponents_are_there(text):
    title = "Exponents k of time ~ size^k, upper half of the sizes: growth, float32, cpu"
    norm = next(
        line
        for line in text.partition(title)[2].splitlines()
        if line.strip().startswith("batch norm by channels")
    )
    assert norm.split()[-2:] == ["0.98", "1.00"]


def test_an_empty_report_prints_its_headline_alone():
    assert shown(small_report()).splitlines() == ["onepass bench, quick, 2026-11-21: 0 times"]
    assert sheets(small_report()) == []


def test_no_sheet_has_an_empty_column_or_a_row_of_other_length():
    for sheet in sheets(full_report(gpu=True)):
        assert {len(row) for row in sheet.rows} == {len(sheet.columns)}
        for k in range(len(sheet.columns)):
            assert any(row[k] for row in sheet.rows), (sheet.title, sheet.columns[k])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5.7e-3, "5.7 ms"),
        (9.96e-3, "10 ms"),
        (123.4e-6, "123 us"),
        (999.7e-6, "1.0 ms"),
        (999.4e-6, "999 us"),
        (42e-9, "42 ns"),
        (0.4e-9, "0.4 ns"),
        (2.04, "2.0 s"),
        (5000, "5000 s"),
    ],
)
def test_short_seconds(seconds, words):
    assert short_seconds(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0.0 B"), (312, "312 B"), (9_960, "10 kB"), (999_600, "1.0 MB"), (2.54e12, "2540 GB")],
)
def test_short_bytes(size, words):
    assert short_bytes(size) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [(1, "1"), (2.5, "2.5"), (512, "512"), (1e6, "1e6"), (25_400, "2.5e4"), (999.9, "1e3")],
)
def test_short_size(size, words):
    assert short_size(size) == words
