"""Data sets: splits, batches, the digits, and IDX files in every state of disrepair."""

from __future__ import annotations

import gzip
import os
import sys

import numpy as np
import pytest
from onepass import get_backend
from onepass.nets import Dataset, load_digits, load_mnist, minibatches, stratified_split

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = NAMES


def idx(array, magic=None):
    """The bytes of an IDX file that holds `array`."""
    magic = {1: 2049, 3: 2051}[array.ndim] if magic is None else magic
    header = [magic, *array.shape]
    return b"".join(number.to_bytes(4, "big") for number in header) + array.tobytes()


@pytest.fixture
def files():
    """Name -> bytes (not compressed) of a small, sound data set."""
    rng = np.random.default_rng(0)
    return {
        IMAGES: idx(rng.integers(0, 256, (7, 4, 3), dtype=np.uint8)),
        LABELS: idx(rng.integers(0, 10, 7, dtype=np.uint8)),
        TEST_IMAGES: idx(rng.integers(0, 256, (2, 4, 3), dtype=np.uint8)),
        TEST_LABELS: idx(rng.integers(0, 10, 2, dtype=np.uint8)),
    }


def write(folder, files, packed=True):
    for name, content in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


# MNIST


@pytest.mark.parametrize("packed", [True, False])
def test_reads_the_four_files(tmp_path, files, packed):
    data = load_mnist(write(tmp_path, files, packed))
    for name, x in ((IMAGES, data.x_train), (TEST_IMAGES, data.x_test)):
        pixels = np.frombuffer(files[name][16:], np.uint8)
        np.testing.assert_array_equal(x, pixels.reshape(-1, 12).astype("float32") / 255)
        assert x.dtype == np.float32
    for name, y in ((LABELS, data.y_train), (TEST_LABELS, data.y_test)):
        assert y.tolist() == list(files[name][8:])
        assert y.dtype == np.int64
    assert (data.classes, data.name) == (10, "MNIST")
    data.x_train[0] = 0  # arrays of their own, not views of a read-only file


def test_folder_may_be_a_string_and_files_may_be_mixed(tmp_path, files):
    write(tmp_path, {name: files[name] for name in NAMES[:2]}, packed=True)
    write(tmp_path, {name: files[name] for name in NAMES[2:]}, packed=False)
    assert len(load_mnist(str(tmp_path)).x_test) == 2


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", ["MNIST/raw", "raw", "."])
@pytest.mark.parametrize("dot", [True, False])
def test_takes_files_as_others_name_and_keep_them(tmp_path, files, packed, below, dot):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    named = {name.replace("-idx", ".idx") if dot else name: files[name] for name in files}
    write(tmp_path / below, named, packed)
    if dot:  # Kaggle's archive has folders of the other name beside the files
        (tmp_path / below / IMAGES).mkdir()
    assert load_mnist(tmp_path).y_train.tolist() == list(files[LABELS][8:])


def test_the_folder_named_comes_before_one_below(tmp_path, files):
    write(tmp_path, files)
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw", files | {LABELS: idx(np.full(7, 9, np.uint8))})
    assert load_mnist(tmp_path).y_train.tolist() == list(files[LABELS][8:])
    (tmp_path / f"{TEST_LABELS}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path.name} holds neither {TEST_LABELS}.gz"):
        load_mnist(tmp_path)


def test_no_folder_and_no_file_say_what_to_do(tmp_path, files):
    with pytest.raises(FileNotFoundError, match=r"absent is not a folder\. Fetch the four files"):
        load_mnist(tmp_path / "absent")
    write(tmp_path, files)
    (tmp_path / f"{TEST_LABELS}.gz").unlink()
    message = f"holds neither {TEST_LABELS}.gz nor {TEST_LABELS}. Fetch the four files"
    with pytest.raises(FileNotFoundError, match=message):
        load_mnist(tmp_path)


def broken():
    """Name, change of the bytes of a file, message; all of them are written compressed."""
    yield LABELS, lambda b: b[:-1], r"is truncated: it holds 14 bytes; expected 15 for shape \(7,\)"
    yield IMAGES, lambda b: b[:-1], r"is truncated.*for shape \(7, 4, 3\)"
    yield IMAGES, lambda b: b + b"x", "is too long: it holds 101 bytes; expected 100"
    yield IMAGES, lambda b: b[:10], "is truncated"
    yield LABELS, lambda b: b"", "starts with 0; expected the magic number 2049"
    yield LABELS, lambda b: b"\0\0\x08", "expected the magic number 2049"
    yield IMAGES, lambda b: idx(np.zeros(7, np.uint8)), "starts with 2049; expected .* 2051"
    yield LABELS, lambda b: idx(np.zeros((7, 1, 1), np.uint8)), "starts with 2051; expected .* 2049"
    yield IMAGES, lambda b: b"\xff" * 20, "starts with 4294967295"
    yield IMAGES, lambda b: b[:4] + b"\xff" * 12 + b[16:], "is truncated"
    yield LABELS, lambda b: idx(np.zeros(6, np.uint8)), "holds 7 images but .* holds 6 labels"
    yield TEST_LABELS, lambda b: idx(np.array([3, 10], np.uint8)), r"label 10; expected 0\.\.9"


@pytest.mark.parametrize(("name", "change", "message"), list(broken()))
def test_broken_files_are_named(tmp_path, files, name, change, message):
    write(tmp_path, files | {name: change(files[name])})
    with pytest.raises(ValueError, match=message) as caught:
        load_mnist(tmp_path)
    assert name in str(caught.value)
    assert "Fetch the four files" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda packed: b"<html>404</html>", id="not gzip"),
        pytest.param(lambda packed: packed[:-9], id="cut off"),
        pytest.param(lambda packed: packed[:12] + b"\xff\xff\xff" + packed[15:], id="damaged"),
        pytest.param(lambda packed: packed[:-8] + b"\0" * 8, id="wrong checksum"),
    ],
)
def test_damaged_gzip_is_named(tmp_path, files, change):
    write(tmp_path, files)
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{IMAGES}.gz is not a whole gzip file.*Fetch the four"):
        load_mnist(tmp_path)


@pytest.mark.skipif("ONEPASS_MNIST" not in os.environ, reason="ONEPASS_MNIST names no folder")
def test_real_mnist():
    data = load_mnist(os.environ["ONEPASS_MNIST"])
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    assert data.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert np.bincount(data.y_train).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip


# Digits


def test_digits_are_split_by_class_and_seed():
    data, same, other = load_digits(), load_digits(), load_digits(seed=1)
    assert data.x_train.shape == (1797 - len(data.x_test), 64)
    assert data.x_train.dtype == np.float32
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    total = np.bincount(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_allclose(np.bincount(data.y_test) / total, 0.2, atol=0.003)
    np.testing.assert_array_equal(data.x_test, same.x_test)
    assert not np.array_equal(data.y_test[:100], other.y_test[:100])


def test_digits_name_the_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r'pip install "onepass\[sklearn\]"'):
        load_digits()


# Splits and batches


def test_split_uses_every_sample_once():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    train, test = stratified_split(y, 0.1, seed=4)
    assert sorted([*train, *test]) == list(range(100))
    assert np.bincount(y[test]).tolist() == [5, 3, 2]
    assert y[train].tolist() != sorted(y[train]), "the order is shuffled"


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_split_refuses_fractions(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        stratified_split(np.zeros(10, int), fraction)
    with pytest.raises(ValueError, match="test_fraction"):
        load_digits(fraction)


def test_split_refuses_to_leave_a_part_empty():
    with pytest.raises(ValueError, match="both parts of 3 samples"):
        stratified_split(np.array([0, 1, 2]), 0.2)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 10, [3]), (3, 1, [1, 1, 1]), (1, 1, [1])],
)
def test_an_epoch_uses_every_sample_once_and_the_last_smaller_batch(n, batch_size, sizes):
    batches = list(minibatches(n, batch_size, 0))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(np.concatenate(batches)) == list(range(n))


def test_a_generator_shuffles_every_epoch_anew_and_a_seed_repeats():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(50, 8, rng))) for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.concatenate(list(minibatches(50, 8, 0))))


def test_indices_lie_on_the_backend(reference):
    backend = get_backend(reference.device)
    batches = list(minibatches(10, 4, 0, backend))
    assert isinstance(batches[0], backend.xp.ndarray)
    expected = np.concatenate(list(minibatches(10, 4, 0)))
    np.testing.assert_array_equal(np.concatenate([*map(backend.to_numpy, batches)]), expected)


def test_batches_refuse_counts_at_the_call():
    with pytest.raises(ValueError, match="n is 0; expected at least 1"):
        minibatches(0, 4, 0)
    with pytest.raises(ValueError, match="batch_size is -1; expected at least 1"):
        minibatches(4, -1, 0)


def test_dataset_refuses_parts_that_do_not_fit():
    x, y = np.zeros((4, 3), "float32"), np.array([0, 1, 1, 0])
    assert repr(Dataset(x, y, x[:2], y[:2], 2, "toy")) == (
        "Dataset('toy', 4 + 2 samples of 3 features, 2 classes)"
    )
    with pytest.raises(ValueError, match=r"x_train and y_train have shapes \(4, 3\) and \(2,\)"):
        Dataset(x, y[:2], x, y, 2, "toy")
    with pytest.raises(ValueError, match="x_train has 3 features and x_test has 2"):
        Dataset(x, y, x[:, :2], y, 2, "toy")
    with pytest.raises(ValueError, match=r"y_test holds 0 to 1; expected 0\.\.0"):
        Dataset(x, np.zeros(4, int), x, y, 1, "toy")
