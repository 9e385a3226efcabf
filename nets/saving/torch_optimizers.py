"""Which optimizer is which of torch.optim, and what its states and options are called there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ... import kernels
from ..optimizers.adadelta import Adadelta
from ..optimizers.adagrad import AdaGrad
from ..optimizers.adam import Adam, AdamW
from ..optimizers.adamax import Adamax
from ..optimizers.amsgrad import AMSGrad
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.momentum import Momentum
from ..optimizers.nadam import NAdam
from ..optimizers.radam import RAdam
from ..optimizers.rmsprop import RMSprop
from ..optimizers.sgd import SGD

IDLE = {"foreach": None, "fused": None, "capturable": False, "differentiable": False}
"""Options that change no number of a step -> what a new optimizer of PyTorch's has."""
LEFT_BY_SCHEDULES = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum")
LACKING_IN_OLDER = ("maximize", "decoupled_weight_decay")


@dataclass(frozen=True)
class TorchKind:
    """An optimizer as torch.optim has it.

    Attributes:
        name: of the class there.
        options: ours -> theirs, where both have them; all have lr, weight_decay and maximize.
        states: ours -> theirs.
        fixed: theirs -> the value with which theirs is this optimizer and no other.
        unused: theirs that have no part in a step then -> what is written for them.
        apart: ours -> the value with which ours does what theirs always does.
        follows: theirs, a number of each parameter -> what it is by our options and the steps.
        idle: which of IDLE theirs has, beside foreach and differentiable.
        counts: whether theirs counts the steps.
        from_start: whether theirs has its states before the first step.
    """

    name: str
    options: Mapping[str, str]
    states: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    unused: Mapping[str, Any] = field(default_factory=dict)
    apart: Mapping[str, Any] = field(default_factory=dict)
    follows: Mapping[str, Callable[[Mapping[str, Any], int], float]] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    counts: bool = True
    from_start: bool = False

    def differences(self, group: Mapping[str, Any]) -> Iterator[str]:
        """What keeps a group of PyTorch's from being one of this kind."""
        known = {*self.options.values(), *self.fixed, *self.unused}
        for name in self.options.values():
            if name not in group and name not in LACKING_IN_OLDER:
                yield f"lacks {name!r}"
        for name, value in group.items():
            if name in self.fixed and value != self.fixed[name]:
                yield f"has {name}={value!r}"
            elif name not in {*known, *IDLE, *LEFT_BY_SCHEDULES, "params", "param_names"}:
                yield f"has the unknown {name!r}"

    def group(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """PyTorch's group of our options, without its params."""
        idle = {name: IDLE[name] for name in ("foreach", "differentiable", *self.idle)}
        theirs = {theirs: options[ours] for ours, theirs in self.options.items()}
        return {**theirs, **self.fixed, **self.unused, **idle}


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in ("lr", "weight_decay", "maximize", *names)}


def _mu_product(options: Mapping[str, Any], steps: int) -> float:
    return kernels.nadam_product(options["betas"][0], options["momentum_decay"], steps)


_DECOUPLED = {"decoupled": "decoupled_weight_decay"}
_COUPLED = {"decoupled": False}
_AVERAGES = {"m": "exp_avg", "v": "exp_avg_sq"}
_ADAM = TorchKind(
    "Adam",
    {**_same("betas", "eps"), **_DECOUPLED},
    _AVERAGES,
    fixed={"amsgrad": False},
    apart={"eps_uncorrected": False},
    idle=("capturable", "fused"),
)

KINDS: dict[type[Optimizer], TorchKind] = {
    SGD: TorchKind(
        "SGD",
        _same(),
        fixed={"momentum": 0},
        unused={"dampening": 0, "nesterov": False},
        apart=_COUPLED,
        idle=("fused",),
        counts=False,
    ),
    Momentum: TorchKind(
        "SGD",
        _same("momentum", "dampening", "nesterov"),
        {"velocity": "momentum_buffer"},
        apart={"form": "heavy-ball", **_COUPLED},
        idle=("fused",),
        counts=False,
    ),
    AdaGrad: TorchKind(
        "Adagrad",
        _same("lr_decay", "eps"),
        {"sum_sq": "sum"},
        unused={"initial_accumulator_value": 0},  # which the sum has in it already
        apart=_COUPLED,
        idle=("fused",),
        from_start=True,
    ),
    RMSprop: TorchKind(
        "RMSprop",
        _same("alpha", "eps", "momentum", "centered"),
        {"square_avg": "square_avg", "momentum_buffer": "momentum_buffer", "grad_avg": "grad_avg"},
        apart={"eps_inside_sqrt": False, **_COUPLED},
        idle=("capturable",),
    ),
    Adam: _ADAM,
    AdamW: replace(_ADAM, name="AdamW"),
    AMSGrad: replace(
        _ADAM, states={**_ADAM.states, "v_max": "max_exp_avg_sq"}, fixed={"amsgrad": True}
    ),
    NAdam: TorchKind(
        "NAdam",
        {**_same("betas", "eps", "momentum_decay"), **_DECOUPLED},
        _AVERAGES,
        idle=("capturable",),
        follows={"mu_product": _mu_product},
    ),
    RAdam: TorchKind(
        "RAdam", {**_same("betas", "eps"), **_DECOUPLED}, _AVERAGES, idle=("capturable",)
    ),
    Adamax: TorchKind(
        "Adamax",
        _same("betas", "eps"),
        {"m": "exp_avg", "u": "exp_inf"},
        apart=_COUPLED,
        idle=("capturable",),
    ),
    Adadelta: TorchKind(
        "Adadelta",
        _same("rho", "eps"),
        {"square_avg": "square_avg", "acc_delta": "acc_delta"},
        apart=_COUPLED,
        idle=("capturable",),
    ),
}
"""Ours -> how PyTorch has it. A subclass is an optimizer of its own, and isn't here."""


def kind_of(optimizer: Optimizer) -> TorchKind:
    """That of an optimizer; TypeError where PyTorch has none like it."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}; expected one of onepass.nets")
    if type(optimizer) not in KINDS:
        known = ", ".join(kind.__name__ for kind in KINDS)
        raise TypeError(
            f"{type(optimizer).__name__} has no counterpart in torch.optim; expected {known}"
        )
    return KINDS[type(optimizer)]


def ours_for(group: Mapping[str, Any]) -> list[str]:
    """The names of the optimizers here that a group of PyTorch's would fit."""
    return [ours.__name__ for ours, kind in KINDS.items() if not any(kind.differences(group))]
