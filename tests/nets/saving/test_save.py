"""Saving and loading: everything comes back, and what can't be saved is refused."""

from __future__ import annotations

import inspect
import json
import os
import stat
from math import inf, nan

import numpy as np
import pytest
from cases.saving import everything, network, rewrite, train, trained
from cases.six_gradients import KINDS
from cases.training import data
from onepass import get_backend, nets
from onepass.nets import (
    ELU,
    GELU,
    LAYERS,
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    ExponentialDecay,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Manual,
    ReLU,
    RMSNorm,
    Run,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    Staircase,
    Tanh,
    load,
    save,
)
from onepass.nets.saving.safetensors_file import read_file, write_file
from safetensors import safe_open


class Scaled(Layer):
    """A layer of one's own: y = factor x."""

    def __init__(self, factor, power=1.0):
        self.factor, self.power = factor, power

    def forward(self, x, train=False):
        return x * self.factor

    def backward(self, dy, input_grad=True):
        return dy * self.factor if input_grad else None


class Forgetful(Scaled):
    def __init__(self, scale):
        super().__init__(scale)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


LAYER_CASES = [
    lambda: BatchNorm(4),
    lambda: BatchNorm(4, momentum=0.3, eps=1e-3, activation="relu"),
    lambda: Dense(4, 4),
    lambda: Dense(np.int64(4), 4, bias=False, init="glorot"),
    lambda: Dense(4, 4, activation="leaky_relu", slope=0.2),
    lambda: Dense(4, 4, activation="softplus", beta=2.0, threshold=3.0),
    lambda: Dropout(0.7),
    lambda: ELU(0.3),
    lambda: GELU("tanh"),
    lambda: Softplus(2.0, 3.0),
    lambda: GroupNorm(2, 4, eps=1e-3),
    lambda: LayerNorm(4),
    lambda: LayerNorm((4,), eps=1e-3, bias=False, activation="gelu"),
    lambda: RMSNorm(4),
    lambda: RMSNorm(4, eps=1e-3, affine=False),
    lambda: LeakyReLU(0.3),
    Linear, ReLU, Sigmoid, SiLU, Softmax, Tanh,
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("make", LAYER_CASES)
def test_every_layer_comes_back(make, dtype, path):
    net = Sequential(Dense(3, 4), make(), seed=5, dtype=dtype, device="cpu")
    x = np.random.default_rng(0).standard_normal((6, 3))
    net(x, train=True)
    for array in (net.parameters().flat, *net.buffers().values()):
        array[...] = np.random.default_rng(1).uniform(0.1, 1, array.shape)
    save(path, net)
    saved = load(path, device="cpu")
    assert everything(saved.net) == everything(net)
    assert [layer.config() for layer in saved.net.layers] == [a.config() for a in net.layers]
    assert repr(saved.net) == repr(net)
    assert saved.net.dtype == dtype
    assert saved.net(x).tobytes() == net(x).tobytes()
    assert saved.net(x, train=True).tobytes() == net(x, train=True).tobytes()
    assert (saved.optimizer, saved.schedule, saved.epoch, saved.step) == (None, None, 0, 0)
    assert saved.history.epochs == 0


def test_every_layer_and_optimizer_of_the_library_is_known():
    exported = [getattr(nets, name) for name in nets.__all__]
    classes = [thing for thing in exported if inspect.isclass(thing)]
    concrete = {c for c in classes if issubclass(c, Layer) and not inspect.isabstract(c)}
    concrete -= {nets.Activation}  # what the activations have in common
    assert set(LAYERS.values()) == concrete
    assert concrete == {type(make()) for make in LAYER_CASES}, "a layer has no test here"
    assert OPTIMIZERS == KINDS
    assert all(name == kind.__name__ for name, kind in [*LAYERS.items(), *OPTIMIZERS.items()])


def test_arguments_are_saved_as_they_are_now(path):
    net = network()
    net.layers[1].momentum, net.layers[2].keep_prob = 0.25, 0.5
    save(path, net)
    layers = load(path, "cpu").net.layers
    assert (layers[1].momentum, layers[2].keep_prob) == (0.25, 0.5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_optimizer_comes_back_and_goes_on(kind, dtype, path):
    net, optimizer, _ = trained(dtype, kind=kind, lr=0.003, weight_decay=0.01, clip_norm=0.5)
    save(path, net, optimizer, note="both")
    saved = load(path, device="cpu")
    assert saved.metadata == {"note": "both"}
    assert type(saved.optimizer) is kind
    assert saved.optimizer.params is saved.net.parameters()
    assert repr(saved.optimizer) == repr(optimizer)
    assert everything(saved.net, saved.optimizer) == everything(net, optimizer)
    train(net, optimizer, epochs=1)
    train(saved.net, saved.optimizer, epochs=1)
    assert everything(saved.net, saved.optimizer) == everything(net, optimizer)
    assert not hasattr(saved, "rng_state")


@pytest.mark.parametrize("engine", ["array", "numba", "auto"])
def test_the_engine_is_kept(engine, path):
    net, optimizer, _ = trained(engine=engine)
    save(path, net, optimizer)
    assert load(path, "cpu").optimizer.engine == engine


def test_an_engine_that_can_not_be_had_becomes_auto(path):
    net, optimizer, _ = trained()
    save(path, net, optimizer)
    rewrite(path, lambda tensors, content: content["optimizer"].update(engine="numba-cuda"))
    assert load(path, "cpu").optimizer.engine == "auto"


def test_a_run_comes_back(path):
    net, _, run = trained()
    run.history.val_loss[0] = nan
    run.history.lr[1] = -inf
    save(path, net, run=run)
    saved = load(path, "cpu")
    assert (saved.epoch, saved.step) == (2, 8) == (run.epoch, run.step)
    assert repr(saved.history) == repr(run.history)  # nan is not equal to itself
    assert saved.rng_state == run.rng_state
    assert everything(saved.net, saved.optimizer) == everything(net, run.optimizer)


SCHEDULE_CASES = {
    "InverseTimeDecay": nets.InverseTimeDecay(0.1, 0.5),
    "ExponentialDecay": nets.ExponentialDecay(0.1, 0.9),
    "InverseSqrtDecay": nets.InverseSqrtDecay(0.1, 2.0, per="step"),
    "Staircase": nets.Staircase(0.1, 0.25, every=3),
    "Manual": nets.Manual({0: 0.1, 20: 0.01}),
    "LinearDecay": nets.LinearDecay(0.1, 60, end=0.01),
    "Polynomial": nets.Polynomial(0.1, 60, power=2.0),
    "Cosine": nets.Cosine(0.1, 20, per="epoch"),
    "CosineRestarts": nets.CosineRestarts(0.1, 8, growth=2),
    "OneCycle": nets.OneCycle(0.1, 90, three_phase=True),
    "Warmup": nets.Warmup(50, lr=0.1),
    "Chain": nets.Warmup(9).then(nets.Cosine(0.1, 60)).then(nets.CosineRestarts(0.1, 8)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_comes_back(name, path):
    schedule = SCHEDULE_CASES[name]
    save(path, network(), schedule=schedule)
    found = load(path, "cpu").schedule
    assert type(found) is type(schedule)
    assert found == schedule
    rates = [(epoch, epoch * 4 + 1) for epoch in range(25)]
    assert [found(*at) for at in rates] == [schedule(*at) for at in rates]


class Own(Staircase):
    """A schedule that is in no table."""


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda epoch, step: 0.1, "schedule is <function .*can't be saved; expected a Schedule"),
        (Manual(lambda epoch, step: 0.1), "holds a function, which can't be saved"),
        (Own(0.1), r"Say onepass.nets.SCHEDULES\['Own'\] = Own first"),
    ],
)
def test_a_schedule_that_can_not_be_saved(schedule, message, path):
    net, _, run = trained()
    with pytest.raises(TypeError, match=message):
        save(path, net, schedule=schedule)
    assert not path.exists()
    run.schedule = schedule
    save(path, net, run=run)
    saved = load(path, "cpu")
    assert saved.rng_state == run.rng_state, "all but the schedule is there"
    with pytest.raises(AttributeError, match=r"the schedule was .*, which no file holds"):
        _ = saved.schedule


# Metadata and the file itself


def test_metadata_comes_back(path):
    given = {
        "classes": ("cat", "dog"), "best": np.float32(0.5), "k": np.int64(3), "on": np.bool_(True),
        "none": None, "nested": {"täglich": [1, 2.5, "x", {"deep": []}]}, "big": 2**70,
    }  # fmt: skip
    save(path, network(), **given)
    expected = {**given, "classes": ["cat", "dog"], "best": 0.5, "k": 3, "on": True}
    found = load(path, "cpu").metadata
    assert found == expected
    assert list(map(type, found.values())) == list(map(type, expected.values()))


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.ones(2), TypeError, r"metadata\['key'\] is array\(.* \(ndarray\); .*tolist"),
        ({"a": [1, {2}]}, TypeError, r"metadata\['key'\]\['a'\]\[1\] is \{2\} \(set\); expected"),
        ({1: 2}, TypeError, r"metadata\['key'\] has the key 1 \(int\); expected strings"),
        (b"x", TypeError, r"metadata\['key'\] is b'x' \(bytes\)"),
        (nan, ValueError, r"metadata\['key'\] is nan; expected finite"),
        ([1.0, np.float32(inf)], ValueError, r"metadata\['key'\]\[1\] is inf; expected finite"),
    ],
)
def test_metadata_that_json_can_not_hold(value, error, message, path):
    save(path, network(), mark="first")
    with pytest.raises(error, match=message):
        save(path, network(seed=1), key=value)
    assert load(path, "cpu").metadata == {"mark": "first"}


def test_metadata_that_is_too_large_for_a_header(path):
    save(path, network(), mark="first")
    with pytest.raises(ValueError, match=r"was not saved: its JSON has 40000.* less metadata"):
        save(path, network(), text="x" * 40_000_000)
    save(path, network(), text='"' * 19_900_000, mark="first")  # in JSON two characters each
    assert load(path, "cpu").metadata["mark"] == "first"
    save(path, network(), mark="first")
    assert load(path, "cpu").metadata == {"mark": "first"}


def test_other_programs_can_read_it(path):
    net, _, run = trained()
    save(path, net, run=run, author="me")
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        names = set(file.keys())
        weight = file.get_tensor("3.weight")
    np.testing.assert_array_equal(weight, net.parameters()["3.weight"])
    parameters = {"0.weight", "1.gamma", "1.beta", "3.weight", "3.bias"}
    states = {f"optimizer.{state}.{name}" for state in "mv" for name in parameters}
    assert names == parameters | {"1.running_mean", "1.running_var"} | states
    assert (metadata["format"], metadata["version"]) == ("onepass", "1")
    content = json.loads(metadata["content"])
    assert content["metadata"] == {"author": "me"}
    assert content["network"]["layers"][2] == {"type": "Dropout", "arguments": {"keep_prob": 0.8}}
    assert content["run"]["epoch"] == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_its_permissions_are_a_new_files(mask, path):
    before = os.umask(mask)
    try:
        save(path, network())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_it_is_alone_in_its_folder(path):
    for k in range(3):
        save(str(path), network(), k=k)
    assert os.listdir(path.parent) == [path.name]
    assert load(path, "cpu").metadata == {"k": 2}


def test_a_link_stays_a_link(path, tmp_path):
    save(tmp_path / "first", network(), k=0)
    path.symlink_to(tmp_path / "first")
    save(path, network(), k=1)
    assert path.is_symlink()
    assert load(tmp_path / "first", "cpu").metadata == {"k": 1}


def test_the_home_folder_is_found(path, monkeypatch):
    monkeypatch.setenv("HOME", str(path.parent))
    save("~/model.safetensors", network(), k=7)
    assert load("~/model.safetensors", "cpu").metadata == load(path, "cpu").metadata == {"k": 7}


def test_arrays_of_any_order_shape_and_value(path):
    whole = np.arange(24, dtype="f4").reshape(4, 6)
    arrays = {
        "fortran": np.asfortranarray(whole), "view": whole[::2, 1::3], "flipped": whole[::-1],
        "none": np.empty((0, 3), "f8"), "scalar": np.array(2.5, "f2"),
        "odd": np.array([nan, -inf, -0.0, 5e-324]),
    }  # fmt: skip
    write_file(path, arrays, {})
    found, _ = read_file(path)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


def test_nothing_is_written_to_what_is_saved(path):
    net, optimizer, run = trained()
    before, rng = everything(net, optimizer), run.rng_state
    save(path, net, run=run)
    assert everything(net, optimizer) == before
    assert run.rng_state == rng


# Refusals


def refusals():
    net, optimizer, run = trained()
    other = network()

    class Mine(SGD):
        pass

    class Tanh(Scaled):
        pass

    def own(layer):
        return Sequential(Dense(2, 2), layer, device="cpu")

    yield "net", (net.parameters(),), {}, TypeError, "net is a Parameters; expected a Sequential"
    yield "optimizer", (net, "adam"), {}, TypeError, "optimizer is a str; expected one such as Adam"
    yield "other", (other, optimizer), {}, ValueError, r"other arrays; .*Adam\(net.parameters\(\)\)"
    mine = Mine(net.parameters())
    yield "class", (net, mine), {}, ValueError, r"OPTIMIZERS\['Mine'\] = Mine first"
    yield "run", (net, None, 3), {}, TypeError, "run is a int; expected the Run that callbacks see"
    yield "its net", (other, None, run), {}, ValueError, "run trains another network"
    second = Adam(net.parameters())
    yield "its optimizer", (net, second, run), {}, ValueError, "but the run has Adam"
    decay = {"schedule": ExponentialDecay(0.1)}
    yield "its schedule", (net, None, run), decay, ValueError, "but the run has None; leave it out"
    forgetful = own(Forgetful(2.0))
    yield "argument", (forgetful,), {}, TypeError, r"Forgetful\(\) keeps no 'scale'; expected an at"
    array = own(Scaled(np.ones(2)))
    yield "json", (array,), {}, TypeError, r"arguments of layer 1 Scaled\(\)\['factor'\] is array"
    yield "name", (own(Tanh(1.0)),), {}, ValueError, "layer 1 Tanh.. has the name of another class"


@pytest.fixture(scope="module")
def refused():
    """The cases by name. They train, which is not to be waited for where tests are collected."""
    return {name: case for name, *case in refusals()}


REFUSED = [
    "net", "optimizer", "other", "class", "run", "its net", "its optimizer", "its schedule",
    "argument", "json", "name",
]  # fmt: skip


def test_every_refusal_is_tried(refused):
    assert list(refused) == REFUSED


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, refused, path):
    arguments, options, error, message = refused[case]
    save(path, network(), mark="first")
    with pytest.raises(error, match=message):
        save(path, *arguments, **options)
    assert load(path, "cpu").metadata == {"mark": "first"}


def test_a_path_that_can_not_be_written(tmp_path):
    net = network()
    with pytest.raises(IsADirectoryError, match="which is no file; expected the name of a file"):
        save(tmp_path, net)
    with pytest.raises(FileNotFoundError, match=r"but there is no folder '.*absent'; make it fir"):
        save(tmp_path / "absent" / "model", net)
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="but there is no folder"):
        save(tmp_path / "file" / "model", net)
    assert os.listdir(tmp_path) == ["file"]


# Layers and optimizers of one's own, and networks that are there already


def test_a_layer_of_ones_own(path, monkeypatch):
    net = Sequential(Dense(2, 3), Scaled(2.5, power=(1, 2)), device="cpu")
    save(path, net)
    with pytest.raises(ValueError, match=r"layer 1 is Scaled\(factor=2.5, power=\[1, 2\]\), of a"):
        load(path)
    alike = Sequential(Dense(2, 3), Scaled(2.5, power=[1, 2]), seed=1, device="cpu")
    assert load(path, net=alike).net is alike
    assert everything(alike) == everything(net)
    monkeypatch.setitem(LAYERS, "Scaled", Scaled)
    found = load(path, "cpu").net.layers[1]
    assert (type(found), found.factor, found.power) == (Scaled, 2.5, [1, 2])


def test_an_optimizer_of_ones_own(path, monkeypatch):
    class Mine(Adam):
        pass

    net, _, _ = trained()
    mine = Mine(net.parameters(), lr=0.25)
    monkeypatch.setitem(OPTIMIZERS, "Mine", Mine)
    save(path, net, mine)
    found = load(path, "cpu").optimizer
    assert (type(found), found.lr) == (Mine, 0.25)
    monkeypatch.delitem(OPTIMIZERS, "Mine")
    with pytest.raises(ValueError, match=r"its optimizer is 'Mine', which is not known here; exp"):
        load(path, "cpu")


def test_loading_into_a_network(path):
    net, optimizer, run = trained()
    save(path, net, run=run)
    other = network(seed=3)
    views = dict(other.parameters())
    saved = load(path, net=other)
    assert saved.net is other
    assert everything(other, saved.optimizer) == everything(net, optimizer)
    assert all(other.parameters()[name] is view for name, view in views.items())
    train(net, optimizer, epochs=1)
    train(other, saved.optimizer, epochs=1)
    assert everything(other, saved.optimizer) == everything(net, optimizer)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network("float64"), "net is of float64; expected float32, as the file has"),
        (lambda: Sequential(Dense(2, 8), device="cpu"), "net has 1 layers; expected 4"),
        (
            lambda: Sequential(
                Dense(2, 8, bias=False), BatchNorm(8, activation="relu"), Dropout(0.9), Dense(8, 3)
            ),
            r"layer 2 of net is Dropout\(keep_prob=0.9\); the file has Dropout\(keep_prob=0.8\)",
        ),
    ],
)
def test_another_network_is_left_as_it_is(other, message, path):
    save(path, network())
    net = other()
    before = everything(net)
    with pytest.raises(ValueError, match=message):
        load(path, net=net)
    assert everything(net) == before


def test_arguments_of_load(path):
    save(path, network())
    with pytest.raises(ValueError, match="device is 'cpu' beside net=, which stays where it is"):
        load(path, "cpu", network())
    with pytest.raises(TypeError, match="net is a dict; expected a Sequential"):
        load(path, net={})
    with pytest.raises(ValueError, match="device is 'tpu'; expected"):
        load(path, "tpu")
    assert load(path, get_backend("cpu")).net.backend.device == "cpu"


def test_a_file_without_a_run_is_not_resumed(path):
    net, optimizer, _ = trained()
    save(path, net, optimizer)
    saved = load(path, "cpu")
    with pytest.raises(TypeError, match="resume is a Saved without rng_state; expected what a"):
        train(saved.net, saved.optimizer, resume=saved)
    with pytest.raises(AttributeError, match="holds no run; save it with run=, or by a Checkpoint"):
        _ = saved.rng_state


def test_a_run_made_by_hand(path):
    net = network()
    optimizer = SGD(net.parameters())
    run = Run(net, optimizer, SoftmaxCrossEntropy(), epochs=3, rng=np.random.default_rng(4))
    save(path, net, optimizer, run)
    saved = load(path, "cpu")
    train(saved.net, saved.optimizer, epochs=3, resume=saved)
    train(net, optimizer, epochs=3, seed=4)
    assert everything(saved.net) == everything(net)
    assert len(data()[0]) == 60
