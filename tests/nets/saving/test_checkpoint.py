"""The callback that saves a run while it goes on."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cases.saving import everything, network, train
from cases.training import bits
from cases.training import train as fit
from onepass.nets import (
    Adam,
    Callback,
    Checkpoint,
    Dense,
    EarlyStopping,
    Layer,
    Sequential,
    load,
    save,
)


class Scripted(Callback):
    """Sets a figure of the history to the next of a list."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch(self, run):
        run.history.figures()[self.name][-1] = self.values[run.epoch - 1]


class Watch(Callback):
    """The epoch in each file of a folder, after each epoch of the run."""

    def __init__(self, folder):
        self.folder, self.seen = folder, []

    def on_epoch(self, run):
        names = sorted(os.listdir(self.folder))
        self.seen.append({name: load(self.folder / name, "cpu").epoch for name in names})


@pytest.mark.parametrize(
    ("every", "seen"), [(1, [1, 2, 3, 4, 5]), (2, [0, 2, 2, 4, 5]), (3, [0, 0, 3, 3, 5])]
)
def test_it_saves_every_few_epochs_and_after_the_last(every, seen, tmp_path):
    watch = Watch(tmp_path)
    net, _ = fit(epochs=5, callbacks=[Checkpoint(tmp_path / "net", every), watch])
    assert watch.seen == [{"net": epoch} if epoch else {} for epoch in seen]
    assert bits(load(tmp_path / "net", "cpu").net) == bits(net)


def test_it_saves_the_epoch_after_which_a_callback_before_it_stops_the_run(tmp_path):
    class Stops(Callback):
        def on_epoch(self, run):
            if run.epoch == 4:
                run.stop("enough")

    net, _ = fit(epochs=9, callbacks=[Stops(), Checkpoint(tmp_path / "net", every=3)])
    saved = load(tmp_path / "net", "cpu")
    assert (saved.epoch, saved.history.stopped) == (4, "enough")
    assert bits(saved.net) == bits(net)


def test_it_saves_all_of_the_run_and_metadata(tmp_path):
    net = network()
    optimizer = Adam(net.parameters())
    checkpoint = Checkpoint(str(tmp_path / "net"), classes=("a", "b"), k=np.int64(3))
    history = train(net, optimizer, callbacks=[checkpoint])
    saved = load(checkpoint.path, "cpu")
    assert everything(saved.net, saved.optimizer) == everything(net, optimizer)
    assert saved.history == history
    assert (saved.epoch, saved.step) == (2, 8)
    assert saved.metadata == {"classes": ["a", "b"], "k": 3}


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_loss", [3.0, 1.0, 2.0, 0.5, 0.5], [1, 2, 2, 4, 4]),
        ("val_accuracy", [0.3, 0.1, 0.4, 0.4, 0.6], [1, 1, 3, 3, 5]),
        ("loss", [1.0, 2.0, 3.0, 4.0, 5.0], [1, 1, 1, 1, 1]),
    ],
)
def test_it_keeps_the_best_beside_the_last(monitor, values, best, tmp_path):
    checkpoint = Checkpoint(tmp_path / "net.safetensors", every=4, keep_best=monitor)
    assert checkpoint.best_path == tmp_path / "net-best.safetensors"
    watch = Watch(tmp_path)
    net, history = fit(
        epochs=5, callbacks=[Scripted(values, monitor), checkpoint, watch],
        validation=(np.eye(2, dtype="float32"), np.array([0, 1])),
    )  # fmt: skip
    assert not history.stopped, "it only watches"
    assert [seen["net-best.safetensors"] for seen in watch.seen] == best
    assert [seen.get("net.safetensors") for seen in watch.seen] == [None, None, None, 4, 5]
    assert bits(load(checkpoint.path, "cpu").net) == bits(net)


def test_what_was_best_before_counts_after_resuming(tmp_path):
    path = tmp_path / "net.safetensors"
    options = {"validation": (np.eye(2, dtype="float32"), np.array([0, 1]))}

    def callbacks(*values):
        return [Scripted(values), Checkpoint(path, keep_best="val_loss")]

    fit(epochs=2, callbacks=callbacks(1.0, 2.0), **options)
    for epochs, best in ((3, 1), (4, 4)):
        saved = load(path, "cpu")
        more = {"optimizer": saved.optimizer, "resume": saved, "epochs": epochs}
        fit(saved.net, callbacks=callbacks(1.0, 2.0, 1.5, 0.5), **options, **more)
        assert load(tmp_path / "net-best.safetensors", "cpu").epoch == best
        assert load(path, "cpu").epoch == epochs


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_is_stopped_can_be_gone_on_with(before, tmp_path):
    """With early stopping that restores the best, on either side of it in the list."""
    path = tmp_path / "net"
    validation = np.eye(2, dtype="float32"), np.array([0, 1])
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    stopping, checkpoint = EarlyStopping(patience=2), Checkpoint(path)
    both = [checkpoint, stopping] if before else [stopping, checkpoint]
    history = fit(epochs=5, callbacks=[Scripted(values), *both], validation=validation)[1]
    assert history.epochs == 3
    saved = load(path, "cpu")
    assert saved.epoch == 3
    options = {"optimizer": saved.optimizer, "resume": saved, "validation": validation}
    fit(saved.net, epochs=5, callbacks=[Scripted(values)], **options)
    whole = fit(epochs=5, callbacks=[Scripted(values)], validation=validation)[0]
    assert bits(saved.net) == bits(whole)


def test_a_run_that_is_interrupted_midway_has_its_last_whole_epoch(tmp_path):
    class Stops(Callback):
        def on_batch(self, run):
            if run.step == 6:
                run.stop("midway")

    path = tmp_path / "net"
    stopped, history = fit(callbacks=[Checkpoint(path), Stops()])
    assert (history.stopped, history.epochs) == ("midway", 1)
    saved = load(path, "cpu")
    assert (saved.epoch, saved.step) == (1, 4)
    assert bits(saved.net) != bits(stopped)
    fit(saved.net, optimizer=saved.optimizer, resume=saved)
    assert bits(saved.net) == bits(fit()[0])


def test_a_schedule_that_is_a_function_goes_on_where_it_is_given_again(tmp_path):
    def schedule(epoch, step):
        return 0.1 / step

    whole = fit(epochs=4, schedule=schedule)[0]
    fit(epochs=2, schedule=schedule, callbacks=[Checkpoint(tmp_path / "net")])
    saved = load(tmp_path / "net", "cpu")
    options = {"optimizer": saved.optimizer, "resume": saved, "epochs": 4}
    fit(saved.net, schedule=schedule, **options)
    assert bits(saved.net) == bits(whole)


# Refusals


class Forgetful(Layer):
    def __init__(self, scale):
        self._scale = scale

    def forward(self, x, train=False):
        return x

    def backward(self, dy, input_grad=True):
        return dy


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every is 0; expected at least 1"),
        ({"every": 1.5}, TypeError, "every is 1.5"),
        ({"mark": {1, 2}}, TypeError, r"metadata\['mark'\] is \{1, 2\} \(set\)"),
    ],
)
def test_arguments_are_refused_at_once(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        Checkpoint(tmp_path / "net", **options)


def test_what_can_not_be_saved_is_refused_before_training(tmp_path):
    own = Sequential(Dense(2, 3), Forgetful(1.0), device="cpu")
    file = tmp_path / "file"
    file.touch()
    cases = [
        (own, {}, TypeError, r"Forgetful\(\) keeps no 'scale'"),
        (None, {"path": tmp_path}, IsADirectoryError, "which is no file"),
        (None, {"path": tmp_path / "absent" / "net"}, FileNotFoundError, "there is no folder"),
        (None, {"path": file / "net"}, FileNotFoundError, "there is no folder"),
        (None, {"keep_best": "val_loss"}, ValueError, "keep_best: .*'val_loss'; expected 'loss'"),
        (
            None,
            {"keep_best": "f1"},
            ValueError,
            "keep_best: monitor is 'f1'; expected 'loss', 'acc",
        ),
    ]
    for net, options, error, message in cases:
        net = net or network()
        before = everything(net)
        with pytest.raises(error, match=message):
            fit(net, callbacks=[Checkpoint(**{"path": tmp_path / "net", **options})])
        assert everything(net) == before
    assert os.listdir(tmp_path) == ["file"]


def test_a_save_that_fails_ends_training_and_keeps_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "net"
    save(path, network(), mark="first")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"net was not saved \(No space left on device\); what was"):
        fit(callbacks=[Checkpoint(path)])
    monkeypatch.undo()
    assert load(path, "cpu").metadata == {"mark": "first"}


def test_it_is_told_in_words(tmp_path):
    shown = repr(Checkpoint("a/net", every=2, keep_best="loss"))
    assert shown == "Checkpoint('a/net', every=2, keep_best='loss')"


def test_a_relative_path_means_the_same_file_wherever_training_goes(tmp_path, monkeypatch):
    class Moves(Callback):
        def on_epoch(self, run):
            os.chdir(tmp_path / "elsewhere")

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint("net.safetensors", keep_best="loss")
    fit(epochs=3, callbacks=[checkpoint, Moves()])
    assert os.listdir(tmp_path / "elsewhere") == []
    assert checkpoint.path == tmp_path / "net.safetensors"
    assert load(checkpoint.path, "cpu").epoch == 3
    assert checkpoint.best_path == tmp_path / "net-best.safetensors"
    assert checkpoint.best_path.is_file()
