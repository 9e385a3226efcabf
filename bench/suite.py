"""The sections of the suite, and what a quick, a default and a full run measure of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .cases import sizes
from .cases.batch_norm import BLOCKS, CHANNELS_LAST, DENSE, IMAGES, LARGE, TALL, NormCase
from .cases.data_sets import data_sets, made_up
from .cases.row_norms import GROUPS, ROWS, SMALL_ROWS, RowNormCase
from .cases.row_norms import VALUES as ROW_NORMS
from .cases.steps import CASES
from .cases.tables import TableCase, mnist, shipped, synthetic, texts
from .gpu.apart import OnTheGpu, OnTheHost
from .gpu.launch import Launch
from .gpu.softmax import SOFTMAX_SHAPES, Softmax
from .gpu.training_step import TrainingStep
from .measuring.rank_processes import RankGroups
from .measuring.timing import Effort
from .measuring.workload import Workload
from .workloads.first_call import PROGRAMS, FirstCall
from .workloads.kernels.activations import ACTIVATION_SHAPES, Activation, activations
from .workloads.kernels.batch_norm import DIRECTIONS, OPERATIONS, Norm
from .workloads.kernels.beside_blas import AFTER, AFTER_ONE, ALONE, BesideProduct
from .workloads.kernels.dropout import SHAPES, Dropout, dropouts
from .workloads.kernels.growth import growths
from .workloads.kernels.optimizer_options import OptimizerOptions
from .workloads.kernels.row_norms import RowNorm
from .workloads.kernels.state_formats import FormatStep
from .workloads.kernels.steps import Step
from .workloads.kernels.tensors import FewTensors, Tensors
from .workloads.training.busy import SITUATIONS, BusyEpoch
from .workloads.training.epochs import Epoch
from .workloads.training.estimators import EstimatorEpoch
from .workloads.training.ranks import Exchange, Meeting, Overlap, RankedStep, Update
from .workloads.training.step_parts import PARTS, WHOLE, StepPart
from .workloads.vectorize import Logistic

MODES = ("small", "quick", "default", "full")
"""What `Choice.mode` can be. "small" has a bit of everything, to see that it runs."""

EFFORTS = {
    "small": Effort(rounds=1, block=0.0, least=1),
    "quick": Effort(rounds=3, block=1e-3, least=1),
    "default": Effort(rounds=5, block=2e-3, least=1),
    "full": Effort(rounds=9, block=3e-3, least=1),
}


@dataclass(frozen=True)
class Choice:
    """What to measure.

    Attributes:
        mode: one of MODES.
        device: "cpu", "cuda" or "cuda:N".
        mnist: the folder of the four MNIST files; None leaves MNIST out.
    """

    mode: str = "default"
    device: str = "cpu"
    mnist: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; expected {', '.join(map(repr, MODES))}")

    @property
    def on_a_gpu(self) -> bool:
        return self.device != "cpu"

    def one(self, **by_mode: Iterable[Any]) -> tuple[Any, ...]:
        """What is given for the mode, or for the nearest shorter one."""
        shorter = MODES[MODES.index(self.mode) :: -1]
        return tuple(next((by_mode[mode] for mode in shorter if mode in by_mode), ()))


def _steps(choice: Choice) -> list[Workload]:
    names = choice.one(small=CASES, quick=("sgd", "adam"), default=CASES)
    elements, labels = sizes.STEPS, sizes.STEPS_BY_MODE[choice.mode]
    every = [(name, label) for name in CASES for label in ("1e4", "1e6", "1e7")]
    if choice.on_a_gpu:
        elements, labels = sizes.STEPS_ON_A_GPU, sizes.STEPS_ON_A_GPU_BY_MODE[choice.mode]
        every = [(name, "1e6") for name in CASES]
    least = next(iter(elements))
    wide = choice.one(
        small=((name, least) for name in CASES), quick=(), default=(("adam", "1e6"),), full=every
    )
    chosen = [(name, label, "float32") for name in names for label in labels]
    chosen += [(name, label, "float64") for name, label in wide]
    rows, columns = sizes.MATRIX
    small = [
        Step(CASES["adam"], f"{rows} x {columns}", rows * columns, "float32", shape=sizes.MATRIX),
        FewTensors(*sizes.FEW_TENSORS),
    ]
    return [
        *(
            Step(CASES[name], label, elements[label], dtype, choice.device)
            for name, label, dtype in chosen
        ),
        *(() if choice.on_a_gpu else small),
    ]


def _norms(choice: Choice) -> list[Workload]:
    cases = choice.one(
        small=(NormCase((16, 8, 4, 4)), NormCase((16, 4, 4, 8), -1), NormCase((16, 8))),
        quick=IMAGES[1:2],
        default=(*IMAGES[:2], CHANNELS_LAST[1], DENSE[0]),
        full=(*IMAGES, *CHANNELS_LAST, *DENSE, *TALL, *LARGE),
    )
    more = choice.one(small=cases, quick=(), default=IMAGES[1:2])
    beside = (NormCase((16, 8, 4, 4), residual=True), NormCase((16, 4, 4, 8), -1, True))
    blocks = choice.one(small=beside, quick=BLOCKS[1:2], default=BLOCKS[:2], full=BLOCKS)
    operations = dict.fromkeys(cases, OPERATIONS)
    if choice.on_a_gpu:  # every shape of which something is promised there
        promised = (*IMAGES, *CHANNELS_LAST, *DENSE, *LARGE)
        others = choice.one(small=(), quick=LARGE, default=promised)
        operations = dict.fromkeys(others, DIRECTIONS) | operations
    return [
        *(
            Norm(case, what, device=choice.device)
            for case, some in operations.items()
            for what in some
        ),
        *(
            Norm(case, what, dtype, choice.device, activation)
            for case in more
            for dtype, activation in (("float32", "relu"), ("float64", None), ("float64", "relu"))
            for what in OPERATIONS
        ),
        *(
            Norm(case, what, device=choice.device, activation="relu")
            for case in blocks
            for what in (*DIRECTIONS, "forward+backward")
        ),
    ]


def _row_norms(choice: Choice) -> list[Workload]:
    shapes = choice.one(small=((16, 8),), quick=ROWS[:1], default=(*ROWS, SMALL_ROWS))
    groups = choice.one(
        small=(RowNormCase("group_norm", (4, 8, 3, 3), 2),), quick=(), default=(GROUPS,)
    )
    rows = [RowNormCase(kind, shape) for kind in ("layer_norm", "rms_norm") for shape in shapes]
    return [RowNorm(case, what, choice.device) for case in (*rows, *groups) for what in ROW_NORMS]


def _elementwise(choice: Choice) -> list[Workload]:
    small = ((16, 8),)
    shapes = choice.one(small=small, quick=SHAPES[:1], default=SHAPES)
    wide = choice.one(small=small, quick=ACTIVATION_SHAPES[:1], default=ACTIVATION_SHAPES)
    return [*activations(wide, choice.device), *dropouts(shapes, choice.device)]


def _tensors(choice: Choice) -> list[Workload]:
    count, length = choice.one(small=(30, 35), quick=(sizes.TENSORS, sizes.TENSOR_SIZE))
    return [Tensors(count, length, choice.device)]


def _optimizers(choice: Choice) -> list[Workload]:
    small, quick = {"1e3": 1000}, {"1e6": 10**6}
    every = {"1e4": 10**4, "1e5": 10**5, "1e6": 10**6, "1e7": 10**7}
    chosen = choice.one(small=small.items(), quick=quick.items(), default=every.items())
    return [OptimizerOptions(label, size, choice.device) for label, size in chosen]


def _state_formats(choice: Choice) -> list[Workload]:
    names = choice.one(small=("adam", "lion"), quick=("adam",), default=sizes.FORMATS)
    labels = choice.one(small=("1e3",), quick=("1e6",), default=sizes.FORMATS_BY_SIZE)
    return [
        FormatStep(CASES[name], label, sizes.STEPS[label], choice.device)
        for name in names
        for label in labels
        if name == "adam" or label not in ("1e4", "1e5")
    ]


def _growth(choice: Choice) -> list[Workload]:
    return list(
        choice.one(small=growths(choice.device)[::5], quick=(), default=growths(choice.device))
    )


def _beside_blas(choice: Choice) -> list[Workload]:
    return [
        BesideProduct(situation, label, size)
        for label, size in sizes.BESIDE_PRODUCT.items()
        for situation in (ALONE, AFTER, AFTER_ONE)
    ]


def _vectorize(choice: Choice) -> list[Workload]:
    shapes = choice.one(small=sizes.LOGISTIC[:1], quick=sizes.LOGISTIC[:2], default=sizes.LOGISTIC)
    return [Logistic(*shape) for shape in shapes]


def _first_call(choice: Choice) -> list[Workload]:
    every = list(PROGRAMS)
    cached = choice.one(small=every[:1], quick=every[1:2], default=every[:2], full=every)
    cold = choice.one(small=(), default=every[1:2], full=every[1:])
    return [*map(FirstCall, cached), *(FirstCall(what, cold=True) for what in cold)]


def _training(choice: Choice) -> list[Workload]:
    digits = choice.one(small=(128,), quick=(16,), default=(16, 128))
    (compiled,) = choice.one(small=(False,), default=(True,))
    return [
        Epoch(data, batch, compiled)
        for data in data_sets(choice.mnist)
        for batch in (digits if data.name == "digits" else (128, 16))
    ]


def _step_parts(choice: Choice) -> list[Workload]:
    (samples,) = choice.one(small=(sizes.SMALL,), quick=(sizes.STEP_PARTS,))
    data, parts = made_up(samples), choice.one(small=("products", WHOLE), quick=(*PARTS, WHOLE))
    return [StepPart(data, batch, part) for batch in (128, 16) for part in parts]


def _busy(choice: Choice) -> list[Workload]:
    (samples,) = choice.one(small=(sizes.SMALL,), quick=(sizes.BUSY,))
    data, (more,) = made_up(samples), choice.one(small=(False,), full=(True,))
    return [BusyEpoch(data, situation, more) for situation in SITUATIONS]


def estimator_tables(choice: Choice) -> list[TableCase]:
    """What estimators are measured on; nothing on a GPU."""
    if choice.on_a_gpu:
        return []
    if choice.mode == "small":
        few = [shipped(name, 150, 2, 2) for name in sizes.ESTIMATORS]
        few += [synthetic(600, 20, 2, 2), texts(150, 2, 2, ("numpy",))]
        return [replace(case, name=f"{case.name}, a few rows") for case in few]
    (seeds,) = choice.one(quick=(2,), default=(sizes.ESTIMATORS_SEEDS,))
    own = [shipped(name, rows, epochs, seeds) for name, (rows, epochs) in sizes.ESTIMATORS.items()]
    if choice.mode == "quick":
        return own
    images = [] if choice.mnist is None else [mnist(choice.mnist, *sizes.ESTIMATORS_MNIST)]
    return [*own, synthetic(*sizes.SYNTHETIC), texts(*sizes.TEXTS), *images]


def _estimators(choice: Choice) -> list[Workload]:
    return [EstimatorEpoch(case) for case in estimator_tables(choice)]


def _ranks(choice: Choice) -> list[Workload]:
    groups = RankGroups()
    small = choice.mode == "small"
    batches, epochs, calls = (2, 1, 2) if small else (sizes.RANKS_BATCHES, sizes.RANKS_EPOCHS, 15)
    exchanged = choice.one(small=[("1e4", 10_000)], quick=sizes.RANKS_EXCHANGED.items())
    updated = choice.one(small=[("1e4", 10_000)], quick=sizes.RANKS_UPDATED.items())
    at_once = choice.one(small=[("1e4", 10_000)], quick=sizes.RANKS_OVERLAPPED.items())
    return [
        RankedStep(groups, batches, epochs),
        Meeting(groups, 100 * calls),
        *(Exchange(groups, label, size, calls) for label, size in exchanged),
        *(Update(groups, label, size, calls) for label, size in updated),
        *(Overlap(groups, label, size) for label, size in at_once),
    ]


def _kernels(choice: Choice) -> list[Workload]:
    """Every rule and operation by the GPU's own time."""
    labels = choice.one(small=("1e3",), quick=("6.4e7",), default=("6.4e7", "1e6"))
    half = choice.one(small=(("sgd", "1e3"),), quick=(("sgd", "6.4e7"), ("adam", "6.4e7")))
    steps = [(name, label, "float32") for label in labels for name in CASES]
    steps += [(name, label, "float16") for name, label in half]
    few = (NormCase((16, 8, 4, 4)), NormCase((16, 4, 4, 8), -1), NormCase((16, 8)))
    norms = choice.one(small=few, quick=IMAGES, default=(*IMAGES, *CHANNELS_LAST, *DENSE, *LARGE))
    (rows, columns), *_ = choice.one(small=((16, 8),), quick=(sizes.ROWS_ON_A_GPU,))
    rest = [
        *(
            Activation((rows, columns), kind, what, choice.device)
            for kind in ("relu", "tanh")
            for what in ("forward", "backward")
        ),
        *(
            Softmax(shape, choice.device)
            for shape in choice.one(small=((16, 10),), quick=SOFTMAX_SHAPES)
        ),
    ]
    return [
        *(
            OnTheGpu(
                Step(CASES[name], label, sizes.STEPS_ON_A_GPU[label], dtype, choice.device),
                ("array", "cupy", "numba-cuda", "limit", "torch fused"),
            )
            for name, label, dtype in steps
        ),
        *(
            OnTheGpu(Norm(case, what, device=choice.device), _IN_ONE_CALL)
            for case in norms
            for what in DIRECTIONS
        ),
        *(OnTheGpu(work, _IN_ONE_CALL) for work in rest),
        OnTheGpu(Dropout((rows, columns), choice.device), _WITHOUT_EXPRESSIONS),
    ]


def _calls(choice: Choice) -> list[Workload]:
    """What the calls of a small network cost the host."""
    rows, columns = sizes.LAYER
    dense = NormCase((rows, columns))
    works = [
        Step(CASES["sgd"], "1e3", 1_000, "float32", choice.device),
        Step(CASES["adam"], "1e3", 1_000, "float32", choice.device),
        *(Norm(dense, what, device=choice.device) for what in (*DIRECTIONS, "inference")),
        Activation((rows, columns), "relu", "forward", choice.device),
        Activation((rows, columns), "relu", "backward", choice.device),
        Softmax(SOFTMAX_SHAPES[0], choice.device),
    ]
    paths = ("array", "cupy", "numba-cuda", "torch", "torch fused")
    return [
        OnTheHost(Launch(choice.device)),
        *(OnTheHost(work, paths) for work in works),
        OnTheHost(Dropout((rows, columns), choice.device), _WITHOUT_EXPRESSIONS),
    ]


def _training_steps(choice: Choice) -> list[Workload]:
    (samples,) = choice.one(small=(sizes.SMALL,), quick=(sizes.TRAINING_ON_A_GPU,))
    return [TrainingStep(samples, device=choice.device)]


_WITHOUT_EXPRESSIONS = ("cupy", "numba-cuda", "limit", "torch")
_IN_ONE_CALL = ("array", "cupy", "numba-cuda", "limit", "torch")

Maker = Callable[[Choice], list[Workload]]

ON_ANY_DEVICE: dict[str, Maker] = {
    "steps": _steps,
    "batch-norm": _norms,
    "norms": _row_norms,
    "elementwise": _elementwise,
    "tensors": _tensors,
    "optimizers": _optimizers,
    "state-formats": _state_formats,
    "growth": _growth,
}
ON_THE_CPU: dict[str, Maker] = {
    "beside-blas": _beside_blas,
    "vectorize": _vectorize,
    "first-call": _first_call,
    "training": _training,
    "step-parts": _step_parts,
    "busy": _busy,
    "estimators": _estimators,
    "ranks": _ranks,
}
ON_A_GPU: dict[str, Maker] = {
    "calls": _calls,
    "kernels": _kernels,
    "training-steps": _training_steps,
}
SECTIONS = (*ON_ANY_DEVICE, *ON_THE_CPU, *ON_A_GPU)
LONG = ("busy", "estimators", "ranks", "state-formats")
"""Sections of a full run, and of those that name them."""


def workloads(section: str, choice: Choice) -> list[Workload]:
    """What a section has for this choice; nothing if it is about the other kind of device."""
    if section in ON_ANY_DEVICE:
        return ON_ANY_DEVICE[section](choice)
    there = ON_A_GPU if choice.on_a_gpu else ON_THE_CPU
    return there[section](choice) if section in there else []
