"""A hyperparameter or an engine that can't be had is refused by its name, before any write."""

from __future__ import annotations

import numpy as np
import onepass
import pytest
from onepass import kernels
from oracles.rules import RULES, slow_unless_short
from tolerances import assert_step

NAN, INF = float("nan"), float("inf")
EITHER = (TypeError, ValueError)
WRONG_TYPES = [
    ("0.1", TypeError),
    (None, TypeError),
    (np.ones(2), TypeError),
    ([0.1], TypeError),
    (1j, TypeError),
]
NOT_FINITE = [(bad, ValueError) for bad in (NAN, INF, -INF, np.float32(NAN))]
NOT_A_FRACTION = [
    *NOT_FINITE,
    (-0.1, ValueError),
    (1.0, ValueError),
    (1, ValueError),
    (1.5, ValueError),
    *WRONG_TYPES,
]
NEGATIVE = [*NOT_FINITE, (-1e-3, ValueError), (-1, ValueError), *WRONG_TYPES]
BAD = {
    "lr": NEGATIVE,
    "eps": NEGATIVE,
    "weight_decay": NEGATIVE,
    "grad_scale": [*NOT_FINITE, *WRONG_TYPES],
    "momentum": NOT_A_FRACTION,
    "alpha": NOT_A_FRACTION,
    "betas": [((bad, 0.9), error) for bad, error in NOT_A_FRACTION]
    + [((0.9, bad), error) for bad, error in NOT_A_FRACTION]
    + [(bad, EITHER) for bad in (0.9, None, (), (0.9,), (0.9, 0.99, 0.999), "ab", {"a": 1})],
    "step": [(bad, ValueError) for bad in (0, -1, np.int64(0), NAN, INF)]
    + [(bad, EITHER) for bad in (True, 1.5, 1.0, np.float64(2.0), np.ones(2, int), np.True_)]
    + [(bad, TypeError) for bad in ("1", None)],
    "lr_decay": NEGATIVE,
    "dampening": [*NOT_FINITE, (-0.1, ValueError), (1.1, ValueError), *WRONG_TYPES],
    "centered": [(1, TypeError), ("yes", TypeError), (None, TypeError)],
    "eps_uncorrected": [(0, TypeError), (None, TypeError)],
    "form": [
        ("nesterov", ValueError),
        ("Heavy-Ball", ValueError),
        ("", ValueError),
        (None, EITHER),
        (3, EITHER),
        ([], EITHER),
    ],
}
CASES = [
    pytest.param(
        *(name, option, bad, error),
        id=f"{name}-{option}-{bad!r}".replace("\n", ""),
        marks=slow_unless_short(name),
    )
    for name, rule in RULES.items()
    for option in rule.options
    for bad, error in BAD.get(option, [])
    if not (bad is None and rule.default(option) is None)  # left out
]


@pytest.mark.parametrize(("name", "option", "bad", "error"), CASES)
def test_bad_value_is_refused_by_name_before_any_write(engine, name, option, bad, error):
    rule = RULES[name]
    arrays = engine.arrays(rule)
    with engine.refuses(error, arrays, option):
        engine.kernel(name)(*arrays.values(), **engine.options(rule, **{option: bad}))


def test_dampening_goes_with_heavy_ball_alone(reference):
    arrays = reference.arrays(RULES["momentum_step"])
    for beside in ({"nesterov": True}, {"form": "velocity"}):
        with reference.refuses(ValueError, arrays, "dampening is 0.5 beside", *beside):
            kernels.momentum_step(*arrays.values(), lr=0.1, dampening=0.5, step=1, **beside)


@pytest.mark.parametrize(
    ("name", "option"), [("momentum_step", "dampening"), ("adagrad_step", "lr_decay")]
)
def test_what_depends_on_the_step_s_number_asks_for_it(reference, name, option):
    arrays = reference.arrays(RULES[name])
    with reference.refuses(TypeError, arrays, "step is None", f"{option}=0.5"):
        getattr(kernels, name)(*arrays.values(), lr=0.1, **{option: 0.5})


@pytest.mark.parametrize("option", ["momentum", "centered"])
def test_a_state_of_rmsprop_that_an_option_needs_or_does_not(reference, option):
    rule, value = RULES["rmsprop_step"], {"momentum": 0.5, "centered": True}[option]
    arrays, state = reference.arrays(rule), rule.more[option]
    with reference.refuses(TypeError, arrays, f"{state} is missing, which {option} needs"):
        kernels.rmsprop_step(*arrays.values(), **{option: value})
    arrays = reference.arrays(rule, **{option: value})
    with reference.refuses(ValueError, arrays, f"{state} is given without {option}"):
        rule.call(kernels.rmsprop_step, arrays, {})
    both = {"momentum": 0.5, "centered": True}
    with reference.refuses(TypeError, arrays, "is missing"):
        rule.call(kernels.rmsprop_step, arrays, both)
    arrays = reference.arrays(rule, **both)
    with reference.refuses(ValueError, arrays, f"{state} has shape"):
        rule.call(kernels.rmsprop_step, arrays | {state: arrays[state][:2]}, both)


@pytest.mark.parametrize(("name", "option", "bad", "error"), CASES[::7])
def test_bad_value_is_refused_for_empty_arrays_too(reference, name, option, bad, error):
    arrays = reference.arrays(RULES[name], (0,))
    with reference.refuses(error, arrays, option):
        reference.kernel(name)(*arrays.values(), **reference.options(RULES[name], **{option: bad}))


@pytest.mark.parametrize("bad", ["-0.25", "nan"])
def test_message_says_what_came(reference, bad):
    arrays = reference.arrays(RULES["sgd_step"])
    with reference.refuses(ValueError, arrays, "lr", bad):
        reference.kernel("sgd_step")(*arrays.values(), lr=float(bad))


@pytest.mark.parametrize("bad", ["Nesterov", "averages"])
def test_unknown_form_lists_the_choices(reference, bad):
    arrays = reference.arrays(RULES["momentum_step"])
    with reference.refuses(ValueError, arrays, "form", bad, "heavy-ball", "averaged", "velocity"):
        reference.kernel("momentum_step")(*arrays.values(), lr=0.1, form=bad)


GOOD = {
    "lr": [0, 0.0, 1, 5.0, np.float32(0.25), np.float64(0.1), np.int32(1)],
    "eps": [0, 0.0, 1, np.float32(0.5)],
    "weight_decay": [0, 1, np.float32(0.25)],
    "grad_scale": [0, 0.0, -1.0, 2, np.float32(0.5), 1024.0],
    "momentum": [0, 0.0, 0.999, np.float32(0.5)],
    "alpha": [0, 0.0, 0.999, np.float32(0.5)],
    "betas": [(0, 0), (0.0, 0.999), (0.9, 0.0), (np.float32(0.5), np.float64(0.75))],
    "step": [1, np.int32(1), np.int64(3), np.uint8(4)],
}


@pytest.mark.parametrize(
    ("name", "option", "good"),
    [
        pytest.param(
            *(name, option, good), id=f"{name}-{option}-{good!r}", marks=slow_unless_short(name)
        )
        for name, rule in RULES.items()
        for option in rule.options
        for good in GOOD.get(option, [])
    ],
)
def test_edge_of_the_allowed_range_is_computed(engine, name, option, good):
    rule = RULES[name]
    assert_step(
        engine.kernel(name),
        rule,
        engine.arrays(rule, **{option: good}),
        engine.options(rule, **{option: good}),
        factor=engine.factor,
        to_numpy=engine.to_numpy,
    )


ARRAYS_OF_ONE = {
    **dict.fromkeys(("lr", "eps", "weight_decay", "grad_scale", "momentum", "alpha"), 0.5),
    **dict.fromkeys(("lr_decay", "dampening"), 0.5),
    "betas": (0.5, 0.75),
    "step": 3,
    **dict.fromkeys(("maximize", "nesterov", "decoupled", "eps_inside_sqrt"), True),
    **dict.fromkeys(("eps_uncorrected", "centered"), True),
}


def as_arrays(value, shape):
    if isinstance(value, tuple):
        return np.array(value) if shape else tuple(map(np.array, value))
    return np.full(shape, value)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("name", RULES)
def test_a_number_in_an_array_is_a_number(reference, name, shape):
    """As np.array(0.1), or what a schedule of JAX gives; its value at the time of the call."""
    rule = RULES[name]
    for option in rule.options:
        if option not in ARRAYS_OF_ONE:
            continue
        value = ARRAYS_OF_ONE[option]
        results = []
        for given in (value, as_arrays(value, shape)):
            arrays = reference.arrays(rule, **{option: value})
            options = reference.options(rule, **{option: given})
            rule.call(reference.kernel(name), arrays, options)
            results.append([reference.to_numpy(array).tolist() for array in arrays.values()])
        assert results[0] == results[1], option
        given = as_arrays(value, ())
        if isinstance(given, np.ndarray) and given.dtype.kind == "f":
            arrays = reference.arrays(rule, **{option: value})
            options = reference.options(rule, **{option: given})
            rule.call(reference.kernel(name), arrays, options)
            given[...] = np.nan  # the value of the call before is not remembered for the array
            with reference.refuses(ValueError, arrays, option):
                rule.call(reference.kernel(name), arrays, options)


@pytest.mark.parametrize("bad", [
    np.ma.array(0.1, mask=True), np.ma.masked, np.array("0.1"), np.array(None), np.array(True),
    np.array([[0.1]]), np.array(1j),
])  # fmt: skip
def test_what_an_array_hides_is_no_number(reference, bad):
    arrays = reference.arrays(RULES["sgd_step"])
    with reference.refuses(TypeError, arrays, "lr"):
        reference.kernel("sgd_step")(*arrays.values(), lr=bad)


@pytest.mark.parametrize(
    ("name", "missing"),
    [("sgd_step", "lr"), ("momentum_step", "lr"), ("adam_step", "step"), ("amsgrad_step", "step")],
)
def test_what_has_no_default_must_be_given(reference, name, missing):
    arrays, options = reference.arrays(RULES[name]), reference.options(RULES[name])
    del options[missing]
    with reference.refuses(TypeError, arrays, missing):
        reference.kernel(name)(*arrays.values(), **options)


@pytest.mark.parametrize("name", RULES)
def test_hyperparameters_are_keywords_only_and_known(reference, name):
    arrays, function = reference.arrays(RULES[name]), getattr(kernels, name)
    with reference.refuses(TypeError, arrays):
        function(*arrays.values(), 0.1, **reference.options(RULES[name]))
    with reference.refuses(TypeError, arrays, "learning_rate"):
        function(*arrays.values(), learning_rate=0.1, **reference.options(RULES[name]))


# --- engines --------------------------------------------------------------------------------------
NAMES = {"array", "numba", "cupy", "numba-cuda"}
DEVICES = {"array": {"cpu", "cuda"}, "numba": {"cpu"}, "cupy": {"cuda"}, "numba-cuda": {"cuda"}}


def test_engines_tell_what_is_there_and_why_not():
    engines = kernels.engines()
    assert set(engines) == NAMES
    for name, status in engines.items():
        assert type(status.available) is bool
        assert status.available == (status.reason == ""), name
        assert isinstance(status.devices, tuple)
        assert set(status.devices) <= DEVICES[name]
        assert isinstance(status.dtypes, tuple)
    assert engines["array"].available
    assert "cpu" in engines["array"].devices
    assert {"float16", "float32", "float64"} <= set(engines["array"].dtypes)


@pytest.mark.parametrize("bad", ["opencl", "", "Numba", "cpu", None, 3])
def test_unknown_engine_lists_the_choices(reference, bad):
    arrays = reference.arrays(RULES["sgd_step"])
    error = ValueError if isinstance(bad, str) else (TypeError, ValueError)
    with reference.refuses(error, arrays, "engine", repr(bad), "auto", *NAMES):
        kernels.sgd_step(*arrays.values(), lr=0.1, engine=bad)


@pytest.mark.parametrize("chosen", sorted(NAMES))
@pytest.mark.parametrize("name", RULES)
def test_engine_that_cannot_be_had_is_refused_with_the_reason(reference, name, chosen):
    status = kernels.engines()[chosen]
    arrays = reference.arrays(RULES[name])
    if status.available and reference.device in DEVICES[chosen]:
        pytest.skip(f"{chosen} is available")
    with reference.refuses(onepass.EngineUnavailableError, arrays, chosen, status.reason):
        getattr(kernels, name)(*arrays.values(), engine=chosen, **reference.options(RULES[name]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_dtype_an_engine_does_not_take_is_refused(engine, dtype):
    dtype = np.dtype(dtype).name
    if dtype in engine.dtypes:
        pytest.skip(f"{engine.name} takes {dtype}")
    if dtype not in ("float16", "float32", "float64") and engine.device == "cuda":
        pytest.skip("CuPy has no long double")
    arrays = engine.arrays(RULES["adam_step"], dtype=dtype)
    with engine.refuses((onepass.EngineUnavailableError, TypeError), arrays, dtype):
        engine.kernel("adam_step")(*arrays.values(), step=1)


def test_warmup_compiles_and_says_what_it_cannot(engine):
    assert kernels.warmup(("float32",), engine=engine.name) is None
    with pytest.raises(ValueError, match="array"):
        kernels.warmup(engine="opencl")
    with pytest.raises((TypeError, ValueError, onepass.EngineUnavailableError), match="int32"):
        kernels.warmup(("int32",), engine=engine.name)


@pytest.mark.parametrize("chosen", sorted(NAMES))
def test_warmup_of_an_engine_that_cannot_be_had(chosen):
    status = kernels.engines()[chosen]
    if status.available:
        pytest.skip(f"{chosen} is available")
    with pytest.raises(onepass.EngineUnavailableError) as caught:
        kernels.warmup(engine=chosen)
    assert status.reason in str(caught.value)


@pytest.mark.parametrize(
    ("stem", "given"),
    [
        ("adam", {"lr": 1, "betas": [0.9, 0.99]}),
        ("activation", {"activation": "tanh", "slope": 1}),
        ("activation", {"kind": "relu"}),
        ("batch_norm", {"momentum": 1, "eps": 1, "activation": "relu", "running_var_ddof": 0}),
        ("batch_norm", {"activation": None}),
        ("dropout", {"keep_prob": 1}),
        ("layer_norm", {"normalized_shape": [3, 4], "eps": 1, "activation": "silu"}),
        ("rms_norm", {"eps": None}),
        ("group_norm", {"groups": 2, "eps": 0.1, "activation": None}),
    ],
)
def test_validate_returns_what_functions_take(stem, given):
    checked = kernels.validate(stem, **given)
    assert [*checked] == [*given]
    for name, value in checked.items():
        expected = tuple(given[name]) if isinstance(given[name], list) else given[name]
        assert value == expected
        assert type(value) is not int or name in ("running_var_ddof", "groups")


@pytest.mark.parametrize(
    ("stem", "given", "error", "message"),
    [
        ("adam", {"lr": -1}, ValueError, "lr is -1"),
        ("adam", {"step": 1}, TypeError, "adam_step takes no 'step'; it takes lr"),
        ("activation", {"activation": "softmax"}, ValueError, "activation is 'softmax'"),
        ("activation", {"kind": 1}, TypeError, "kind is 1"),
        ("batch_norm", {"activation": "tanh"}, ValueError, "activation is 'tanh'"),
        ("batch_norm", {"running_var_ddof": 2}, ValueError, "running_var_ddof is 2"),
        ("batch_norm", {"running_var_ddof": True}, TypeError, "running_var_ddof is True"),
        ("dropout", {"keep_prob": 0}, ValueError, "keep_prob is 0"),
        ("layer_norm", {"activation": "tanh"}, ValueError, "activation is 'tanh'"),
        ("layer_norm", {"eps": None}, TypeError, "eps is None"),
        ("rms_norm", {"normalized_shape": ()}, ValueError, r"normalized_shape is \(\)"),
        ("group_norm", {"groups": 0}, ValueError, "groups is 0"),
        ("dropout", {"seed": 1}, TypeError, "dropout takes no 'seed'; it takes keep_prob"),
        ("softmax", {}, ValueError, "stem is 'softmax'; expected 'sgd'"),
    ],
)
def test_validate_says_what_is_wrong(stem, given, error, message):
    with pytest.raises(error, match=message):
        kernels.validate(stem, **given)
