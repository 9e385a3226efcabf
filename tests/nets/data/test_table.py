"""CSV files: what is read, what is taken for classes, and files in every state of disrepair."""

from __future__ import annotations

import csv
import re

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
        table.x, np.array([[5.1, 3.5], [6.2, 2.9], [5.9, 3.0], [5.0, 3.4]])
    )
    assert (table.x.dtype, table.y.dtype) == (np.float64, np.int64)
    assert table.classes == ("setosa", "versicolor", "virginica")
    assert table.y.tolist() == [0, 2, 1, 0]
    assert table.features == ("length", "width")
    assert (table.target, table.task, table.name) == ("species", "classification", "flowers")
    assert repr(table) == ("Table('flowers', 4 samples of 2 features, 'species': 3 classes)")


def test_columns_keep_their_order_around_the_target(write):
    table = read_table(str(write("c,t,a,b\n1,0.5,2,3\n4,1.5,5,6\n")), "t")
    assert table.features == ("c", "a", "b")
    assert table.x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert (table.y.tolist(), table.y.dtype, table.classes) == ([0.5, 1.5], np.float64, ())
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


@pytest.mark.parametrize("delimiter", ["\t", r"\t", "tab", "TAB"])
def test_a_tabulator_may_be_told_in_words(write, delimiter):
    path = write(FLOWERS.replace(",", "\t"))
    assert read_table(path, "species", delimiter=delimiter).x[1].tolist() == [6.2, 2.9]
    assert read_features(path, ["width"], delimiter=delimiter)[1].tolist() == [2.9]
    with pytest.raises(ValueError, match=r"Is the delimiter another .*delimiter=','$"):
        read_table(write(FLOWERS), "species", delimiter=delimiter)


def test_what_excel_writes_for_itself(write):
    lines = ["sep=;", "a;t", "1;x", "", '2;"y; z"', "q;y"]
    path = write("\ufeff" + "\r\n".join(lines[:5]))
    table = read_table(path, "t", delimiter=";")
    assert (table.features, table.classes, table.x.tolist()) == (("a",), ("x", "y; z"), [[1], [2]])
    with pytest.raises(ValueError, match="line 6: column 'a' holds 'q'"):
        read_table(write("\r\n".join(lines)), "t", delimiter=";")


def test_numbers_keep_the_digits_of_the_file(write):
    rows = [(1700000000 + k, 0.1 * k, 9007199254740991 - k) for k in range(60)]
    path = write("t,x,y\n" + "".join(f"{t},{x!r},{y}\n" for t, x, y in rows))
    table = read_table(path, "y")
    np.testing.assert_array_equal(table.x, [row[:2] for row in rows])
    np.testing.assert_array_equal(table.y, [row[2] for row in rows])
    np.testing.assert_array_equal(read_features(path, ["x", "t"]), table.x[:, ::-1])


def test_true_and_false_are_1_and_0(write):
    path = write("a,b,c,t\nTrue,0.5,FALSE,x\n false ,1,true,y\nTRUE,2,1,x\n")
    expected = [[1, 0.5, 0], [0, 1, 1], [1, 2, 1]]
    assert read_table(path, "t").x.tolist() == expected
    assert read_features(path, ["a", "b", "c"]).tolist() == expected
    numbers = read_table(write("x,t\n1,True\n2,false\n3,True\n"), "t", task="regression")
    assert (numbers.y.tolist(), numbers.task) == ([1, 0, 1], "regression")
    with pytest.raises(ValueError, match=r"line 3: column 'a' holds 'T'; expected a number; turn"):
        read_table(write("a,t\nTrue,x\nT,y\n"), "t")


def test_dummies_of_pandas(write, tmp_path):
    pandas = pytest.importorskip("pandas", reason="no pandas")
    frame = pandas.DataFrame({"colour": ["red", "blue", "red"], "t": ["x", "y", "x"]})
    path = tmp_path / "dummies.csv"
    pandas.get_dummies(frame, columns=["colour"]).to_csv(path, index=False)
    assert "True" in path.read_text(), "or it would show nothing"
    table = read_table(path, "t")
    assert table.features == ("colour_blue", "colour_red")
    assert table.x.tolist() == [[0, 1], [1, 0], [0, 1]]


def test_other_delimiters_and_quoted_ones(write):
    text = 'a;"the; target"\n1;"x; y"\n2;"line\nbreak"\n'
    table = read_table(write(text), "the; target", delimiter=";")
    assert table.classes == ("line\nbreak", "x; y")
    assert table.x.tolist() == [[1], [2]]


@given(
    rows=st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.floats(-1, 1),
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
    np.testing.assert_array_equal(table.x, np.array([row[:2] for row in rows]))
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
        (["1e3", "2"] * 3, "classification", ("2", "1e3")),
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
            assert y == float(value)
        else:
            name = classes[y]
            assert name == value or float(name) == float(value)


def test_the_task_can_be_told(write):
    assert target(write, [1, 0, 1, 0], task="regression").y.tolist() == [1, 0, 1, 0]
    assert target(write, [1, 0, 1, 0], task="regression").y.dtype == np.float64
    assert target(write, [5, 7, 6.5], task="classification").classes == ("5", "6.5", "7")
    with pytest.raises(ValueError, match="task is 'regress'; expected one of 'auto'"):
        target(write, [1, 0], task="regress")
    with pytest.raises(ValueError, match=r"line 3: column 't' holds 'x'; expected a number$"):
        target(write, [1, "x"], task="regression")
    with pytest.raises(ValueError, match=r"column 't' holds 1e400; expected .* finite in float64"):
        target(write, ["1e400", "0.5"])


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["10115", "01000", "02000"] * 9, ("01000", "02000", "10115")),
        (["0.30", "0.10", "0.20"], ("0.10", "0.20", "0.30")),
        (["900719925474099400", "900719925474099301", "900719925474099302"] * 9,
         ("900719925474099301", "900719925474099302", "900719925474099400")),
        (["1e1", "10", "2e1", "9"], ("9", "1e1", "10", "2e1")),
        (["007", "7", "8"], ("007", "7", "8")),
        (["2.0", "1", "2", "1.00"], ("1", "2.0")),
        (["1.10", "1.1"], ("1.1", "1.10")),
        (["9" * 400, "1e999", "5"], ("1e999", "5", "9" * 400)),
        (["true", "TRUE"], ("TRUE", "true")),
    ],
)  # fmt: skip
def test_classes_are_called_as_in_the_file(write, values, classes):
    table = target(write, values, task="classification")
    assert table.classes == classes
    for value, y in zip(values, table.y, strict=True):
        name = classes[y]
        assert name == value or (float(name) == float(value) == int(float(value)))


MISSING = ["?", "NA", "n/a", "#N/A", "<NA>", "nan", "NULL", "None"]


@pytest.mark.parametrize("text", MISSING)
def test_a_class_may_be_called_as_what_else_is_missing(write, text):
    table = target(write, [text, "mild", text, "severe"])
    assert set(table.classes) == {text, "mild", "severe"}
    assert [table.classes[k] for k in table.y] == [text, "mild", text, "severe"]
    assert set(target(write, [text, "N.A."]).classes) == {text, "N.A."}
    for told in (text, [text.swapcase(), "x"]):
        with pytest.raises(ValueError, match=r"line 3: column 't' holds .* a missing value; .*''$"):
            target(write, ["mild", text], missing=told)
    for number in ("1", "0.5"):
        with pytest.raises(ValueError, match=r"line 3: column 't' holds .* for a missing value"):
            target(write, [number, text, "2"])
    with pytest.raises(ValueError, match=r"line 3: column 't' holds .* for a missing value;.*out$"):
        target(write, ["1", text, "x"], task="regression")
    for nothing in ("", []):
        table = target(write, ["1", text, "0"], task="classification", missing=nothing)
        assert text in table.classes
        with pytest.raises(ValueError, match="line 3: column 't' is missing"):
            target(write, ["1", "", "0"], missing=nothing)


@pytest.mark.parametrize("text", MISSING)
def test_in_features_it_is_missing_unless_told_otherwise(write, text):
    path = write(f"a,t\n1,x\n {text} ,y\n")
    message = f"line 3: column 'a' holds '{re.escape(text)}', which stands for a missing value"
    for call in (lambda **o: read_table(path, "t", **o), lambda **o: read_features(path, "a", **o)):
        with pytest.raises(ValueError, match=message):
            call()
        with pytest.raises(ValueError, match=message):
            call(missing=["-", text.lower()])
        with pytest.raises(
            ValueError, match=r"line 3: column 'a' holds '?[^ ]*; expected a number"
        ):
            call(missing="-")


def test_a_number_may_stand_for_a_missing_value(write):
    path = write("a,b,t\n1,-999.0,x\n2,3,y\n")
    assert read_table(path, "t").x.tolist() == [[1, -999], [2, 3]]
    message = "line 2: column 'b' holds '-999.0', which stands for a missing value"
    for missing in ("-999", ["NA", "-9.99e2"]):
        with pytest.raises(ValueError, match=message):
            read_table(path, "t", missing=missing)
        with pytest.raises(ValueError, match=message):
            read_features(path, ["a", "b"], missing=missing)
    for missing in (-999, [-999], [None], {"NA": 1}):
        with pytest.raises(TypeError, match=r"missing is .*; expected texts .* \['NA', '-999'\]$"):
            read_table(path, "t", missing=missing)
    for missing in ("-999", ["NA", "-9.99e2"]):
        with pytest.raises(ValueError, match="line 3: column 't' holds '-999', which stands for"):
            target(write, ["1", "-999", "2.5"], missing=missing)


# What looks like a number

LOOKS = {
    "1,5": "a decimal comma; expected a number; write 1.5 .*decimal=','",
    "-1.234,56": "a decimal comma; expected a number; write -1234.56 ",
    "1,5e3": "a decimal comma; expected a number; write 1.5e3 ",
    "1,500": "a decimal comma, or with a comma between thousands; .*; write 1.500 or 1500, which",
    "1,234,567.8": "a separator between thousands; .*; write 1234567.8 .*thousands=','",
    "1.234.567": r"a separator between thousands; .*; write 1234567 .*thousands='\.'",
    "1 500": "a separator between thousands; .*; write 1500 .*thousands=' '",
    "1\u202f500": "a separator between thousands; .*; write 1500 ",
    "1'500.25": "a separator between thousands; .*; write 1500.25 ",
    "1_000": "a separator between thousands; .*; write 1000 .*thousands='_'",
    "5%": "a percentage; .*; write the number alone",
    "12,5 %": "a percentage",
    "$1,200.50": "an amount of money; .*; write the number alone",
    "-5,00 €": "an amount of money",
    "2024-01-31": r"a date or a time; .*; make a number of it, .*pandas.to_datetime",
    "2024-01-31 12:00:05.5": "a date or a time",
    "2024-01-31T12:00Z": "a date or a time",
    "31.1.2024": "a date or a time",
    "01/31/24": "a date or a time",
    "31-Jan-2024": "a date or a time",
    "12:30": "a date or a time",
}


@pytest.mark.parametrize("text", LOOKS)
def test_what_looks_like_a_number_gets_its_own_remedy(write, text):
    message = f"holds {re.escape(repr(text))}, which looks like .*{LOOKS[text]}"
    path = write(f"a;t\n1;x\n{text};y\n")
    with pytest.raises(ValueError, match=f"line 3: column 'a' {message}") as caught:
        read_table(path, "t", delimiter=";")
    assert "one-hot" not in str(caught.value)
    with pytest.raises(ValueError, match=f"line 3: column 'a' {message}"):
        read_features(path, ["a"], delimiter=";")
    with pytest.raises(ValueError, match=f"line 2: column 't' {message}"):
        read_table(write(f"a;t\n1;{text}\n2;1\n"), "t", task="regression", delimiter=";")


@pytest.mark.parametrize("text", ["red", "A1", "1.2.3.4", "-", "1e", "5 apples", "x,y", "1st", "%"])
def test_what_does_not_is_a_name(write, text):
    with pytest.raises(ValueError, match=rf"line 2: column 'a' holds '{text}'; .*one-hot"):
        read_table(write(f"a;t\n{text};x\n"), "t", delimiter=";")


def test_many_such_targets_are_not_taken_for_classes(write):
    for values in (
        [f"{k},5" for k in range(30)],
        ["1,500", *map(str, range(1000, 1030))],
        [f"2024-01-{k:02}" for k in range(1, 31)],
    ):
        text = "a;t\n" + "".join(f"{k};{value}\n" for k, value in enumerate(values))
        with pytest.raises(ValueError, match=r"line 2: column 't' holds .*task='classification'$"):
            read_table(write(text), "t", delimiter=";")
        told = read_table(write(text), "t", task="classification", delimiter=";")
        assert sorted(told.classes) == sorted(values)
    few = read_table(write("a;t\n" + "1;5%\n2;10%\n" * 9), "t", delimiter=";")
    assert few.classes == ("10%", "5%")
    assert len(target(write, [f"name {k}" for k in range(30)]).classes) == 30


# Features for a trained model


def test_features_are_found_by_name(write):
    path = write("extra,b,a,target\nx,1,2,\ny,3,4,\n")
    np.testing.assert_array_equal(read_features(path, ["a", "b"]), [[2, 1], [4, 3]])
    assert read_features(path, ("b",)).dtype == np.float64
    with pytest.raises(ValueError, match=r"features 'c', 'd': no such column in .*flowers.csv"):
        read_features(path, ["a", "c", "d"])
    with pytest.raises(ValueError, match=r"line 2: column 'extra' holds 'x'"):
        read_features(path, ["extra"])


# Bad files: text, target, what the message names

BROKEN = {
    "missing value": ("a,t\n1,x\n,y\n", "t", "line 3: column 'a' is missing; expected a value"),
    "NA": ("a,t\n1,x\nNA,y\n", "t", "3: column 'a' holds 'NA', which stands for a missing value;"),
    "nan": ("a,t\n1,x\n nan ,y\n", "t", "line 3: column 'a' holds 'nan', .* leave the row out$"),
    "missing target": ("a,t\n1,x\n2, \n", "t", "line 3: column 't' is missing"),
    "missing number": ("a,t\n1,0.5\n2,?\n", "t", r"line 3: column 't' holds '\?', .*missing=''$"),
    "infinite": ("a,t\n1,x\ninf,y\n", "t", "line 3: column 'a' holds inf; .*finite in float64"),
    "too large": ("a,t\n1,x\n-1e400,y\n", "t", "line 3: column 'a' holds -1e400; .*in float64"),
    "a name": ("a,b,t\n1,red,x\n", "t", "line 2: column 'b' holds 'red'; .*one-hot.*get_dummies"),
    "underscore": ("a,b,t\n1,1_0,x\n", "t", "line 2: column 'b' holds '1_0', .*; write 10 "),
    "too short": ("a,b,t\n1,2,x\n1,2\n", "t", "line 3 has 2 values; expected 3, one for each col"),
    "too long": ("a,b,t\n1,2,x,\n", "t", "line 2 has 4 values; expected 3"),
    "late line": ('a,t\n1,"x\n\n"\n\nb,y\n', "t", "line 6: column 'a' holds 'b'"),
    "no target": ("a,b\n1,2\n", "c", "target 'c': no such column in .*; expected some of 'a', 'b'"),
    "semicolons": ("a;t\n1;2\n", "t", "Is the delimiter another one.*delimiter=';'$"),
    "tabulators": ("a\tb (c, d)\tt\n1\t2\t3\n", "t", "delimiter another .*delimiter='tab'$"),
    "bars": ("a|t\n1|2\n", "t", r"delimiter another .*delimiter='\|'$"),
    "spaces": ("a b t\n1 2 3\n", "t", "delimiter another .*delimiter=' '$"),
    "no delimiter": ("a\n1\n", "t", "expected some of 'a'$"),
    "NUL": ("a,t\n1,x\n2,\0\n", "t", "line 3 holds a NUL character: .* in UTF-16; .* in UTF-8"),
    "UTF-16": ("a,t\n1,x\n".encode("utf-16-le"), "t", "line 1 holds a NUL character"),
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
    for delimiter in ("", ";;", None, "\n", '"', "\0", ["tab"]):
        with pytest.raises(ValueError, match=r"delimiter is .*; expected one character"):
            read_table(write(FLOWERS), "species", delimiter=delimiter)  # type: ignore[arg-type]
