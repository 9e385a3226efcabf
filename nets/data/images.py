"""Flips, rotations, zooms and shifts of whole batches of images.

Conventions, which all of these share:

- Images are (n, H, W), or (n, C, H, W) with channels that move together, or rows (n, H W) or
  (n, C H W) with `shape=(H, W)` or `(C, H, W)`. Row 0 is the top. What is returned has the shape,
  dtype and device of `x`, in memory of its own; `x` is left untouched.
- Rotation and zoom keep the centre, ((H - 1) / 2, (W - 1) / 2), and the size: as with
  `reshape=False` of scipy.ndimage.rotate and torchvision's `expand=False`.
- A pixel between pixels is interpolated linearly (SciPy's order 1), so that no value leaves the
  range of its neighbours; SciPy's own default, cubic splines, overshoots, and torchvision's takes
  the nearest. Outside an image lies `fill`, which is interpolated with too (SciPy's mode
  "grid-constant"; PyTorch's grid_sample with zeros and align_corners=True).
- Angles, factors and shifts are one number for all images, or an array (n,).

The resampling is scipy.ndimage's, and on a GPU cupyx.scipy.ndimage's: one call for a batch.
"""

from __future__ import annotations

from importlib import import_module
from math import prod
from typing import Any

import numpy as np

from ...backend import backend_of
from ...backend.checks.numbers import finite_number
from ...backend.checks.plain_array import check_plain
from ..types import DTYPES, Array, HostArray, Shape

_PIXELS = 1 << 22
"""Pixels of one call: their coordinates take 64 MiB."""


def flip_horizontal(x: Array, *, shape: Shape | None = None) -> Array:
    """Mirror every image left to right. Conventions: `onepass.nets.data.images`.

    Raises:
        TypeError: `x` is not a floating NumPy or CuPy array.
        ValueError: it is no batch of images.
    """
    return flip(as_images(x, shape), True, -1).reshape(x.shape)


def flip_vertical(x: Array, *, shape: Shape | None = None) -> Array:
    """Turn every image upside down, mirrored. Conventions: `onepass.nets.data.images`.

    Raises:
        TypeError: `x` is not a floating NumPy or CuPy array.
        ValueError: it is no batch of images.
    """
    return flip(as_images(x, shape), True, -2).reshape(x.shape)


def rotate(x: Array, angle: Any, *, shape: Shape | None = None, fill: float = 0.0) -> Array:
    """Rotate every image about its centre by `angle` degrees, counter-clockwise.

    So angle=90 is `numpy.rot90` of a square image, and the sign is that of scipy.ndimage.rotate and
    torchvision. Conventions: `onepass.nets.data.images`.

    Raises:
        TypeError: `x` is not a floating NumPy or CuPy array.
        ValueError: it is no batch of images, or an angle is not finite, or not one for each image.
        ImportError: SciPy is not installed.
    """
    images = as_images(x, shape)
    return move(images, angle=each("angle", angle, len(x)), fill=fill).reshape(x.shape)


def zoom(x: Array, factor: Any, *, shape: Shape | None = None, fill: float = 0.0) -> Array:
    """Scale every image about its centre, and keep its size.

    factor=2 shows the middle twice as large, factor=0.5 the whole at half its size, within `fill`.
    Conventions: `onepass.nets.data.images`.

    Raises:
        TypeError: `x` is not a floating NumPy or CuPy array.
        ValueError: it is no batch of images, or a factor is not finite and > 0, or not one for
            each image.
        ImportError: SciPy is not installed.
    """
    images, factors = as_images(x, shape), each("factor", factor, len(x))
    if not (factors > 0).all():
        raise ValueError(f"factor is {factors.min()} at the least; expected numbers > 0")
    return move(images, factor=factors, fill=fill).reshape(x.shape)


def shift(x: Array, dy: Any, dx: Any, *, shape: Shape | None = None, fill: float = 0.0) -> Array:
    """Move every image `dy` pixels down and `dx` to the right, as scipy.ndimage.shift does.

    Whole pixels are moved exactly. Conventions: `onepass.nets.data.images`.

    Raises:
        TypeError: `x` is not a floating NumPy or CuPy array.
        ValueError: it is no batch of images, or a shift is not finite, or not one for each image.
        ImportError: SciPy is not installed.
    """
    images = as_images(x, shape)
    return move(
        images, down=each("dy", dy, len(x)), right=each("dx", dx, len(x)), fill=fill
    ).reshape(x.shape)


def as_images(x: Array, shape: Shape | None) -> Array:
    """`x` as (n, C, H, W), without a copy where its layout allows it."""
    backend_of(x, names=["x"])
    if x.dtype.name not in DTYPES:
        raise TypeError(
            f"x has dtype {x.dtype}; expected floating images: x.astype('float32') / 255"
        )
    if shape is None:
        if x.ndim not in (3, 4):
            raise ValueError(
                f"x has shape {x.shape}; expected (n, H, W) or (n, C, H, W). Tell the shape of the "
                "images in rows, such as shape=(28, 28)"
            )
        shape = x.shape[1:]
    if len(shape) not in (2, 3) or any(not isinstance(k, int) or k < 1 for k in shape):
        raise ValueError(f"shape is {shape}; expected (H, W) or (C, H, W), each at least 1")
    if x.ndim < 2 or (x.shape[1:] != (prod(shape),) and x.shape[1:] != tuple(shape)):
        raise ValueError(
            f"x has shape {x.shape}; expected (n, {prod(shape)}) for images of shape {shape}"
        )
    channels = 1 if len(shape) == 2 else shape[0]
    return x.reshape(len(x), channels, *shape[-2:])


def each(name: str, value: Any, n: int) -> HostArray:
    """`value`, a number or an array (n,), as n numbers in float64."""
    check_plain(value, name)
    numbers = np.asarray(value.get() if hasattr(value, "get") else value)
    if numbers.ndim == 0:
        return np.full(n, finite_number(name, numbers.item()))
    if numbers.shape != (n,) or numbers.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} has shape {numbers.shape} and dtype {numbers.dtype}; expected a number, or "
            f"({n},) numbers, one for each image"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds numbers that are not finite; expected finite ones")
    return numbers.astype(np.float64)


def flip(images: Array, chosen: Any, axis: int) -> Array:
    """(n, C, H, W) with the `chosen` images (True: all) mirrored along `axis`."""
    backend = backend_of(images)
    with backend.scope():
        mirrored = backend.xp.flip(images, axis)
        if chosen is True:
            return mirrored.copy()
        return backend.xp.where(backend.asarray(chosen)[:, None, None, None], mirrored, images)


def move(
    images: Array,
    angle: HostArray | None = None,
    factor: HostArray | None = None,
    down: HostArray | None = None,
    right: HostArray | None = None,
    fill: float = 0.0,
) -> Array:
    """(n, C, H, W) rotated and scaled about the centre, then shifted: resampled once.

    What comes to row r and column c of image k lies in it at

        i = c0 + R (o - c0 - d) / factor        o = (r, c), d = (down, right), R = rotation back

    All images stand in one tall image, each framed by a pixel of `fill`. Above and below, i is
    clipped to its image's frame, and beside it SciPy repeats the frame; so a pixel reads 4 others,
    and none of another image. The tall image is in float64: CuPy takes floors in its dtype, and
    float32 would round them where it is tall.
    """
    n, channels, height, width = images.shape
    backend, fill = backend_of(images), finite_number("fill", fill)
    xp, ndimage = backend.xp, _ndimage(backend.xp)
    zero, one = np.zeros(n), np.ones(n)
    angle = np.deg2rad(zero if angle is None else angle)
    factor = one if factor is None else factor
    numbers = [np.cos(angle) / factor, np.sin(angle) / factor, down, right]
    with backend.scope(), np.errstate(under="ignore"):
        cos, sin, down_, right_ = (
            backend.asarray(zero if array is None else array).reshape(n, 1, 1) for array in numbers
        )
        y = xp.arange(height, dtype=np.float64)[:, None] - (height - 1) / 2
        x = xp.arange(width, dtype=np.float64) - (width - 1) / 2
        out = backend.empty(images.shape, np.promote_types(images.dtype, np.float32))
        part = max(1, _PIXELS // (height * width))
        for k in (slice(start, start + part) for start in range(0, n, part)):
            rows, columns = y - down_[k], x - right_[k]
            at = xp.empty((2, len(rows), height, width))
            at[0] = cos[k] * rows + sin[k] * columns + (height - 1) / 2
            at[1] = cos[k] * columns - sin[k] * rows + (width - 1) / 2
            xp.clip(at[0], -1, height, out=at[0])
            at += 1
            at[0] += (height + 2) * xp.arange(len(rows))[:, None, None]
            tall = xp.full((len(rows), height + 2, width + 2), fill)
            for channel in range(channels):
                tall[:, 1:-1, 1:-1] = images[k, channel]
                out[k, channel] = ndimage.map_coordinates(
                    tall.reshape(-1, width + 2), at, output=out.dtype, order=1, mode="nearest"
                )
        return out.astype(images.dtype, copy=False)


def _ndimage(xp: Any) -> Any:
    """The module that resamples arrays of `xp`."""
    try:
        return import_module("scipy.ndimage" if xp is np else "cupyx.scipy.ndimage")
    except ImportError as error:
        raise ImportError(
            'rotating, zooming and shifting images needs SciPy: pip install "onepass[sklearn]"'
        ) from error
