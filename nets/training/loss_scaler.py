"""Loss scaling: gradients of float16 networks, kept within what float16 can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend import device_of
from ...backend.checks.numbers import count, finite_number, fraction, positive
from ...kernels.loss_scale import LEAST, MOST, Changes, Report
from ..optimizers.frame.optimizer import Optimizer
from ..optimizers.storage.storage import Arrays
from ..state_checks import check_keys
from ..types import Array


class LossScaler:
    """A factor on the loss's gradient that is as large as float16 lets it be.

    Gradients below 6e-8 are 0 in float16. So the gradient of the loss is multiplied by a scale
    before it goes back through the layers, and the optimizer's step divides by it. Where a gradient
    is inf or NaN the step changes nothing, and the scale falls:

        found inf or NaN:   scale *= backoff_factor
        else, for growth_interval steps in a row:   scale *= growth_factor

    Args:
        init_scale: the first scale, > 0.
        growth_factor: >= 1.
        backoff_factor: in (0, 1).
        growth_interval: steps without inf or NaN after which the scale grows, at least 1.

    `fit(..., loss_scaler=LossScaler())` does all of it. In a loop of one's own:

        loss, gradient = criterion(net.forward(x, train=True), labels)
        net.backward(scaler.scaled(gradient))
        scaler.step(optimizer)

    Raises:
        TypeError, ValueError: an argument is out of its range.

    Conventions: as PyTorch's GradScaler, whose `step` and `update` are one call here. Where the
        optimizer has `clip_norm`, it clips the gradients after they were divided by the scale; the
        norm says, too, whether they are finite, so each gradient is read twice. A scale does not
        grow beyond what float32 holds.
        On a GPU scale and count of steps stay in its memory, and nothing is waited for until
        someone reads them: `scale`, `state_dict`, `optimizer.steps`, the flag that `step` returns.
        A host that is 256 steps ahead waits once; so do, until its first step, an optimizer that
        keeps an average, and a scaler that goes from one optimizer to another. Gradients that stay
        inf or NaN are told at a later step. Engines "array" and "numba-cuda", float64, arrays with
        gaps and `clip_each_norm` wait in each step.
    Source: Micikevicius et al. 2018, "Mixed precision training", section 3.2.

    Example:
        >>> import numpy as np
        >>> from onepass.nets import SGD, LossScaler
        >>> w, scaler = np.ones(1), LossScaler(init_scale=4.0)
        >>> optimizer = SGD([w], lr=0.5)
        >>> scaler.step(optimizer, [np.array([np.inf])]), scaler.scale, w
        (False, 2.0, array([1.]))
        >>> scaler.step(optimizer, [scaler.scaled(np.ones(1))]), w
        (True, array([0.5]))
    """

    pending: Any = None
    """The steps on a GPU that have the scale; None where it is here."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self.growth_factor = finite_number("growth_factor", growth_factor)
        if self.growth_factor < 1:
            raise ValueError(f"growth_factor is {growth_factor!r}; expected a number >= 1")
        self.backoff_factor = fraction("backoff_factor", backoff_factor)
        if not 0 < self.backoff_factor < 1:
            raise ValueError(f"backoff_factor is {backoff_factor!r}; expected a number in (0, 1)")
        self.growth_interval = count("growth_interval", growth_interval)
        self.init_scale = positive("init_scale", init_scale)
        self._scale, self._since = self.init_scale, 0

    @property
    def scale(self) -> float:
        """The present scale; where it lies on a GPU, that is waited for."""
        return self.settled()[0]

    def settled(self) -> tuple[float, int]:
        """The present scale, and how many steps were taken since it changed; likewise."""
        if self.pending is not None:
            self._scale, self._since = self.pending.settle()[:2]
        return self._scale, self._since

    @property
    def changes(self) -> Changes:
        """How the scale changes."""
        return Changes(self.growth_factor, self.backoff_factor, self.growth_interval)

    def scaled(self, gradient: Array) -> Array:
        """The gradient of the loss times the scale, of its own dtype: inf where that ends."""
        if self.pending is not None:
            if self.pending.device == device_of(gradient):
                scaled: Array = self.pending.scaled(gradient)
                return scaled
            self.settled()
        dtype = gradient.dtype
        with np.errstate(over="ignore"):
            if dtype != "float16":
                return gradient * dtype.type(self._scale)
            return (gradient.astype("float32") * np.float32(self._scale)).astype(dtype)

    def step(
        self, optimizer: Optimizer, grads: Arrays | None = None, *, grad_scale: float = 1.0
    ) -> bool | Array:
        """A step of the optimizer with gradients divided by the scale, and the next scale.

        Args:
            optimizer: whose `step` takes `grads`, and `grad_scale` beside the scale.

        Raises:
            FloatingPointError: gradients stay inf or NaN however small the scale is.

        Returns:
            whether it was taken; False where a gradient is inf or NaN, and nothing was written. On
            a GPU that is not waited for, a bool there, of shape (): `bool` of it waits.
        """
        if self.pending is not None:
            self._look(self.pending.hear())
        taken = optimizer.step_pending(grads, grad_scale, self)
        if taken is not None:
            return taken
        scale, since = self.settled()
        finite = optimizer.step_if_finite(grads, grad_scale=grad_scale / scale)
        self.pending = None
        if not finite:
            smaller = scale * self.backoff_factor
            if smaller < LEAST:
                raise stuck(scale)
            self._scale, self._since = smaller, 0
            return False
        self._since = since + 1
        if self._since == self.growth_interval:
            larger = scale * self.growth_factor
            self._scale = larger if larger < MOST else scale
            self._since = 0
        return True

    def wait(self) -> None:
        """Wait for all steps on a GPU; FloatingPointError as from `step`."""
        if self.pending is not None:
            self._look(self.pending.settle())

    def _look(self, report: Report) -> None:
        if report.stuck > self.pending.told:
            self.pending.told = report.stuck
            raise stuck(report.scale)

    def state_dict(self) -> dict[str, Any]:
        """{"scale": the present one, "since": steps since it changed}, of plain numbers."""
        return dict(zip(("scale", "since"), self.settled(), strict=True))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; TypeError or ValueError where it is none."""
        check_keys(state, ("scale", "since"), "state")
        scale = positive("state['scale']", state["scale"])
        since = state["since"]
        if type(since) is not int or not 0 <= since < self.growth_interval:
            raise ValueError(
                f"state['since'] is {since!r}; expected an integer from 0 to "
                f"{self.growth_interval - 1}, since growth_interval is {self.growth_interval}"
            )
        self._scale, self._since = scale, since
        self.pending = None

    def __getstate__(self) -> dict[str, Any]:
        self.settled()
        return {**vars(self), "pending": None}

    def __repr__(self) -> str:
        return (
            f"LossScaler(scale={self.scale!r}, growth_factor={self.growth_factor!r}, "
            f"backoff_factor={self.backoff_factor!r}, growth_interval={self.growth_interval!r})"
        )


def stuck(scale: float) -> FloatingPointError:
    """What tells that no smaller scale would help."""
    return FloatingPointError(
        f"gradients are inf or NaN at a scale of {scale}, and were at all larger ones; nothing was "
        "updated. It is not for the scale: lower lr, or look for the layer that makes them "
        "(onepass.nets.gradient_check)"
    )
