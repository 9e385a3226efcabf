"""A table of numbers, words and gaps: from the data frame to scores, in one pipeline.

    python examples/mixed_table.py [--device auto] [--out mixed_table.png]

The table is made up: 4,000 customers of whom some leave. It has what real ones have: numbers on
very different scales, with gaps; words, of which one column has 30 different ones; and an answer
in words. Whether somebody leaves depends on plan and spending together, which no sum over columns
can say, so that there is something to find for a network.

    numbers      median for what is missing, a column that says it was, mean 0 and deviation 1
    words        a column of 0 and 1 for each word, and for a missing one; all rare ones share one
    network      NetClassifier on the columns of both

`ColumnTransformer` puts them side by side. Most of what the words became is 0, so what comes out is
a sparse matrix, and the network takes it as it is: it gathers the rows of a batch at a time. Sparse
samples it does not normalize, which would make them dense; that is why the numbers are scaled in
the pipeline, and it would be the right place anyway: medians, means and the list of words are
learnt anew within each fold, from the part that is trained on, and nothing leaks from the part that
is scored.

The answer stays in words: `classes_` has them sorted, and `predict` says them. Cross validation
gives accuracy, area under the ROC curve and log loss, beside those of a logistic regression on the
same columns; where a network is not better than that one, take that one.

Feature names go all the way: the frame's columns are `feature_names_in_` of the pipeline, and those
that reach the network are told by `get_feature_names_out()` of the step before it. On the right of
the picture one column of the table at a time is shuffled among samples that were held out, through
the whole pipeline: what accuracy falls by is what that column is worth. Needs pandas.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from onepass.nets import NetClassifier
from scipy.sparse import issparse
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS, CITIES = 4000, 30
NUMBERS, WORDS = ["age", "months", "spending"], ["plan", "city"]
SCORES = {"accuracy": "accuracy", "ROC AUC": "roc_auc", "log loss": "neg_log_loss"}


def table() -> tuple[pd.DataFrame, np.ndarray]:
    """The customers, and "leaves" or "stays" for each."""
    draw = np.random.default_rng(0)
    age, months = draw.integers(18, 80, ROWS), draw.integers(0, 120, ROWS)
    spending = draw.lognormal(3.5, 0.8, ROWS)
    plan = draw.choice(["basic", "plus", "pro"], ROWS, p=[0.5, 0.3, 0.2])
    city = draw.zipf(1.3, ROWS) % CITIES
    wanted = {"basic": 20, "plus": 35, "pro": 60}  # who pays much more or less has the wrong plan
    misfit = abs(np.log(spending / pd.Series(plan).map(wanted).to_numpy()))
    logit = (
        3 * misfit - 0.02 * months - 1.5 * (abs(age - 45) < 12) + draw.normal(0, 0.7, CITIES)[city]
    )
    leaves = draw.random(ROWS) < 1 / (1 + np.exp(1.2 - logit))
    frame = pd.DataFrame(
        {
            "age": age.astype(float),
            "months": months,
            "spending": spending,
            "plan": plan,
            "city": [f"city {k:02}" for k in city],
        }
    )
    for column in ("age", "spending", "plan", "city"):
        frame.loc[draw.random(ROWS) < 0.05, column] = np.nan
    return frame, np.where(leaves, "leaves", "stays")


def pipeline(last: Any) -> Pipeline:
    """What makes columns of numbers of the table, and an estimator at its end."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    words = OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist")
    columns = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("words", words, WORDS)], verbose_feature_names_out=False
    )
    return Pipeline([("columns", columns), ("last", last)])


def draw_scores(axes: plt.Axes, found: dict[str, np.ndarray]) -> None:
    """Each fold a mark."""
    for row, scores in enumerate(found.values()):
        axes.plot(scores, np.full(len(scores), row), "o", color="0.0", alpha=0.6)
        axes.plot(scores.mean(), row, "|", color="0.0", markersize=30)
    axes.set_yticks(range(len(found)), [*found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("ROC AUC of each fold, and their mean")
    axes.set_title("cross validation")
    axes.grid(axis="x", alpha=0.3)


def draw_columns(axes: plt.Axes, names: list[str], worth: Any) -> None:
    order = np.argsort(worth.importances_mean)
    axes.barh(
        [names[k] for k in order],
        worth.importances_mean[order],
        xerr=worth.importances_std[order],
        color="0.7",
        edgecolor="0.0",
    )
    axes.set_xlabel("accuracy lost when it is shuffled")
    axes.set_title("what a column is worth to the network")
    axes.grid(axis="x", alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description="A table of numbers and words, in a pipeline.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("mixed_table.png"), metavar="FILE")
    options = parser.parse_args()
    x, y = table()
    print(f"{len(x)} rows of {', '.join(x.columns)}; {int(x.isna().sum().sum())} gaps")
    net = NetClassifier(
        (64, 32), early_stopping=True, alpha=1e-3, random_state=0, device=options.device
    )
    made = {"network": pipeline(net), "logistic regression": pipeline(LogisticRegression())}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = {}
    for name, each in made.items():
        result = cross_validate(each, x, y, cv=folds, scoring=SCORES)
        scores = {score: abs(result[f"test_{score}"]) for score in SCORES}
        found[name] = scores["ROC AUC"]
        told = ", ".join(f"{score} {all_.mean():.3f}" for score, all_ in scores.items())
        print(f"{name}: {told}")
    x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, random_state=0)
    fitted = made["network"].fit(x_train, y_train)
    columns, last = fitted[0], fitted[-1]
    names, reached = columns.get_feature_names_out(), columns.transform(x_test)
    filled = reached.nnz / np.prod(reached.shape) if issparse(reached) else 1
    print(f"the network gets {len(names)} columns, {filled:.0%} of their numbers not 0")
    print(f"  {', '.join(names[:8])}, ..., {names[-1]}")
    print(f"classes: {', '.join(last.classes_)}; the first held out: {fitted.predict(x_test)[0]}")
    worth = permutation_importance(fitted, x_test, y_test, n_repeats=5, random_state=0)
    for name, mean in zip(x.columns, worth.importances_mean, strict=True):
        print(f"{name}: {100 * mean:.1f} points of accuracy")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    draw_scores(axes[0], found)
    draw_columns(axes[1], [*x.columns], worth)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
