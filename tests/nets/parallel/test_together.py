"""What one rank meets, all ranks know, and go on; and what they keep of one another.

programs/ranks_together.py does it all on three ranks, of which each case here reads a line;
programs/ranks_steps.py has those of loops of one's own.
"""

from __future__ import annotations

import json

import pytest
from cases.ranks import CASES, made, trained
from programs.launched import launched, why_no_ranks
from tolerances import RANKED_LIMIT

pytestmark = pytest.mark.skipif(bool(why_no_ranks()), reason=why_no_ranks())

RANKS = 3
COMPILED = "SGD", "Adam", "use_ema", "squared error", "own statistics", "sync", "dropout"
ROUNDED = 1e-5  # a few hundred eps of float32, of numbers about 1


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Case -> what the three ranks have returned, or raised."""
    unsaid = {f"{name}_NUM_THREADS": "" for name in ("ONEPASS", "OMP", "NUMBA", "OPENBLAS")}
    unsaid.pop("ONEPASS_NUM_THREADS")
    folder = tmp_path_factory.mktemp("together")
    for name in COMPILED:  # once, for all ranks
        net, optimizer = made(CASES[name])
        trained(CASES[name], net, optimizer)
    found = launched(RANKS, "ranks_together", folder, seconds=250, **unsaid)
    lines = [json.loads(line) for line in found.out.splitlines() if line.startswith("{")]
    cases = {each["case"]: each for each in lines}
    last = lines[-1]["case"] if lines else "none"

    def of(case):
        assert case in cases, f"the last that came back was {last}: {found.status} {found.errors}"
        assert cases[case]["after"] == 1, "all ranks can train afterwards"
        return cases[case]["ranks"]

    return of


def returned(ranks):
    """What all ranks have returned alike."""
    assert all("returned" in each for each in ranks), ranks
    assert all(each == ranks[0] for each in ranks), ranks
    return ranks[0]["returned"]


@pytest.mark.parametrize(
    ("case", "rank", "error"),
    [
        ("raises_on_start", 1, "KeyError: 'boom'"),
        ("raises_on_batch", 1, "KeyError: 'boom'"),
        ("raises_on_epoch", 1, "KeyError: 'boom'"),
        ("raises_on_end", 1, "KeyError: 'boom'"),
        ("raises_in_augment", 2, "KeyError: 'boom'"),
        ("raises_in_augment_of_sync", 2, "KeyError: 'boom'"),
        ("raises_for_a_shape", 1, "ValueError: augment returned (3, 4)"),
        ("raises_in_a_schedule", 1, "KeyError: 'boom'"),
        ("raises_for_an_lr", 1, "ValueError: schedule(1, 4): lr is -1.0"),
        ("raises_in_a_layer", 1, "KeyError: 'boom'"),
        ("raises_in_the_bar", 0, "KeyError: 'boom'"),
        ("bad_labels", 1, "ValueError: y of data: labels hold -1"),
        ("folder_missing", 0, "FileNotFoundError: path is "),
        ("folder_goes", 0, "FileNotFoundError: path is "),
        ("metadata_of_one_rank", 1, "TypeError: metadata['a'] is "),
    ],
)
def test_what_one_rank_raises_is_told(said, case, rank, error):
    ranks = said(case)
    own = ranks[rank]["raised"]
    assert own.startswith(error)
    told = f"RankFailedError: rank {rank} of {RANKS} failed: {own}"
    assert [each["raised"] for each in ranks] == [
        own if number == rank else told for number in range(RANKS)
    ]


def test_several_that_raise(said):
    told = f"RankFailedError: rank 1 of {RANKS} failed: KeyError: 'boom'"
    own = "KeyError: 'boom'"
    assert [each["raised"] for each in said("two_ranks_raise")] == [told, own, own]
    assert [each["raised"] for each in said("all_ranks_raise")] == [own] * RANKS


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("other_network", ["rank 1 has layers", "rank 0"]),
        ("other_activation", ["rank 1 has layers"]),
        ("other_dtype", ["rank 2 has dtype float64", "float32"]),
        ("other_optimizer", ["rank 2 has optimizer SGD", "Adam"]),
        ("other_lr", ["rank 2 has optimizer settings", "1.1"]),
        ("other_groups", ["rank 1 has groups", "0.bias"]),
        ("other_steps", ["rank 1 has optimizer steps 6", "expected 3"]),
        ("other_version", ["rank 1 has onepass 9.1", "9.0"]),
        ("other_samples", ["rank 2 has x of shape (21, 5)", "(22, 5)"]),
        ("other_batch_size", ["rank 2 has batch_size 9", "expected 8"]),
        ("other_callbacks", ["rank 1 has callbacks ['Callback']"]),
        ("other_sharded", ["rank 1 has sharded True"]),
        ("other_loss", ["rank 1 has loss Huber(delta=0.5)", "MeanSquaredError()"]),
        ("too_few_samples", ["batch_size is 7", "2 or more"]),
        ("both_batch_norms", ["BatchNorm(5)", "sync=True"]),
    ],
)
def test_what_does_not_fit_is_refused_by_all(said, case, words):
    errors = {each["raised"] for each in said(case)}
    assert len(errors) == 1
    for word in ["ValueError", *words]:
        assert word in next(iter(errors))


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("nan_on_one_rank", ["the loss is nan", "batch itself", "(rank 1)"]),
        ("nan_in_sync", ["the loss is nan", "batch itself", "(rank 1)"]),
        ("inf_after_sync", ["the loss is inf", "MeanSquaredError()", "(rank 2)"]),
        ("inf_after_sync_of_few", ["the loss is inf", "MeanSquaredError()"]),
        ("inf_gradients", ["the gradients' norm is inf in epoch 1", "(rank 2)"]),
        ("inf_sum_of_gradients", ["the gradients' norm is inf in epoch 1"]),
        ("inf_sum_of_gradients_sharded", ["the gradients' norm is inf in epoch 1"]),
        ("scaler_is_stuck", ["gradients are inf or NaN at a scale of"]),
        ("nan_in_validation", ["the validation loss is inf"]),
    ],
)
def test_figures_that_are_not_finite_end_all_alike(said, case, words):
    errors = {each["raised"] for each in said(case)}
    assert len(errors) == 1
    for word in ["FloatingPointError", *words]:
        assert word in next(iter(errors))


@pytest.mark.parametrize(
    ("case", "here"),
    [
        ("saves_alone", "save"),
        ("saves_a_part_alone", "save"),
        ("takes_states_alone", "all of a state of the optimizer"),
    ],
)
def test_what_all_are_to_do_is_refused_where_one_does_it(said, case, here):
    """On all of them: none waits for the others."""
    for each in said(case):
        assert each["raised"].startswith(f"RuntimeError: rank 0 has come to {here}, but rank 1 to")
    assert returned(said("saves_the_net_alone")) == 66


@pytest.mark.parametrize(("case", "rank"), [("sets_an_lr_alone", 1), ("other_schedule", 2)])
def test_steps_that_differ_are_told_after_the_epoch(said, case, rank):
    for each in said(case):
        assert each["raised"].startswith(f"ValueError: rank {rank} has optimizer settings {{'lr'")


def test_one_that_wants_to_stop_stops_all(said):
    assert returned(said("stops_on_batch")) == ["enough", 0, 1]
    assert returned(said("stops_on_epoch")) == ["enough", 1, 3]
    stopped, epochs, _ = returned(said("stopped_early_alike"))
    assert stopped.startswith("no better val_loss")
    assert epochs < 9
    assert returned(said("stops_in_a_schedule")) == ["enough", 1, 4]


def test_one_that_wants_to_stop_is_heard_before_the_next_callback(said):
    """A `Checkpoint`, which saves when a run was stopped: all do, or none."""
    assert returned(said("stops_before_a_checkpoint")) == ["enough", 1, ["file"]]


def test_a_save_that_fails_on_one_fails_on_all(said):
    """Outside of `fit`, with states that each has a part of."""
    first, *others = [each["returned"] for each in said("save_without_folder")]
    assert first.startswith("FileNotFoundError")
    assert others == [f"RankFailedError: rank 0 of {RANKS} failed: {first}"] * (RANKS - 1)


def test_one_file_is_written(said):
    """And nothing beside it."""
    assert [each["returned"][-1] for each in said("one_file")] == [["file"]] * RANKS


def test_a_run_goes_on_bit_for_bit(said):
    """With dropout, batch norm, augmented data; sharded or not, before and after."""
    found = returned(said("resumed"))
    assert len(found) == 6
    assert all(alike == [True, True] for alike in found.values()), found


def test_a_run_goes_on_on_other_ranks(said):
    assert all(each["returned"] < ROUNDED for each in said("resumed_by_others"))


def test_a_loop_of_ones_own(said):
    """Ranks have the same bits, sharded or not, which are those of `fit` but for rounding."""
    same, off = returned(said("own_loop_as_fit"))
    assert same
    assert off < ROUNDED


def test_the_loop_of_the_docstring(said):
    lines, same, off = returned(said("loop_of_the_docstring"))
    assert lines == 4
    assert same
    assert off < RANKED_LIMIT


def test_a_batch_of_any_size_goes_back_through_all_ranks(said):
    """With a last one that is smaller than there are ranks; the sum of their shares is its mean."""
    found = returned(said("backwards"))
    assert len(found) == 12
    for name, (same, off, off_of_mean) in found.items():
        assert same, name
        assert off < RANKED_LIMIT, name
        assert off_of_mean < RANKED_LIMIT, name


def test_a_step_captured_before_is_taken_together(said):
    for before, during, same, off, off_of_fit in returned(said("captured_before")):
        assert (before, during) == ("", "several ranks step the optimizer together")
        assert same
        assert off < RANKED_LIMIT
        assert off_of_fit < RANKED_LIMIT


def test_who_looks_at_the_arrays_of_a_step_sends_nothing(said):
    """And finds parameters, gradients and states of one size: all of them, or a rank's part."""
    assert returned(said("columns_send_nothing")) == [[0, 1], [0, 1]]


def test_a_run_that_is_kept_is_one_s_own_again(said):
    """Each rank saves it, and does by itself what is for the first."""
    assert returned(said("kept_run")) == ["done", True, 2]


def test_what_mpi_carries_is_what_numpy_makes(said):
    assert returned(said("collectives")) == []


def test_ranks_stay_together_from_call_to_call(said):
    ranks = [each["returned"] for each in said("stays_open")]
    assert [each.pop(1) for each in ranks] == ["RankFailedError", "KeyError", "RankFailedError"]
    for each in ranks:
        assert each == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no comm", ["ValueError", "without comm"]),
        ("a comm of another kind", ["TypeError", "comm is 3", "mpi4py.MPI.COMM_WORLD"]),
        ("a group", ["TypeError", "comm is ", "Group"]),
        ("no bool", ["TypeError", "sharded is 2"]),
        ("no net", ["TypeError", "NoneType", "expected a Sequential"]),
        ("no optimizer", ["TypeError", "NoneType", "Optimizer"]),
        ("other arrays", ["ValueError", "Adam(net.parameters())"]),
        ("another net", ["ValueError", "another network or optimizer"]),
        ("shared", ["ValueError", "together already"]),
        ("shared, alone", ["ValueError", "together already"]),
        ("sharded alike", ["nothing"]),
        ("sharded", ["ValueError", "sharded=False"]),
        ("pickled", ["TypeError", "state_dict()"]),
        ("copied", ["TypeError", "close()"]),
        ("gradients given", ["ValueError", "grads are given"]),
        ("closed", ["ValueError", "was closed"]),
    ],
)
def test_what_is_wrong_is_told(said, what, words):
    for each in said("refused"):
        for word in words:
            assert word in each["returned"][what]


def test_one_rank_is_as_none(said):
    assert [each["returned"] for each in said("alone_in_one_rank_program")] == [0.0] * RANKS


def test_ranks_draw_their_own_masks(said):
    """While they are together; rank 0's are those of the network."""
    assert returned(said("dropout_masks")) == [RANKS, True, True]


def test_running_statistics_are_those_of_the_first(said):
    assert returned(said("running_statistics")) == [1, True]


def test_a_step_sends_twice_the_gradients_but_for_a_part(said):
    share = (RANKS - 1) / RANKS
    assert returned(said("bytes_sent")) == [share, share]


def test_a_block_of_averages(said):
    """Is the same sharded or not, and leaves all as it was."""
    assert returned(said("averaged")) == [True, True, True]


def test_cores_are_shared_while_ranks_are_together(said):
    for each in said("threads"):
        before, inside, after = each["returned"]
        assert before == after
        assert inside <= max(1, before // 2)
