"""Training by several ranks as it is timed and counted: real processes, few steps."""

from __future__ import annotations

import pytest
from onepass.bench.cases.ranks import PARAMETERS
from onepass.bench.limits.data_parallel import NUMBER
from onepass.bench.measuring.rank_processes import RankGroups, why_no_ranks
from onepass.bench.measuring.timing import Effort
from onepass.bench.measuring.workload import measure
from onepass.bench.workloads.training import ranks as section
from onepass.bench.workloads.training.ranks import (
    WAYS_TO_TRAIN,
    Exchange,
    Meeting,
    Overlap,
    RankedStep,
    Update,
    counted,
)

pytestmark = pytest.mark.skipif(bool(why_no_ranks()), reason=why_no_ranks() or "they are there")
ONCE = Effort(rounds=1, block=0.0, least=1)


@pytest.fixture(scope="module")
def groups():
    started = RankGroups()
    yield started
    started.close()


def test_ranks_have_the_parameters_of_one_before_they_are_timed(groups):
    work = RankedStep(groups, batches=2, epochs=1)
    paths = ["alone", "alone, one thread", "1 rank", "2 ranks", "2 ranks, sharded"]
    found = measure(work, paths, ONCE)
    assert [one.path for one in found] == paths
    assert all(one.timing.median > 0 for one in found)


def test_other_parameters_are_noticed(groups, monkeypatch):
    work, trained = RankedStep(groups, batches=2, epochs=1), RankedStep._trained

    def off(work, way):
        found = trained(work, way)
        found[7] += 0.01 * way.sharded
        return found

    monkeypatch.setattr(RankedStep, "_trained", off)
    work.prepare(["2 ranks"])
    with pytest.raises(AssertionError, match="2 ranks, sharded"):
        work.prepare(["2 ranks, sharded"])


@pytest.mark.parametrize("make", [
    lambda groups: Meeting(groups, 3),
    lambda groups: Exchange(groups, "1e4", 10_000, 3),
    lambda groups: Update(groups, "1e4", 10_000, 3),
    lambda groups: Overlap(groups, "1e4", 10_000),
])  # fmt: skip
def test_what_the_model_stands_on_is_measured(groups, make):
    work = make(groups)
    paths = [path for path in work.paths if path != "4 ranks"]
    found = measure(work, paths, ONCE)
    assert [one.path for one in found] == paths
    assert all(one.timing.median > 0 and one.section == "ranks" for one in found)


@pytest.mark.parametrize("sharded", [False, True])
def test_bytes_of_real_processes_are_those_of_the_formulas(groups, sharded):
    """The last of two parts is longer by two elements: 117,572 and 117,574."""
    found = counted(groups, 2, sharded)
    rest = 4 * 2
    assert (found.size, found.meetings) == (PARAMETERS, 1)
    assert found.sent == 4 * PARAMETERS + rest
    assert found.parameters == found.gradients == 4 * PARAMETERS
    assert found.states == (4 * PARAMETERS + 2 * 4 if sharded else 8 * PARAMETERS)
    assert found.scratch == 2 * PARAMETERS + rest // 2


def test_clipping_by_the_norm_sends_a_number_more(groups):
    plain, clipped = (
        groups.of(2).ask("count", sharded=True, clipped=clipped, batches=1)["sent"]
        for clipped in (False, True)
    )
    assert clipped == plain + NUMBER


def test_ranks_that_do_not_start_are_skipped_with_the_reason(monkeypatch):
    def fails(ranks):
        raise RuntimeError(f"{ranks} rank(s) ended at 'start': no slots")

    groups = RankGroups()
    monkeypatch.setattr(groups, "of", fails)
    assert RankedStep(groups, 2, 1).missing("1 rank") == "1 rank(s) ended at 'start': no slots"
    monkeypatch.setattr(groups, "of", lambda ranks: None)
    assert groups.why_not(1) == "1 rank(s) ended at 'start': no slots"  # it is not tried again
    assert groups.why_not(2) == ""
    assert counted(groups, 1, False) is None


@pytest.mark.slow
def test_more_ranks_than_cores_are_not_timed(monkeypatch):
    groups = RankGroups()
    work = RankedStep(groups, 2, 1)
    monkeypatch.setattr(groups, "why_not", lambda ranks: "")
    monkeypatch.setattr(section, "usable_cores", lambda: 2)
    reasons = {path: work.missing(path) for path in work.paths}
    assert {path for path, reason in reasons.items() if reason} == {"4 ranks", "4 ranks, sharded"}
    assert reasons["4 ranks"] == (
        "4 ranks on 2 cores would wait for one another: counted, not timed"
    )
    monkeypatch.setattr(section, "usable_cores", lambda: 4)
    assert not any(map(work.missing, WAYS_TO_TRAIN))
    monkeypatch.setattr(groups, "why_not", lambda ranks: "no mpiexec")
    assert {work.missing(path) for path in work.paths} == {"no mpiexec"}
