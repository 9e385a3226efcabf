"""A GPU whose memory runs out, or whose compiler fails, in the middle of a step: it is told with
kernel, dtype and remedy, and what a user sees is as before or complete, never half."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from onepass import kernels
from onepass.backend.failures import Explained
from onepass.kernels.batch_norm import backward, forward, gradient_places
from onepass.kernels.batch_norm import channel_vectors as vectors
from onepass.kernels.batch_norm.contract import NOWHERE
from onepass.kernels.batch_norm.gradient_places import PLACES
from onepass.kernels.compiling.gpu import cuda_launch
from onepass.kernels.rule_engines import all_or_none as gpu
from onepass.kernels.rule_engines import array
from onepass.kernels.rule_engines.base import Engine
from onepass.nets import (
    SGD,
    Adadelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    AMSGrad,
    BatchNorm,
    Dense,
    Lion,
    Momentum,
    NAdam,
    RAdam,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
)

from proving.absence.every_failure import (
    ENGINES,
    FAILURES,
    check_every_failure,
    failure,
    on_host,
    strided,
)
from proving.absence.made_up_gpu import Machine

OPTIMIZERS = [SGD, Momentum, AdaGrad, RMSprop, Adam, AdamW, AMSGrad, NAdam, RAdam, Adamax]
OPTIMIZERS += [Adadelta, Lion]


# --- an optimizer's step over arrays that lie apart -----------------------------------------------
SHAPES = [("float32", (5,)), ("float16", (3, 4)), ("float64", ()), ("float32", (2,)),
          ("float16", (0,)), ("float64", (2, 3))]  # fmt: skip


class Step:
    """An optimizer on a machine, its parameters and gradients.

    Args:
        kind, engine: of the optimizer.
        views: strided arrays too.
        steps: taken before the one that is tried; the variant with weight decay is new code then.
    """

    def __init__(self, machine, kind, engine, views, steps):
        shapes = SHAPES if steps == 0 else SHAPES[:3]
        self.params, self.grads = (
            {str(k): machine.draw(shape, dtype) for k, (dtype, shape) in enumerate(shapes)}
            for _ in range(2)
        )
        for arrays in (self.params, self.grads) if views else ():
            arrays["columns"] = strided(machine, (4, 3), "float32")
            arrays["more"] = strided(machine, (3,), "float16")
            arrays["every other"] = strided(machine, (5,), "float32")
            arrays["a row"] = machine.draw((4, 5), "float64")[::2][:1]  # contiguous, odd strides
        self.optimizer = kind(self.params, lr=0.5, weight_decay=0.0, engine=engine)
        for _ in range(steps):
            self.take()
        if steps:
            self.optimizer.weight_decay = 0.25

    def take(self):
        self.optimizer.step(self.grads)

    def seen(self):
        arrays = [*self.params.values(), *self.grads.values()]
        arrays += itertools.chain(*self.optimizer._state.values())
        return self.optimizer.steps, [each.get().tobytes() for each in arrays]


def check_step(kind, engine, views=False, steps=0):
    return check_every_failure(
        lambda machine: Step(machine, kind, engine, views, steps),
        Step.seen,
        Step.take,
        f"engine '{engine}'",
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_over_many_arrays_is_never_half(kind, engine):
    tried = check_step(kind, engine)
    assert tried["compile"] >= 3, "float16, float32 and float64 are code of their own"
    assert tried["memory"] >= 2, "for copies of what goes ahead, tables of chunks, or for results"


@pytest.mark.parametrize("engine", ["array", ENGINES[1]])
@pytest.mark.parametrize("kind", [SGD, AMSGrad])
def test_nor_is_one_over_views_with_gaps(kind, engine):
    assert check_step(kind, engine, views=True)["compile"] > 6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_nor_is_a_later_step_that_takes_new_code(kind, engine):
    assert check_step(kind, engine, steps=2)["compile"] >= (engine != "array")


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_what_was_compiled_is_not_copied_again(engine):
    with Machine().installed() as machine:
        step = Step(machine, Adam, engine, False, 1)
        step.optimizer.weight_decay = 0.0
        machine.fail("memory", 1)
        step.take()
        assert step.optimizer.steps == 2


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_after_warmup_a_step_compiles_nothing(engine):
    with Machine().installed() as machine:
        params, grads = ([machine.draw(7, f"float{n}") for n in (16, 32, 64)] for _ in range(2))
        optimizer = Adam(params, engine=engine)
        kernels.warmup(("float16", "float32", "float64"), engine, rules=["adam"])
        machine.fail("compile", 1)
        optimizer.step(grads)
        optimizer.weight_decay = 0.1
        optimizer.step(grads)
        assert optimizer.steps == 2


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_softmax_cross_entropy_is_never_half(engine):
    def run(things):
        logits, labels = things[:2]
        things[2:] = kernels.softmax_cross_entropy(logits, labels, out=logits, engine=engine)[:1]

    tried = check_every_failure(
        lambda machine: [machine.draw((3, 4), "float16"), machine.array(np.array([0, 3, 1]))],
        lambda things: [each.get().tobytes() for each in things],
        run,
        "softmax_cross_entropy",
        "float16 arrays",
    )
    assert min(tried.values()) >= 1 + (engine != "cupy")  # which is one kernel


@pytest.mark.parametrize("engine", ENGINES[:2])
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_norms_are_never_half(engine, way):
    """In the place of x, and of dy."""

    def make(machine):
        things = [machine.draw((5, 6), "float32"), *(machine.draw(6, "float32") for _ in range(2))]
        if way == "backward":
            _, saved = kernels.layer_norm_forward(*things, engine=engine)
            things = [machine.draw((5, 6), "float32"), saved]
        return things

    def run(things):
        getattr(kernels, f"layer_norm_{way}")(*things, out=things[0], engine=engine)

    def seen(things):
        return things[0].get().tobytes()

    tried = check_every_failure(make, seen, run, f"layer_norm_{way}", "float32 arrays")
    assert min(tried.values()) >= (1 if way == "forward" else 2)


@pytest.mark.parametrize("engine", ENGINES[:2])
def test_clipping_that_finds_no_memory_is_told_too(engine):
    def clipped(machine):
        step = Step(machine, SGD, engine, False, 0)
        step.optimizer.clip_norm = 0.5
        return step

    tried = check_every_failure(clipped, Step.seen, Step.take)
    assert tried["memory"] > check_step(SGD, engine)["memory"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", ["sgd_step", "amsgrad_step"])
def test_a_step_of_one_array_is_never_half(name, dtype, engine):
    count, options = (2, {}) if name == "sgd_step" else (5, {"step": 3})
    for layout in [Machine.draw] if engine == "numba-cuda" else [Machine.draw, strided]:
        check_every_failure(
            lambda machine: [layout(machine, (4, 3), dtype) for _ in range(count)],  # noqa: B023
            lambda arrays: [each.get().tobytes() for each in arrays],
            lambda arrays: getattr(kernels, name)(*arrays, lr=0.5, engine=engine, **options),
            f"engine '{engine}'",
            f"{dtype} arrays",
            name.removesuffix("_step"),
        )


def one_after_another(self, rule, calls, *more):
    with Explained(rule.name, calls[0][0], self.name):
        Engine.run_each(self, rule, calls, *more)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_that_are_taken_one_after_another_are_seen_to_be_half(monkeypatch, engine):
    monkeypatch.setattr(gpu.GpuEngine, "run_each", one_after_another)
    monkeypatch.setattr(array.ArrayEngine, "run_each", one_after_another)
    with pytest.raises(AssertionError, match="half done where"):
        check_step(Adam, engine, views=engine == "cupy")  # whose chunks are no steps of their own


@pytest.mark.hostcuda
@on_host
def test_launches_of_chunks_that_are_not_compiled_before_the_first_are_seen_to_be_half(monkeypatch):
    monkeypatch.setattr(cuda_launch.RawKernel, "compile", lambda kernel: None)
    with pytest.raises(AssertionError, match="half done where compile"):
        check_step(Adam, "cupy")


def test_a_copy_into_gaps_that_was_not_tried_before_is_seen_to_be_half(monkeypatch):
    monkeypatch.setattr(array, "_ready", lambda arrays, results: results)
    with pytest.raises(AssertionError, match="half done where compile"):
        check_step(Adam, "array", views=True)


# --- batch normalization --------------------------------------------------------------------------
class Pass:
    """Arrays of a batch normalization on a machine, and one of its passes.

    Args:
        name: "forward", "backward", "inference" or "inference_backward".
        out: which array the result replaces, None for a new one.
        dtypes: of the arrays, gamma and beta, and the running statistics.
        gaps: running statistics, and places of gradients, with gaps between them.
        places: whether the gradients of gamma and beta have places of their own.
        residual: whether there is one; in a backward, which array its gradient replaces.
        more: further options.
    """

    def __init__(
        self, machine, name, engine, out, dtypes, activation, gaps=False, shape=(4, 3, 2),
        places=False, residual=False, **more
    ):  # fmt: skip
        x, dy = (machine.draw(shape, dtypes[0], -2.0) for _ in range(2))
        gamma, beta = (machine.draw(shape[1], dtypes[1]) for _ in range(2))
        running = [machine.draw((shape[1], 1 + gaps), dtypes[2])[:, 0] for _ in range(2)]
        self.arrays = {"x": x, "dy": dy, "gamma": gamma, "beta": beta}
        self.arrays |= dict(zip(("mean", "var"), running, strict=True))
        self.name, self.results = name, ()
        self.options = {"engine": engine, **more}
        turned = machine.draw((shape[1], *shape[:1], *shape[2:]), dtypes[0])
        self.arrays["another order"] = turned.transpose(1, 0, *range(2, len(shape)))
        if residual:
            self.arrays["residual"] = machine.draw(shape, dtypes[0], -2.0)
        if out:
            self.options["out"] = self.arrays[out]
        if places:
            for place in PLACES:
                self.arrays[place] = machine.draw((shape[1], 1 + gaps), dtypes[1])[:, 0]
                self.options[place] = self.arrays[place]
        beside = {}
        if residual:
            beside["residual"] = self.arrays["residual"]
            if name == "backward":
                self.options["residual_grad"] = self.arrays[residual]
            else:
                self.options |= beside
        if name != "backward":
            self.given = (x, gamma, beta, *running)
            if name == "inference_backward":
                self.given = dy, *self.given
            self.options["activation"] = activation
        else:
            _, self.saved = kernels.batch_norm_forward(
                x, gamma, beta, activation=activation, engine=engine, merge=more.get("merge"),
                **beside
            )  # fmt: skip
            self.given = dy, self.saved

    def take(self):
        results = getattr(kernels, f"batch_norm_{self.name}")(*self.given, **self.options)
        results = results if isinstance(results, tuple) else (results,)
        self.results = results[:1] if self.name == "forward" else results

    def seen(self):
        arrays = [*self.arrays.values(), *self.results]
        overwritten = self.name == "backward" and self.saved.overwritten
        return overwritten, [each.get().tobytes() for each in arrays]


FLOATS = {
    "float32": ("float32",) * 3,
    "float16": ("float16",) * 3,
    "float16 beside float32": ("float16", "float32", "float32"),
}
PASSES = [("forward", None), ("forward", "x"), ("backward", None), ("backward", "dy"),
          ("backward", "x"), ("inference", None), ("inference", "x"),
          ("inference_backward", None), ("inference_backward", "dy"),
          *((name, "another order") for name in ("forward", "backward", "inference",
                                                 "inference_backward"))]  # fmt: skip


def check_pass(name, engine, out=None, floats="float32", activation="relu", **more):
    return check_every_failure(
        lambda machine: Pass(machine, name, engine, out, FLOATS[floats], activation, **more),
        Pass.seen,
        Pass.take,
        f"engine '{engine}'",
        f"{FLOATS[floats][0]} arrays",
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("floats", FLOATS)
@pytest.mark.parametrize(("name", "out"), PASSES)
def test_a_batch_normalization_is_never_half(name, out, floats, engine):
    tried = check_pass(name, engine, out, floats)
    launches = {"forward": 3, "backward": 3, "inference": 1, "inference_backward": 3}[name]
    if engine == "cupy" and launches == 3 and name != "inference_backward":
        launches = 2
    assert tried["compile"] >= launches
    assert tried["memory"] >= launches - (out is not None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "out", "residual"),
    [("forward", "residual", True), ("inference", "another order", True),
     ("backward", None, "dy"), ("backward", "dy", "residual"), ("backward", "x", "residual"),
     ("backward", None, "another order")],
)  # fmt: skip
def test_nor_is_one_with_a_residual(name, out, residual, engine):
    check_pass(name, engine, out, residual=residual)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(2, 1), (5, 1, 3), (1, 3, 4), (6, 3)])
def test_nor_is_one_of_another_shape_or_with_gaps(shape, engine):
    check_pass("forward", engine, activation=None, shape=shape)
    check_pass("forward", engine, "x", floats="float16", gaps=True, shape=shape)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("out", [None, "another order"])
@pytest.mark.parametrize("floats", FLOATS)
def test_nor_is_one_that_keeps_the_biased_variance(floats, out, engine):
    check_pass("forward", engine, out, floats, running_var_ddof=0)


def of_two_ranks(values):
    """The merge of a rank beside one that has the same values; it never fails."""
    return values.machine.array(np.stack([values.get()] * 2))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("out", "floats"),
    [(None, "float32"), ("x", "float16"), ("another order", "float16 beside float32")],
)
def test_nor_is_one_over_ranks(out, floats, engine):
    check_pass("forward", engine, out, floats, merge=of_two_ranks)
    check_pass("backward", engine, out, floats, merge=of_two_ranks, places=True)


EARLIER = ("float32", None, False, (4, 3, 2))
LATER = {
    "one channel": ("float32", None, False, (4, 1, 2)),
    "one channel with gaps": ("float32", None, True, (4, 1, 2)),
    "one sample": ("float32", None, False, (1, 3, 2)),
    "no more axes": ("float32", None, False, (4, 3, 1)),
    "ReLU": ("float32", "relu", False, (4, 3, 2)),
    "gaps": ("float32", None, True, (4, 3, 2)),
    "float16": ("float16 beside float32", None, False, (4, 3, 2)),
    "all float16": ("float16", None, False, (4, 3, 2)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("later", LATER)
def test_nor_is_one_that_takes_other_code_than_an_earlier_one(later, engine):
    def made(machine, floats, *more):
        return Pass(machine, "forward", engine, "x", FLOATS[floats], *more)

    def after_another(machine):
        earlier = LATER["float16"] if later == "all float16" else EARLIER
        made(machine, *earlier).take()
        return made(machine, *LATER[later])

    check_every_failure(after_another, Pass.seen, Pass.take)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("name", "out"), PASSES)
def test_nor_is_one_whose_blocks_keep_all_values(monkeypatch, name, out, whole):
    monkeypatch.setattr(Machine, "whole", whole)
    places = name.endswith("backward")
    check_pass(name, "cupy", out, places=places)
    check_pass(name, "cupy", out, "float16", gaps=True, places=places)


@pytest.mark.parametrize(("engine", "floats", "gaps"), [
    ("numba-cuda", "float32", False), ("cupy", "float16", False), ("cupy", "float32", True),
])  # fmt: skip
def test_running_statistics_that_are_averaged_in_place_are_seen_to_be_half(
    monkeypatch, engine, floats, gaps
):
    """By "cupy" those that it can't take as they are: else one launch writes them and y."""
    monkeypatch.setattr(forward, "new_code", lambda *_: None)
    with pytest.raises(AssertionError, match="half done where compile"):
        check_pass("forward", engine, "x", floats, gaps=gaps)


def test_other_copies_that_were_not_tried_are_seen_to_be_half(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "write_back", lambda *_: None)  # as running_of tries it
        with pytest.raises(AssertionError, match="half done where compile"):
            check_pass("forward", "array", "x", gaps=True)
    nothing = gradient_places.Landing(NOWHERE, NOWHERE)
    monkeypatch.setattr(backward, "landing_of", lambda *_: nothing)
    with pytest.raises(AssertionError, match="half done where"):
        check_pass("backward", "array", "dy", floats="float16")


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_second_forward_averages_in_place(engine):
    """The copies of the first time cost memory, but no more than once; "cupy" needs none."""
    with Machine().installed() as machine:
        taken = []
        for _ in range(2):
            forward = Pass(machine, "forward", engine, None, FLOATS["float32"], None)
            machine.fail("memory", 1_000)
            forward.take()
            taken.append(1_000 - machine.left["memory"])
        assert taken[0] == taken[1] + (0 if engine == "cupy" else 2)


# --- training -------------------------------------------------------------------------------------
def training(device):
    rng = np.random.default_rng(2)
    data = rng.random((12, 4), dtype="float32"), rng.integers(0, 3, 12)
    norm = BatchNorm(5, activation="relu")
    net = Sequential(Dense(4, 5, bias=False), norm, Dense(5, 3), device=device)
    optimizer = Adam(net.parameters(), lr=0.1)
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": optimizer, "epochs": 1}
    return net, optimizer, lambda: fit(net, data, batch_size=4, progress=False, **options)


def trained(net, optimizer):
    return net.state_dict()["0.weight"], *optimizer.state_dict()["state"]["m"].values()


@pytest.mark.hostcuda
@on_host
def test_training_on_the_made_up_gpu_is_that_on_the_cpu():
    net, optimizer, train = training("cpu")
    train()
    with Machine().installed():
        other, others, train = training("cuda")
        train()
        for a, b in zip(trained(net, optimizer), trained(other, others), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.hostcuda
@on_host
@pytest.mark.parametrize("what", FAILURES)
def test_training_that_fails_has_taken_whole_steps(what, monkeypatch):
    """Wherever it fails: parameters and states are those after as many steps as are counted."""
    after = []
    step = Adam.step

    def noted(optimizer, *args, **options):
        step(optimizer, *args, **options)
        after.append([array.tobytes() for array in trained(net, optimizer)])

    with monkeypatch.context() as patch, Machine().installed():
        patch.setattr(Adam, "step", noted)
        net, optimizer, train = training("cuda")
        after.append([array.tobytes() for array in trained(net, optimizer)])
        train()
    failed = set()
    for n in itertools.count(1, 7 if what == "memory" else 1):
        with Machine().installed() as machine:
            net, optimizer, train = training("cuda")
            machine.fail(what, n)
            raised = failure(train)  # CuPy's own error where it is not our kernel that fails
            if not raised:
                break
            failed.add((type(raised), optimizer.steps))
            machine.recover()
            now = [array.tobytes() for array in trained(net, optimizer)]
            assert now == after[optimizer.steps]
    assert FAILURES[what] in {error for error, _ in failed}
    assert {steps for _, steps in failed} >= ({0, 1, 2} if what == "memory" else {0})


@pytest.mark.parametrize("what", FAILURES)
def test_a_network_is_loaded_and_moved_as_a_whole(what):
    def state(net):
        return {name: value.tobytes() for name, value in net.state_dict().items()}

    x, tried = np.ones((2, 4), "float32"), 0
    for n in itertools.count(1):
        with Machine().installed() as machine:
            net, other = (training(device)[0] for device in ("cuda", "cpu"))
            before, other_before = state(net), other.forward(x)
            machine.fail(what, n)
            loading = failure(net.load_state_dict, {k: v + 1 for k, v in net.state_dict().items()})
            machine.fail(what, n)
            moving = failure(other.to, "cuda")
            machine.recover()
            assert (state(net) == before) == bool(loading)
            output = other.forward(x)
            output = output if isinstance(output, np.ndarray) else output.get()
            np.testing.assert_allclose(output, other_before, rtol=1e-5)
            tried += bool(loading) + bool(moving)
        if not loading and not moving:
            break
    assert tried >= 6 or what == "compile"
