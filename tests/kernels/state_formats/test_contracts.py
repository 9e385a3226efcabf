"""What is refused: by name, with what came and what was expected, before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, bits, call_arrays, same_bits
from onepass import kernels
from onepass.kernels import State8bit
from oracles.rules import RULES

SIZE = 300


class Refusals:
    """Adam in 8 bits (or as `formats` say) with something changed."""

    def __init__(self, engine, formats="8bit", name="adam"):
        self.engine, self.case = engine, CASES[name]
        self.arrays = call_arrays(engine, self.case, formats, SIZE)

    def call(self, **options):
        rule = RULES[self.case.function]
        rule.call(self.engine.kernel(self.case.function), self.arrays, self.case.at(1, 0) | options)

    def refuses(self, error, *words, **options):
        readable = {k: v for k, v in self.arrays.items() if hasattr(v, "dtype") or _is_state(v)}
        before = bits(self.engine, readable)
        with pytest.raises(error) as caught:
            self.call(**options)
        assert same_bits(before, bits(self.engine, readable)), "written before the error"
        for word in words:
            assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def _is_state(value):
    return isinstance(value, State8bit)


def changed(state, **parts):
    """A State8bit with parts that its constructor would refuse, as one made by hand may have."""
    made = state.copy()
    for name, part in parts.items():
        setattr(made, name, part)
    return made


# --- a state's parts ------------------------------------------------------------------------------
BAD_PARTS = {
    "codes int8": ({"codes": np.zeros(SIZE, "i1")}, TypeError, ["codes", "int8", "uint8"]),
    "codes uint16": ({"codes": np.zeros(SIZE, "u2")}, TypeError, ["codes", "uint16", "uint8"]),
    "codes float32": ({"codes": np.zeros(SIZE, "f4")}, TypeError, ["codes", "float32", "uint8"]),
    "scales float64": ({"scales": np.ones(2)}, TypeError, ["scales", "float64", "float32"]),
    "scales float16": ({"scales": np.ones(2, "f2")}, TypeError, ["scales", "float16"]),
    "too few scales": ({"scales": np.ones(1, "f4")}, ValueError, ["scales", "(1,)", "(2,)"]),
    "too many scales": ({"scales": np.ones(3, "f4")}, ValueError, ["scales", "(3,)", "(2,)"]),
    "scales with two axes": ({"scales": np.ones((2, 1), "f4")}, ValueError, ["scales", "(2, 1)"]),
    "no scales": ({"scales": np.ones(0, "f4")}, ValueError, ["scales", "(0,)", "(2,)"]),
}


@pytest.mark.parametrize("how", BAD_PARTS)
def test_parts_that_do_not_fit(reference, how):
    parts, error, words = BAD_PARTS[how]
    good = {"codes": np.zeros(SIZE, "u1"), "scales": np.zeros(2, "f4")} | parts
    given = {name: reference.asarray(part) for name, part in good.items()}
    with pytest.raises(error) as caught:
        State8bit(given["codes"], given["scales"], signed=True)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("how", BAD_PARTS)
@pytest.mark.parametrize("name", ["m", "v"])
def test_a_step_checks_them_again(engine, name, how):
    parts, error, words = BAD_PARTS[how]
    refusals = Refusals(engine)
    parts = {key: engine.asarray(part) for key, part in parts.items()}
    refusals.arrays[name] = changed(refusals.arrays[name], **parts)
    refusals.refuses(error, f"{name}.{words[0]}", *words)


@pytest.mark.parametrize("part", ["codes", "scales"])
def test_parts_that_are_no_arrays(reference, part):
    good = {"codes": np.zeros(3, "u1"), "scales": np.zeros(1, "f4")}
    given = {name: reference.asarray(array) for name, array in good.items()} | {part: [0]}
    with pytest.raises(TypeError, match=part):
        State8bit(given["codes"], given["scales"], signed=True)


@pytest.mark.parametrize("block_size", [0, 1, 32, 63, 100, 255, 257, 4096, -256])
def test_blocks_of_no_size_that_there_is(reference, block_size):
    values = reference.asarray(np.ones(3, "f4"))
    codes, scales = reference.asarray(np.zeros(3, "u1")), reference.asarray(np.zeros(1, "f4"))
    for make in (
        lambda: kernels.zero_state(values, "8bit", block_size=block_size),
        lambda: kernels.encode_state(values, "8bit", block_size=block_size),
        lambda: State8bit(codes, scales, signed=True, block_size=block_size),
    ):
        with pytest.raises(ValueError, match="block_size") as caught:
            make()
        assert str(block_size) in str(caught.value)


@pytest.mark.parametrize("block_size", [256.0, "256", None, True])
def test_blocks_of_no_integer(reference, block_size):
    with pytest.raises(TypeError, match="block_size"):
        kernels.zero_state(reference.asarray(np.ones(3, "f4")), "8bit", block_size=block_size)


@pytest.mark.parametrize(
    ("value", "error"), [("int8", ValueError), ("8 bit", ValueError), ("", ValueError),
                         ("float16", ValueError), (8, TypeError), (None, TypeError),
                         (np.float32, TypeError), (["8bit"], TypeError)]
)  # fmt: skip
def test_formats_that_there_are_not(reference, value, error):
    values = reference.asarray(np.ones(3, "f4"))
    for make in (kernels.zero_state, kernels.encode_state):
        with pytest.raises(error, match="state_format") as caught:
            make(values, value)
        for choice in ("'float32'", "'bfloat16'", "'8bit'"):
            assert choice in str(caught.value)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint16", "bool", ">f4"])
def test_values_of_another_dtype(reference, dtype):
    if dtype == ">f4" and reference.device == "cuda":
        pytest.skip("CuPy has no bytes in the other order")
    values = reference.asarray(np.ones(3, dtype))
    for make in (lambda: kernels.encode_state(values, "8bit"), lambda: kernels.split_param(values)):
        with pytest.raises(TypeError, match="values has dtype") as caught:
            make()
        assert "float32" in str(caught.value)


@pytest.mark.parametrize("values", [[1.0], 1.0, None, np.float32(1)])
def test_values_that_are_no_array(values):
    for make in (
        lambda: kernels.encode_state(values, "8bit"),
        lambda: kernels.zero_state(values, "8bit"),
        lambda: kernels.split_param(values),
        lambda: kernels.decode_state(values),
    ):
        with pytest.raises(TypeError):
            make()


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", "uint8"])
def test_what_is_no_state(reference, dtype):
    with pytest.raises(TypeError, match="state has dtype"):
        kernels.decode_state(reference.asarray(np.ones(3, dtype)))


SEEDS = [(-1, ValueError), (2**64, ValueError), (1.5, TypeError), ("1", TypeError),
         (True, TypeError)]  # fmt: skip


@pytest.mark.parametrize(("seed", "error"), SEEDS)
def test_seeds(engine, seed, error):
    values = engine.asarray(np.ones(3, "f4"))
    for kind in ("bfloat16", "8bit"):
        with pytest.raises(error, match="seed"):
            kernels.encode_state(values, kind, seed=seed)
        Refusals(engine, kind).refuses(error, "seed", seed=seed)


@pytest.mark.parametrize("step", [7, np.int64(7), np.uint64(7), np.uint8(7)])
def test_numpy_s_integers_count_steps_and_seeds(engine, step):
    outcomes = []
    for number in (7, step):
        arrays = call_arrays(engine, CASES["adam"], "8bit", SIZE)
        engine.kernel("adam_step")(*arrays.values(), step=number, seed=number)
        outcomes.append(bits(engine, arrays))
    assert same_bits(*outcomes)


# --- a call's states ------------------------------------------------------------------------------
WITHOUT_STEPS = [name for name, case in CASES.items() if case.states
                 and "step" not in RULES[case.function].options]  # fmt: skip


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
@pytest.mark.parametrize("name", [*WITHOUT_STEPS, "momentum", "adagrad"])
def test_noise_takes_a_seed_where_no_steps_are_counted(engine, name, kind):
    refusals = Refusals(engine, kind, name)
    without = {} if name in WITHOUT_STEPS else {"step": None}
    refusals.refuses(TypeError, "seed", CASES[name].function, seed=None, **without)


def test_a_state_of_the_other_sign(engine):
    for name, other in (("m", "v"), ("v", "m")):
        refusals = Refusals(engine)
        refusals.arrays[name] = refusals.arrays[other].copy()
        refusals.refuses(ValueError, name, "signed=True", "signed=False")


def test_blocks_of_several_sizes(engine):
    refusals = Refusals(engine)
    refusals.arrays["v"] = kernels.zero_state(
        refusals.arrays["param"], "8bit", signed=False, block_size=64
    )
    refusals.refuses(ValueError, "m of 256", "v of 64")


@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
@pytest.mark.parametrize("shape", [(SIZE - 1,), (SIZE + 1,), (SIZE, 1), (1, SIZE), (1,), (), (0,)])
@pytest.mark.parametrize("name", ["grad", "m", "v"])
def test_other_shapes(engine, name, shape, kind):
    refusals = Refusals(engine, kind)
    refusals.arrays[name] = call_arrays(engine, CASES["adam"], kind, shape)[name]
    refusals.refuses(ValueError, name, str(shape), str((SIZE,)))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint8", "int16", ">u2", ">f4"])
@pytest.mark.parametrize("name", ["param", "grad", "m", "v"])
def test_other_dtypes(engine, name, dtype):
    if dtype[0] == ">" and engine.device == "cuda":
        pytest.skip("CuPy has no bytes in the other order")
    refusals = Refusals(engine)
    refusals.arrays[name] = engine.asarray(np.ones(SIZE, dtype))
    refusals.refuses(TypeError, name, dtype if dtype[0] == ">" else np.dtype(dtype).name, "float32")


def test_a_bfloat16_param_needs_its_remainder(engine):
    for name in ("adam", "sgd"):
        refusals = Refusals(engine, "8bit", name)
        refusals.arrays["param"] = engine.asarray(np.full(SIZE, 0x3F80, np.uint16))
        refusals.refuses(TypeError, "param", "bfloat16", "remainder")


def test_a_bfloat16_gradient_is_one_of_a_bfloat16_param(engine):
    for kind in ("float32", "8bit"):
        refusals = Refusals(engine, kind)
        refusals.arrays["grad"] = engine.asarray(np.full(SIZE, 0x3F80, np.uint16))
        refusals.refuses(TypeError, "grad", "bfloat16", "float32")


BAD_REMAINDERS = {
    "of a float32 param": (lambda a: {"param": a(np.ones(SIZE, "f4"))}, TypeError, ["param"]),
    "uint16": (lambda a: {"remainder": a(np.zeros(SIZE, "u2"))}, TypeError, ["int16"]),
    "int32": (lambda a: {"remainder": a(np.zeros(SIZE, "i4"))}, TypeError, ["int32"]),
    "float16": (lambda a: {"remainder": a(np.zeros(SIZE, "f2"))}, TypeError, ["remainder"]),
    "too short": (lambda a: {"remainder": a(np.zeros(3, "i2"))}, ValueError, ["remainder", "(3,)"]),
    "a list": (lambda a: {"remainder": [0] * SIZE}, TypeError, ["remainder"]),
    "a number": (lambda a: {"remainder": 0}, TypeError, ["remainder"]),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD_REMAINDERS)
def test_remainders(engine, how):
    change, error, words = BAD_REMAINDERS[how]
    refusals = Refusals(engine, {"param": "bfloat16", "m": "8bit", "v": "8bit"})
    refusals.arrays |= change(engine.asarray)
    refusals.refuses(error, *words)


def test_join_param_takes_two_halves_of_one(reference):
    param, rest = (reference.asarray(np.zeros(3, dtype)) for dtype in ("u2", "i2"))
    for one, other, error, word in (
        (param, rest[:2], ValueError, "remainder"),
        (param, param, TypeError, "remainder"),
        (rest, rest, TypeError, "param"),
    ):
        with pytest.raises(error, match=word):
            kernels.join_param(one, other)


# --- memory ---------------------------------------------------------------------------------------
def written(refusals):
    """A name and an array for each one that a step writes."""
    for name, array in refusals.arrays.items():
        if name == "grad":
            continue
        if _is_state(array):
            yield f"{name}.codes", array.codes
            yield f"{name}.scales", array.scales
        else:
            yield name, array


FORMS = [
    pytest.param({"m": "8bit", "v": "8bit"}, id="8bit"),
    pytest.param({"m": "bfloat16", "v": "bfloat16"}, id="bfloat16"),
    pytest.param({"param": "bfloat16", "m": "8bit", "v": "float32"}, id="halves"),
]


@pytest.mark.parametrize("formats", FORMS)
def test_read_only(engine, formats):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    for name, array in written(Refusals(engine, formats)):
        refusals = Refusals(engine, formats)
        dict(written(refusals))[name].flags.writeable = False
        refusals.refuses(ValueError, name, "read-only")
        assert array.flags.writeable


def test_a_read_only_gradient_is_fine(engine):
    if engine.device == "cuda":
        pytest.skip("CuPy has no read-only arrays")
    refusals = Refusals(engine)
    refusals.arrays["grad"].flags.writeable = False
    refusals.call()


ORDERS = {
    "strided": lambda a, array: a(np.repeat(array, 2))[::2],
    "reversed": lambda a, array: a(array)[::-1],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("formats", FORMS)
def test_what_is_not_one_run_of_memory(engine, formats, order):
    for name in ("param", "remainder", "m", "v"):  # a gradient is copied
        refusals = Refusals(engine, formats)
        if name not in refusals.arrays:
            continue
        array = refusals.arrays[name]
        turned = ORDERS[order]
        if _is_state(array):
            for part in ("codes", "scales"):
                whole = engine.to_numpy(getattr(array, part))
                refusals.arrays[name] = changed(array, **{part: turned(engine.asarray, whole)})
                refusals.refuses(ValueError, f"{name}.{part}")
        else:
            refusals.arrays[name] = turned(engine.asarray, engine.to_numpy(array))
            refusals.refuses(ValueError, name, ".copy()")


@pytest.mark.parametrize("name", ["param", "m", "v"])
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_matrices_in_the_other_order(engine, kind, name):
    refusals = Refusals(engine, kind)
    refusals.arrays = call_arrays(engine, CASES["adam"], kind, (15, 20))
    turned = call_arrays(engine, CASES["adam"], kind, (20, 15))[name]
    if _is_state(turned):
        refusals.arrays[name] = changed(turned, codes=turned.codes.T)
    else:
        refusals.arrays[name] = turned.T
    refusals.refuses(ValueError, name, "C order")


@pytest.mark.parametrize("shape", [(SIZE,), (15, 20)])
def test_overlaps_are_refused_naming_both(engine, shape):
    """The codes of two states, their scales, either half and the gradient."""

    def made():
        refusals = Refusals(engine)
        refusals.arrays = call_arrays(engine, CASES["adam"], "8bit", shape)
        return refusals, refusals.arrays["m"], refusals.arrays["v"]

    refusals, m, v = made()
    refusals.arrays["v"] = changed(v, codes=m.codes)
    refusals.refuses(ValueError, "m.codes", "v.codes", "overlap")
    refusals, m, v = made()
    refusals.arrays["v"] = changed(v, scales=m.scales)
    refusals.refuses(ValueError, "m.scales", "v.scales", "overlap")
    refusals, m, v = made()
    refusals.arrays["grad"] = refusals.arrays["param"]
    refusals.refuses(ValueError, "param", "grad", "overlap")


def test_overlaps_by_a_few_bytes(engine):
    room = engine.asarray(np.zeros(8 * SIZE, "u1"))
    refusals = Refusals(engine)
    m, v = refusals.arrays["m"], refusals.arrays["v"]
    refusals.arrays |= {
        "m": changed(m, codes=room[:SIZE]),
        "v": changed(v, codes=room[SIZE - 1 : 2 * SIZE - 1]),
    }
    refusals.refuses(ValueError, "m.codes", "v.codes", "overlap")
    refusals.arrays["v"] = changed(v, scales=room[SIZE - 4 : SIZE + 4].view(np.float32))
    refusals.refuses(ValueError, "m.codes", "v.scales", "overlap")
    refusals.arrays["v"] = v
    refusals.arrays["grad"] = room[: 4 * SIZE].view(np.float32)
    refusals.refuses(ValueError, "m.codes", "grad", "overlap")
    refusals.arrays["grad"] = room[SIZE : 5 * SIZE].view(np.float32)
    refusals.call()


@pytest.mark.parametrize("name", ["grad", "param", "velocity"])
def test_a_remainder_that_is_another_array(engine, name):
    formats = {"param": "bfloat16", "grad": "bfloat16", "velocity": "bfloat16"}
    refusals = Refusals(engine, formats, "momentum")
    refusals.arrays["remainder"] = refusals.arrays[name].view(np.int16)
    refusals.refuses(ValueError, "remainder", name, "overlap")


def test_a_state_given_twice(engine):
    refusals = Refusals(engine, "bfloat16")
    refusals.arrays["v"] = refusals.arrays["m"]
    refusals.refuses(ValueError, "m", "v", "overlap")


@pytest.mark.parametrize("name", ["param", "grad"])
def test_a_state8bit_in_the_place_of_an_array(engine, name):
    refusals = Refusals(engine)
    refusals.arrays[name] = refusals.arrays["m"].copy()
    refusals.refuses(TypeError, name, "State8bit")


@pytest.mark.parametrize("formats", FORMS)
def test_unaligned_arrays(engine, formats):
    if engine.device == "cuda":
        pytest.skip("CuPy's arrays are aligned")
    refusals = Refusals(engine, formats)
    for name in ("param", "grad"):
        before = refusals.arrays[name]
        if before.dtype.itemsize == 1:
            continue
        room = np.zeros(before.nbytes + 1, "u1")[1:].view(before.dtype)
        room[:] = before
        refusals.arrays[name] = room
        refusals.refuses(ValueError, name, ".copy()")
        refusals.arrays[name] = before


# --- several devices ------------------------------------------------------------------------------
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["param", "grad", "m", "v", "m.scales", "v.codes"])
def test_arrays_on_two_devices(name, reference):
    if reference.device == "cpu":
        pytest.skip("one of its arrays is on the CPU")
    refusals = Refusals(reference)
    key, _, part = name.partition(".")
    array = refusals.arrays[key]
    if part:
        host = reference.to_numpy(getattr(array, part))
        refusals.arrays[key] = changed(array, **{part: host})
    elif _is_state(array):
        host = (reference.to_numpy(each) for each in (array.codes, array.scales))
        refusals.arrays[key] = array.on(*host)
    else:
        refusals.arrays[key] = reference.to_numpy(array)
    with pytest.raises((TypeError, ValueError), match=key):
        refusals.call()
