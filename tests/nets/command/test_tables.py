"""`onepass train` on CSV files, and `onepass predict`: from a file to predictions, and mistakes."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from cases.training import bits
from onepass.__main__ import main
from onepass.nets import (
    OPTIMIZERS,
    Adam,
    Cosine,
    Dense,
    OneCycle,
    Sequential,
    Warmup,
    fit,
    load,
    read_table,
    save,
    split,
)
from onepass.nets.command import train_table

FLOWERS = ['iris, "setosa"', "Iris versicolor", "übrige"]


def flowers(n=120, seed=0):
    """Rows (length, width, constant, kind), of three kinds with names that need quotes."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 3
    rows = rng.normal(0, 0.3, (n, 2)) * [100, 0.1] + np.array([[0, 0], [150, 1], [0, 1]])[kinds]
    return [
        [f"{a:.6g}", f"{b:.6g}", "7", FLOWERS[k]] for (a, b), k in zip(rows, kinds, strict=True)
    ]


def houses(n=150, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.uniform(0, 1, (n, 2))
    return [[f"{a:.6g}", f"{b:.6g}", f"{1e5 * (3 + 2 * a - b):.8g}"] for a, b in rows]


@pytest.fixture
def write(tmp_path):
    def write(name, header, rows, delimiter=","):
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
        return str(path)

    return write


@pytest.fixture
def flowers_csv(write):
    return write("flowers.csv", ["length", "width", "age", "kind"], flowers())


@pytest.fixture
def houses_csv(write):
    return write("houses.csv", ["size", "noise", "price"], houses())


def train(*arguments):
    return main(["train", "--quiet", "--device", "cpu", "--data", *map(str, arguments)])


def predict(*arguments):
    return main(["predict", "--device", "cpu", *map(str, arguments)])


def by_hand(path, x):
    """What the saved network says of rows, in NumPy from the file's numbers alone."""
    saved = load(path, device="cpu")
    table = saved.metadata["table"]
    x = (x - np.array(table["mean"])) / np.array(table["deviation"])
    state = saved.net.state_dict()
    depth = len(state) // 2
    for k in range(depth):
        x = x @ state[f"{k}.weight"] + state[f"{k}.bias"]
        x = np.maximum(x, 0) if k < depth - 1 else x
    return x, table


def lines_of(text):
    return list(csv.reader(text.splitlines()))


# From a file to predictions


def test_classes_there_and_back(capsys, tmp_path, write, flowers_csv):
    model = tmp_path / "model.safetensors"
    assert train(flowers_csv, "--target", "kind", "--save", model, "--hidden", "8,8") == 0
    shown = capsys.readouterr().out
    assert "flowers: 96 samples to train on, 24 held out; 3 features, 'kind': 3 classes" in shown
    assert "the most frequent class is 33.33%" in shown
    assert float(re.search(r"test accuracy (\d+\.\d+)%", shown)[1]) >= 95
    assert f"onepass predict {model} FILE.csv" in shown

    other = flowers(30, seed=1)
    swapped = [[b, "?", a, c] for a, b, c, _ in other]  # no target, another order, one more
    path = write("new.csv", ["width", "note", "length", "age"], swapped)
    assert predict(model, path) == 0
    found = lines_of(capsys.readouterr().out)
    z, table = by_hand(model, np.array([row[:3] for row in other], float))
    assert table["features"] == ["length", "width", "age"]
    assert table["classes"] == sorted(FLOWERS)
    assert found == [["kind"], *([table["classes"][k]] for k in z.argmax(axis=1))]
    assert np.mean([a[0] == b[3] for a, b in zip(found[1:], other, strict=True)]) > 0.95

    out = tmp_path / "predictions.csv"
    assert predict(model, path, "--out", out, "--proba") == 0
    assert f"30 predictions of 'kind' written to {out}" in capsys.readouterr().out
    header, *rows = lines_of(out.read_text(encoding="utf-8"))
    assert header == ["kind", *(f"p({name})" for name in sorted(FLOWERS))]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(p, e / e.sum(axis=1, keepdims=True), atol=1e-5)
    assert [row[0] for row in rows] == [row[0] for row in found[1:]]


def test_numbers_there_and_back_in_their_own_unit(capsys, tmp_path, houses_csv):
    model = tmp_path / "model.safetensors"
    assert train(houses_csv, "--target", "price", "--save", model, "--lr", "0.01") == 0
    shown = capsys.readouterr().out
    assert "'price': a number" in shown
    r2, error = re.search(r"test R2 (0\.\d+), mean absolute error (\S+) after", shown).groups()
    assert float(r2) > 0.95
    table = read_table(houses_csv, "price")
    (x, y), (x_test, y_test) = split(table.x, table.y, (0.8, 0.2), seed=0)
    z, meta = by_hand(model, x_test)
    numbers = z[:, 0] * meta["target_deviation"][0] + meta["target_mean"][0]
    assert float(error) == pytest.approx(np.abs(numbers - y_test).mean(), rel=1e-3)
    expected = 1 - np.sum((numbers - y_test) ** 2) / np.sum((y_test - y_test.mean()) ** 2)
    assert float(r2) == pytest.approx(expected, abs=1e-4)
    # What normalizes was learnt from the training rows alone.
    np.testing.assert_allclose(meta["mean"], x.mean(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(meta["target_mean"], [y.mean(dtype=float)], rtol=1e-6)
    assert meta["mean"] != pytest.approx(table.x.mean(axis=0, dtype=float), rel=1e-6)

    assert predict(model, houses_csv) == 0
    found = lines_of(capsys.readouterr().out)
    z, _ = by_hand(model, table.x)
    numbers = z[:, 0] * meta["target_deviation"][0] + meta["target_mean"][0]
    assert found[0] == ["price"]
    np.testing.assert_allclose([float(row[0]) for row in found[1:]], numbers, rtol=1e-5)


def r2_of(found, y):
    return 1 - np.sum((found - y) ** 2) / np.sum((y - y.mean()) ** 2)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("time stamps", [[1700000000 + k, 0, k] for k in range(60)]),
        ("a plot in UTM metres", [
            [f"{691000 + 2 * a:.4f}", f"{5334000 + 2 * b:.4f}", f"{3 * a - b:.6f}"]
            for a, b in np.random.default_rng(0).uniform(0, 1, (200, 2))
        ]),
        ("a large target", [[k, 0, 1700000000 + k] for k in range(60)]),
    ],
)  # fmt: skip
def test_numbers_keep_their_digits_until_they_are_normalized(capsys, tmp_path, write, name, rows):
    path = write("large.csv", ["a", "b", "y"], rows)
    model, out = tmp_path / "model.safetensors", tmp_path / "out.csv"
    assert train(path, "--target", "y", "--task", "regression", "--save", model, "--lr", 0.01) == 0
    shown = capsys.readouterr().out
    r2, error = map(
        float, re.search(r"test R2 (\S+), mean absolute error (\S+) after", shown).groups()
    )
    assert r2 > 0.98, name
    assert predict(model, path, "--out", out) == 0
    found = np.array([float(row[0]) for row in lines_of(out.read_text())[1:]])
    rows = np.array(rows, float)
    assert r2_of(found, rows[:, 2]) > 0.98
    assert 0 < error < np.abs(rows[:, 2] - rows[:, 2].mean()).mean() / 4
    # As many digits as the network has, in deviations of the target.
    z, meta = by_hand(model, rows[:, :2])
    expected = z[:, 0] * meta["target_deviation"][0] + meta["target_mean"][0]
    limit = 100 * np.finfo("float32").eps * meta["target_deviation"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=limit)


@pytest.mark.parametrize(
    "names",
    [
        ["01000", "02000", "10115"],
        ["0.10", "0.20", "0.30"],
        ["900719925474099301", "900719925474099302", "900719925474099400"],
        ["none", "NA", "?"],
    ],
)
def test_predictions_are_called_as_the_file_calls_them(capsys, tmp_path, write, names):
    rows = [[a, b, names[FLOWERS.index(kind)]] for a, b, _, kind in flowers()]
    path = write("codes.csv", ["a", "b", "code"], rows)
    model, out = tmp_path / "model.safetensors", tmp_path / "out.csv"
    options = ["--target", "code", "--task", "classification", "--hidden", "8", "--save", model]
    assert train(path, *options) == 0
    assert predict(model, path, "--out", out, "--proba") == 0
    header, *found = lines_of(out.read_text())
    assert sorted(header[1:]) == sorted(f"p({name})" for name in names)
    assert np.mean([a[0] == b[2] for a, b in zip(found, rows, strict=True)]) > 0.95


def test_what_is_missing_is_kept_with_the_model(capsys, tmp_path, write):
    rows = [[a, b, ["0", "1", "NA"][FLOWERS.index(kind)]] for a, b, _, kind in flowers()]
    path = write("named.csv", ["a", "b", "t"], rows)
    model = tmp_path / "model.safetensors"
    options = ["--target", "t", "--epochs", 1, "--save", model]
    assert train(path, *options) == 2
    assert "column 't' holds 'NA', which stands for a missing value" in capsys.readouterr().err
    assert train(path, *options, "--missing", "") == 0
    assert load(model, device="cpu").metadata["table"]["missing"] == []
    assert train(path, *options, "--missing=-999,-") == 0
    hole = write("hole.csv", ["a", "b"], [["1", "2"], ["3", "-999.0"]])
    capsys.readouterr()
    assert predict(model, hole) == 2
    assert "line 3: column 'b' holds '-999.0', which stands for" in capsys.readouterr().err
    assert predict(model, hole, "--missing", "NA") == 0
    assert len(lines_of(capsys.readouterr().out)) == 3
    assert predict(model, hole, "--missing", -999) == 2
    assert train(path, "--target", "a", "--missing", "7.5,ü") == 2
    assert "column 't' holds 'NA'; expected a number; turn names" in capsys.readouterr().err
    assert main(["train", "--missing", ""]) == 2
    assert "--missing was given without --target" in capsys.readouterr().err


def test_tables_with_tabulators_and_true_and_false(capsys, tmp_path, write):
    rows = [[a, kind == "übrige", kind] for a, _, _, kind in flowers()]
    path = write("tabs.tsv", ["a", "b", "kind"], rows, delimiter="\t")
    model = tmp_path / "model.safetensors"
    assert train(path, "--target", "kind") == 2
    assert "delimiter='tab'" in capsys.readouterr().err
    assert train(path, "--target", "kind", "--delimiter", r"\t", "--save", model) == 0
    assert float(re.search(r"test accuracy (\d+\.\d+)%", capsys.readouterr().out)[1]) >= 95
    assert predict(model, path, "--delimiter", "tab") == 0
    found = lines_of(capsys.readouterr().out)[1:]
    assert np.mean([a[0] == b[2] for a, b in zip(found, rows, strict=True)]) > 0.95


def test_predict_refuses_what_the_network_can_not_hold(capsys, tmp_path, write, flowers_csv):
    model = tmp_path / "model.safetensors"
    assert train(flowers_csv, "--target", "kind", "--epochs", 1, "--save", model) == 0
    far = write("far.csv", ["length", "width", "age"], [["1", "2", "7"], ["1", "2", "-1e39"]])
    capsys.readouterr()
    for options in ([], ["--proba"]):
        assert predict(model, far, *options) == 2
        shown = capsys.readouterr()
        assert "row 2 holds -1e+39 in column 'age'; expected numbers nearer to" in shown.err
        assert not shown.out


def test_two_classes_have_one_output(capsys, tmp_path, write):
    rows = [row for row in flowers() if row[3] != "übrige"]
    path = write("two.csv", ["length", "width", "age", "kind"], rows)
    model = tmp_path / "model.safetensors"
    assert train(path, "--target", "kind", "--save", model, "--batch-norm", "--seed", 3) == 0
    assert load(model, device="cpu").net.out_features == 1
    capsys.readouterr()
    assert predict(model, path, "--proba") == 0
    header, *found = lines_of(capsys.readouterr().out)
    assert header[1:] == [f"p({name})" for name in sorted(FLOWERS)[:2]]
    p = np.array([row[1:] for row in found], float)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=2e-6)
    names = [sorted(FLOWERS)[k] for k in p.argmax(axis=1)]
    assert [row[0] for row in found] == names
    assert np.mean([name == row[3] for name, row in zip(names, rows, strict=True)]) > 0.95


@pytest.mark.parametrize(
    ("arguments", "told", "schedule"),
    [
        ([], "lr 0.01, 3 epochs", None),
        (["--schedule", "one-cycle"], "lr 0.01 at most (one-cycle), 3", OneCycle(0.01, 21)),
        (
            ["--schedule", "cosine", "--warmup", 5],
            "lr 0.01 at most (cosine, 5 mini-batches of warm-up), 3",
            Warmup(5).then(Cosine(0.01, 16)),
        ),
    ],
)
def test_a_schedule_by_name_is_of_the_whole_training(
    capsys, monkeypatch, flowers_csv, arguments, told, schedule
):
    """60 rows of 120 to train on are 7 mini-batches of 9 an epoch."""
    seen = []

    def noted(*given, **options):
        seen.append(options["schedule"])
        return fit(*given, **options)

    monkeypatch.setattr(train_table, "fit", noted)
    arguments += ["--test-fraction", 0.5, "--epochs", 3, "--batch-size", 9, "--lr", 0.01]
    assert train(flowers_csv, "--target", "kind", *arguments) == 0
    assert told in capsys.readouterr().out
    assert seen == [schedule]


def test_options_reach_network_and_training(capsys, tmp_path, write):
    rows = [[a, b, FLOWERS.index(kind)] for a, b, _, kind in flowers()]
    path = write("numbers.csv", ["a", "b", "t"], rows, delimiter=";")
    model = tmp_path / "model.safetensors"
    arguments = [
        "--target", "t", "--task", "regression", "--delimiter", ";", "--hidden", "5",
        "--keep-prob", 0.9, "--test-fraction", 0.5, "--epochs", 3, "--batch-size", 7, "--seed", 4,
        "--optimizer", "rmsprop", "--lr", 0.003, "--save", model,
    ]  # fmt: skip
    assert train(path, *arguments) == 0
    shown = capsys.readouterr().out
    assert (
        "60 samples to train on, 60 held out; 2 features, 't': a number; RMSprop, lr 0.003, "
        in (shown)
    )
    assert "3 epochs of batches of 7, seed 4" in shown
    assert repr(load(model, device="cpu").net) == (
        "Sequential(Dense(2, 5, activation='relu'), Dropout(0.9), Dense(5, 1, init='xavier'))"
    )
    assert predict(model, path, "--delimiter", ";") == 0
    assert len(lines_of(capsys.readouterr().out)) == 121


def test_one_seed_one_model(tmp_path, flowers_csv):
    models = [tmp_path / f"{k}.safetensors" for k in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        options = ["--target", "kind", "--epochs", 2, "--seed", seed, "--save", model]
        assert train(flowers_csv, *options) == 0
    first, again, other = (load(model, device="cpu") for model in models)
    assert bits(first.net) == bits(again.net) != bits(other.net)
    assert first.metadata == again.metadata
    assert first.metadata["table"]["mean"] != other.metadata["table"]["mean"]


def test_neither_command_needs_scikit_learn(tmp_path, flowers_csv):
    model = tmp_path / "model.safetensors"
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('sklearn', 'scipy', 'pandas')));"
        "from onepass.__main__ import main;"
        f"common = ['--device', 'cpu'];"
        f"a = main(['train', '--data', {flowers_csv!r}, '--target', 'kind', '--quiet', '--epochs',"
        f" '2', '--save', {str(model)!r}, *common]);"
        f"b = main(['predict', {str(model)!r}, {flowers_csv!r}, *common]);"
        "print(a, b)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 0", done.stderr


def test_ctrl_c_saves_what_was_learnt_so_far(capsys, monkeypatch, tmp_path, flowers_csv):
    class Strikes(Adam):
        def step(self, *args, **options):
            super().step(*args, **options)
            if self.steps == 30:  # 12 batches an epoch
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(OPTIMIZERS, "Adam", Strikes)
    model = tmp_path / "model.safetensors"
    assert train(flowers_csv, "--target", "kind", "--lr", 0.01, "--save", model) == 130
    assert "after 2 epochs" in (shown := capsys.readouterr().out)
    assert "(interrupted)" in shown
    assert load(model, device="cpu").net.in_features == 3


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "sort"], "target 'sort': no such column in"),
        (["--target", "width"], "column 'kind' holds 'iris, \"setosa\"'; expected a number"),
        (["--target", "kind", "--task", "regression"], "line 2: column 'kind' holds"),
        (["--target", "kind", "--task", "ranking"], "task is 'ranking'; expected one of"),
        (["--target", "kind", "--delimiter", ";;"], "delimiter is ';;'; expected one character"),
        (["--target", "kind", "--hidden", "8,0"], "hidden[1] is 0; expected at least 1"),
        (["--target", "kind", "--keep-prob", "0"], "keep_prob is 0.0; expected"),
        (["--target", "kind", "--test-fraction", "1"], "test_fraction is 1.0; expected a number"),
        (["--target", "kind", "--optimizer", "lamb"], "optimizer is 'lamb'; expected 'sgd'"),
        (["--target", "kind", "--epochs", "0"], "epochs is 0; expected at least 1"),
        (["--target", "kind", "--batch-size", "0"], "batch_size is 0; expected at least 1"),
        (["--target", "kind", "--schedule", "sine"], "schedule is 'sine'; expected 'cosine', 'lin"),
        (["--target", "kind", "--warmup", "5"], "schedule is None beside a warm-up; expected 'cos"),
        (["--target", "kind", "--lr", "-1"], "lr is -1.0; expected"),
        (["--target", "kind", "--lr", "1e30"], "try a lower lr"),
        (["--target", "kind", "--save", "/no/such/folder/m"], "there is no folder '/no/such"),
        (["--hidden", "8"], "--hidden was given without --target; expected --data FILE.csv"),
        ([], "or a CSV file with --target COLUMN"),
    ],
)  # fmt: skip
def test_train_refuses_with_a_message_and_status_2(capsys, flowers_csv, arguments, message):
    assert train(flowers_csv, *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.err.startswith("onepass: ")
    assert "test accuracy" not in shown.out
    assert "--save" not in arguments or not shown.out, "it is refused before training, not after"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["1", "", "x"], ["2", "3", "y"]], "line 2: column 'b' is missing; expected a value"),
        ([["1", "nan", "x"], ["2", "3", "y"]], "line 2: column 'b' holds 'nan', which stands for"),
        ([["1", "2", "x"], ["2", "inf", "y"]], "line 3: column 'b' holds inf; expected a number"),
        ([["1", "2", "x"], ["2", "3", "x"]], "holds nothing but 'x'; expected two classes or more"),
        ([["1", "2", "x"], ["2", "3"]], "line 3 has 2 values; expected 3"),
        ([["1", "2", "x"]], "holds nothing but 'x'"),
        ([], "has no rows below the header"),
    ],
)
def test_train_refuses_files_it_can_not_learn_from(capsys, write, rows, message):
    path = write("bad.csv", ["a", "b", "t"], rows)
    assert train(path, "--target", "t", "--test-fraction", "0.5") == 2
    assert message in capsys.readouterr().err


def test_train_needs_the_file(capsys):
    assert train("no.csv", "--target", "t") == 2
    assert "no.csv is not a file; expected a CSV file with a header" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        train("no.csv", "--target", "t", "--hidden", "64;32")
    assert left.value.code == 2
    assert "'64;32' is no list such as 64,32" in capsys.readouterr().err


def test_predict_names_what_is_missing(capsys, tmp_path, write, flowers_csv, houses_csv):
    model = tmp_path / "model.safetensors"
    assert train(flowers_csv, "--target", "kind", "--epochs", 1, "--save", model) == 0
    out = tmp_path / "predictions.csv"
    out.write_text("precious")
    few = write("few.csv", ["width", "kind"], [["1", "x"]])
    hole = write("hole.csv", ["length", "width", "age"], [["1", "", "7"]])
    for path, message in (
        (few, "features 'length', 'age': no such column in"),
        (hole, "line 2: column 'width' is missing"),
        ("no.csv", "no.csv is not a file"),
    ):
        assert predict(model, path, "--out", out) == 2
        assert message in capsys.readouterr().err
        assert out.read_text() == "precious"
    assert predict(tmp_path / "no.safetensors", few) == 2
    assert "no.safetensors is not there" in capsys.readouterr().err
    assert predict(flowers_csv, few) == 2
    assert "flowers.csv is no" in capsys.readouterr().err
    assert predict(model, flowers_csv, "--out", tmp_path / "no" / "p.csv") == 2
    assert "there is no folder" in capsys.readouterr().err
    assert train(houses_csv, "--target", "price", "--epochs", 1, "--save", model) == 0
    assert predict(model, houses_csv, "--proba") == 2
    assert "predicts 'price', a number; expected no --proba" in capsys.readouterr().err


def test_predict_refuses_networks_that_tell_no_names(capsys, tmp_path, flowers_csv):
    model, net = tmp_path / "model.safetensors", Sequential(Dense(3, 3), device="cpu")
    save(model, net)
    assert predict(model, flowers_csv) == 2
    assert "not what its inputs and outputs are called; expected a model that" in (
        capsys.readouterr().err
    )
    good = {
        "features": ["length", "width", "age"], "target": "kind", "classes": ["a", "b", "c"],
        "mean": [0.0] * 3, "deviation": [1.0] * 3, "target_mean": None, "target_deviation": None,
    }  # fmt: skip
    save(model, net, table=good)
    assert predict(model, flowers_csv) == 0
    for broken in (
        {"classes": ["a", "b"]}, {"features": ["length"]}, {"mean": [0.0]}, {"mean": "x"},
        {"deviation": [0.0] * 3}, {"classes": []}, {"more": 1},
        {"mean": [0.0] * 2, "deviation": [1.0] * 2}, {"missing": 1}, {"missing": [1]},
    ):  # fmt: skip
        save(model, net, table={**good, **broken})
        assert predict(model, flowers_csv) == 2, broken
        assert "is damaged" in capsys.readouterr().err
