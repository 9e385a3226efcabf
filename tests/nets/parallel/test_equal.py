"""Several ranks end as one does that has the same batches."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from cases.ranks import CASES, SHORT, made, seen, trained
from programs.launched import launched, why_no_ranks
from tolerances import assert_close

pytestmark = pytest.mark.skipif(bool(why_no_ranks()), reason=why_no_ranks())

REST = tuple(name for name in CASES if name not in SHORT)
UNEVEN = (
    "Adam", "batches of 7, a last one of 1", "fewer samples than ranks", "accumulate uneven",
    "weighted validation", "sync, 7",
)  # fmt: skip
RUNS = [(2, "short"), (3, "short"), (3, "rest"), (4, "uneven")]
NAMES = {"short": SHORT, "rest": REST, "uneven": UNEVEN}
PAIRS = [
    pytest.param(
        ranks, names, name, id=f"{ranks} ranks, {name}",
        marks=[pytest.mark.slow] if (ranks, names) in RUNS[1:] else [],
    )
    for ranks, names in RUNS for name in NAMES[names]
]  # fmt: skip


@cache
def alone(name):
    """What one rank has left."""
    case = CASES[name]
    net, optimizer = made(case)
    return seen(net, optimizer, trained(case, net, optimizer))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """ran(ranks, names) -> a folder with what ranks have left, and what they said of each case."""

    @cache
    def run(ranks, names):
        folder = tmp_path_factory.mktemp(f"{names}-{ranks}")
        for name in NAMES[names]:  # compiled once, for all ranks
            alone(name)
        found = launched(ranks, "ranks_equal", folder, *NAMES[names], seconds=240)
        said = [json.loads(line) for line in found.out.splitlines() if line.startswith("{")]
        return folder, {each["case"]: each for each in said}, found

    return run


@pytest.mark.parametrize(("ranks", "names", "name"), PAIRS)
def test_ranks_are_alike_and_as_one(ran, ranks, names, name):
    """Bit for bit with states sharded or not; as one rank within rounding, but for what is drawn
    and for a batch norm's own statistics."""
    folder, said, run = ran(ranks, names)
    assert name in said, f"{run.status}: {run.errors}"
    assert "error" not in said[name], said[name]
    assert said[name]["alike"], "ranks differ in their bits"
    assert said[name]["sharded"], "sharded states have other bits"
    found, expected, case = np.load(folder / f"{name}.npz"), alone(name), CASES[name]
    assert {*found.files} == {*expected}
    assert found["steps"] == expected["steps"] or not case.equal
    for key, array in expected.items():
        assert np.isfinite(found[key]).all(), key
        if case.equal and key != "steps":
            dtype = str(array.dtype)
            eps = np.finfo(case.dtype).eps / np.finfo(dtype).eps  # a history has wider numbers
            scale = max(np.abs(array).max(initial=0.0), 1e-3)
            limit = case.limit * eps
            assert_close(found[key], array, dtype, scale=scale, limit=limit, what=key)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_each_rank_has_its_part_of_the_states(ran, ranks):
    """Adam's two, in parts that are a multiple of 16 bytes but for the last."""
    _, said, _ = ran(ranks, "short")
    sizes = said["Adam"]["states"]
    whole = sum(2 * array.nbytes for array in made(CASES["Adam"])[0].parameters().values())
    assert sum(sizes) == whole
    assert max(sizes) - whole / ranks < 2 * 16 * ranks
