"""The CUDA C text of dropout does what the paper says: g++ compiles it and the CPU runs the
engine's own launches, in several orders of threads and under the sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from cases.dropout import BIG, SEEDS, assert_right, example, halves
from onepass import kernels
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.inverted_dropout.gpu import cuda_text
from oracles import dropout as oracle
from oracles.dropout import KNOWN
from tolerances import DTYPES

from proving.host import elementwise as hostcuda
from proving.host.device import planted
from proving.host.dropout import BLOCKS, THREADS, Device
from proving.host.raw import ORDERS, Call, RawKernel, sanitize
from proving.host.sanitized import usable

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
SIZES = [1, 2, 3, 4, 5, 31, 127, 128, 129, 4 * THREADS * BLOCKS, 1023]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
BUILDS = [
    "exact",
    pytest.param("fma", marks=needs_fma),
    pytest.param("ftz", marks=pytest.mark.skipif(not hostcuda.X86, reason="it is x86's")),
]


def check(device, *given):
    device.prove(follows_the_oracle, *given)


def follows_the_oracle(device, x, keep_prob=0.7, mask=BIG):
    """Into another array, and into x itself."""
    given = device.asarray(x)
    y = device.dropout(given, keep_prob, **mask, out=device.asarray(np.full_like(x, np.nan)))
    assert np.array_equal(given, x), "x was written"
    assert_right(np.asarray(y), x, keep_prob, **mask)
    assert device.dropout(given, keep_prob, **mask, out=given) is given
    assert np.array_equal(given, y)


def shifted(array):
    """The same values, not aligned to what four of them take."""
    room = np.empty(array.size + 1, array.dtype).view(hostcuda.OnHost)
    room[1:] = array
    return room[1:]


# --- the text that ships, under the public function -----------------------------------------------
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_the_text_gives_the_known_answers(counter, key, answer):
    kernel = """
extern "C" __global__ void known(u64 call, u64 draw, u64 seed, unsigned *found) {
    unsigned bits[4];
    random_bits(call, draw, seed, bits);
    for (int k = 0; k < 4; ++k) found[k] = bits[k];
}
"""
    (call, draw), (seed,) = halves(counter), halves(key)
    found = np.zeros(4, "uint32")
    arguments = np.uint64(call), np.uint64(draw), np.uint64(seed), found
    RawKernel(cuda_text.source("float32") + kernel, "known")((1,), (1,), arguments)
    assert tuple(found.tolist()) == answer


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_size_and_dtype_follows_the_oracle(dtype, build):
    for size in SIZES:
        for keep_prob, mask in zip((0.5, 0.8, 0.1), SEEDS, strict=True):
            check(Device(build), example(size, dtype, seed=size), keep_prob, mask)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_those_of_the_other_engines_to_the_bit_in_every_order(dtype):
    x = example((11, 93), dtype)
    want = kernels.dropout(x, 0.8, **BIG, engine="array")
    assert np.array_equal(kernels.dropout(x, 0.8, **BIG, engine="numba"), want)
    for order in ORDERS:
        device = Device(order=order)
        assert np.array_equal(device.dropout(device.asarray(x), 0.8, **BIG), want), order


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_with_gaps_go_through_copies(dtype):
    values, device = example((9, 22), dtype), Device()
    x, out = device.asarray(values)[:, ::2], device.asarray(values).T[:11].T[::-1]
    want = kernels.dropout(values[:, ::2], 0.8, **BIG, engine="array")
    assert device.dropout(x, 0.8, **BIG, out=out) is out
    assert np.array_equal(out, want)
    assert np.array_equal(x, values[:, ::2])
    assert device.dropout(x, 0.8, **BIG, out=x) is x
    assert np.array_equal(x, want)
    assert len(device.calls) == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [3, 8, 300])
def test_memory_that_is_not_aligned_to_four_elements(size, dtype):
    x, device = example(size, dtype), Device()
    want = kernels.dropout(x, 0.8, **BIG, engine="array")
    for a, b in ((shifted(x), device.asarray(x)), (device.asarray(x), shifted(x))):
        assert np.array_equal(device.dropout(a, 0.8, **BIG, out=b), want)
        assert np.array_equal(a, x)
    given = shifted(x)
    assert np.array_equal(device.dropout(given, 0.8, **BIG, out=given), want)


def test_inf_and_nan():
    x = np.repeat(np.array([np.nan, np.inf, -np.inf, 1], "float32"), 16)
    want = kernels.dropout(x, 0.5, **BIG, engine="array")
    device = Device()
    np.testing.assert_array_equal(device.dropout(device.asarray(x), 0.5, **BIG), want)


def test_launches_are_as_planned():
    device = Device(threads=256, blocks=cuda_launch.MAX_BLOCKS)
    for size, blocks in ((1, 1), (1024, 1), (1025, 2), (40_000, 40)):
        device.dropout(device.asarray(np.ones(size, "float32")), 0.5, seed=0, draw=0)
        call = device.calls[-1]
        assert (call.grid, call.block) == ((blocks,), (256,))
    many = Device()
    many.dropout(many.asarray(np.ones(4 * THREADS * BLOCKS + 1, "float32")), 0.5, seed=0, draw=0)
    assert many.calls[-1].grid == (BLOCKS,), "one thread takes four elements more"


def test_nothing_is_launched_where_nothing_is_dropped():
    device, x = Device(), np.ones(9, "float32")
    assert np.array_equal(device.dropout(device.asarray(x), 1.0, seed=0, draw=0), x)
    device.dropout(device.asarray(x[:0]), 0.5, seed=0, draw=0)
    assert device.calls == []


@pytest.mark.parametrize("index", [2**31 + 3, 2**32 + 5, 2**34 + 6])
def test_elements_beyond_2_to_31_have_their_own_bits(index):
    """The text that ships, but for threads that begin there: it counts in 64 bits all the way."""
    first = index // 4 * 4
    beginning, memory = "long long call = (long long)", "(x + first)"

    def far(text):
        assert text.count(beginning) == text.count(memory) == 1
        text = text.replace(beginning, f"long long call = {first // 4}LL + (long long)")
        text = text.replace(memory, f"(x + (first - {first}LL))")
        text = text.replace("(y + first)", f"(y + (first - {first}LL))")
        return text.replace("[first + k]", f"[first + k - {first}LL]")

    text, dtype = far(cuda_text.source("float32")), "float32"
    x, y = np.ones(18, dtype), np.full(18, np.nan, dtype)
    numbers = np.int64(first + x.size), np.uint64(BIG["seed"]), np.uint64(BIG["draw"])
    arguments = (x, y, *numbers, np.uint32(2**31 - 1), np.float32(2), np.uint64(0))
    RawKernel(text, "dropout")((1,), (256,), arguments)
    want = [2.0 * (number < 2**31) for number in oracle.bits(18, **BIG, first=first)]
    assert y.tolist() == want


# --- sanitizers -----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_clean(dtype, kind):
    for size, order in ((1027, "forward"), (30, 1)):
        check(Device(kind, order), example(size, dtype))
    x = shifted(example(61, dtype))
    device = Device(kind)
    y = device.dropout(x, 0.7, **BIG, out=device.asarray(np.zeros_like(x)))
    assert np.array_equal(y, kernels.dropout(np.array(x), 0.7, **BIG))


# --- planted mistakes -----------------------------------------------------------------------------
WRONG = {
    "a wrong multiplier": ("0xd2511f53", "0xd2511f55"),
    "a key that does not change": ("k0 = (k0 + W0);", ""),
    "a round too few": ("#define ROUNDS 10", "#define ROUNDS 9"),
    "words that change places": ("bits[1] = (unsigned)c1", "bits[1] = (unsigned)c3"),
    "the draw's upper half left out": ("c3 = draw >> HALF", "c3 = 0"),
    "the seed's upper half left out": ("k1 = seed >> HALF", "k1 = 0"),
    "the threshold itself is dropped": ("[k]) * (bits[k] <= last", "[k]) * (bits[k] < last"),
    "a tail with the bits of others": ("x[first + k]) * (bits[k]", "x[first + k]) * (bits[3 - k]"),
    "nothing scaled": ("? scale", "? C(1)"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_planted_mistake_is_caught(mistake):
    device, mask = (
        Device(edit=planted("dropout", *WRONG[mistake])),
        {"seed": 5 << 40 | 7, "draw": 3 << 35 | 1},
    )
    keep_prob = (oracle.bits(1, **mask)[0] + 1) / 2**32  # which just keeps the first element
    with pytest.raises(AssertionError, match="eps of float32 off"):
        check(device, example(1023), keep_prob, mask)


PLANTED = {  # sanitizer, what is there instead, words
    "an element too many": ("asan", ("if (first + k < size)", ""), "heap-buffer-overflow"),
    "four at the end of memory": (
        "asan", ("first + 4 <= size", "first < size"), "heap-buffer-overflow",
    ),
    "four that are not aligned": (
        "asan", (" % sizeof(Vector) == 0", " != 0"), "misaligned address",
    ),
    "two threads write one element": (
        "tsan", ("call = (long long)blockIdx.x * blockDim.x", "call = (long long)blockIdx.x"),
        "data race",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_sanitizer_sees_a_planted_mistake(mistake):
    kind, edit, words = PLANTED[mistake]
    device = Device(build="", edit=planted("dropout", *edit))  # only the sanitizer runs it
    x = shifted(example(301)) if "aligned" in mistake else device.asarray(example(301))
    device.dropout(x, 0.7, **BIG, out=device.asarray(np.zeros(301, "float32")))
    (outcome,) = sanitize(usable(kind), device.calls)
    assert words in outcome.report


def test_a_wrong_type_of_argument_is_caught():
    device = Device()
    device.dropout(device.asarray(example(9)), 0.7, **BIG)
    (call,) = device.calls
    for place in range(2, len(call.args)):
        given = list(call.args)
        given[place] = np.float16(1)
        with pytest.raises(AssertionError, match="is declared"):
            Call(call.kernel, call.grid, call.block, tuple(given))
