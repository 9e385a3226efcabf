"""What measured ranks say: the machine's link and core, steps by the model, promises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cases.reports import full_report, measurement, small_report
from onepass.bench.cases.ranks import BATCH, LABEL, PARAMETERS, WIDTHS
from onepass.bench.limits.data_parallel import dense_flops
from onepass.bench.promises.promises import judged
from onepass.bench.report.record import read_report
from onepass.bench.report.scaling import hidden, measured_link, measured_processor, on_paper
from onepass.bench.report.sheets.all_sheets import sheets


def test_a_link_and_a_core_are_those_that_the_times_were_made_from():
    report = full_report()
    link, core = measured_link(report), measured_processor(report)
    assert link.alpha == pytest.approx(5e-6)
    assert link.beta == pytest.approx(2e9)
    assert core.bandwidth == pytest.approx(28e9)
    of_network = measured_processor(report, large=False)
    update = 28 * PARAMETERS / 28e9
    assert of_network.rate == core.rate
    assert core.rate == pytest.approx(dense_flops(WIDTHS, BATCH) / (13e-3 - update))


def test_without_what_it_takes_there_is_no_model():
    report = small_report(
        measurement("2 ranks", 1e-5, section="ranks", operation="meeting", label="7 numbers")
    )
    assert measured_link(report) is None
    assert measured_processor(report) is None
    assert on_paper(report) == []
    assert [sheet.title for sheet in sheets(report) if sheet.section == "ranks"] == [
        "ranks, float32, cpu"
    ]


def test_a_step_on_paper_is_half_the_products_the_update_and_what_is_exchanged():
    found = {(one.what, one.path): one for one in on_paper(full_report())}
    update, products = PARAMETERS / 1e9, 13e-3 - PARAMETERS / 1e9
    exchanged = 2 * (5e-6 + 4 * PARAMETERS / (2 * 2e9)) + 2 * 5e-6
    whole, part = (found[f"training step, {LABEL}", f"2 ranks{how}"] for how in ("", ", sharded"))
    assert whole.model == pytest.approx(products / 2 + update + exchanged)
    assert part.model == pytest.approx(products / 2 + update / 2 + exchanged)
    assert found["exchange, 1e6", "2 ranks"].model == pytest.approx(2.01e-3)
    assert {path for _, path in found} == {"2 ranks", "2 ranks, sharded"}


def test_the_part_that_is_hidden_is_between_nothing_and_all():
    seconds = {"exchange": 2.0, "compute": 3.0, "one after another": 5.0}
    assert hidden({**seconds, "at once": 5.0}, "at once") == 0
    assert hidden({**seconds, "at once": 3.0}, "at once") == 1
    assert hidden({**seconds, "polled": 4.0}, "polled") == 0.5


def missed(report):
    return {row["figure"] for row in judged(report) if not row["reached"]}


def test_promises_of_ranks_are_told_and_judged():
    report = full_report()
    told = {row["figure"]: row["value"] for row in judged(report)}
    assert told["step: 1 rank / alone"] == pytest.approx(8.1 / 8)
    assert told["overlap, polled: part hidden"] == pytest.approx(0.5)
    assert told["4 ranks, sharded: states / formula"] == pytest.approx(1, abs=1e-4)
    ranks = {name for name in told if "rank" in name or "overlap" in name}
    assert not ranks & missed(report)


@pytest.mark.parametrize(
    ("changed", "figure"),
    [
        ({"sent": 2_000_000}, "4 ranks, sharded: sent / formula"),
        ({"states": 8 * PARAMETERS}, "4 ranks, sharded: states / formula"),
    ],
)
def test_more_bytes_than_promised_are_missed(changed, figure):
    report = full_report()
    before = missed(report)
    report.ranks[-1] = replace(report.ranks[-1], **changed)
    assert missed(report) - before == {figure}


def test_a_slow_rank_is_missed():
    report = full_report()
    before = missed(report)
    (k,) = (k for k, one in enumerate(report.measurements) if one.path == "1 rank")
    slow = measurement("1 rank", 8.5e-3).timing
    report.measurements[k] = replace(report.measurements[k], timing=slow)
    assert missed(report) - before == {"step: 1 rank / alone"}


def test_it_is_read_back_and_checked(tmp_path):
    report = full_report()
    report.write(tmp_path / "json")
    assert read_report(tmp_path / "json") == report
    report.ranks[0] = replace(report.ranks[0], sent=-1)
    report.write(tmp_path / "json")
    with pytest.raises(ValueError, match="2 ranks send and hold has a number below 0"):
        read_report(tmp_path / "json")
