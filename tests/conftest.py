"""Fixtures: one engine at a time on its own device, and a line that says if a GPU was tested."""

from __future__ import annotations

import os

# Two BLAS threads stall each other beside any other busy process, and training crawls; PyTorch's
# OpenMP threads do, too, unless they sleep while they wait.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from proving import account as proof
from tolerances import GPU_FACTOR

# No outcome depends on the clock: a busy machine draws slowly too.
_UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("local", max_examples=20, **_UNTIMED)
settings.register_profile("ci", max_examples=20, derandomize=True, print_blob=True, **_UNTIMED)
settings.load_profile("ci" if os.environ.get("CI") else "local")

ENGINES = [
    ("array", "cpu"),
    ("numba", "cpu"),
    ("array", "cuda"),
    ("cupy", "cuda"),
    ("numba-cuda", "cuda"),
]


def why_not(engine: str, device: str) -> str:
    """Why this engine can't run on this device here; empty when it can."""
    from onepass import kernels

    engines = kernels.engines()
    status = engines[engine]
    if status.available and device == "cuda" and engine == "array":
        status = engines["cupy"]  # array expressions run on a GPU where CuPy does
    return "" if status.available else f"{engine} on {device}: {status.reason}"


@dataclass(frozen=True)
class Engine:
    """An engine and the device its arrays live on."""

    name: str
    device: str

    @property
    def factor(self) -> float:
        return GPU_FACTOR if self.device == "cuda" else 1.0

    @property
    def dtypes(self) -> tuple[str, ...]:
        from onepass import kernels

        return tuple(kernels.engines()[self.name].dtypes)

    def asarray(self, array: Any) -> Any:
        """The same values and dtype on this engine's device, in memory of their own."""
        import onepass

        copy = np.array(array)
        return copy if self.device == "cpu" else onepass.get_backend("cuda").asarray(copy)

    def to_numpy(self, array: Any) -> np.ndarray[Any, Any]:
        import onepass

        if isinstance(array, np.ndarray | np.generic):
            return np.asarray(array)
        return np.asarray(onepass.get_backend("cuda").to_numpy(array))

    def kernel(self, name: str) -> Any:
        """The public function `name`, asked to run on this engine."""
        from onepass import kernels

        def run(*args: Any, **options: Any) -> Any:
            return getattr(kernels, name)(*args, engine=self.name, **options)

        return run

    def arrays(self, rule: Any, shape: Any = 5, dtype: str = "float32") -> dict[str, Any]:
        """Good arguments for a rule: param 1, grad 0.5, states 0.25."""
        values = {"param": 1.0, "grad": 0.5}
        return {
            name: self.asarray(np.full(shape, values.get(name, 0.25), dtype))
            for name in rule.arrays
        }

    def options(self, rule: Any, **changed: Any) -> dict[str, Any]:
        """The options a rule can't do without, and those given."""
        needed = {"lr": 0.1, "step": 1}
        return {k: v for k, v in needed.items() if k in rule.options} | changed

    @contextmanager
    def refuses(self, error: Any, arrays: dict[str, Any], *words: str) -> Iterator[None]:
        """The block raises `error`, names every one of `words`, and writes to none of `arrays`."""
        kept = {name: self._bytes(array) for name, array in arrays.items()}
        with pytest.raises(error) as caught:
            yield
        for name, array in arrays.items():
            assert self._bytes(array) == kept[name], f"{name} was written before the error"
        for word in words:
            assert word in str(caught.value), f"{word!r} is not in: {caught.value}"

    def _bytes(self, array: Any) -> bytes:
        numeric = hasattr(array, "__array__") or hasattr(array, "__cuda_array_interface__")
        return (
            self.to_numpy(array).tobytes()
            if numeric and hasattr(array, "tobytes")
            else repr(array).encode()
        )


def _params(pairs: list[tuple[str, str]]) -> list[Any]:
    return [
        pytest.param(pair, id="-".join(pair), marks=[pytest.mark.gpu] if pair[1] == "cuda" else [])
        for pair in pairs
    ]


@pytest.fixture(scope="session", params=_params(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine in turn; skipped, with the library's own reason, where it can't run."""
    return _usable(*request.param)


@pytest.fixture(scope="session", params=_params([("array", "cpu"), ("array", "cuda")]))
def reference(request: pytest.FixtureRequest) -> Engine:
    """The array engine on each device, for what does not depend on the engine."""
    return _usable(*request.param)


def _usable(name: str, device: str) -> Engine:
    if reason := why_not(name, device):
        pytest.skip(reason)
    return Engine(name, device)


_gpu_tests: set[str] = set()
_passed: set[str] = set()
_LAST = "onepass/last"  # what has passed and what was proven, for --rest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--prove",
        action="store_true",
        help="fail unless every CUDA kernel was proven in every way that needs no GPU",
    )
    parser.addoption(
        "--rest",
        action="store_true",
        help="only what has not passed in the last run, which may have lacked a package, and what "
        "does more beside such a package; kernels that were proven there count as proven",
    )


def _last(config: pytest.Config) -> dict[str, Any]:
    """Of the last run: the tests that "passed", and the kernels that were "proven"."""
    nothing: dict[str, Any] = {"passed": [], "proven": {}}
    cache = getattr(config, "cache", None)
    return nothing if cache is None else cache.get(_LAST, nothing)


def pytest_sessionstart() -> None:
    if not why_not("cupy", "cuda"):
        proof.watch()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("hostcuda"):
            item.add_marker("slow")
    _gpu_tests.update(item.nodeid for item in items if item.get_closest_marker("gpu"))
    before = set(_last(config)["passed"]) if config.getoption("--rest") else ()
    left_out = [
        item for item in items if item.nodeid in before and not item.get_closest_marker("peers")
    ]
    if "gpu" not in config.getoption("markexpr") and why_not("cupy", "cuda"):
        left_out += [item for item in items if item.nodeid in _gpu_tests]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = {item.nodeid for item in left_out}
        items[:] = [item for item in items if item.nodeid not in gone]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist's has ended: add what it has proven."""
    output = getattr(node, "workeroutput", {})
    proof.add(output.get("proven", {}))
    _gpu_tests.update(output.get("gpu_tests", ()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output |= {"proven": proof.told(), "gpu_tests": sorted(_gpu_tests)}  # a process of xdist's
        return
    if session.config.getoption("--rest"):
        last = _last(session.config)
        _passed.update(last["passed"])
        proof.add(last["proven"])
    if cache := getattr(session.config, "cache", None):
        cache.set(_LAST, {"passed": sorted(_passed), "proven": proof.told()})
    if session.config.getoption("--prove") and session.exitstatus == 0 and _unproven():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Lines that can't be missed: a green run without a GPU has proved nothing about GPUs."""
    for line in proof.account():
        terminalreporter.write_line(line)
    terminalreporter.write_line(_gpu_line(terminalreporter.stats))
    if config.getoption("--prove"):
        for line in _unproven():
            terminalreporter.write_line(line, red=True)


def _unproven() -> list[str]:
    return [
        f"--prove: not {rung}: {', '.join(map(' '.join, absent))}"
        for rung in proof.WITHOUT_GPU
        if (absent := proof.missing(rung))
    ]


def _gpu_line(stats: Any) -> str:
    ran = sum(r.nodeid in _gpu_tests for kind in ("passed", "failed") for r in stats.get(kind, ()))
    why = why_not("cupy", "cuda").partition(": ")[2]
    return f"GPU tests: {ran} ran, {len(_gpu_tests) - ran} did not" + (f" ({why})" if why else "")
