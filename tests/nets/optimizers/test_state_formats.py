"""States in 16 and 8 bits: which array has which, and all that optimizers do beside a step."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from onepass import kernels, nets
from onepass.kernels import State8bit, decode_state, join_param, split_param
from onepass.nets import (
    SGD,
    Adam,
    AdamW,
    Dense,
    LossScaler,
    Momentum,
    Parameters,
    ReLU,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    load_torch_optimizer_state,
    save,
    torch_optimizer_state,
)

SHAPES = {"0.weight": (96, 64), "0.bias": (64,), "2.weight": (64, 80), "2.bias": (80,)}
FORMATS = ["bfloat16", "8bit", {"m": "8bit", "v": "bfloat16"}]
KINDS = [kind for name, kind in nets.OPTIMIZERS.items() if kind.__module__.startswith("onepass.")]


def parameters(seed=0):
    params = Parameters(SHAPES, device="cpu")
    params.flat[...] = np.random.default_rng(seed).standard_normal(params.flat.size)
    return params


def gradients(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype("float32") for name, shape in SHAPES.items()}


def walk(optimizer, steps=5):
    for number in range(steps):
        optimizer.step(gradients(number))
    return optimizer


def states_of(optimizer):
    return optimizer.state_dict()["state"]


def same(a, b):
    if isinstance(a, State8bit):
        return (a.codes == b.codes).all() and (a.scales == b.scales).all()
    return a.dtype == b.dtype and (a == b).all()


def assert_same(one, other):
    assert (one.params.flat == other.params.flat).all()
    ours, theirs = states_of(one), states_of(other)
    assert all(same(ours[state][key], theirs[state][key]) for state in ours for key in SHAPES)


def told(optimizer, state="m"):
    """The format of each array's state."""
    found = {}
    for key, each in states_of(optimizer)[state].items():
        kind = "8bit" if isinstance(each, State8bit) else each.dtype.name
        found[key] = "bfloat16" if kind == "uint16" else kind
    return found


# --- which format ---------------------------------------------------------------------------------
def test_small_arrays_keep_float32_in_place_of_8_bits():
    kept = {"0.weight": "8bit", "0.bias": "float32", "2.weight": "8bit", "2.bias": "float32"}
    assert told(Adam(parameters(), state_format="8bit")) == kept
    assert told(Adam(parameters(), state_format="8bit", min_8bit_size=5121)) == {
        **kept,
        "2.weight": "float32",
    }
    everything = Adam(parameters(), state_format="8bit", min_8bit_size=0)
    assert {*told(everything).values()} == {"8bit"}
    assert {*told(Adam(parameters(), state_format="bfloat16")).values()} == {"bfloat16"}


def test_each_state_may_have_its_own():
    optimizer = Adam(parameters(), state_format={"v": "8bit"})
    assert {*told(optimizer).values()} == {"float32"}
    assert told(optimizer, "v")["0.weight"] == "8bit"
    signs = {state: states_of(optimizer)[state]["0.weight"] for state in "v"}
    assert not signs["v"].signed


def test_the_last_pattern_that_matches_an_array_says_which():
    by_name = {"*.weight": "8bit", "2.*": {"m": "bfloat16"}, "2.bias": "float32"}
    optimizer = Adam(parameters(), state_format_by_name=by_name)
    assert told(optimizer) == {
        "0.weight": "8bit",
        "0.bias": "float32",
        "2.weight": "bfloat16",
        "2.bias": "float32",
    }
    assert told(optimizer, "v")["2.weight"] == "8bit"


def test_block_sizes_are_those_that_were_asked_for():
    state = states_of(Adam(parameters(), state_format="8bit", block_size=64))["m"]["0.weight"]
    assert (state.block_size, state.scales.size) == (64, 96)


def test_states_take_the_bytes_that_they_are_told_to():
    def nbytes(**options):
        params = Parameters({"w": (1000, 256)}, device="cpu")
        states = Adam(params, **options).state_dict()["state"].values()
        return sum(state["w"].nbytes for state in states) / 256_000

    assert [nbytes(), nbytes(state_format="bfloat16")] == [8, 4]
    assert nbytes(state_format="8bit") == 2 + 8 / 256


# --- steps ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("state_format", FORMATS, ids=str)
def test_steps_are_those_of_the_function_on_each_array(state_format):
    params = parameters()
    optimizer = Adam(params, state_format=state_format, rounding_seed=5, lr=0.01)
    name = "0.weight"  # the first array: others have other noise
    param = params[name].copy()
    states = {
        state: kernels.zero_state(
            param, state_format if isinstance(state_format, str) else state_format[state],
            signed=state == "m",
        )
        for state in ("m", "v")
    }  # fmt: skip
    for step in range(1, 6):
        gradient = gradients(step)
        optimizer.step(gradient)
        kernels.adam_step(param, gradient[name], **states, step=step, lr=0.01, seed=5)
    assert (params[name] == param).all()
    assert all(same(states[state], states_of(optimizer)[state][name]) for state in states)


@pytest.mark.parametrize(
    "kind",
    [kind if kind is Adam else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
@pytest.mark.parametrize("state_format", ["bfloat16", "8bit"])
def test_every_optimizer_goes_nearly_as_in_float32(kind, state_format):
    if kind is SGD:
        pytest.skip("SGD has no states")
    exact, params = parameters(), parameters()
    walk(kind(exact), 20)
    walk(kind(params, state_format=state_format), 20)
    moved = np.abs(exact.flat - parameters().flat).mean()
    assert moved > 0
    assert np.abs(params.flat - exact.flat).mean() < 0.15 * moved


def test_sgd_has_nothing_to_keep_in_fewer_bits():
    params, exact = parameters(), parameters()
    walk(SGD(params, state_format="8bit"))
    walk(SGD(exact))
    assert (params.flat == exact.flat).all()


@pytest.mark.parametrize("state_format", FORMATS, ids=str)
def test_a_list_steps_as_a_network_does(state_format):
    params = parameters()
    arrays = [array.copy() for array in params.values()]
    walk(Adam(params, state_format=state_format))
    optimizer = Adam(arrays, state_format=state_format)
    for number in range(5):
        optimizer.step(list(gradients(number).values()))
    assert all((a == b).all() for a, b in zip(arrays, params.values(), strict=True))


def test_groups_have_their_own_hyperparameters():
    groups = {"*.bias": {"lr": 0.1}, "2.weight": {"weight_decay": 0.5}}
    exact, params = parameters(), parameters()
    walk(AdamW(exact, groups=groups, lr=0.01))
    walk(AdamW(params, groups=groups, lr=0.01, state_format="bfloat16"))
    assert np.allclose(exact.flat, params.flat, rtol=0.02, atol=2e-3)


def test_what_is_frozen_or_without_a_gradient_stays():
    params = parameters()
    optimizer = Adam(params, state_format="8bit", frozen="2.weight")
    before = params.flat.copy()
    optimizer.step({**gradients(0), "0.weight": None})
    kept = {"0.weight", "2.weight"}
    views = params.split(before)
    assert {name for name in SHAPES if (views[name] == params[name]).all()} == kept
    assert not states_of(optimizer)["m"]["0.weight"].codes.any()


@pytest.mark.parametrize("options", [{"clip_norm": 0.5}, {"clip_each_norm": 0.2}], ids=str)
def test_gradients_are_clipped_alike(options):
    exact, params = parameters(), parameters()
    walk(Momentum(exact, **options))
    walk(Momentum(params, state_format="bfloat16", **options))
    assert np.allclose(exact.flat, params.flat, rtol=0.01, atol=1e-4)


def test_averages_are_kept_in_float32_beside_them():
    params = parameters()
    optimizer = walk(Adam(params, state_format="8bit", use_ema=True, ema_momentum=0.5))
    averages = optimizer.averages
    assert {each.dtype.name for each in averages.values()} == {"float32"}
    kept = params.flat.copy()
    with optimizer.averaged():
        assert (params["0.weight"] != params.split(kept)["0.weight"]).any()
    assert (params.flat == kept).all()


def test_a_step_is_left_out_where_a_gradient_is_not_finite():
    params = parameters()
    optimizer = walk(Adam(params, state_format="8bit"))
    before, states = params.flat.copy(), states_of(optimizer)
    bad = gradients(9)
    bad["2.bias"][3] = np.nan
    assert not optimizer.step_if_finite(bad)
    assert (params.flat == before).all()
    assert optimizer.steps == 5
    assert all(same(states["m"][key], states_of(optimizer)["m"][key]) for key in SHAPES)


def test_what_does_not_fit_is_named_and_nothing_is_written():
    params = parameters()
    optimizer = walk(Adam(params, state_format="8bit"))
    before = params.flat.copy()
    with pytest.raises(TypeError, match=r"grads\['2.bias'\]"):
        optimizer.step({**gradients(0), "2.bias": np.zeros(80)})
    with pytest.raises(ValueError, match=r"grads\['0.weight'\]"):
        optimizer.step({**gradients(0), "0.weight": np.zeros((64, 96), "float32")})
    assert (params.flat == before).all()
    assert optimizer.steps == 5


def test_arrays_of_an_optimizer_share_no_memory():
    memory = np.ones(6000, np.float32)
    optimizer = Adam([memory[:5000], memory[5000:]], state_format="bfloat16")
    gradient = [np.ones(5000, np.float32), memory[:1000]]
    with pytest.raises(ValueError, match="overlap"):
        optimizer.step(gradient)
    assert (memory == 1).all()


# --- bfloat16 parameters --------------------------------------------------------------------------
@pytest.mark.parametrize("state_format", ["float32", "bfloat16", "8bit"])
def test_halves_go_exactly_as_float32_does(state_format):
    values = np.random.default_rng(0).standard_normal((90, 70)).astype("float32")
    param, remainder = split_param(values)
    optimizer = Adam([param], state_format=state_format)
    optimizer.remainders[0][...] = remainder
    exact = Adam([values], state_format=state_format)
    for number in range(6):
        gradient = np.random.default_rng(number).standard_normal((90, 70)).astype("float32")
        for each in (optimizer, exact):
            each.step([gradient])
    joined = join_param(param, optimizer.remainders[0])
    if state_format == "float32":  # by another loop, which may round a product and a sum at once
        assert np.allclose(joined, values, rtol=1e-6, atol=1e-7)
    else:
        assert (joined == values).all()


def test_halves_are_in_checkpoints():
    param, _ = split_param(np.ones((80, 80), np.float32))
    optimizer = Momentum({"w": param, "b": np.ones(3, np.float32)}, state_format="bfloat16")
    gradient = {"w": np.full((80, 80), 0.3, np.float32), "b": np.ones(3, np.float32)}
    optimizer.step(gradient)
    state = optimizer.state_dict()
    assert [*state["state"]["remainder"]] == ["w"]
    other = {"w": param.copy(), "b": optimizer.params["b"].copy()}
    again = Momentum(other, state_format="bfloat16")
    again.load_state_dict(state)
    for each in (optimizer, again):
        each.step(gradient)
    assert (other["w"] == param).all()
    assert (again.remainders["w"] == optimizer.remainders["w"]).all()
    state["state"]["remainder"]["w"] = np.zeros((80, 80))
    with pytest.raises(TypeError, match="int16"):
        again.load_state_dict(state)


def test_averages_of_bfloat16_are_refused():
    param, _ = split_param(np.ones(5, np.float32))
    with pytest.raises(ValueError, match="average"):
        Adam([param], use_ema=True)


# --- checkpoints ----------------------------------------------------------------------------------
@pytest.mark.parametrize("state_format", FORMATS, ids=str)
def test_an_optimizer_goes_on_to_the_bit(state_format, tmp_path):
    net = Sequential(Dense(96, 64), ReLU(), Dense(64, 80))
    net.parameters().flat[...] = parameters().flat
    optimizer = walk(AdamW(net.parameters(), state_format=state_format, rounding_seed=3))
    path = tmp_path / "net.safetensors"
    save(path, net, optimizer)
    saved = load(path, device="cpu")
    copied = copy.deepcopy(optimizer)
    pickled = pickle.loads(pickle.dumps(optimizer))
    walk(optimizer)
    for other in (saved.optimizer, copied, pickled):
        walk(other)
        assert_same(other, optimizer)


def test_a_run_goes_on_from_a_file_to_the_bit(tmp_path):
    x = np.random.default_rng(0).standard_normal((300, 96)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    path = tmp_path / "run.safetensors"
    options = {"loss": SoftmaxCrossEntropy(), "progress": False, "batch_size": 64}

    def new():
        net = Sequential(Dense(96, 64), ReLU(), Dense(64, 2))
        net.parameters().flat[...] = np.random.default_rng(1).normal(0, 0.1, 6338)
        return net, Adam(net.parameters(), state_format="8bit")

    whole, optimizer = new()
    fit(whole, (x, y), optimizer=optimizer, epochs=4, **options)
    part, optimizer = new()
    callbacks = [nets.Checkpoint(path)]
    history = fit(part, (x, y), optimizer=optimizer, epochs=2, callbacks=callbacks, **options)
    assert history.path == "captured"
    saved = load(path, device="cpu")
    options |= {"optimizer": saved.optimizer, "resume": saved}
    fit(saved.net, (x, y), epochs=4, **options)
    assert (saved.net.parameters().flat == whole.parameters().flat).all()


@pytest.mark.parametrize("there", ["float32", "bfloat16", "8bit"])
@pytest.mark.parametrize("here", ["float32", "bfloat16", "8bit"])
def test_a_checkpoint_loads_into_another_format(there, here):
    source = walk(Adam(parameters(), state_format=there))
    target = Adam(parameters(), state_format=here)
    target.load_state_dict(source.state_dict())
    for state in ("m", "v"):
        was = decode_state(states_of(source)[state]["0.weight"])
        now = decode_state(states_of(target)[state]["0.weight"])
        if here in ("float32", there):
            assert (now == was).all()
        else:  # to the nearest: half a step of the values above a sixteenth of their block's
            step = 2**-7 if here == "bfloat16" else 2**-5 if state == "v" else 2**-4
            most = np.abs(was).reshape(-1, 256).max(1).repeat(256).reshape(was.shape)
            large = np.abs(was) > most / 8
            assert (np.abs(now - was)[large] <= step / 2 * np.abs(was)[large]).all()
            assert (now != was).any()


def test_files_hold_the_formats_dtypes(tmp_path):
    from safetensors import safe_open

    net = Sequential(Dense(96, 64))
    optimizer = Adam(net.parameters(), state_format={"m": "8bit", "v": "bfloat16"})
    save(tmp_path / "net.safetensors", net, optimizer)
    with safe_open(tmp_path / "net.safetensors", "numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert kinds["optimizer.m.0.weight.codes"] == "U8"
    assert kinds["optimizer.m.0.weight.scales"] == "F32"
    assert kinds["optimizer.v.0.weight"] == "BF16"


def test_a_damaged_file_of_formats_is_told(tmp_path):
    net = Sequential(Dense(96, 64))
    path = tmp_path / "net.safetensors"
    save(path, net, walk(Adam(net.parameters(), state_format="bfloat16"), 0))
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_states_come_from_pytorch_and_go_there():
    pytest.importorskip("torch")
    net = Sequential(Dense(96, 64), ReLU(), Dense(64, 80))
    exact = walk(Adam(net.parameters()))
    optimizer = Adam(net.parameters(), state_format="8bit")
    load_torch_optimizer_state(optimizer, torch_optimizer_state(exact, net), net)
    there = torch_optimizer_state(optimizer, net)["state"][0]["exp_avg_sq"].numpy()
    back = torch_optimizer_state(exact, net)["state"][0]["exp_avg_sq"].numpy()
    assert there.dtype == np.float32
    assert 0 < np.abs(there - back).max() <= 2**-5 * back.max()


# --- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"state_format": "int8"}, ValueError, "'float32', 'bfloat16', '8bit'"),
        ({"state_format": 8}, TypeError, "state_format is 8"),
        ({"state_format": {"velocity": "8bit"}}, ValueError, "expected some of 'm', 'v'"),
        ({"state_format": {"m": "half"}}, ValueError, r"state_format\['m'\]"),
        ({"state_format_by_name": "8bit"}, TypeError, "state_format_by_name is a str"),
        ({"state_format_by_name": {"3.*": "8bit"}}, ValueError, "matches no parameter"),
        ({"block_size": 100}, ValueError, "power of two"),
        ({"block_size": 2.0}, TypeError, "block_size"),
        ({"min_8bit_size": -1}, ValueError, "min_8bit_size"),
        ({"rounding_seed": -1}, ValueError, "rounding_seed"),
    ],
    ids=str,
)
def test_what_is_no_format_is_named(options, error, match):
    with pytest.raises(error, match=match):
        Adam(parameters(), **options)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes_are_named(dtype):
    with pytest.raises(TypeError, match=r"params\['0.weight'\] has dtype"):
        Adam(Parameters(SHAPES, dtype=dtype, device="cpu"), state_format="bfloat16")


def test_a_checkpoint_of_something_else_is_refused():
    optimizer = Adam(parameters(), state_format="8bit")
    state = optimizer.state_dict()
    state["state"]["m"]["0.bias"] = np.zeros(64)
    with pytest.raises(TypeError, match=r"state\['state'\]\['m'\]\['0.bias'\] has dtype float64"):
        optimizer.load_state_dict(state)
    state["state"]["m"]["0.bias"] = kernels.zero_state(np.zeros(65), "8bit")
    with pytest.raises(ValueError, match=r"has shape \(65,\)"):
        optimizer.load_state_dict(state)


def test_a_scaled_loss_steps_them_on_the_cpu():
    params = parameters()
    optimizer = RMSprop(params, state_format="8bit")
    scaler = LossScaler()
    scaled = {name: value * np.float32(scaler.scale) for name, value in gradients(0).items()}
    scaler.step(optimizer, scaled)
    exact = parameters()
    RMSprop(exact, state_format="8bit").step(gradients(0))
    assert np.allclose(params.flat, exact.flat, rtol=1e-5, atol=1e-6)


def test_ranks_tell_that_they_share_float32_alone():
    from onepass.nets.parallel.same_everywhere import check_alone

    net = Sequential(Dense(96, 64))
    check_alone(net, Adam(net.parameters()))
    with pytest.raises(ValueError, match="not shared by ranks"):
        check_alone(net, Adam(net.parameters(), state_format="8bit"))


# --- captured steps -------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"groups": {"*.bias": {"lr": 0.05}}}, {"frozen": "0.*"}])
def test_captured_steps_are_those_of_step_after_captured_gradients(options):
    x = np.random.default_rng(0).standard_normal((300, 96)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    found = []
    for more in ({}, {"clip_norm": 1e9}):  # which no norm reaches: steps go apart, the same way
        net = Sequential(Dense(96, 64), ReLU(), Dense(64, 2))
        net.parameters().flat[...] = np.random.default_rng(1).normal(0, 0.1, 6338)
        optimizer = AdamW(net.parameters(), state_format="8bit", **options, **more)
        data = {"loss": SoftmaxCrossEntropy(), "progress": False, "batch_size": 64}
        history = fit(net, (x, y), optimizer=optimizer, epochs=3, **data)
        assert history.path == "captured"
        found.append((net.parameters().flat.copy(), states_of(optimizer), optimizer.steps))
    (flat, states, steps), (other, others, count) = found
    assert (flat == other).all()
    assert steps == count == 15
    assert all(same(states[name][key], others[name][key]) for name in states for key in states["m"])


def test_a_captured_step_of_ones_own_takes_them():
    net = Sequential(Dense(96, 64), ReLU(), Dense(64, 2))
    optimizer = Adam(net.parameters(), state_format="bfloat16")
    step = nets.capture(net, SoftmaxCrossEntropy(), optimizer)
    x = np.random.default_rng(0).standard_normal((64, 96)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    before = [float(step(x, y)) for _ in range(20)]
    assert before[-1] < 0.6 * before[0]
    assert optimizer.steps == 20


# --- arrays that change between steps -------------------------------------------------------------
def changed_size(arrays, grads):
    grads[0].resize(10, refcheck=False)


def read_only(arrays, grads):
    arrays[0].flags.writeable = False


def other_shape(arrays, grads):
    arrays[1].shape = (100, 70)


def other_dtype(arrays, grads):
    grads[0].dtype = "i4"


@pytest.mark.parametrize("engine", ["auto", "array"])
@pytest.mark.parametrize("change", [changed_size, read_only, other_shape, other_dtype])
def test_the_same_objects_are_looked_at_in_each_step(engine, change):
    arrays = [np.zeros(9000, np.float32), np.zeros((70, 100), np.float32)]
    grads = [np.ones_like(array) for array in arrays]
    optimizer = Adam(arrays, state_format="8bit", engine=engine)
    optimizer.step(grads)
    change(arrays, grads)
    before = [array.copy() for array in arrays]
    with pytest.raises((TypeError, ValueError), match=r"(params|grads)\[[01]\]"):
        optimizer.step(grads)
    assert all((array == kept).all() for array, kept in zip(arrays, before, strict=True))


def test_gradients_that_come_to_overlap_are_told():
    memory = np.zeros(20_000, np.float32)
    arrays = [np.ones(5000, np.float32), memory[:5000]]
    optimizer = Adam(arrays, state_format="8bit")
    optimizer.step([np.ones(5000, np.float32), np.ones(5000, np.float32)])
    before = memory.copy()
    with pytest.raises(ValueError, match="overlap"):
        optimizer.step([memory[2000:7000], np.ones(5000, np.float32)])
    assert (memory == before).all()


def test_gradients_are_not_kept_alive():
    import weakref

    optimizer = Adam([np.ones(5000, np.float32) for _ in range(3)], state_format="8bit")
    held = []
    for left_out in range(3):
        grads = [np.ones(5000, np.float32) for _ in range(3)]
        held += map(weakref.ref, grads)
        grads[left_out] = None
        optimizer.step(grads)
        del grads
    assert not any(each() is not None for each in held)


def test_gradients_of_another_order_are_copied():
    params, exact = parameters(), parameters()
    straight, turned = (Adam(each, state_format="8bit") for each in (exact, params))
    for number in range(3):
        straight.step(gradients(number))
        turned.step({name: np.asfortranarray(each) for name, each in gradients(number).items()})
    assert (params.flat == exact.flat).all()


def test_parameters_of_another_order_are_told_at_once():
    with pytest.raises(ValueError, match=r"params\[0\] is not one run"):
        Adam([np.ones((80, 70), np.float32).T], state_format="8bit")


def test_differences_of_states_are_taken_of_float32():
    optimizer = RMSprop(parameters(), centered=True, momentum=0.9, state_format="8bit", lr=1e-3)
    kinds = {state: told(optimizer, state)["0.weight"] for state in states_of(optimizer)}
    assert kinds == {"square_avg": "float32", "momentum_buffer": "8bit", "grad_avg": "float32"}
    for number in range(60):  # noise a third of the mean: the difference is a tenth of either
        before = optimizer.params.flat.copy()
        noise = np.random.default_rng(number)
        optimizer.step({
            name: (1 + 0.3 * noise.standard_normal(shape)).astype("float32")
            for name, shape in SHAPES.items()
        })  # fmt: skip
        assert np.abs(optimizer.params.flat - before).max() < 0.2
    with pytest.raises(ValueError, match="difference"):
        RMSprop(parameters(), centered=True, state_format={"grad_avg": "bfloat16"})


def test_options_are_the_optimizers_own():
    asked = {"v": "8bit"}
    optimizer = Adam(parameters(), state_format=asked)
    asked["v"] = "bfloat16"
    optimizer.formats["state_format"]["v"] = "float32"
    assert optimizer.formats["state_format"] == {"v": "8bit"}
    assert copy.deepcopy(optimizer).formats == optimizer.formats


def test_a_checkpoint_of_halves_tells_what_to_do():
    values = np.ones((80, 80), np.float32)
    param, _ = split_param(values)
    whole, half = Adam([values]), Adam([param])
    with pytest.raises(ValueError, match="join_param"):
        whole.load_state_dict(half.state_dict())
    state = whole.state_dict()
    with pytest.raises(ValueError, match="split_param"):
        half.load_state_dict(state)
    state["state"]["remainder"] = {0: split_param(values)[1]}
    half.load_state_dict(state)


def test_a_damaged_state_is_told_by_its_name():
    optimizer = Adam(parameters(), state_format="8bit")
    state = optimizer.state_dict()
    state["state"]["m"]["0.weight"].scales = np.zeros(3, np.float32)
    for target in (optimizer, Adam(parameters())):
        with pytest.raises(ValueError, match=r"\['m'\]\['0.weight'\].scales has shape"):
            target.load_state_dict(state)
