"""On arrays without gaps machine code moves sixteen bytes at a time, in few instructions."""

from __future__ import annotations

from collections import Counter

import pytest
from onepass.kernels.batch_norm.gpu.cuda_text import IN_REGISTERS
from onepass.kernels.batch_norm.gpu.plan import kept
from onepass.kernels.compiling.gpu.cuda_columns import KERNEL as COLUMNS
from onepass.kernels.compiling.gpu.cuda_packs import each
from onepass.kernels.compiling.gpu.cuda_squares import AT_ONCE
from onepass.kernels.compiling.python_text import array_names
from onepass.kernels.rule_engines import cupy_gpu
from onepass.kernels.rules import RULES
from onepass.kernels.state_formats.gpu.cuda_text import EACH
from tolerances import DTYPES

from proving.compiled import forms, gate, nvrtc, sass
from proving.layouts import LAYOUTS

MOST = {  # instructions an element in float32; about nine tenths are there
    "sgd": 9, "momentum": 13, "nesterov": 15, "adagrad": 35, "rmsprop": 37,
    "rmsprop-momentum": 41, "rmsprop-centered": 47, "rmsprop-centered-momentum": 49,
    "adam": 40, "amsgrad": 46, "nadam": 41, "radam": 47, "adamax": 31, "adadelta": 55, "lion": 21,
}  # fmt: skip
MOST_OF_ACTIVATIONS = {
    "linear": 5, "relu": 7, "leaky_relu": 7, "sigmoid": 26, "tanh": 22, "linear_gradient": 5,
    "elu": 40, "gelu": 60, "gelu_tanh": 40, "silu": 30, "softplus": 66,
    "elu_gradient": 10, "gelu_gradient": 60, "gelu_tanh_gradient": 50, "silu_gradient": 40,
    "softplus_gradient": 34, "relu_gradient": 8, "leaky_relu_gradient": 8,
    "sigmoid_gradient": 9, "tanh_gradient": 10,
}  # fmt: skip
MOST_OF_SQUARES = {"float16": 5, "float32": 5, "float64": 4}  # instructions an element
MOST_OF_COLUMNS = {"float16": 3, "float32": 2.5, "float64": 4}
BIAS = 8  # instructions more: the place in a row
HALF, DOUBLE = 1.1, 1.7  # times as many: conversions, and more steps to a root and a quotient
FACTORS = dict(zip(DTYPES, (HALF, 1.0, DOUBLE), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_each_array_is_moved_sixteen_bytes_at_a_time_in_few_instructions(name, dtype):
    gate.needed_for_code()
    loop = gate.code(forms.texts(name, dtype)["decay"]).first_loop()
    arrays = len(array_names(RULES[name]))
    assert loop.loads == Counter({128: arrays})
    assert loop.stores == Counter({128: arrays - 1})
    assert loop.instructions / each(dtype) <= MOST[name] * FACTORS[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_so_is_each_chunk_of_many_arrays(name, dtype):
    """In no more instructions than an array alone."""
    gate.needed_for_code()
    loop, alone = (
        gate.code(forms.texts(kernel, dtype)["decay"]).first_loop()
        for kernel in (f"{name}_chunks", name)
    )
    assert (loop.loads, loop.stores) == (alone.loads, alone.stores)
    assert loop.instructions <= alone.instructions


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["squares_array", "squares_chunks"])
def test_a_sum_of_squares_has_four_packs_under_way(name, dtype):
    gate.needed_for_code()
    loop = gate.code(forms.texts(name, dtype)[""]).first_loop(128)
    assert loop.loads == Counter({128: AT_ONCE})
    assert not loop.stores
    assert loop.instructions / (AT_ONCE * each(dtype)) <= MOST_OF_SQUARES[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_so_has_a_sum_of_columns(dtype):
    gate.needed_for_code()
    loop = gate.code(forms.texts(COLUMNS, dtype)["packs"]).first_loop(128)
    assert loop.loads == Counter({128: 4})
    assert not loop.stores
    assert loop.instructions / (4 * each(dtype)) <= MOST_OF_COLUMNS[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", forms.ACTIVATIONS)
def test_so_is_each_array_of_an_activation(name, dtype):
    """float64's exponentials take a hundred instructions, and are left out."""
    gate.needed_for_code()
    kind = forms.ACTIVATIONS[name]
    most = MOST_OF_ACTIVATIONS[kind]
    read = 2 if kind.endswith("gradient") and kind != "linear_gradient" else 1  # y tells nothing
    found = forms.texts(name, dtype)
    for form in {"", "bias"} & found.keys():
        loop = gate.code(found[form]).first_loop()
        assert loop.loads == Counter({128: read + (form == "bias")})
        assert loop.stores == Counter({128: 1})
        limit = (most + BIAS * (form == "bias")) * FACTORS[dtype]
        assert loop.instructions / each(dtype) <= limit


MOST_OF_ROWS = {  # instructions an element, of rows of 8 values a thread, reductions and all
    "layer_norm_forward": 48, "layer_norm_plain_gradients": 52,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_OF_ROWS)
def test_rows_are_moved_sixteen_bytes_at_a_time(name):
    """But for numbers of the row."""
    gate.needed_for_code()
    found = forms.texts(name, "float32")
    loop = gate.code(found["lanes, 2 x 4"]).first_loop(128)
    assert loop.loads[128] >= 2
    assert loop.stores[128] >= 2
    assert loop.loads[32] <= 3
    assert loop.instructions / 8 <= MOST_OF_ROWS[name]


BITS = {"packs": 128, "halves": 64, "quarters": 32}  # of an item, by form
STORED = ("normalize", "differentiate", "infer", "normalize_residual", "products_residual",
          "infer_residual")  # fmt: skip
MOST_OF_BATCH_NORM = {  # arrays read, arrays written, items of each under way, instructions
    "moments": (1, 0, 4, 6), "products": (2, 0, 2, 9), "normalize": (1, 1, 4, 8),
    "differentiate": (2, 1, 2, 12), "infer": (1, 1, 4, 8),
    "normalize_residual": (2, 1, 2, 11), "products_residual": (3, 1, 2, 11),
    "infer_residual": (2, 1, 2, 11),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_OF_BATCH_NORM)
def test_batch_norm_has_several_of_an_array_under_way(name):
    gate.needed_for_code()
    read, written, deep, most = MOST_OF_BATCH_NORM[name]
    for form, text in forms.texts(name, "float32").items():
        if "packs" in form:
            loop = gate.code(text).first_loop(128)
            assert loop.loads == Counter({128: read * deep}), form
            assert loop.stores == Counter({128: written * deep} if written else {}), form
            assert loop.instructions / deep / each("float32") <= most, form


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_REGISTERS)
def test_where_a_block_keeps_all_of_its_channels_each_array_is_read_once(name):
    """Whole items are read and stored, of sixteen bytes or of fewer."""
    gate.needed_for_code()
    forward, beside = name.startswith("whole_forward"), name.endswith("residual")
    arrays = (1 if forward else 2) + beside
    for dtype in ("float16", "float32"):
        size = 2 if dtype == "float16" else 4
        for form, text in forms.texts(name, dtype).items():
            bits = next((bits for word, bits in BITS.items() if word in form), 8 * size)
            code, items = gate.code(text).straight, kept(bits // 8 // size, size)
            assert code.loads[bits] >= arrays * items, form
            written = items if forward else items * (1 + beside)
            assert code.stores[bits] >= written, form
            assert code.stores.total() <= written + 5, form  # and what is a channel's


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", [*MOST_OF_BATCH_NORM, COLUMNS])
def test_runs_that_are_no_multiples_go_by_eight_bytes_or_four(name, dtype):
    """In at most seven tenths of the instructions that one element at a time takes."""
    gate.needed_for_code()
    texts, own = forms.texts(name, dtype), 16 if dtype == "float16" else 32
    for form, text in texts.items():
        for word in ("halves", "quarters"):
            if word in form:
                single = texts[form.replace(word, "singles")]
                parts, alone = (
                    an_element(gate.code(of), bits, own, stores=name in STORED)
                    for of, bits in ((text, BITS[word]), (single, own))
                )
                assert parts <= 0.7 * alone, form


def an_element(code, bits, own, *, stores):
    """Instructions of the first loop that moves so many bits at a time."""
    loops = ((loop, (loop.stores if stores else loop.loads)[bits]) for loop in code.loops)
    loop, items = next((loop, items) for loop, items in loops if items)
    return loop.instructions * own / (items * bits)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("sgd", 20), ("adam", 58)])
def test_an_elementwise_kernel_moves_an_element_at_a_time_in_more(name, least):
    """The same text in CuPy's own loop, so that the bounds above say something."""
    gate.needed_for_code()
    names = array_names(RULES[name])
    text = nvrtc.elementwise(cupy_gpu.parts(RULES[name], "float32"), names)
    ((_, _, code),) = nvrtc.compiled((text,))
    loop = code.first_loop()
    assert loop.loads == Counter({32: len(names)})
    assert loop.instructions >= least


MOST_OF_ENCODED = {  # instructions an element, those of a last block's single ones with them
    "adam_f32_f32_q8_q8": 131, "adam_f32_f32_b16_b16": 84, "adam_f32_f32_q8_b16": 112,
    "adam_b16_b16_q8_q8": 156, "momentum_f32_f32_q8": 67, "lion_f32_f32_q8": 76,
    "amsgrad_f32_f32_q8_q8_q8": 175, "sgd_b16_b16": 45,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MOST_OF_ENCODED)
def test_encoded_states_are_moved_in_as_few_accesses_as_there_can_be(name):
    """Eight neighbours: two of sixteen bytes of float32, one of bfloat16, one of eight of codes."""
    gate.needed_for_code()
    layout = LAYOUTS[name]
    arrays = {each: kind for each, kind in layout.arrays().items() if each.endswith("_at")}
    codes = sum(kind == "uint8" for kind in arrays.values())
    wide = {each: 2 if kind == "float32" else 1 for each, kind in arrays.items() if kind != "uint8"}
    for form in {"", "256"} & forms.texts(name, "").keys():
        loop = gate.code(forms.texts(name, "")[form]).busiest_loop()
        assert loop.loads[128] == sum(wide.values())
        assert loop.stores[128] == sum(wide.values()) - wide["g_at"]
        assert loop.loads[64] == loop.stores[64] == codes
        assert loop.instructions / EACH <= MOST_OF_ENCODED[name]


LINES = """
        /*0000*/                   LDG.E R0, desc[UR4][R2.64] ;
.L_x_1:
        /*0010*/                   LDG.E.128 R12, desc[UR10][R30.64] ;
        /*0020*/                   LDG.E.U16 R12, desc[UR10][R30.64] ;
        /*0030*/              @!P0 BRA `(.L_x_3) ;
        /*0040*/                   MOV R34, R12 ;
        /*0050*/                   CALL.REL.NOINC `($__internal_0) ;
        /*0060*/                   BRA `(.L_x_4) ;
.L_x_3:
        /*0070*/                   FFMA R12, R12, R0, R33 ;
.L_x_4:
        /*0080*/               @P1 BRA `(.L_x_4) ;
        /*0090*/                   STG.E desc[UR10][R30.64], R12 ;
        /*00a0*/              @!P2 BRA `(.L_x_1) ;
        /*00b0*/                   EXIT ;
"""


def test_a_turn_is_counted_without_what_is_called_for_rare_numbers():
    loop = sass.code_of(LINES).first_loop()
    assert loop == sass.Loop(7, Counter({128: 1, 16: 1}), Counter({32: 1}))


def test_a_loop_that_stores_nothing_is_none():
    with pytest.raises(AssertionError, match="no loop stores anything"):
        sass.code_of(LINES.replace("STG", "LDG")).first_loop()
