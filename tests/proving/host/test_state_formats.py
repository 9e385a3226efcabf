"""The CUDA C text of steps on encoded states: g++ compiles it and the CPU runs the engine's own
launches, in several orders of threads and under the sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from cases.state_formats import CASES, bits, same_bits
from onepass import kernels
from onepass.kernels.compiling.c_text import typed_function
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.state_formats.words import Number, Word, plus
from oracles.rules import RULES as ORACLES

from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.raw import ORDERS
from proving.host.sanitized import usable
from proving.host.state_formats import Device, arrays_of, placed
from proving.layouts import LAYOUTS, blocks

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
EACH = [(name, block) for name, layout in LAYOUTS.items() for block in blocks(layout)]
SIZE = 2 * 2048 + 261  # some tiles, the last block of which is short, and so are its eight
ADADELTA = "adadelta_f32_f32_q8_q8"
MIXED, ALL, HALVES = "adam_f32_f32_q8_b16", "adam_f32_f32_q8_q8", "adam_b16_b16_q8_q8"


def stepped(device, layout, arrays, step=3):
    """The bits of all arrays after a step, by array expressions where there is no device."""
    case = CASES[layout.rule.name]
    call = getattr(kernels, case.function) if device is None else device.kernel(case.function)
    options = case.at(step, 5) | ({"engine": "array"} if device is None else {})
    copies = {name: placed(array) for name, array in arrays.items()}
    ORACLES[case.function].call(call, copies, options)
    return bits(Device(), copies)


# --- the text that ships, under the public functions ----------------------------------------------
@pytest.mark.parametrize(("name", "block"), EACH)
def test_steps_follow_the_oracle(name, block):
    Device().prove_steps(LAYOUTS[name], SIZE, block)


@needs_fma
@pytest.mark.parametrize("name", LAYOUTS)
def test_steps_with_fused_multiply_adds_follow_it(name):
    Device("fma").prove_steps(LAYOUTS[name], SIZE)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 63, 64, 65, 256, 2048, 2049])
@pytest.mark.parametrize("block", [64, 128, 512])
def test_every_size_follows_it_wherever_arrays_lie(size, block):
    for off in (0, 1):
        Device().prove_steps(LAYOUTS[ALL], size, block, off)


@pytest.mark.parametrize("name", [MIXED, HALVES])
def test_so_do_mixed_formats_wherever_arrays_lie(name):
    for size in (5, 131, 777):
        Device().prove_steps(LAYOUTS[name], size, 64, off=3)


@pytest.mark.parametrize("block", [64, 128, 256, 512, 1024, 2048])
def test_as_it_ships(block):
    Device(threads=256, blocks=cuda_launch.MAX_BLOCKS).prove_steps(LAYOUTS[ALL], 5000, block)


def with_special_values(layout, block=64):
    """Blocks of zeros, of one outlier, of subnormal numbers, and with inf or NaN in one place."""
    arrays = arrays_of(Device(), layout, 16 * block + 5, block)
    grad = np.zeros(16 * block + 5, np.float32)
    rng = np.random.default_rng(1)
    grad[: 4 * block] = rng.standard_normal(4 * block)
    for k, value in enumerate((np.inf, -np.inf, np.nan, 1e30, 1e-30, 1e19, 3e38), 5):
        grad[k * block + 3] = value
    arrays["grad"] = placed(grad if layout.grad == "float32" else kernels.split_param(grad)[0])
    return arrays


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LAYOUTS)
def test_text_equals_array_expressions_bit_for_bit(name):
    """The noise is the same, and inf and NaN go where they go there."""
    layout = LAYOUTS[name]
    arrays = with_special_values(layout)
    found, wanted = (stepped(device, layout, arrays) for device in (Device(), None))
    for each, want in wanted.items():
        for got, right in zip(found[each], want, strict=True):
            wrong = got != right
            numbers = got.dtype == np.uint32  # where any NaN will do
            if numbers:
                wrong &= ~(np.isnan(got.view("f4")) & np.isnan(right.view("f4")))
            assert not wrong.any(), f"{each}: {got[wrong][:3]} instead of {right[wrong][:3]}"


@pytest.mark.skipif(not hostcuda.X86, reason="flushing is switched on by an x86 instruction")
@pytest.mark.parametrize("name", [MIXED, ALL, HALVES])
def test_flushing_subnormals_changes_no_other_step(name):
    Device("ftz").prove_steps(LAYOUTS[name], SIZE)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("block", [64, 2048])
def test_the_order_of_blocks_and_threads_does_not_matter(order, block):
    arrays = arrays_of(Device(), LAYOUTS[ALL], SIZE, block)
    found = [stepped(device, LAYOUTS[ALL], arrays) for device in (Device(), Device(order=order))]
    assert same_bits(*found)
    Device(order=order).prove_steps(LAYOUTS[HALVES], SIZE, block)


def test_elements_behind_the_end_are_no_part_of_the_last_block():
    """A thread computes all of its eight; without eps those behind the end are 0 / 0."""
    arrays = arrays_of(Device(), LAYOUTS[ADADELTA], 61, 64)
    call = Device().kernel("adadelta_step")
    state = [arrays[name] for name in ("param", "grad", "square_avg", "acc_delta")]
    call(*state, eps=0.0, seed=3)
    assert np.isfinite(arrays["acc_delta"].scales).all()


def test_launches_are_as_planned():
    for block, size, grid in ((64, 1, 1), (256, 2048, 1), (256, 2049, 2), (2048, 5000, 3)):
        device = Device(threads=256, blocks=cuda_launch.MAX_BLOCKS)
        stepped(device, LAYOUTS[ALL], arrays_of(device, LAYOUTS[ALL], size, block))
        (call,) = device.calls
        assert (call.grid, call.block) == ((grid,), (256,))
    device = Device()
    stepped(device, LAYOUTS[ALL], arrays_of(device, LAYOUTS[ALL], SIZE, 2048))
    assert device.calls[0].block == (256,), "as many threads as a block of 2048 takes"
    assert device.calls[0].grid == (3,), "each takes several tiles"


# --- sanitizers -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "block"), [(name, 64) for name in LAYOUTS if LAYOUTS[name].in_blocks]
)
def test_a_step_is_clean(name, block, kind):
    Device(kind).prove_steps(LAYOUTS[name], 64 * 13 + 5, block)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not LAYOUTS[name].in_blocks])
def test_so_is_one_without_blocks(name, kind):
    Device(kind).prove_steps(LAYOUTS[name], 777, off=1)


@pytest.mark.parametrize("block", [256, 512, 2048])
def test_so_are_blocks_of_several_warps(block, kind):
    Device(kind, blocks=2).prove_steps(LAYOUTS[ALL], 3 * 2048 + 5, block)


# --- planted mistakes -----------------------------------------------------------------------------
PLANTED = {  # what is there, what is there instead, elements of a block, words
    "a lane's own largest": ("by < WARP", "by < 1", 64, None),
    "a warp's own largest": ("k < GROUP / WARP", "k < 1", 1024, None),
    "the noise of another block": ("(Word)b,", "(Word)b + 1u,", 64, "codes differ"),
    "the noise of another place": ("(begin % BLOCK)", "(begin % BLOCK) + 1u", 64, "codes differ"),
    "the halves of a word changed": ("onepass_upper(word0)", "onepass_lower(word0)", 64, "differ"),
    "no noise": ("onepass_lower(word0)", "0x8000u", 64, "codes differ"),
    "the noise of the first alone": ("word0 = onepass_plus(word0, pace0);", "", 64, "codes differ"),
    "the scale of another block": ("m_scales_all[b]", "m_scales_all[0]", 64, None),
    "a scale that is not written": ("lane == 0", "lane == 64", 64, "scales"),
    "the sign lost": ("0x7u)", "0x8u)", 64, None),
    "zero for what is small": ("onepass_larger(code, ", "onepass_both(code, ", 64, None),
    "a state that is not written": ("unpack(v_at, v_at_all + begin, count, whole);", "", 64, None),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    right, wrong, block, words = PLANTED[mistake]
    with pytest.raises(AssertionError, match=words):
        Device(edit=planted("", right, wrong)).prove_steps(LAYOUTS[ALL], SIZE, block)


SEEN = {  # sanitizer, what is there, what is there instead, block, words
    "an element too many": ("asan", "i < count) array[i] =", "true) array[i] =", 64, "overflow"),
    "eight at the end of memory": ("asan", "aligned && count == EACH", "aligned", 64, "overflow"),
    "eight that are not aligned": ("asan", "aligned && count", "count", 64, "misaligned"),
    "the scale of no block": ("asan", "there ?", "true ?", 64, "overflow"),
    "a scale written before it is read": ("tsan", "__syncwarp();", "", 64, "data race"),
    "one buffer for two turns": ("tsan", "turn ^= 1;", "", 2048, "data race"),
    "a barrier too few": ("tsan", "__syncthreads();", "", 2048, "data race"),
}


@pytest.mark.parametrize("mistake", SEEN)
def test_a_sanitizer_sees_a_planted_mistake(mistake):
    kind, right, wrong, block, words = SEEN[mistake]
    device = Device(usable(kind), blocks=1, edit=planted("", right, wrong))
    with pytest.raises(AssertionError, match=words):
        device.prove_steps(LAYOUTS[ALL], 4 * block + 5, block, off=int("not aligned" in mistake))


# --- what can't be translated ---------------------------------------------------------------------
def literal(a: Word) -> Word:
    return plus(a, 1)


def named_again(a: Word) -> Word:
    a = plus(a, a)
    return a


def branch(a: Word) -> Word:
    if a:
        return a
    return plus(a, a)


def method(x: Number) -> Number:
    return np.exp(x)


def divided(x: Number, y: Number) -> Number:
    return x / y


def unknown_name(a: Word) -> Word:
    return plus(a, SIZE)


def no_annotation(a) -> Word:
    return a


def another_annotation(a: Word) -> int:
    return a


FUNCTIONS = {
    literal: "`1`",
    named_again: "`a = plus(a, a)`",
    branch: "`if a:",
    method: "`np.exp(x)`",
    divided: "`x / y`",
    unknown_name: "`SIZE`",
    no_annotation: "annotated as Word or Number",
    another_annotation: "annotated as Word or Number",
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_what_a_typed_function_can_not_hold_is_named(function):
    with pytest.raises(TypeError) as caught:
        typed_function(function)
    assert FUNCTIONS[function] in str(caught.value)
    assert f"{__name__}.{function.__name__}" in str(caught.value)
