"""States and hyperparameters of an optimizer, to and from one of PyTorch's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np

from ..network.parameters import Parameters
from ..network.sequential import Sequential
from ..optimizers.groups import Group
from ..optimizers.optimizer import Optimizer
from ..optimizers.updated_arrays import Key
from ..state_checks import check_keys
from ..types import HostArray
from .torch_optimizers import TorchKind, kind_of, ours_for
from .torch_state import on_host, transposed


def load_torch_optimizer_state(
    optimizer: Optimizer, state: Mapping[str, Any], net: Sequential | None = None
) -> None:
    """Go on where an optimizer of PyTorch's is: its states, steps and hyperparameters, by group.

    Groups are taken in their order, and the parameters of each in theirs: give them here as they
    were given there. `clip_norm` stays, since PyTorch's optimizers have none. All is taken, or
    nothing.

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
    turned = _turned(optimizer, net)
    check_keys(state, ("state", "param_groups"), "state")
    groups = _groups(optimizer, state["param_groups"])
    options = [
        _options(kind, optimizer, number, group, given)
        for number, (group, given) in enumerate(zip(optimizer.param_groups, groups, strict=True))
    ]
    states = _one_kind_of_states(optimizer, options)
    ids = {
        key: number
        for group, given in zip(optimizer.param_groups, groups, strict=True)
        for key, number in zip(group.keys_of, given["params"], strict=True)
    }
    theirs = _by_parameter(kind, state["state"], ids, states)
    base, own = _shared(optimizer, options)
    loaded = optimizer.state_dict()
    loaded |= {
        "step": _steps(kind, optimizer, theirs, ids, options),
        "hyper": {**loaded["hyper"], **base},
        "state": _arrays(kind, optimizer, theirs, ids, states, turned),
        "groups": [
            {"params": [*group.keys_of], "hyper": changes, "lr_of": base["lr"]}
            for group, changes in zip(optimizer.param_groups, own, strict=True)
        ],
    }
    optimizer.load_state_dict(loaded)


def torch_optimizer_state(optimizer: Optimizer, net: Sequential | None = None) -> dict[str, Any]:
    """What `load_state_dict` of PyTorch's optimizer of the same kind takes, as copies on the CPU.

    Parameters are numbered as they come, group by group. `clip_norm` is left out, since PyTorch's
    optimizers have none.

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
    arrays, steps, numbers = optimizer.state_dict()["state"], optimizer.steps, count()
    states: dict[int, dict[str, Any]] = {}
    groups = []
    for group in optimizer.param_groups:
        ids = dict(zip(group.keys_of, numbers, strict=False))
        groups.append({**kind.group(group), "params": [*ids.values()]})
        for key, number in ids.items():
            if not arrays or not (kind.from_start or (steps and key not in optimizer.frozen)):
                continue
            states[number] = {"step": torch.tensor(float(steps))} if kind.counts else {}
            for name, values in arrays.items():
                value = np.ascontiguousarray(values[key].T) if key in turned else values[key]
                states[number][kind.states[name]] = torch.from_numpy(value)
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


def _groups(optimizer: Optimizer, given: Any) -> list[Mapping[str, Any]]:
    """PyTorch's groups, where they have as many parameters as those here."""
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"state['param_groups'] is a {type(given).__name__}; expected a list")
    for number, group in enumerate(given):
        params = group.get("params") if isinstance(group, Mapping) else None
        if not isinstance(params, (list, tuple)):
            raise TypeError(
                f"state['param_groups'][{number}] is {group!r:.60}; expected a mapping whose "
                "'params' are a list of numbers"
            )
    theirs = [len(group["params"]) for group in given]
    ours = [len(group.keys_of) for group in optimizer.param_groups]
    if theirs != ours:
        raise ValueError(
            f"state has {_counted(theirs)}, but the optimizer has {_counted(ours)}; expected the "
            "same. Make it of groups as PyTorch's was, in that order"
        )
    numbers = [number for group in given for number in group["params"]]
    if len({*numbers}) != len(numbers):
        raise ValueError(f"state has the parameters {numbers}; expected each number once")
    return list(given)


def _counted(sizes: list[int]) -> str:
    groups = "1 group" if len(sizes) == 1 else f"{len(sizes)} groups"
    return f"{groups} of {', '.join(map(str, sizes))} parameters"


def _options(
    kind: TorchKind,
    optimizer: Optimizer,
    number: int,
    group: Group,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """All our options of a group, from PyTorch's."""
    given = {name: _plain(value) for name, value in given.items()}
    if found := [*kind.differences(given)]:
        name, others = type(optimizer).__name__, ours_for(given)
        remedy = f"expected a group of torch.optim.{kind.name}"
        if others:
            remedy = f"it goes into {' or '.join(others)} here, not into {name}"
        raise ValueError(f"state['param_groups'][{number}] {', '.join(found)}; {remedy}")
    older = {"maximize": False, "decoupled_weight_decay": group["decoupled"]}
    theirs = {**older, **given}
    return {ours: theirs[name] for ours, name in kind.options.items()} | {**kind.apart}


def _plain(value: Any) -> Any:
    """A number, where PyTorch has a tensor of one; of each element of a pair, too."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return value.item() if getattr(value, "shape", None) in ((), (1,)) else value


def _one_kind_of_states(optimizer: Optimizer, options: list[dict[str, Any]]) -> tuple[str, ...]:
    """The states that the options take, which are the same for all groups."""
    found = [optimizer.states_of(each) for each in options]
    if len({*found}) > 1:
        told = "; ".join(f"group {k}: {', '.join(names)}" for k, names in enumerate(found))
        raise ValueError(f"state has groups with different states ({told}); expected one kind")
    return found[0]


def _by_parameter(
    kind: TorchKind, given: Any, ids: Mapping[Key, int], states: tuple[str, ...]
) -> dict[Key, Mapping[str, Any]]:
    """PyTorch's states of each parameter; none where it has none."""
    if not isinstance(given, Mapping):
        raise TypeError(f"state['state'] is a {type(given).__name__}; expected a mapping")
    if unknown := [number for number in given if number not in ids.values()]:
        raise ValueError(
            f"state['state'] has {', '.join(map(repr, unknown))}, which no group has in its "
            f"'params'; expected some of {', '.join(map(str, ids.values()))}"
        )
    expected = [kind.states[name] for name in states] + ["step"] * kind.counts
    found: dict[Key, Mapping[str, Any]] = {}
    for key, number in ids.items():
        own = given.get(number, {})
        if isinstance(own, Mapping):
            own = {name: value for name, value in own.items() if value is not None}
        found[key] = check_keys(own, expected, f"state['state'][{number}]") if own else {}
    return found


def _steps(
    kind: TorchKind,
    optimizer: Optimizer,
    theirs: Mapping[Key, Mapping[str, Any]],
    ids: Mapping[Key, int],
    options: list[dict[str, Any]],
) -> int:
    """The one number of steps that all parameters took."""
    counts: dict[int, list[int]] = {}
    matters = kind.counts or any(each.get("dampening") for each in options)
    for key, own in theirs.items():
        if key not in optimizer.frozen:
            taken = _count(own, f"state['state'][{ids[key]}]") if kind.counts else bool(own)
            counts.setdefault(int(taken), []).append(ids[key])
    if len(counts) > 1 and matters:
        told = ", ".join(f"{taken} of {numbers}" for taken, numbers in sorted(counts.items()))
        raise ValueError(
            f"state has different numbers of steps of its parameters: {told}; expected one "
            "number, which is all that is kept here. What PyTorch never stepped can be frozen"
        )
    if kind.counts:
        return next(iter(counts), optimizer.steps)
    return max(optimizer.steps, 1) if max(counts, default=0) or not kind.states else 0


def _count(own: Mapping[str, Any], what: str) -> int:
    if not own:
        return 0
    value = _plain(own["step"])
    if not isinstance(value, (int, float, np.number)) or value < 0 or value != int(value):
        raise ValueError(f"{what}['step'] is {value!r}; expected a whole number of steps")
    return int(value)


def _arrays(
    kind: TorchKind,
    optimizer: Optimizer,
    theirs: Mapping[Key, Mapping[str, Any]],
    ids: Mapping[Key, int],
    states: tuple[str, ...],
    turned: frozenset[Key],
) -> dict[str, dict[Key, HostArray]]:
    """Our states by name and parameter; zeros where PyTorch has none yet."""
    params = {
        key: array
        for group in optimizer.param_groups
        for key, array in zip(group.keys_of, group["params"], strict=True)
    }
    found: dict[str, dict[Key, HostArray]] = {name: {} for name in states}
    for key, param in params.items():
        shape = param.shape[::-1] if key in turned else param.shape
        for name in states:
            value = np.zeros(shape)
            if theirs[key]:
                what = f"state['state'][{ids[key]}][{kind.states[name]!r}]"
                value = on_host(theirs[key][kind.states[name]], what)
                if value.shape != shape:
                    raise ValueError(
                        f"{what} has shape {value.shape}; expected {shape} for parameter {key!r}"
                    )
            value = value.T if key in turned else value
            found[name][key] = value.astype(param.dtype)
    return found


def _shared(
    optimizer: Optimizer, options: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The options of all as the optimizer's own, and those of each group that it has of its own.

    A group keeps as its own what it has so now, and gets what differs from the first that has not.
    """
    pairs = [*zip(optimizer.param_groups, options, strict=True)]
    base = {
        name: next((given[name] for group, given in pairs if name not in group.changes), value)
        for name, value in optimizer.hyper.items()
    }
    own = [
        {name: given[name] for name in base if name in group.changes or given[name] != base[name]}
        for group, given in pairs
    ]
    return base, own


def _check_alike(kind: TorchKind, optimizer: Optimizer, number: int, group: Group) -> None:
    """Refuse options with which PyTorch's steps are others."""
    for name, value in kind.apart.items():
        idle = name == "decoupled" and not group["weight_decay"]
        if group[name] != value and not idle:
            raise ValueError(
                f"group {number} of {type(optimizer).__name__} has {name}={group[name]!r}, which "
                f"torch.optim.{kind.name} can't do; expected {name}={value!r}"
            )
