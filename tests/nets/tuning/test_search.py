"""Random search on the right scale, from coarse to fine, and the picture of it."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="searches stand on scikit-learn")
from onepass.nets import (
    LayerSizes,
    NetClassifier,
    coarse_to_fine,
    log_uniform,
    narrowed,
    one_minus_log_uniform,
    plot_search,
    search_table,
)
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X = np.random.default_rng(0).normal(0, 1, (60, 2))
Y = (X[:, 0] > 0).astype(int)


class Bowl(ClassifierMixin, BaseEstimator):
    """Scores best at lr = 0.01, b = 0.99, two layers, whatever the data: an oracle of a search."""

    def __init__(self, lr=1.0, b=0.9, hidden=(1,), kind="x", size=1, share=0.5, epochs=1):
        self.lr, self.b, self.hidden, self.kind = lr, b, hidden, kind
        self.size, self.share, self.epochs = size, share, epochs

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def score(self, x, y):
        away = abs(math.log10(self.lr) + 2) + abs(math.log10(1 - self.b) + 2)
        return -away - abs(len(self.hidden) - 2) - 0.01 / self.epochs


BOXES = {
    "lr": log_uniform(1e-4, 1),
    "b": one_minus_log_uniform(1e-3, 1e-1),
    "hidden": LayerSizes((1, 4), (8, 64)),
}


# Scales


def uniform_on(values, low, high):
    """The probability that a uniform distribution on [low, high] gives values like these."""
    assert min(values) >= low
    assert max(values) <= high
    return stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue


def test_logarithms_are_uniform():
    drawn = log_uniform(1e-4, 1).rvs(4000, random_state=0)
    assert uniform_on(np.log10(drawn), -4, 0) > 0.01
    assert uniform_on(drawn, 0, 1) < 1e-6, "a planted mistake must show"


def test_one_minus_them_too():
    box = one_minus_log_uniform(1e-3, 1e-1)
    drawn = box.rvs(4000, random_state=0)
    assert uniform_on(np.log10(1 - drawn), -3, -1) > 0.01
    assert uniform_on(drawn, 0.9, 0.999) < 1e-6
    assert box.support() == (0.9, 0.999)
    one = box.rvs(random_state=3)
    assert isinstance(one, float)
    assert one == box.rvs(random_state=3)


def test_layers_and_units_are_uniform_integers():
    box, random = LayerSizes((1, 3), (50, 52)), np.random.RandomState(0)
    drawn = [box.rvs(random_state=random) for _ in range(3000)]
    counts = np.bincount([len(sizes) for sizes in drawn])
    assert stats.chisquare(counts[1:]).pvalue > 0.01
    assert len(counts) == 4
    units = np.bincount([size for sizes in drawn for size in sizes])
    assert set(np.flatnonzero(units)) == {50, 51, 52}
    assert stats.chisquare(units[50:]).pvalue > 0.01
    assert all(type(size) is int for sizes in drawn[:50] for size in sizes)


@pytest.mark.parametrize("box", [one_minus_log_uniform(0.01, 0.5), LayerSizes((1, 2), (3, 4))])
def test_distributions_are_copied_and_pickled(box):
    for again in (pickle.loads(pickle.dumps(box)), clone(box, safe=False)):
        assert again == box
        assert again.rvs(random_state=0) == box.rvs(random_state=0)
    assert repr(box).startswith(type(box).__name__)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: log_uniform(0, 1), "low is 0; expected a finite number > 0"),
        (lambda: log_uniform(1, 0.1), "low is 1 and high is 0.1; expected low < high"),
        (lambda: log_uniform("a", 1), "low is 'a'"),
        (lambda: one_minus_log_uniform(0.1, 1), "high is 1; expected less than 1"),
        (lambda: LayerSizes(3, (1, 2)), "layers is 3; expected the fewest and the most"),
        (lambda: LayerSizes((1, 2), (0, 2)), r"units\[0\] is 0; expected at least 1"),
        (lambda: LayerSizes((2, 1), (1, 2)), r"layers is \(2, 1\); expected the fewest first"),
    ],
)
def test_bad_scales_are_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# Narrowing


class Found(BaseEstimator):
    """A search that is over, with scores of our own."""

    def __init__(self, points, scores, boxes, stages=None):
        n = len(scores)
        self.points, self.scores, self.boxes, self.stages = points, scores, boxes, stages
        self.param_distributions = boxes
        self.cv_results_ = {
            "params": points,
            "mean_test_score": np.array(scores, float),
            "std_test_score": np.zeros(n),
            "mean_fit_time": np.ones(n),
        }
        if stages:
            self.cv_results_ |= {"iter": np.array(stages), "n_resources": np.ones(n)}

    def fit(self):
        """What check_is_fitted asks for."""


def box_of(kind, values, best, keep=0.4):
    """What narrowing leaves of `kind`, the first `best` of `values` being best."""
    scores = [-k for k in range(len(values))]
    search = Found([{"v": value} for value in values], scores, {"v": kind})
    assert math.ceil(keep * len(values)) == best
    return narrowed(search, keep=keep)["v"]


def test_a_box_goes_from_the_smallest_to_the_largest_of_the_best():
    box = box_of(log_uniform(1e-4, 1), [1e-1, 1e-3, 1e-4, 1, 1e-4], best=2)
    np.testing.assert_allclose(box.support(), (1e-3, 1e-1))
    box = box_of(one_minus_log_uniform(1e-3, 0.1), [0.9, 0.99, 0.999, 0.999, 0.9], best=2)
    np.testing.assert_allclose((box.low, box.high), (0.01, 0.1))
    box = box_of(stats.uniform(2, 8), [3, 9, 2, 2, 2], best=2)
    np.testing.assert_allclose(box.support(), (3, 9))
    box = box_of(stats.randint(1, 101), [10, 90, 1, 1, 100], best=2)
    assert box.support() == (10, 90)
    assert box_of(["relu", "tanh", "sigmoid"], ["tanh", "relu", "sigmoid"], best=2, keep=0.5) == [
        "relu",
        "tanh",
    ]
    sizes = [(20, 30), (25,), (1,), (99, 99, 99), (50,)]
    assert box_of(LayerSizes((1, 3), (1, 99)), sizes, best=2, keep=0.3) == LayerSizes(
        (1, 2), (10, 40)
    )


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_a_box_keeps_its_share_of_the_width_within_the_old_one(at):
    value = 10 ** (-4 + 4 * at)
    low, high = np.log10(box_of(log_uniform(1e-4, 1), [value] * 1, best=1, keep=0.2).support())
    assert high - low == pytest.approx(0.8)
    assert low >= -4 - 1e-9
    assert high <= 1e-9
    assert low - 1e-9 <= -4 + 4 * at <= high + 1e-9
    if 0.1 <= at <= 0.9:
        assert (low + high) / 2 == pytest.approx(-4 + 4 * at)


def test_of_a_halving_search_those_count_that_came_furthest():
    points = [{"v": value, "epochs": e} for value, e in [(1, 1), (5, 1), (9, 1), (5, 3), (9, 3)]]
    search = Found(points, [0.99, 0.5, 0.6, 0.3, 0.2], {"v": stats.uniform(0, 10)}, [0, 0, 0, 1, 1])
    low, high = narrowed(search, keep=0.5)["v"].support()  # 2 of the 3 points: 5 and 9
    np.testing.assert_allclose((low, high), (4.5, 9.5))


def test_points_without_a_score_are_no_good():
    points = [{"v": value} for value in (1.0, 2.0, 3.0)]
    search = Found(points, [np.nan, 0.1, np.nan], {"v": stats.uniform(0, 10)})
    assert narrowed(search, keep=0.1)["v"].support() == pytest.approx((1.5, 2.5))
    search = Found(points, [np.nan] * 3, {"v": stats.uniform(0, 10)})
    with pytest.raises(ValueError, match="no point of the search has a score"):
        narrowed(search)


def test_what_can_not_be_narrowed_is_named():
    with pytest.raises(TypeError, match=r"the distribution of 'v' is .*; expected a list, log_uni"):
        box_of(stats.norm(0, 1), [1, 2], best=1)
    search = Found([{"v": 1}], [1], {"v": [1, 2]})
    with pytest.raises(ValueError, match="distributions hold 'w', which the search did not draw"):
        narrowed(search, {"w": [1]})
    with pytest.raises(ValueError, match="keep is 0; expected a number in"):
        narrowed(search, keep=0)
    with pytest.raises(TypeError, match="expected one mapping by name"):
        narrowed(search, [{"v": [1]}])
    with pytest.raises(NotFittedError):
        narrowed(RandomizedSearchCV(Bowl(), BOXES))


# Coarse to fine


def test_rounds_close_in_on_the_best_point():
    found = coarse_to_fine(Bowl(), BOXES, X, Y, rounds=3, n_iter=25, cv=2, random_state=0)
    assert len(found.searches) == 3
    bests = [search.best_score_ for search in found.searches]
    means = [np.mean(search.cv_results_["mean_test_score"]) for search in found.searches]
    assert means[0] < means[1] < means[2]
    assert bests[0] < found.score == max(bests)
    widths = [
        np.ptp(np.log10(search.param_distributions["lr"].support())) for search in found.searches
    ]
    assert widths[0] == pytest.approx(4)
    assert widths[2] < widths[1] < 3
    assert found.params["lr"] == pytest.approx(0.01, rel=1)
    assert 1 - found.params["b"] == pytest.approx(0.01, rel=1)
    assert len(found.params["hidden"]) == 2
    assert found.estimator.get_params() | found.params == found.estimator.get_params()
    assert found.estimator.classes_.tolist() == [0, 1], "fitted on all data"
    # One box searched as long does worse: a search that ignored its rounds would be caught.
    once = coarse_to_fine(Bowl(), BOXES, X, Y, rounds=1, n_iter=75, cv=2, random_state=0)
    assert found.score > once.score


def test_one_seed_gives_one_search_and_each_round_draws_anew():
    def values(seed):
        found = coarse_to_fine(
            Bowl(), {"lr": [*range(1, 500)]}, X, Y, keep=1.0, n_iter=5, cv=2, random_state=seed
        )
        return [row["lr"] for row in search_table(found)]

    assert values(0) == values(0) != values(1)
    assert values(0)[:5] != values(0)[5:]


def test_hopeless_runs_stop_early_by_halving():
    found = coarse_to_fine(
        Bowl(), BOXES, X, Y, search=HalvingRandomSearchCV, resource="epochs", n_candidates=9,
        min_resources=1, max_resources=9, cv=2, random_state=0,
    )  # fmt: skip
    rows = [row for row in search_table(found) if row["round"] == 1]
    assert [row["resources"] for row in rows] == [1] * 9 + [3] * 3 + [9]
    assert found.params["epochs"] == found.estimator.epochs == 9
    kept = {row["lr"] for row in rows if row["resources"] == 3}
    first = sorted((row for row in rows if row["resources"] == 1), key=lambda row: row["score"])
    assert kept == {row["lr"] for row in first[-3:]}


@pytest.mark.slow
def test_networks_in_a_pipeline_side_by_side():
    made = make_pipeline(StandardScaler(), NetClassifier(max_iter=8, random_state=0, device="cpu"))
    boxes = {f"netclassifier__{name}": box for name, box in {
        "learning_rate_init": log_uniform(1e-5, 1e-1),
        "hidden_layer_sizes": LayerSizes((1, 2), (4, 16)),
        "momentum": one_minus_log_uniform(1e-3, 1e-1), "solver": ["adam", "sgd"],
    }.items()}  # fmt: skip
    options = {"n_iter": 6, "cv": 2, "random_state": 0}
    found = coarse_to_fine(made, boxes, X, Y, n_jobs=2, **options)
    alone = coarse_to_fine(made, boxes, X, Y, **options)
    assert found.params == alone.params
    assert found.score == pytest.approx(alone.score)
    assert found.score > 0.85
    assert found.estimator.score(X, Y) > 0.85


def test_refit_is_not_for_the_rounds():
    with pytest.raises(TypeError, match="refit is True; leave it out"):
        coarse_to_fine(Bowl(), BOXES, X, Y, refit=True)
    with pytest.raises(ValueError, match="rounds is 0; expected at least 1"):
        coarse_to_fine(Bowl(), BOXES, X, Y, rounds=0)


# The table and the picture


@pytest.fixture(scope="module")
def found():
    return coarse_to_fine(Bowl(), BOXES, X, Y, n_iter=8, cv=2, random_state=0)


def test_the_table_has_a_row_for_each_point(found):
    rows = search_table(found)
    assert [row["round"] for row in rows] == [1] * 8 + [2] * 8
    assert set(rows[0]) == {"round", "lr", "b", "hidden", "score", "deviation", "seconds"}
    for row in rows:
        made = Bowl(**{name: row[name] for name in ("lr", "b", "hidden")})
        assert row["score"] == pytest.approx(made.score(X, Y))
    assert search_table(found.searches[1]) == [{**row, "round": 1} for row in rows[8:]]
    assert max(row["score"] for row in rows) == found.score


def test_the_table_goes_into_pandas(found):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(search_table(found))
    assert frame.shape == (16, 7)
    assert frame["lr"].dtype == float


@pytest.fixture
def pyplot():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib").use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_the_picture_shows_every_point_on_its_scale(found, pyplot):
    axes = plot_search(found, x="lr", y="b")
    first, second, ring = axes.collections
    rows = search_table(found)
    for drawn, number in ((first, 1), (second, 2)):
        expected = [(row["lr"], 1 - row["b"]) for row in rows if row["round"] == number]
        np.testing.assert_allclose(drawn.get_offsets(), expected)
        scores = [row["score"] for row in rows if row["round"] == number]
        np.testing.assert_allclose(drawn.get_array(), scores)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "1 - b")
    np.testing.assert_allclose(ring.get_offsets(), [(found.params["lr"], 1 - found.params["b"])])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["round 1", "round 2", f"best, {found.score:.4g}"]
    shades = first.cmap(np.linspace(0, 1, 5))[:, :3]
    assert (np.ptp(shades, axis=1) == 0).all(), "grays only"
    assert (np.diff(shades[:, 0]) < 0).all(), "darker is better"
    assert first.get_paths()[0].vertices.shape != second.get_paths()[0].vertices.shape


def test_the_picture_of_the_score_and_of_names(found, pyplot):
    axes = pyplot.figure().subplots(2)
    assert plot_search(found.searches[0], "hidden", axes=axes[0]) is axes[0]
    names = {text.get_text() for text in axes[0].get_xticklabels()}
    assert {str(row["hidden"]) for row in search_table(found.searches[0])} == names
    assert axes[0].get_ylabel() == "score"
    made = make_pipeline(Bowl())
    search = RandomizedSearchCV(made, {"bowl__lr": BOXES["lr"]}, n_iter=3, cv=2, random_state=0)
    plot_search(search.fit(X, Y), "lr", axes=axes[1])
    assert axes[1].get_xscale() == "log"
    with pytest.raises(ValueError, match="'rate' is no hyperparameter; expected 'b', 'hid"):
        plot_search(found, "rate")
    with pytest.raises(NotFittedError):
        plot_search(RandomizedSearchCV(made, {}), "lr")


def test_a_picture_of_equal_scores(pyplot):
    search = Found([{"v": 1.0}, {"v": 2.0}], [0.5, 0.5], {"v": stats.uniform(0, 3)})
    axes = plot_search(search, "v")
    assert axes.get_xscale() == "linear"
    search = Found([{"v": 1.0}], [np.nan], {"v": stats.uniform(0, 3)})
    with pytest.raises(
        ValueError, match="no point of the search has a score; expected at least one"
    ):
        plot_search(search, "v")


def test_pictures_need_matplotlib(found, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "onepass\[plot\]"'):
        plot_search(found, "lr")
