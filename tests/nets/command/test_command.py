"""The command line: what it prints, and its exit status when it can't do what was asked."""

from __future__ import annotations

import subprocess
import sys

import pytest
from onepass.__main__ import main
from onepass.nets import Cosine, ExponentialDecay, History, LinearDecay, Warmup
from onepass.nets.command import recipes


def test_info_names_devices_engines_and_why_not(capsys):
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for word in ("numpy", '"auto" takes', "cpu", "cuda:0", "numba-cuda", "float16"):
        assert word in shown


def test_train_prints_device_reason_and_accuracy(capsys):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    assert main(["train", "--quiet", "--epochs", "2", "--device", "cpu", "--lr", "0.002"]) == 0
    shown = capsys.readouterr().out
    assert "device: cpu, as asked." in shown
    assert "2 epochs" in shown
    assert "lr 0.002" in shown
    assert "test accuracy" in shown


@pytest.mark.parametrize(
    ("arguments", "told", "rates"),
    [
        (["--schedule", "cosine"], "lr 0.002 at most (cosine)", Cosine(0.002, 90)),
        (
            ["--schedule", "linear", "--warmup", "9", "--lr", "0.01"],
            "lr 0.01 at most (linear, 9 mini-batches of warm-up)",
            Warmup(9).then(LinearDecay(0.01, 81)),
        ),
        ([], "lr 0.002 at first", ExponentialDecay(0.002, 0.93)),
    ],
)
def test_train_takes_a_schedule_by_name(capsys, monkeypatch, arguments, told, rates):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    seen = []

    def train(recipe, data, progress, comm=None):
        seen.append((recipe.schedule, -(-len(data.x_train) // recipe.batch_size)))
        return History(val_metric=[0.5], loss=[1.0], seconds=[1.0])

    monkeypatch.setattr(recipes.Recipe, "train", train)
    assert main(["train", "--quiet", "--epochs", "2", "--device", "cpu", *arguments]) == 0
    assert told in capsys.readouterr().out
    assert seen == [(rates, 45)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "cifar"], "data is 'cifar'; expected 'digits' or 'mnist:FOLDER'"),
        (["--data", "mnist:"], "expected 'digits' or 'mnist:FOLDER'"),
        (["--data", "mnist:/no/such/folder"], "/no/such/folder is not a folder"),
        (["--optimizer", "adamm"], "optimizer is 'adamm'; expected 'sgd', "),
        (["--device", "tpu"], "device is 'tpu'; expected"),
        (["--device", "cuda:99"], "device asks for 'cuda:99', which can't be used"),
        (["--lr", "-1"], "lr is -1.0; expected a finite number >= 0"),
        (["--epochs", "0"], "epochs is 0; expected at least 1"),
        (["--batch-size", "0"], "batch_size is 0; expected at least 1"),
        (["--schedule", "sine"], "schedule is 'sine'; expected 'cosine', 'linear', 'one-cycle'"),
        (["--schedule", "cosine", "--epochs", "0"], "epochs is 0; expected at least 1"),
        (["--warmup", "9"], "schedule is None beside a warm-up; expected 'cosine', "),
        (["--schedule", "linear", "--warmup", "0"], "warmup is 0; expected at least 1"),
        (
            ["--schedule", "linear", "--epochs", "1", "--warmup", "46"],
            "warmup is 46; expected less than the 45 mini-batches of the training",
        ),
        (["--schedule", "one-cycle", "--warmup", "9"], "expected None of 'one-cycle'"),
    ],
)
def test_train_refuses_with_a_message_and_status_2(capsys, arguments, message):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    assert main(["train", "--quiet", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_a_diverging_run_ends_with_a_message_and_status_2(capsys):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")
    assert main(["train", "--quiet", "--epochs", "1", "--lr", "1e30"]) == 2
    assert "try a lower lr" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m onepass info | head -n 1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


def test_remedies_keep_their_brackets(capsys, monkeypatch):
    from onepass.backend import devices

    gone = devices.DeviceStatus("cuda:0", False, reason="none", remedy='pip install "a[b]"')
    monkeypatch.setattr(devices, "probe_cuda", lambda index=0: gone)
    assert main(["info"]) == 0
    assert '"a[b]"' in capsys.readouterr().out


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "onepass", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("onepass ")
