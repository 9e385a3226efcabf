"""Every CUDA C kernel of the engine "cupy" is clean under the address, undefined behaviour and
thread sanitizers, and follows the oracle there."""

from __future__ import annotations

import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from cases import batch_norm as batchnorm_cases
from cases.batch_norm import given_options, make, passes
from onepass.kernels.activation.gpu.cuda_text import elementwise
from onepass.kernels.batch_norm.gpu import cuda_text as batchnorm_text
from onepass.kernels.batch_norm.gpu.cuda_text import (
    BESIDE,
    GATED,
    IN_REGISTERS,
    KERNELS,
    source,
    symbol,
)
from onepass.kernels.batch_norm.gpu.plan import WIDE
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.compiling.python_text import scalar_names
from onepass.kernels.rule_engines import cuda_text, cupy_gpu
from onepass.kernels.rules import RULES
from tolerances import DTYPES

from proving import account as proof
from proving.compiled import nvrtc
from proving.host import elementwise as hostcuda
from proving.host.batch_norm import IN_PARTS, SMALL, Device
from proving.host.raw import Call, RawKernel, compile_all, sanitize
from proving.host.sanitized import usable
from proving.host.threaded import BLOCK, CUPY_FOR, GRID, ElementwiseKernel
from proving.host.walk import walk

pytestmark = [
    pytest.mark.hostcuda,
    pytest.mark.skipif(bool(hostcuda.MISSING), reason=hostcuda.MISSING),
]


# --- rules ----------------------------------------------------------------------------------------
THREADS = {"threads": 8, "blocks": 3}  # few: each takes several packs, and tsan is slow to make one


def rule_call(rule, dtype):
    """A launch on arrays with gaps."""
    grad, *written = np.zeros((2 + len(rule.state), 1), dtype)
    coefficients = [0.0] * len(scalar_names(rule))
    kernel = ElementwiseKernel(**cupy_gpu.parts(rule, dtype))
    return kernel.threaded((grad, *coefficients, *written))


def raw_kernel(rule, dtype):
    """What is compiled for arrays without."""
    with mock.patch.object(cuda_launch, "THREADS", THREADS["threads"]):
        text = cuda_text.source(rule, dtype)
    include = "#include <cupy/float16.cuh>\n" if dtype == "float16" else ""
    return RawKernel(include + text, cuda_text.symbol(rule, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_clean_with_and_without_decay(name, dtype, kind):
    """On 257 elements: each thread takes several packs, and one what is left."""
    rule = RULES[name]
    compile_all(kind, [raw_kernel(each, dtype) for each in (rule, rule.without_decay)])
    for extra in ("all", "plain"):
        walk(name, dtype, extra, build=kind, steps=1, **THREADS)
    walk(name, dtype, "all", build=kind, steps=1, layout="beside them", **THREADS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_so_is_one_on_arrays_with_gaps(dtype, kind):
    """Of which every rule has the same loop around the same text."""
    walk("amsgrad", dtype, "all", build=kind, steps=1, layout="with gaps")


def test_the_loop_is_the_one_that_cupy_generates():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    header = Path(cupy.__file__).with_name("_core") / "include" / "cupy" / "carray.cuh"
    assert CUPY_FOR.strip() in header.read_text(encoding="utf-8")
    adam = RULES["adam"]
    text, _ = nvrtc.elementwise(cupy_gpu.parts(adam, "float16"), ("g", "p", *adam.state))
    assert loop_of(rule_call(adam, "float16").kernel.text) == loop_of(text)
    text, _ = nvrtc.elementwise(elementwise("relu", "float32", True), ("x", "y"), ("bias",), 2)
    assert loop_of(biased_relu().kernel.text) == loop_of(text)


def biased_relu(edit=str):
    """A launch in which a row is on every row."""
    x, bias = np.ones((15, 49), "float32"), np.ones((1, 49), "float32")
    kernel = ElementwiseKernel(**elementwise("relu", "float32", True))
    return kernel.threaded((x, bias, 0.0, 0.0, np.empty_like(x)), edit=edit)


def loop_of(text):
    """The kernel from its loop on, an element's place being `i` however it is worked out."""
    text = text.replace("_ind.set(i);", "").replace("_ind.size()", "_n").replace("_ind.get()", "i")
    text = re.sub(r"place\(i, [^()]*\)", "i", text)
    return "".join(text[text.index("CUPY_FOR(i, _n)") :].split())


# --- batch normalization --------------------------------------------------------------------------
PLANES, NEIGHBOURS = (5, 3, 49), (30, 67)  # blocks of one channel, and of several
PACKS, ROWS = (5, 3, 64), (70, 40)  # the same, sixteen bytes at a time
FEW = SMALL | {"RESIDENT": 2}  # few parts of a channel: threads are slow to make under tsan
PARTS = FEW | IN_PARTS
VARIANTS = {  # shape, activation, plan, from how many elements an index takes 64 bits, order
    "planes, relu, 64 bits": (PLANES, "relu", PARTS, WIDE, "forward"),
    "planes, 64 bits": (PLANES, None, PARTS, 0, "reverse"),
    "planes of packs, relu, 32 bits": ((9, 3, 192), "relu", PARTS, WIDE, 2),
    "planes, whole": (PLANES, None, FEW, WIDE, 3),
    "planes of packs, relu, whole": (PACKS, "relu", FEW, WIDE, "reverse"),
    "planes of half packs": ((5, 3, 66), None, PARTS, WIDE, 1),
    "neighbours, 64 bits": (NEIGHBOURS, None, PARTS, WIDE, 0),
    "neighbours, relu, 64 bits": (NEIGHBOURS, "relu", PARTS, 0, 1),
    "rows of packs, 32 bits": (ROWS, None, PARTS, WIDE, 4),
    "neighbours, relu, whole": (NEIGHBOURS, "relu", FEW, WIDE, "forward"),
    "rows of packs, whole": (ROWS, None, FEW, WIDE, 5),
    "rows of half packs, relu, whole": ((70, 42), "relu", FEW, WIDE, 6),
    "planes, residual, 64 bits": (PLANES, "relu", PARTS, 0, 2),
    "rows of packs, residual, 32 bits": (ROWS, "relu", PARTS, WIDE, "reverse"),
    "planes of packs, residual, whole": (PACKS, "relu", FEW, WIDE, 1),
    "neighbours, residual, whole": (NEIGHBOURS, "relu", FEW, WIDE, 3),
}


def case_of(variant, dtype="float32"):
    shape, activation, *_ = VARIANTS[variant]
    return make(shape, dtype=dtype, activation=activation, residual="residual" in variant)


def device_of(variant, build):
    *_, plan, wide, order = VARIANTS[variant]
    return Device(build, plan=plan, wide=wide, order=order)


def recorded(variant, dtype="float32"):
    """A device with the launches of training and inference; nothing has run."""
    device, case = device_of(variant, ""), case_of(variant, dtype)
    x, dy, *parameters = map(device.asarray, case[:-1])
    forward, backward = passes(device)
    options = given_options(case, device.asarray)
    _, saved = forward(x, *parameters, **options)
    backward(dy, saved)
    device.kernel("batch_norm_inference")(x, *parameters, **options)
    return device


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_norm_is_clean(variant, dtype, kind):
    plan = recorded(variant, dtype)
    compile_all(kind, (each.kernel for each in plan.calls))
    device, case = device_of(variant, kind), case_of(variant, dtype)
    device.prove(batchnorm_cases.check, case)
    device.prove(batchnorm_cases.infer, case)
    assert device.launched == plan.launched


def test_there_is_every_variant_several_blocks_and_no_size_that_divides():
    calls = {}
    for variant in VARIANTS:
        for call in recorded(variant).calls:
            calls.setdefault(call.kernel.name.removeprefix("batch_norm_"), []).append(call)
    assert {*calls} == {*KERNELS}
    for name, each in calls.items():
        texts = [call.kernel.text for call in each]
        kinds = {
            tuple(line for line in text.splitlines() if line.startswith(FORMS)) for text in texts
        }
        assert {word in text for text in texts for word in ["#define RUNS 1"]} == {False, True}
        assert {"#define EACH 1\n" in text for text in texts} == {False, True}
        if name in GATED and name not in BESIDE:
            assert {"#define RELU 1" in text for text in texts} == {False, True}
        assert ({"typedef long long Index" in text for text in texts} == {False, True}) == (
            name not in IN_REGISTERS
        )
        assert len(kinds) >= (2 if name in BESIDE else 3)
    for call in calls["moments"] + calls["products"]:
        across, parts = call.grid
        assert across > 1
        assert parts > 1, call
    assert 257 % (GRID * BLOCK) % BLOCK, "the size of a rule's arrays"


FORMS = ("#define RUNS", "#define EACH", "#define RELU", "typedef long long Index")


# --- planted mistakes -----------------------------------------------------------------------------
PLANTED = {  # sanitizer, a place of the text, what is there instead, the line named, words
    "one element too many": (
        "asan", "i < (n)", "i <= (n)", "float(x) + ", "heap-buffer-overflow"
    ),
    "an element's place taken for its column's": (
        "asan", "_raw_bias[place(i, 2, _shape, _steps_bias)]", "_raw_bias[i]",
        "float(x) + ", "heap-buffer-overflow",
    ),
    "two threads write one element": (
        "tsan", "_raw_y[i]", "_raw_y[i / 2]", "y = value", "data race"
    ),
    "every block does all of the work": (
        "tsan", "static_cast<ptrdiff_t>(blockIdx.x) * blockDim.x + threadIdx.x", "threadIdx.x",
        "y = value", "data race",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_in_an_elementwise_kernel_is_caught(mistake):
    kind, right, wrong, statement, words = PLANTED[mistake]

    def edit(text):
        assert text.count(right) == 1, text
        return text.replace(right, wrong)

    call = biased_relu(edit)
    (outcome,) = sanitize(usable(kind), [call])
    line = call.kernel.text[: call.kernel.text.index(statement)].count("\n") + 1
    assert words in outcome.report
    assert f"{call.kernel.name}.cu:{line}" in outcome.report


def test_a_product_of_sizes_in_32_bits_is_caught():
    """Which the plan's 64 bits are for."""
    text = source("products", "float32", False, True, 4, 64)
    ones, sizes = np.ones(3, "float32"), np.array([65536, 1, 4 * 65536, 1], "int32")
    args = ones[:1], ones[:1], ones, ones[:1], ones[:1], np.zeros(2, "float32"), *sizes
    call = Call(RawKernel(text, symbol("products")), (1,), (64,), (*args, np.int32(1)))
    (outcome,) = sanitize(usable("asan"), [call])
    assert "signed integer overflow: 65536 * 65536 cannot be represented" in outcome.report


def test_a_kernel_that_is_not_clean_is_not_proven(monkeypatch):
    noted, guard, text = [], " && c < channels", batchnorm_text._BODIES["differentiate"]
    assert guard in text
    monkeypatch.setitem(batchnorm_text._BODIES, "differentiate", text.replace(guard, ""))
    monkeypatch.setattr(proof, "note", lambda *each: noted.append(each))
    variant = "neighbours, 64 bits"
    device, case = device_of(variant, usable("asan")), case_of(variant)
    with pytest.raises(AssertionError, match="heap-buffer-overflow"):
        device.prove(batchnorm_cases.check, case)
    assert noted == []
