"""Random search of hyperparameters, from coarse to fine, by scikit-learn's own searches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import RandomizedSearchCV
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ...backend.checks.numbers import count, fraction
from .narrowing import narrow


@dataclass(frozen=True)
class CoarseToFine:
    """What `coarse_to_fine` found.

    Attributes:
        searches: the fitted searches, the coarsest first; each has its `param_distributions`.
        params: the best hyperparameters of all.
        score: their mean score over the folds.
        estimator: with these, fitted on all data.
    """

    searches: list[Any]
    params: dict[str, Any]
    score: float
    estimator: Any


def coarse_to_fine(
    estimator: Any,
    distributions: Mapping[str, Any],
    x: Any,
    y: Any,
    *,
    rounds: int = 2,
    keep: float = 0.2,
    search: Any = RandomizedSearchCV,
    random_state: Any = None,
    **options: Any,
) -> CoarseToFine:
    """Search at random, shrink the box around the best points, and search again.

    Args:
        estimator: such as NetClassifier(), or a Pipeline that ends in one; left as it is.
        distributions: what each hyperparameter is drawn from, as `narrowed` takes it.
        x, y: what is searched on, by cross-validation.
        rounds: searches, at least 1; each draws from a smaller box.
        keep: share of the points that count as best, and least share of each width that is kept.
        search: scikit-learn's RandomizedSearchCV, or HalvingRandomSearchCV, which gives many points
            a short run, and only the best of them longer ones.
        random_state: of what is drawn; each round draws anew.
        **options: of the search: n_iter=20, cv=5, n_jobs=2, scoring=..., or, to halve by epochs,
            resource="max_iter", max_resources=40.

    Raises:
        TypeError, ValueError: an argument is something else, or no point could be scored.
    """
    if "refit" in options:
        raise TypeError(f"refit is {options['refit']!r}; leave it out: the best of all is fitted")
    random = check_random_state(random_state)
    searches: list[Any] = []
    for _ in range(count("rounds", rounds)):
        if searches:
            distributions = narrowed(searches[-1], keep=keep)
        seed = random.randint(np.iinfo(np.int32).max)
        made = search(estimator, distributions, refit=False, random_state=seed, **options)
        searches.append(made.fit(x, y))
    best = max(searches, key=lambda each: each.best_score_)
    params = dict(best.best_params_)
    final = clone(estimator).set_params(**clone(params, safe=False)).fit(x, y)
    return CoarseToFine(searches, params, float(best.best_score_), final)


def narrowed(
    search: Any, distributions: Mapping[str, Any] | None = None, keep: float = 0.2
) -> dict[str, Any]:
    """The box around the best points of a fitted search: new distributions of the same kinds.

    Each goes from the smallest to the largest value among the best points, on its own scale (that
    of the logarithm for log_uniform), and has at least `keep` of the width that it had; of a list,
    it is the choices among them.

    Args:
        search: a fitted RandomizedSearchCV or HalvingRandomSearchCV; of the latter, those points
            count as best that came furthest.
        distributions: what it drew from; its own `param_distributions` by default.
        keep: share of the points that count as best, at least one, in (0, 1].

    Raises:
        NotFittedError: the search is not fitted.
        TypeError, ValueError: a distribution is of another kind, or no point could be scored.
    """
    check_is_fitted(search, "cv_results_")
    if not fraction("keep", keep):
        raise ValueError(f"keep is {keep!r}; expected a number in (0, 1], such as 0.2")
    boxes = search.param_distributions if distributions is None else distributions
    if not isinstance(boxes, Mapping):
        raise TypeError(f"distributions are {boxes!r}; expected one mapping by name")
    points = _best_first(search, boxes)
    best = points[: ceil(keep * len(points))]
    return {
        name: narrow(name, box, [point[name] for point in best], keep)
        for name, box in boxes.items()
    }


def search_table(search: Any) -> list[dict[str, Any]]:
    """One row for each point of a search, in the order tried; pandas.DataFrame takes it as it is.

    Args:
        search: a fitted search, a list of them, or what `coarse_to_fine` returned.

    Returns:
        Rows of "round" (1 for the first search), each hyperparameter, "score" (mean over the
        folds; nan where a fit failed), "deviation" (of the folds), "seconds" (mean time of a fit),
        and, of a halving search, "resources", where each run of a point has a row of its own.

    Raises:
        NotFittedError: a search is not fitted.
    """
    rows = []
    for number, each in enumerate(searches_of(search), start=1):
        found, metric = each.cv_results_, _metric(each)
        for k, params in enumerate(found["params"]):
            row = {"round": number, **params, "score": float(found[f"mean_test_{metric}"][k])}
            row["deviation"] = float(found[f"std_test_{metric}"][k])
            row["seconds"] = float(found["mean_fit_time"][k])
            if "n_resources" in found:
                row["resources"] = int(found["n_resources"][k])
            rows.append(row)
    return rows


def searches_of(search: Any) -> list[Any]:
    """The fitted searches that are meant; NotFittedError where one is not fitted."""
    if isinstance(search, CoarseToFine):
        search = search.searches
    found = list(search) if isinstance(search, Iterable) else [search]
    for each in found:
        check_is_fitted(each, "cv_results_")
    return found


def _best_first(search: Any, names: Iterable[str]) -> list[dict[str, Any]]:
    """The points that have a score, each once: those that came furthest first, then by score."""
    found = search.cv_results_
    if unknown := [name for name in names if name not in found["params"][0]]:
        raise ValueError(
            f"distributions hold {unknown[0]!r}, which the search did not draw; expected some of "
            f"{', '.join(map(repr, found['params'][0]))}"
        )
    scores = found[f"mean_test_{_metric(search)}"]
    stages = found.get("iter", np.zeros(len(scores), int))
    points: list[dict[str, Any]] = []
    for k in sorted(range(len(scores)), key=lambda k: (stages[k], scores[k]), reverse=True):
        point = {name: found["params"][k][name] for name in names}
        if isfinite(scores[k]) and point not in points:
            points.append(point)
    if not points:
        raise ValueError(
            "no point of the search has a score; expected fits that succeed. "
            "error_score='raise' shows why they failed"
        )
    return points


def _metric(search: Any) -> str:
    """The name of the score that chooses the best."""
    return search.refit if getattr(search, "multimetric_", False) else "score"
