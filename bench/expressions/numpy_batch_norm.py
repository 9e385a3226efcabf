"""Batch normalization in array expressions: as a reader of the paper writes it, and tuned.

Tuned means that every pass goes into memory that is there. Both compute in the arrays' own
precision and give running statistics; `kernels`' own array engine is more careful (float64 sums)
and slower, so it is the reference for results and not for time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...backend import Array

EPS, MOMENTUM = 1e-5, 0.1


class _Expressions:
    """The arrays of one case, and their vectors along the channel axis."""

    def __init__(self, arrays: dict[str, Array], axis: int, relu: bool, xp: Any) -> None:
        self.x, self.dy, self.relu, self.xp = arrays["x"], arrays["dy"], relu, xp
        self.residual = arrays.get("residual")
        self.axes = tuple(k for k in range(self.x.ndim) if k != axis % self.x.ndim)
        self.m = self.x.size // arrays["gamma"].size
        shape = [1] * self.x.ndim
        shape[axis] = -1
        names = ("gamma", "beta", "running_mean", "running_var")
        self.gamma, self.beta, self.mean, self.var = (arrays[n].reshape(shape) for n in names)

    def update_running(self, mu: Array, var: Array) -> None:
        self.mean *= 1 - MOMENTUM
        self.mean += MOMENTUM * mu
        self.var *= 1 - MOMENTUM
        self.var += MOMENTUM * var * (self.m / (self.m - 1))


class Idiomatic(_Expressions):
    """A new array for every expression."""

    def forward(self) -> Any:
        mu = self.x.mean(axis=self.axes, keepdims=True)
        var = self.x.var(axis=self.axes, keepdims=True)
        self.update_running(mu, var)
        self.inv_std = 1 / self.xp.sqrt(var + EPS)
        self.xhat = (self.x - mu) * self.inv_std
        self.y = self.gamma * self.xhat + self.beta
        if self.residual is not None:
            self.y = self.y + self.residual
        if self.relu:
            self.y = self.xp.maximum(self.y, 0)
        return self.y

    def backward(self) -> Any:
        dy, xhat = self.dy, self.xhat
        if self.relu:
            dy = self.xp.where(self.y > 0, dy, 0)
        dbeta = dy.sum(axis=self.axes, keepdims=True)
        dgamma = (dy * xhat).sum(axis=self.axes, keepdims=True)
        dx = self.gamma * self.inv_std / self.m * (self.m * dy - dbeta - xhat * dgamma)
        beside = () if self.residual is None else (dy,)
        return dx, dgamma.reshape(-1), dbeta.reshape(-1), *beside

    def inference(self) -> Any:
        inv_std = 1 / self.xp.sqrt(self.var + EPS)
        y = self.gamma * ((self.x - self.mean) * inv_std) + self.beta
        if self.residual is not None:
            y = y + self.residual
        return self.xp.maximum(y, 0) if self.relu else y


class Tuned(_Expressions):
    """Every pass into arrays that were made before."""

    def __init__(self, arrays: dict[str, Array], axis: int, relu: bool, xp: Any) -> None:
        super().__init__(arrays, axis, relu, xp)
        self.y, self.xhat, self.dx, self.masked = (xp.empty_like(self.x) for _ in range(4))

    def forward(self) -> Any:
        xp, y, xhat = self.xp, self.y, self.xhat
        mu = self.x.mean(axis=self.axes, keepdims=True)
        xp.subtract(self.x, mu, out=xhat)
        xp.multiply(xhat, xhat, out=y)
        var = y.mean(axis=self.axes, keepdims=True)
        self.update_running(mu, var)
        self.inv_std = 1 / xp.sqrt(var + EPS)
        xp.multiply(xhat, self.inv_std, out=xhat)
        xp.multiply(xhat, self.gamma, out=y)
        xp.add(y, self.beta, out=y)
        self.add_residual(y)
        if self.relu:
            xp.maximum(y, 0, out=y)
        return y

    def add_residual(self, y: Array) -> None:
        if self.residual is not None:
            self.xp.add(y, self.residual, out=y)

    def backward(self) -> Any:
        """dx holds the products that are summed before it holds the result."""
        xp, xhat, dx, dy = self.xp, self.xhat, self.dx, self.dy
        if self.relu:
            dy = xp.multiply(dy, self.y > 0, out=self.masked)
        dbeta = dy.sum(axis=self.axes, keepdims=True)
        xp.multiply(dy, xhat, out=dx)
        dgamma = dx.sum(axis=self.axes, keepdims=True)
        scale = self.gamma * self.inv_std
        xp.multiply(xhat, -dgamma / self.m, out=dx)
        xp.add(dx, dy, out=dx)
        xp.subtract(dx, dbeta / self.m, out=dx)
        xp.multiply(dx, scale, out=dx)
        beside = () if self.residual is None else (dy,)
        return dx, dgamma.reshape(-1), dbeta.reshape(-1), *beside

    def inference(self) -> Any:
        xp, y = self.xp, self.y
        scale = self.gamma / xp.sqrt(self.var + EPS)
        xp.multiply(self.x, scale, out=y)
        xp.add(y, self.beta - self.mean * scale, out=y)
        self.add_residual(y)
        if self.relu:
            xp.maximum(y, 0, out=y)
        return y


def numpy_norm(made: Idiomatic | Tuned, what: str) -> Callable[[], Any]:
    """The call of one operation; "forward+backward" gives (y, dx, dgamma, dbeta), and behind these
    the gradient of a residual."""
    if what == "forward+backward":
        return lambda: (made.forward(), *made.backward())
    if what == "backward":
        made.forward()
    call: Callable[[], Any] = getattr(made, what)
    return call
