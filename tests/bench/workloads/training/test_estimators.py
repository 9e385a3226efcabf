"""Estimators as they are timed: both take the same steps, or are noticed not to."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the section is beside scikit-learn")

from onepass.bench.cases.tables import shipped, synthetic, texts
from onepass.bench.measuring.timing import Effort
from onepass.bench.measuring.workload import measure
from onepass.bench.workloads.training import estimators
from onepass.bench.workloads.training.estimators import (
    ONE_THREAD,
    PATHS,
    STARTS,
    EstimatorEpoch,
    scores,
)

ONCE = Effort(rounds=1, block=0.0, least=1)
CASES = {
    "classes": shipped("digits", 150, 2, 2),
    "two classes": shipped("breast cancer", 150, 2, 2),
    "numbers": shipped("diabetes", 150, 2, 2),
    "batches": synthetic(900, 20, 2, 2),
    "sparse": texts(150, 2, 2, ("numpy",)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_path_is_measured_and_the_peak_of_both_libraries(name):
    work = EstimatorEpoch(CASES[name])
    assert not any(map(work.missing, work.paths))
    found = {one.path: one for one in measure(work, work.paths, ONCE)}
    assert list(found) == [*PATHS, ONE_THREAD]
    for path, one in found.items():
        assert (one.operation, one.label, one.size) == (work.case.name, "an epoch", work.case.rows)
        assert one.timing.median > 0
        assert (one.memory is None) == (path == ONE_THREAD)
    assert min(found[path].memory for path in PATHS) > 4 * 4 * work.case.rows


def test_a_time_is_that_of_a_whole_fit_over_its_epochs(monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(estimators, "perf_counter", lambda: next(clock))
    epochs = []
    monkeypatch.setattr(estimators, "fitted", lambda made, table: epochs.append(made.max_iter))
    assert EstimatorEpoch(shipped("wine", 60, 3, 1))._seconds("onepass", None) == 2.0
    assert epochs == [3]


def test_one_thread_is_one_for_products_and_no_longer_than_the_fit(monkeypatch):
    from threadpoolctl import threadpool_info

    def threads(*fit):
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    found = []
    monkeypatch.setattr(estimators, "fitted", lambda *fit: found.append(threads()))
    before = threads()
    EstimatorEpoch(CASES["classes"])._seconds(ONE_THREAD, None)
    EstimatorEpoch(CASES["classes"])._seconds("sklearn", None)
    assert found == [{1}, before]


MISTAKES = {
    "another rate": {"learning_rate_init": 2e-3},
    "another beta": {"beta_2": 0.9},
    "another penalty": {"alpha": 3.0},
    "another batch": {"batch_size": 60},
    "another activation": {"activation": "tanh"},
}


@pytest.mark.parametrize("name", ["classes", "numbers", "sparse"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_other_steps_are_noticed(mistake, name, monkeypatch):
    make = estimators.estimator

    def wrong(path, *given, **settings):
        made = make(path, *given, **settings)
        return made.set_params(**MISTAKES[mistake]) if path == "onepass" else made

    monkeypatch.setattr(estimators, "estimator", wrong)
    with pytest.raises(AssertionError, match=f"on {CASES[name].name}"):
        EstimatorEpoch(CASES[name]).prepare(["sklearn"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", CASES)
def test_scores_are_of_every_seed_and_epoch_and_sizes_are_counted(path, name):
    case = CASES[name]
    found = scores(case, path)
    assert (found.data, found.path, found.score) == (case.name, path, case.score)
    assert np.shape(found.scores) == (2, 2)
    assert found.scores[0] != found.scores[1]
    x, y = case.made(0)[:2]
    assert (found.rows, found.columns) == x.shape
    values = x.size
    if name == "sparse":
        values = 2 * x.nnz + len(x.indptr)  # float32, and int32 for where it is
    assert found.data_bytes == 4 * values
    outputs = 1 if case.numbers or len(set(y)) == 2 else len(set(y))
    assert found.network_bytes == 16 * ((x.shape[1] + 1) * 100 + 101 * outputs)


def test_ours_end_where_a_fit_of_as_many_epochs_does():
    case = shipped("digits", 600, 4, 1)
    table = case.made(0)
    whole = estimators.fitted(estimators.estimator("onepass", case, 4), table)
    assert scores(case, "onepass").scores[0][-1] == whole.score(table.x_test, table.y_test)


def test_both_learn_and_scikit_learns_takes_another_order_in_each_epoch(monkeypatch):
    from sklearn.neural_network import _multilayer_perceptron as theirs

    orders, shuffle = [], theirs.shuffle
    monkeypatch.setattr(
        theirs,
        "shuffle",
        lambda *given, **more: orders.append(shuffle(*given, **more)) or orders[-1],
    )
    case = shipped("digits", 1797, 8, 1)
    for path in PATHS:
        assert scores(case, path).scores[0][-1] > 0.8
    assert len(orders) == 8
    assert len({tuple(order) for order in orders}) == 8


def test_without_scikit_learn_the_reason_is_told(monkeypatch):
    monkeypatch.setattr(estimators, "find_spec", lambda name: None)
    work = EstimatorEpoch(CASES["classes"])
    assert all("onepass[sklearn]" in work.missing(path) for path in work.paths)


def test_another_start_gives_other_scores():
    case = CASES["numbers"]
    found = {path: scores(case, path).scores for path in ("onepass", *STARTS)}
    assert len({tuple(map(tuple, curves)) for curves in found.values()}) == 1 + len(STARTS)
