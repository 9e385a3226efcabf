"""What a run is made of: which tests, in which processes, and the lines that end it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proving import account
from proving.kept_runs import record, selection
from proving.made_up_driver import only_a_gpu

_gpu_tests: set[str] = set()
_passed: set[str] = set()
_kept: dict[str, int] = {}  # file -> how many of its tests are left out, since a run is kept
_OPERATIONS = {
    "activation", "batch_norm", "inverted_dropout", "norms", "products", "program", "rows",
    "softmax",
}  # fmt: skip
_ROOMS = _OPERATIONS | {"layers", "saving"}  # whose tests compile operations
_LONG = {  # of few tests, so that they would come last, and a process would wait for them
    "tests/bench/page/test_page.py",
    "tests/bench/peers/test_steps.py",
    "tests/bench/test_command.py",
    "tests/documents/test_examples.py",
    "tests/proving/host/test_batch_norm.py",
    "tests/proving/host/test_rows.py",
    "tests/proving/host/test_sanitizers.py",
    "tests/proving/machine/test_prove.py",
}
_LAST = "onepass/last"  # what has passed and what was proven, for --rest


def why_not(engine: str, device: str) -> str:
    """Why this engine can't run on this device here; empty when it can."""
    from onepass import kernels

    engines = kernels.engines()
    status = engines[engine]
    if status.available and device == "cuda" and engine == "array":
        status = engines["cupy"]  # array expressions run on a GPU where CuPy does
    return "" if status.available else f"{engine} on {device}: {status.reason}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prove",
        action="store_true",
        help="fail unless every CUDA kernel was proven in every way that needs no GPU",
    )
    parser.addoption(
        "--prove-all",
        action="store_true",
        help="--prove, which also runs what was run before and kept, and has not changed since",
    )
    parser.addoption(
        "--kept",
        action="store_true",
        help="leave out what was run before and kept, and has not changed since, as --prove does",
    )
    parser.addoption(
        "--made-up-gpu",
        action="store_true",
        help="run CuPy on a made-up CUDA driver, which computes on the CPU: for -m gpu",
    )
    parser.addoption(
        "--rest",
        action="store_true",
        help="only what has not passed in the last run, which may have lacked a package, and what "
        "does more beside such a package; kernels that were proven there count as proven",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--prove-all"):
        config.option.prove = True
    if config.getoption("--made-up-gpu"):
        if not _gpus_alone(config):
            chosen = config.getoption("markexpr")
            raise pytest.UsageError(
                f"--made-up-gpu with -m {chosen!r}; expected -m gpu, or -m 'gpu and ...': other "
                "tests want a machine without a GPU, and run without --made-up-gpu"
            )
        from proving.made_up_driver import installing

        if why := installing.missing():
            raise pytest.UsageError(f"--made-up-gpu: {why}")
        installing.install()


def _last(config: pytest.Config) -> dict[str, Any]:
    """Of the last run: the tests that "passed", and the kernels that were "proven"."""
    nothing: dict[str, Any] = {"passed": [], "proven": {}}
    cache = getattr(config, "cache", None)
    return nothing if cache is None else cache.get(_LAST, nothing)


def pytest_sessionstart(session: pytest.Session) -> None:
    if not why_not("cupy", "cuda"):
        account.watch(account.MADE_UP if session.config.getoption("--made-up-gpu") else account.GPU)


ENGINES = [
    ("array", "cpu"),
    ("numba", "cpu"),
    ("array", "cuda"),
    ("cupy", "cuda"),
    ("numba-cuda", "cuda"),
]
_PAIRS = {"engine": ENGINES, "reference": [pair for pair in ENGINES if pair[0] == "array"]}
"""What fixtures stand for: an engine, and the device that its arrays live on."""


def _gpus_are_left_out(config: pytest.Config) -> bool:
    return "gpu" not in config.getoption("markexpr") and bool(why_not("cupy", "cuda"))


def _gpus_alone(config: pytest.Config) -> bool:
    chosen = config.getoption("markexpr").split()
    return chosen[:1] == ["gpu"] and "or" not in chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Engines in turn. Where no GPU can be used, their tests are not even made, half of all; nor
    are those of the CPU by -m gpu."""
    direct = {
        name.strip()
        for mark in metafunc.definition.iter_markers("parametrize")
        for name in (mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0])
    }
    for fixture, pairs in _PAIRS.items():
        if fixture in metafunc.fixturenames and fixture not in direct:
            taken = [
                pytest.param(
                    pair,
                    id="-".join(pair),
                    marks=[pytest.mark.gpu] if pair[1] == "cuda" else [],
                )
                for pair in pairs
                if not (_gpus_are_left_out if pair[1] == "cuda" else _gpus_alone)(metafunc.config)
            ]
            metafunc.parametrize(fixture, taken, indirect=True, scope="session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What proves code for GPUs takes long, all of it: it need not be read to be left out."""
    alone = config.getoption("markexpr") == "not slow"
    return True if alone and collection_path.name == "proving" else None


_LATER = {"rmsprop", "adagrad", "nadam", "radam", "adamax", "adadelta", "lion"}
"""Rules whose loops for float16 are left to the rest: another is of the same kind."""


_RARE = {"leaky_relu", "elu", "gelu_tanh", "softplus"}
"""Activations that are left to it: each takes seconds to compile, and others are of their kind."""


def _takes_long(item: pytest.Item) -> bool:
    """What proves code for GPUs; and seconds of compiling for dtypes that few use, a kind each."""
    if "proving" in item.path.parts or item.get_closest_marker("hostcuda"):
        return True
    given = getattr(getattr(item, "callspec", None), "params", {})
    told = [one.removeprefix("dense-") for one in given.values() if isinstance(one, str)]
    if {one.replace("-", "_").partition("_without")[0] for one in told} & _RARE:
        return True
    rule = given.get("name", getattr(given.get("kind"), "rule", "sgd"))
    if given.get("dtype") == "float16" and f"{rule}".removesuffix("_step") in _LATER:
        return True
    compiled = _ROOMS & {*item.path.parts} or item.path.name.startswith("test_capture")
    return bool(compiled) and str(given.get("dtype")) in ("float16", "bfloat16", "float64")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """No garbage is looked for among 30,000 tests, which takes a second: not now, nor later.

    And seldom in what they leave: Numba makes so many objects that looking through them again and
    again would be a tenth of compiling.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if _takes_long(item):
            item.add_marker("slow")
    _gpu_tests.update(item.nodeid for item in items if item.get_closest_marker("gpu"))
    before = set(_last(config)["passed"]) if config.getoption("--rest") else ()
    left_out = [
        item for item in items if item.nodeid in before and not item.get_closest_marker("peers")
    ]
    if _gpus_are_left_out(config):
        left_out += [item for item in items if item.nodeid in _gpu_tests]
    if config.getoption("--made-up-gpu"):  # thousands, whose skips would take longer than they tell
        left_out += [item for item in items if only_a_gpu.why(item.nodeid)]
    if _takes_from_the_record(config):
        kept = selection.left_out(_of_kind(config, items), config.rootpath, _kind(config))
        _kept.update({file: len(each) for file, each in kept.items()})
        left_out += [item for each in kept.values() for item in each]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = {item.nodeid for item in left_out}
        items[:] = [item for item in items if item.nodeid not in gone]
    if hasattr(config, "workerinput"):  # a process of pytest-xdist's, which takes them in order
        many = Counter(_room(item.nodeid) for item in items)
        items.sort(key=lambda item: _turn(_room(item.nodeid), many))


def _takes_from_the_record(config: pytest.Config) -> bool:
    asked = config.getoption("--prove") or config.getoption("--kept")
    if config.getoption("--made-up-gpu"):
        asked = asked and config.getoption("markexpr") == "gpu"
    return bool(asked) and not config.getoption("--prove-all")


def _kind(config: pytest.Config) -> record.Kind:
    return record.MADE_UP if config.getoption("--made-up-gpu") else record.PROOFS


def _of_kind(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """What a run of this kind has of a file."""
    if not config.getoption("--made-up-gpu"):
        return items
    return [one for one in items if one.nodeid in _gpu_tests and not only_a_gpu.why(one.nodeid)]


def _room(nodeid: str) -> str:
    """What one process runs: what one file of an operation compiles, the next one needs, too."""
    file = nodeid.partition("::")[0]
    folder = file.rpartition("/")[0]
    return folder if folder.startswith("tests/kernels") else file


def _turn(room: str, many: Counter[str]) -> tuple[bool, int, str]:
    """When it comes: what takes long first, then what has many tests."""
    return room not in _LONG, -many[room], room


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A call that the made-up driver refused fails the test, whoever caught the error."""
    yield
    if item.config.getoption("--made-up-gpu"):
        from proving.made_up_driver.counting import refused

        if what := refused():
            pytest.fail(f"the made-up driver was asked for {what}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For --dist loadfile: by room, in the order in which they were collected."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByRoom(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _room(nodeid)

    config.option.loadscopereorder = False
    return ByRoom(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist's has ended: add what it has proven."""
    output = getattr(node, "workeroutput", {})
    account.add(output.get("proven", {}))
    _gpu_tests.update(output.get("gpu_tests", ()))
    _kept.update(output.get("kept", {}))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output |= {"proven": account.told(), "gpu_tests": sorted(_gpu_tests), "kept": _kept}
        return
    if session.config.getoption("--rest"):
        last = _last(session.config)
        _passed.update(last["passed"])
        account.add(last["proven"])
    # no runs that --rest goes on with:
    others = session.config.getoption("--made-up-gpu") or session.config.getoption("collectonly")
    if not others and (cache := getattr(session.config, "cache", None)):
        cache.set(_LAST, {"passed": sorted(_passed), "proven": account.told()})
    if session.config.getoption("--prove") and session.exitstatus == 0 and _unproven():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Lines that can't be missed: a green run without a GPU has proved nothing about GPUs."""
    for line in account.account():
        terminalreporter.write_line(line)
    where = " on the made-up driver" if config.getoption("--made-up-gpu") else ""
    if where:
        for reason in only_a_gpu.reasons():
            terminalreporter.write_line(f"left to a GPU: {reason}")
    terminalreporter.write_line(_gpu_line(terminalreporter.stats, where))
    if _takes_from_the_record(config):
        told = f"{sum(_kept.values())} tests of {len(_kept)} files"
        terminalreporter.write_line(f"kept, not run again: {told}; --prove-all runs them")
        for line in record.remarks(config.rootpath, _kind(config)):
            terminalreporter.write_line(line)
    if config.getoption("--prove"):
        for line in _unproven():
            terminalreporter.write_line(line, red=True)


def _unproven() -> list[str]:
    return [
        f"--prove: not {rung}: {', '.join(map(' '.join, absent))}"
        for rung in account.WITHOUT_GPU
        if (absent := account.missing(rung))
    ]


def _gpu_line(stats: Any, where: str) -> str:
    ran = sum(r.nodeid in _gpu_tests for kind in ("passed", "failed") for r in stats.get(kind, ()))
    why = why_not("cupy", "cuda").partition(": ")[2]
    if not why or where:
        return f"GPU tests: {ran} ran{where}, {len(_gpu_tests) - ran} did not"
    return f"GPU tests: {ran} ran ({why}); on a made-up driver they run by --made-up-gpu -m gpu"
