"""A run that is loaded from its file goes on: bit for bit where the same engines run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from cases.saving import everything, network, rewrite, train
from onepass.nets import (
    Adam,
    AMSGrad,
    Checkpoint,
    InverseSqrtDecay,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSprop,
    load,
    save,
)
from programs import PYTHONPATH, TESTS
from programs.resumes import go_on

KINDS = {
    "Momentum": Momentum,
    "Adam": Adam,
    "AMSGrad": AMSGrad,
    "Lion": Lion,
    "NAdam": NAdam,
    "RAdam": RAdam,
    "RMSprop": partial(RMSprop, momentum=0.9, centered=True),
}
DTYPES = "float32", "float64"
SCHEDULE = InverseSqrtDecay(0.05, per="step")


def run(kind, dtype, engine, device, epochs, *callbacks):
    """(network, optimizer, history) of training from the start."""
    net = network(dtype, device)
    optimizer = kind(net.parameters(), engine=engine)
    history = train(net, optimizer, epochs, schedule=SCHEDULE, callbacks=callbacks)
    return net, optimizer, history


@pytest.fixture(scope="module")
def folder(engine, tmp_path_factory):
    """With three epochs of each case, and six of which a new process has trained the rest."""
    folder = tmp_path_factory.mktemp(f"{engine.name}-{engine.device}")
    for name, kind in KINDS.items():
        for dtype in DTYPES:
            half = Checkpoint(folder / f"{name}-{dtype}.half")
            run(kind, dtype, engine.name, engine.device, 3, half)
    program = TESTS / "programs" / "resumes.py"
    done = subprocess.run(
        [sys.executable, str(program), str(folder), engine.device],
        capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KINDS)
def test_a_new_process_goes_on_bit_for_bit(name, dtype, engine, folder):
    net, optimizer, history = run(KINDS[name], dtype, engine.name, engine.device, 6)
    found = load(folder / f"{name}-{dtype}.resumed", engine.device)
    assert found.epoch == 6
    assert found.optimizer.engine == engine.name
    assert everything(found.net, found.optimizer) == everything(net, optimizer)
    assert replace(found.history, seconds=[]) == replace(history, seconds=[])
    assert len(found.history.seconds) == 6


def zero(*names):
    def change(tensors, content):
        for name in tensors:
            if name.startswith(names):
                tensors[name] = np.zeros_like(tensors[name])

    return change


def other_shuffling(tensors, content):
    content["run"]["rng_state"] = np.random.default_rng(5).bit_generator.state


def first_masks(tensors, content):
    content["network"]["random_state"]["2"]["draw"] = 0


def first_rates(tensors, content):
    content["run"]["step"] = 0


def other_steps(tensors, content):
    content["optimizer"]["step"] = 50


@pytest.mark.parametrize(
    "change",
    [
        zero("optimizer.m"), zero("optimizer.v"), zero("1.running_mean"), zero("0.weight"),
        other_shuffling, first_masks, first_rates, other_steps,
    ],
)  # fmt: skip
def test_each_part_of_the_file_matters(change, tmp_path):
    path = tmp_path / "adam.half"
    run(Adam, "float64", "auto", "cpu", 3, Checkpoint(path))
    net, optimizer, _ = run(Adam, "float64", "auto", "cpu", 6)
    go_on(path, "cpu")
    assert same(path, net, optimizer), "or what follows proves nothing"
    rewrite(path, change)
    go_on(path, "cpu")
    assert not same(path, net, optimizer)


def same(path, net, optimizer):
    found = load(path.with_suffix(".resumed"), "cpu")
    return everything(found.net, found.optimizer) == everything(net, optimizer)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_goes_on_on_another_engine_and_device(dtype, engine, tmp_path):
    path = tmp_path / "half"
    run(Adam, dtype, "array", "cpu", 3, Checkpoint(path))
    whole = run(Adam, dtype, "array", "cpu", 6)[0].state_dict()
    there = load(path, engine.device)
    assert there.net.backend.device.startswith(engine.device)
    there.optimizer.engine = engine.name
    train(there.net, there.optimizer, 6, schedule=there.schedule, resume=there)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype] * engine.factor
    for name, value in there.net.state_dict().items():
        np.testing.assert_allclose(value, whole[name], rtol=tolerance, atol=tolerance)


def test_a_file_is_the_same_from_every_device(engine, tmp_path):
    net, optimizer, _ = run(AMSGrad, "float32", engine.name, engine.device, 2)
    save(tmp_path / "there", net, optimizer)
    here = load(tmp_path / "there", "cpu")
    assert everything(here.net, here.optimizer) == everything(net, optimizer)
    save(tmp_path / "here", here.net, here.optimizer)
    again = load(tmp_path / "here", engine.device)
    assert everything(again.net, again.optimizer) == everything(net, optimizer)
