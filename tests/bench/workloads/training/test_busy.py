"""Epochs are timed beside busy processes, after what they compute was compared without them."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
from cases.reports import measurement, small_report
from onepass.bench.cases.data_sets import made_up
from onepass.bench.measuring.timing import Effort
from onepass.bench.measuring.workload import measure
from onepass.bench.report.sheets.all_sheets import sheets
from onepass.bench.workloads.training import busy
from onepass.bench.workloads.training.busy import SITUATIONS, BusyEpoch

ONCE = Effort(rounds=1, block=0.0, least=1)


@pytest.fixture(scope="module")
def data():
    return made_up(150, held_out=50)


def test_made_up_data_is_the_same_every_time_and_can_be_learned(data):
    again = made_up(150, held_out=50)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(data, name), getattr(again, name))
    assert data.x_train.shape == (150, 784)
    assert len(data.x_test) == 50
    assert set(data.y_train) == set(range(10))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_processes_are_there_while_ours_is_timed(data, situation, monkeypatch):
    log = []

    @contextmanager
    def noted(*programs):
        log.append(programs)
        yield
        log.append("ended")

    monkeypatch.setattr(busy, "beside", noted)
    train = busy.Epoch.prepare

    def prepare(work, paths):
        log.append("prepared")
        return train(work, paths)

    monkeypatch.setattr(busy.Epoch, "prepare", prepare)
    (found,) = measure(BusyEpoch(data, situation), ["onepass"], ONCE)
    assert log == ["prepared", SITUATIONS[situation], "ended"]
    assert (found.operation, found.label) == (situation, "150 samples, batch 128")


@pytest.mark.peers
@pytest.mark.parametrize(
    ("path", "package"), [("jax scan", "jax"), ("torch fused", "torch"), (busy.OTHER, "sklearn")]
)
def test_other_libraries_are_timed_beside_a_real_loop(data, path, package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is missing")
    (found,) = measure(BusyEpoch(data, "beside a loop"), [path], ONCE)
    assert found.timing.median > 0


def test_the_table_says_how_much_longer_than_alone_each_takes():
    def row(path, situation, seconds):
        return measurement(
            path, seconds, section="busy", operation=situation, label="9 samples, batch 3", size=9
        )

    report = small_report(
        row("onepass", "quiet", 0.1),
        row("jax scan", "quiet", 0.2),
        row("onepass", "beside a loop", 0.15),
        row("jax scan", "beside a loop", 0.6),
        row("torch fused", "beside a loop", 1.5),
    )
    (sheet,) = [sheet for sheet in sheets(report) if sheet.section == "busy"]
    assert sheet.title == "busy, float32, cpu: an epoch of 9 samples, batch 3"
    assert [row[0] for row in sheet.rows] == ["quiet", "", "beside a loop", "", ""]
    cells = [tuple(row[1:]) for row in sheet.rows]
    assert cells == [
        ("onepass", "100 ms", "", ""),
        ("jax scan", "200 ms", "", "2.00 x"),
        ("onepass", "150 ms", "1.50 x", ""),
        ("jax scan", "600 ms", "3.00 x", "4.00 x"),
        ("torch fused", "1.5 s", "", "10 x"),
    ]
