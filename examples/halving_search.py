"""Successive halving: many networks for a few epochs, the best of them for more.

    python examples/halving_search.py [--device auto] [--out halving_search.png]

How many layers, how wide, at which learning rate and with how much of an L2 penalty should a
network learn the digits? A search at random trains every candidate to the end, though most could be
given up after a few epochs. `HalvingRandomSearchCV` of scikit-learn begins with 27 candidates of 2
epochs each, keeps the best third for 6, the best third of those for 18, and one of them for 54:

    stage        1      2      3      4
    candidates  27      9      3      1
    epochs       2      6     18     54      (resource="max_iter")

It is 54 epochs a stage, 216 in all, where 27 candidates trained to the end are 27 * 54 = 1,458.
Each stage begins anew from the start of its networks, so that `max_iter` of the best is what it was
scored with.

What each hyperparameter is drawn from matters as much as the search: learning rate and penalty are
log-uniform, since it is their order of magnitude that counts; `LayerSizes` draws how many layers,
then the units of each.

The learning rate that is best after 2 epochs is higher than the best one after 54: this is what
halving gets wrong. Begin with more epochs (`min_resources`) where the first stage tells little of
the last, and keep more candidates (a smaller `factor`) where they overtake each other late.

The same 27 candidates are also trained to the end here, to see what halving missed, and what the
best of 4 reaches, on average over all choices of 4, which is a search at random with as many epochs
as halving had.

The picture has the errors of every candidate as far as it came, each a line; and where they lie,
rates to the right and layers upwards, by `plot_search`: the darker and larger, the better, the best
one in a ring.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import (
    LayerSizes,
    NetClassifier,
    load_digits,
    log_uniform,
    plot_search,
    search_table,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, StratifiedKFold

CANDIDATES, FIRST, LAST = 27, 2, 54
BOX = {
    "hidden_layer_sizes": LayerSizes(layers=(1, 3), units=(16, 96)),
    "learning_rate_init": log_uniform(1e-4, 1e-1),
    "alpha": log_uniform(1e-5, 1e-1),
}


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a candidate is told by."""
    return tuple(row[name] for name in BOX)


def draw_stages(axes: plt.Axes, rows: list[dict[str, Any]]) -> None:
    """The errors of each candidate over its epochs; the further it came, the darker."""
    lines: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault(key(row), []).append(row)
    for line in sorted(lines.values(), key=len):
        shade = str(0.9 - 0.3 * (len(line) - 1)) if len(line) < 4 else "0.0"
        look = {"color": shade, "markeredgecolor": "0.0", "marker": "o"}
        axes.plot([row["resources"] for row in line], [1 - row["score"] for row in line], **look)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(ticks := sorted({row["resources"] for row in rows}), map(str, ticks))
    axes.minorticks_off()
    axes.set_xlabel("epochs")
    axes.set_ylabel("dev error")
    axes.set_title("each stage keeps the best third", fontsize=11)
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description="A halving search, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("halving_search.png"), metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are meant
    digits = load_digits()
    net = NetClassifier(random_state=0, device=options.device)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = HalvingRandomSearchCV(
        net,
        BOX,
        resource="max_iter",
        n_candidates=CANDIDATES,
        min_resources=FIRST,
        max_resources=LAST,
        factor=3,
        cv=folds,
        random_state=0,
    ).fit(digits.x_train, digits.y_train)
    for count, epochs in zip(search.n_candidates_, search.n_resources_, strict=True):
        scores = [row["score"] for row in search_table(search) if row["resources"] == epochs]
        print(f"stage of {epochs} epochs: {count} candidates, the best {max(scores):.3f}")
    rows = search_table(search)
    grid = [{name: [row[name]] for name in BOX} for row in rows[:CANDIDATES]]
    all_ = GridSearchCV(net.set_params(max_iter=LAST), grid, cv=folds, refit=False)
    trained = search_table(all_.fit(digits.x_train, digits.y_train))
    ends = [row["score"] for row in trained]
    spent = sum(row["resources"] for row in rows)
    few = spent // LAST
    drawn = np.mean([max(some) for some in combinations(ends, few)])
    rank = 1 + sum(score > search.best_score_ for score in ends)
    print(f"halving: dev accuracy {search.best_score_:.3f} with {spent} epochs")
    print(f"{few} to the end: dev accuracy {drawn:.3f} with {few * LAST} epochs, on average")
    print(f"all to the end: dev accuracy {max(ends):.3f} with {len(ends) * LAST} epochs")
    for epochs, some in ((FIRST, rows[:CANDIDATES]), (LAST, trained)):
        best = max(some, key=lambda row: row["score"])
        print(f"the best after {epochs} epochs has a rate of {best['learning_rate_init']:.3g}")
    print(f"what halving found is number {rank} of {len(ends)}")
    found = ", ".join(
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in search.best_params_.items()
    )
    print(f"best: {found}")
    print(f"test accuracy: {search.score(digits.x_test, digits.y_test):.3f}")
    figure, axes = plt.subplots(1, 2, figsize=(13, 6.5), width_ratios=(2, 3), layout="constrained")
    draw_stages(axes[0], rows)
    plot_search(search, "learning_rate_init", "hidden_layer_sizes", axes[1])
    figure.savefig(options.out, dpi=100)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
