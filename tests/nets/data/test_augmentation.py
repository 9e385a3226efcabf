"""Flips, rotations, zooms and shifts of images, pixel by pixel, and their random combination."""

from __future__ import annotations

import sys
from math import cos, floor, radians, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass import get_backend
from onepass.nets import (
    SGD,
    Augmentation,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    flip_horizontal,
    flip_vertical,
    rotate,
    shift,
    zoom,
)
from onepass.nets.data import images
from scipy import ndimage

SHAPES = [(3, 5, 7), (2, 3, 6, 4), (4, 1, 1), (1, 9, 2), (0, 4, 4)]
LIMIT = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-12}


def batch(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(dtype)


def pixel(image, r, c, fill):
    """The image at the point (r, c), linear between pixels, `fill` outside, in Python."""
    height, width = image.shape
    total = 0.0
    for i in (floor(r), floor(r) + 1):
        for j in (floor(c), floor(c) + 1):
            inside = 0 <= i < height and 0 <= j < width
            weight = (1 - abs(r - i)) * (1 - abs(c - j))
            total += weight * (float(image[i, j]) if inside else fill)
    return total


def moved(image, angle=0.0, factor=1.0, dy=0.0, dx=0.0, fill=0.0):
    """Where each pixel comes from, by complex numbers: right is 1, up is i."""
    height, width = image.shape
    middle = complex((width - 1) / 2, -(height - 1) / 2)
    turn = complex(cos(radians(angle)), sin(radians(angle))) * factor
    out = np.empty(image.shape)
    for r in range(height):
        for c in range(width):
            source = (complex(c - dx, -(r - dy)) - middle) / turn + middle
            out[r, c] = pixel(image, -source.imag, source.real, fill)
    return out


def every(x, change):
    """`change` of each image of a batch."""
    flat = x.reshape(-1, *x.shape[-2:])
    found = np.array([change(image, k // (len(flat) // len(x))) for k, image in enumerate(flat)])
    return found.reshape(x.shape)


# The oracle, image by image


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_every_change_is_its_oracle(reference, shape, dtype):
    x, n = batch(shape, dtype), shape[0]
    angle, factor = np.linspace(-200, 33, n), np.linspace(0.6, 1.7, n)
    dy, dx = np.linspace(-1.3, 2, n), np.linspace(0.5, -4, n)
    on = reference.asarray(x)
    for found, change in (
        (rotate(on, angle), lambda image, k: moved(image, angle=angle[k])),
        (zoom(on, factor), lambda image, k: moved(image, factor=factor[k])),
        (shift(on, dy, dx), lambda image, k: moved(image, dy=dy[k], dx=dx[k])),
        (rotate(on, 20, fill=0.5), lambda image, k: moved(image, angle=20, fill=0.5)),
        (flip_horizontal(on), lambda image, k: np.array([row[::-1] for row in image])),
        (flip_vertical(on), lambda image, k: np.array([*reversed(image)])),
    ):
        assert isinstance(found, get_backend(reference.device).xp.ndarray)
        assert (found.shape, found.dtype) == (x.shape, x.dtype)
        host = reference.to_numpy(found)
        np.testing.assert_allclose(host, every(x, change), rtol=0, atol=LIMIT[dtype])
    np.testing.assert_array_equal(reference.to_numpy(on), x)


@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    angle=st.floats(-400, 400),
    factor=st.floats(0.2, 4),
    down=st.floats(-9, 9),
    right=st.floats(-9, 9),
)
def test_all_at_once_is_the_oracle(height, width, angle, factor, down, right):
    x = batch((2, 1, height, width))
    numbers = [np.full(2, value) for value in (angle, factor, down, right)]
    found = images.move(x, *numbers, fill=0.25)
    for k in range(2):
        expected = moved(x[k, 0], angle, factor, down, right, 0.25)
        np.testing.assert_allclose(found[k, 0], expected, rtol=0, atol=1e-12)


# SciPy, whose conventions these are


def test_signs_are_those_of_scipy():
    x = batch((1, 6, 9))
    turned = ndimage.rotate(x[0], 25, reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotate(x, 25)[0], turned, atol=1e-12)
    shifted = ndimage.shift(x[0], (1.25, -2.5), order=1, mode="grid-constant")
    np.testing.assert_allclose(shift(x, 1.25, -2.5)[0], shifted, atol=1e-12)


def test_quarter_turns_are_counter_clockwise():
    x = batch((3, 5, 5))
    for quarters in range(-4, 5):
        expected = np.rot90(x, quarters, axes=(1, 2))
        np.testing.assert_allclose(rotate(x, 90 * quarters), expected, rtol=0, atol=1e-14)


def test_zoom_enlarges_the_middle_and_shrinks_the_whole():
    x = np.zeros((1, 9, 9))
    x[:, 3:6, 3:6] = 1
    assert zoom(x, 3).sum() > 60 > zoom(x, 1.2).sum() > 9 > zoom(x, 0.5).sum() > 0
    np.testing.assert_array_equal(zoom(x, 1), x)


# What holds of all images


@given(dy=st.integers(-6, 6), dx=st.integers(-6, 6), fill=st.sampled_from([0.0, -1.5]))
def test_whole_pixels_move_exactly(dy, dx, fill):
    x = batch((2, 4, 5), "float32")
    expected = np.full((2, 4, 5), fill, "float32")
    for r in range(4):
        for c in range(5):
            if 0 <= r - dy < 4 and 0 <= c - dx < 5:
                expected[:, r, c] = x[:, r - dy, c - dx]
    np.testing.assert_array_equal(shift(x, dy, dx, fill=fill), expected)


@given(seed=st.integers(0, 99), angle=st.floats(-180, 180), factor=st.floats(0.3, 3))
def test_no_value_leaves_the_range_of_the_image(seed, angle, factor):
    x = np.abs(batch((2, 5, 6), "float32", seed)) + 1
    for found in (rotate(x, angle, fill=1.0), zoom(x, factor, fill=1.0)):
        assert 1 - 1e-6 <= found.min() <= found.max() <= x.max() + 1e-6


def test_flips_twice_are_nothing_and_are_copies():
    x = batch((2, 3, 4, 5), "float32")
    for flip in (flip_horizontal, flip_vertical):
        np.testing.assert_array_equal(flip(flip(x)), x)
        assert not np.shares_memory(flip(x), x)
        assert flip(x).flags.c_contiguous


def test_images_do_not_leak_into_each_other():
    x = np.zeros((5, 4, 4))
    x[2] = 1e30
    for found in (rotate(x, 37), zoom(x, 0.4), zoom(x, 3), shift(x, 2.5, -1.5), shift(x, -9, 9)):
        assert not found[[0, 1, 3, 4]].any()
    x[2] = np.nan
    assert np.isfinite(rotate(x, 37)[[0, 1, 3, 4]]).all()


def test_rows_and_channels():
    x = batch((4, 3, 5, 6))
    rows = x.reshape(4, 90)
    np.testing.assert_array_equal(
        rotate(rows, [1, 20, 30, 45], shape=(3, 5, 6)),
        rotate(x, [1, 20, 30, 45]).reshape(4, 90),
    )
    for channel in range(3):  # every channel of an image moves alike
        np.testing.assert_array_equal(shift(x, 0.5, 1)[:, channel], shift(x[:, channel], 0.5, 1))
    np.testing.assert_array_equal(
        flip_horizontal(rows[:, :30], shape=(5, 6)), x[:, 0, :, ::-1].reshape(4, 30)
    )
    np.testing.assert_array_equal(flip_vertical(x, shape=(3, 5, 6)), x[:, :, ::-1])


def test_large_batches_go_in_parts(monkeypatch):
    x = batch((11, 3, 4))
    whole = rotate(x, np.arange(11) * 10)
    for pixels in (40, 1):  # three images a part, and one
        monkeypatch.setattr(images, "_PIXELS", pixels)
        parts = rotate(x, np.arange(11) * 10)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-13)


def test_strided_images_and_empty_batches():
    x = batch((4, 6, 8))
    np.testing.assert_array_equal(zoom(x[::2, :, ::2], 1.5), zoom(x[::2, :, ::2].copy(), 1.5))
    for found in (rotate(x[:0], 5), zoom(x[:0], 2), shift(x[:0], 1, 1), flip_vertical(x[:0])):
        assert found.shape == (0, 6, 8)


# Random combinations


def test_is_told_by_the_generator_and_by_nothing_else(reference):
    x = batch((6, 7, 7), "float32")
    augment = Augmentation("both", rotate=20, zoom=0.3, shift=2, fill=-1)
    first = augment(reference.asarray(x), np.random.default_rng(3))
    again = augment(x, np.random.default_rng(3))
    other = augment(x, np.random.default_rng(4))
    np.testing.assert_allclose(reference.to_numpy(first), again, atol=1e-5)
    assert np.abs(again - other).max() > 0.1
    rng = np.random.default_rng(3)
    augment(x, rng)
    assert np.abs(augment(x, rng) - again).max() > 0.1, "the second batch is changed otherwise"


@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
def test_flips_mirror_half_of_the_images_in_the_asked_ways(flip):
    x = batch((400, 3, 4), "float32")
    found = Augmentation(flip)(x, np.random.default_rng(0))
    kinds = {
        "as it is": x,
        "horizontal": x[:, :, ::-1],
        "vertical": x[:, ::-1],
        "both": x[:, ::-1, ::-1],
    }
    counts = {name: int((found == kind).all(axis=(1, 2)).sum()) for name, kind in kinds.items()}
    ways = {"none": 1, "both": 4}.get(flip, 2)
    allowed = {"as it is", flip} if flip != "both" else set(kinds)
    assert sum(counts.values()) == 400
    for name, seen in counts.items():  # five standard deviations of a binomial
        p = 1 / ways if name in allowed else 0
        assert abs(seen - 400 * p) <= 5 * (400 * p * (1 - p)) ** 0.5, counts


def drawn(augmentation, monkeypatch, n=3000):
    """(angle, factor, down, right) that n images are moved by."""
    seen = {}

    def spy(images, *numbers):
        seen["numbers"] = numbers[:4]
        return images

    monkeypatch.setattr(sys.modules["onepass.nets.data.augmentation"], "move", spy)
    augmentation(np.zeros((n, 2, 2)), np.random.default_rng(5))
    return seen["numbers"]


def test_draws_uniformly_between_the_limits(monkeypatch):
    augment = Augmentation(rotate=30, zoom=0.2, shift=(0, 3))
    angle, factor, down, right = drawn(augment, monkeypatch)
    for found, low, high in ((angle, -30, 30), (factor, 0.8, 1.2)):
        assert low <= found.min() < low + 0.01 * (high - low)
        assert high >= found.max() > high - 0.01 * (high - low)
        quarters = np.histogram(found, 4, (low, high))[0] / len(found)
        np.testing.assert_allclose(quarters, 0.25, atol=0.04)
    assert not down.any()
    values, counts = np.unique(right, return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    np.testing.assert_allclose(counts / len(right), 1 / 7, atol=0.035)
    factor = drawn(Augmentation(zoom=(1.5, 2)), monkeypatch)[1]
    assert 1.5 <= factor.min() < 1.51 < 1.99 < factor.max() <= 2


def test_flip_then_turn_then_shift():
    x = batch((8, 5, 5))
    augment = Augmentation("horizontal", rotate=40, zoom=0.3, shift=1)
    found = augment(x, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    mirrored = rng.random((2, 8)) < 0.5
    angle, factor = rng.uniform(-40, 40, 8), rng.uniform(0.7, 1.3, 8)
    down, right = rng.integers(-1, 2, 8), rng.integers(-1, 2, 8)
    assert 0 < mirrored[0].sum() < 8
    for k in range(8):
        image = x[k, :, ::-1] if mirrored[0, k] else x[k]
        expected = moved(image, angle[k], factor[k], down[k], right[k])
        np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("augment", [Augmentation(), Augmentation("both"), Augmentation(rotate=9)])
def test_leaves_the_batch_and_returns_an_array_of_its_own(augment):
    x = batch((6, 30), "float32")
    kept = x.copy()
    for shape in ((5, 6), (2, 5, 3)):
        found = Augmentation(augment.flip, augment.rotate, shape=shape)(x, np.random.default_rng(0))
        assert (found.shape, found.dtype) == (x.shape, x.dtype)
        assert not np.shares_memory(found, x)
        np.testing.assert_array_equal(x, kept)
    found = augment(x.reshape(6, 5, 6), np.random.default_rng(0))
    assert found.flags.c_contiguous


def test_none_asked_for_is_a_copy():
    x = batch((3, 4, 4))
    np.testing.assert_array_equal(Augmentation()(x, np.random.default_rng(0)), x)


def test_fit_takes_it():
    x, y = batch((40, 16), "float32"), np.arange(40) % 2

    def trained(seed, augment):
        net = Sequential(Dense(16, 2), device="cpu")
        fit(
            net,
            (x, y),
            loss=SoftmaxCrossEntropy(),
            optimizer=SGD(net.parameters(), lr=0.1),
            epochs=2,
            batch_size=16,
            seed=seed,
            progress=False,
            augment=augment,
        )
        return net.parameters().flat.copy()

    augment = Augmentation("horizontal", rotate=15, zoom=0.1, shift=1, shape=(4, 4))
    np.testing.assert_array_equal(trained(0, augment), trained(0, augment))
    assert not np.array_equal(trained(0, augment), trained(0, None))


# Bad input


def test_scipy_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    x = batch((2, 3, 3))
    with pytest.raises(ImportError, match=r'needs SciPy: pip install "onepass\[sklearn\]"'):
        rotate(x, 5)
    assert flip_vertical(x).shape == x.shape
    assert Augmentation("both")(x, np.random.default_rng(0)).shape == x.shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: rotate(x, 5), r"x has shape \(4, 12\); expected \(n, H, W\).*shape=\(28, 28\)"),
        (lambda x: rotate(x, 5, shape=(3, 5)), r"expected \(n, 15\) for images of shape \(3, 5\)"),
        (lambda x: rotate(x[0], 5, shape=(3, 4)), r"x has shape \(12,\); expected \(n, 12\)"),
        (lambda x: rotate(x, 5, shape=(12,)), r"shape is \(12,\); expected \(H, W\)"),
        (lambda x: rotate(x, 5, shape=(3, 0)), r"shape is \(3, 0\); expected .* at least 1"),
        (lambda x: rotate(x, [1, 2], shape=(3, 4)), r"angle has shape \(2,\).*expected a number, "),
        (lambda x: rotate(x, np.nan, shape=(3, 4)), "angle is nan"),
        (lambda x: rotate(x, [1, 2, np.inf, 3], shape=(3, 4)), "angle holds numbers that are not"),
        (lambda x: rotate(x, 1, shape=(3, 4), fill=np.nan), "fill is nan"),
        (lambda x: zoom(x, 0, shape=(3, 4)), "factor is 0.0 at the least; expected numbers > 0"),
        (lambda x: zoom(x, [1, 2, -1, 3], shape=(3, 4)), "factor is -1.0 at the least"),
        (lambda x: shift(x, np.inf, 0, shape=(3, 4)), "dy is inf"),
        (lambda x: shift(x, 0, [1], shape=(3, 4)), r"dx has shape \(1,\)"),
        (lambda x: Augmentation(rotate=-1), "rotate is -1"),
        (lambda x: Augmentation("left"), "flip is 'left'; expected one of 'none', 'horizontal'"),
        (lambda x: Augmentation(zoom=1), r"zoom is 1; expected a number in \[0, 1\), or a pair"),
        (lambda x: Augmentation(zoom=-0.1), r"zoom is -0\.1; expected a number in"),
        (lambda x: Augmentation(zoom=(0, 1)), r"zoom is \(0, 1\); .* pair of factors 0 < low"),
        (lambda x: Augmentation(zoom=(2, 1)), r"zoom is \(2, 1\)"),
        (lambda x: Augmentation(zoom=(1, 1, 1)), r"zoom is \(1, 1, 1\)"),
        (lambda x: Augmentation(shift=-1), "shift is -1"),
        (lambda x: Augmentation(shift=(1, 2, 3)), r"shift is \(1, 2, 3\); expected pixels"),
        (lambda x: Augmentation(rotate=1)(x, np.random.default_rng(0)), r"shape=\(28, 28\)"),
    ],
)
def test_refuses_values(call, message):
    with pytest.raises(ValueError, match=message):
        call(batch((4, 12)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rotate(np.zeros((2, 3, 3), "uint8"), 5), "x has dtype uint8; .*astype"),
        (lambda: rotate(np.zeros((2, 3, 3), complex), 5), "x has dtype complex128"),
        (lambda: rotate([[[1.0]]], 5), "x is a list; expected a NumPy or CuPy array"),
        (lambda: rotate(np.zeros((2, 3, 3)), "5"), "angle is '5'"),
        (lambda: Augmentation(shift=1.5), r"shift is 1\.5"),
        (lambda: Augmentation(rotate="5"), "rotate is '5'"),
        (lambda: Augmentation(zoom="5"), "zoom is '5'"),
    ],
)
def test_refuses_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
