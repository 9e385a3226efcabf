"""Commands whose output can't hold every letter: pipes of Windows, LC_ALL=POSIX."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from onepass.__main__ import main
from onepass.backend import devices
from onepass.bench import command as run

ROWS = "größe,вид\n" + "".join(f"{k},{('Łódź', 'кот')[k % 2]}\n" for k in range(40))
ENCODINGS = ["ascii", "cp1252", "cp437"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "таблица.csv"
    path.write_text(ROWS, encoding="utf-8")
    return path


def stdout_in(encoding, monkeypatch, errors="strict"):
    """Make stdout a pipe in that encoding; a function that tells what was written."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors)
    monkeypatch.setattr(sys, "stdout", stream)

    def written():
        stream.flush()
        return raw.getvalue().decode(encoding)

    return written


def train(table, *options):
    return main(["train", "--data", str(table), "--target", "вид", "--epochs", "1", "--quiet",
                 "--device", "cpu", *map(str, options)])  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_training_reports_and_saves(encoding, table, tmp_path, monkeypatch):
    output = stdout_in(encoding, monkeypatch)
    assert train(table, "--save", tmp_path / "модель") == 0
    assert r"'\u0432\u0438\u0434': 2 classes" in output()
    assert r"saved; now: onepass predict" in output()
    assert (tmp_path / "модель").exists()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_predictions_are_refused_with_what_to_do_and_doing_it_helps(
    encoding, table, tmp_path, capsys, monkeypatch
):
    output = stdout_in(encoding, monkeypatch)
    assert train(table, "--save", tmp_path / "m") == 0
    before = output()
    predict = ["predict", str(tmp_path / "m"), str(table), "--device", "cpu"]
    assert main(predict) == 2
    told = capsys.readouterr().err
    for words in ("the predictions hold", "--out", "PYTHONIOENCODING=utf-8", encoding):
        assert words in told
    assert output() == before, "no half of the table"
    assert main([*predict, "--out", str(tmp_path / "p.csv")]) == 0
    written = (tmp_path / "p.csv").read_text(encoding="utf-8")
    assert written.splitlines()[0] == "вид"
    assert {*written.splitlines()[1:]} <= {"Łódź", "кот"}
    output = stdout_in("utf-8", monkeypatch)
    assert main(predict) == 0
    assert output() == written


def test_letters_that_the_encoding_has_are_printed_as_they_are(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    path.write_text(ROWS.replace("Łódź", "größer").replace("кот", "né").replace("вид", "Maß"),
                    encoding="utf-8")  # fmt: skip
    output = stdout_in("cp1252", monkeypatch)
    options = ["--epochs", "1", "--quiet", "--device", "cpu", "--save", str(tmp_path / "m")]
    assert main(["train", "--data", str(path), "--target", "Maß", *options]) == 0
    assert main(["predict", str(tmp_path / "m"), str(path), "--device", "cpu"]) == 0
    shown = output()
    assert "'Maß': 2 classes" in shown
    assert {*shown.splitlines()[-40:]} <= {"größer", "né"}


def test_who_asks_for_replacements_gets_them(table, tmp_path, monkeypatch):
    """PYTHONIOENCODING=ascii:replace."""
    assert train(table, "--save", tmp_path / "m") == 0
    output = stdout_in("ascii", monkeypatch, errors="replace")
    assert main(["predict", str(tmp_path / "m"), str(table), "--device", "cpu"]) == 0
    assert output().splitlines()[0] == "???"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_info_prints_what_devices_are_called(encoding, monkeypatch):
    output = stdout_in(encoding, monkeypatch)
    gpu = devices.DeviceStatus("cuda:0", False, reason="Łódź", remedy="кот")
    monkeypatch.setattr(devices, "probe_cuda", lambda index=0: gpu)
    assert main(["info"]) == 0
    assert r"\u0141" in output()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_benchmarks_and_comparisons_name_their_files(encoding, tmp_path, monkeypatch):
    output = stdout_in(encoding, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "workloads", lambda name, choice: [])
    monkeypatch.setattr(run, "_curves", lambda choice: [])
    assert main(["bench", "--quick", "--only", "steps", "--page", "", "--json", "кот.json"]) == 0
    assert r"results: \u043a\u043e\u0442.json" in output()
    assert main(["bench", "compare", "кот.json", "кот.json"]) == 0
    assert r"B: \u043a\u043e\u0442.json" in output()


def test_errors_quote_names(table, capsys):
    assert main(["train", "--data", str(table), "--target", "цена"]) == 2
    assert "'цена'" in capsys.readouterr().err


def test_a_locale_without_letters(table, tmp_path):
    """As containers and services have it, where UTF-8 mode is off; stderr and stdout both."""
    environment = os.environ | {
        "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "",
    }  # fmt: skip
    table.rename(tmp_path / "t.csv")

    def trained(target):
        code = (
            "import sys; from onepass.__main__ import main; print(sys.stdout.encoding);"
            f" sys.exit(main(['train', '--data', 't.csv', '--target', {target!a},"
            " '--epochs', '1', '--quiet']))"
        )
        command = [sys.executable, "-c", code]
        return subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)

    done = trained("вид")
    assert done.returncode == 0, done.stderr
    encoding, _, report = done.stdout.partition(b"\n")
    assert encoding.lower() in (b"ascii", b"us-ascii", b"ansi_x3.4-1968")
    assert rb"'\u0432\u0438\u0434': 2 classes" in report
    done = trained("Łódź")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"no such column" in done.stderr
