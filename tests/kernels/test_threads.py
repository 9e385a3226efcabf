"""How many threads there are: the environment, quotas, and numbers set while they work."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from onepass import kernels
from onepass.backend import usable_cores
from onepass.backend.machine import cores
from onepass.bench.machine import print_info
from onepass.kernels.crew import threads as module
from onepass.kernels.crew.crew import SHARED, get_crew
from rich.console import Console

VARIABLES = (module.VARIABLE, *module.OTHERS)


@pytest.fixture
def fresh(monkeypatch):
    """A process in which no variable is set and nobody has asked for a number yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_threads", None)
    monkeypatch.setattr(module, "_chosen", False)
    return monkeypatch


# --- the environment ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMP_NUM_THREADS": "1"}, (1, "OMP_NUM_THREADS")),
        ({"NUMBA_NUM_THREADS": "3"}, (3, "NUMBA_NUM_THREADS")),
        ({"ONEPASS_NUM_THREADS": "7"}, (7, "ONEPASS_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "3"}, (3, "NUMBA_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "5", "ONEPASS_NUM_THREADS": "2"}, (2, "ONEPASS_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "40"}, (40, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "999999"}, (1024, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "4,2"}, (4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 4 , 2"}, (4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "4,2"}, (5, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "5", "NUMBA_NUM_THREADS": "", "ONEPASS_NUM_THREADS": " "},
         (5, "OMP_NUM_THREADS")),
    ],
)  # fmt: skip
def test_the_first_variable_that_is_a_number_holds(fresh, environment, expected):
    for name, text in environment.items():
        fresh.setenv(name, text)
    found = module.current_threads()
    assert (found.number, found.reason) == expected
    assert kernels.get_num_threads() == expected[0]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ",2", "\u00b2", "9" * 5000])
@pytest.mark.parametrize("name", module.OTHERS)
def test_what_is_no_number_is_ignored_as_openmp_and_numba_do(fresh, name, text):
    fresh.setenv(name, text)
    fresh.setattr(module, "usable_cores", lambda: 6)
    fresh.setattr(module, "allowed_cores", lambda: 6)
    assert module.current_threads().number == 6
    assert name not in module.current_threads().reason


@pytest.mark.parametrize("text", ["0", "-1", "two", "1025", "\u00b2", "9" * 5000])
def test_a_bad_number_in_the_variable_of_our_own_is_refused(fresh, text):
    fresh.setenv(module.VARIABLE, text)
    with pytest.raises(ValueError, match=f"ONEPASS_NUM_THREADS is '{text}'.*whole number.*1024"):
        kernels.get_num_threads()
    with pytest.raises(ValueError, match="ONEPASS_NUM_THREADS"):
        module.current_threads()  # every time, not only the first


@pytest.mark.parametrize(("found", "expected"), [(1, 1), (2, 2), (16, 16), (17, 16), (256, 16)])
def test_by_default_there_are_as_many_as_cores_up_to_16(fresh, found, expected):
    fresh.setattr(module, "usable_cores", lambda: found)
    fresh.setattr(module, "allowed_cores", lambda: found)
    assert module.current_threads().number == expected
    assert (f"of {found} cores" in module.current_threads().reason) == (found > 16)


def in_a_process(code, **environment):
    kept = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


HELPERS = """
import threading
import numpy as np
from onepass import kernels
step = [np.ones(4_000_000, "f4") for _ in range(2)]
kernels.sgd_step(*step, lr=0.1)
print(kernels.get_num_threads(), sum(t.name.startswith("onepass-") for t in threading.enumerate()))
"""


@pytest.mark.parametrize("name", VARIABLES)
def test_a_large_step_has_no_helpers_that_were_not_allowed(name):
    assert in_a_process(HELPERS, **{name: "1"}) == ["1", "0"]
    if name == "ONEPASS_NUM_THREADS":
        assert in_a_process(HELPERS, **{name: "3"}) == ["3", "2"]


# --- other cores than the machine's ---------------------------------------------------------------
def linux(tmp_path, groups, mounts, files):
    """A made-up /proc/self whose groups lie in a folder, which `mounts` calls {}; files by path."""
    proc, groups_folder = tmp_path / "self", tmp_path / "sys"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    (proc / "mountinfo").write_text(mounts.replace("{}", str(groups_folder)))
    for path, text in files.items():
        file = groups_folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(proc)


V2 = "29 23 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 31 0:30 / {}/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY = "35 31 0:32 / {}/memory rw - cgroup cgroup rw,memory\n"
DOCKER_V1 = "33 31 0:30 /docker/ab12 {}/cpu rw - cgroup cgroup rw,cpu\n"
PERIOD = "cpu.cfs_period_us"
QUOTA = "cpu.cfs_quota_us"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        # a container with a namespace of its own
        ("0::/\n", V2, {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", V2, {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", V2, {}, None),
        ("0::/\n", V2, {"cpu.max": "garbled\n"}, None),
        ("0::/\n", V2, {"cpu.max": "100000 0\n"}, None),
        # groups within groups: the least of them
        ("0::/a/b\n", V2, {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", V2, {"a/b/cpu.max": "50000 100000", "a/cpu.max": "200000 100000"}, 0.5),
        ("0::/a/b\n", V2, {"c/cpu.max": "50000 100000"}, None),
        # a group that this mount does not show
        ("0::/../x\n", V2, {"cpu.max": "300000 100000"}, 3.0),
        ("0::/gone/b\n", V2, {"cpu.max": "300000 100000"}, 3.0),
        # version 1
        ("4:cpu,cpuacct:/a\n3:memory:/m\n", MEMORY + V1,
         {f"cpu,cpuacct/a/{QUOTA}": "250000", f"cpu,cpuacct/a/{PERIOD}": "100000"}, 2.5),
        ("4:cpu,cpuacct:/a\n", V1,
         {f"cpu,cpuacct/a/{QUOTA}": "-1", f"cpu,cpuacct/a/{PERIOD}": "100000"}, None),
        ("4:cpu,cpuacct:/a/b\n", V1,
         {f"cpu,cpuacct/a/{QUOTA}": "100000", f"cpu,cpuacct/a/{PERIOD}": "50000"}, 2.0),
        ("4:cpu:/docker/ab12\n", DOCKER_V1,
         {f"cpu/{QUOTA}": "400000", f"cpu/{PERIOD}": "100000"}, 4.0),
        ("3:memory:/\n", MEMORY, {f"memory/{QUOTA}": "1000", f"memory/{PERIOD}": "1000"}, None),
        # both, as systemd's hybrid layout has them
        ("4:cpu,cpuacct:/a\n0::/a\n", V1 + V2,
         {f"cpu,cpuacct/a/{QUOTA}": "300000", f"cpu,cpuacct/a/{PERIOD}": "100000"}, 3.0),
        ("nonsense\n\n", "nonsense\n29 23 0:26 / {}\n" + V2, {"cpu.max": "1 1"}, None),
    ],
)  # fmt: skip
def test_quotas_of_control_groups(tmp_path, groups, mounts, files, expected):
    assert cores.cpu_quota(linux(tmp_path, groups, mounts, files)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert cores.cpu_quota(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize(
    ("quota", "allowed", "expected"),
    [(None, 8, 8), (0.2, 8, 1), (2.0, 8, 2), (2.1, 8, 3), (9.5, 8, 8)],
)
def test_a_quota_is_rounded_up_and_never_adds_cores(fresh, quota, allowed, expected):
    for place in (cores, module):
        fresh.setattr(place, "cpu_quota", lambda: quota)
        fresh.setattr(place, "allowed_cores", lambda: allowed)
    assert usable_cores() == expected
    assert module.current_threads().number == expected
    assert ("limit on CPU time" in module.current_threads().reason) == (expected < allowed)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_an_affinity_mask_counts():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); " + HELPERS
    assert in_a_process(code.replace("; \n", "\n")) == ["1", "0"]


def test_python_s_own_number_of_cores_counts(fresh):
    """PYTHON_CPU_COUNT and -X cpu_count, from Python 3.13 on."""
    fresh.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert cores.allowed_cores() == 5


# --- numbers set at run time ----------------------------------------------------------------------
SIZE = SHARED // 4 // 2 + 1023  # float32, two arrays: worth waking helpers


def stepped(times=1):
    param, grad = np.ones(SIZE, "f4"), np.linspace(-1, 1, SIZE, dtype="f4")
    for _ in range(times):
        kernels.sgd_step(param, grad, lr=0.1)
    return param


def test_a_number_that_is_set_holds_from_the_next_call_on(set_threads):
    want = None
    for n in (1, 3, 2, np.int64(4), 1):
        set_threads(n)
        got = stepped()
        assert kernels.get_num_threads() == n == get_crew().threads
        assert len(get_crew()._helpers) == n - 1
        assert want is None or np.array_equal(got, want)
        want = got


def test_helpers_that_are_no_longer_wanted_end(set_threads):
    set_threads(4)
    stepped()
    helpers = list(get_crew()._helpers)
    assert len(helpers) == 3
    set_threads(2)
    for helper in helpers:
        helper.join(60)
    assert not any(helper.is_alive() for helper in helpers)
    stepped()
    assert len(get_crew()._helpers) == 1


def test_helpers_that_sleep_or_turn_end_as_well(set_threads):
    """Dismissed at any moment of theirs: at work, polling, falling asleep, asleep."""
    set_threads(3)
    for k in range(60):
        crew = get_crew()
        stepped()
        helpers = list(crew._helpers)
        if k % 2:
            while len(crew._asleep) < len(helpers):
                os.sched_yield() if hasattr(os, "sched_yield") else None
        set_threads(2 + k % 2)
        for helper in helpers:
            helper.join(60)
        assert not any(helper.is_alive() for helper in helpers)


def test_the_same_number_again_keeps_the_helpers(set_threads):
    set_threads(2)
    crew = get_crew()
    set_threads(2)
    assert get_crew() is crew
    assert module.current_threads().reason == "set_num_threads"


def test_it_may_change_while_others_are_at_work(set_threads):
    want, wrong, done = stepped(5), [], threading.Event()

    def caller():
        while not done.is_set():
            if not np.array_equal(stepped(5), want):
                wrong.append("other numbers came out")

    callers = [threading.Thread(target=caller) for _ in range(2)]
    for each in callers:
        each.start()
    for k in range(60):
        set_threads(1 + k % 4)
        stepped()
    done.set()
    for each in callers:
        each.join()
    assert wrong == []


def test_a_crew_that_was_dismissed_works_alone(set_threads):
    """A call may have got hold of it just before."""
    set_threads(2)
    stepped()
    crew = get_crew()
    set_threads(3)
    assert not crew._take(wake=True)


@pytest.mark.parametrize(
    ("n", "error", "words"),
    [
        (0, ValueError, "n is 0; expected at least 1"),
        (-2, ValueError, "n is -2; expected at least 1"),
        (1025, ValueError, "n is 1025; expected at most 1024"),
        (2.0, TypeError, r"n is 2.0 \(float\); expected an integer"),
        (True, TypeError, "n is True"),
        ("2", TypeError, "n is '2'"),
        (None, TypeError, "n is None"),
    ],
)
def test_other_numbers_are_refused_and_nothing_changes(set_threads, n, error, words):
    set_threads(2)
    crew = get_crew()
    with pytest.raises(error, match=words):
        set_threads(n)
    assert kernels.get_num_threads() == 2
    assert get_crew() is crew


def test_it_outweighs_the_environment_even_a_wrong_one(fresh):
    fresh.setenv(module.VARIABLE, "nonsense")
    kernels.set_num_threads(2)
    assert kernels.get_num_threads() == 2


def test_reading_the_number_loads_no_compiler():
    code = "import sys; from onepass import kernels; kernels.get_num_threads(); " \
           "kernels.set_num_threads(2); print('numba' in sys.modules)"  # fmt: skip
    assert in_a_process(code) == ["False"]


# --- other processes ------------------------------------------------------------------------------
def _told(queue):
    os.environ["OMP_NUM_THREADS"] = "5"
    stepped()
    queue.put((kernels.get_num_threads(), len(get_crew()._helpers)))


def told_by_a_fork():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_told, args=(queue,))
    child.start()
    told = queue.get(timeout=250)
    child.join()
    assert child.exitcode == 0
    return told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads
def test_a_forked_child_keeps_what_was_set_and_reads_the_environment_anew(fresh):
    fresh.setenv("OMP_NUM_THREADS", "3")
    kernels.get_num_threads()
    assert told_by_a_fork() == (5, 4)
    kernels.set_num_threads(2)
    stepped()  # the parent's helpers are there
    assert told_by_a_fork() == (2, 1)


def test_joblib_s_processes_share_the_cores(fresh):
    """loky sets NUMBA_NUM_THREADS and OMP_NUM_THREADS for its workers."""
    joblib = pytest.importorskip("joblib", reason="comes with scikit-learn")
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        told = joblib.Parallel(n_jobs=2)(joblib.delayed(_in_a_worker)() for _ in range(2))
    assert told == [(1, 0)] * 2


def _in_a_worker():
    stepped()
    names = [thread.name for thread in threading.enumerate()]
    return kernels.get_num_threads(), sum(name.startswith("onepass-") for name in names)


# --- what users are told --------------------------------------------------------------------------
def shown():
    text = io.StringIO()
    print_info(Console(file=text, width=200, markup=False))
    return text.getvalue()


def test_info_tells_how_many_threads_and_why(fresh):
    fresh.setenv("OMP_NUM_THREADS", "3")
    assert "threads: 3 (OMP_NUM_THREADS)\n" in shown()
    kernels.set_num_threads(2)
    assert "threads: 2 (set_num_threads)\n" in shown()


def test_no_other_file_counts_cores():
    """Where cores are counted elsewhere, quotas would be forgotten."""
    root = Path(cores.__file__).parents[2]
    words = ("cpu_count", "len(os.sched_getaffinity")
    files = [path for room in ("backend", "kernels", "nets", "bench")
             for path in (root / room).rglob("*.py")]  # fmt: skip
    found = [p.name for p in files if any(word in p.read_text("utf-8") for word in words)]
    assert found == ["cores.py"]
