"""BatchNorm(sync=True): networks whose batch lies on several ranks, and what is kept of it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.batch_norm_ranks import bits, in_threads, split, stacked
from onepass.nets import (
    SGD,
    BatchNorm,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    capture,
    fit,
    load,
    load_torch_state,
    save,
    torch_state,
)
from onepass.nets.saving.network_json import network_config


def network(dtype="float64", **options):
    norm = BatchNorm(5, **({"activation": "relu", "sync": True} | options))
    return Sequential(Dense(4, 5, bias=False), norm, Dense(5, 3), seed=1, dtype=dtype, device="cpu")


def alone(values):
    """The merge of one rank."""
    return stacked([values])


def data(n=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(2.0, 3.0, (n, 4)), rng.normal(size=(n, 3))


def steps(net, batches):
    """Output and dx of each batch; the gradients added up."""
    found, grads = [], []
    for x, dy in batches:
        found.append((net.forward(x, train=True), net.backward(dy)))
        grads.append(net.parameters().flat_grads.copy())
    return found, grads


# --- training -------------------------------------------------------------------------------------
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("shares", [(6, 6), (1, 8, 3), (12, 0)])
def test_ranks_train_as_one_with_all_rows(shares, ddof, momentum):
    options = {"momentum": momentum, "running_var_ddof": ddof}
    batches = [data(seed=seed) for seed in range(3)]
    whole = network(**options)
    want, sums = steps(whole, batches)

    def work(rank, merge):
        net = network(**options)
        net.layers[1].merge = merge
        mine = [(split(x, shares)[rank], split(dy, shares)[rank]) for x, dy in batches]
        return *steps(net, mine), net.buffers()

    found, grads, buffers = zip(*in_threads(len(shares), work), strict=True)
    for k, (y, dx) in enumerate(want):
        for place, expected in enumerate((y, dx)):
            rows = np.concatenate([each[k][place] for each in found])
            np.testing.assert_allclose(rows, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(sum(each[k] for each in grads), sums[k], rtol=1e-9, atol=1e-11)
    assert list(buffers[0]) == list(whole.buffers())
    for name, expected in whole.buffers().items():
        assert bits([each[name] for each in buffers]) == 1
        np.testing.assert_allclose(buffers[0][name], expected, rtol=1e-12)


def test_without_merge_it_is_batch_norm():
    (x, dy), results = data(), []
    for sync in (True, False):
        net = network(sync=sync)
        if not sync:
            net.layers[1].merge = None
        results.append([net.forward(x, train=True), net.backward(dy), *net.buffers().values()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    net = network(sync=False)
    net.layers[1].merge = pytest.fail  # not asked for
    net.forward(x, train=True)
    net.backward(dy)
    assert net.least_rows == 2


def test_running_averages_in_training_ask_no_rank():
    net = network(use_running_average=True)
    net.layers[1].merge = pytest.fail
    x, dy = data()
    net.forward(x[:1], train=True)
    net.backward(dy[:1])
    assert net.layers[1].why_no_graph() == ""


def test_inference_asks_no_rank():
    net = network()
    net.layers[1].merge = pytest.fail
    assert net.forward(data()[0][:1]).shape == (1, 3)


def test_a_rank_takes_one_row_or_none_if_others_have_more():
    net = network()
    assert net.least_rows == 2
    net.layers[1].merge = alone
    assert net.least_rows == 1
    net.layers[1].merge = lambda values: stacked([values] * 2)
    x, dy = data(1)
    net.forward(x, train=True)
    assert net.backward(dy).shape == (1, 4)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_on_all_ranks_are_refused_and_nothing_counted(rows, momentum):
    net = network(momentum=momentum)
    net.layers[1].merge = alone
    before = {name: buffer.copy() for name, buffer in net.buffers().items()}
    with pytest.raises(ValueError, match=f"together have {rows} value"):
        net.forward(data(rows)[0], train=True)
    for name, buffer in net.buffers().items():
        np.testing.assert_array_equal(buffer, before[name])


# --- captured steps -------------------------------------------------------------------------------
def test_a_step_with_other_ranks_is_not_captured():
    x, y = data()[0], np.arange(12) % 3
    net, twin, loss = network(), network(sync=False), SoftmaxCrossEntropy()
    optimizers = [SGD(each.parameters(), lr=0.1) for each in (net, twin)]
    step, other = (capture(n, loss, o) for n, o in zip((net, twin), optimizers, strict=True))
    assert step(x, y) == other(x, y)
    assert step.why_not == ""
    net.layers[1].merge = alone  # from then on
    assert step(x, y) == pytest.approx(other(x, y), rel=1e-12)
    assert "waits for other ranks" in step.why_not
    assert "waits for other ranks" in net.layers[1].why_no_graph()
    net.layers[1].merge = None
    assert net.layers[1].why_no_graph() == ""


def test_fit_tells_why_it_goes_layer_by_layer():
    x, y = data(32)[0], np.arange(32) % 3
    net = network()
    net.layers[1].merge = lambda values: stacked([values] * 2)
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": SGD(net.parameters(), lr=0.1)}
    history = fit(net, (x, y), batch_size=31, epochs=2, progress=False, **options)
    assert "waits for other ranks" in history.path  # also of the batch with one row


# --- what is kept ---------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["file", "pickle", "deepcopy"])
def test_sync_outlasts_a_copy_and_merge_does_not(tmp_path, how):
    net = network()
    net.layers[1].merge = lambda values: stacked([values])  # can't be pickled
    net.forward(data()[0], train=True)
    if how == "file":
        save(tmp_path / "net.safetensors", net)
        other = load(tmp_path / "net.safetensors", device="cpu").net
    else:
        other = pickle.loads(pickle.dumps(net)) if how == "pickle" else copy.deepcopy(net)
    assert other.layers[1].sync is True
    assert other.layers[1].merge is None
    assert repr(other) == repr(net)
    assert repr(other.layers[1]) == "BatchNorm(5, activation='relu', sync=True)"
    np.testing.assert_array_equal(other.forward(data()[0]), net.forward(data()[0]))


def test_files_tell_of_sync_only_where_it_is():
    without, of_all = (
        network_config(network(sync=sync))["layers"][1]["arguments"] for sync in (False, True)
    )
    assert "sync" not in without
    assert of_all == without | {"sync": True}


def test_a_layer_that_was_pickled_before_it_had_sync():
    layer = pickle.loads(pickle.dumps(BatchNorm(5)))
    del layer.__dict__["sync"]
    assert layer.sync is False
    assert repr(layer) == "BatchNorm(5)"


@pytest.mark.parametrize("sync", ["yes", 2, None])
def test_sync_is_a_flag(sync):
    with pytest.raises((TypeError, ValueError), match="sync"):
        BatchNorm(5, sync=sync)


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_pytorchs_sync_batch_norm_goes_both_ways(momentum):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    net = network(momentum=momentum, activation=None)
    net.layers[1].merge = alone
    net.forward(data()[0], train=True)
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 5, bias=False),
        torch.nn.SyncBatchNorm(5, momentum=momentum),
        torch.nn.Linear(5, 3),
    ).double()
    module.load_state_dict(torch_state(net))
    other = network(momentum=momentum, activation=None)
    load_torch_state(other, module.state_dict())
    for name, buffer in net.buffers().items():
        np.testing.assert_array_equal(other.buffers()[name], buffer)
