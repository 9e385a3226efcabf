"""Every kernel of both GPU engines becomes lean machine code for every GPU generation, without a
GPU: by NVRTC from what CuPy hands it, and by NVVM and ptxas from what Numba does."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from onepass.kernels.graph.cuda_text import TAKE
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES

from proving import account as proof
from proving.compiled import forms as cuda_forms
from proving.compiled import gate as cuda_gate
from proving.compiled import nvrtc, ptxas, softmax_forms
from proving.compiled import table as cuda_table
from proving.simulator.tools import Lowered

KERNELS = list(proof.shipped())
CONVERTED = {
    *RULES,
    *cuda_forms.CHUNKS,
    *cuda_forms.BY_TABLE,
    "normalize",
    "differentiate",
    "infer",
}
DOUBLES = {softmax_forms.MEAN, *cuda_forms.SQUARES, *cuda_forms.BY_TABLE}  # whatever the arrays are
QUICK = ("adam", "products")  # for all generations; the others for Hopper
ADAM = {kernel.engine: kernel for kernel in KERNELS if kernel[1:] == ("adam", "float32")}


def each_generation(kernel):
    for rung, architecture in zip(proof.COMPILED, proof.ARCHITECTURES, strict=True):
        slow = architecture != "90" and kernel.name not in QUICK
        marks = [pytest.mark.slow] if slow else []
        label = "-".join((*kernel, f"sm_{architecture}"))
        yield pytest.param(kernel, architecture, rung, id=label, marks=marks)


@pytest.mark.parametrize(
    ("kernel", "architecture", "rung"),
    [case for kernel in KERNELS for case in each_generation(kernel)],
)
def test_machine_code_spills_nothing_and_keeps_its_budget(kernel, architecture, rung):
    cuda_gate.needed(kernel.engine)
    for form, report in cuda_gate.reports(kernel, architecture).items():
        ptxas.assert_lean(report, cuda_gate.budget(kernel, form), form)
    proof.note(rung, *kernel)


@pytest.mark.parametrize("kernel", KERNELS, ids="-".join)
def test_only_float64_arrays_cost_double_precision(kernel):
    cuda_gate.needed(kernel.engine)
    for text in cuda_gate.ptx(kernel):
        of_rows = kernel.engine == "cupy" and kernel.name in softmax_forms.ROWS
        doubles = kernel.name in DOUBLES or of_rows
        numbers = kernel.dtype == "float64" and kernel.name != TAKE  # which moves bytes
        assert (".f64" in text) == (doubles or numbers)
        if of_rows and kernel.dtype != "float64":  # a sum and a quotient, the loss, alone
            assert not re.findall(r"\b(?:mul|fma|sub|ex2)\S*\.f64", text)
        if kernel.dtype == "float16" and kernel.name in CONVERTED:
            assert "cvt.rn.f16.f32" in text, "float16 is computed in float32"


# --- the gate sees mistakes -----------------------------------------------------------------------
@pytest.fixture
def compilers():
    """Skips where either engine's compiler is missing."""
    for engine in ADAM:
        cuda_gate.needed(engine)
    if not ptxas.path():
        pytest.skip("ptxas is neither in the wheel nvidia-cuda-nvcc nor on the PATH")


THREADS, VALUES = 1024, 100  # a thread of so many has 64 registers; live at once
GREEDY = f"""extern "C" __global__ void __launch_bounds__({THREADS}) greedy(float* x) {{
    float kept[{VALUES}];
    #pragma unroll
    for (int i = 0; i < {VALUES}; ++i) kept[i] = x[i];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < {VALUES}; ++i) x[i] = kept[{VALUES} - 1 - i];
}}"""


def greedy():
    """The same for Numba."""
    from numba import cuda

    lines = [f"kept_{i} = x[{i}]" for i in range(VALUES)] + ["cuda.syncthreads()"]
    lines += [f"x[{i}] = kept_{VALUES - 1 - i}" for i in range(VALUES)]
    scope = {"cuda": cuda}
    exec("def greedy(x):\n    " + "\n    ".join(lines), scope)
    return scope["greedy"]


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("engine", ADAM)
def test_a_kernel_that_spills_is_refused(engine):
    if engine == "cupy":
        ((report, _),) = nvrtc.compiled((nvrtc.raw(GREEDY),))
    else:
        from numba import cuda, float32, void

        types = void(float32[::1])
        text, _ = cuda.compile_ptx(greedy(), types, cc=(9, 0), launch_bounds=THREADS)
        report = ptxas.assemble(text, "90")
    with pytest.raises(AssertionError, match=r"greedy: [0-9]+ bytes are spilled"):
        ptxas.assert_lean(report, 255, "greedy")


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("engine", ADAM)
def test_a_kernel_over_its_budget_is_refused(engine):
    report = cuda_gate.reports(ADAM[engine], "90")["decay"]
    ptxas.assert_lean(report, report.registers, "decay")
    with pytest.raises(AssertionError, match=f"decay: {report.registers} registers, "):
        ptxas.assert_lean(report, report.registers - 1, "decay")


def literal(p, g):
    p = p - g * 0.1
    return (p,)


@pytest.mark.usefixtures("compilers")
def test_a_literal_that_promotes_to_double_is_seen():
    code = 'extern "C" __global__ void literal(float* p, const float* g) { *p -= *g * 0.1; }'
    assert ".f64" in nvrtc.build(nvrtc.raw(code)).ptx
    rule = Lowered(*cuda_forms.numba_rule(Rule("planted", literal), "float32"))
    assert ".f64" in rule.ptx("90")


@pytest.mark.usefixtures("compilers")
def test_ptx_for_another_gpu_is_refused():
    (code, *_) = cuda_forms.lowered("sgd", "float32").values()
    with pytest.raises(AssertionError, match="not written for sm_90"):
        ptxas.assemble(code.ptx("75"), "90")


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("name", ["adam", "moments"])
@pytest.mark.parametrize("capability", [(7, 5), (12, 0)], ids=str)
def test_numba_gives_the_same_ptx_when_asked_for_one_gpu(name, capability):
    """All are lowered once and together; a launch does it for the GPU that is there."""
    architecture = "".join(map(str, capability))
    (form, code), *_ = cuda_forms.lowered(name, "float32").items()
    alone = Lowered(*cuda_forms.numba_kernel(name, "float32", form), capability)
    assert renumbered(code.ptx(architecture)) == renumbered(alone.ptx(architecture))


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("name", ["adam", "moments", "softmax_lanes", "activation_tanh"])
@pytest.mark.parametrize("architecture", ["75", "120"])
def test_kernels_compiled_in_one_program_are_as_they_are_alone(name, architecture):
    """The gate compiles all forms of all together; CuPy does each by itself."""
    together = cuda_gate.of_cupy("float16", architecture)[name]
    for form, text in cuda_forms.texts(name, "float16").items():
        report, ptx = together[form]
        ((alone, its_ptx),) = nvrtc.compiled((text,), architecture)
        assert report == alone
        assert instructions(ptx) == instructions(its_ptx)


def instructions(ptx):
    """Without names of the kernel's own: of labels, arguments and shared arrays."""
    body = ptx.partition(".visible .entry")[2].partition("{")[2]
    return re.sub(r"\$L__BB\d+|\w+_param|_ZZ\w+E", "", body).partition("\n}")[0]


def renumbered(text):
    """Functions and shared arrays are called by a number of their own in each text."""
    names = {}
    pattern = r"_Z\w+|_cudapy_smem_\d+"
    return re.sub(pattern, lambda found: names.setdefault(found[0], f"name_{len(names)}"), text)


@pytest.mark.slow
def test_the_table_is_what_the_compilers_give_now():
    """Here, where the tests above have compiled it all."""
    cuda_table.needed()
    shown = cuda_table.README.read_text(encoding="utf-8")
    heading = cuda_table.heading(cuda_table.compilers())
    if heading not in shown:
        line = next(line for line in shown.splitlines() if line.startswith("Made with"))
        pytest.skip(f"the table is of other compilers: {line} Here: {heading}")
    now = cuda_table.replaced(shown, f"{heading}\n{cuda_table.markdown()}")
    assert now == shown, (
        "the table is stale: run `PYTHONPATH=tests python -m proving.compiled.table --update`"
    )
    if file := os.environ.get("ONEPASS_CUDA_TABLE"):
        cuda_table.write(Path(file))
