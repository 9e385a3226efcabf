"""Searching hyperparameters: at random instead of on a grid, on the right scale, coarse to fine.

    python examples/random_search.py [--device auto] [--out random_search.png]

A network learns the digits for 4 epochs; its learning rate and its L2 penalty are searched with 25
tries. Of the two, only the learning rate matters here, which nobody knows beforehand: the grid has
tried 5 of them, the random search 25. Drawn uniformly from [0.0001, 1] instead of log-uniformly,
nine in ten are above 0.1, where less or nothing is learned. Coarse to fine spends half of its tries
in the box around the best ones. On the lower right, each search is done again with other seeds.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import (
    NetClassifier,
    coarse_to_fine,
    load_digits,
    log_uniform,
    plot_search,
    search_table,
)
from scipy.stats import uniform
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, ShuffleSplit

TRIES, SEEDS = 25, 5
BOX = {"learning_rate_init": log_uniform(1e-4, 1), "alpha": log_uniform(1e-5, 1e-2)}
GRID = {"learning_rate_init": np.geomspace(1e-4, 1, 5), "alpha": np.geomspace(1e-5, 1e-2, 5)}


class Searches:
    """The four ways to spend the same tries on the same data."""

    def __init__(self, device: str) -> None:
        self.net = NetClassifier(
            (64, 32),
            solver="sgd",
            nesterovs_momentum=False,
            batch_size=32,
            max_iter=4,
            random_state=0,
            device=device,
        )
        digits = load_digits()
        self.data = digits.x_train, digits.y_train
        folds = ShuffleSplit(2, test_size=0.5, random_state=0)
        self.options: dict[str, Any] = {"cv": folds, "error_score": 0.0}

    def grid(self) -> Any:
        return GridSearchCV(self.net, GRID, refit=False, **self.options).fit(*self.data)

    def random(self, seed: int, **changed: Any) -> Any:
        search = RandomizedSearchCV(
            self.net, BOX | changed, n_iter=TRIES, random_state=seed, refit=False, **self.options
        )
        return search.fit(*self.data)

    def fine(self, seed: int) -> Any:
        return coarse_to_fine(
            self.net,
            BOX,
            *self.data,
            rounds=2,
            n_iter=TRIES // 2,
            random_state=seed,
            **self.options,
        )


def rates(search: Any) -> list[float]:
    """The learning rate of every try."""
    return [row["learning_rate_init"] for row in search_table(search)]


def draw_rates(axes: plt.Axes, searches: dict[str, Any]) -> None:
    """The score over the learning rate, each try a mark."""
    styles = {"grid": ("s", "0.6"), "uniform": ("x", "0.0"), "log-uniform": ("o", "white")}
    for (name, search), (marker, face) in zip(searches.items(), styles.values(), strict=True):
        scores = [row["score"] for row in search_table(search)]
        edge = {} if marker == "x" else {"edgecolors": "0.0"}
        axes.scatter(rates(search), scores, marker=marker, c=face, label=name, **edge)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("dev accuracy")
    axes.set_title(f"one search each: the {TRIES} learning rates")
    axes.grid(alpha=0.3)
    axes.legend()


def draw_best(axes: plt.Axes, best: dict[str, list[float]]) -> None:
    points = [(score, row) for row, scores in enumerate(best.values()) for score in scores]
    axes.plot(*zip(*points, strict=True), "o", color="0.0", alpha=0.6, label="one search")
    means = [np.mean(scores) for scores in best.values()]
    axes.plot(means, range(len(best)), "|", color="0.0", markersize=30, label="their mean")
    axes.set_yticks(range(len(best)), [*best])
    axes.set_ylim(len(best) - 0.4, -0.6)
    axes.set_xlabel("best dev accuracy found")
    axes.set_title(f"after {TRIES} tries")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", markerscale=0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description="Random search, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("random_search.png"), metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # 4 epochs are meant
    warnings.simplefilter("ignore", FitFailedWarning)  # a rate at which training diverges scores 0
    searches = Searches(options.device)
    grid = searches.grid()
    found = {
        "uniform": [
            searches.random(seed, learning_rate_init=uniform(1e-4, 1)) for seed in range(SEEDS)
        ],
        "log-uniform": [searches.random(seed) for seed in range(SEEDS)],
        "coarse to fine": [searches.fine(seed) for seed in range(SEEDS)],
    }
    best = {"grid": [float(grid.best_score_)]}
    for name, several in found.items():
        best[name] = [max(row["score"] for row in search_table(each)) for each in several]
    shown = {"grid": grid} | {name: several[0] for name, several in found.items()}
    for name, scores in best.items():
        useful = len({rate for rate in rates(shown[name]) if 0.01 <= rate <= 0.1})
        print(
            f"{name}: best dev accuracy {np.mean(scores):.3f} on average, {min(scores):.3f} at "
            f"worst; {useful} different learning rates between 0.01 and 0.1 were tried"
        )
    figure, axes = plt.subplot_mosaic("AABBCC;DDDEEE", figsize=(14, 8.5), layout="constrained")
    planes = ("grid", "log-uniform", "coarse to fine")
    for place, name in zip("ABC", planes, strict=True):
        plot_search(shown[name], "learning_rate_init", "alpha", axes[place])
        axes[place].set(xscale="log", yscale="log", xlim=(6e-5, 1.6), ylim=(6e-6, 0.016))
        axes[place].set_title(name, pad=28)  # above the legend
    draw_rates(axes["D"], {name: shown[name] for name in ("grid", "uniform", "log-uniform")})
    draw_best(axes["E"], best)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
