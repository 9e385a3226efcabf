"""Other libraries' steps do what ours do, on the same memory, and leave the process as it was."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from onepass import get_backend
from onepass.bench.cases.steps import CASES
from onepass.bench.measuring.workload import measure
from onepass.bench.peers import deepspeed_build
from onepass.bench.peers import jax_steps as jax_peers
from onepass.bench.peers import steps as peers
from onepass.bench.peers import torch_steps as torch_peers
from onepass.bench.peers.undisturbed import undisturbed
from onepass.bench.suite import EFFORTS, SECTIONS, Choice, workloads
from oracles.rules import RULES

pytest.importorskip("torch")

CPU = get_backend("cpu")
SLOW = ("deepspeed", "torch compile")
HAS = {
    "deepspeed": ("adam", "adamw", "adagrad"),
    "torch compile": ("adam",),
    "jax": jax_peers.RULES,
    **dict.fromkeys(torch_peers.TORCH_PATHS, tuple(rule for rule in CASES if rule != "lion")),
}
PAIRS = [
    pytest.param(path, rule, marks=[pytest.mark.slow] if path in SLOW else [])
    for path in peers.PEER_PATHS
    for rule in CASES
    if rule in HAS.get(path, CASES)
]


@pytest.fixture(scope="module", autouse=True)
def built_quickly(tmp_path_factory):
    """DeepSpeed's kernels are compiled without optimizations, in half the time, into a folder of
    their own: they are compared here, and never timed."""
    folder, settings = tmp_path_factory.mktemp("extensions"), deepspeed_build._settings
    compiler = folder / "c++"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -O0\n')
    compiler.chmod(0o755)
    own = {"CXX": str(compiler), "TORCH_EXTENSIONS_DIR": str(folder)}
    own, before = own if os.name == "posix" else {}, {name: os.environ.get(name) for name in own}

    def with_own():
        """But for what a test asks of the compiler."""
        asked = [name for name in own if os.environ.get(name) != before[name]]
        return settings() | own | {name: os.environ[name] for name in asked}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepspeed_build, "_settings", with_own)
        yield own


def made(path, rule, arrays, options=None):
    if reason := peers.why_missing(path, rule):
        pytest.skip(reason)
    return peers.peer_step(path, rule, arrays, options)


def run(candidate):
    if candidate.before is not None:
        candidate.before()
    candidate.call()
    if candidate.after is not None:
        candidate.after()


# --- numbers --------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("path", "rule"), PAIRS)
def test_steps_follow_the_oracle(path, rule, steps):
    case = CASES[rule]
    oracle = RULES[case.step.__name__].oracle
    options = {**case.options, "lr": 0.1}
    arrays = case.arrays(1003, "float32", CPU)
    param, grad, *states = (array.astype(np.float64) for array in arrays)
    candidate = made(path, rule, arrays, options)
    for k in range(steps):
        counted = options | ({"step": options["step"] + k} if "step" in options else {})
        run(candidate)
        param, *states = oracle(param, grad, *states, **counted)
    written = arrays[0], *arrays[2:]
    for found, expected in zip(written, (param, *states), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(arrays[1], grad)


@pytest.mark.parametrize("size", [1, 100, 10_007])
@pytest.mark.parametrize(("path", "rule"), PAIRS)
def test_same_results_agrees(path, rule, size):
    if reason := peers.why_missing(path, rule):
        pytest.skip(reason)
    peers.same_results(CASES[rule], size, "float32", CPU, path)


def test_same_results_sees_another_step_number():
    adam = CASES["adam"]

    def late(*arrays, step, **options):
        adam.step(*arrays, step=step + 1, **options)

    with pytest.raises(AssertionError, match="param of adam by 'torch fused'"):
        peers.same_results(replace(adam, step=late), 100, "float32", CPU, "torch fused")


def test_same_results_tells_why_it_cannot_compare():
    with pytest.raises(ValueError, match="RMSprop has no fused"):
        peers.same_results(CASES["rmsprop"], 100, "float32", CPU, "torch fused")


@pytest.mark.parametrize(("path", "rule"), PAIRS)
def test_reset_repeats_the_first_step_bit_for_bit(path, rule):
    arrays = CASES[rule].arrays(257, "float32", CPU)
    start = [array.copy() for array in arrays]
    candidate = made(path, rule, arrays)
    results = []
    for _ in range(2):
        for array, first in zip(arrays, start, strict=True):
            array[...] = first
        if candidate.reset is not None:
            candidate.reset()
        run(candidate)
        results.append([array.copy() for array in arrays])
        run(candidate)
    for once, again in zip(*results, strict=True):
        np.testing.assert_array_equal(once, again)


def test_every_path_of_pytorch_is_there_or_explained():
    assert peers.why_missing("torch foreach", "lion") == "PyTorch has no lion"
    for rule in CASES.keys() - {"lion"}:
        missing = {path for path in peers.TORCH_PATHS if peers.why_missing(path, rule)}
        fused = {"sgd", "momentum", "nesterov", "adagrad", "adam", "adamw", "amsgrad"}
        assert missing == ({"torch fused"} if rule not in fused else set())


# --- reasons --------------------------------------------------------------------------------------
def test_reasons():
    assert peers.why_missing("torch fused", "adam") == ""
    assert "no fused" in peers.why_missing("torch fused", "rmsprop")
    assert "no sgd" in peers.why_missing("deepspeed", "sgd")
    assert "float64" in peers.why_missing("deepspeed", "adam", dtype="float64")
    assert "float16" in peers.why_missing("torch foreach", "adam", dtype="float16")
    assert "CPU" in peers.why_missing("deepspeed", "adam", device="cuda:0")
    assert "Adam alone" in peers.why_missing("torch compile", "adamw")
    assert "float32" in peers.why_missing("torch compile", "adam", dtype="float64")
    with pytest.raises(ValueError, match=r"path is 'torch'; expected one of 'torch for-loop'"):
        peers.why_missing("torch", "adam")


def test_missing_packages_have_a_remedy(monkeypatch):
    for module in (torch_peers, deepspeed_build):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    deepspeed_build.load_deepspeed.cache_clear()
    try:
        for path in ("torch fused", "deepspeed"):
            assert 'pip install "onepass[peers]"' in peers.why_missing(path, "adam")
        with pytest.raises(RuntimeError, match=r"onepass\[peers\]"):
            peers.peer_step("deepspeed", "adam", CASES["adam"].arrays(4, "float32", CPU))
    finally:
        deepspeed_build.load_deepspeed.cache_clear()


@pytest.mark.slow
def test_a_compiler_that_fails_is_the_reason(monkeypatch, tmp_path):
    pytest.importorskip("deepspeed")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "/no/such/compiler")
    assert "/no/such/compiler" in deepspeed_build._compile("adam")


def test_compiling_has_a_time_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert "longer than 0.05 s" in deepspeed_build._compile("adam", limit=0.05)


# --- as they are measured -------------------------------------------------------------------------
MEASURED = {
    "deepspeed": (
        "steps-adagrad-1e3-float32-cpu",
        "steps-adam-1e3-float32-cpu",
        "steps-adamw-1e3-float32-cpu",
        "steps-adam_2-D-20_x_50-float32-cpu",
        "state-formats-adam-1e3-float32-cpu",
    ),
    "torch compile": ("steps-adam-1e3-float32-cpu", "steps-adam_2-D-20_x_50-float32-cpu"),
}


@pytest.mark.slow
@pytest.mark.parametrize("path", SLOW)
def test_what_compiles_for_long_is_measured_by_each_workload_that_has_it(path):
    """test_command.py leaves it out of a run of the whole suite."""
    if reason := peers.why_missing(path, "adam"):
        pytest.skip(reason)
    small = Choice("small", "cpu")
    works = [
        work for section in SECTIONS for work in workloads(section, small) if path in work.paths
    ]
    measured = [work for work in works if not work.missing(path)]
    assert sorted(map(repr, measured)) == sorted(MEASURED[path])
    for work in measured:
        (found,) = measure(work, [path], EFFORTS["small"])
        assert found.timing.median > 0


# --- the process ----------------------------------------------------------------------------------
def test_undisturbed_restores_and_prints_nothing(capfd):
    import torch

    filters, handlers = list(warnings.filters), list(logging.getLogger().handlers)
    environment, threads = dict(os.environ), torch.get_num_threads()
    with undisturbed(ONEPASS_SOMETHING="1"):
        assert os.environ["ONEPASS_SOMETHING"] == "1"
        os.environ["ONEPASS_OTHER"] = "2"
        os.environ.pop("PATH")
        warnings.simplefilter("always")
        logging.basicConfig(level=logging.DEBUG, force=True)
        print("loud")
        os.write(2, b"loud")
        torch.set_num_threads(threads + 1)
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environment
    assert list(warnings.filters) == filters
    assert logging.getLogger().handlers == handlers
    assert torch.get_num_threads() == threads


def test_undisturbed_restores_after_an_error(capfd):
    with pytest.raises(KeyError), undisturbed(ONEPASS_SOMETHING="1"):
        raise KeyError
    assert "ONEPASS_SOMETHING" not in os.environ
    print("heard")
    assert capfd.readouterr().out == "heard\n"


@pytest.mark.slow
def test_deepspeed_leaves_the_process_as_it_was(built_quickly):
    pytest.importorskip("deepspeed")
    program = """
import json, logging, os, sys, warnings
import numpy, torch
from onepass import get_backend
from onepass.bench.cases.steps import CASES
from onepass.bench.peers import jax_steps as jax_peers
from onepass.bench.peers import steps as peers

def state():
    root = logging.getLogger()
    return (dict(os.environ), repr(warnings.filters), repr(root.handlers), root.level,
            torch.get_num_threads(), torch.get_default_dtype(), os.getcwd())

arrays = CASES["adam"].arrays(10, "float32", get_backend("cpu"))
peers.peer_step("torch fused", "adam", arrays)
before = state()
reason = peers.why_missing("deepspeed", "adam")
if not reason:
    peers.peer_step("deepspeed", "adam", arrays)
print(json.dumps({"reason": reason, "same": state() == before}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | built_quickly,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing else was printed
    assert done.stderr == ""
    if found["reason"]:
        pytest.skip(found["reason"])
    assert found["same"]
