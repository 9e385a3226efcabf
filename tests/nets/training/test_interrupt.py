"""Ctrl-C: real signals, sent to a process that trains."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from cases.training import bits, data, train
from onepass.__main__ import main
from onepass.nets import OPTIMIZERS, Adam, Callback, EarlyStopping
from programs import TESTS

PROGRAM = TESTS / "programs" / "interrupted.py"
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")


def interrupt(case, times=1):
    """What the program prints and its exit status, sent SIGINT each time it says it is ready."""
    command = [sys.executable, PROGRAM, case]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(times):
            shown = program.stdout.readline()
            assert shown == "ready\n", program.stderr.read()
            program.send_signal(signal.SIGINT)
        shown, errors = program.communicate(timeout=250)
    finally:
        program.kill()
    return shown, errors, program.returncode


@needs_signals
def test_the_first_ends_training_after_a_batch_and_fit_returns():
    shown, errors, status = interrupt("once")
    assert "stopped='interrupted'" in shown, errors
    assert "finite=True default=True" in shown
    assert int(re.search(r"epochs=(\d+)", shown)[1]) >= 2
    assert (status, errors) == (0, "")


@needs_signals
def test_the_best_weights_are_kept():
    shown, errors, _ = interrupt("best")
    assert "best=True" in shown, errors
    assert "stopped='interrupted'" in shown


@needs_signals
def test_the_second_raises_at_once():
    """Amid a batch that would take an hour."""
    shown, errors, _ = interrupt("twice", times=2)
    assert "raised default=True" in shown, errors


@needs_signals
def test_a_handler_of_the_user_is_left_alone():
    shown, errors, _ = interrupt("own_handler")
    assert "stopped='' epochs=4 seen=1" in shown, errors


@needs_signals
def test_outside_the_main_thread_signals_are_left_alone():
    shown, errors, _ = interrupt("thread")
    assert "the main thread was interrupted" in shown, errors
    assert "stopped='' epochs=4" in shown


def test_the_command_says_so_and_ends_with_130(capsys, monkeypatch):
    pytest.importorskip("sklearn", reason="digits come from scikit-learn")

    class Strikes(Adam):
        def step(self, *args, **options):
            super().step(*args, **options)
            if self.steps == 100:  # 45 updates an epoch
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(OPTIMIZERS, "Adam", Strikes)
    assert main(["train", "--quiet", "--device", "cpu", "--lr", "0.002"]) == 130
    shown = capsys.readouterr()
    assert re.search(r"interrupted after 2 of 40 epochs; test accuracy \d\d\.\d\d%", shown.out)
    assert shown.err == "stopped\n"


class Interrupts(Callback):
    """A Ctrl-C at a certain place."""

    def __init__(self, where, at):
        self.where, self.at = where, at

    def on_start(self, run):
        self._strike("start", 0)

    def on_batch(self, run):
        self._strike("batch", run.step)

    def on_epoch(self, run):
        self._strike("epoch", run.epoch)

    def on_end(self, run):
        self._strike("end", 0)

    def _strike(self, where, at):
        if (where, at) == (self.where, self.at):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("where", "at", "epochs", "steps"),
    [("start", 0, 0, 0), ("batch", 1, 0, 1), ("batch", 4, 1, 4), ("batch", 6, 1, 6),
     ("epoch", 2, 2, 8), ("end", 0, 3, 12)],
)  # fmt: skip
def test_wherever_it_comes_it_is_told_and_no_update_is_torn(where, at, epochs, steps):
    net, history = train(callbacks=[Interrupts(where, at)])
    assert (history.stopped, history.epochs) == ("interrupted", epochs)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    class Until(Callback):
        def on_start(self, run):
            if run.step == steps:
                run.stop("there")

        on_batch = on_start

    assert bits(net) == bits(train(callbacks=[Until()])[0])


def test_early_stopping_brings_its_best_back_after_ctrl_c():
    stopping = EarlyStopping()
    net, _ = train(callbacks=[stopping, Interrupts("batch", 7)], validation=data(n=12))
    assert stopping.best_epoch == 1
    assert bits(net) == bits(train(epochs=1, validation=data(n=12))[0])


def test_the_handler_is_put_back_after_an_error():
    class Fails(Callback):
        def on_batch(self, run):
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            raise LookupError("planted")

    with pytest.raises(LookupError, match="planted"):
        train(callbacks=[Fails()])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_is_set_meanwhile_stays():
    def theirs(number, frame):
        raise AssertionError("never sent")

    class Sets(Callback):
        def on_batch(self, run):
            signal.signal(signal.SIGINT, theirs)

    try:
        train(callbacks=[Sets()])
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
