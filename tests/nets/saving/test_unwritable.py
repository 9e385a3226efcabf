"""What can't be written is refused before the work whose result it is to hold."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from onepass.__main__ import main
from onepass.bench import command as run
from onepass.nets import (
    SGD,
    Callback,
    Checkpoint,
    Dense,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    save,
)
from onepass.nets.command import table_model as model
from onepass.nets.command import train_table as table

NOBODY = 65534
ROWS = "x,y\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40))


@pytest.fixture
def file(tmp_path):
    """A CSV file to train on, where everybody can read it."""
    handle, name = tempfile.mkstemp(suffix=".csv")
    os.write(handle, ROWS.encode())
    os.close(handle)
    os.chmod(name, 0o644)
    yield Path(name)
    os.remove(name)


def no_access():
    """A folder without permission to write; root has it everywhere, and so is somebody else."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    yield folder
    if root:
        os.seteuid(0)
    assert not os.listdir(folder)
    folder.rmdir()


def no_file_system_for_files():
    """A folder that is there, in which the kernel lets nobody make a file."""
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no /proc")
    yield Path("/proc/self")


def read_only(monkeypatch):
    """A real folder whose file system says that it is read-only."""
    folder = Path(tempfile.mkdtemp())
    opened = Path.open

    def refusing(path, mode="r", *rest, **options):
        if path.parent == folder and set(mode) & set("wxa+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", refusing)
    yield folder
    assert not os.listdir(folder)
    folder.rmdir()


@pytest.fixture(params=["no access", "proc", "read-only"])
def unwritable(request, monkeypatch):
    if request.param != "proc" and not hasattr(os, "seteuid"):
        pytest.skip("permissions are POSIX's")
    yield from {
        "no access": no_access,
        "proc": no_file_system_for_files,
        "read-only": lambda: read_only(monkeypatch),
    }[request.param]()


def refused(error, folder):
    assert f"no file can be made in {str(folder.resolve())!r}" in str(error)
    assert "expected a folder that can be written to" in str(error)


def never(*arguments, **options):
    pytest.fail("it went to work")


def network():
    net = Sequential(Dense(2, 2), device="cpu")
    return net, SGD(net.parameters())


def test_a_model_is_refused_before_its_training(file, unwritable, monkeypatch, capsys):
    for name in ("read_table", "fit"):
        monkeypatch.setattr(table, name, never)
    options = ["--data", str(file), "--target", "y", "--save", str(unwritable / "m.safetensors")]
    assert main(["train", *options]) == 2
    shown = capsys.readouterr()
    refused(shown.err, unwritable)
    assert not shown.out


def test_predictions_are_refused_before_they_are_made(file, unwritable, monkeypatch, capsys):
    monkeypatch.setattr(model, "load", never)
    assert main(["predict", str(file), str(file), "--out", str(unwritable / "p.csv")]) == 2
    shown = capsys.readouterr()
    refused(shown.err, unwritable)


@pytest.mark.parametrize("best", [None, "loss"])
def test_a_checkpoint_is_refused_before_the_first_epoch(best, unwritable):
    class Never(Callback):
        on_batch = on_epoch = never

    net, optimizer = network()
    before = net.parameters().flat.copy()
    callbacks = [Never(), Checkpoint(unwritable / "net.safetensors", keep_best=best)]
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": optimizer, "progress": False}
    with pytest.raises(OSError, match="no file can be made") as caught:
        fit(net, (np.eye(2), np.arange(2)), callbacks=callbacks, **options)
    refused(caught.value, unwritable)
    np.testing.assert_array_equal(net.parameters().flat, before)


def test_a_save_is_refused(unwritable):
    with pytest.raises(OSError, match="no file can be made") as caught:
        save(unwritable / "net.safetensors", network()[0])
    refused(caught.value, unwritable)


@pytest.mark.parametrize("option", ["--json", "--page", "--png"])
def test_benchmarks_are_refused_before_they_are_run(option, unwritable, monkeypatch, capsys):
    for name in ("measure", "train_curves", "workloads"):
        monkeypatch.setattr(run, name, never)
    given = ["--page", "x"] if option == "--json" else []
    monkeypatch.chdir(tempfile.gettempdir())
    assert main(["bench", "--quick", *given, option, str(unwritable / "result")]) == 2
    refused(capsys.readouterr().err, unwritable)
    if unwritable != Path("/proc/self"):
        assert main(["bench", "--quick", "--png", str(unwritable)]) == 2
        refused(capsys.readouterr().err, unwritable)


def test_what_is_no_folder_or_no_file_is_told_as_that(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*file'; make it first"):
        save(tmp_path / "file" / "net", network()[0])
    for device in ("/dev/full", "/dev/null"):
        if os.path.exists(device):
            with pytest.raises(IsADirectoryError, match="is no file; expected the name of a file"):
                save(device, network()[0])


def test_a_name_that_is_too_long_is_refused_too(tmp_path):
    with pytest.raises(OSError, match=r"no file can be made.*expected a shorter name") as caught:
        save(tmp_path / ("n" * 300), network()[0])
    assert caught.value.errno == errno.ENAMETOOLONG


def test_finding_out_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "net"
    path.write_text("precious")
    net, optimizer = network()

    class Looks(Callback):
        def on_batch(self, run):
            assert os.listdir(tmp_path) == ["net"]
            assert path.read_text() == "precious"

    callbacks = [Checkpoint(path), Looks()]
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": optimizer, "progress": False}
    fit(net, (np.eye(2), np.arange(2)), epochs=1, callbacks=callbacks, **options)
    assert path.read_bytes()[:8] != b"precious"
