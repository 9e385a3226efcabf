"""Hyperparameters as plain attributes that refuse bad values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, Self, TypeVar, overload

T = TypeVar("T")


class Tunable(Protocol):
    """What has hyperparameters: it keeps them in `hyper`, and checks what it is tuned to."""

    @property
    def hyper(self) -> Mapping[str, Any]: ...

    def tune(self, **changes: Any) -> None: ...


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
    def __get__(self, optimizer: Tunable, owner: type) -> T: ...

    def __get__(self, optimizer: Tunable | None, owner: type) -> T | Self:
        if optimizer is None:
            return self
        value: T = optimizer.hyper[self.name]
        return value

    def __set__(self, optimizer: Tunable, value: T) -> None:
        optimizer.tune(**{self.name: value})
