"""What every optimizer does around its kernel."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict

import numpy as np

from ... import kernels
from ...backend.checks.arrays import check_arrays
from ...backend.checks.numbers import step_number
from ...kernels import in_order, prepare
from ...kernels.engine_table import Kept, find_engine
from ...kernels.launch import check_all, launch_all, norm_of_all
from ..state_checks import check_keys, check_values
from ..types import Array
from .clipping import checked_clip_norm, clipped_scale
from .hyperparameter import Hyperparameter
from .updated_arrays import Arrays, listed, storage_of


class Common(TypedDict, total=False):
    """The options that all optimizers have; `Optimizer` tells of them."""

    weight_decay: float
    decoupled: bool
    maximize: bool
    clip_norm: float | None
    engine: str


class Optimizer:
    """Updates arrays in place by one kernel, and keeps the states between steps.

    In place: after W_old = W, a step changes W_old too, and every view such as W.T; keep W.copy().

    Args:
        params: `net.parameters()`: one kernel call a step, each state one flat buffer, gradients
            taken from the network. Or a list or a dict of arrays: also in one go where all are
            NumPy arrays of one dtype without gaps in memory, or CuPy arrays without gaps (a kernel
            call for each dtype), else a kernel call for each.
            A generator, such as PyTorch's `module.parameters()`, is taken as a list.
        lr: learning rate.
        weight_decay: L2 coefficient: adds weight_decay * param to the gradient, for biases too.
        decoupled: param is multiplied by 1 - lr weight_decay instead, apart from the gradient.
        maximize: go up the gradient instead of down.
        clip_norm: None, or the largest L2 norm of all gradients together; larger ones are scaled
            down to it. Reads the gradients once more, and waits for a GPU, but for captured steps.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    All of them but `params` are plain attributes, checked when set: `optimizer.lr = 1e-4`.

    Raises:
        TypeError: `params` are none of these, or an array is not floating.
        ValueError: a hyperparameter is out of its range; there are no arrays; two overlap, or one
            is read-only.
        EngineUnavailableError: the engine can't be had for these arrays.
    """

    __slots__ = (
        "_backend",
        "_clip_norm",
        "_engine",
        "_hyper",
        "_kept",
        "_params",
        "_state",
        "_steps",
        "_storage",
        "_values",
    )

    rule: ClassVar[str]
    """The stem of the kernel's name."""
    states: ClassVar[tuple[str, ...]] = ()
    """Names of the state arrays, in the order in which the kernel takes them."""

    @classmethod
    def states_of(cls, hyper: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of an optimizer with these hyperparameters: more, where one needs another state."""
        return cls.states

    defaults: ClassVar[Mapping[str, Any]] = {
        "weight_decay": 0.0,
        "decoupled": False,
        "maximize": False,
    }
    """Of hyperparameters that are left out, by whoever makes one and by older checkpoints; those of
    a subclass come on top of these."""

    lr = Hyperparameter[float]()
    weight_decay = Hyperparameter[float]()
    decoupled = Hyperparameter[bool]()
    maximize = Hyperparameter[bool]()

    def __init__(
        self,
        params: Arrays,
        *,
        clip_norm: float | None = None,
        engine: str = "auto",
        **hyper: Any,
    ) -> None:
        hyper = hyper | {**Optimizer.defaults, **self.defaults, **hyper}
        self._set_hyper(kernels.validate(self.rule, **hyper))
        self.clip_norm = clip_norm
        self._params = params = listed(params)
        self._storage = storage_of(params)
        self._backend = self._storage.backend
        self.engine = engine
        self._steps = 0
        self._set_state({n: self._storage.zeros() for n in self.states_of(self._hyper)})

    @property
    def params(self) -> Arrays:
        """The parameters as they were given, a generator's as a list."""
        return self._params

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return self._steps

    @property
    def hyper(self) -> Mapping[str, Any]:
        """Every hyperparameter of the kernel by name, to read."""
        return MappingProxyType(self._hyper)

    def tune(self, **changes: Any) -> None:
        """Set several hyperparameters of the kernel at once, or none where one is refused."""
        if unknown := changes.keys() - self._hyper.keys():
            raise TypeError(
                f"{type(self).__name__} has no {', '.join(map(repr, sorted(unknown)))}; expected "
                f"some of {', '.join(self._hyper)}"
            )
        hyper = self._hyper | kernels.validate(self.rule, **changes)
        if self.states_of(hyper) != (kept := tuple(self._state)):
            wished = ", ".join(f"{name}={value!r}" for name, value in changes.items())
            raise ValueError(
                f"{wished}: the states would be {', '.join(self.states_of(hyper))}, but this "
                f"{type(self).__name__} keeps {', '.join(kept)}; make a new one"
            )
        self._set_hyper(hyper)

    @property
    def clip_norm(self) -> float | None:
        """The largest L2 norm of all gradients together; None: any."""
        return self._clip_norm

    @clip_norm.setter
    def clip_norm(self, value: float | None) -> None:
        self._clip_norm = checked_clip_norm(value)

    @property
    def engine(self) -> str:
        """Who runs the kernel; EngineUnavailableError when set to one that can't."""
        return self._engine

    @engine.setter
    def engine(self, value: str) -> None:
        for target in self._storage.targets():
            find_engine(value, target, check_arrays(["params"], [target]))
        self._engine = value

    def step(self, grads: Arrays | None = None, *, grad_scale: float = 1.0) -> None:
        """Update every parameter and state in place, once; gradients are left untouched.

        Args:
            grads: a gradient for each array, in the structure of `params`, of the same shapes,
                dtypes and device. None, for a frozen parameter, is refused: leave the parameter
                out of `params`, or pass zeros, under which momentum and weight decay go on. With
                `net.parameters()` they may be left out, which takes the network's own; other
                arrays, a dict by name, are copied together first.
            grad_scale: factor on every gradient, such as 1 / loss_scale; clipping sees the
                gradients after it.

        Everything is checked before the first write, and on a GPU compiled and given memory: a
        step that raises has changed nothing.

        Raises:
            TypeError, ValueError, MixedBackendsError: gradients don't fit; the array is named.
            FloatingPointError: the norm is nan or infinite, where `clip_norm` asks for it.
            EngineUnavailableError: the engine can't be had where the network was moved to.
            KernelError, DeviceMemoryError: a GPU's compiler fails, or its memory runs out.
        """
        if self._storage.beside is None:
            self._step(grads, grad_scale)
        else:
            with self._storage.beside:
                self._step(grads, grad_scale)

    def _step(self, grads: Arrays | None, grad_scale: float) -> None:
        gradients = self._storage.gradients(grads)
        if self._storage.backend is not self._backend:
            self._follow()
        columns = (self._storage.targets(), gradients, *self._state.values())
        if self._clip_norm is not None:
            check_all(columns, self._engine, self._kept, self._check)
            kernels.validate(self.rule, grad_scale=grad_scale)
            norm = norm_of_all(columns, self._engine, self._kept)
            grad_scale = clipped_scale(norm, grad_scale, self._clip_norm)
        prepared = prepare(self.rule, self._steps + 1, self._values, grad_scale)
        launch_all(prepared, columns, self._engine, self._kept, self._check)
        self._steps += 1

    def columns(self) -> tuple[tuple[Array, ...], ...]:
        """The arrays of a step with the network's own gradients: all parameters, all gradients, and
        each state; made from `net.parameters()`, one array each."""
        self._follow()
        return (self._storage.targets(), self._storage.gradients(None), *self._state.values())

    def prepared(self, steps_ahead: int = 0) -> Any:
        """The rule, and its coefficients for the step after that many more."""
        return prepare(self.rule, self._steps + 1 + steps_ahead, self._values, 1.0)

    def stepped(self, steps: int) -> None:
        """A program, or a graph on a GPU, took that many steps."""
        self._steps += steps

    def _check(self, columns: tuple[tuple[Array, ...], ...]) -> None:
        self._storage.check(columns, tuple(self._state))

    def _set_hyper(self, hyper: dict[str, Any]) -> None:
        values = in_order(self.rule, hyper)
        prepare(self.rule, 1, values, 1.0)  # which refuses what does not go together
        self._hyper, self._values = hyper, values

    def _set_state(self, state: dict[str, tuple[Array, ...]]) -> None:
        self._state = state
        self._kept = Kept(len(self._storage.targets()) * (2 + len(state)))

    def _follow(self) -> None:
        """Bring the states to where the parameters are now."""
        backend = self._storage.backend
        if backend != self._backend:
            self._state = {
                name: tuple(backend.asarray(self._backend.to_numpy(array)) for array in arrays)
                for name, arrays in self._state.items()
            }
            self._backend = backend

    def state_dict(self) -> dict[str, Any]:
        """A checkpoint of plain Python values and NumPy copies.

        Returns:
            {"optimizer": name of the class, "step": steps taken, "hyper": {name: value},
            "state": {state: {parameter's name or index: array}}}. The engine is left out: it
            belongs to a machine.
        """
        self._follow()
        return {
            "optimizer": type(self).__name__,
            "step": self.steps,
            "hyper": self._hyper | {"clip_norm": self.clip_norm},
            "state": {name: self._storage.split(arrays) for name, arrays in self._state.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: all of it is taken, hyperparameters too, or nothing.

        It may come from another device, and from a dict where this has a network's parameters of
        the same names, or the other way round.

        Raises:
            TypeError: something has another type or dtype.
            ValueError: another optimizer made it, keys or names are missing or unexpected, a
                shape is another, or a hyperparameter is out of its range.
        """
        check_keys(state, ("optimizer", "step", "hyper", "state"), "state")
        if state["optimizer"] != type(self).__name__:
            raise ValueError(
                f"state is of {state['optimizer']}; expected one of {type(self).__name__}"
            )
        steps = state["step"]
        if type(steps) is not int or steps != 0:
            steps = step_number("state['step']", steps)
        hyper = state["hyper"]
        if isinstance(hyper, Mapping):
            hyper = {**hyper, **Optimizer.defaults, **self.defaults, **hyper}
        hyper = dict(check_keys(hyper, [*self._hyper, "clip_norm"], "state['hyper']"))
        clip_norm = checked_clip_norm(hyper.pop("clip_norm"))
        hyper = kernels.validate(self.rule, **hyper)
        prepare(self.rule, 1, in_order(self.rule, hyper), 1.0)
        states = self.states_of(hyper)
        check_keys(state["state"], states, "state['state']")
        for name, arrays in state["state"].items():
            check_values(arrays, self._storage.arrays(), f"state['state'][{name!r}]")
        loaded = {name: self._storage.join(state["state"][name]) for name in states}

        self._backend, self._steps = self._storage.backend, steps
        self._set_state(loaded)
        self._set_hyper(hyper)
        self._clip_norm = clip_norm

    def __setstate__(self, state: Any) -> None:
        """States that are maps of a file become arrays: joblib maps large ones for its workers."""
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in (part or {}).items():
                setattr(self, name, _own(value))
        self._state = {name: tuple(map(_own, arrays)) for name, arrays in self._state.items()}

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value!r}" for name, value in self._hyper.items())
        return f"{type(self).__name__}({hyper}, clip_norm={self.clip_norm!r})"


def _own(value: Any) -> Any:
    """A copy of an array that is a map of a file; anything else as it is."""
    return np.array(value) if isinstance(value, np.memmap) else value
