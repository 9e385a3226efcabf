"""Compiling ahead, so that no training step does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..backend import Backend, EngineUnavailableError, get_backend
from ..backend.checks.numbers import flag
from .activation import activation_backward, activation_forward
from .activation.arguments import check_options
from .batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_inference
from .engine_table import find_engine
from .inverted_dropout import dropout as run_dropout
from .norms import (
    group_norm_backward,
    group_norm_forward,
    layer_norm_backward,
    layer_norm_forward,
    rms_norm_backward,
    rms_norm_forward,
)
from .rows.gpu.plan import EVERY_WIDTH
from .rule import Rule
from .rules import RULES
from .softmax import softmax_cross_entropy
from .softmax.gpu.plan import every_width
from .state_formats.formats import check_format, zero_state
from .state_formats.layout import FLOAT32
from .state_formats.step import Rounding, step_one


def warmup(
    dtypes: str | Iterable[str] = ("float32",),
    engine: str = "auto",
    rules: Iterable[str] | None = None,
    batch_norm: bool = False,
    softmax: bool = False,
    dropout: bool = False,
    activations: Iterable[str] = (),
    captured: bool = False,
    state_formats: Iterable[str] = (),
    norms: Iterable[str] = (),
) -> None:
    """Compile rules, and what else is asked for, now instead of at the first call.

    It takes seconds, batch normalization longest, and once: the machine code is kept on disk. What
    decides on the steps of a `LossScaler` is compiled at the first.

    Args:
        dtypes: one or several of "float16", "float32", "float64".
        engine: one engine's name; "auto" means the one that "auto" picks on the current device.
        rules: names of rules; all by default.
        batch_norm: forward, backward and inference, with and without ReLU, too; by "cupy" those of
            small arrays whose rows or images are multiples of sixteen bytes, or odd, since others
            have code of their own. With a residual they are compiled at the first call.
        softmax: softmax cross-entropy too, of any number of classes, without smoothed labels.
        dropout: dropout too.
        activations: kinds of `activation_forward` too, such as "relu": both ways, with a bias and
            without.
        captured: what captured steps have for themselves too, by "cupy": the choice of a batch's
            rows, and what decides on a step of one group of parameters, with `clip_norm` too.
        state_formats: "bfloat16", "8bit", or both: rules with all of their states so, too, for
            parameters of float32; on a GPU in blocks of 256.
        norms: "layer_norm", "rms_norm", "group_norm", or several, too: both ways, with gamma and
            beta, with a residual and without, no activation; by "cupy" those whose rows, or places
            of a channel, are multiples of sixteen bytes, or odd.

    Raises:
        ValueError: an unknown rule, dtype, activation, format, norm or engine.
        EngineUnavailableError: the engine can't be used here.
    """
    names = list(RULES if rules is None else rules)
    for name in names:
        if name not in RULES:
            raise ValueError(f"rules holds {name!r}; expected {', '.join(map(repr, RULES))}")
    dtypes = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    for dtype in dtypes:
        if dtype not in ("float16", "float32", "float64"):
            raise ValueError(f"dtypes holds {dtype!r}; expected 'float16', 'float32' or 'float64'")
    flag("batch_norm", batch_norm)
    flag("softmax", softmax)
    flag("dropout", dropout)
    flag("captured", captured)
    kinds = [activations] if isinstance(activations, str) else list(activations)
    for kind in kinds:
        check_options(kind, name="activations")
    formats = [state_formats] if isinstance(state_formats, str) else list(state_formats)
    for each in formats:
        check_format("state_formats", each)
    passes = [norms] if isinstance(norms, str) else list(norms)
    for each in passes:
        if each not in _NORMS:
            raise ValueError(f"norms holds {each!r}; expected {', '.join(map(repr, _NORMS))}")
    backend = get_backend("auto" if engine == "auto" else _device_for(engine))
    for dtype in dtypes:
        chosen = find_engine(engine, backend.asarray(np.zeros(1, dtype)), contiguous=True)
        with backend.scope():
            for name in names:
                chosen.warmup(RULES[name], dtype)
                chosen.warmup(RULES[name].without_decay, dtype)
            for name in names if dtype == FLOAT32 else ():
                for each in formats:
                    _warm_format(backend, RULES[name], each, engine)
            if captured and chosen.name == "cupy":
                _warm_captured(names, dtype)
            if batch_norm:
                _warm_batch_norm(backend, dtype, engine)
            if softmax:
                _warm_softmax(backend, dtype, engine)
            if dropout:
                run_dropout(backend.asarray(np.zeros(1, dtype)), 0.5, seed=0, draw=0, engine=engine)
            for kind in kinds:
                _warm_activation(backend, kind, dtype, engine)
            for each in passes:
                _warm_norm(backend, each, dtype, engine)


def _warm_format(backend: Backend, rule: Rule, state_format: str, engine: str) -> None:
    """Step one number, with L2 weight decay and without."""
    for each in (rule, rule.without_decay) if rule.state else ():
        param, grad = (backend.asarray(np.zeros(1, np.float32)) for _ in range(2))
        states = [
            zero_state(param, state_format, signed=name not in rule.unsigned) for name in rule.state
        ]
        prepared = each, tuple(1.0 for _ in each.scalars)
        step_one(prepared, (param, grad, *states), engine, Rounding("warmup", 0, 1, None))


def _warm_batch_norm(backend: Backend, dtype: str, engine: str) -> None:
    """Run it on small arrays, with short and with long runs of a channel; on a GPU with those that
    are multiples of sixteen bytes, and with odd ones."""
    on_gpu = backend.device != "cpu"
    for channels, inner in ((1, 1), (1, 64), *(((8, 1), (1, 33)) if on_gpu else ())):
        x = backend.asarray(np.ones((2, channels, inner), dtype))
        vectors = [backend.asarray(np.full(channels, value, dtype)) for value in (1, 0, 0, 1)]
        for activation in (None, "relu"):
            options: dict[str, Any] = {"activation": activation, "engine": engine}
            _, saved = batch_norm_forward(x, *vectors, **options)
            batch_norm_backward(x, saved, engine=engine)
            batch_norm_inference(x, *vectors, **options)


def _warm_softmax(backend: Backend, dtype: str, engine: str) -> None:
    """Run it with weights and without; on a GPU for every number of classes that takes new code."""
    labels, weights = np.zeros(1, int), np.ones(1, dtype)
    for width in every_width() if backend.device != "cpu" else (1,):
        logits = backend.asarray(np.zeros((1, width), dtype))
        for factors in (None, weights):
            softmax_cross_entropy(logits, labels, weights=factors, engine=engine)


_NORMS: dict[str, tuple[Any, Any]] = {
    "layer_norm": (layer_norm_forward, layer_norm_backward),
    "rms_norm": (rms_norm_forward, rms_norm_backward),
    "group_norm": (group_norm_forward, group_norm_backward),
}


def _warm_norm(backend: Backend, name: str, dtype: str, engine: str) -> None:
    """Run it on rows, and on columns of planes, of every length that takes new code."""
    forward, backward = _NORMS[name]
    groups: dict[str, Any] = {"groups": 1} if name == "group_norm" else {}
    for width in EVERY_WIDTH:
        for shape in ((2, 2, width), (2, width)) if groups else ((2, width),):
            x, gamma = (backend.asarray(np.ones(each, dtype)) for each in (shape, shape[1:2]))
            for residual in (x, None):
                _, saved = forward(x, gamma, **groups, residual=residual, engine=engine)
            backward(x, saved, engine=engine)


def _warm_activation(backend: Backend, kind: str, dtype: str, engine: str) -> None:
    """Run it on small arrays; on a GPU in rows of every length that takes new code."""
    for width in (8, 4, 2, 1) if backend.device != "cpu" else (2,):
        x, vector = (backend.asarray(np.zeros(shape, dtype)) for shape in ((2, width), width))
        for bias in (vector, None):
            y = activation_forward(x, kind, bias=bias, engine=engine)
            sums = None if bias is None else bias.copy()
            activation_backward(x, y, kind, bias=bias, bias_grad=sums, engine=engine)


def _warm_captured(names: Iterable[str], dtype: str) -> None:
    """Compile what graphs launch beside rules and the operations of a step."""
    from .compiling.gpu import cuda_squares
    from .compiling.python_text import scalar_names
    from .graph.cupy_graph import decide_kernel, take_kernel

    take_kernel().compile()
    rules = [rule for name in names for rule in (RULES[name], RULES[name].without_decay)]
    for columns in {len(scalar_names(rule)) for rule in rules}:
        for metric in _METRICS:
            decide_kernel(metric, columns).compile()
    for kernel in ("squares_array", "squares_total"):
        cuda_squares.raw_kernel(kernel, dtype).compile()


_METRICS = "int64", "float64"
"""The dtypes of what a loss's metric is, summed up over the rows of a batch."""


def _device_for(engine: str) -> str:
    from .engine_table import engines

    status = engines().get(engine)
    if status is None or "cpu" in status.devices:
        return "cpu"
    if not status.available:
        raise EngineUnavailableError(
            f"engine {engine!r} can't be used: {status.reason}. {status.remedy}"
        )
    return "cuda"
