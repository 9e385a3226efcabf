"""The dropout layer: what it draws, keeps, and hands back; its state in copies and files."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from onepass import nets
from onepass.nets import Adam, Dense, Dropout, ReLU, Sequential, SoftmaxCrossEntropy
from oracles import dropout as oracle
from tolerances import GRADIENT_RATIO

X = np.linspace(-2, 2, 60, dtype="float32").reshape(12, 5)


def network(**options):
    options = {"seed": 3, "device": "cpu"} | options
    return Sequential(
        Dense(5, 8), ReLU(), Dropout(0.6), Dense(8, 8), Dropout(0.9), Dense(8, 3), **options
    )


def outputs(net, count=3):
    """Outputs of that many training passes."""
    x = net.backend.asarray(X)
    return [net.backend.to_numpy(net.forward(x, train=True)) for _ in range(count)]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_each_pass_in_training_takes_the_next_mask(dtype, keep_prob):
    layer, x = Dropout(keep_prob), np.ones((6, 7), dtype)
    layer.seed(11)
    for draw in range(3):
        y = layer.forward(x, train=True)
        assert y.dtype == dtype
        want = oracle.mask(x.shape, keep_prob, 11, draw)
        assert np.array_equal(y, want.astype(dtype) * np.dtype(dtype).type(1 / keep_prob))
        assert layer.state() == {"seed": 11, "draw": draw + 1}
    assert (x == 1).all(), "x was written"


def test_without_train_it_is_the_identity_and_takes_no_mask():
    layer = Dropout(0.3)
    y = layer.forward(X, train=True)
    assert layer.forward(X) is X
    assert layer.state()["draw"] == 1
    dy = np.ones_like(X)
    assert np.array_equal(layer.backward(dy) != 0, y != 0), "the pending backward is as it was"


def test_backward_uses_the_mask_and_keep_prob_of_its_forward():
    layer = Dropout(0.5)
    y = layer.forward(np.ones_like(X), train=True)
    layer.keep_prob = 0.9
    layer.seed(99)
    dy = X.copy()
    assert np.array_equal(layer.backward(dy), X * y)
    assert np.array_equal(dy, X), "dy was written"
    assert layer.backward(dy, input_grad=False) is None
    with pytest.raises(ValueError, match=r"dy of Dropout\(0.9\) has shape \(3,\); expected"):
        layer.backward(np.ones(3, "float32"))


def test_backward_needs_a_forward_in_training():
    with pytest.raises(RuntimeError, match=r"Dropout\(0.5\) needs forward"):
        Dropout().backward(X)


@pytest.mark.parametrize("keep_prob", [0, -1, 1.5, np.nan, 1e-12])
def test_a_bad_probability_is_refused(keep_prob):
    with pytest.raises(ValueError, match="keep_prob is"):
        Dropout(keep_prob)
    with pytest.raises(TypeError, match="keep_prob is"):
        Dropout("0.5")


def test_all_kept_is_the_identity_in_training_too():
    layer = Dropout(1)
    assert np.array_equal(layer.forward(X, train=True), X)
    assert np.array_equal(layer.backward(X), X)


def test_its_gradient_is_that_of_its_mask():
    """Two-sided differences of a whole network, its draws held fixed."""
    net = network(dtype="float64")
    x, w = X.astype("float64"), np.random.default_rng(0).standard_normal((12, 3))
    start = net.random_state()

    def cost():
        net.load_random_state(start)
        return float((w * net.forward(x, train=True)).sum())

    cost()
    net.backward(w)
    grad, theta = net.parameters().flat_grads.copy(), net.parameters().flat
    approx = np.empty_like(grad)
    for k, here in enumerate(theta.copy()):
        sides = []
        for step in (1e-6, -1e-6):
            theta[k] = here + step
            sides.append(cost())
        theta[k] = here
        approx[k] = (sides[0] - sides[1]) / 2e-6
    ratio = np.linalg.norm(approx - grad) / (np.linalg.norm(approx) + np.linalg.norm(grad))
    assert 0 < ratio < GRADIENT_RATIO


def test_the_gradient_check_leaves_it_out_and_takes_no_mask():
    net = network(dtype="float64")
    before = net.random_state()
    labels = np.arange(12) % 3
    found = nets.gradient_check(net, X.astype("float64"), labels, SoftmaxCrossEntropy())
    assert found.ratio < GRADIENT_RATIO
    assert net.random_state() == before


# --- seeds ----------------------------------------------------------------------------------------
def test_it_changes_no_other_layers_first_values():
    plain = Sequential(Dense(5, 8), ReLU(), Dense(8, 8), Dense(8, 3), seed=3, device="cpu")
    assert np.array_equal(plain.parameters().flat, network().parameters().flat)


def test_one_seed_one_network():
    assert same(outputs(network()), outputs(network()))
    assert not same(outputs(network(seed=4)), outputs(network()))
    states = [network(seed=seed).random_state()[place] for seed in (3, 4) for place in ("2", "4")]
    seeds = {state["seed"] for state in states}
    assert len(seeds) == 4, "each layer of each network has a seed of its own"
    assert all(0 <= seed < 2**53 for seed in seeds), "as JSON keeps them"
    assert {state["draw"] for state in states} == {0}


def test_a_layer_outside_a_network_has_seed_0():
    assert Dropout().state() == {"seed": 0, "draw": 0}


@pytest.mark.gpu
@pytest.mark.parametrize("reference", [("array", "cuda")], indirect=True)
def test_cpu_and_gpu_draw_the_same_masks(reference):
    masks = []
    for device in ("cpu", reference.device):
        net = Sequential(Dropout(0.5), seed=7, device=device)
        masks.append(np.stack([each != 0 for each in outputs(net)]))
    assert np.array_equal(*masks)
    net = Sequential(Dropout(0.5), seed=7, device="cpu")
    outputs(net, 1)
    moved = copy.copy(net).to(reference.device)
    assert same(outputs(moved), outputs(net))


# --- state ----------------------------------------------------------------------------------------
COPIES = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "move": lambda net: copy.copy(net).to("cpu"),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_goes_on_with_the_masks_that_were_to_come(how):
    net = network()
    outputs(net, 2)
    other = COPIES[how](net)
    assert other.random_state() == net.random_state()
    assert same(outputs(other), outputs(net))
    assert net.random_state()["2"]["draw"] == 5


def test_the_random_state_is_json_and_brings_the_masks_back():
    net = network()
    outputs(net, 2)
    kept = json.loads(json.dumps(net.random_state()))
    assert set(kept) == {"2", "4"}
    want = outputs(net)
    other = network(seed=4)
    other.load_state_dict(net.state_dict())
    other.load_random_state(kept)
    assert same(outputs(other), want)


def test_a_network_without_random_layers_has_no_random_state():
    net = Sequential(Dense(5, 3), ReLU(), device="cpu")
    assert net.random_state() == {}
    net.load_random_state({})
    with pytest.raises(ValueError, match="random state has the unexpected '0'"):
        net.load_random_state({"0": {}})
    with pytest.raises(ValueError, match=r"state of ReLU\(\) has the unexpected 'seed'"):
        ReLU().load_state({"seed": 1})
    ReLU().load_state({})
    assert ReLU().seed(5) is None


GOOD = {"seed": 1, "draw": 2}
BAD_STATES = {
    "no mapping": (5, TypeError, "random state is a int"),
    "a layer is missing": ({"2": GOOD}, ValueError, "random state lacks '4'"),
    "a layer too many": ({"2": GOOD, "4": GOOD, "5": GOOD}, ValueError, "unexpected '5'"),
    "no draw": ({"2": GOOD, "4": {"seed": 1}}, ValueError, r"Dropout\(0.9\) lacks 'draw'"),
    "a draw below 0": (
        {"2": GOOD, "4": {"seed": 1, "draw": -1}}, ValueError, r"Dropout\(0.9\)\['draw'\] is -1",
    ),
    "a seed of text": (
        {"2": GOOD, "4": {"seed": "1", "draw": 1}}, TypeError, r"Dropout\(0.9\)\['seed'\] is '1'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_bad_random_state_is_refused_as_a_whole(case):
    state, error, words = BAD_STATES[case]
    net = network()
    before = net.random_state()
    with pytest.raises(error, match=words):
        net.load_random_state(state)
    assert net.random_state() == before


# --- training -------------------------------------------------------------------------------------
def test_training_is_the_same_again_from_a_seed_and_another_from_another():
    data = X, np.arange(12) % 3
    losses = []
    for seed in (3, 3, 4):
        net = network(seed=seed)
        history = nets.fit(
            net,
            data,
            loss=SoftmaxCrossEntropy(),
            optimizer=Adam(net.parameters(), lr=0.01),
            epochs=3,
            batch_size=5,
            progress=False,
        )
        losses.append(history.loss)
    assert losses[0] == losses[1] != losses[2]
    assert net.random_state()["2"]["draw"] == 9, "one mask a mini-batch"


def test_evaluation_is_deterministic():
    net = network()
    assert np.array_equal(net(X), net(X))
    assert net.random_state()["2"]["draw"] == 0
    assert repr(Dropout(0.25)) == "Dropout(0.25)"
