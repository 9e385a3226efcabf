"""One path under pytest-benchmark: what is noted beside the times, and how often it is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onepass
import pytest
from onepass.bench import one_path
from onepass.bench.cases.steps import CASES
from onepass.bench.machine import hardware, versions
from onepass.bench.measuring.candidate import Candidate
from onepass.bench.measuring.workload import Workload
from onepass.bench.suite import SECTIONS
from onepass.bench.workloads.kernels.steps import Step
from onepass.bench.workloads.vectorize import Logistic

ROOT = Path(onepass.__file__).parent


class Benchmark:
    """What pytest-benchmark's fixture has."""

    def __init__(self, disabled=False):
        self.disabled, self.group, self.extra_info = disabled, None, {}

    def pedantic(self, call, setup, rounds, warmup_rounds):
        self.rounds, self.warmup_rounds = rounds, warmup_rounds
        for _ in range(min(rounds, 3)):
            setup()
            call()


class Config:
    """What pytest's configuration answers."""

    def __init__(self, min_rounds=5, max_time=1.0):
        self.options = {"benchmark_min_rounds": min_rounds, "benchmark_max_time": max_time}

    def getoption(self, name):
        return self.options[name]


class Work(Workload):
    """A call that takes `seconds` by the fake clock, and a log of what is called."""

    section, operation, label, dtype, device = "steps", "fake", "1e1", "float32", "cpu"
    size, bytes, paths = 10, 80, ("array", "there")

    def __init__(self, monkeypatch, seconds=0.25):
        self.log, self.now, self.seconds = [], 0.0, seconds
        monkeypatch.setattr(one_path, "perf_counter", lambda: self.now)

    def _call(self):
        self.log.append("call")
        self.now += self.seconds

    def prepare(self, paths):
        self.log.append(f"prepare {' '.join(paths)}")
        self.now += 7.0
        return {
            path: Candidate(
                self._call,
                lambda: self.log.append("reset"),
                lambda: self.log.append("before"),
                2,
                3,
                4,
            )
            for path in paths
        }


# --- what is noted --------------------------------------------------------------------------------
def test_everything_is_noted_beside_the_times(monkeypatch):
    benchmark, work = Benchmark(), Work(monkeypatch)
    one_path.time_path(benchmark, Config(), work, "array")
    assert benchmark.group == "steps fake 1e1 float32"
    assert benchmark.extra_info == {
        "section": "steps",
        "operation": "fake",
        "label": "1e1",
        "size": 10,
        "dtype": "float32",
        "device": "cpu",
        "path": "array",
        "engine": "array",
        "bytes": 80,
        "launches": 2,
        "moved": 3,
        "memory": 4,
        "prepare_seconds": 7.0,
        "versions": versions(),
        "hardware": hardware(),
    }


def test_a_real_step_notes_its_bytes_and_passes():
    benchmark = Benchmark()
    step = Step(CASES["adam"], "1e2", 100, "float32")
    one_path.time_path(benchmark, Config(1, 0.0), step, "tuned")
    noted = benchmark.extra_info
    assert (noted["bytes"], noted["launches"], noted["moved"]) == (2800, 12, 11_600)
    assert noted["versions"]["onepass"] == onepass.__version__


# --- what is called -------------------------------------------------------------------------------
def test_every_round_begins_with_data_put_back(monkeypatch):
    work = Work(monkeypatch)
    one_path.time_path(Benchmark(), Config(3, 0.0), work, "array")
    assert work.log[0] == "prepare array"
    assert work.log[-9:] == ["reset", "before", "call"] * 3


@pytest.mark.parametrize(
    ("seconds", "least", "most", "rounds"),
    [
        (0.25, 5, 10.0, 40),  # as many as fit
        (0.25, 5, 0.5, 5),
        (0.25, 50, 10.0, 50),
        (0.0, 5, 1.0, 10_000),  # never more, however quick,
        (0.0, 20_000, 1.0, 20_000),  # unless they are asked for
    ],
)
def test_rounds_fit_into_the_time_and_are_as_many_as_asked(
    monkeypatch, seconds, least, most, rounds
):
    benchmark = Benchmark()
    one_path.time_path(benchmark, Config(least, most), Work(monkeypatch, seconds), "array")
    assert (benchmark.rounds, benchmark.warmup_rounds) == (rounds, 1)


def test_cold_calls_have_the_least_rounds_and_no_warming_up(monkeypatch):
    benchmark, work = Benchmark(), Work(monkeypatch)
    work.warm = False
    one_path.time_path(benchmark, Config(2, 1000.0), work, "array")
    assert (benchmark.rounds, benchmark.warmup_rounds) == (2, 0)
    assert work.log.count("call") == 2


def test_without_benchmarking_a_path_is_called_once(monkeypatch):
    benchmark, work = Benchmark(disabled=True), Work(monkeypatch)
    one_path.time_path(benchmark, Config(), work, "array")
    assert (benchmark.rounds, benchmark.warmup_rounds) == (1, 0)
    assert work.log.count("call") == 1


def test_a_path_that_cannot_run_is_skipped_with_its_reason(monkeypatch):
    work = Work(monkeypatch)
    work.missing = lambda path: "not on a Sunday"
    with pytest.raises(pytest.skip.Exception, match="there: not on a Sunday"):
        one_path.time_path(Benchmark(), Config(), work, "there")
    assert work.log == []


def test_a_wrong_path_is_not_timed(monkeypatch):
    from onepass.bench.workloads import vectorize as logistic

    monkeypatch.setattr(logistic, "array_logistic", lambda *of: (0.0, of[2], 0.0))
    benchmark = Benchmark()
    with pytest.raises(AssertionError):
        one_path.time_path(benchmark, Config(), Logistic(20, 3), "numba")
    assert not hasattr(benchmark, "rounds")


# --- lists ----------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for variable in (one_path.MODE_VARIABLE, one_path.MNIST_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def test_every_case_has_its_own_name_which_begins_with_its_section():
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    ids = [case.id for case in one_path.cases()]
    assert len(set(ids)) == len(ids)
    for section in SECTIONS:
        assert any(name.startswith(f"{section}-") for name in ids), section


def test_the_whole_length_is_the_default_and_the_variable_shortens_it(monkeypatch):
    whole = one_path.cases()
    assert {case.values[0].device for case in whole} == {"cpu", "cuda"}
    monkeypatch.setenv("ONEPASS_BENCH", "full")
    assert len(one_path.cases()) == len(whole)
    monkeypatch.setenv("ONEPASS_BENCH", "small")
    assert 0 < len(one_path.cases()) < len(whole)


def test_what_takes_gigabytes_is_marked():
    large = {case.id for case in one_path.cases() if case.marks}
    assert "steps-adam-1e8-float32-cpu-numba" in large
    assert "steps-adam-1e6-float32-cpu-numba" not in large
    (mark,) = {mark.name for case in one_path.cases() for mark in case.marks}
    assert mark == "large"


def test_another_length_is_refused(monkeypatch):
    monkeypatch.setenv("ONEPASS_BENCH", "nonsense")
    with pytest.raises(ValueError, match="ONEPASS_BENCH is 'nonsense'; expected 'small', 'quick'"):
        one_path.cases()


# --- under pytest itself --------------------------------------------------------------------------
def pytest_run(*arguments, **environment):
    """A pytest of its own, which is not to think that it is one of xdist's processes."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_file_of_benchmarks_runs_and_writes_json(tmp_path):
    file = tmp_path / "found.json"
    done = pytest_run(
        "bench/bench_sections.py",
        *("-k", "vectorize"),
        f"--benchmark-json={file}",
        "--benchmark-min-rounds=4",
        "--benchmark-max-time=0",
        ONEPASS_BENCH="small",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(file.read_text())["benchmarks"]
    assert [one["extra_info"]["path"] for one in found] == ["loop", "array", "numba"]
    work = "vectorize-logistic_regression-100_x_10-float32-cpu"
    for one in found:
        assert one["name"] == f"bench_section[{work}-{one['params']['path']}]"
        assert one["params"]["workload"] == f"UNSERIALIZABLE[{work}]"  # no address
        assert one["stats"]["rounds"] == 4
        noted = one["extra_info"]
        assert (noted["section"], noted["operation"]) == ("vectorize", "logistic regression")
        assert noted["versions"] == versions()


@pytest.mark.slow
def test_pytest_tells_of_a_wrong_length():
    done = pytest_run("bench/bench_sections.py", ONEPASS_BENCH="nonsense")
    assert done.returncode == 2
    assert (
        "ONEPASS_BENCH is 'nonsense'; expected 'small', 'quick', 'default', 'full'" in done.stdout
    )
