"""Clipping in each of its ways, and averages of weights: what they do to a step, and around it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.six_gradients import KINDS, SHAPES, flat_parameters, frozen, start, write_grads
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES
from onepass.nets import (
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    save,
)
from onepass.nets.optimizers.frame.clipping import NormError
from tolerances import DTYPES

SOME = [  # each takes a second or two to compile: a rule without states and one with two in all
    pytest.param(
        kind, dtype, id=f"{name}-{dtype}",
        marks=[] if kind in (SGD, Adam) and dtype == "float32" else pytest.mark.slow,
    )
    for name, kind in KINDS.items() for dtype in DTYPES
    if kind in (SGD, Adam) or dtype == "float32"
]  # fmt: skip
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}


def placed(engine, storage, params):
    if storage == "flat":
        return flat_parameters(params, engine.device)
    return {name: engine.asarray(value) for name, value in params.items()}


def step(optimizer, engine, gradient, **more):
    if isinstance(optimizer.params, dict):
        optimizer.step({name: engine.asarray(value) for name, value in gradient.items()}, **more)
    else:
        write_grads(optimizer.params, gradient)
        optimizer.step(**more)


def host(engine, arrays):
    return {name: engine.to_numpy(array).astype("float64") for name, array in arrays.items()}


# --- clipping -------------------------------------------------------------------------------------
@pytest.mark.parametrize("storage", ["flat", "dict"])
@pytest.mark.parametrize(("kind", "dtype"), SOME)
def test_elements_are_brought_to_clip_value(engine, kind, dtype, storage):
    params, gradients = start(dtype=dtype)
    options = {"lr": 0.05, "weight_decay": 0.1, "engine": engine.name}
    clipped = kind(placed(engine, storage, params), clip_value=0.25, **options)
    plain = kind(placed(engine, storage, params), **options)
    for gradient in gradients:
        step(clipped, engine, gradient)
        step(plain, engine, {name: np.clip(g, -0.25, 0.25) for name, g in gradient.items()})
    found, want = host(engine, clipped.params), host(engine, plain.params)
    for name in SHAPES:
        np.testing.assert_allclose(
            found[name], want[name], rtol=32 * EPS[dtype], atol=32 * EPS[dtype]
        )


def test_an_element_that_is_no_number_stays_none(engine):
    params = {"w": np.ones(40, "float32")}
    gradient = np.ones(40, "float32")
    gradient[[3, 17, 30]] = np.nan, np.inf, -np.inf
    optimizer = SGD(
        {name: engine.asarray(p) for name, p in params.items()},
        lr=1.0,
        clip_value=0.5,
        maximize=True,
        engine=engine.name,
    )
    step(optimizer, engine, {"w": gradient}, grad_scale=2.0)
    found = engine.to_numpy(optimizer.params["w"])
    want = np.full(40, 1.5)
    want[[3, 30]] = np.nan, 0.5
    np.testing.assert_array_equal(found, want)


def test_they_follow_pytorch_s_clipping():
    torch = pytest.importorskip("torch")
    params, gradients = start()
    theirs = [torch.tensor(value, requires_grad=True) for value in params.values()]
    ours = {name: value.copy() for name, value in params.items()}
    optimizer = Adam(ours, lr=0.05, clip_norm=1.5, clip_value=0.3)
    reference = torch.optim.Adam(theirs, lr=0.05)
    for gradient in gradients:
        for array, grad in zip(theirs, gradient.values(), strict=True):
            array.grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_norm_(theirs, 1.5)
        torch.nn.utils.clip_grad_value_(theirs, 0.3)
        reference.step()
        optimizer.step(gradient)
    for array, other in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(array, other.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_each_array_is_scaled_by_its_own_norm(engine, storage):
    params, gradients = start(dtype="float32")
    groups = {"2.*": {"lr": 0.2}}
    options = {"lr": 0.05, "engine": engine.name, "groups": groups, "frozen": "0.bias"}
    clipped = SGD(placed(engine, storage, params), clip_each_norm=0.5, **options)
    plain = SGD(placed(engine, storage, params), **options)
    for gradient in gradients:
        step(clipped, engine, gradient, grad_scale=-2.0)
        norms = {name: 2 * np.linalg.norm(g.astype("float64")) for name, g in gradient.items()}
        scaled = {
            name: (g * -2.0 * min(1, 0.5 / norms[name])).astype("float32")
            for name, g in gradient.items()
        }
        step(plain, engine, scaled)
    found, want = host(engine, clipped.params), host(engine, plain.params)
    for name in SHAPES:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-6)
    clipped.clip_each_norm = None
    step(clipped, engine, gradients[0])
    step(plain, engine, gradients[0])
    moved = host(engine, clipped.params)["2.bias"] - found["2.bias"]
    np.testing.assert_allclose(moved, -0.2 * gradients[0]["2.bias"], rtol=1e-4)


def test_one_array_s_norm_that_is_not_finite_stops_the_step():
    params, (gradient, *_) = start()
    optimizer = Adam(params, clip_each_norm=1.0)
    gradient["2.bias"][0] = np.nan
    before = frozen((params, optimizer.state_dict()))
    with pytest.raises(FloatingPointError, match=r"norm of grads\['2.bias'\] is nan"):
        optimizer.step(gradient)
    assert frozen((params, optimizer.state_dict())) == before


def test_the_norm_that_is_not_finite_is_told_and_pickled():
    with pytest.raises(NormError) as caught:
        SGD([np.ones(2)], clip_norm=1.0).step([np.array([np.inf, 1.0])])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.norm, str(again)) == (NormError, np.inf, str(caught.value))


# --- averages -------------------------------------------------------------------------------------
def averages_of(seen, **options):
    """What the averages are, worked out from the parameters after each step."""
    found = None
    for t, p in enumerate(seen, 1):
        if options.get("use_ema"):
            m = options.get("ema_momentum", 0.99)
            found = p if t == 1 else m * found + (1 - m) * p
        else:
            first, every = options["swa_start"], options.get("swa_every", 1)
            taken = seen[first - 1 : t : every]
            found = np.mean(taken, axis=0) if t >= first else p
    return found


AVERAGES = [
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.5},
    {"swa_start": 1},
    {"swa_start": 3},
    {"swa_start": 2, "swa_every": 2},
    {"swa_start": 20},
]


@pytest.mark.parametrize("options", AVERAGES, ids=str)
@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_averages_are_those_of_the_parameters(engine, storage, options):
    params, gradients = start(dtype="float64")
    optimizer = AdamW(placed(engine, storage, params), lr=0.1, engine=engine.name, **options)
    seen = {name: [] for name in SHAPES}
    for gradient in gradients:
        step(optimizer, engine, gradient)
        for name, array in host(engine, optimizer.params).items():
            seen[name].append(array)
        for name, average in host(engine, optimizer.averages).items():
            want = averages_of(seen[name], **options)
            np.testing.assert_allclose(average, want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("kind", "dtype"), SOME)
def test_a_step_with_an_average_is_the_step_without(engine, kind, dtype):
    params, gradients = start(dtype=dtype)
    options = {"lr": 0.05, "weight_decay": 0.1, "clip_value": 0.5, "engine": engine.name}
    groups = {"*.bias": {"lr": 0.01}}
    with_average = kind(placed(engine, "flat", params), use_ema=True, groups=groups, **options)
    without = kind(placed(engine, "flat", params), groups=groups, **options)
    for gradient in gradients:
        step(with_average, engine, gradient)
        step(without, engine, gradient)
    found, want = host(engine, with_average.params), host(engine, without.params)
    for name in SHAPES:
        np.testing.assert_allclose(found[name], want[name], rtol=8 * EPS[dtype])
    states = without.state_dict()["state"]
    assert [*with_average.state_dict()["state"]] == [*states, "average"]


@pytest.mark.parametrize("storage", ["flat", "dict"])
def test_a_block_has_averages_in_the_place_of_parameters(engine, storage):
    params, gradients = start()
    optimizer = Adam(placed(engine, storage, params), lr=0.1, use_ema=True, engine=engine.name)
    for gradient in gradients:
        step(optimizer, engine, gradient)
    view = optimizer.params["0.weight"]
    now, averages = host(engine, optimizer.params), host(engine, optimizer.averages)
    with optimizer.averaged():
        inside = host(engine, optimizer.params)
        assert engine.to_numpy(view).tolist() == averages["0.weight"].tolist()
        for refused in (optimizer.state_dict, lambda: step(optimizer, engine, gradients[0])):
            with pytest.raises(ValueError, match="parameters are their averages here"):
                refused()
        with pytest.raises(ValueError, match="averages already"), optimizer.averaged():
            pass
        assert all((host(engine, optimizer.params)[k] == inside[k]).all() for k in SHAPES)
    for name in SHAPES:
        assert (inside[name] == averages[name]).all()
        assert (host(engine, optimizer.params)[name] == now[name]).all()
    assert optimizer.steps == 6
    step(optimizer, engine, gradients[0])


def test_they_come_back_even_from_an_error():
    params, gradients = start()
    optimizer = SGD(params, swa_start=1)
    optimizer.step(gradients[0])
    optimizer.step(gradients[1])
    now = frozen(params)
    inside = []

    def fail():
        inside.append(frozen(params))
        raise KeyError

    with pytest.raises(KeyError), optimizer.averaged():
        fail()
    assert inside != [now]
    assert frozen(params) == now


@pytest.mark.parametrize("storage", ["flat", "dict"])
@pytest.mark.parametrize("options", [{"use_ema": True}, {"swa_start": 2}], ids=str)
def test_frozen_parameters_are_their_own_average(engine, storage, options):
    params, gradients = start(dtype="float32")
    target = placed(engine, storage, params)
    optimizer = SGD(target, lr=0.1, frozen="0.*", engine=engine.name, **options)
    step(optimizer, engine, gradients[0])
    target["0.bias"][...] = 7.0  # loaded later than the optimizer was made
    step(optimizer, engine, gradients[1])
    step(optimizer, engine, gradients[2])
    averages = host(engine, optimizer.averages)
    assert (averages["0.weight"] == params["0.weight"]).all()
    assert (averages["0.bias"] == 7.0).all()
    assert (averages["2.bias"] != host(engine, target)["2.bias"]).any()
    with optimizer.averaged():
        inside = host(engine, target)
    for name in SHAPES:
        assert (inside[name] == averages[name]).all()
    assert (host(engine, target)["0.bias"] == 7.0).all()


def test_a_parameter_without_a_gradient_keeps_the_average_it_had(engine):
    params, (gradient, *_) = start(dtype="float32")
    optimizer = SGD(placed(engine, "dict", params), lr=0.1, use_ema=True, engine=engine.name)
    there = {name: engine.asarray(value) for name, value in gradient.items()}
    optimizer.step(there | {"2.bias": None})
    assert (host(engine, optimizer.averages)["2.bias"] == params["2.bias"]).all()


def test_before_the_first_step_averages_are_the_parameters():
    params, gradients = start()
    optimizer = Adam(params, use_ema=True)
    params["2.bias"][...] = 3.0
    before = frozen(params)
    with optimizer.averaged():
        assert frozen(params) == before
    assert optimizer.step_if_finite({k: g * np.inf for k, g in gradients[0].items()}) is False
    with optimizer.averaged():
        assert frozen(params) == before
    assert (optimizer.averages["2.bias"] == 3.0).all()


def test_inside_a_block_nothing_takes_averages_for_parameters(monkeypatch):
    params, gradients = start()
    optimizer = Adam(params, use_ema=True)
    for gradient in gradients:
        optimizer.step(gradient)
    state, before = optimizer.state_dict(), frozen((params, optimizer.averages))
    with optimizer.averaged():
        refused = (
            lambda: optimizer.load_state_dict(state),
            lambda: copy.deepcopy(optimizer),
            lambda: pickle.dumps(optimizer),
        )
        for each in refused:
            with pytest.raises(ValueError, match="averages here, inside averaged"):
                each()
    assert frozen((params, optimizer.averages)) == before


def test_another_average_is_refused_once_there_are_steps():
    params, gradients = start()
    optimizer = SGD(params, swa_start=2)
    optimizer.swa_every = 2
    optimizer.step(gradients[0])
    for name, value in (("swa_every", 3), ("swa_start", 4)):
        with pytest.raises(ValueError, match=f"{name}={value}: the average is of 1 steps with 2"):
            setattr(optimizer, name, value)
    assert (optimizer.swa_start, optimizer.swa_every) == (2, 2)


def test_without_averages_there_are_none():
    optimizer = SGD([np.zeros(2)])
    with pytest.raises(ValueError, match="SGD keeps no average; expected one made with use_ema"):
        optimizer.averages  # noqa: B018
    with pytest.raises(ValueError, match="keeps no average"), optimizer.averaged():
        pass
    with pytest.raises(ValueError, match="use_ema=True: this SGD keeps no average; make a new one"):
        optimizer.use_ema = True
    kept = SGD([np.zeros(2)], use_ema=True)
    with pytest.raises(ValueError, match="this SGD keeps an average"):
        kept.use_ema = False
    kept.ema_momentum = 0.5
    with pytest.raises(ValueError, match="swa_start is 3; expected one average"):
        kept.swa_start = 3
    assert (kept.ema_momentum, kept.swa_start) == (0.5, None)


BAD = [
    ("clip_value", -1.0, ValueError),
    ("clip_value", "much", TypeError),
    ("clip_each_norm", 0.0, ValueError),
    ("ema_momentum", 1.0, ValueError),
    ("use_ema", 1, TypeError),
    ("swa_start", 0, ValueError),
    ("swa_every", 1.5, TypeError),
]


@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_options_out_of_range_are_refused(name, value, error):
    with pytest.raises(error, match=f"^{name} is "):
        Adam([np.zeros(1)], **{name: value})
    optimizer = Adam([np.zeros(1)])
    before = dict(optimizer.options)
    with pytest.raises(error, match=f"^{name} is "):
        setattr(optimizer, name, value)
    assert optimizer.options == before


@pytest.mark.parametrize(("name", "value"), [("ema_momentum", 0.5), ("swa_every", 3)])
def test_what_would_be_ignored_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value} without an average; expected"):
        Adam([np.zeros(1)], **{name: value})
    optimizer = Adam([np.zeros(1)])
    with pytest.raises(ValueError, match=f"{name} is {value} without an average"):
        setattr(optimizer, name, value)


@pytest.mark.parametrize("options", [{"use_ema": True, "ema_momentum": 0.7}, {"swa_start": 2}])
def test_a_checkpoint_holds_averages(options):
    params, gradients = start()
    optimizer = Adam(flat_parameters(params), lr=0.1, clip_value=0.4, **options)
    for gradient in gradients[:4]:
        optimizer.step(gradient)
    resumed = Adam(flat_parameters(params), **options)
    resumed.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    resumed.params.flat[...] = optimizer.params.flat
    twins = resumed, copy.deepcopy(optimizer)
    for gradient in gradients[4:]:
        for each in (optimizer, *twins):
            each.step(gradient)
    for each in twins:
        assert each.params.flat.tobytes() == optimizer.params.flat.tobytes()
        assert frozen(each.state_dict()) == frozen(optimizer.state_dict())


# --- training -------------------------------------------------------------------------------------
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 6)), RNG.integers(0, 3, 40)
TRAIN = {"loss": SoftmaxCrossEntropy(), "batch_size": 8, "progress": False, "seed": 3}


class Watched(Adam):
    """An optimizer whose steps are not captured."""

    __slots__ = ()

    def step(self, grads=None, *, grad_scale=1.0):
        super().step(grads, grad_scale=grad_scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"use_ema": True, "ema_momentum": 0.8},
        {"swa_start": 7, "swa_every": 3, "no_decay": "1-D", "weight_decay": 0.1},
        {"clip_value": 0.01, "clip_norm": 0.3},
    ],
    ids=str,
)
def test_captured_steps_have_them(reference, options):
    found = {}
    for kind in (Adam, Watched):
        net = Sequential(
            Dense(6, 8), ReLU(), Dense(8, 3), seed=1, dtype="float64", device=reference.device
        )
        optimizer = kind(net.parameters(), lr=0.01, **options)
        history = fit(net, (X, Y), optimizer=optimizer, epochs=3, **TRAIN)
        assert (history.path == "captured") == (kind is Adam), history.path
        arrays = [net.parameters().flat]
        if "clip_value" not in options:
            arrays.append(optimizer._state["average"][0])
        found[kind] = [net.backend.to_numpy(array) for array in arrays]
    for ours, want in zip(found[Adam], found[Watched], strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-9, atol=1e-11)


def test_what_clips_each_array_goes_layer_by_layer():
    net = Sequential(Dense(6, 3), device="cpu")
    optimizer = Adam(net.parameters(), clip_each_norm=1.0)
    history = fit(net, (X, Y), optimizer=optimizer, epochs=1, **TRAIN)
    assert history.path == "clip_each_norm takes a factor for each array"


def test_averaged_weights_are_evaluated_and_saved(tmp_path):
    net = Sequential(Dense(6, 8), BatchNorm(8), ReLU(), Dense(8, 3), device="cpu", seed=1)
    optimizer = Adam(net.parameters(), lr=0.05, use_ema=True, ema_momentum=0.9)
    fit(net, (X, Y), optimizer=optimizer, epochs=2, **TRAIN)
    now = net(X)
    with optimizer.averaged():
        averaged = net(X)
        save(tmp_path / "averaged.safetensors", net)
        with pytest.raises(ValueError, match="network to be saved alone"):
            save(tmp_path / "both.safetensors", net, optimizer=optimizer)
    assert not np.allclose(now, averaged)
    assert (net(X) == now).all()
    assert (load(tmp_path / "averaged.safetensors", device="cpu").net(X) == averaged).all()
    save(tmp_path / "run.safetensors", net, optimizer=optimizer)
    saved = load(tmp_path / "run.safetensors", device="cpu")
    assert repr(saved.optimizer) == repr(optimizer)
    with saved.optimizer.averaged():
        assert (saved.net(X) == averaged).all()


# --- the rules that do it -------------------------------------------------------------------------
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_can_clip_and_average(rule):
    made = rule.clipped.averaged
    own = (*rule.factors, *rule.coefficients)
    assert made.scalars == (*own[:3], "minus", "lowest", *own[3:], "hold", "take")
    assert made.state == (*rule.state, "average")


def test_names_that_clash_are_refused():
    def update(p, g, lowest):
        return (p,)

    with pytest.raises(TypeError, match=r"rule odd-clipped has .* expected a name for each"):
        Rule("odd", update).clipped  # noqa: B018
