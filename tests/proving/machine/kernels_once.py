"""Every CUDA kernel of the library once or a few times, small, held to the oracle: for a sanitizer.

    compute-sanitizer --tool memcheck python -m proving.machine.kernels_once --engine cupy
    python -m proving.machine.kernels_once --engine numba --device cpu    # a rehearsal, no GPU
    compute-sanitizer --tool memcheck python -m proving.machine.kernels_once --plant memcheck

It ends with 1 if a kernel that ships was not launched, or a result is off. --plant launches one
with the mistake that a tool is there to find: a tool that stays silent has looked at nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cases import activation as activation_cases
from cases import lists as list_cases
from cases import norms as norm_cases
from cases import softmax as softmax_cases
from cases import state_formats as format_cases
from cases.batch_norm import assert_batch_norm, assert_summed, given_options, make
from oracles import batch_norm as batchnorm
from oracles import dropout as dropout_oracle
from oracles.rules import RULES
from tolerances import DTYPES, GPU_FACTOR, assert_close, assert_step, signed

from proving import account as proof
from proving import layouts as format_layouts
from proving import norm_passes

# rule -> the public function that runs it, and the options that choose the rule
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("sgd_step", {}),
    "momentum": ("momentum_step", {"form": "averaged"}),
    "nesterov": ("momentum_step", {"nesterov": True}),
    "adagrad": ("adagrad_step", {"eps": 1e-2}),
    "rmsprop": ("rmsprop_step", {"eps": 1e-2}),
    "rmsprop-momentum": ("rmsprop_step", {"alpha": 0.5, "eps": 1e-2, "momentum": 0.8}),
    "rmsprop-centered": (
        "rmsprop_step",
        {"eps": 1e-2, "eps_inside_sqrt": True, "centered": True},
    ),
    "rmsprop-centered-momentum": (
        "rmsprop_step",
        {"alpha": 0.9, "eps": 1e-2, "centered": True, "momentum": 0.8},
    ),
    "adam": ("adam_step", {"eps": 1e-2}),
    "amsgrad": ("amsgrad_step", {"eps": 1e-2}),
    "nadam": ("nadam_step", {"eps": 1e-2}),
    "radam": ("radam_step", {"eps": 1e-2}),
    "adamax": ("adamax_step", {"eps": 1e-2}),
    "adadelta": ("adadelta_step", {"eps": 1e-2}),
    "lion": ("lion_step", {}),
}
EXTRAS = ({}, {"weight_decay": 0.05, "maximize": True, "grad_scale": 0.7})
SIZES = (1, 31, 257, 1023)
ENCODED = (257, 5003)
ACTIVATION_SHAPES = ((1, 31), (33, 7), (1023,), (5000, 32))  # the last one's sums in parts
# a thread's, some lanes', a warp's and a block's rows; the last one is read again
SOFTMAX_WIDTHS = (1, 3, 10, 33, 100, 257, 1000, 1025, 5000, 40_000)
# the same of operations over rows, some of them in several parts of several rows
ROW_SHAPES = ((300, 3), (4099, 64), (33, 100), (67, 768), (3, 1023), (5, 50_000))
GROUP_SHAPES = ((5, 6), (3, 8, 7, 7), (3, 8, 56, 56), (2, 4, 12_500))
# long and short runs of a channel, whole and cut into parts; channels that fill no warp
SHAPES = {
    "rows": ((33, 7), 1),
    "rows in parts": ((2100, 33), 1),
    "rows of packs": ((300, 32), 1),
    "rows of packs in parts": ((2100, 32), 1),
    "images": ((3, 5, 7, 9), 1),
    "images in parts": ((9, 3, 31, 33), 1),
    "images of packs": ((3, 5, 8, 8), 1),
    "images of packs in parts": ((9, 3, 64, 64), 1),
    "images of half packs": ((3, 5, 6, 6), 1),
    "rows of half packs in parts": ((2100, 50), 1),
    "short runs": ((5, 33, 2, 3), 1),
    "channels last": ((6, 11, 33), -1),
}


class Where:
    """An engine, and how arrays get to its device and back."""

    def __init__(self, engine: str, device: str) -> None:
        from onepass import get_backend

        self.engine, self.backend = engine, get_backend(device)
        self.factor = 1.0 if device == "cpu" else GPU_FACTOR

    def kernel(self, name: str) -> Any:
        from onepass import kernels

        def run(*arrays: Any, **options: Any) -> Any:
            return getattr(kernels, name)(*arrays, engine=self.engine, **options)

        return run

    def asarray(self, array: Any) -> Any:
        return self.backend.asarray(np.array(array))

    def to_numpy(self, array: Any) -> Any:
        return self.backend.to_numpy(array)


def layouts(where: Where, values: Any) -> Iterator[tuple[str, Any]]:
    """The same values in memory of their own, up to its end: not aligned to 16 bytes, with gaps."""
    yield "", where.asarray(values)
    size = values.size
    views = [
        (" shifted", size + 1, slice(1, None)),
        (" strided", 2 * size - 1, slice(None, None, 2)),
    ]
    if where.engine == "numba-cuda":  # which takes contiguous arrays only
        del views[1]
    for name, length, part in views:
        with where.backend.scope():
            view = where.backend.xp.zeros(length, values.dtype)[part]
            view[...] = where.asarray(values)
        yield name, view


def steps(where: Where, dtype: str) -> Iterator[str]:
    """Run every rule; the name of each run."""
    draw = np.random.default_rng(0)
    for rule, (function, chosen) in STEPS.items():
        oracle = RULES[function]
        for extra in EXTRAS:
            options = {"lr": 0.1, **chosen, **extra}
            options |= {"step": 3} if "step" in oracle.options else {}
            for size in SIZES:
                names = oracle.arrays_with(options)
                values = {name: signed(draw, size, 0.25, 2.0, dtype) for name in names}
                values = {name: list_cases.plausible(name, a) for name, a in values.items()}
                made = {name: dict(layouts(where, array)) for name, array in values.items()}
                for layout in made["param"]:
                    what = f"{rule} {dtype} {size}{layout}"
                    assert_step(
                        where.kernel(function),
                        oracle,
                        {name: arrays[layout] for name, arrays in made.items()},
                        options,
                        factor=where.factor,
                        to_numpy=where.backend.to_numpy,
                        what=f" of {what}",
                    )
                    yield what


def lists(where: Where, dtype: str) -> Iterator[str]:
    """Run every rule on many arrays in one go, and their norm; the name of each run."""
    from onepass.kernels import global_norm
    from onepass.kernels.engine_table import Kept, find_engine
    from onepass.kernels.launch import launch_all

    for rule, (function, chosen) in STEPS.items():
        oracle = RULES[function]
        options = {"lr": 0.1, **chosen, **EXTRAS[1]}
        drawn = list_cases.draw(oracle, dtype, options=options)
        calls = [{name: where.asarray(array) for name, array in call.items()} for call in drawn]
        kept = Kept(len(calls) * len(drawn[0]))
        find_engine(where.engine, calls[0]["param"], True)  # whom later launches know at once

        def run(prepared: Any, columns: Any, kept: Kept = kept) -> None:
            launch_all(prepared, columns, where.engine, kept, lambda given: None)

        to_numpy, factor = where.backend.to_numpy, where.factor
        list_cases.check(run, function, oracle, options, calls, factor, to_numpy)
        yield f"{rule} {dtype} on {len(calls)} arrays"
    grads = [call["grad"] for call in calls]
    for some in (grads, grads[:1]):
        squares = [np.asarray(to_numpy(each), "float64") ** 2 for each in some]
        want = math.sqrt(math.fsum(np.concatenate(squares)))
        assert math.isclose(global_norm(some), want, rel_tol=1e-14)
        yield f"norm {dtype} of {len(some)} arrays"


def norms(where: Where, dtype: str) -> Iterator[str]:
    """Run batch normalization forward, backward and at inference; the name of each run."""
    for shape, axis in SHAPES.values():
        for activation, residual in ((None, False), ("relu", False), ("relu", True)):
            case = make(shape, axis, dtype=dtype, activation=activation, residual=residual)
            assert_batch_norm(
                where.kernel("batch_norm_forward"),
                where.kernel("batch_norm_backward"),
                case,
                factor=where.factor,
                asarray=where.asarray,
                to_numpy=where.backend.to_numpy,
            )
            _infer(where, case)
            beside = " and a residual" if residual else ""
            yield f"batch norm {shape} {dtype} {activation or ''}{beside}".rstrip()


def _infer(where: Where, case: Any) -> None:
    vectors = (case.gamma, case.beta, case.running_mean, case.running_var)
    given = [where.asarray(array) for array in (case.x, *vectors)]
    options, sizes = given_options(case, where.asarray), given_options(case, np.abs)
    y = where.backend.to_numpy(where.kernel("batch_norm_inference")(*given, **options))
    want = batchnorm.inference(case.x, *vectors, **case.options)
    x, gamma, beta, mean = (np.abs(array) for array in (case.x, *vectors[:3]))
    terms = batchnorm.inference(x, gamma, beta, -mean, case.running_var, **sizes)
    assert_summed(y, want, terms, str(case.x.dtype), where.factor, "y at inference")


def drops(where: Where, dtype: str) -> Iterator[str]:
    """Run dropout in every layout, into another array and in place; the name of each run."""
    draw, mask = np.random.default_rng(0), {"seed": 3 << 40 | 5, "draw": 7 << 33 | 1}
    for size in SIZES:
        values = signed(draw, size, 0.25, 2.0, dtype)
        want = dropout_oracle.dropout(values, 0.7, **mask)
        for layout, x in layouts(where, values):
            what = f"dropout {dtype} {size}{layout}"
            for out in (None, x):
                y = where.kernel("dropout")(x, 0.7, **mask, out=out)
                found = where.backend.to_numpy(y)
                assert_close(found, want, dtype, limit=1.5, what=what)
            yield what


def activations(where: Where, dtype: str) -> Iterator[str]:
    """Run every activation both ways, with a bias and without, in place too; each run's name."""
    for kind in activation_cases.KINDS:
        for shape in ACTIVATION_SHAPES:
            for biased in (True, False):
                case = activation_cases.make(shape, kind, dtype, biased=biased)
                for out in (False, True):
                    activation_cases.check(where, case, out)
                yield f"{kind} {shape} {dtype}{' biased' * biased}"


def softmaxes(where: Where, dtype: str) -> Iterator[str]:
    """Run softmax cross-entropy, in place too, in every share of a row; the name of each run."""
    for width in SOFTMAX_WIDTHS:
        for rows in (1, 67) if width < 2000 else (3,):
            case = softmax_cases.make((rows, width), dtype, weighted=rows > 1)
            softmax_cases.check(where, case)
            z, labels = where.asarray(case.logits), where.asarray(case.labels)
            found = where.kernel("softmax_cross_entropy")(z, labels, out=z)
            softmax_cases.assert_right(where, found, *case[:2])
            yield f"softmax {rows} {width} {dtype}"


def over_rows(where: Where, dtype: str) -> Iterator[str]:
    """Run norms both ways in every share of a row; the name of each run."""
    for name in norm_passes.PASSES:
        groups: dict[str, Any] = {"groups": 2} if name.startswith("group") else {}
        for shape in GROUP_SHAPES if groups else ROW_SHAPES:
            norm_cases.check(where, norm_passes.case_of(name, shape, dtype, **groups))
            yield f"{name} {shape} {dtype}"


# rule -> the optimizer that takes its steps
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("Momentum", {}),
    "nesterov": ("Momentum", {"nesterov": True}),
    "adagrad": ("AdaGrad", {"eps": 1e-2}),
    "rmsprop": ("RMSprop", {"eps": 1e-2}),
    "rmsprop-momentum": ("RMSprop", {"eps": 1e-2, "momentum": 0.8}),
    "rmsprop-centered": ("RMSprop", {"eps": 1e-2, "eps_inside_sqrt": True, "centered": True}),
    "rmsprop-centered-momentum": ("RMSprop", {"eps": 1e-2, "centered": True, "momentum": 0.8}),
    "adam": ("Adam", {"eps": 1e-2}),
    "amsgrad": ("AMSGrad", {"eps": 1e-2}),
    "nadam": ("NAdam", {"eps": 1e-2}),
    "radam": ("RAdam", {"eps": 1e-2}),
    "adamax": ("Adamax", {"eps": 1e-2}),
    "adadelta": ("Adadelta", {"eps": 1e-2}),
    "lion": ("Lion", {}),
}


def captured(where: Where, dtype: str) -> Iterator[str]:
    """Take steps of a network by every rule as a graph, beside the CPU's expressions; on a GPU."""
    if where.engine != "cupy":
        return
    for rule, (optimizer, options) in OPTIMIZERS.items():
        found, wanted = (
            _stepped(device, dtype, optimizer, {"engine": engine, **options})
            for device, engine in (("cuda", "auto"), ("cpu", "array"))
        )
        margin = 1e3 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(found, wanted, rtol=margin, atol=margin, err_msg=rule)
        yield f"captured {rule} {dtype}"


def _stepped(device: str, dtype: str, optimizer: str, options: dict[str, Any]) -> Any:
    """The parameters after steps on each of three batches."""
    from onepass import nets

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((48, 6)).astype(dtype), rng.integers(0, 4, 48)
    net = nets.Sequential(nets.Dense(6, 4), seed=0, dtype=dtype, device=device)
    made = getattr(nets, optimizer)(net.parameters(), lr=0.01, **options)
    history = nets.fit(
        net, (x, y), loss=nets.SoftmaxCrossEntropy(), optimizer=made, epochs=2, batch_size=16,
        progress=False,
    )  # fmt: skip
    assert device == "cpu" or history.path == "captured", history.path
    return net.backend.to_numpy(net.parameters().flat).astype("float64")


def encoded(where: Where, dtype: str) -> Iterator[str]:
    """Run steps on states in 16 and 8 bits; they compute in float32. The name of each run."""
    if dtype != "float32":
        return
    for name, layout in format_layouts.LAYOUTS.items():
        case, formats = format_cases.CASES[layout.rule.name], format_layouts.formats(layout)
        for block in format_layouts.blocks(layout):
            for size in ENCODED:
                arrays = format_cases.call_arrays(where, case, formats, size, block_size=block)
                for step in (1, 2):
                    format_cases.assert_encoded_step(where, case, arrays, step, 7, block)
                yield f"{name} {size} in blocks of {block}"


WORKS = (steps, lists, norms, drops, activations, softmaxes, over_rows, captured, encoded)
"""A kernel that ships and that none of these launches fails the program."""

PLANTED = {
    "memcheck": "x[n] = 1.0f;",  # past the end
    "racecheck": "s[threadIdx.x] = x[threadIdx.x]; x[threadIdx.x] = s[n - 1 - threadIdx.x];",
    "initcheck": "x[threadIdx.x] = y[threadIdx.x];",  # nobody has written y
    "synccheck": "if (threadIdx.x < n - 16) { s[threadIdx.x] = 0; __syncthreads(); }",
}


def plant(tool: str) -> None:
    """Launch a kernel with the mistake that `tool` finds."""
    import cupy

    text = (
        'extern "C" __global__ void planted(float *x, const float *y, int n) {'
        "extern __shared__ float s[]; " + PLANTED[tool] + " }"
    )
    x, y, n = cupy.zeros(64, "float32"), cupy.empty(64, "float32"), 64
    # A race needs two warps, and a barrier some of whose threads never come.
    cupy.RawKernel(text, "planted")((1,), (n,), (x, y, np.int32(n)), shared_mem=4 * n)
    cupy.cuda.runtime.deviceSynchronize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--engine", choices=("cupy", "numba-cuda", "array", "numba"))
    what.add_argument("--plant", choices=tuple(PLANTED))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: all")
    parser.add_argument("--json", type=Path, help="a file for what was launched")
    options = parser.parse_args()
    if options.device != "cpu":
        import cupy

        cupy.cuda.set_allocator(None)  # a pool's blocks would hide what is past an array's end
    if options.plant:
        plant(options.plant)
        return 0
    return run(options.engine, options.device, options.dtype or list(DTYPES), options.json)


def run(engine: str, device: str, dtypes: list[str], file: Path | None) -> int:
    """Run everything on an engine, and tell what was launched."""
    from onepass.kernels.rules import RULES as SHIPPED

    if set(STEPS) != set(SHIPPED):
        raise SystemExit(f"STEPS has {sorted(STEPS)}; expected every rule: {sorted(SHIPPED)}")
    proof.watch()
    where, runs = Where(engine, device), 0
    for dtype in dtypes:
        for work in WORKS:
            for _ in work(where, dtype):
                runs += 1
            _tell(file, engine, runs, *_launched(engine, dtypes))
        print(f"{engine} on {device}, {dtype}: {runs} runs so far", flush=True)
    launched, missing = _launched(engine, dtypes)
    mine = len(launched) + len(missing)
    told = f", {len(launched)} of {mine} kernels launched" if mine else ""
    print(f"{engine} on {device}: {runs} runs held to the oracle{told}")
    _tell(file, engine, runs, launched, missing)
    for kernel in missing:
        print(f"not launched: {' '.join(kernel)}")
    return 1 if missing else 0


Kernels = list[list[str]]


def _launched(engine: str, dtypes: list[str]) -> tuple[Kernels, Kernels]:
    """The engine's kernels of these dtypes that were launched so far, and the others."""
    of = {*dtypes, *(["uint16"] if "float32" in dtypes else [])}  # the upper halves of float32
    absent = {kernel for kernel in proof.missing(proof.GPU) if kernel.dtype in of}
    mine = [each for each in proof.shipped() if each.engine == engine and each.dtype in of]
    launched = [list(kernel) for kernel in mine if kernel not in absent]
    return launched, [list(kernel) for kernel in mine if kernel in absent]


def _tell(file: Path | None, engine: str, runs: int, launched: Kernels, missing: Kernels) -> None:
    """Write it, whole or not at all: the program may be ended at any time."""
    if file is None:
        return
    part = file.with_name(f"{file.name}.part")
    found = {"engine": engine, "runs": runs, "launched": launched, "missing": missing}
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main())
