"""The history: its names, its way through JSON and pandas, and its picture."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import pytest
from cases.training import data, train
from onepass.nets import History


def recorded(kind="classes", validated=True):
    return train(kind=kind, validation=data(kind, n=15) if validated else None)[1]


def test_the_metric_has_its_own_name():
    classes, numbers = recorded(), recorded("numbers")
    assert (classes.metric_name, numbers.metric_name) == ("accuracy", "mae")
    assert classes.accuracy is classes.metric
    assert classes.val_accuracy is classes.val_metric
    assert numbers.mae is numbers.metric
    assert numbers.val_mae is numbers.val_metric
    with pytest.raises(AttributeError, match="has the metric 'mae', no 'accuracy'"):
        _ = numbers.accuracy
    with pytest.raises(AttributeError, match="has the metric 'accuracy', no 'mae'"):
        _ = classes.val_mae


@pytest.mark.parametrize("validated", [True, False])
def test_figures_are_what_was_recorded(validated):
    figures = recorded(validated=validated).figures()
    held_out = ["val_loss", "val_accuracy"] if validated else []
    assert list(figures) == ["loss", "accuracy", *held_out, "lr", "seconds"]
    assert all(len(values) == 3 for values in figures.values())
    assert all(type(value) is float for values in figures.values() for value in values)
    assert History().figures() == {}


def test_the_learning_rate_of_each_epoch_is_that_of_its_last_update():
    def schedule(epoch, step):
        return epoch + step / 100

    _, history = train(schedule=schedule, epochs=2, batch_size=20)
    assert history.lr == [0.03, 1.06]


def test_json_brings_all_of_it_back():
    history = recorded("numbers")
    history.stopped = "enough"
    assert History(**json.loads(json.dumps(asdict(history)))) == history


def test_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    history = recorded()
    table = history.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.index) == [1, 2, 3]
    assert table.index.name == "epoch"
    assert {name: table[name].tolist() for name in table} == history.figures()
    assert len(History().to_pandas()) == 0


def test_without_pandas_or_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        recorded().to_pandas()
    with pytest.raises(ImportError, match=r'pip install "onepass\[plot\]"'):
        recorded().plot()


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.mark.parametrize(("kind", "metric"), [("classes", "accuracy"), ("numbers", "mae")])
def test_the_picture_shows_loss_and_metric(pyplot, kind, metric, tmp_path):
    history = recorded(kind)
    axes = history.plot()
    assert [each.get_ylabel() for each in axes] == ["loss", metric]
    assert {each.get_xlabel() for each in axes} == {"epoch"}
    expected = [(history.loss, history.val_loss), (history.metric, history.val_metric)]
    for each, pair in zip(axes, expected, strict=True):
        lines = each.get_lines()
        assert [list(line.get_ydata()) for line in lines] == [list(values) for values in pair]
        assert {tuple(line.get_xdata()) for line in lines} == {(1, 2, 3)}
        names = [text.get_text() for text in each.get_legend().get_texts()]
        assert names == ["training", "validation"]
        looks = {(line.get_linestyle(), line.get_marker()) for line in lines}
        assert len(looks) == 2, "in black and white the lines are the same"
    axes[0].figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_the_picture_without_validation_on_axes_that_are_given(pyplot):
    figure, mine = pyplot.subplots(2, 1)
    found = recorded(validated=False).plot(mine)
    assert list(found) == list(mine)
    assert [len(each.get_lines()) for each in mine] == [1, 1]
    assert pyplot.get_fignums() == [figure.number], "another figure was made"


def test_the_picture_refuses(pyplot):
    with pytest.raises(ValueError, match="no finished epoch"):
        History().plot()
    with pytest.raises(ValueError, match="axes are 1; expected two, for loss and accuracy"):
        recorded().plot(pyplot.subplots(1, 1, squeeze=False)[1][0])
