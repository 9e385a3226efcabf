"""What every layer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, TypeAlias

import numpy as np

from ..state_checks import check_keys
from ..types import Array, HostArray, Shape

Recorded: TypeAlias = Callable[[Array, bool], Array]
"""Writes a backward down: (dy, input_grad) -> dx."""


class Layer(ABC):
    """A differentiable function of rows, with or without parameters of its own.

    A layer states what it needs (`shapes`) and how that starts (`initial`); a `Sequential` hands
    it views into the network's buffers (`bind`). `forward(x, train=True)` saves what `backward`
    needs; `forward(x)` saves nothing, and so leaves a pending backward as it is.

    Attributes:
        in_features, out_features: width of a row going in and coming out, x.shape[1] and
            y.shape[1]; None: takes any width and keeps it. Images too: `fit` hands over rows, so a
            convolution that comes first has in_features = C H W, reshapes x to (n, C, H, W), and
            with y of shape (n, F, H', W') has out_features = F; BatchNorm(F) and another
            convolution (in_features = F) go behind, and what flattens y, for Dense, has
            in_features = F and out_features = F H' W'. A layer that leaves out what it changes
            makes a network tell of a wrong width.
        least_rows: rows that a training batch must have at least.
        stochastic: whether forward(x, train=True) draws random numbers. Without train such a layer
            must be the identity: a gradient check leaves it out.
    """

    in_features: int | None = None
    out_features: int | None = None
    least_rows: int = 1
    stochastic: bool = False

    _params: Mapping[str, Array] | None = None
    _grads: Mapping[str, Array] | None = None
    _buffers: Mapping[str, Array] | None = None
    _saved: Any = None

    def shapes(self) -> dict[str, Shape]:
        """Name -> shape of each parameter; none by default."""
        return {}

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        """Name -> first value of each parameter, drawn from `rng` on the CPU."""
        return {}

    def initial_buffers(self) -> dict[str, HostArray]:
        """Name -> first value of each buffer: what forward(train=True) keeps but nothing learns."""
        return {}

    def config(self) -> dict[str, Any]:
        """The constructor's arguments as they are now: `type(layer)(**layer.config())` is alike.

        Each is looked up as the attribute of its name. A file holds them as JSON.

        Raises:
            TypeError: there is no such attribute, which a layer of your own needs to be saved, or a
                `config` of its own.
        """
        names = list(signature(type(self)).parameters)
        if missing := [name for name in names if not hasattr(self, name)]:
            raise TypeError(
                f"{self!r} keeps no {', '.join(map(repr, missing))}; expected an attribute for "
                "each argument of its constructor, or a method config() that returns them"
            )
        return {name: getattr(self, name) for name in names}

    def seed(self, seed: int) -> None:
        """Draw random numbers from `seed`, 0 to 2^64 - 1, from now on; most layers draw none.

        A network calls it once, with a number told from its own seed and the layer's place.
        """
        return None

    def state(self) -> dict[str, int]:
        """What the next random numbers depend on, ready for JSON; nothing by default."""
        return {}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Go on from what `state()` gave: the same random numbers follow.

        Raises:
            TypeError, ValueError: `state` is not what `state()` gives; nothing was changed.
        """
        check_keys(state, self.state(), f"state of {self!r}")

    def why_no_graph(self) -> str:
        """Why a step on a GPU can't be captured with this layer, or "".

        What forward and backward ask of the GPU is done again as it was asked for once: whatever in
        Python changes from step to step, such as a `state()`, stays as it was then.
        """
        return "its state() changes with the step" if self.state() or self.stochastic else ""

    def bind(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array] | None = None,
    ) -> None:
        """Read `params`, write `grads` and `buffers` from now on; what a forward saved is dropped.

        Raises:
            ValueError: names or shapes are not those of `shapes()` and `initial_buffers()`.
        """
        for word, arrays in (("params", params), ("grads", grads)):
            given = {name: tuple(array.shape) for name, array in arrays.items()}
            if given != self.shapes():
                raise ValueError(f"{word} of {self!r} is {given}; expected {self.shapes()}")
        given = {name: tuple(array.shape) for name, array in (buffers or {}).items()}
        expected = {name: value.shape for name, value in self.initial_buffers().items()}
        if given != expected:
            raise ValueError(f"buffers of {self!r} is {given}; expected {expected}")
        self._params, self._grads, self._buffers = params, grads, buffers or {}
        self._saved = None

    @property
    def bound(self) -> bool:
        """Whether a network has given this layer its arrays."""
        return self._params is not None

    @property
    def params(self) -> Mapping[str, Array]:
        """Name -> parameter, a view that each step writes; RuntimeError before `bind`."""
        if self._params is None:
            raise RuntimeError(f"{self!r} has no arrays yet; put it into a Sequential first")
        return self._params

    @property
    def grads(self) -> Mapping[str, Array]:
        """Name -> gradient, a view that each backward overwrites; RuntimeError before `bind`."""
        if self._grads is None:
            raise RuntimeError(f"{self!r} has no arrays yet; put it into a Sequential first")
        return self._grads

    @property
    def buffers(self) -> Mapping[str, Array]:
        """Name -> buffer; RuntimeError before `bind`."""
        if self._buffers is None:
            raise RuntimeError(f"{self!r} has no arrays yet; put it into a Sequential first")
        return self._buffers

    @property
    def saved(self) -> Any:
        """What the last `forward(x, train=True)` saved; RuntimeError where there was none."""
        if self._saved is None:
            raise RuntimeError(f"backward of {self!r} needs forward(x, train=True) before it")
        return self._saved

    @abstractmethod
    def forward(self, x: Array, train: bool = False) -> Array:
        """The output for rows `x`, which is left untouched; `train` saves what backward needs."""

    @abstractmethod
    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        """Overwrite the gradients of the parameters, and return dJ/dx.

        Args:
            dy: dJ/dy of the last `forward(x, train=True)`; left untouched.
            input_grad: False leaves dJ/dx out and returns None: what precedes the first
                parameters of a network needs no gradient, and a matrix product is saved.
        """

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        """Write `forward` down as calls of kernels; (y, what writes `backward` down).

        So a step on the CPU runs as one program (`capture`). x and y are arrays whose values come
        later; what writes backward down takes dy, which may be overwritten, and input_grad, and
        returns dx. On a GPU it isn't called: what `forward` and `backward` launch is captured.
        Where a class has a `forward` or `backward` newer than its `record`, or no `record`, the
        network is called layer by layer as ever, on both.

        Args:
            recorder: has the kernels that can be written down as its methods, and `empty` and
                `release` for memory.

        Raises:
            NotImplementedError: it can't be written down, or not with these settings.
        """
        raise NotImplementedError(f"{self!r} has no method record")

    def __getstate__(self) -> dict[str, Any]:
        """Without the views and what was saved: a network binds its layers again."""
        left_out = ("_params", "_grads", "_buffers", "_saved")
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def no_backward(dy: Array, input_grad: bool) -> Array:
    """What a `record` without train returns beside y."""
    raise NotImplementedError("inference has no backward")
