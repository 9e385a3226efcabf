"""Chunks of many arrays in one launch, and sums of squares: the CUDA C text that ships follows the
oracle, in several orders of threads, and is clean under the sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.kernels.compiling.gpu import cuda_squares
from onepass.kernels.rules import RULES
from tolerances import DTYPES, signed

from proving.host import elementwise as hostcuda
from proving.host.chunks import SIZES, Device
from proving.host.device import planted
from proving.host.elementwise import EXTRAS
from proving.host.raw import ORDERS
from proving.host.sanitized import usable

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]
needs_fma = pytest.mark.skipif(bool(hostcuda.FMA_MISSING), reason=hostcuda.FMA_MISSING)
FEW = {"threads": 8}  # each takes several packs of a chunk


def drawn(dtype, sizes=SIZES, high=4.0):
    rng = np.random.default_rng(3)
    return [signed(rng, size, 0.25, high, dtype) for size in sizes]


# --- steps ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_step_of_many_arrays_follows_the_oracle(name, dtype, extra):
    Device(**FEW).prove_steps(name, dtype, extra)


@pytest.mark.slow
@needs_fma
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_so_it_does_with_fused_multiply_adds(name, dtype):
    Device("fma", **FEW).prove_steps(name, dtype)


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_blocks_and_threads_does_not_matter(order):
    Device(order=order, **FEW).prove_steps("adam", "float16")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_step_is_clean(name, dtype, kind):
    Device(kind, **FEW).prove_steps(name, dtype)


PLANTED = {
    "the place of another chunk": ("found<const T>(g_at)", "(const T *)g_at[0]"),
    "the size of another chunk": ("sizes[blockIdx.x]", "sizes[0]"),
    "what is left over": ("k = packs * 4 + first", "k = packs * 4 + first + 1"),
    "an array that is not aligned": ("% 16 == 0;", "% 1 == 0;"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_caught(mistake):
    build = usable("asan") if "aligned" in mistake else "exact"
    device = Device(build, edit=planted("", *PLANTED[mistake]), **FEW)
    with pytest.raises(AssertionError, match=r"eps of float|misaligned"):
        device.prove_steps("sgd", "float32")


def test_a_chunk_beyond_an_array_s_end_is_caught():
    edit = planted(
        "", "const int size = sizes[blockIdx.x]", "const int size = sizes[blockIdx.x] + 1"
    )
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        Device(usable("asan"), edit=edit, **FEW).prove_steps("sgd", "float32")


def test_two_blocks_that_write_one_chunk_are_caught():
    with pytest.raises(AssertionError, match="data race"):
        Device(usable("tsan"), edit=planted("", "[blockIdx.x]", "[3]"), **FEW).prove_steps(
            "sgd", "float32"
        )


# --- sums of squares ------------------------------------------------------------------------------
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_are_exact_but_for_the_last_bits(dtype, order):
    device = Device(order=order)
    device.prove_sums(drawn(dtype))
    assert {name for name, _ in device.launched} == {*cuda_squares.KERNELS}


def test_they_are_the_same_to_the_bit_in_every_order_of_threads():
    found = set()
    for order in ORDERS:
        device = Device(order=order)
        arrays = device.placed(drawn("float32"))
        with device.running():
            found.add(float(cuda_squares.sum_of_chunks([(device.table(arrays), 0)])))
    assert len(found) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_are_clean(dtype, kind):
    Device(kind).prove_sums(drawn(dtype))


def test_several_blocks_of_one_array_are_clean(kind):
    """More elements than all threads take at once."""
    device = Device(kind, warps=32)
    device.prove_sums(drawn("float32", (3000, 0, 1, 1, 1, 1, 1)))
    assert max(call.grid[0] for call in device.calls if call.kernel.name == "squares_array") == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_large_or_small_is_not_lost(dtype):
    """Squares beyond the dtype's own range."""
    info = np.finfo(dtype)
    large = min(float(info.max) / 4, 1e150)
    values = np.array([large, -large, 1.0, 2 * float(info.tiny)], dtype)
    device = Device()
    arrays = device.placed([values, *drawn(dtype, (0,) * 6)])
    with device.running():
        found = float(cuda_squares.sum_of_squares(arrays[:1]))
    assert found == pytest.approx(sum(float(x) ** 2 for x in values), rel=1e-15)


@pytest.mark.parametrize(("bad", "expected"), [(np.inf, "inf"), (-np.inf, "inf"), (np.nan, "nan")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_so(dtype, bad, expected):
    device, arrays = Device(), drawn(dtype)
    arrays[4][-1] = bad
    placed = device.placed(arrays)
    with device.running():
        assert str(float(cuda_squares.sum_of_chunks([(device.table(placed), 0)]))) == expected
        assert str(float(cuda_squares.sum_of_squares([placed[4]]))) == expected


SUMS = {
    "float32's range": ("const double value", "const float value", "float32", 1e30),
    "a barrier too few": ("__syncthreads();", "", "float32", 4.0),
    "what is left over": ("packs * EACH + first", "packs * EACH + first + 1", "float64", 4.0),
}


@pytest.mark.parametrize("mistake", SUMS)
def test_a_planted_mistake_in_a_sum_is_caught(mistake):
    right, wrong, dtype, high = SUMS[mistake]
    arrays = drawn(dtype, high=high)
    with pytest.raises(AssertionError):
        Device(edit=planted("", right, wrong)).prove_sums(arrays)
