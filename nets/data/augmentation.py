"""Random changes of images that leave their labels true."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.checks.numbers import count, finite_number, non_negative, one_of
from ..types import Array, Shape
from .images import as_images, flip, move

_FLIPS = ("none", "horizontal", "vertical", "both")


class Augmentation:
    """Every image of a batch flipped, rotated, zoomed and shifted at random, each on its own.

    `fit(..., augment=Augmentation(...))` calls it with every training batch, so that no epoch
    shows the same images; what is validated and predicted stays as it is.

    Args:
        flip: "none", or mirror half of the images: "horizontal" (left to right), "vertical", or
            "both", one apart from the other. Not for digits and letters, which mean something
            else in a mirror.
        rotate: degrees; angles are drawn uniformly from -rotate..rotate.
        zoom: z < 1 draws factors uniformly from 1 - z..1 + z; a pair (low, high) from between them.
            Above 1 the middle is enlarged.
        shift: whole pixels; moves up or down, and left or right, by -shift..shift, uniformly. A
            pair is (vertical, horizontal).
        shape: (H, W) or (C, H, W) of images that are rows, as networks of Dense layers take them.
        fill: the value outside an image: black. 0 by default.

    Called with a batch and a NumPy generator, on any device: what is drawn is drawn on the CPU,
    always as many numbers, and so is the same everywhere. The batch is left untouched. It is
    resampled once, whatever is asked for, by linear interpolation; conventions:
    `onepass.nets.data.images`. Without rotate, zoom and shift no SciPy is needed.

    Raises:
        TypeError, ValueError: an argument is out of its range; (called) `x` is no such batch.
        ImportError: SciPy is needed and not installed.

    Example:
        >>> import numpy as np
        >>> augment = Augmentation(rotate=10, zoom=0.1, shift=1, shape=(8, 8))
        >>> augment(np.ones((32, 64), "float32"), np.random.default_rng(0)).shape
        (32, 64)
    """

    def __init__(
        self,
        flip: str = "none",
        rotate: float = 0.0,
        zoom: float | tuple[float, float] = 0.0,
        shift: int | tuple[int, int] = 0,
        *,
        shape: Shape | None = None,
        fill: float = 0.0,
    ) -> None:
        self.flip: str = one_of(*_FLIPS)("flip", flip)
        self.rotate = non_negative("rotate", rotate)
        self.zoom = _range(zoom)
        pair = shift if isinstance(shift, (tuple, list)) else (shift, shift)
        if len(pair) != 2:
            raise ValueError(f"shift is {shift!r}; expected pixels, or (vertical, horizontal)")
        self.shift = tuple(count("shift", k) if k != 0 else 0 for k in pair)
        self.shape = None if shape is None else tuple(shape)
        self.fill = finite_number("fill", fill)

    def __call__(self, x: Array, rng: np.random.Generator) -> Array:
        images = as_images(x, self.shape)
        n = len(images)
        mirrored = rng.random((2, n)) < 0.5
        angle = rng.uniform(-self.rotate, self.rotate, n)
        factor = rng.uniform(*self.zoom, n)
        down, right = (rng.integers(-k, k, n, endpoint=True) for k in self.shift)
        with backend_of(x).scope():
            out = images
            if self.flip in ("horizontal", "both"):
                out = flip(out, mirrored[0], -1)
            if self.flip in ("vertical", "both"):
                out = flip(out, mirrored[1], -2)
            if self.rotate or self.zoom != (1, 1) or any(self.shift):
                out = move(out, angle, factor, down, right, self.fill)
            return out.reshape(x.shape) if out is not images else x.copy()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Augmentation({shown})"


def _range(zoom: Any) -> tuple[float, float]:
    """The smallest and the largest factor."""
    expected = "expected a number in [0, 1), or a pair of factors 0 < low <= high"
    if isinstance(zoom, (tuple, list)):
        if len(zoom) != 2:
            raise ValueError(f"zoom is {zoom!r}; {expected}")
        low, high = (finite_number("zoom", factor) for factor in zoom)
    else:
        z = finite_number("zoom", zoom, expected.removeprefix("expected "))
        low, high = 1 - z, 1 + z
    if not 0 < low <= high:
        raise ValueError(f"zoom is {zoom!r}; {expected}")
    return low, high
