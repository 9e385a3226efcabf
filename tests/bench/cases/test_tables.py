"""Tables for estimators: the same every time, scaled, split as it is said."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="tables come from scikit-learn")

from onepass.bench.cases import tables
from onepass.bench.cases.docstrings import MEMBERS, WORDS, docstrings
from onepass.bench.cases.tables import HELD_OUT, SPARSE, shipped, synthetic, texts
from onepass.nets import Dataset

CASES = {
    "digits": shipped("digits", 1797, 1, 1),
    "breast cancer": shipped("breast cancer", 569, 1, 1),
    "wine": shipped("wine", 178, 1, 1),
    "diabetes": shipped("diabetes", 442, 1, 1),
    "some of wine": shipped("wine", 60, 1, 1),
    "synthetic": synthetic(500, 20, 1, 1),
    "texts": texts(300, 1, 1, ("numpy",)),
}


def dense(x):
    return x.toarray() if hasattr(x, "toarray") else x


@pytest.mark.parametrize("name", CASES)
def test_rows_are_as_many_as_said_float32_and_every_class_is_in_both_parts(name):
    case = CASES[name]
    table = case.made(0)
    assert table.x_train.shape[0] == len(table.y_train) == case.rows
    held = len(table.y_test)
    assert table.x_test.shape == (held, table.x_train.shape[1])
    assert held == np.ceil(HELD_OUT * (case.rows + held))
    assert table.x_train.dtype == table.x_test.dtype == np.float32
    if case.numbers:
        assert table.y_train.dtype == np.float32
        assert case.score == "R2"
    else:
        assert set(table.y_train) == set(table.y_test)
        assert case.score == "accuracy"


@pytest.mark.parametrize("name", [name for name in CASES if name != "texts"])
def test_what_is_trained_on_has_mean_0_and_deviation_1(name):
    table = CASES[name].made(1)
    varied = table.x_train.std(axis=0) > 0
    scaled = [table.x_train[:, varied]] + [table.y_train] * CASES[name].numbers
    for part in scaled:
        np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(part.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_seed_gives_the_same_again_and_another_one_another_part(name):
    first, again, other = (dense(CASES[name].made(seed).x_test) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_texts_are_sparse_with_as_many_columns_as_asked_for_at_most(monkeypatch):
    monkeypatch.setattr(tables, "COLUMNS", 500)
    case = texts(300, 1, 1, ("numpy",))
    x = case.made(0).x_train
    assert case.name == SPARSE
    assert (x.format, x.shape, x.dtype) == ("csr", (225, 500), np.float32)
    assert 0 < x.nnz < x.shape[0] * x.shape[1] / 2


def test_docstrings_have_words_and_modules_enough_members_and_tests_are_left_out():
    found, modules = docstrings(("numpy",))
    assert len(found) == len(modules) > 500
    assert min(len(text.split()) for text in found) >= WORDS
    names, members = np.unique(modules, return_counts=True)
    assert members.min() >= MEMBERS
    assert "numpy.lib" in names
    assert not [name for name in names if name.endswith(".tests")]


def test_a_package_that_is_missing_has_none_and_too_few_texts_are_told():
    assert docstrings(("no_such_package",)) == ([], [])
    with pytest.raises(ValueError, match="no_such_package have 0 docstrings; expected 5 at least"):
        texts(5, 1, 1, ("no_such_package",)).made(0)


def test_mnist_keeps_its_own_test_part(monkeypatch):
    x, y = np.zeros((20, 784), "float32"), np.zeros(20, "int64")
    data = Dataset(x, y, x[:5], y[:5], 10, "MNIST")
    monkeypatch.setattr(tables, "load_mnist", lambda folder: data)
    case = tables.mnist("folder", 2, 3)
    assert (case.name, case.rows, case.epochs, case.seeds) == ("mnist", 20, 2, 3)
    assert all(len(case.made(seed).y_test) == 5 for seed in (0, 1))
