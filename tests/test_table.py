"""CSV files: what is read, what is taken for classes, and files in every state of disrepair."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import read_features, read_table

FLOWERS = """\
length,width,species
5.1,3.5,setosa
6.2,2.9,virginica
5.9,3.0,versicolor
5.0,3.4,setosa
"""


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "flowers.csv"
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return path

    return write


# What is read


def test_reads_features_and_classes(write):
    table = read_table(write(FLOWERS), "species")
    np.testing.assert_array_equal(
        table.x, np.array([[5.1, 3.5], [6.2, 2.9], [5.9, 3.0], [5.0, 3.4]], "float32")
    )
    assert (table.x.dtype, table.y.dtype) == (np.float32, np.int64)
    assert table.classes == ("setosa", "versicolor", "virginica")
    assert table.y.tolist() == [0, 2, 1, 0]
    assert table.features == ("length", "width")
    assert (table.target, table.task, table.name) == ("species", "classification", "flowers")
    assert repr(table) == ("Table('flowers', 4 samples of 2 features, 'species': 3 classes)")


def test_columns_keep_their_order_around_the_target(write):
    table = read_table(str(write("c,t,a,b\n1,0.5,2,3\n4,1.5,5,6\n")), "t")
    assert table.features == ("c", "a", "b")
    assert table.x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (table.y.tolist(), table.y.dtype, table.classes) == ([0.5, 1.5], np.float32, ())
    assert table.task == "regression"
    assert repr(table).endswith("2 samples of 3 features, 't': regression)")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param(FLOWERS.replace("\n", "\r\n"), "utf-8", id="CRLF"),
        pytest.param(FLOWERS, "utf-8-sig", id="byte order mark"),
        pytest.param(FLOWERS.rstrip("\n"), "utf-8", id="no last line end"),
        pytest.param("\n" + FLOWERS.replace("\n", "\n\n"), "utf-8", id="blank lines"),
        pytest.param(FLOWERS.replace(",", " , "), "utf-8", id="spaces"),
        pytest.param(FLOWERS.replace("setosa", '"setosa"'), "utf-8", id="quotes"),
    ],
)
def test_forms_of_the_same_file(write, text, encoding):
    plain = read_table(write(FLOWERS), "species")
    found = read_table(write(text, encoding), "species")
    np.testing.assert_array_equal(found.x, plain.x)
    np.testing.assert_array_equal(found.y, plain.y)
    assert (found.features, found.classes) == (plain.features, plain.classes)


def test_other_delimiters_and_quoted_ones(write):
    text = 'a;"the; target"\n1;"x; y"\n2;"line\nbreak"\n'
    table = read_table(write(text), "the; target", delimiter=";")
    assert table.classes == ("line\nbreak", "x; y")
    assert table.x.tolist() == [[1], [2]]


@given(
    rows=st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False, width=32),
            st.floats(-1, 1, width=32),
            st.sampled_from(["Straße", "a,b", 'say "x"', "  edge ", "1x", "line\nbreak"]),
        ),
        min_size=2,
        max_size=20,
    ).filter(lambda rows: len({row[2] for row in rows}) > 1)
)
def test_reads_what_python_writes(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("first", "second", "name"), *rows])
    table = read_table(path, "name")
    np.testing.assert_array_equal(table.x, np.array([row[:2] for row in rows], "float32"))
    assert [table.classes[k] for k in table.y] == [row[2].strip() for row in rows]
    assert list(table.classes) == sorted(table.classes)


# What is taken for classes


def target(write, values, **options):
    lines = "".join(f"{k},{value}\n" for k, value in enumerate(values))
    return read_table(write(f"x,t\n{lines}"), "t", **options)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a", "b"], "classification", ("a", "b")),
        (["10", "9", "10", "9"], "classification", ("9", "10")),
        (["1", "1.0", "0", "-1", "0.0", "-1"], "classification", ("-1", "0", "1")),
        (["1", "x", "2"], "classification", ("1", "2", "x")),
        (["0.5", "1", "0.5", "1"], "regression", ()),
        (["1", "2", "3", "4"], "regression", ()),  # each but once
        (["1e3", "2"] * 3, "classification", ("2", "1000")),
        ([*range(20), *range(20)], "classification", tuple(map(str, range(20)))),
        ([*range(21), *range(21)], "regression", ()),
        (["True", "False"], "classification", ("False", "True")),
    ],
)
def test_the_rule_of_classes(write, values, task, classes):
    table = target(write, values)
    assert (table.task, table.classes) == (task, classes)
    for value, y in zip(values, table.y, strict=True):
        if task == "regression":
            assert y == np.float32(value)
        else:
            name = classes[y]
            assert name == value or float(name) == float(value)


def test_the_task_can_be_told(write):
    assert target(write, [1, 0, 1, 0], task="regression").y.tolist() == [1, 0, 1, 0]
    assert target(write, [1, 0, 1, 0], task="regression").y.dtype == np.float32
    assert target(write, [5, 7, 6.5], task="classification").classes == ("5", "6.5", "7")
    with pytest.raises(ValueError, match="task is 'regress'; expected one of 'auto'"):
        target(write, [1, 0], task="regress")
    with pytest.raises(ValueError, match=r"line 3: column 't' holds 'x'; expected a number$"):
        target(write, [1, "x"], task="regression")
    with pytest.raises(ValueError, match=r"column 't' holds 1e60; expected .* finite in float32"):
        target(write, ["1e60", "0.5"])


# Features for a trained model


def test_features_are_found_by_name(write):
    path = write("extra,b,a,target\nx,1,2,\ny,3,4,\n")
    np.testing.assert_array_equal(read_features(path, ["a", "b"]), [[2, 1], [4, 3]])
    assert read_features(path, ("b",)).dtype == np.float32
    with pytest.raises(ValueError, match=r"features 'c', 'd': no such column in .*flowers.csv"):
        read_features(path, ["a", "c", "d"])
    with pytest.raises(ValueError, match=r"line 2: column 'extra' holds 'x'"):
        read_features(path, ["extra"])


# Bad files: text, target, what the message names

BROKEN = {
    "missing value": ("a,t\n1,x\n,y\n", "t", "line 3: column 'a' is missing; expected a value"),
    "NA": ("a,t\n1,x\nNA,y\n", "t", "line 3: column 'a' is missing; .* leave the row out"),
    "nan": ("a,t\n1,x\n nan ,y\n", "t", "line 3: column 'a' is missing"),
    "missing target": ("a,t\n1,x\n2, \n", "t", "line 3: column 't' is missing"),
    "missing number": ("a,t\n1,0.5\n2,?\n", "t", "line 3: column 't' is missing"),
    "infinite": ("a,t\n1,x\ninf,y\n", "t", "line 3: column 'a' holds inf; .*finite in float32"),
    "too large": ("a,t\n1,x\n1e39,y\n", "t", r"line 3: column 'a' holds 1e\+39; .*in float32"),
    "a name": ("a,b,t\n1,red,x\n", "t", "line 2: column 'b' holds 'red'; .*one-hot.*get_dummies"),
    "underscore": ("a,b,t\n1,1_0,x\n", "t", "line 2: column 'b' holds '1_0'; expected a number"),
    "too short": ("a,b,t\n1,2,x\n1,2\n", "t", "line 3 has 2 values; expected 3, one for each col"),
    "too long": ("a,b,t\n1,2,x,\n", "t", "line 2 has 4 values; expected 3"),
    "late line": ('a,t\n1,"x\n\n"\n\nb,y\n', "t", "line 6: column 'a' holds 'b'"),
    "no target": ("a,b\n1,2\n", "c", "target 'c': no such column in .*; expected some of 'a', 'b'"),
    "other delimiter": ("a;t\n1;2\n", "t", "Is the delimiter another one"),
    "no header": ("1,2\n3,4\n", "t", "The first line holds numbers; put the names"),
    "one class": ("a,t\n1,x\n2,x\n", "t", "column 't' of .* holds nothing but 'x'; expected two"),
    "one number": ("a,t\n1,3\n2,3\n", "t", "holds nothing but '3'"),
    "twice": ("a,a,t\n1,2,x\n", "t", "has two columns 'a'; expected different names"),
    "no name": (",a,t\n0,2,x\n", "t", "column 1 of .* has no name; .*index=False"),
    "empty": ("", "t", "is empty; expected a CSV file with a header"),
    "blank": ("\n\n", "t", "is empty"),
    "header only": ("a,t\n", "t", "has no rows below the header"),
    "target only": ("t\nx\ny\n", "t", "has the one column 't'; expected features beside it"),
    "open quote": ('a,t\n1,"x\n', "t", "line 2: unexpected end of data; expected a CSV file"),
    "not text": (b"a,t\n\xff\xfe,x\n", "t", "is not in UTF-8 .*; save it so"),
}


def test_a_column_of_long_texts_is_passed_over(write):
    """The csv module stops at 131,072 characters; what it was set to stays."""
    limit = csv.field_size_limit()
    path = write("a,text\n" + "".join(f"{k},{'x' * 200_000}\n" for k in range(3)))
    np.testing.assert_array_equal(read_features(path, ["a"]), [[0], [1], [2]])
    with pytest.raises(ValueError, match=r"line 2: column 'text' holds 'x{40}'; expected a number"):
        read_table(path, "a")
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named_with_line_and_column(write, name):
    text, column, message = BROKEN[name]
    path = write(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_table(path, column)
    assert str(path) in str(caught.value)


def test_no_file_and_no_delimiter(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"absent\.csv is not a file; expected a CSV file"):
        read_table(tmp_path / "absent.csv", "t")
    for delimiter in ("", ";;", None):
        with pytest.raises(ValueError, match=r"delimiter is .*; expected one character"):
            read_table(write(FLOWERS), "species", delimiter=delimiter)  # type: ignore[arg-type]
