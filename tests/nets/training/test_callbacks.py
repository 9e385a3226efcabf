"""Callbacks: what they are told and when, ending a run, and early stopping."""

from __future__ import annotations

import numpy as np
import pytest
from cases.training import KINDS, bits, data, network, train
from onepass.nets import (
    SGD,
    BatchNorm,
    Callback,
    Dense,
    EarlyStopping,
    Run,
    Sequential,
    accuracy,
)


class Log(Callback):
    """Every call, with epoch, step and how long the history is."""

    def __init__(self):
        self.calls = []
        self.states = []

    def on_start(self, run):
        self._note("start", run)

    def on_batch(self, run):
        self._note("batch", run)

    def on_epoch(self, run):
        self._note("epoch", run)
        self.states.append(bits(run.net))

    def on_end(self, run):
        self._note("end", run)

    def _note(self, name, run):
        assert type(run) is Run
        self.run = run
        self.calls.append((name, run.epoch, run.step, run.history.epochs))


class Scripted(Callback):
    """Sets the figure that early stopping watches to the next of a list."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch(self, run):
        run.history.figures()[self.name][-1] = self.values[run.epoch - 1]


def test_each_is_told_in_order():
    log = Log()
    net, history = train(epochs=2, batch_size=30, callbacks=[log], validation=data(n=12))
    assert log.calls == [
        ("start", 0, 0, 0),
        ("batch", 0, 1, 0), ("batch", 0, 2, 0), ("epoch", 1, 2, 1),
        ("batch", 1, 3, 1), ("batch", 1, 4, 1), ("epoch", 2, 4, 2),
        ("end", 2, 4, 2),
    ]  # fmt: skip
    run = log.run
    assert run.net is net
    assert run.history is history
    assert (run.epochs, run.validated, run.stopped, run.loss) == (2, True, "", KINDS["classes"])
    assert run.optimizer.steps == 4
    assert np.isfinite(float(run.batch_loss))


def test_several_are_told_one_after_another():
    order = []
    callbacks = [type("Named", (Callback,), {"on_start": lambda _, run, k=k: order.append(k)})()
                 for k in range(3)]  # fmt: skip
    train(callbacks=callbacks, epochs=1)
    assert order == [0, 1, 2]


class Stops(Callback):
    def __init__(self, where, at):
        self.where, self.at = where, at

    def on_start(self, run):
        if self.where == "start":
            run.stop("enough")

    def on_batch(self, run):
        if self.where == "batch" and run.step == self.at:
            run.stop("enough")
            run.stop("a later reason")

    def on_epoch(self, run):
        if self.where == "epoch" and run.epoch == self.at:
            run.stop("enough")


@pytest.mark.parametrize(
    ("where", "at", "epochs", "steps"),
    [("start", 0, 0, 0), ("batch", 1, 0, 1), ("batch", 2, 1, 2), ("batch", 5, 2, 5),
     ("epoch", 2, 2, 4)],
)  # fmt: skip
def test_a_callback_can_end_the_run(where, at, epochs, steps):
    log = Log()
    _, history = train(epochs=9, batch_size=30, callbacks=[Stops(where, at), log])
    assert (history.epochs, log.run.step, history.stopped) == (epochs, steps, "enough")
    assert log.calls[-1][0] == "end"


def test_a_run_that_was_not_stopped_says_so():
    assert train()[1].stopped == ""


def test_the_learning_rate_can_be_changed_while_it_trains():
    class Halves(Callback):
        def on_epoch(self, run):
            run.optimizer.lr /= 2

    _, history = train(callbacks=[Halves()])
    assert history.lr == [0.1, 0.05, 0.025]


def test_what_a_callback_raises_ends_training():
    class Fails(Callback):
        def on_batch(self, run):
            raise LookupError("planted")

    with pytest.raises(LookupError, match="planted"):
        train(callbacks=[Fails()])


# Early stopping


@pytest.mark.parametrize(
    ("values", "options", "ends", "best"),
    [
        ([5, 4, 3, 2, 1, 0], {}, 6, 6),
        ([5, 4, 4, 4, 1, 0], {}, 4, 2),
        ([5, 6, 4, 6, 3, 9], {}, 6, 5),
        ([5, 6, 6, 4, 6, 6], {"patience": 3}, 6, 4),
        ([5, 4.9, 4.8, 4.7, 4.6, 4.5], {"min_delta": 0.25}, 3, 1),
        ([5, 4.9, 4.7, 4.6, 4.4, 4.5], {"min_delta": 0.25}, 6, 5),
    ],
)
def test_it_stops_after_patience_epochs_without_an_improvement(values, options, ends, best):
    stopping = EarlyStopping(**{"patience": 2, **options})
    log = Log()
    net, history = train(
        epochs=6, callbacks=[Scripted(values), stopping, log], validation=data(n=12)
    )
    assert history.epochs == ends
    assert (stopping.best_epoch, stopping.best) == (best, values[best - 1])
    assert bits(net) == log.states[best - 1], "not the weights of the best epoch"
    stopped = f"no better val_loss since epoch {best}" if ends < 6 else ""
    assert history.stopped == stopped


@pytest.mark.parametrize(
    ("kind", "monitor", "values", "best"),
    [
        ("classes", "val_accuracy", [0.5, 0.7, 0.6, 0.6], 2),
        ("classes", "accuracy", [0.5, 0.7, 0.6, 0.6], 2),
        ("classes", "loss", [0.5, 0.7, 0.6, 0.6], 1),
        ("numbers", "val_mae", [0.5, 0.3, 0.6, 0.6], 2),
        ("two", "val_accuracy", [0.5, 0.7, 0.6, 0.6], 2),
    ],
)
def test_accuracy_is_better_when_larger_errors_when_smaller(kind, monitor, values, best):
    stopping = EarlyStopping(monitor, patience=9)
    callbacks = [Scripted(values, monitor), stopping]
    train(kind=kind, epochs=4, callbacks=callbacks, validation=data(kind, n=12))
    assert stopping.best_epoch == best


@pytest.mark.parametrize("kind", ["classes", "numbers"])
@pytest.mark.parametrize(
    ("values", "ends", "best"),
    [
        ([np.nan, 0.5, np.nan, np.nan, 0.4], 4, 2),
        ([0.5, np.nan, 0.5, 0.5, 0.5], 3, 1),
        ([np.nan, np.nan, 0.5, 0.5, 0.5], 2, 0),
    ],
)
def test_nan_is_never_an_improvement(kind, values, ends, best):
    """As a metric of one's own may be where a class has no rows."""
    stopping, log = EarlyStopping(f"val_{KINDS[kind].metric}", patience=2), Log()
    callbacks = [Scripted(values, stopping.monitor), stopping, log]
    net, history = train(kind=kind, epochs=5, callbacks=callbacks, validation=data(kind, n=12))
    assert (history.epochs, stopping.best_epoch) == (ends, best)
    assert bits(net) == log.states[best - 1], "the best, or the last where none is best"
    assert history.stopped.endswith(f"since epoch {best}" if best else "than nan")


def test_running_statistics_come_back_too():
    layers = Dense(2, 8, bias=False), BatchNorm(8, activation="relu"), Dense(8, 3)
    net = Sequential(*layers, seed=0, device="cpu")
    log = Log()
    callbacks = [Scripted([2, 1, 3]), EarlyStopping(), log]
    train(net, callbacks=callbacks, batch_size=20, validation=data(n=12))
    assert bits(net) == log.states[1]
    statistics = [state["1.running_mean"] for state in log.states]
    assert len(set(statistics)) == 3, "nothing to bring back"


def test_without_restoring_the_last_weights_stay():
    stopping, log = EarlyStopping(restore_best=False), Log()
    net, _ = train(callbacks=[Scripted([1, 2, 3]), stopping, log], validation=data(n=12))
    assert stopping.best_state is None
    assert bits(net) == log.states[2]


def test_it_really_finds_a_better_network():
    """Far too many epochs on few points with noisy labels: the best epoch is not the last."""
    rng = np.random.default_rng(0)
    x, y = data(n=30)
    y = np.where(rng.random(30) < 0.3, rng.integers(0, 3, 30), y)
    held_out = data(n=300, seed=1)
    shares = []
    for callbacks in ([], [EarlyStopping("val_accuracy", patience=300)]):
        net = network()
        optimizer = SGD(net.parameters(), lr=1.0)
        train(net, (x, y), optimizer=optimizer, epochs=300, batch_size=30,
              callbacks=callbacks, validation=held_out)  # fmt: skip
        shares.append(accuracy(net, *held_out))
    assert shares[1] > shares[0] + 0.02


def test_it_can_be_used_again():
    stopping = EarlyStopping(patience=1)
    for values in ([1, 2, 3], [9, 8, 7]):
        train(callbacks=[Scripted(values), stopping], validation=data(n=12))
    assert (stopping.best_epoch, stopping.best) == (3, 7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patience": 0}, ValueError, "patience is 0; expected at least 1"),
        ({"patience": 1.5}, TypeError, "patience is 1.5"),
        ({"min_delta": -1}, ValueError, "min_delta is -1; expected a finite number >= 0"),
        ({"restore_best": "yes"}, TypeError, "restore_best is 'yes'"),
    ],
)
def test_early_stopping_refuses(options, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(**options)


@pytest.mark.parametrize(
    ("monitor", "validation", "message"),
    [
        ("val_loss", None, r"expected 'loss', 'accuracy', or validation=\(x, y\) for fit"),
        ("val_mae", data(n=12), "expected 'loss', 'accuracy', 'val_loss', 'val_accuracy'$"),
        ("lr", None, "monitor is 'lr'"),
    ],
)
def test_a_figure_that_is_not_there_is_refused_before_training(monitor, validation, message):
    net = network()
    kept = bits(net)
    with pytest.raises(ValueError, match=message):
        train(net, callbacks=[EarlyStopping(monitor)], validation=validation)
    assert bits(net) == kept


@pytest.mark.parametrize(
    "given",
    [
        lambda one: (each for each in [one]),
        lambda one: one,
        lambda one: {one},
        lambda one: iter([one]),
    ],
)
def test_they_may_be_one_or_anything_that_gives_them_once(given):
    log = Log()
    train(epochs=2, batch_size=60, callbacks=given(log))
    assert [name for name, *_ in log.calls] == ["start", "batch", "epoch", "batch", "epoch", "end"]


def test_none_are_none():
    assert train(callbacks=None)[1].loss == train()[1].loss


@pytest.mark.parametrize("callbacks", [[print], [EarlyStopping], print, EarlyStopping, iter([3])])
def test_what_is_no_callback_is_refused(callbacks):
    with pytest.raises(TypeError, match=r"callbacks hold .*; expected such as EarlyStopping\(\)"):
        train(callbacks=callbacks)


def test_names():
    stopping = EarlyStopping("loss", 3)
    assert repr(stopping) == ("EarlyStopping('loss', patience=3, min_delta=0.0, restore_best=True)")
    assert repr(Callback()) == "Callback()"
