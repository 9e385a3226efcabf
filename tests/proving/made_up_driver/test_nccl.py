"""Ranks with a GPU each, whose arrays NCCL carries: CuPy's own calls, on made-up GPUs and NCCL.

`ranks.py` runs once for each number of ranks, and the tests read what it found.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tolerances import RANKED_LIMIT

from proving.made_up_driver.launching import missing, read, started

TRAINED = "float64", "float32", "accumulate", "sync", "streams"
CASES = {
    2: (*TRAINED, "collectives", "mistakes", "scaled", "checkpoints", "refusals", "devices"),
    3: ("float32", "sync", "collectives", "checkpoints", "devices"),
}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.usefixtures("made_up_gpu"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """found(ranks, case): what they found, which ran once."""
    pytest.importorskip(
        "mpi4py", reason="mpi4py is missing: onepass[mpi] has it", exc_type=ImportError
    )

    @cache
    def run(ranks):
        folder = tmp_path_factory.mktemp(f"ranks-{ranks}")
        gpus = ",".join(map(str, range(ranks)))
        return read(folder, started(folder, (ranks, gpus, CASES[ranks])))

    def one(ranks, case):
        case_found = run(ranks)[case]
        assert "error" not in case_found, case_found["error"]
        return case_found

    return one


def each(*names):
    """Those of these cases that each number of ranks runs."""
    return pytest.mark.parametrize(
        ("ranks", "case"),
        [(n, case) for n, cases in CASES.items() for case in names if case in cases],
    )


# --- training -------------------------------------------------------------------------------------
@each(*TRAINED)
def test_ranks_on_gpus_train_as_those_on_the_cpu(found, ranks, case):
    eps = np.finfo("float32" if case in ("float32", "streams") else "float64").eps
    for way, result in found(ranks, case).items():
        assert result["same"], f"{way}: ranks differ"
        for what in ("history", "state", "states"):
            assert result[what] <= RANKED_LIMIT * eps, f"{way}: {what} is off"


@each(*TRAINED[:-1])
def test_sharded_states_give_the_same_bits(found, ranks, case):
    result = found(ranks, case)
    assert result["whole"]["digest"] == result["sharded"]["digest"]


@each("float32")
def test_a_step_is_a_group_of_sums_and_one_of_parts(found, ranks, case):
    """10 updates; beside them figures are gathered, and what a run starts and ends with is handed
    round."""
    for way, asked in ((way, each["asked"]) for way, each in found(ranks, case).items()):
        states = 2 * (way == "sharded")  # put together at the end: m and v
        assert asked["carried reduceScatter reduce"] == 10
        assert asked["carried allGather bcast"] == 10 + states
        assert asked["groupStart"] == asked["groupEnd"] == 20 + states
        assert asked["initRank"] == asked["destroy"] == asked["getUniqueId"] == 1


@each(*TRAINED)
def test_nothing_is_left_of_a_run(found, ranks, case):
    assert {result["left"] for result in found(ranks, case).values()} == {0}


def test_a_scale_is_that_of_all_ranks_and_of_the_cpu(found):
    """float16, whose first steps are left out since the scale is too large."""
    for result in found(2, "scaled").values():
        assert result["same"]
        assert result["scales"] == [result["scales"][0]] * 2
        scale, on_cpu = result["scales"][0]
        assert scale == on_cpu < 2.0**20
        assert max(result["history"], result["state"]) < 4 * np.finfo("float16").eps


@each("checkpoints")
def test_a_run_goes_on_from_its_file_bit_for_bit(found, ranks, case):
    assert found(ranks, case) == {"equal": [True] * ranks, "files": ["run.safetensors"]}


# --- collectives ----------------------------------------------------------------------------------
@each("collectives")
def test_collectives_of_all_lengths(found, ranks, case):
    result = found(ranks, case)
    assert result["wrong"] == []
    assert result["left"] == 0


@each("collectives")
def test_arrays_elsewhere_are_refused(found, ranks, case):
    refused = found(ranks, case)["refused"]
    assert len(refused) == 2 * ranks
    for rank, text in enumerate(refused[:ranks]):
        other = (rank + 1) % ranks
        assert text.startswith(
            f"ValueError: the array is on cuda:{other}, but NCCL was started for cuda:{rank}"
        )
    assert all("the array is on cpu" in text for text in refused[ranks:])


MISTAKES = {
    "count": "'bcast', 9,",
    "type": "'float64', 0, 0)] as its batch",
    "root": "0, 1)] as its batch",
    "order": "rank 0 asks for [('allGather'",
    "no root": "root 2 of 2",
    "no type": "type 17",
    "operation": "adds up only",
    "stream": "the current one is",
    "device": "has 0",
    "host": "has 0",
    "behind": "has 512",
    "unaligned": "not aligned",
    "overlap": "overlap",
    "overlap gather": "overlap",
    "group": "no group was begun",
    "grouped": "as it should be",
    "unended": "it was refused",
    "one rank's": "rank 1: root 5 of 2",
    "not there": "does not have ncclAllReduce",
    "destroyed": "no communicator, or was destroyed",
    "name": "1 have this name",
    "one GPU": "two ranks have one GPU",
    "refused": "ncclAllReduce",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_made_up_nccl_sees_a_mistake(found, mistake):
    told = found(2, "mistakes")
    assert set(told) == set(MISTAKES)
    assert len(told[mistake]) == 2
    for text in told[mistake]:
        assert MISTAKES[mistake] in text


# --- what goes wrong ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("one GPU", "ValueError: ranks 0 and 1 both have cuda:0 of "),
        ("GPU and CPU", "ValueError: rank 1 has its network on cpu, rank 0 on cuda:0; expected"),
        ("no NCCL", "ImportError: rank 1: CuPy finds no NCCL; expected a wheel of it: pip install"),
        ("no name", "RuntimeError: rank 0 can't start NCCL on cuda:0 of "),
        ("a call", "NcclError: NCCL_ERROR_SYSTEM_ERROR: reduceScatter: a link is down"),
    ],
)
def test_what_one_rank_lacks_is_said_on_all(found, what, words):
    told = found(2, "refusals")[what]
    assert len(told) == 2
    for text in told:
        assert text.startswith(words)


def test_after_a_refusal_ranks_train_and_nothing_is_left_of_it(found):
    told = found(2, "refusals")
    assert told["afterwards"] == ["", ""]
    assert (told["depth"], told["handles"]) == (0, 0)


def test_ranks_that_diverge_say_so_alike(found):
    told = found(2, "refusals")["diverged"]
    assert told[0].startswith("FloatingPointError: the ")
    assert told == [told[0]] * 2


@pytest.mark.parametrize(
    ("case", "reason"),
    [("init fails", "no memory for channels"), ("call fails", "a link is down")],
)
def test_a_rank_on_which_nccl_fails_ends_all(tmp_path, case, reason):
    """The others wait for it in NCCL, where nobody can tell them."""
    done = started(tmp_path, (2, "0,1", [case]))
    assert done.returncode != 0
    assert "onepass: rank 1 of 2 failed, so all end: NcclError" in done.stderr
    assert reason in done.stderr


# --- devices --------------------------------------------------------------------------------------
@each("devices")
def test_each_rank_of_a_machine_has_a_gpu_of_its_own(found, ranks, case):
    gpus = [f"cuda:{rank}" for rank in range(ranks)]
    assert found(ranks, case) == {
        "auto": gpus,
        "cuda": gpus,
        "cpu": ["cpu"] * ranks,
        "cuda:1": ["cuda:1"] * ranks,
        "a Communicator": gpus,
        "one rank is told otherwise": ["cpu"] * ranks,
    }


def test_ranks_that_see_one_gpu_each_train_on_those(tmp_path):
    """As Slurm shows them: all are called cuda:0."""
    done = started(tmp_path, (1, "2", ["train there"]), (1, "0", ["train there"]))
    assert read(tmp_path, done) == {"train there": [["cuda:0", "cuda:0"], True]}


def test_ranks_that_are_more_than_gpus_train_on_the_cpu(tmp_path):
    done = started(tmp_path, (2, "0", ["train there"]))
    assert read(tmp_path, done) == {"train there": [["cpu", "cpu"], True]}
