"""A smaller rate on a plateau: when, how far down, going on from a file, refusals.

`nets/optimizers/test_torch_schedules.py` holds it to PyTorch's own.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases.saving import everything
from cases.saving import network as saved_network
from cases.saving import train as train_saved
from cases.training import bits, data, network, train
from onepass.nets import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    Cosine,
    EarlyStopping,
    ReduceOnPlateau,
    load,
)


class Scripted(Callback):
    """Sets the figure that is watched to the next of a list."""

    def __init__(self, values, name="val_loss"):
        self.values, self.name = values, name

    def on_epoch(self, run):
        run.history.figures()[self.name][-1] = self.values[run.epoch - 1]


def rates(values, monitor="val_loss", kind="classes", lr=1.0, **options):
    """The rate of each epoch, and after the last, in a run that sees these figures."""
    net = network(kind)
    optimizer = SGD(net.parameters(), lr=lr)
    callbacks = [Scripted(values, monitor), ReduceOnPlateau(monitor, **options)]
    history = train(
        net, kind=kind, epochs=len(values), optimizer=optimizer, callbacks=callbacks,
        validation=data(kind, n=12), batch_size=60,
    )[1]  # fmt: skip
    return [*history.lr, optimizer.lr]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([5, 4, 3, 2, 1], {"patience": 0}, [1, 1, 1, 1, 1, 1]),
        ([5, 5, 5, 5], {"patience": 0}, [1, 1, 0.5, 0.25, 0.125]),
        ([5, 5, 5, 5, 5], {"patience": 1}, [1, 1, 1, 0.5, 0.5, 0.25]),
        ([5, 6, 4, 6, 6, 3], {"patience": 1}, [1, 1, 1, 1, 1, 0.5, 0.5]),
        ([5, 5, 5, 5, 5, 5], {"patience": 0, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([5, 5, 5, 5], {"patience": 0, "min_lr": 0.3}, [1, 1, 0.5, 0.3, 0.3]),
        ([5, 5, 5], {"patience": 0, "min_lr": 2}, [1, 1, 1, 1]),
        ([10, 9.5, 9], {"patience": 0, "threshold": 0.1}, [1, 1, 0.5, 0.25]),
        ([10, 9.5, 8.9], {"patience": 0, "threshold": 0.1}, [1, 1, 0.5, 0.5]),
        (
            [10, 9.5, 8.9],
            {"patience": 0, "threshold": 0.6, "threshold_mode": "abs"},
            [1, 1, 0.5, 0.5],
        ),
        ([10, 9], {"patience": 0, "threshold": 1, "threshold_mode": "abs"}, [1, 1, 0.5]),
        ([1, 2, 3], {"patience": 0, "mode": "max"}, [1, 1, 1, 1]),
        ([1, 2, 3], {"patience": 0, "mode": "min"}, [1, 1, 0.5, 0.25]),
    ],
)
def test_worked_out_by_hand(values, options, expected):
    assert rates(values, **{"factor": 0.5, **options}) == expected


@pytest.mark.parametrize(
    ("kind", "monitor", "rises"),
    [
        ("classes", "val_accuracy", True),
        ("classes", "accuracy", True),
        ("classes", "loss", False),
        ("numbers", "val_mae", False),
    ],
)
def test_accuracy_is_better_when_larger_errors_when_smaller(kind, monitor, rises):
    up, down = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    better, worse = (up, down) if rises else (down, up)
    assert rates(better, monitor, kind, patience=0) == [1, 1, 1, 1]
    assert rates(worse, monitor, kind, patience=0) == pytest.approx([1, 1, 0.1, 0.01])


def test_nan_is_never_an_improvement():
    nan = np.nan
    values = [nan, nan, 0.5, nan, 0.4]
    found = rates(values, "val_accuracy", patience=0, factor=0.5)
    assert found == [1, 0.5, 0.25, 0.25, 0.125, 0.0625]


def test_a_figure_below_nothing_that_stays_is_no_improvement():
    """PyTorch's share of a negative best makes its bound a worse one."""
    values = [-5.0, -5.0, -5.4, -5.6]
    found = rates(values, "val_mae", "numbers", patience=0, factor=0.5, threshold=0.1)
    assert found == [1, 1, 0.5, 0.25, 0.25]


def test_the_rate_that_others_set_is_the_one_that_is_reduced():
    class Doubles(Callback):
        def on_epoch(self, run):
            run.optimizer.lr *= 2

    net = network()
    optimizer = SGD(net.parameters(), lr=0.01)
    plateau = ReduceOnPlateau(patience=0, factor=0.25)
    callbacks = [Doubles(), Scripted([1, 1, 1]), plateau]
    history = train(net, optimizer=optimizer, callbacks=callbacks, validation=data(n=12))[1]
    assert [*history.lr, optimizer.lr] == [0.01, 0.02, 0.01, 0.005]


def test_groups_follow_in_proportion():
    net = network()
    optimizer = SGD(net.parameters(), lr=0.1, groups={"*.bias": {"lr": 0.02}})
    callbacks = [Scripted([1, 1, 1]), ReduceOnPlateau(patience=0, factor=0.5)]
    train(net, optimizer=optimizer, callbacks=callbacks, validation=data(n=12))
    assert optimizer.lr == 0.025
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.005, 0.025])


def test_training_goes_on_with_each_rate():
    """As plain descent whose rates are set by hand."""
    plateau = ReduceOnPlateau("loss", patience=0, threshold=0.5)
    net, history = train(epochs=6, callbacks=[plateau])
    assert history.path == "captured"
    assert len(set(history.lr)) > 2
    again = train(epochs=6, schedule=lambda epoch, step: history.lr[epoch])[0]
    assert bits(net) == bits(again)


def test_it_can_be_used_again():
    plateau = ReduceOnPlateau(patience=0, cooldown=3)
    validation = data(n=12)
    for values in ([1, 2, 2], [9, 8, 7]):
        history = train(callbacks=[Scripted(values), plateau], validation=validation)[1]
    assert (plateau.best, plateau.bad_epochs, plateau.cooldown_left) == (7, 0, 0)
    assert history.lr == [0.1, 0.1, 0.1]


# Going on


VALUES = [5, 5, 6, 4, 4, 4, 4, 3, 3, 3, 3, 3]
OPTIONS = {
    "patience": {"patience": 1, "factor": 0.5},
    "cooldown": {"patience": 0, "factor": 0.5, "cooldown": 2},
    "threshold": {"patience": 1, "factor": 0.5, "threshold": 0.5},
    "bound": {"patience": 0, "factor": 0.5, "min_lr": 2e-4},
}


@pytest.mark.parametrize("saved_first", [False, True])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_goes_on_bit_for_bit_wherever_it_was_saved(name, saved_first, tmp_path):
    options = OPTIONS[name]

    def callbacks(*more):
        given = [ReduceOnPlateau(**options), *more]
        return [Scripted(VALUES), *(given[::-1] if saved_first else given)]

    net = saved_network("float64")
    optimizer = Adam(net.parameters())
    whole = train_saved(net, optimizer, len(VALUES), callbacks=callbacks())
    assert len(set(whole.lr)) > 3, "or it proves nothing"
    for finished in range(1, len(VALUES)):
        half = saved_network("float64")
        path = tmp_path / "half"
        made = Adam(half.parameters())
        train_saved(half, made, finished, callbacks=callbacks(Checkpoint(path)))
        saved = load(path, "cpu")
        history = train_saved(
            saved.net, saved.optimizer, len(VALUES), callbacks=callbacks(), resume=saved
        )
        assert history.lr == whole.lr, finished
        assert everything(saved.net, saved.optimizer) == everything(net, optimizer), finished
        assert replace(history, seconds=[]) == replace(whole, seconds=[])


def test_early_stopping_beside_it():
    net = network()
    optimizer = SGD(net.parameters(), lr=1.0)
    callbacks = [Scripted(VALUES), ReduceOnPlateau(patience=1), EarlyStopping(patience=4)]
    options = {"validation": data(n=12), "epochs": 12}
    history = train(net, optimizer=optimizer, callbacks=callbacks, **options)[1]
    assert history.epochs == 12
    assert optimizer.lr == pytest.approx(1e-4)


# Refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"factor": 1}, ValueError, r"factor is 1; expected a number in \[0, 1\)"),
        ({"factor": "0.1"}, TypeError, "factor is '0.1'"),
        ({"patience": -1}, ValueError, "patience is -1; expected at least 0"),
        ({"patience": 1.5}, TypeError, r"patience is 1.5 \(float\); expected an integer >= 0"),
        ({"patience": True}, TypeError, "patience is True"),
        ({"cooldown": -1}, ValueError, "cooldown is -1; expected at least 0"),
        ({"threshold": -1}, ValueError, r"threshold is -1; expected a number in \[0, 1\)"),
        ({"threshold": 1}, ValueError, "threshold is 1"),
        ({"threshold": -1, "threshold_mode": "abs"}, ValueError, "threshold is -1; .* >= 0"),
        (
            {"threshold_mode": "relative"},
            ValueError,
            "mode is 'relative'; .*'rel', 'abs'",
        ),
        ({"mode": "less"}, ValueError, "mode is 'less'; expected one of 'auto', 'min', 'max'"),
        ({"min_lr": -1}, ValueError, "min_lr is -1"),
    ],
)
def test_refuses(options, error, message):
    with pytest.raises(error, match=message):
        ReduceOnPlateau(**options)


@pytest.mark.parametrize(
    ("monitor", "options", "message"),
    [
        ("val_loss", {}, r"expected 'loss', 'accuracy', or validation=\(x, y\) for fit"),
        ("lr", {}, "monitor is 'lr'"),
        ("loss", {"schedule": Cosine(0.1, 9)}, r"schedule is Cosine\(.*expected one of the two"),
    ],
)
def test_what_can_not_be_is_refused_before_training(monitor, options, message):
    net = network()
    kept = bits(net)
    with pytest.raises(ValueError, match=message):
        train(net, callbacks=[ReduceOnPlateau(monitor)], **options)
    assert bits(net) == kept


def test_names():
    assert repr(ReduceOnPlateau("loss", min_lr=0.01)) == (
        "ReduceOnPlateau('loss', factor=0.1, patience=10, threshold=0.0001, "
        "threshold_mode='rel', mode='auto', cooldown=0, min_lr=0.01)"
    )
