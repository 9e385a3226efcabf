"""The progress bar where rich's own way is no way: in notebooks, and beside another bar."""

from __future__ import annotations

import io
import sys
import threading
from types import ModuleType

import pytest
import rich
from cases.training import bits, train
from onepass.nets import Callback
from onepass.nets.training.told import progress as shown
from rich.console import Console
from rich.errors import LiveError
from rich.progress import track


class Cell:
    """What IPython.display.display returns; holds what the notebook shows."""

    def __init__(self, bar):
        self.update(bar)

    def update(self, bar):
        text = io.StringIO()
        Console(file=text, width=100).print(bar)
        self.text = text.getvalue()


@pytest.fixture
def cells(monkeypatch):
    """A notebook's outputs, where ipywidgets is not installed."""
    found = []

    def display(bar, display_id):
        assert display_id is True
        found.append(Cell(bar))
        return found[-1]

    package, module = ModuleType("IPython"), ModuleType("IPython.display")
    package.display, module.display = module, display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr(rich, "_console", Console(force_jupyter=True))
    return found


@pytest.fixture
def one_bar(monkeypatch):
    """rich before 14.1, in which a second live display is an error."""
    live = []

    def set_live(console, display):
        if live:
            raise LiveError("Only one live display may be active at once")
        live.append(display)
        return True

    monkeypatch.setattr(Console, "set_live", set_live)
    monkeypatch.setattr(Console, "clear_live", lambda console: live.clear())


class Nests(Callback):
    """Trains another network after each epoch."""

    def __init__(self):
        self.histories = []

    def on_epoch(self, run):
        self.histories.append(train(epochs=2, progress=True)[1])


def lines(text, epoch):
    return [line for line in text.splitlines() if f"epoch {epoch} " in line]


def test_a_notebook_without_ipywidgets_shows_the_bar_in_one_output(cells, capsys):
    """Where rich only warns that ipywidgets are missing; warnings are errors here."""
    net, history = train(epochs=3, progress=True)
    (cell,) = cells
    for words in ("epoch 3/3", f"loss {history.loss[-1]:.4f}", f"acc {history.accuracy[-1]:.1%}"):
        assert words in cell.text
    assert capsys.readouterr() == ("", "")
    assert bits(net) == bits(train(epochs=3)[0])


def test_a_notebook_sees_every_epoch_that_takes_its_time(cells, monkeypatch):
    class Looks(Callback):
        seen = ()

        def on_epoch(self, run):
            self.seen += (f"loss {run.history.loss[-1]:.4f}" in cells[0].text,)

    for seconds, expected in ((-1.0, True), (float("inf"), False)):
        monkeypatch.setattr(shown, "_REDRAW", seconds)
        cells.clear()
        looks = Looks()
        train(epochs=3, progress=True, callbacks=[looks])
        assert looks.seen == (expected,) * 3


def test_a_notebook_shows_how_far_it_came_where_training_ends_with_an_error(cells):
    class Fails(Callback):
        def on_epoch(self, run):
            if run.epoch == 2:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        train(epochs=5, progress=True, callbacks=[Fails()])
    assert "epoch 3/5" in cells[0].text


@pytest.mark.parametrize("rich_of", ["before 14.1", "installed"])
def test_a_fit_within_a_fit_is_shown_too(rich_of, request, capsys):
    if rich_of == "before 14.1":
        request.getfixturevalue("one_bar")
    nests = Nests()
    net, history = train(epochs=3, progress=True, callbacks=[nests])
    assert (history.epochs, [inner.epochs for inner in nests.histories]) == (3, [2, 2, 2])
    text = capsys.readouterr().out
    assert len(lines(text, "2/2")) == 3
    assert len(lines(text, "3/3")) == 1
    assert bits(net) == bits(train(epochs=3)[0])


@pytest.mark.parametrize("rich_of", ["before 14.1", "installed"])
def test_a_fit_within_the_users_own_bar_is_shown_too(rich_of, request, capsys):
    if rich_of == "before 14.1":
        request.getfixturevalue("one_bar")
    assert [train(progress=True)[1].epochs for _ in track(range(2))] == [3, 3]
    assert len(lines(capsys.readouterr().out, "3/3")) == 2


@pytest.mark.parametrize("rich_of", ["before 14.1", "installed"])
def test_fits_in_threads_train_all(rich_of, request):
    if rich_of == "before 14.1":
        request.getfixturevalue("one_bar")
    together = threading.Barrier(3, timeout=60)

    class Waits(Callback):
        """So that all bars are there at once."""

        def on_start(self, run):
            together.wait()

    found = []

    def work():
        found.append(bits(train(progress=True, callbacks=[Waits()])[0]))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [bits(train()[0])] * 3
