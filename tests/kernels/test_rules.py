"""Every rule on every engine and dtype does what its paper says, for parameters and states."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import replace

import numpy as np
import pytest
from onepass import kernels
from oracles.rules import RULES, each
from tolerances import DTYPES, LIMITS, assert_close, assert_step, assert_walk, signed

VARIANTS = [
    pytest.param(name, variant, id=f"{name}-{number}")
    for name, rule in RULES.items()
    for number, variant in enumerate(rule.variants)
]


def variant_of(name, variant):
    """sgd and momentum have no default lr."""
    return {"lr": 0.1} | variant if name in ("sgd_step", "momentum_step") else variant


def walk(engine, name, options, dtype, **how):
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")  # test_contracts.py: it says so
    assert_walk(
        engine.kernel(name),
        RULES[name],
        options,
        dtype,
        factor=engine.factor,
        asarray=engine.asarray,
        to_numpy=engine.to_numpy,
        **how,
    )


# --- the table is complete, and the functions look as documented ----------------------------------
def test_table_holds_every_exported_rule():
    assert {name for name in dir(kernels) if name.endswith("_step")} == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_signature_matches_the_documented_names_order_and_defaults(name):
    actual = inspect.signature(getattr(kernels, name)).parameters
    expected = inspect.signature(RULES[name].oracle).parameters
    assert list(actual)[: len(RULES[name].arrays)] == RULES[name].arrays
    storing = {"remainder"} if name == "sgd_step" else {"remainder", "seed"}
    assert set(actual) == {*expected, "engine", *storing}
    assert {actual[each].default for each in storing} == {None}
    assert actual["engine"].default == "auto"
    for option in RULES[name].options:
        assert actual[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert actual[option].default == expected[option].default, option


# --- formulas -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "variant", "dtype"),
    [
        pytest.param(
            *(*case.values, dtype),
            id=f"{case.id}-{dtype}",
            marks=pytest.mark.slow if dtype != "float32" and not case.id.endswith("-0") else (),
        )
        for case in VARIANTS
        for dtype in DTYPES
    ],
)
def test_rule_follows_its_oracle_over_20_steps(engine, name, variant, dtype):
    walk(engine, name, variant_of(name, variant), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_auto_follows_the_oracle(reference, name, dtype):
    auto = replace(reference, name="auto")
    assert_walk(
        auto.kernel(name),
        RULES[name],
        {"lr": 0.1},
        dtype,
        factor=auto.factor,
        steps=3,
        asarray=auto.asarray,
        to_numpy=auto.to_numpy,
    )


CHOICES = {
    "weight_decay": (0.0, 0.05),
    "decoupled": (False, True),
    "maximize": (False, True),
    "grad_scale": (1.0, 0.7),
    "nesterov": (False, True),
    "eps_inside_sqrt": (False, True),
    "eps_uncorrected": (False, True),
    "centered": (False, True),
    "momentum": (0.0, 0.8),
    "form": ("heavy-ball", "averaged", "velocity"),
}
COMBINATIONS = [
    (
        name,
        {"lr": 0.1}
        | ({"alpha": 0.9} if "alpha" in rule.options else {})
        | dict(zip(offered, chosen, strict=True)),
    )
    for name, rule in RULES.items()
    for offered in [[option for option in CHOICES if option in rule.options]]
    for chosen in itertools.product(*(CHOICES[option] for option in offered))
]


@pytest.mark.parametrize(("name", "options"), each(*COMBINATIONS))
def test_options_combine(engine, name, options):
    walk(engine, name, options, "float32", steps=3, size=257)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_options_at_once(engine, name, dtype):
    chosen = {
        "weight_decay": 0.05,
        "decoupled": True,
        "maximize": True,
        "grad_scale": 0.7,
        "nesterov": True,
        "eps_inside_sqrt": True,
        "eps_uncorrected": True,
        "centered": True,
        "momentum": 0.8,
        "alpha": 0.9,  # or a step is ten times as long, and cancels with the one before
        "lr_decay": 0.1,
    }
    known = {key: value for key, value in chosen.items() if key in RULES[name].options}
    walk(engine, name, {"lr": 0.1} | known, dtype, steps=3)


# 300,007: threads share the work, and no power of two divides it.
@pytest.mark.parametrize("size", [1, 2, 15, 1023, 4096 + 3, 300_007])
@pytest.mark.parametrize("name", each(*RULES))
def test_sizes(engine, name, size):
    walk(engine, name, {"lr": 0.1}, "float32", size=size, steps=2)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("name", ["adam_step", "sgd_step"])
def test_threaded_size_in_other_dtypes(engine, name, dtype):
    walk(engine, name, {"lr": 0.1}, dtype, size=300_007, steps=2)


COUNTED = ["adam_step", "amsgrad_step", "nadam_step", "radam_step", "adamax_step"]


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("step", [1, 2, 1000, 10**9, np.int64(7), np.uint8(255)])
def test_bias_correction_early_and_late(engine, name, step):
    rng = np.random.default_rng(0)
    arrays = engine.arrays(RULES[name], 64)
    arrays["grad"] = engine.asarray(signed(rng, 64, 0.25, 4.0, "float32"))
    assert_step(
        engine.kernel(name),
        RULES[name],
        arrays,
        {"lr": 0.1, "step": step},
        factor=engine.factor,
        to_numpy=engine.to_numpy,
    )


# --- edges of the number range --------------------------------------------------------------------
EDGES = {"float16": 200.0, "float32": 1e18, "float64": 1e150}  # squares that still fit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("eps", [1e-8, 0.0])
@pytest.mark.parametrize("name", RULES)
def test_zeros_denormals_huge_inf_and_nan_go_where_the_oracle_sends_them(engine, name, eps, dtype):
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")
    info, rule = np.finfo(dtype), RULES[name]
    grad = np.array(
        [
            0.0,
            -0.0,
            info.smallest_subnormal,
            -float(info.tiny) / 2,
            EDGES[dtype],
            -EDGES[dtype],
            np.inf,
            -np.inf,
            np.nan,
            1.0,
        ],
        dtype,
    )
    arrays = {key: engine.asarray(np.zeros(10, dtype)) for key in rule.arrays}
    arrays["grad"] = engine.asarray(grad)
    # zeros must make 0/0, but a square that underflows is the dtype's doing; so is its sign
    if eps == 0.0 or rule.jumps:
        arrays["grad"] = engine.asarray(np.where(np.abs(grad) < 1e-3, 0, grad).astype(dtype))
    options = {"lr": 0.1} | ({"eps": eps} if "eps" in rule.options else {})
    for step in (1, 2):  # the second time on states that are huge, infinite or NaN
        counted = options | ({"step": step} if "step" in rule.options else {})
        arrays["param"] = engine.asarray(np.ones(10, dtype))
        assert_step(
            engine.kernel(name),
            rule,
            arrays,
            counted,
            factor=engine.factor,
            to_numpy=engine.to_numpy,
        )


@pytest.mark.parametrize("size", [1023, 300_007])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("name", RULES)
def test_a_bad_gradient_stays_at_its_own_element(engine, name, poison, size):
    rng = np.random.default_rng(size)
    results = []
    for bad in (False, True):
        rng = np.random.default_rng(size)
        arrays = engine.arrays(RULES[name], size)
        grad = signed(rng, size, 0.25, 4.0, "float32")
        grad[size // 2] = poison if bad else 1.0
        arrays["grad"] = engine.asarray(grad)
        engine.kernel(name)(*arrays.values(), **engine.options(RULES[name]))
        results.append([engine.to_numpy(arrays[key]) for key in RULES[name].written])
    others = np.arange(size) != size // 2
    for key, clean, dirty in zip(RULES[name].written, *results, strict=True):
        if (name, key, poison) == ("lion_step", "param", np.inf):
            assert dirty[size // 2] == clean[size // 2], "which moves by lr all the same"
        else:
            assert not np.isfinite(dirty[size // 2])
        np.testing.assert_array_equal(clean[others], dirty[others])


@pytest.mark.parametrize("name", RULES)
def test_no_weight_decay_is_no_term_even_for_an_infinite_parameter(engine, name):
    arrays = engine.arrays(RULES[name], 3)
    arrays["param"] = engine.asarray(np.float32([np.inf, -np.inf, 1.0]))
    assert_step(
        engine.kernel(name),
        RULES[name],
        arrays,
        engine.options(RULES[name]),
        factor=engine.factor,
        to_numpy=engine.to_numpy,
    )


# --- PyTorch, where its conventions are ours ------------------------------------------------------
DECAY = {"weight_decay": 0.05, "maximize": True}
PYTORCH = [
    ("sgd_step", "SGD", {"lr": 0.1} | DECAY, {}),
    ("momentum_step", "SGD", {"lr": 0.1, "momentum": 0.8} | DECAY, {}),
    ("momentum_step", "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True} | DECAY, {}),
    ("adagrad_step", "Adagrad", {"lr": 0.1, "eps": 1e-2} | DECAY, {}),
    ("rmsprop_step", "RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2} | DECAY, {}),
    ("adam_step", "Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2} | DECAY, {}),
    ("adam_step", "AdamW", {"lr": 0.1, "eps": 1e-2} | DECAY, {"decoupled": True}),
    ("momentum_step", "SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3} | DECAY, {}),
    ("momentum_step", "SGD", {"lr": 0.1, "momentum": 0.0, "dampening": 0.3} | DECAY, {}),
    ("adagrad_step", "Adagrad", {"lr": 0.1, "lr_decay": 0.1} | DECAY, {}),
    *(
        ("rmsprop_step", "RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, **options} | DECAY, {})
        for options in (
            {"momentum": 0.8},
            {"centered": True},
            {"momentum": 0.8, "centered": True},
        )
    ),
    ("nadam_step", "NAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2} | DECAY, {}),
    ("nadam_step", "NAdam", {"lr": 0.1, "momentum_decay": 0.5} | DECAY, {}),
    ("radam_step", "RAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2} | DECAY, {}),
    ("radam_step", "RAdam", {"lr": 0.1, "betas": (0.8, 0.5)} | DECAY, {}),
    ("adamax_step", "Adamax", {"lr": 0.1, "betas": (0.8, 0.7), "eps": 1e-2} | DECAY, {}),
    ("adadelta_step", "Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-2} | DECAY, {}),
    *(
        (name, kind, DECAY | {"decoupled_weight_decay": True}, {"decoupled": True})
        for name, kind in (("nadam_step", "NAdam"), ("radam_step", "RAdam"))
    ),
    ("amsgrad_step", "Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-2} | DECAY, {}),
    *(
        (name, kind, {"lr": 0.1} if kind == "SGD" else {}, {})
        for name, kind in [
            ("sgd_step", "SGD"),
            ("adagrad_step", "Adagrad"),
            ("rmsprop_step", "RMSprop"),
            ("adam_step", "Adam"),
            ("amsgrad_step", "Adam"),
            ("nadam_step", "NAdam"),
            ("radam_step", "RAdam"),
            ("adamax_step", "Adamax"),
            ("adadelta_step", "Adadelta"),
        ]
    ),  # defaults
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "kind", "options", "ours"), PYTORCH)
def test_agrees_with_pytorch(engine, name, kind, options, ours, dtype, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if dtype not in engine.dtypes:
        pytest.skip(f"{engine.name} does not take {dtype}")
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)  # NAdam's product
    rng, rule = np.random.default_rng(5), RULES[name]
    start = signed(rng, 257, 0.5, 2.0, dtype)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    only_theirs = {"amsgrad": True} if name == "amsgrad_step" else {}
    optimizer = getattr(torch.optim, kind)([theirs], **options, **only_theirs)
    options = {key: value for key, value in options.items() if key in rule.options}
    arrays = {key: engine.asarray(np.zeros(257, dtype)) for key in rule.arrays_with(options)}
    arrays["param"] = engine.asarray(start)
    for step in range(1, 21):
        grad = signed(rng, 257, 0.25, 4.0, dtype)
        theirs.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        arrays["grad"] = engine.asarray(grad)
        counted = {"step": step} if "step" in rule.options else {}
        rule.call(engine.kernel(name), arrays, options | ours | counted)
    assert_close(
        engine.to_numpy(arrays["param"]),
        theirs.detach().numpy(),
        dtype,
        scale=1.0,
        limit=LIMITS[dtype][1],
        what=f"param against torch.optim.{kind}",
    )


def test_amsgrad_goes_on_after_one_large_gradient(engine):
    """The maximum of the corrected average would be 1000 times as large, and stop at -0.0050."""
    arrays = {key: engine.asarray(np.zeros(1)) for key in RULES["amsgrad_step"].arrays}
    grads = [engine.asarray(np.full(1, value)) for value in (10.0, 0.01)]
    param, _, *states = arrays.values()
    for step in range(1, 2001):
        engine.kernel("amsgrad_step")(param, grads[step > 1], *states, step=step)
    assert engine.to_numpy(param)[0] == pytest.approx(-0.0520, abs=5e-5)


def test_so_does_pytorch_s():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([param], amsgrad=True)
    for step in range(2000):
        param.grad = torch.full((1,), 0.01 if step else 10.0, dtype=torch.float64)
        optimizer.step()
    assert param.item() == pytest.approx(-0.0520, abs=5e-5)


TINY = {"float32": 1e-19, "float64": 1e-155}  # gradients whose squares are denormal
WITH_EPS = [
    pytest.param(name, {"eps_inside_sqrt": True} if inside else {}, id=name + "-inside" * inside)
    for name, rule in RULES.items()
    for inside in (False, True)
    if "eps" in rule.options and (not inside or "eps_inside_sqrt" in rule.options)
]


def skip_where_denormals_are_zeros(engine, dtype):
    if (engine.device, dtype) == ("cuda", "float32"):
        pytest.skip("CuPy compiles float32 with -ftz=true, as the docstrings say")


@pytest.mark.parametrize(
    ("eps", "size"),
    [("0", 17), ("0", 500_003), ("denormal", 17), ("tiny", 17), ("just flushed", 17),
     ("just not flushed", 17)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize(("name", "variant"), WITH_EPS)
def test_a_tiny_eps_beside_tiny_gradients(engine, name, variant, dtype, eps, size):
    """Flushing to zero the averages of their squares would divide by eps alone."""
    skip_where_denormals_are_zeros(engine, dtype)
    info, rule = np.finfo(dtype), RULES[name]
    floor = 4 * float(info.tiny) ** 0.5 / float(info.eps)
    inside = variant or name == "adadelta_step"
    floor = floor**2 if inside else floor
    sizes = {"0": 0.0, "denormal": float(info.tiny) / 4,
             "tiny": TINY[dtype] ** (2 if inside else 1.5),
             "just flushed": 1.01 * floor, "just not flushed": 0.99 * floor}  # fmt: skip
    grad = np.full(size, TINY[dtype], dtype) * np.linspace(0.5, 1, size, dtype=dtype)
    arrays = {key: np.zeros(size) for key in rule.arrays} | {"grad": grad.astype("float64")}
    options = {"lr": 0.1, "eps": sizes[eps]} | variant
    options |= {"step": 1} if "step" in rule.options else {}
    expected = dict(zip(rule.written, rule.oracle(**arrays, **options), strict=True))
    given = {key: engine.asarray(array.astype(dtype)) for key, array in arrays.items()}
    engine.kernel(name)(*given.values(), **options)
    states = rule.written[1:]
    if (name, eps) == ("adadelta_step", "0"):
        assert not expected[states.pop()].any(), "without eps nothing moves"
    if eps in ("0", "denormal", "tiny"):
        for key in states:
            assert engine.to_numpy(given[key]).all(), f"{key} was flushed to zero"
    least = min(expected[key].min() for key in states)  # denormals lack their last bits
    assert_close(
        engine.to_numpy(given["param"]),
        expected["param"],
        dtype,
        limit=4 * float(info.smallest_subnormal) / least / float(info.eps) + 16,
        what="param",
    )


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize(("name", "variant"), WITH_EPS)
def test_no_gradient_is_no_step_beside_the_smallest_eps(engine, name, variant, dtype):
    skip_where_denormals_are_zeros(engine, dtype)
    arrays = {key: engine.asarray(np.zeros(17, dtype)) for key in RULES[name].arrays}
    arrays["param"] = engine.asarray(np.ones(17, dtype))
    options = engine.options(RULES[name]) | variant
    engine.kernel(name)(*arrays.values(), eps=float(np.finfo(dtype).tiny) / 4, **options)
    assert (engine.to_numpy(arrays["param"]) == 1).all()


@pytest.mark.parametrize("dtype", TINY)
@pytest.mark.parametrize(("name", "variant"), WITH_EPS)
def test_the_default_eps_flushes_denormal_states(name, variant, dtype):
    """They would take thirty times as long."""
    tiny = float(np.finfo(dtype).tiny)
    arrays = {key: np.full(17, tiny / 4, dtype) for key in RULES[name].arrays}
    arrays |= {"param": np.ones(17, dtype), "grad": np.zeros(17, dtype)}
    options = {"lr": 0.1} | ({"step": 1} if "step" in RULES[name].options else {}) | variant
    getattr(kernels, name)(*arrays.values(), engine="numba", **options)
    for key in RULES[name].written[1:]:
        assert not arrays[key].any() or (name, key) == ("adamax_step", "u"), "whose least is eps"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [17, 2_000_003])
def test_denormal_states_are_zeros_to_the_compiled_loops_and_to_no_code_outside(dtype, size):
    tiny = float(np.finfo(dtype).tiny)
    param, grad, m, v = (np.full(size, value, dtype) for value in (1.0, 0.0, tiny / 4, 1.0))
    kernels.adam_step(param, grad, m, v, step=1, engine="numba")
    assert not m.any()
    assert (np.full(4, tiny, dtype) / np.array(2, dtype)).all(), "NumPy lost its denormal numbers"
