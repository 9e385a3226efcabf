"""Splits into parts: counts, classes, seeds, refusals; and the advice on batch sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onepass import get_backend
from onepass.nets import (
    Adam,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    advised_batch_size,
    fit,
    minibatches,
    predict_proba,
    split,
    stratified_split,
)

FRACTIONS = st.lists(st.integers(1, 50), min_size=2, max_size=5).map(
    lambda parts: [part / sum(parts) for part in parts]
)


def samples(n):
    """Rows and labels that tell which sample they are."""
    return np.arange(2.0 * n, dtype="float32").reshape(n, 2), np.arange(n)


@given(n=st.integers(2, 300), fractions=FRACTIONS, seed=st.integers(0, 9))
def test_every_sample_is_in_one_part_and_counts_are_within_one(n, fractions, seed):
    exact = [n * fraction for fraction in fractions]
    assume(all(count >= 1 for count in exact))
    x, y = samples(n)
    parts = split(x, y, fractions, seed=seed)
    assert sorted(np.concatenate([labels for _, labels in parts])) == list(range(n))
    for (rows, labels), count in zip(parts, exact, strict=True):
        assert abs(len(rows) - count) < 1 - 1e-9
        np.testing.assert_array_equal(rows, x[labels])
        assert rows.dtype == x.dtype


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    fractions=FRACTIONS,
    seed=st.integers(0, 9),
)
def test_stratified_counts_are_within_one_in_every_class_and_even_out(counts, fractions, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    assume(all(len(y) * fraction >= 3 for fraction in fractions))
    parts = split(samples(len(y))[1], y, fractions, stratify=True, seed=seed)
    assert sorted(np.concatenate([x for x, _ in parts])) == list(range(len(y)))
    for (x, labels), fraction in zip(parts, fractions, strict=True):
        np.testing.assert_array_equal(labels, y[x])
        seen = np.bincount(labels, minlength=len(counts))
        for have, count in zip(seen, counts, strict=True):
            assert abs(have - count * fraction) < 1 - 1e-9
        assert abs(len(labels) - fraction * len(y)) < 2, "what is left over evens out"


def test_counts_that_people_expect():
    def counts(n, *fractions):
        return [len(x) for x, _ in split(*samples(n), fractions)]

    assert [len(x) for x, _ in split(*samples(50))] == [30, 10, 10]
    assert counts(1000, 0.98, 0.01, 0.01) == [980, 10, 10]
    assert counts(100, 0.29, 0.71) == [29, 71]  # 0.29 * 100 is 28.999999999999996
    assert counts(3, 0.5, 0.5) == [2, 1]
    assert counts(10, 0.7, 0.1, 0.1, 0.1) == [7, 1, 1, 1]


def test_a_class_that_divides_evenly_is_divided_so_whatever_others_left_over():
    for fractions, sizes, last in (
        ((0.2, 0.28, 0.28, 0.24), (3, 5), [1, None, None, None]),
        ((0.25, 0.31, 0.44), (5, 1, 4), [1, None, None]),
        # 16/98 of 49 is 8, but a rounding error below it as numbers are
        ([k / 98 for k in (15, 16, 23, 20, 24)], (3, 2, 4, 49), [None, 8, None, 10, 12]),
    ):
        y = np.repeat(np.arange(len(sizes)), sizes)
        parts = split(y, y, fractions, stratify=True)
        for (_, labels), expected in zip(parts, last, strict=True):
            assert expected in (None, (labels == len(sizes) - 1).sum())


def test_small_classes_do_not_all_leave_out_the_same_part():
    y = np.repeat(np.arange(10), 3)  # on its own, each would give 2, 1, 0 or 2, 0, 1
    parts = split(samples(30)[0], y, (0.6, 0.2, 0.2), stratify=True)
    assert [len(labels) for _, labels in parts] == [18, 6, 6]


def test_order_is_shuffled_and_told_by_the_seed():
    x, y = samples(200)
    classes = y // 50
    for stratify in (False, True):
        first, again, other = (split(x, classes, stratify=stratify, seed=s) for s in (1, 1, 2))
        for (rows, labels), (same, _), (rest, _) in zip(first, again, other, strict=True):
            np.testing.assert_array_equal(rows, same)
            assert not np.array_equal(rows, rest)
            assert labels.tolist() != sorted(labels)


def test_parts_are_copies_on_the_device_of_the_data(reference):
    x, y = samples(20)
    on = reference.asarray(x)
    parts = split(on, reference.asarray(y % 2), (0.5, 0.5), stratify=True)
    host = split(x, y % 2, (0.5, 0.5), stratify=True)
    for part, expected in zip(parts, host, strict=True):
        for array, values in zip(part, expected, strict=True):
            assert isinstance(array, get_backend(reference.device).xp.ndarray)
            np.testing.assert_array_equal(reference.to_numpy(array), values)
    parts[0][0][...] = -1
    np.testing.assert_array_equal(reference.to_numpy(on), x)


def test_takes_lists_names_images_and_several_targets():
    images, targets = np.zeros((10, 3, 4, 4)), np.ones((10, 2))
    for x, y in split(images, targets, (0.5, 0.5)):
        assert (x.shape, y.shape) == ((5, 3, 4, 4), (5, 2))
    names = ["cat", "dog"] * 5
    for x, y in split(list(range(10)), names, (0.6, 0.4), stratify=True):
        assert sorted(y).count("cat") == len(x) / 2


def test_stratified_split_deals_as_split_does():
    y = np.repeat([0, 1, 2], [50, 30, 20])  # whole shares, so that nothing is left over
    train, test = stratified_split(y, 0.3, seed=5)
    (x_test, _), (x_train, _) = split(np.arange(100), y, (0.3, 0.7), stratify=True, seed=5)
    np.testing.assert_array_equal(train, x_train)
    np.testing.assert_array_equal(test, x_test)


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=5), fraction=st.floats(0.1, 0.9))
def test_stratified_split_rounds_in_every_class(counts, fraction):
    y = np.repeat(np.arange(len(counts)), counts)
    expected = [round(fraction * count) for count in counts]
    assume(0 < sum(expected) < len(y))
    train, test = stratified_split(y, fraction)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert np.bincount(y[test], minlength=len(counts)).tolist() == expected


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((0.6, 0.3), r"fractions is \(0\.6, 0\.3\), together 0\.9; expected numbers > 0, together"),
        ((60, 20, 20), "together 100; expected"),
        ((1.2, -0.2), "expected numbers > 0"),
        ((1.0, 0.0), "expected numbers > 0"),
        ((1.0,), r"fractions is \(1\.0,\); expected two or more"),
        (0.8, r"fractions is 0\.8; expected two or more, such as \(0\.6, 0\.2, 0\.2\)"),
        ((0.5, float("nan")), r"fractions\[1\] is nan"),
        ((0.98, 0.01, 0.01), r"expected what leaves none of 3 parts of 10 samples empty"),
    ],
)
def test_refuses_fractions(fractions, message):
    with pytest.raises(ValueError, match=message):
        split(*samples(10), fractions)


def test_refuses_data_that_does_not_fit():
    x, y = samples(10)
    with pytest.raises(ValueError, match=r"shapes \(10, 2\) and \(9,\); expected the same length"):
        split(x, y[:9])
    with pytest.raises(ValueError, match=r"y has shape \(10, 1\); expected \(n,\) classes to str"):
        split(x, y[:, None], stratify=True)
    with pytest.raises(TypeError, match="y holds numbers that are no classes"):
        split(x, y + 0.5, stratify=True)
    with pytest.raises(TypeError, match="y holds numbers that are no classes"):
        stratified_split(np.full(10, np.nan), 0.5)
    with pytest.raises(TypeError, match=r"stratify is 'yes' \(str\); expected True or"):
        split(x, y, stratify="yes")
    with pytest.raises(TypeError, match=r"fractions\[0\] is '0\.5'"):
        split(x, y, ("0.5", 0.5))
    with pytest.raises(ValueError, match="none of 3 parts of 0 samples empty"):
        split(x[:0], y[:0])
    with pytest.raises(ValueError, match=r"seed is -1 \(int\); expected an integer >= 0"):
        split(x, y, seed=-1)
    with pytest.raises(TypeError, match=r"rng is 'x' \(str\); expected an integer >= 0"):
        minibatches(10, 2, rng="x")


@pytest.mark.parametrize(
    ("missing", "types"),
    [(None, "NoneType and str"), (np.nan, "float and str"), (3, "int and str")],
)
def test_refuses_labels_of_which_none_comes_first(missing, types):
    x, _ = samples(10)
    names = np.array(["a", missing] * 5, object)
    message = f"y holds labels of types {types}, which can't be sorted; expected one type"
    with pytest.raises(TypeError, match=message):
        split(x, names, stratify=True)
    with pytest.raises(TypeError, match=message):
        stratified_split(names, 0.5)


@pytest.mark.parametrize("kind", [bool, "uint8", object, ">i4", "M8[D]", np.dtypes.StringDType()])
def test_classes_of_any_dtype_are_dealt_as_their_numbers_are(kind):
    x = np.arange(60)
    y = x % 2
    parts = split(x, y.astype(kind), stratify=True, seed=3)
    for (got, _), (expected, _) in zip(parts, split(x, y, stratify=True, seed=3), strict=True):
        np.testing.assert_array_equal(got, expected)


# Of other libraries


@pytest.mark.parametrize("stratify", [False, True])
def test_parts_of_pandas_stay_pandas_and_are_the_rows_an_array_gives(stratify):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x, _ = samples(20)
    names = np.array(["cat", "dog"])[np.arange(20) % 2]
    index = pandas.Index([f"row {k}" for k in range(20)])
    frame = pandas.DataFrame(x, index, ["a", "b"])
    for labels in (pandas.Series(names, index), pandas.Series(names, index, "category")):
        parts = split(frame, labels, stratify=stratify)
        for (rows, held), (plain, expected) in zip(
            parts, split(x, names, stratify=stratify), strict=True
        ):
            assert list(rows.columns) == ["a", "b"]
            assert list(rows.index) == list(held.index)
            np.testing.assert_array_equal(rows, plain)
            assert list(held) == list(expected)
    (train, test), (given, _) = stratified_split(labels, 0.5), stratified_split(names, 0.5)
    np.testing.assert_array_equal(train, given)
    assert sorted([*train, *test]) == list(range(20))


def test_a_data_frame_is_split_and_trained_on():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x, y = samples(20)
    frame, labels = pandas.DataFrame(x), pandas.Series(y % 2)
    networks = []
    for data in ((frame, labels), (x, y % 2)):
        (train, held_out) = split(*data, (0.5, 0.5))
        net = Sequential(Dense(2, 2), device="cpu")
        optimizer = Adam(net.parameters())
        options = {"epochs": 1, "progress": False, "validation": held_out}
        fit(net, train, loss=SoftmaxCrossEntropy(), optimizer=optimizer, **options)
        networks.append([*predict_proba(net, held_out[0]), net.parameters().flat])
    for ours, theirs in zip(*networks, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tensors_are_taken_in():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = samples(20)
    tensors = split(torch.from_numpy(x), torch.from_numpy(y))
    for part, expected in zip(tensors, split(x, y), strict=True):
        for ours, theirs in zip(part, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


# Batch sizes


@given(m=st.integers(1, 10**9))
def test_advises_the_full_batch_of_small_sets_and_powers_of_two_of_others(m):
    size = advised_batch_size(m)
    assert size == m if m <= 2000 else size in (64, 128, 256, 512)
    if m > 2000:
        assert size <= advised_batch_size(2 * m)
        assert m / size > 31, "an epoch has many updates"


def test_advice_changes_where_the_docstring_says():
    sizes = [advised_batch_size(m) for m in (2000, 2001, 10_000, 10_001, 50_000, 50_001)]
    assert sizes == [2000, 64, 64, 128, 128, 256]
    assert [advised_batch_size(m) for m in (250_000, 250_001)] == [256, 512]
    with pytest.raises(ValueError, match="m is 0; expected at least 1"):
        advised_batch_size(0)
    with pytest.raises(TypeError, match=r"m is 10\.0 \(float\)"):
        advised_batch_size(10.0)  # type: ignore[arg-type]
