"""What every optimizer does around its kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from math import isfinite
from typing import Any, Protocol, TypedDict

import numpy as np

from .... import kernels
from ....backend import device_of
from ....backend.checks.arrays import check_arrays
from ....backend.checks.numbers import step_number
from ....kernels import in_order, prepare
from ....kernels.encoded_states import is_bfloat16, moved
from ....kernels.engine_table import Kept, find_engine
from ....kernels.launch import (
    AVERAGE,
    Runs,
    check_all,
    launch_all,
    norm_of_all,
)
from ....kernels.loss_scale import Changes, pending_steps, tables_of_all
from ...state_checks import check_keys
from ...types import Array, HostArray
from ..storage.flat_storage import FlatStorage
from ..storage.kinds import storage_of
from ..storage.storage import Arrays, Calls, Columns, Key, Storage
from . import groups as grouping
from . import options as own
from .clipping import clipped_scale
from .encoding import DEFAULTS as FORMATS
from .encoding import (
    NOT_SHARED,
    Encoding,
    Format,
    check_halves_of,
    norm_of,
)
from .formatted import Formatted
from .groups import Chosen, Named
from .tuned import ARRANGEMENT, Tuned


class Common(TypedDict, total=False):
    """The options that all optimizers have; `Optimizer` tells of them."""

    weight_decay: float
    decoupled: bool
    maximize: bool
    clip_norm: float | None
    clip_each_norm: float | None
    clip_value: float | None
    use_ema: bool
    ema_momentum: float
    swa_start: int | None
    swa_every: int
    groups: Named | None
    no_decay: Chosen | None
    frozen: Chosen | None
    state_format: Format
    state_format_by_name: Mapping[str, Format] | None
    block_size: int
    min_8bit_size: int
    rounding_seed: int
    engine: str


class Scaled(Protocol):
    """A scale of the loss, as `Optimizer.step_pending` takes it.

    Attributes:
        pending: the `PendingSteps` that have it; None where the host has.
        changes: how it changes.
    """

    pending: Any

    @property
    def changes(self) -> Changes: ...

    def settled(self) -> tuple[float, int]:
        """The scale, and for how many steps."""


class Optimizer(Formatted):
    """Updates arrays in place by one kernel, and keeps the states between steps.

    In place: after W_old = W, a step changes W_old too, and every view such as W.T; keep W.copy().

    Args:
        params: `net.parameters()`: one kernel call a step, each state one flat buffer, gradients
            taken from the network. Or a list or a dict of arrays: also in one go where all are
            NumPy arrays of one dtype without gaps in memory, or CuPy arrays without gaps (a kernel
            call for each dtype), else a kernel call for each.
            A generator, such as PyTorch's `module.parameters()`, is taken as a list. Or PyTorch's
            list of groups, [{"params": [a, b], "lr": 3e-3}, {"params": [c]}]: gradients are then
            one list in their order.
        lr: learning rate.
        weight_decay: L2 coefficient: adds weight_decay * param to the gradient, for biases too.
        decoupled: param is multiplied by 1 - lr weight_decay instead, apart from the gradient.
        maximize: go up the gradient instead of down.
        clip_norm: None, or the largest L2 norm of all gradients together; larger ones are scaled
            down to it. Reads the gradients once more, and waits for a GPU, but for captured steps.
        clip_each_norm: None, or the largest L2 norm of the gradient of each array by itself. Reads
            each once more, and waits for a GPU after each.
        clip_value: None, or the largest absolute value of an element of a gradient, to which larger
            ones are brought, after the others and before weight decay; in the kernel's own pass. An
            infinite parameter becomes NaN, as by weight decay.
        use_ema: keep an exponential average of the parameters beside them, average = m average +
            (1 - m) p after each step, in the kernel's own pass: `averages`, `averaged`. It has the
            parameters' dtype: in float16 it stands still where 1 - m of a difference is lost.
        ema_momentum: m.
        swa_start: None, or the step from which on the average is the mean of the parameters after
            every `swa_every` steps (stochastic weight averaging) instead.
        groups: hyperparameters of some arrays, by name: {"*.bias": {"weight_decay": 0.0}}, whose
            keys are names or patterns (of `fnmatch`), or [{"params": ["0.*"], "lr": 1e-4}].
            What no pattern matches is a group of its own, the first. However many there are, a
            step stays one kernel call (several by "array" and "numba-cuda"), of one rule:
            `nesterov`, say, is the same for all.
        no_decay: arrays that have weight_decay 0, in each group: "1-D" for those of one axis, such
            as biases and a norm's gamma and beta; a pattern, a list of patterns, or a function of
            name and array.
        frozen: arrays that stay as they are, told likewise; `clip_norm` does not count them.
        state_format: "float32", "bfloat16" or "8bit" of all states, or by the state's name, such as
            {"m": "8bit", "v": "bfloat16"}: 4 or 2 bytes of Adam's states for each parameter in
            place of 8, and steps that are faster the less of them memory has to carry; noise rounds
            them so that they are right in the mean. Such steps take each array by itself, of
            float32; or of bfloat16, whose lower halves are then a state named "remainder".
        state_format_by_name: other formats of some arrays, by name or pattern: {"*.bias":
            "float32", "embedding.*": {"m": "8bit"}}; of several that match, the last.
        block_size: in 8 bits, how many neighbours share a scale: a power of two from 64 to 2048.
        min_8bit_size: arrays of fewer elements have float32 in place of 8 bits.
        rounding_seed: of the noise; the same one gives the same states.
        engine: "auto", "array", "numba", "cupy" or "numba-cuda".

    Numbers and flags are plain attributes, checked when set: `optimizer.lr = 1e-4` sets that of
    all groups, in the proportion they have; `optimizer.param_groups[1]["lr"] = 1e-4` of one.

    Raises:
        TypeError: `params` are none of these, or an array is not floating.
        ValueError: a hyperparameter is out of its range; there are no arrays; two overlap, or one
            is read-only.
        EngineUnavailableError: the engine can't be had for these arrays.
    """

    __slots__ = ("_backend", "_engine", "_params", "_pending", "_whole_kept")

    def __init__(
        self,
        params: Arrays | Sequence[Mapping[str, Any]],
        *,
        groups: Named | None = None,
        no_decay: Chosen | None = None,
        frozen: Chosen | None = None,
        engine: str = "auto",
        **hyper: Any,
    ) -> None:
        options = {name: hyper.pop(name, default) for name, default in own.DEFAULTS.items()}
        formats = {name: hyper.pop(name, default) for name, default in FORMATS.items()}
        hyper = {**hyper, **Tuned.defaults, **self.defaults, **hyper}
        hyper = kernels.validate(self.rule, **hyper)
        self._steps = 0
        self._swapped = False
        self._take_options(own.checked(options))
        self._params, given = grouping.taken_apart(params)
        self._storage = storage_of(self._params)
        states = self.states_with(hyper, options)
        exact = prepare(self.rule, 1, in_order(self.rule, hyper), 1.0)[0].exact
        encoding = Encoding(states, exact, self._storage.arrays(), formats)
        self._encoding = None if encoding.plain else encoding
        if self._encoding is not None:
            self._storage = storage_of(self._params, each=True)
            self._encoding.check_options(options)
        self._backend = self._storage.backend
        self._arrange(hyper, given, groups, no_decay, frozen)
        self._whole_kept = Kept(0)
        self._pending: Any = None
        self.engine = engine
        self._state = {name: self._zeros(name) for name in self._states(hyper)}

    @property
    def params(self) -> Arrays:
        """The parameters as they were given: a generator's, and those of groups, as a list."""
        return self._params

    @property
    def steps(self) -> int:
        """How many steps were taken; a GPU that counts those of a `LossScaler` is waited for."""
        if self._pending is not None:
            self._steps = self._pending.settle().taken
        return self._steps

    @property
    def engine(self) -> str:
        """Who runs the kernel; EngineUnavailableError when set to one that can't."""
        return self._engine

    @engine.setter
    def engine(self, value: str) -> None:
        for target in self._storage.targets():
            if is_bfloat16(target):
                find_engine(value, target.view(np.float16), True)
            else:
                find_engine(value, target, check_arrays(["params"], [target]))
        self._engine = value

    def step(self, grads: Arrays | None = None, *, grad_scale: float = 1.0) -> None:
        """Update every parameter and state in place, once; gradients are left untouched (but added
        up, where several ranks step together: `DataParallel`).

        Args:
            grads: a gradient for each array, in the structure of `params`, of the same shapes,
                dtypes and device. None leaves a parameter and its states as they are in this
                step, though the count of steps goes on for all (PyTorch counts for each). With
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
            self._step(grads, grad_scale, care=False)
        else:
            with self._storage.beside:
                self._step(grads, grad_scale, care=False)

    def step_if_finite(self, grads: Arrays | None = None, *, grad_scale: float = 1.0) -> bool:
        """`step`, unless a gradient is inf or NaN: then nothing changes, and False is returned.

        Where there is `clip_norm`, the norm that it takes tells; else gradients are read once more.
        A GPU is waited for, but not in steps of a `LossScaler`.
        """
        with self._storage.beside or nullcontext():
            return self._step(grads, grad_scale, care=True)

    def step_pending(self, grads: Arrays | None, grad_scale: float, scaled: Scaled) -> Array | None:
        """`step` on a GPU, unless a gradient is inf or NaN, with gradients divided by a scale that
        lies there; the count of steps stays there, too, and nothing is waited for.

        Returns:
            whether it is taken, a bool on the GPU; None where nothing was done, since it takes
            another engine than "cupy", arrays with gaps or of float64, clip_each_norm, or states in
            16 or 8 bits.
        """
        options, on_cpu = self._options, self._storage.backend.device == "cpu"
        shared = self._storage.share is not None
        apart = self._encoding is not None or options["clip_each_norm"] is not None
        if on_cpu or shared or apart:
            return None
        with self._storage.beside or nullcontext():
            gradients, without = self._storage.gradients(grads)
            if self._storage.backend is not self._backend:
                self._follow()
            if not self._plain:
                self._begin()
            columns = (self._storage.targets(), gradients, *self._state.values())
            calls = self._storage.calls(columns, without)
            if not calls.columns[0]:
                return None
            tables = tables_of_all(calls.columns, self._engine, calls.kept)
            if tables is None:
                return None
            kernels.validate(self.rule, grad_scale=grad_scale)
            like, pending = calls.columns[0][0], self._pending
            if (
                pending is None
                or pending is not scaled.pending
                or pending.device != device_of(like)
            ):
                pending = pending_steps(like, self.steps, *scaled.settled())
                scaled.pending = self._pending = pending
            taken: Array = pending.step(
                tables, (self._values, options, self._swapped),
                lambda step: self._prepared(step, 1.0), grad_scale, options["clip_norm"],
                scaled.changes,
            )  # fmt: skip
            self._steps = pending.known.taken  # the least that it may be
            return taken

    def _step(self, grads: Arrays | None, grad_scale: float, care: bool) -> bool:
        if (share := self._storage.share) is not None:
            grad_scale = share * kernels.validate(self.rule, grad_scale=grad_scale)["grad_scale"]
        gradients, without = self._storage.gradients(grads)
        if self._storage.backend is not self._backend:
            self._follow()
        if not self._plain:
            self._begin()
        columns = (self._storage.targets(), gradients, *self._state.values())
        calls, encoding = self._storage.calls(columns, without), self._encoding
        if self._pending is not None:
            self._count_here()

        def check(columns: Columns) -> None:
            self._check(calls)

        if calls.columns[0] or share is not None:  # a rank may have nothing to step
            clip_norm = self._options["clip_norm"]
            if clip_norm is not None or care:
                if encoding is not None:
                    encoding.calls(calls, self._prepared(self._steps + 1, 1.0)[0], (*self._state,))
                elif calls.columns[0]:
                    check_all(calls.columns, self._engine, calls.kept, check)
                kernels.validate(self.rule, grad_scale=grad_scale)
                norm = self._norm(columns, calls)
                if care and not isfinite(norm):
                    return False
                if clip_norm is not None:
                    grad_scale = clipped_scale(norm, grad_scale, clip_norm)
            factors = None if self._plain else self._factors(gradients, grad_scale, without)
            prepared = self._prepared(self._steps + 1, grad_scale, factors)
            if encoding is not None:
                encoding.step(prepared, calls, (*self._state,), self._engine, self._steps + 1)
            elif calls.columns[0]:
                launch_all(prepared, calls.columns, self._engine, calls.kept, check)
        if share is not None:
            self._storage.stepped()
        self._steps += 1
        return True

    def _count_here(self) -> None:
        """From now on the host counts steps."""
        self._steps, self._pending = self.steps, None

    def _factors(
        self, gradients: tuple[Array, ...], grad_scale: float, without: frozenset[Key]
    ) -> list[float] | None:
        """On the gradient of each array that is stepped, to bring its norm to the bound."""
        most = self._options["clip_each_norm"]
        if most is None:
            return None
        kernels.validate(self.rule, grad_scale=grad_scale)
        stepped = [key for key in self._storage.arrays() if key not in self.frozen]
        if self._storage.share is not None:
            norms = self._storage.norms(stepped)
        else:
            views = self._storage.views(gradients)
            norms = [0.0 if k in without else norm_of([views[k]], self._engine) for k in stepped]
        return [
            clipped_scale(abs(grad_scale) * norm, 1.0, most, f"grads[{key!r}]")
            for key, norm in zip(stepped, norms, strict=True)
        ]

    @property
    def averages(self) -> dict[Key, Array]:
        """The average of each parameter, by name or index: views of what a step writes; of a frozen
        one the parameter itself. Copies, which all ranks are to ask for, where each has a part.

        Raises:
            ValueError: none is kept.
        """
        return self._pairs()[1]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A block in which the parameters are their averages, to evaluate or to save the network.

        They change places in memory, so that every name and view shows the averages; afterwards
        they change back. Batch norm's running statistics are left as they are.

        Raises:
            ValueError: no average is kept, or this is inside such a block; a step inside it.

        Example:
            >>> import numpy as np
            >>> from onepass.nets import SGD
            >>> w = np.zeros(1)
            >>> optimizer = SGD([w], lr=1.0, swa_start=1)
            >>> for _ in range(3):
            ...     optimizer.step([np.ones(1)])
            >>> with optimizer.averaged():
            ...     print(w)
            [-2.]
            >>> w
            array([-3.])
        """
        if self._swapped:
            raise ValueError("the parameters are their averages already; expected one block")
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _pairs(self) -> tuple[dict[Key, Array], dict[Key, Array]]:
        """All parameters, and for each its average."""
        if AVERAGE not in self._state:
            raise ValueError(
                f"{type(self).__name__} keeps no average; expected one made with use_ema=True, or "
                "with swa_start"
            )
        self._follow()
        self._begin()
        params = dict(self._storage.arrays())
        averages = self._storage.views([*map(self._storage.whole, self._state[AVERAGE])])
        return params, {key: (params if key in self._frozen else averages)[key] for key in params}

    def _begin(self) -> None:
        """Until the first step an average is the parameters, whatever was loaded into them."""
        if self._steps == 0 and AVERAGE in self._state and self.steps == 0:
            with self._storage.backend.scope():
                pairs = zip(self._storage.targets(), self._state[AVERAGE], strict=True)
                for param, average in pairs:
                    average[...] = param

    def _swap(self) -> None:
        """Let parameters and averages change places; all memory is there before the first does."""
        params, averages = self._pairs()
        with self._storage.beside or nullcontext(), self._storage.backend.scope():
            moved = [key for key in params if key not in self._frozen]
            kept = {key: params[key].copy() for key in moved}
            for key in moved:
                params[key][...] = averages[key]
            for key in moved:
                averages[key][...] = kept[key]
            self._storage.take_back(self._state[AVERAGE], averages)
        self._swapped = not self._swapped

    def _norm(self, columns: Columns, calls: Calls) -> float:
        """That of the gradients of all parameters that are stepped."""
        if self._storage.share is not None:
            return self._storage.norm(calls.keys)
        if self._encoding is not None:
            return norm_of(calls.columns[1], self._engine)
        if len(calls.keys) == len(self._storage.arrays()):
            whole = calls.kept if calls.columns is columns else self._whole_kept
            return norm_of_all(columns, self._engine, whole)
        return norm_of_all(calls.columns, self._engine, calls.kept)

    def columns(self) -> tuple[tuple[Array, ...], ...]:
        """The arrays of a step with the network's own gradients: all parameters, all gradients, and
        each state; made from `net.parameters()`, one array each."""
        self._follow()
        if not self._plain:
            self._begin()
        return (self._storage.targets(), self._storage.network_gradients(), *self._state.values())

    def runs(self) -> Runs:
        """Which of their elements are stepped, by which group."""
        assert isinstance(self._storage, FlatStorage)
        return self._storage.runs()

    def stepped(self, steps: int) -> None:
        """A program, or a graph on a GPU, took that many steps."""
        self._count_here()
        self._steps += steps

    def store(self, storage: FlatStorage) -> None:
        """Go on with the same parameters in another storage, which takes all states over."""
        if self._encoding is not None:
            raise ValueError(NOT_SHARED)
        self._count_here()
        self._follow()
        self._begin()
        states = {name: self._storage.whole(state) for name, (state,) in self._state.items()}
        self._state = {name: (storage.part(state),) for name, state in states.items()}
        self._storage = storage
        self._arrange_calls()
        self._whole_kept = Kept(0)

    @property
    def storage(self) -> Storage:
        """How parameters and states are kept."""
        return self._storage

    def _check(self, calls: Calls) -> None:
        self._storage.check(calls, tuple(self._state))

    def _follow(self) -> None:
        """Bring the states to where the parameters are now."""
        backend, old = self._storage.backend, self._backend
        if backend != old:
            self._state = {
                name: tuple(
                    moved(each, lambda array: backend.asarray(old.to_numpy(array)))
                    for each in arrays
                )
                for name, arrays in self._state.items()
            }
            self._backend = backend
            self._storage.forget()

    def state_dict(self) -> dict[str, Any]:
        """A checkpoint of plain Python values and NumPy copies.

        Returns:
            {"optimizer": name of the class, "step": steps taken, "hyper": {name: value},
            "state": {state: {parameter's name or index: array}}}. Where there are groups, also
            "groups": for each its "params" by name or index, its own "hyper", and "lr_of", the
            optimizer's lr when its own was set; and "frozen", likewise. The engine is left out: it
            belongs to a machine.
        """
        self._check_outside()
        self._follow()
        self._begin()
        return {
            "optimizer": type(self).__name__,
            "step": self.steps,
            "hyper": {**self._hyper, **self._options},
            "state": self.copies(),
            **self.arrangement(),
        }

    def copies(self, kept: bool = True) -> dict[str, dict[Key, HostArray]]:
        """Copies of each state by name, then by parameter; with `kept` False of none, as for all
        ranks but the one that writes, which are asked for their part of each in turn."""
        self._check_outside()
        self._follow()
        self._begin()
        found = {}
        for name, arrays in self._state.items():
            wholes = [*map(self._storage.whole, arrays)]
            found[name] = self._storage.split(wholes) if kept else {}
        return found

    def _check_outside(self) -> None:
        """Refuse what would take averages for parameters."""
        if self._swapped:
            raise ValueError(
                "the parameters are their averages here, inside averaged(); expected the "
                "optimizer's state to be taken outside, or the network to be saved alone"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: all of it is taken, hyperparameters too, or nothing.

        It may come from another device, and from a dict where this has a network's parameters of
        the same names, or the other way round.

        Raises:
            TypeError: something has another type or dtype.
            ValueError: another optimizer made it, keys or names are missing or unexpected, a
                shape is another, or a hyperparameter is out of its range.
        """
        self._check_outside()
        also = [name for name in ARRANGEMENT if isinstance(state, Mapping) and name in state]
        check_keys(state, ("optimizer", "step", "hyper", "state", *also), "state")
        if state["optimizer"] != type(self).__name__:
            raise ValueError(
                f"state is of {state['optimizer']}; expected one of {type(self).__name__}"
            )
        steps = state["step"]
        if type(steps) is not int or steps != 0:
            steps = step_number("state['step']", steps)
        hyper = state["hyper"]
        if isinstance(hyper, Mapping) and "clip_norm" in hyper:  # the others came later
            added = {**own.DEFAULTS, **Tuned.defaults, **self.defaults}
            hyper = {**hyper, **added, **hyper}
        hyper = dict(check_keys(hyper, [*self._hyper, *self._options], "state['hyper']"))
        options = own.checked({name: hyper.pop(name) for name in self._options})
        hyper = kernels.validate(self.rule, **hyper)
        groups = self._arranged(state)
        states = self._states(hyper, groups, options)
        check_halves_of(state["state"], states)
        check_keys(state["state"], states, "state['state']")
        loaded = {
            name: self._storage.join(self._checked_state(name, state["state"][name]))
            for name in states
        }

        self._set_hyper(hyper, groups)
        for group, other in zip(self._groups, groups, strict=True):
            group.take(other)
        self._backend, self._state = self._storage.backend, loaded
        self._steps, self._pending = steps, None
        self._take_options(options)
        self._arrange_calls()

    def __getstate__(self) -> Any:
        self._check_outside()
        self._count_here()
        return super().__getstate__()

    def __setstate__(self, state: Any) -> None:
        """States that are maps of a file become arrays: joblib maps large ones for its workers."""
        self._pending = self._encoding = None  # what is of an older version may lack it
        for part in state if isinstance(state, tuple) else (state,):
            for name, value in (part or {}).items():
                setattr(self, name, _own(value))
        self._state = {
            name: tuple(moved(each, _own) for each in arrays)
            for name, arrays in self._state.items()
        }
        self._groups = tuple(map(copy, self._groups))  # a shallow copy has its own, too
        for group in self._groups:
            group.belong(self)


def _own(value: Any) -> Any:
    """A copy of an array that is a map of a file; anything else as it is."""
    return np.array(value) if isinstance(value, np.memmap) else value
