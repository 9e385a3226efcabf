"""A network: layers one after another."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ...backend import Backend
from ...backend.checks.plain_array import check_plain
from ...backend.failures import told_of_capture
from ...backend.foreign import taken_in
from ..layers.dense import Dense
from ..layers.layer import Layer
from ..seeds import seeded
from ..sparse_rows import sparse_rows
from ..state_checks import check_keys, check_values
from ..types import Array, Device, HostArray
from .folding import folded, parts_of
from .parameters import Parameters


class Sequential:
    """Layers one after another, with all their parameters in one buffer.

    Args:
        *layers: in order; each belongs to one network only.
        seed: of the first values, drawn on the CPU layer by layer, and of layers that draw
            random numbers in training: one seed, one network, whatever the device.
        dtype: of parameters, gradients and activations: float16, float32 or float64.
        device: where the network lives: "auto", "cpu", "cuda", "cuda:N" or a Backend.

    The parameter "weight" of the first layer is called "0.weight", and so on.

    Raises:
        TypeError: something is not a Layer, `dtype` is none of the three, or `seed` no integer.
        ValueError: there is no layer, one is used twice, widths don't fit (both are named), or
            `seed` is negative.
        DeviceUnavailableError: the named device can't be used.

    Example:
        >>> from onepass.nets import Dense, ReLU, Sequential
        >>> net = Sequential(Dense(64, 32), ReLU(), Dense(32, 10), device="cpu")
        >>> list(net.parameters())
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(
        self,
        *layers: Layer,
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        device: Device = "auto",
    ) -> None:
        _check_layers(layers)
        self.layers = layers
        shapes = {
            f"{index}.{name}": shape
            for index, layer in enumerate(layers)
            for name, shape in layer.shapes().items()
        }
        self._parameters = Parameters(shapes, dtype=dtype, device=device)
        wide = np.float32 if self.dtype == np.float16 else self.dtype  # averages outlast float16
        with self.backend.scope():
            self._buffers = {
                f"{index}.{name}": self.backend.asarray(value, dtype=wide)
                for index, layer in enumerate(layers)
                for name, value in layer.initial_buffers().items()
            }
        for index, layer in enumerate(layers):
            layer.seed(_seed_of(seed, index))
        rng = seeded(np.random.default_rng, seed)
        values = {
            f"{index}.{name}": value.astype(self.dtype)
            for index, layer in enumerate(layers)
            for name, value in layer.initial(rng).items()
        }
        self.load_state_dict({**values, **self._host_buffers()})
        self.programs: dict[Any, Any] = {}  # see captured_forward.py
        self._bind()

    @property
    def backend(self) -> Backend:
        """Where the network lives."""
        return self._parameters.backend

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters, gradients and activations."""
        return self._parameters.dtype

    @property
    def in_features(self) -> int | None:
        """Width of a row going in; None where every layer takes any width."""
        widths = (layer.in_features for layer in self.layers)
        return next((width for width in widths if width is not None), None)

    @property
    def out_features(self) -> int | None:
        """Width of a row coming out; None where every layer takes any width."""
        widths = (layer.out_features for layer in reversed(self.layers))
        return next((width for width in widths if width is not None), None)

    def parameters(self) -> Parameters:
        """The parameters, to read, to write or to give to an optimizer."""
        return self._parameters

    def buffers(self) -> Mapping[str, Array]:
        """What training keeps but doesn't learn, by name: running statistics."""
        return MappingProxyType(self._buffers)

    @property
    def least_rows(self) -> int:
        """Rows that a training batch must have at least."""
        return max(layer.least_rows for layer in self.layers)

    def forward(self, x: Array, train: bool = False) -> Array:
        """The output for rows `x`, shape (n, in_features).

        `x` is left untouched; from another device or dtype it is brought to the network's, and may
        be a SciPy sparse matrix or array (see `given`). `train` saves what `backward` needs. No
        rows give no rows, and gradients of 0; what averages over rows (losses, BatchNorm in
        training) refuses them.
        """
        if self._parameters.flat is not self._bound_to:
            self._bind()
        with self.backend.scope():
            x = self.given(x)
            try:
                for layer in self.layers:
                    x = layer.forward(x, train)
            except NotImplementedError as error:
                told_of_capture(error, "a matrix product of the network")
                raise
        return x

    def given(self, x: Array) -> Array:
        """Rows `x` as the first layer takes them, on the network's device and in its dtype.

        Sparse rows stay sparse where that is a Dense on the CPU, in float32 or float64, which
        multiplies them as they are; else they become an array.
        """
        rows = sparse_rows(x, "x")
        if rows is None:
            check_plain(x, "x")
            return self.backend.asarray(x, dtype=self.dtype)
        first, own = self.layers[0], (Dense.forward, Dense.backward)
        methods = (getattr(each, "__func__", None) for each in (first.forward, first.backward))
        small = self.dtype == np.float16  # which SciPy has not
        rows = rows.astype(np.float32 if small else self.dtype)
        if self.backend.device == "cpu" and not small and (*methods,) == own:
            return rows
        return self.backend.asarray(rows.dense(), dtype=self.dtype)

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        """Overwrite all gradients, and return dJ/dx.

        Args:
            dy: dJ/d(output) of the last `forward(x, train=True)`; left untouched.
            input_grad: False skips what only dJ/dx needs (a matrix product of the first layer)
                and returns None, as training wants it.
        """
        if type(dy) is not np.ndarray:
            (dy,) = taken_in(["dy"], [dy])
        first = 0
        if not input_grad:
            learning = (k for k, layer in enumerate(self.layers) if layer.shapes())
            first = next(learning, len(self.layers))
        with self.backend.scope():
            try:
                for k in range(len(self.layers) - 1, first - 1, -1):
                    dy = self.layers[k].backward(dy, input_grad=input_grad or k > first)
            except NotImplementedError as error:
                told_of_capture(error, "a matrix product of the network's gradients")
                raise
        return dy if input_grad else None

    def to(self, device: Device) -> Sequential:
        """Move the network, in place, and return it; optimizers made before go on working."""
        self._parameters.move(device)
        self._bind()
        return self

    def fold(self) -> Sequential:
        """A network for inference, on the same device: without the batch normalizations that a
        Dense can take up.

        One directly behind a Dense without an activation goes into its weight and bias, by the
        running statistics, and its own activation becomes the layer's; so does one without an
        activation directly before a Dense. All others stay. Outputs are those of `forward(x)`
        within a few eps: the new weights are worked out in float64 and rounded once. This network
        is left as it is, and shares nothing with the new one, which is a network like any other:
        it is saved and loaded, and training it goes on without the normalizations that are gone.

        Source: `kernels.fold_batch_norm`.
        """
        parts = folded(parts_of(self.layers, self.state_dict()))
        net = Sequential(*(part.layer for part in parts), dtype=self.dtype, device=self.backend)
        own = net._parameters, net._buffers
        dtypes = {name: array.dtype for arrays in own for name, array in arrays.items()}
        values = {
            f"{index}.{name}": value
            for index, part in enumerate(parts)
            for name, value in part.arrays.items()
        }
        with np.errstate(over="ignore", under="ignore"):  # float16 holds inf, or 0, beyond it
            net.load_state_dict({name: values[name].astype(dtypes[name]) for name in dtypes})
        for layer, state in zip(net.layers, (part.random_state for part in parts), strict=True):
            layer.load_state(state)
        return net

    def state_dict(self) -> dict[str, HostArray]:
        """Name -> copy of each parameter and buffer, as NumPy arrays whatever the device."""
        flat = self.backend.to_numpy(self._parameters.flat)
        values = {name: view.copy() for name, view in self._parameters.split(flat).items()}
        return {**values, **self._host_buffers()}

    def load_state_dict(self, state: Mapping[str, HostArray]) -> None:
        """Overwrite all parameters and buffers by name, or none of them.

        Raises:
            TypeError: `state` is not a mapping of NumPy arrays, or a dtype is not the network's.
            ValueError: a name is missing or unexpected, or a shape is another.
        """
        check_values(state, {**self._parameters, **self._buffers}, "state")
        flat = np.empty(self._parameters.flat.shape, self.dtype)
        for name, view in self._parameters.split(flat).items():
            view[...] = state[name]
        with self.backend.scope():  # a GPU's memory may run out: it is all there before any write
            owns = (self._parameters.flat, *self._buffers.values())
            values = [self.backend.asarray(each) for each in (flat, *map(state.get, self._buffers))]
            for own, value in zip(owns, values, strict=True):
                own[...] = value

    def random_state(self) -> dict[str, dict[str, int]]:
        """The place of each layer that draws random numbers -> its `state()`, ready for JSON."""
        states = {str(index): layer.state() for index, layer in enumerate(self.layers)}
        return {index: state for index, state in states.items() if state}

    def load_random_state(self, state: Mapping[str, Mapping[str, int]]) -> None:
        """Go on with the random numbers that follow what `random_state()` gave, on any device.

        Raises:
            TypeError, ValueError: `state` is not what `random_state()` gives; nothing was changed.
        """
        before = self.random_state()
        check_keys(state, before, "random state")
        try:
            for index in before:
                self.layers[int(index)].load_state(state[index])
        except (TypeError, ValueError):
            for index, own in before.items():
                self.layers[int(index)].load_state(own)
            raise

    def _host_buffers(self) -> dict[str, HostArray]:
        """Name -> copy of each buffer."""
        return {name: self.backend.to_numpy(array).copy() for name, array in self._buffers.items()}

    def _bind(self) -> None:
        """Hand every layer its views: after making, moving or unpickling the network."""
        with self.backend.scope():  # asarray moves what is elsewhere and leaves the rest alone
            self._buffers = {
                name: self.backend.asarray(buffer) for name, buffer in self._buffers.items()
            }
        for k, layer in enumerate(self.layers):
            params = {name: self._parameters[f"{k}.{name}"] for name in layer.shapes()}
            grads = {name: self._parameters.grads[f"{k}.{name}"] for name in layer.shapes()}
            buffers = {name: self._buffers[f"{k}.{name}"] for name in layer.initial_buffers()}
            layer.bind(params, grads, *([buffers] if buffers else []))
        self._bound_to = (
            self._parameters.flat
        )  # last: where moving buffers failed, it is done again

    def __getstate__(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "_parameters": self._parameters,
            "_buffers": self._host_buffers(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._buffers = {name: np.array(own) for name, own in self._buffers.items()}
        self.programs = {}
        self._bind()

    def __copy__(self) -> Sequential:
        """A deep copy: a layer belongs to one network."""
        return deepcopy(self)

    def __call__(self, x: Array, train: bool = False) -> Array:
        return self.forward(x, train)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"


def _seed_of(seed: int, index: int) -> int:
    """A layer's own seed, told from the network's; 53 bits, which every reader of JSON keeps.

    It takes nothing from the generator of first values: a layer more changes no other's.
    """
    sequence = seeded(partial(np.random.SeedSequence, spawn_key=(index,)), seed)
    return int(sequence.generate_state(1, np.uint64)[0]) >> 11


def _check_layers(layers: tuple[Layer, ...]) -> None:
    """Refuse what is no layer, a layer in use already, and widths that don't fit."""
    if not layers:
        raise ValueError("layers are none; expected at least one, such as Dense(64, 10)")
    giver: tuple[int, Layer] | None = None
    for k, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(
                f"layer {k} is a {type(layer).__name__}; expected a Layer such as Dense(64, 10)"
            )
        if layer.bound or any(layer is other for other in layers[:k]):
            raise ValueError(
                f"layer {k} {layer!r} is part of a network already; make a new one for each use"
            )
        if both := set(layer.shapes()) & set(layer.initial_buffers()):
            raise ValueError(
                f"layer {k} {layer!r} calls a parameter and a buffer {', '.join(map(repr, both))}; "
                "expected different names, since both go into one state_dict"
            )
        if giver and layer.in_features not in (None, giver[1].out_features):
            raise ValueError(
                f"layer {k} {layer!r} takes {layer.in_features} features, but layer {giver[0]} "
                f"{giver[1]!r} gives {giver[1].out_features}; expected the same number"
            )
        if layer.out_features is not None:
            giver = k, layer
