"""Every form in which a kernel of the GPU engines is compiled: with weight decay or without, with
ReLU or without, with a bias or without; those of softmax, of batch normalization by the engine
"cupy", of encoded states and over rows are in softmax_forms.py, batch_norm_forms.py,
state_format_forms.py, rows_forms.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
from cases.batch_norm import make
from onepass import kernels
from onepass.kernels.activation.formula import FORMULAS, KINDS
from onepass.kernels.activation.gpu import cuda_text as activation_text
from onepass.kernels.activation.gpu import cupy_gpu as activation_cupy
from onepass.kernels.activation.gpu import numba_cuda as activation_numba
from onepass.kernels.batch_norm.gpu import cuda_text as batchnorm_text
from onepass.kernels.batch_norm.gpu import numba_cuda as batchnorm_numba
from onepass.kernels.compiling import python_text as source
from onepass.kernels.compiling.dtypes import compute_dtype
from onepass.kernels.compiling.gpu import cuda_columns, cuda_launch, cuda_squares
from onepass.kernels.graph import cupy_graph
from onepass.kernels.graph.cuda_text import DECIDE, TAKE
from onepass.kernels.inverted_dropout.gpu import cupy_gpu as dropout_cupy
from onepass.kernels.inverted_dropout.gpu import numba_cuda as dropout_numba
from onepass.kernels.rule import Rule
from onepass.kernels.rule_engines import cupy_gpu, cupy_pending, numba_cuda
from onepass.kernels.rule_engines.cuda_scaling import KERNEL as SCALE_DECIDE
from onepass.kernels.rules import RULES

from proving.compiled import batch_norm_forms, nvrtc, rows_forms, softmax_forms, state_format_forms
from proving.compiled.lowered import Lowered
from proving.layouts import LAYOUTS
from proving.simulator.batch_norm import Simulated

CHUNKS = {f"{name}_chunks": name for name in RULES}  # a rule on many arrays, by "cupy" alone
BY_TABLE = {f"{name}_by_table": name for name in RULES}  # likewise in a captured step
OPTIONS = "clipped and averaged"
SQUARES = cuda_squares.KERNELS
SUMMED = ("moments", "products", "products_residual")  # batch normalization's by numba-cuda
BESIDE = ("normalize_residual", "infer_residual")
GATED = ("products", "normalize", "differentiate", "infer", *BESIDE)  # with ReLU and without
ACTIVATIONS = {f"activation_{name}": name for name in FORMULAS}
Made = tuple[Callable[[], Any], tuple[Any, ...]]  # what makes a Python function, and types


def of_rule(name: str) -> dict[str, Rule]:
    return {"decay": RULES[name], "no decay": RULES[name].without_decay}


def with_options(name: str) -> dict[str, Rule]:
    """The same and the rule with all that an optimizer adds to it, by "cupy"."""
    return of_rule(name) | {OPTIONS: RULES[name].clipped.averaged}


def _gates(name: str) -> dict[str, bool]:
    """Whether ReLU follows, by form of batch normalization by numba-cuda."""
    if name == "products_residual":
        return {"relu": True}
    return {"": False, "relu": True} if name in GATED else {"": False}


def _biases(name: str) -> dict[str, bool]:
    """Whether an activation has a bias before it, by form; gradients that are told from y have
    none."""
    kind = ACTIVATIONS[name].removesuffix("_gradient")
    has = ACTIVATIONS[name] in KINDS or KINDS[kind].from_x
    return {"": False, "bias": True} if has else {"": False}


# --- the engine "cupy" ----------------------------------------------------------------------------
@cache
def texts(name: str, dtype: str) -> dict[str, nvrtc.Text]:
    """What CuPy compiles for a kernel, by form."""
    if name in RULES:
        return _rule(name, dtype)
    if name in LAYOUTS:
        return state_format_forms.texts(name)
    if name in rows_forms.KERNELS:
        return rows_forms.texts(name, dtype)
    if name in batchnorm_text.KERNELS:
        return batch_norm_forms.texts(name, dtype)
    if name == "dropout":
        return {"": nvrtc.launched(dropout_cupy.raw_kernel, dtype)}
    if name in ACTIVATIONS:
        return _activation(ACTIVATIONS[name], dtype, _biases(name))
    if name in SQUARES:
        return {"": nvrtc.launched(cuda_squares.raw_kernel, name, dtype)}
    if name == cuda_columns.KERNEL:
        items = batch_norm_forms.items(dtype).items()
        return {form: nvrtc.launched(cuda_columns.raw_kernel, dtype, each) for form, each in items}
    if name in CHUNKS:
        rules = with_options(CHUNKS[name]).items()
        return {form: nvrtc.launched(cupy_gpu.chunks_kernel, rule, dtype) for form, rule in rules}
    if name in BY_TABLE:
        rules = with_options(BY_TABLE[name]).items()
        return {form: nvrtc.launched(cupy_gpu.table_kernel, rule, dtype) for form, rule in rules}
    if name == TAKE:
        return {"": nvrtc.launched(cupy_graph.take_kernel)}
    if name == DECIDE:
        metrics = "int64", "float64", "float32"
        return {each: nvrtc.launched(cupy_graph.decide_kernel, each, 4) for each in metrics}
    if name == SCALE_DECIDE:
        return {"": nvrtc.launched(cupy_pending.decide_kernel)}
    return softmax_forms.texts(name, dtype)


def _rule(name: str, dtype: str) -> dict[str, nvrtc.Text]:
    """For arrays without gaps, and for others."""
    found = {}
    for form, rule in with_options(name).items():
        found[form] = nvrtc.launched(cupy_gpu.raw_kernel, rule, dtype)
        strided = nvrtc.elementwise(cupy_gpu.parts(rule, dtype), (), ("g", "p", *rule.state), 2)
        found[f"{form}, strided"] = strided
    return found


def _activation(name: str, dtype: str, biases: dict[str, bool]) -> dict[str, nvrtc.Text]:
    """For arrays without gaps, and for others."""
    found = {}
    for form, biased in biases.items():
        found[form] = nvrtc.launched(activation_cupy.raw_kernel, name, dtype, biased)
        parts, arrays = activation_text.elementwise(name, dtype, biased), ("x", "y", "dy", "dz")
        strided = nvrtc.elementwise(parts, (), (*arrays, "bias"), 2)
        found[", ".join(filter(None, (form, "strided")))] = strided
    return found


# --- the engine "numba-cuda" ----------------------------------------------------------------------
@cache
def lowered(name: str, dtype: str) -> dict[str, Lowered]:
    """What Numba compiles for a kernel, by form."""
    if name in LAYOUTS:
        return state_format_forms.lowered(name)
    if name in rows_forms.KERNELS:
        return rows_forms.lowered(name, dtype)
    if name in softmax_forms.KERNELS:
        return {
            form: _softmax(name, dtype, form) for form in softmax_forms.numba_forms(name, dtype)
        }
    if name in RULES:
        forms: Iterable[str] = of_rule(name)
    else:
        forms = _biases(name) if name in ACTIVATIONS else _gates(name)
    return {form: Lowered(*numba_kernel(name, dtype, form)) for form in forms}


def _softmax(name: str, dtype: str, form: str) -> Lowered:
    """Its rows are kept in registers, which launch bounds make room for."""
    bounds = softmax_forms.launch_bounds(name, dtype, form)
    return Lowered(*softmax_forms.numba_kernel(name, dtype, form), launch_bounds=bounds)


def numba_kernel(name: str, dtype: str, form: str) -> Made:
    """What makes one form of a kernel, and the types of its arguments."""
    if name in RULES:
        return numba_rule(of_rule(name)[form], dtype)
    if name == "dropout":
        return _numba_dropout(dtype)
    if name in ACTIVATIONS:
        return _numba_activation(ACTIVATIONS[name], dtype, _biases(name)[form])
    relu = _gates(name)[form]
    make = partial(batchnorm_numba.python_kernel, name, compute_dtype(dtype), relu)
    return make, launched(dtype)[name]


def numba_rule(rule: Rule, dtype: str) -> Made:
    import numba

    array = numba.from_dtype(np.dtype(dtype))[::1]
    scalar = numba.from_dtype(np.dtype(compute_dtype(dtype)))
    types = [array] * len(source.array_names(rule)) + [scalar] * len(source.scalar_names(rule))
    return partial(numba_cuda.python_kernel, rule, dtype), tuple(types)


def _numba_activation(name: str, dtype: str, biased: bool) -> Made:
    import numba

    array, scalar = (numba.from_dtype(np.dtype(each)) for each in (dtype, compute_dtype(dtype)))
    arrays = (1 if name in KINDS else 2) + biased
    make = partial(activation_numba.python_kernel, name, dtype, biased)
    return make, (*[array[::1]] * arrays, scalar, scalar, array[::1])


def _numba_dropout(dtype: str) -> Made:
    import numba

    array, scalar = (numba.from_dtype(np.dtype(each)) for each in (dtype, compute_dtype(dtype)))
    words = numba.uint64, numba.uint64, numba.uint32
    make = partial(dropout_numba.python_kernel, dtype)
    return make, (array[::1], array[::1], *words, scalar)


@cache
def launched(dtype: str) -> dict[str, tuple[Any, ...]]:
    """The types that batch norm's kernels are launched with in training and inference, by name."""
    import numba

    given = {}

    def note(engine: str, name: str, like: Any, args: tuple[Any, ...]) -> None:
        given[name] = tuple(map(type_of, args))

    def type_of(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            assert value.flags.c_contiguous
            return numba.types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
        return numba.typeof(value)

    case, device = make((3, 2, 7), dtype=dtype, activation="relu"), Simulated()
    x, dy, *vectors = map(device.asarray, case[:-1])
    nothing = mock.patch.object(cuda_launch, "configured", return_value=lambda *_: None)
    with device.running(), nothing:
        cuda_launch.observers.append(note)
        for beside in ({}, {"residual": device.asarray(case.dy)}):
            options = case.options | beside
            _, saved = kernels.batch_norm_forward(x, *vectors, **options)
            kernels.batch_norm_backward(dy, saved)
            kernels.batch_norm_inference(x, *vectors, **options)
    return given
