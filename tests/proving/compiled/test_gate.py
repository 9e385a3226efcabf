"""Every kernel of both GPU engines becomes lean machine code for every GPU generation, without a
GPU: by NVRTC from what CuPy hands it, and by NVVM and ptxas from what Numba does."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest
from onepass.kernels.batch_norm import formula
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.graph.cuda_text import TAKE
from onepass.kernels.rule import Rule
from onepass.kernels.rules import RULES

from proving import account as proof
from proving.compiled import forms as cuda_forms
from proving.compiled import gate as cuda_gate
from proving.compiled import kept, nvrtc, ptxas, rows_forms, softmax_forms
from proving.compiled import table as cuda_table
from proving.compiled.lowered import Lowered
from proving.compiled.versions import compilers as compilers_here

KERNELS = list(proof.shipped())
CONVERTED = {
    *RULES,
    *cuda_forms.CHUNKS,
    *cuda_forms.BY_TABLE,
    "normalize",
    "differentiate",
    "infer",
    *rows_forms.ROWS,
}
DOUBLES = {  # whatever the arrays are
    softmax_forms.MEAN, rows_forms.JOIN, *cuda_forms.SQUARES, *cuda_forms.BY_TABLE
}  # fmt: skip
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
    for shown in cuda_gate.shown(kernel):
        of_rows = kernel.engine == "cupy" and kernel.name in softmax_forms.ROWS
        doubles = kernel.name in DOUBLES or of_rows
        numbers = kernel.dtype == "float64" and kernel.name != TAKE  # which moves bytes
        assert ("double" in shown) == (doubles or numbers)
        if of_rows and kernel.dtype != "float64":  # a sum and a quotient, the loss, alone
            assert "arithmetic in double" not in shown
        if kernel.dtype == "float16" and kernel.name in CONVERTED:
            assert "float to half" in shown, "float16 is computed in float32"


# --- what is kept is of the kernels as they are ---------------------------------------------------
@pytest.fixture
def compiled_now(monkeypatch):
    """Texts and architectures that go to NVRTC; nothing of them is known afterwards."""
    monkeypatch.setattr(kept, "_new", {})
    monkeypatch.setattr(kept, "_asked", {})
    monkeypatch.delenv(kept.ALL, raising=False)
    given, compile_texts = [], nvrtc.compiled

    def compiled(texts, architecture="90"):
        given.extend((text, architecture) for text in texts)
        return compile_texts(texts, architecture)

    monkeypatch.setattr(nvrtc, "compiled", compiled)
    return given


@pytest.mark.usefixtures("compilers")
def test_a_text_that_has_changed_is_compiled_and_judged_as_it_is_now(compiled_now):
    """A variable more for each thread to keep; all others are as they were."""
    right = cuda_forms.texts("adam", "float32")["decay"]
    others = [*cuda_forms.texts("sgd", "float32").values()]
    cuda_gate.of_texts([right, *others], "90")
    assert not compiled_now, "run `PYTHONPATH=tests python -m proving.compiled.table --update`"
    bounds = "__launch_bounds__(256, 4)"
    assert bounds in right[0]
    wrong = right[0].replace(bounds, "__launch_bounds__(256, 8)"), right[1]
    made, *_ = cuda_gate.of_texts([wrong, *others], "90")
    assert compiled_now == [(wrong, "90")]
    assert made.report.spilled
    with pytest.raises(AssertionError, match=r"decay: [0-9]+ bytes are spilled"):
        ptxas.assert_lean(made.report, 64, "decay")
    (stale,) = kept.stale()
    assert re.fullmatch(r"CUDA C onepass_adam_float32 [0-9a-f]{20} for sm_90", stale)


@pytest.mark.usefixtures("compiled_now")
@pytest.mark.parametrize("what", ["option", "version", "reader"])
def test_so_is_all_where_an_option_or_a_compiler_or_what_reads_it_is_another(what, monkeypatch):
    text = cuda_forms.texts("adam", "float32")["decay"]
    before = kept.name(kept.CUDA_C, "adam", nvrtc.given(text))
    if what == "option":
        text = text[0], (*text[1], "-DMORE")
    else:
        told = list(kept._circumstances())
        told[-1 if what == "reader" else 0] += " "
        monkeypatch.setattr(kept, "_circumstances", lambda: tuple(told))
    assert kept.name(kept.CUDA_C, "adam", nvrtc.given(text)) != before


def doubled(p, g):
    p = p - g * 2
    return (p,)


def tripled(p, g):
    p = p - g * 3
    return (p,)


def numba_name(make, types, **how):
    return kept.name(kept.NUMBA, "planted", Lowered(make, types, **how).given())


def test_numba_is_asked_again_where_a_function_or_one_that_it_calls_has_changed(monkeypatch):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed", exc_type=ImportError)
    names = [
        numba_name(*cuda_forms.numba_rule(Rule("planted", update), "float32"))
        for update in (doubled, doubled, tripled)
    ]
    assert names[0] == names[1] != names[2]
    make, types = cuda_forms.numba_kernel("moments", "float32", "")
    before = numba_name(make, types)
    assert before == numba_name(make, types)
    assert before != numba_name(make, types[:-1])
    assert before != numba_name(make, types, launch_bounds=(256, 4))
    with monkeypatch.context() as patch:  # a number of a kernel
        patch.setattr(cuda_launch, "THREADS", cuda_launch.THREADS * 2)
        assert before != numba_name(make, types)
    with monkeypatch.context() as patch:  # what a device function calls, that a kernel calls
        patch.setattr(formula.welford, "__code__", formula.middle.__code__)
        assert before != numba_name(make, types)
    assert before == numba_name(make, types)


def test_what_can_not_be_told_from_another_is_no_part_of_a_kernel():
    unknown = object()
    with pytest.raises(TypeError, match="stands in a kernel"):
        numba_name(lambda: lambda: unknown, ())


def test_a_figure_that_the_compilers_do_not_give_is_stale_where_all_is_compiled(
    compilers, compiled_now, monkeypatch
):
    text = cuda_forms.texts("sgd", "float32")["decay"]
    (right,) = cuda_gate.of_texts([text], "90")
    name = kept.name(kept.CUDA_C, nvrtc.name(text), nvrtc.given(text))
    better = right._replace(report=right.report._replace(registers=8))
    monkeypatch.setattr(kept, "_file", lambda: {name: {"90": better}})
    assert cuda_gate.of_texts([text], "90") == [better]
    assert kept.stale() == []
    monkeypatch.setenv(kept.ALL, "1")
    assert cuda_gate.of_texts([text], "90") == [right]
    assert compiled_now == [(text, "90")]
    assert kept.stale() == [f"{name} for sm_90"]


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
        ((report, _, _),) = nvrtc.compiled((nvrtc.raw(GREEDY),))
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
    assert "double" in ptxas.shown(nvrtc.build(nvrtc.raw(code)).ptx)
    rule = Lowered(*cuda_forms.numba_rule(Rule("planted", literal), "float32"))
    assert "double" in ptxas.shown(rule.ptx("90"))


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
    ptx = alone.ptx(architecture)
    assert renumbered(code.ptx(architecture)) == renumbered(ptx)
    kept = cuda_gate.figures(proof.Kernel("numba-cuda", name, "float32"), architecture)[form]
    assert kept == (ptxas.assemble(ptx, architecture), ptxas.shown(ptx), None)


SEVERAL = ("adam", "moments", "softmax_lanes", "activation_tanh")


@cache
def together(architecture):
    """Every form of several kernels in one program, by name and form."""
    texts = {
        (name, form): text
        for name in SEVERAL
        for form, text in cuda_forms.texts(name, "float16").items()
    }
    compiled = nvrtc.compiled(tuple(texts.values()), architecture)
    return dict(zip(texts, compiled, strict=True))


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("architecture", ["75", "90", "120"])
def test_kernels_compiled_in_one_program_are_as_they_are_alone(name, architecture):
    """The gate compiles all forms of all together, and keeps what comes out; CuPy does each by
    itself."""
    kept = cuda_gate.figures(proof.Kernel("cupy", name, "float16"), architecture)
    for form, text in cuda_forms.texts(name, "float16").items():
        report, ptx, code = together(architecture)[name, form]
        (alone,) = nvrtc.compiled((text,), architecture)
        assert (report, code) == (alone.report, alone.code)
        assert instructions(ptx) == instructions(alone.ptx)
        assert kept[form] == (report, ptxas.shown(ptx), code)


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
    heading = cuda_table.heading(compilers_here())
    if heading not in shown:
        line = next(line for line in shown.splitlines() if line.startswith("Made with"))
        pytest.skip(f"the table is of other compilers: {line} Here: {heading}")
    now = cuda_table.replaced(shown, f"{heading}\n{cuda_table.markdown()}")
    update = "run `PYTHONPATH=tests python -m proving.compiled.table --update`"
    assert now == shown, f"the table is stale: {update}"
    stale = kept.stale()
    assert not stale, f"kept.json lacks, or has otherwise, {', '.join(stale)}: {update}"
    if file := os.environ.get("ONEPASS_CUDA_TABLE"):
        cuda_table.write(Path(file))
