"""Loss scaling: gradients of float16 networks, kept within what float16 can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backend.checks.numbers import count, finite_number, fraction, positive
from ..optimizers.optimizer import Optimizer
from ..optimizers.updated_arrays import Arrays
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
        norm says, too, whether they are finite, so each gradient is read twice. On a GPU that is
        waited for. A scale does not grow beyond what float32 holds.
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
        """The present scale."""
        return self._scale

    def scaled(self, gradient: Array) -> Array:
        """The gradient of the loss times the scale, of its own dtype: inf where that ends."""
        dtype = gradient.dtype
        with np.errstate(over="ignore"):
            if dtype != "float16":
                return gradient * dtype.type(self._scale)
            return (gradient.astype("float32") * np.float32(self._scale)).astype(dtype)

    def step(
        self, optimizer: Optimizer, grads: Arrays | None = None, *, grad_scale: float = 1.0
    ) -> bool:
        """A step of the optimizer with gradients divided by the scale, and the next scale.

        Args:
            optimizer: whose `step` takes `grads`, and `grad_scale` beside the scale.

        Raises:
            FloatingPointError: gradients stay inf or NaN however small the scale is.

        Returns:
            whether it was taken; False where a gradient is inf or NaN, and nothing was written.
        """
        taken = optimizer.step_if_finite(grads, grad_scale=grad_scale / self._scale)
        if not taken:
            smaller = self._scale * self.backoff_factor
            if smaller < LEAST:
                raise FloatingPointError(
                    f"gradients are inf or NaN at a scale of {self._scale}, and were at all larger "
                    "ones; nothing was updated. It is not for the scale: lower lr, or look for the "
                    "layer that makes them (onepass.nets.gradient_check)"
                )
            self._scale, self._since = smaller, 0
            return False
        self._since += 1
        if self._since == self.growth_interval:
            larger = self._scale * self.growth_factor
            self._scale = larger if larger < MOST else self._scale
            self._since = 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """{"scale": the present one, "since": steps since it changed}, of plain numbers."""
        return {"scale": self._scale, "since": self._since}

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

    def __repr__(self) -> str:
        return (
            f"LossScaler(scale={self._scale!r}, growth_factor={self.growth_factor!r}, "
            f"backoff_factor={self.backoff_factor!r}, growth_interval={self.growth_interval!r})"
        )


LEAST, MOST = 2.0**-64, 2.0**127
"""Scales between which float32 holds what is scaled."""
