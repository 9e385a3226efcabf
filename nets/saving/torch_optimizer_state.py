"""States and hyperparameters of an optimizer, to and from one of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from ...kernels.launch import AVERAGE
from ..network.parameters import Parameters
from ..network.sequential import Sequential
from ..optimizers.frame.encoding import decoded
from ..optimizers.frame.groups import Group
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.storage.storage import Key
from ..types import HostArray
from .torch_optimizer_reading import TorchOptimizerReading
from .torch_optimizers import TorchKind, kind_of
from .torch_state import on_host, transposed


def load_torch_optimizer_state(
    optimizer: Optimizer, state: Mapping[str, Any], net: Sequential | None = None
) -> None:
    """Go on where an optimizer of PyTorch's is: its states, steps and hyperparameters, by group.

    Groups are taken in their order, and the parameters of each in theirs: give them here as they
    were given there. Clipping stays as it is here, and so do averages of the parameters, which
    begin with these if nothing was stepped yet. All is taken, or nothing.

    Args:
        optimizer: SGD or Momentum for torch.optim.SGD, AMSGrad for an Adam or AdamW with amsgrad,
            and else the one of that name; written. A parameter that PyTorch never stepped must be
            one of its `frozen`.
        state: `optimizer.state_dict()` of PyTorch's, of tensors on any device or of NumPy arrays.
            The options foreach, fused, capturable and differentiable are read over: they change
            no number.
        net: the network, where `optimizer` is of its parameters: PyTorch has a Linear's weight, and
            so its states, transposed.

    Raises:
        TypeError: PyTorch has no such optimizer, `net` is missing, or something is no array.
        ValueError: `state` is of another optimizer, of other groups or shapes, has an option that
            is not here, or parameters that took different numbers of steps.

    Conventions: torch.optim.SGD counts no steps. `optimizer.steps` stays what it is, but is 1 at
        least where there is a velocity, and 0 where Momentum finds none.

    Example:
        >>> import numpy as np
        >>> from onepass.nets import Momentum, load_torch_optimizer_state
        >>> optimizer = Momentum([np.ones(2)])
        >>> options = {"lr": 0.5, "momentum": 0.9, "dampening": 0, "nesterov": False}
        >>> group = {**options, "weight_decay": 0, "maximize": False, "params": [0]}
        >>> buffer = {"momentum_buffer": np.array([1.0, 2.0])}
        >>> load_torch_optimizer_state(optimizer, {"state": {0: buffer}, "param_groups": [group]})
        >>> optimizer.lr, optimizer.state_dict()["state"]["velocity"][0].tolist()
        (0.5, [1.0, 2.0])
    """
    kind = kind_of(optimizer)
    read = TorchOptimizerReading(kind, optimizer, state, _turned(optimizer, net))
    base, own = read.shared()
    loaded = optimizer.state_dict()
    states = read.arrays()
    if AVERAGE in loaded["state"]:
        states[AVERAGE] = loaded["state"][AVERAGE] if optimizer.steps else _values(optimizer)
    loaded |= {
        "step": read.steps(),
        "hyper": {**loaded["hyper"], **base},
        "state": states,
        "groups": [
            {"params": [*group.keys_of], "hyper": changes, "lr_of": base["lr"]}
            for group, changes in zip(optimizer.param_groups, own, strict=True)
        ],
    }
    optimizer.load_state_dict(loaded)


def torch_optimizer_state(optimizer: Optimizer, net: Sequential | None = None) -> dict[str, Any]:
    """What `load_state_dict` of PyTorch's optimizer of the same kind takes, as copies on the CPU.

    Parameters are numbered as they come, group by group. Clipping and averages of the parameters
    are left out, which PyTorch's optimizers don't have.

    Args:
        optimizer: SGD and Momentum go to torch.optim.SGD, AMSGrad to an Adam or AdamW with amsgrad,
            and others to the one of their name.
        net: the network, where `optimizer` is of its parameters: PyTorch has a Linear's weight, and
            so its states, transposed.

    Returns:
        {"state": {number: {name: torch.Tensor}}, "param_groups": [options and "params"]}; no state
        where nothing was stepped yet, or where a parameter is frozen.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: PyTorch has no such optimizer, or `net` is missing.
        ValueError: an option, such as `eps_uncorrected`, makes steps that PyTorch's doesn't make.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "torch_optimizer_state makes PyTorch tensors: pip install torch; "
            "optimizer.state_dict() gives NumPy arrays without it"
        ) from error
    kind = kind_of(optimizer)
    turned = _turned(optimizer, net)
    for number, group in enumerate(optimizer.param_groups):
        _check_alike(kind, optimizer, number, group)
    kept, steps, numbers = optimizer.state_dict()["state"], optimizer.steps, count()
    arrays = {theirs: decoded(kept[ours]) for ours, theirs in kind.states.items() if ours in kept}
    states: dict[int, dict[str, Any]] = {}
    groups = []
    for group in optimizer.param_groups:
        ids = dict(zip(group.keys_of, numbers, strict=False))
        groups.append({**kind.group(group), "params": [*ids.values()]})
        for key, number in ids.items():
            if not arrays or not (kind.from_start or (steps and key not in optimizer.frozen)):
                continue
            states[number] = {"step": torch.tensor(float(steps))} if kind.counts else {}
            for name, number_of in kind.follows.items():
                states[number][name] = torch.tensor(number_of(group, steps))
            for name, values in arrays.items():
                value = np.ascontiguousarray(values[key].T) if key in turned else values[key]
                states[number][name] = torch.from_numpy(value)
    return {"state": states, "param_groups": groups}


def _turned(optimizer: Optimizer, net: Sequential | None) -> frozenset[Key]:
    """The parameters whose axes PyTorch has the other way round."""
    if net is None:
        if isinstance(optimizer.params, Parameters):
            raise TypeError(
                "the optimizer is of a network's parameters, and net is missing; expected "
                "net=, the network, since PyTorch has a Linear's weight transposed"
            )
        return frozenset()
    known = net.parameters()
    for group in optimizer.param_groups:
        for key in group.keys_of:
            if key not in known:
                raise ValueError(
                    f"the optimizer has a parameter {key!r}, and net has none of that name; "
                    f"expected an optimizer of {', '.join(map(repr, known))}"
                )
    return transposed(net)


def _values(optimizer: Optimizer) -> dict[Key, HostArray]:
    """Copies of the parameters, which their averages begin with."""
    return {
        key: np.array(on_host(array, f"params[{key!r}]"))
        for group in optimizer.param_groups
        for key, array in zip(group.keys_of, group["params"], strict=True)
    }


def _check_alike(kind: TorchKind, optimizer: Optimizer, number: int, group: Group) -> None:
    """Refuse options with which PyTorch's steps are others."""
    for name, value in kind.apart.items():
        idle = name == "decoupled" and not group["weight_decay"]
        if group[name] != value and not idle:
            raise ValueError(
                f"group {number} of {type(optimizer).__name__} has {name}={group[name]!r}, which "
                f"torch.optim.{kind.name} can't do; expected {name}={value!r}"
            )
