"""Steps on plain arrays take one call of compiled code: they are counted, and nothing else runs."""

from __future__ import annotations

import pickle
from functools import cache, partial

import numpy as np
import pytest
from cases.six_gradients import KINDS
from onepass import kernels
from onepass.kernels import launch as launching
from onepass.kernels import rules
from onepass.kernels.compiling.python_text import scalar_names
from onepass.kernels.engine_table import Kept, get_engine
from onepass.kernels.rule_engines import entry, numba_cpu
from onepass.kernels.rule_engines import numba_fields as fields
from onepass.kernels.simd import half
from onepass.nets import SGD, Adam, Parameters
from onepass.nets.optimizers.frame import optimizer as stepping
from oracles.rules import RULES, each
from tolerances import DTYPES, assert_step


def never(*given, **named):
    raise AssertionError("the long way was taken")


@pytest.fixture
def quick_only(monkeypatch):
    """No thorough check, no search for an engine, no iterator over pieces."""
    monkeypatch.setattr(launching, "check_arrays", never)
    monkeypatch.setattr(launching, "find_engine", never)
    monkeypatch.setattr(numba_cpu, "_pieces", never)
    monkeypatch.setattr(stepping.Optimizer, "_check", never)


def drawn(shape, dtype, order="C", seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.25, 2.0, shape), dtype, order)


def needed(rule):
    """The options a rule can't do without."""
    return {key: value for key, value in {"lr": 0.1, "step": 3}.items() if key in rule.options}


def permuted(shape, dtype, seed=0):
    """One run of memory whose last axis is the slowest."""
    return np.moveaxis(drawn((shape[-1], *shape[:-1]), dtype, seed=seed), 0, -1)


MADE = {
    "0-d": partial(drawn, ()),
    "empty": partial(drawn, (3, 0)),
    "1-D": partial(drawn, (1000,)),
    "2-D": partial(drawn, (20, 50)),
    "4-D": partial(drawn, (2, 3, 4, 5)),
    "Fortran": partial(drawn, (20, 50), order="F"),
    "Fortran, 3-D": partial(drawn, (4, 5, 6), order="F"),
    "permuted": partial(permuted, (4, 5, 6)),
    "a row": partial(drawn, (1, 7)),
    "large": partial(drawn, (300, 1001)),
    "large, permuted": partial(permuted, (3, 100, 1001)),
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", each(*RULES))
def test_plain_arrays_of_any_shape_and_one_order(quick_only, name, dtype, made):
    rule = RULES[name]
    for more in ({}, {"weight_decay": 0.05, "maximize": True}):
        arrays = {key: MADE[made](dtype, seed=k) for k, key in enumerate(rule.arrays)}
        assert_step(getattr(kernels, name), rule, arrays, needed(rule) | more)


@pytest.mark.parametrize("name", each(*RULES))
def test_a_gradient_of_another_order(quick_only, name):
    rule = RULES[name]
    for param, grad in (("2-D", "Fortran"), ("Fortran", "2-D"), ("permuted", "permuted")):
        arrays = {key: MADE[param]("float32", seed=k) for k, key in enumerate(rule.arrays)}
        arrays["grad"] = MADE[grad]("float32", seed=9).copy("C" if grad == "permuted" else "K")
        assert_step(getattr(kernels, name), rule, arrays, needed(rule))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_arrays_that_were_pickled_have_a_dtype_of_their_own(quick_only, dtype):
    arrays = pickle.loads(pickle.dumps([np.ones((3, 4), dtype) for _ in range(2)]))
    assert arrays[0].dtype is not np.dtype(dtype)
    kernels.sgd_step(*arrays, lr=0.5)
    SGD([arrays[0]], lr=0.5).step([np.ones((3, 4), dtype)])
    assert (arrays[0] == 0).all()


def optimizers(kind, **options):
    """An optimizer over each storage, and gradients for it."""
    shapes = [(7,), (), (3, 0), (5, 3), (2, 3, 4)]
    arrays = [drawn(shape, "float32", seed=k) for k, shape in enumerate(shapes)]
    arrays += [drawn((6, 5), "float32", "F"), permuted((4, 5, 6), "float32")]
    for some in (arrays, arrays[3:4], arrays[-1:]):
        grads = [array.copy("K") for array in some]
        yield kind([array.copy("K") for array in some], **options), grads
        names = [str(k) for k in range(len(some))]
        params = {name: array.copy("K") for name, array in zip(names, some, strict=True)}
        yield kind(params, **options), dict(zip(names, grads, strict=True))
    yield kind(Parameters({"a": (5, 3), "b": (3,)}, device="cpu"), **options), None


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_steps_of_an_optimizer(quick_only, monkeypatch, kind, clip_norm):
    monkeypatch.setattr(launching, "launch", never)
    for optimizer, grads in optimizers(kind, clip_norm=clip_norm):
        for _ in range(3):
            optimizer.step(grads)
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step(grads)
        assert optimizer.steps == 4


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_quick_steps_of_an_optimizer_equal_the_long_way_bit_for_bit(monkeypatch, kind):
    quick, long = list(optimizers(kind)), list(optimizers(kind))
    for optimizer, grads in quick:
        for _ in range(3):
            optimizer.step(grads)
    monkeypatch.setattr(numba_cpu.NumbaEngine, "quick_each", lambda *given: False)
    for optimizer, grads in long:
        for _ in range(3):
            optimizer.step(grads)
    for (one, _), (other, _) in zip(quick, long, strict=True):
        values = [one._storage.arrays(), other._storage.arrays()]
        assert values[0].keys() == values[1].keys()
        for key, array in values[0].items():
            np.testing.assert_array_equal(array, values[1][key])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_states_lie_as_their_parameters_do(dtype):
    for array in (drawn((4, 5), dtype, "F"), permuted((4, 5, 6), dtype), drawn((3, 4), dtype)):
        optimizer = Adam([array])
        optimizer.step([array * 0])
        other = Adam([array])
        other.load_state_dict(optimizer.state_dict())
        for state in (*optimizer._state.values(), *other._state.values()):
            assert state[0].strides == array.strides


def test_many_arrays_in_any_order_of_memory(quick_only):
    """More of them, and worse shuffled, than the order of the last step is mended for."""
    buffer, places = np.zeros((2, 900, 3), "float32"), np.random.default_rng(0)
    params = [buffer[0, k] for k in places.permutation(900)]
    optimizer = SGD(params, lr=1.0)
    for turn in range(1, 4):
        buffer[1] = turn
        optimizer.step([buffer[1, k] for k in places.permutation(900)])
        assert (buffer[0] == -sum(range(1, turn + 1))).all()


def test_an_overlap_is_found_wherever_it_lies_in_memory():
    buffer, places = np.zeros((2, 900, 3), "float32"), np.random.default_rng(0)
    params = [buffer[0, k] for k in places.permutation(900)]
    grads = [buffer[1, k] for k in places.permutation(900)]
    optimizer = SGD(params, lr=1.0)
    for k in (0, 450, 899):
        stray = buffer[0].reshape(-1)[2 * k + 1 :][:3]
        with pytest.raises(ValueError, match=rf"params\[\d+\] and grads\[{k}\] overlap"):
            optimizer.step([*grads[:k], stray, *grads[k + 1 :]])
    assert not buffer.any()
    buffer[1] = 1
    optimizer.step(grads)
    assert (buffer[0] == -1).all()


def test_float16_where_the_processor_can_not_convert_it(monkeypatch):
    monkeypatch.setattr(half, "conversions_missing", lambda: True)
    monkeypatch.setattr(numba_cpu, "plan_of", cache(entry.Plan))
    rule = RULES["adam_step"]
    arrays = {key: drawn((4, 5), "float16", seed=k) for k, key in enumerate(rule.arrays)}
    assert_step(kernels.adam_step, rule, arrays, {"step": 3})
    params, grads = [drawn((4, 5), "float16") for _ in range(2)], [np.ones((4, 5), "float16")] * 2
    before = params[0].copy()
    SGD(params, lr=1.0, clip_norm=1e3).step(grads)
    assert all((param == before - 1).all() for param in params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (7,), (90, 100)])
def test_where_python_s_fields_are_not_known(monkeypatch, shape, dtype):
    monkeypatch.setattr(numba_cpu.NumbaEngine, "quick", lambda *_: False)
    monkeypatch.setattr(numba_cpu.NumbaEngine, "quick_each", lambda *_: False)
    rule = RULES["adam_step"]
    arrays = {key: drawn(shape, dtype, seed=k) for k, key in enumerate(rule.arrays)}
    assert_step(kernels.adam_step, rule, arrays, {"step": 3})
    assert_step(kernels.adam_step, rule, {k: a[..., ::2] for k, a in arrays.items()}, {"step": 4})


def test_what_is_no_tuple_of_floats_or_arrays_is_refused():
    """Compiled code goes by addresses: it must look before it reads."""
    arrays = tuple(np.ones(4, "float32") for _ in range(2))
    rule, coefficients = kernels.rules.prepare("sgd", 1, (0.5, 0.0, False, False), 1.0)
    engine = numba_cpu.NumbaEngine()
    assert engine.quick(rule, arrays, coefficients)
    for wrong in (list(arrays), arrays[:1], (*arrays, arrays[0]), None, "ab", (1.0, None), ()):
        assert not engine.quick(rule, wrong, coefficients)
    for wrong in (list(coefficients), coefficients[1:], (*coefficients[1:], 1), None):
        assert not engine.quick(rule, arrays, wrong)
        assert not engine.quick_each(rule, tuple((a,) for a in arrays), wrong, Kept(2))
    for columns in (((arrays[0],), ()), ([arrays[0]], [arrays[1]]), ((arrays[0],), (None,))):
        assert not engine.quick_each(rule, columns, coefficients, Kept(2))
        assert not engine.fits_each(columns, Kept(2))
    for few_or_many in (0, 1, 3):
        assert not engine.fits_each(((arrays[0],), (arrays[1],)), Kept(few_or_many))
    assert (arrays[0] == 0.5).all()


@pytest.mark.parametrize("field", range(4))
def test_fields_that_lie_elsewhere_are_not_read(field):
    places = list(fields.TABLE[:4])
    assert fields.fields_known(*map(int, places))
    places[field] += 8
    assert not fields.fields_known(*map(int, places))


# --- on a GPU -------------------------------------------------------------------------------------
on_cupy = pytest.mark.parametrize("engine", [("cupy", "cuda")], indirect=True, ids="-".join)


@pytest.mark.gpu
@on_cupy
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", each(*RULES))
def test_a_gpu_s_step_takes_the_short_way_once_its_engine_was_found(engine, name, dtype, request):
    rule = RULES[name]
    step, options = engine.kernel(name), engine.options(rule)
    step(*engine.arrays(rule, dtype=dtype).values(), **options)
    request.getfixturevalue("quick_only")
    assert_step(
        step, rule, engine.arrays(rule, (7, 3), dtype), options, factor=engine.factor,
        to_numpy=engine.to_numpy,
    )  # fmt: skip


UNFIT = {
    "a shape of its own": lambda a: a | {"m": a["m"].reshape(2, 10)},
    "a dtype of its own": lambda a: a | {"m": a["m"].astype("float64")},
    "gaps": lambda a: {name: array[::2] for name, array in a.items()},
    "one with gaps": lambda a: {n: x[::2] if n == "v" else x[:10] for n, x in a.items()},
    "one array twice": lambda a: a | {"v": a["m"]},
    "overlapping": lambda a: {n: a["m"][:10] if n == "m" else a["m"][9:19] if n == "v" else x[:10]
                              for n, x in a.items()},
    "no elements": lambda a: {name: array[:0] for name, array in a.items()},
    "integers": lambda a: {name: array.astype("int32") for name, array in a.items()},
}  # fmt: skip


@pytest.mark.gpu
@on_cupy
@pytest.mark.parametrize("what", UNFIT)
def test_a_gpu_s_short_way_leaves_what_it_was_not_made_for(engine, what):
    arrays = UNFIT[what](engine.arrays(RULES["adam_step"], 20))
    before = [engine.to_numpy(array).tobytes() for array in arrays.values()]
    rule = rules.RULES["adam"]
    coefficients = (0.1,) * len(scalar_names(rule))
    assert not get_engine("cupy").quick(rule, tuple(arrays.values()), coefficients)
    assert [engine.to_numpy(array).tobytes() for array in arrays.values()] == before
