"""Hyperparameters as plain attributes that refuse bad values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from .optimizer import Optimizer

T = TypeVar("T")


class Hyperparameter(Generic[T]):
    """An attribute of an optimizer, checked by `kernels.validate` whenever it is set.

    Example:
        >>> import numpy as np
        >>> from onepass.nets import SGD
        >>> optimizer = SGD([np.zeros(3)], lr=0.1)
        >>> optimizer.lr *= 0.5
        >>> optimizer.lr = -1
        Traceback (most recent call last):
        ValueError: lr is -1; expected a finite number >= 0
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, optimizer: None, owner: type) -> Self: ...

    @overload
    def __get__(self, optimizer: Optimizer, owner: type) -> T: ...

    def __get__(self, optimizer: Optimizer | None, owner: type) -> T | Self:
        if optimizer is None:
            return self
        value: T = optimizer.hyper[self.name]
        return value

    def __set__(self, optimizer: Optimizer, value: T) -> None:
        optimizer.tune(**{self.name: value})
