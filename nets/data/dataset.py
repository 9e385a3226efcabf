"""A data set: samples and labels, some of them held out."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import HostArray


@dataclass(frozen=True)
class Dataset:
    """Samples and labels for training, and others held out for testing, as NumPy arrays.

    Attributes:
        x_train, x_test: shape (n, features), float32, a row a sample.
        y_train, y_test: shape (n,), int64, class numbers.
        classes: how many classes there are.
        name: what messages and reports call it.

    Raises:
        ValueError: samples and labels differ in number, the two parts differ in width, or a label
            is outside 0..classes-1.
    """

    x_train: HostArray
    y_train: HostArray
    x_test: HostArray
    y_test: HostArray
    classes: int
    name: str

    def __post_init__(self) -> None:
        for part, x, y in (
            ("train", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if x.ndim != 2 or y.shape != x.shape[:1]:
                raise ValueError(
                    f"x_{part} and y_{part} have shapes {x.shape} and {y.shape}; expected "
                    "(n, features) and (n,)"
                )
            if y.size and not 0 <= y.min() <= y.max() < self.classes:
                raise ValueError(
                    f"y_{part} holds {y.min()} to {y.max()}; expected 0..{self.classes - 1}"
                )
        if self.x_train.shape[1] != self.x_test.shape[1]:
            raise ValueError(
                f"x_train has {self.x_train.shape[1]} features and x_test has "
                f"{self.x_test.shape[1]}; expected the same number"
            )

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, {len(self.x_train)} + {len(self.x_test)} samples of "
            f"{self.x_train.shape[1]} features, {self.classes} classes)"
        )
