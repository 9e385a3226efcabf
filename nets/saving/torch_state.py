"""Parameters to and from a PyTorch network of the same layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...backend.checks.plain_array import check_plain
from ...backend.foreign import as_array
from ..layers.batch_norm import BatchNorm
from ..layers.dense import Dense
from ..layers.group_norm import GroupNorm
from ..layers.layer import Layer
from ..layers.layer_norm import LayerNorm
from ..layers.rms_norm import RMSNorm
from ..network.sequential import Sequential
from ..optimizers.storage.storage import Key
from ..types import Array, HostArray

# our names of a layer's arrays -> PyTorch's
_NAMES: dict[type[Layer], dict[str, str]] = {
    Dense: {"weight": "weight", "bias": "bias"},
    BatchNorm: {
        "gamma": "weight",
        "beta": "bias",
        "running_mean": "running_mean",
        "running_var": "running_var",
        "num_batches_tracked": "num_batches_tracked",
    },
    LayerNorm: {"gamma": "weight", "beta": "bias"},
    GroupNorm: {"gamma": "weight", "beta": "bias"},
    RMSNorm: {"gamma": "weight"},
}
_TURNED = ("weight",)  # those of ours whose axes PyTorch has the other way round
_COUNTER = "num_batches_tracked"  # PyTorch's; ours where momentum is None


def load_torch_state(net: Sequential, state: Mapping[str, Any]) -> None:
    """Overwrite all parameters and running statistics of `net` by those of a PyTorch module.

    Layers with arrays are taken in their order: the first `torch.nn.Linear` for the first Dense,
    whatever the modules are called; Linear's weight is transposed. gamma and beta of a norm are
    PyTorch's weight and bias. Everything fits or nothing is written.

    Args:
        net: Dense, BatchNorm, LayerNorm, RMSNorm and GroupNorm layers, with any others that have no
            arrays; written.
        state: `module.state_dict()`, of tensors on any device or of NumPy arrays.

    Raises:
        TypeError: a layer of `net` has no counterpart in PyTorch, or an array is of no dtype of
            NumPy's.
        ValueError: `state` has more or fewer layers, another array in one, or another shape.

    Example:
        >>> import numpy as np
        >>> from onepass.nets import Dense, Sequential, load_torch_state
        >>> net = Sequential(Dense(2, 1), device="cpu")
        >>> load_torch_state(net, {"fc.weight": np.ones((1, 2)), "fc.bias": np.zeros(1)})
        >>> net(np.array([[1.0, 2.0]])).tolist()
        [[3.0]]
    """
    found = _by_module(state)
    ours = list(_learning(net))
    if len(found) != len(ours):
        raise ValueError(
            f"state has arrays of {len(found)} modules ({', '.join(found) or 'none'}), but the "
            f"network has {len(ours)} layers with arrays; expected the same number"
        )
    values: dict[str, HostArray] = {}
    for (prefix, arrays), (k, layer, names) in zip(found.items(), ours, strict=True):
        if _COUNTER not in names.values():
            arrays = {name: value for name, value in arrays.items() if name != _COUNTER}
        if arrays.keys() != set(names.values()):
            raise ValueError(
                f"state has {sorted(arrays)} in {prefix!r}, which stands for layer {k} {layer!r}; "
                f"expected {sorted(names.values())}"
            )
        for name, theirs in names.items():
            value = on_host(arrays[theirs], f"state['{prefix}.{theirs}']")
            value = value.T if name in _TURNED else value
            shape = {**layer.params, **layer.buffers}[name].shape
            if value.shape != shape:
                raise ValueError(
                    f"state['{prefix}.{theirs}'] has shape {tuple(arrays[theirs].shape)}; expected "
                    f"{shape[::-1] if name in _TURNED else shape} for layer {k} {layer!r}"
                )
            values[f"{k}.{name}"] = value
    own = net.state_dict()
    net.load_state_dict({name: value.astype(own[name].dtype) for name, value in values.items()})


def torch_state(net: Sequential, like: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `module.load_state_dict` takes, as copies on the CPU, in PyTorch's names and shapes.

    Args:
        net: Dense, BatchNorm, LayerNorm, RMSNorm and GroupNorm layers, with any others that have no
            arrays.
        like: a `module.state_dict()` whose names are to be used, layer by layer in their order; by
            default modules are called by the index of the layer, which fits a
            `torch.nn.Sequential` of the same layers one for one.

    Returns:
        name -> torch.Tensor, also num_batches_tracked of each BatchNorm, as `torch.nn` wants: 0
        where it isn't counted, since momentum is a number.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: a layer has no counterpart in PyTorch.
        ValueError: `like` has another number of modules with arrays.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "torch_state makes PyTorch tensors: pip install torch; net.state_dict() gives NumPy "
            "arrays without it"
        ) from error
    ours = list(_learning(net))
    prefixes = [str(k) for k, *_ in ours] if like is None else list(_by_module(like))
    if len(prefixes) != len(ours):
        raise ValueError(
            f"like has arrays of {len(prefixes)} modules, but the network has {len(ours)} layers "
            "with arrays; expected the same number"
        )
    values, state = net.state_dict(), {}
    for prefix, (k, layer, names) in zip(prefixes, ours, strict=True):
        for name, theirs in names.items():
            value = values[f"{k}.{name}"]
            value = np.ascontiguousarray(value.T) if name in _TURNED else value
            if theirs == _COUNTER:
                value = value.astype(np.int64)
            state[f"{prefix}.{theirs}" if prefix else theirs] = torch.from_numpy(value)
        if isinstance(layer, BatchNorm) and _COUNTER not in names.values():
            state[f"{prefix}.{_COUNTER}" if prefix else _COUNTER] = torch.tensor(0)
    return state


def transposed(net: Sequential) -> frozenset[Key]:
    """The names of the parameters that PyTorch has with their axes the other way round."""
    return frozenset(
        f"{k}.{name}" for k, layer, names in _learning(net) for name in names if name in _TURNED
    )


def _learning(net: Sequential) -> Iterator[tuple[int, Layer, dict[str, str]]]:
    """Index, layer, and PyTorch's names of its arrays, for each layer that has any."""
    for k, layer in enumerate(net.layers):
        own = [*layer.shapes(), *layer.initial_buffers()]
        if not own:
            continue
        if type(layer) not in _NAMES:
            raise TypeError(
                f"layer {k} {layer!r} has no counterpart in PyTorch; expected "
                f"{', '.join(kind.__name__ for kind in _NAMES)}, or layers without arrays"
            )
        yield k, layer, {name: _NAMES[type(layer)][name] for name in own}


def _by_module(state: Mapping[str, Any]) -> dict[str, dict[str, Array]]:
    """Prefix -> the module's arrays by name, in the order of `state`."""
    found: dict[str, dict[str, Array]] = {}
    for key, value in state.items():
        prefix, _, name = key.rpartition(".")
        found.setdefault(prefix, {})[name] = value
    return found


def on_host(value: Any, name: str) -> HostArray:
    """A tensor on any device, or an array, as one of NumPy's, called `name` in errors."""
    check_plain(value, name)
    array = as_array(value, name)
    return array if isinstance(array, np.ndarray) else array.get()
