"""Where a step's time goes: the parts are those of the real step, and their times add up to it."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.bench.cases.data_sets import made_up
from onepass.bench.measuring.timing import interleaved
from onepass.bench.workloads.training.step_parts import PARTS, WHOLE, StepPart
from onepass.bench.workloads.training.timed_steps import CapturedSteps, PlainSteps

if reason := CapturedSteps.why_missing():
    pytest.skip(reason, allow_module_level=True)

BATCH = 16
KINDS = [CapturedSteps, PlainSteps]


@pytest.fixture(scope="module")
def data():
    return made_up(50, held_out=10)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_nets(data, kind):
    steps, reference = kind(data, BATCH), PlainSteps(data, BATCH)
    for _ in range(4):  # one more than the data has batches
        steps.step()
        reference.reference_step()
    for name, weight in reference.weights().items():
        np.testing.assert_allclose(steps.weights()[name], weight, atol=2e-3, err_msg=name)
    assert steps.trainer.optimizer.steps == reference.trainer.optimizer.steps == 4


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_has_its_time_and_every_time_a_part(data, kind):
    parts = kind(data, BATCH).step()
    assert all(nanoseconds > 0 for _, nanoseconds in parts)
    known = {name for names in PARTS.values() for name in names}
    assert known <= {name for name, _ in parts}
    assert {name for name, _ in parts} - known <= {"words"}


@pytest.mark.parametrize("part", [*PARTS, WHOLE])
def test_a_workload_tells_the_time_of_its_part(data, part, monkeypatch):
    work = StepPart(data, BATCH, part)
    candidates = work.prepare(work.paths)
    taken = {"product": 100, "batch norm": 20, "adam": 7, "words": 1}
    for kind in KINDS:
        monkeypatch.setattr(kind, "step", lambda steps: [*taken.items(), ("product", 50)])
    wanted = {"products": 150, "batch norm": 20, "optimizer": 7, WHOLE: 178}.get(part, 0)
    for path, timing in interleaved(candidates, rounds=1, block=0.0, least=1, pause=0).items():
        assert timing.median == pytest.approx(wanted / 1e9), path


@pytest.mark.parametrize("path", ["captured", "plain"])
def test_a_wrong_step_is_refused(data, path, monkeypatch):
    kind = {"captured": CapturedSteps, "plain": PlainSteps}[path]
    step = kind.step

    def wrong(steps):
        found = step(steps)
        steps.trainer.net.layers[0].params["weight"][3, 5] += 0.1
        return found

    monkeypatch.setattr(kind, "step", wrong)
    with pytest.raises(AssertionError, match=rf"0.weight of {kind.__name__}: off by"):
        StepPart(data, BATCH, WHOLE).prepare([path])
