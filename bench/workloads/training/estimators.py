"""Section "estimators": NetClassifier and NetRegressor beside scikit-learn's, at equal settings."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

from ...cases.tables import Table, TableCase
from ...measuring.candidate import Candidate
from ...measuring.peak_memory import peak_memory
from ...measuring.workload import Workload
from ...report.record import Fitted

PATHS = ("onepass", "sklearn")
ONE_THREAD = "sklearn one thread"
"""scikit-learn with matrix products on one core: on small tables threads may cost more than they
bring, most of all beside other busy processes."""

STARTS = tuple(f"onepass, {init}" for init in ("he", "xavier", "glorot"))
"""Ours from other starts than its own, for scores alone."""

HIDDEN = (100,)
BATCH = 200
LR = 1e-3
_LARGE = 10_000  # rows from which a fit needs no call before it that warms the caches

_ROWS = 1_000
"""On as many rows both are compared, at most: five batches. (Of a last one that is shorter,
scikit-learn has a larger penalty.)"""

_STEPS = 10
"""After as many, and two epochs at least, both are compared weight by weight."""


class EstimatorEpoch(Workload):
    """An epoch of a whole `fit`, with all that it does once: the seconds of both over the epochs.

    One hidden layer of 100, ReLU, batches of 200, Adam, float32, alpha 1e-4, and nothing that ends
    a training early. Rows are scaled beforehand, for both.
    """

    section, label = "estimators", "an epoch"
    dtype, device = "float32", "cpu"
    pause = 0.1  # other libraries' threads wait at full speed for milliseconds

    def __init__(self, case: TableCase) -> None:
        self.case, self.operation = case, case.name
        self.warm = case.rows < _LARGE

    @property
    def size(self) -> int:
        """Rows."""
        return self.case.rows

    @property
    def bytes(self) -> int:
        """Nothing is said: what a product has to move depends on the caches."""
        return 0

    @property
    def paths(self) -> tuple[str, ...]:
        return (*PATHS, ONE_THREAD)

    def missing(self, path: str) -> str:
        return why_no_estimators()

    def prepare(self, paths: Iterable[str]) -> dict[str, Candidate]:
        table = self.case.made(0)
        assert_same_steps(self.case, table)
        return {
            path: Candidate(
                partial(self._seconds, path, table),
                told=True,
                memory=None
                if path == ONE_THREAD
                else peak_memory(partial(fitted, estimator(path, self.case, 1), table)),
            )
            for path in paths
        }

    def _seconds(self, path: str, table: Table) -> float:
        made = estimator(path.partition(" ")[0], self.case, self.case.epochs)
        with one_blas_thread() if path == ONE_THREAD else nullcontext():
            start = perf_counter()
            fitted(made, table)
            return (perf_counter() - start) / self.case.epochs


def one_blas_thread() -> AbstractContextManager[Any]:
    """Matrix products on one core, by what scikit-learn itself has for it."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def why_no_estimators() -> str:
    """Why nothing of the section can be measured here; "" if it can."""
    there = find_spec("sklearn") is not None
    return "" if there else 'scikit-learn is not installed: pip install "onepass[sklearn]"'


def estimator(path: str, case: TableCase, epochs: int, seed: Any = 0, **settings: Any) -> Any:
    """The estimator of a path, not fitted, for so many epochs.

    Raises:
        ImportError: scikit-learn is missing.
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from ....nets import NetClassifier, NetRegressor

    kinds = {"onepass": (NetClassifier, NetRegressor), "sklearn": (MLPClassifier, MLPRegressor)}
    own = {"normalize": False, "device": "cpu"} if path == "onepass" else {}
    return kinds[path][case.numbers](
        hidden_layer_sizes=HIDDEN,
        solver="adam",
        learning_rate_init=LR,
        batch_size="auto",  # BATCH, or all
        max_iter=epochs,
        n_iter_no_change=np.inf,
        random_state=seed,
        **own,
        **settings,
    )


def fitted(made: Any, table: Table) -> Any:
    """`made`, fitted; that it could go on is no news."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return made.fit(table.x_train, table.y_train)


def assert_same_steps(case: TableCase, table: Table) -> None:
    """Raise unless from the same weights both have the same loss and weights after some epochs.

    Adam's first steps are nearly lr * sign(gradient), so that rounding turns those weights whose
    gradient is about 0: a few may be off by two steps a batch, but not most. Epsilon, which the two
    add in different places, is next to nothing here.
    """
    exact = {"warm_start": True, "shuffle": False, "epsilon": 1e-15}
    rows = min(case.rows, _ROWS)
    table = Table(table.x_train[:rows], table.y_train[:rows], *table[2:])
    batches = -(-rows // BATCH)
    both = [estimator(path, case, 1, **exact) for path in PATHS]
    ours, theirs = (fitted(made, table) for made in both)
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            other[...] = mine
    epochs = max(2, -(-_STEPS // batches))
    for made in both:
        fitted(made.set_params(max_iter=epochs), table)
    found, wanted = (made.loss_curve_[-epochs:] for made in both)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, err_msg=f"losses on {case.name}")
    steps = epochs * batches
    for name in ("coefs_", "intercepts_"):
        for k, pair in enumerate(zip(getattr(ours, name), getattr(theirs, name), strict=True)):
            error, told = np.abs(pair[0] - pair[1]), f"{name}[{k}] on {case.name}"
            assert error.max() <= 2.1 * LR * steps, f"{told}: off by {error.max():.3g}"
            assert error.mean() <= LR * min(0.05, 2e-3 * steps), (
                f"{told}: off by {error.mean():.3g} on average"
            )


def scores(case: TableCase, path: str) -> Fitted:
    """The score on held-out rows after each epoch, for each seed.

    An epoch is a `partial_fit`, which for both goes on as `fit` does; a seed decides the start, the
    order of samples and what is held out.
    """
    found: list[list[float]] = []
    for seed in range(case.seeds):
        table = case.made(seed)
        # scikit-learn's would take the same order in each epoch where it were given a number
        state = seed if path != "sklearn" else np.random.RandomState(seed)
        kind, _, init = path.partition(", ")
        made = estimator(kind, case, 1, state, **({"init": init} if init else {}))
        classes = {} if case.numbers else {"classes": np.unique(table.y_train)}
        curve = []
        for _ in range(case.epochs):
            made.partial_fit(table.x_train, table.y_train, **classes)
            curve.append(float(made.score(table.x_test, table.y_test)))
        found.append(curve)
    x = case.made(0).x_train  # whose peak memory is measured
    parameters = sum(array.size for array in (*made.coefs_, *made.intercepts_))
    return Fitted(
        data=case.name,
        path=path,
        rows=case.rows,
        columns=int(x.shape[1]),
        score=case.score,
        data_bytes=_bytes(x),
        network_bytes=4 * 4 * parameters,
        scores=found,
    )


def _bytes(x: Any) -> int:
    return (
        x.nbytes
        if isinstance(x, np.ndarray)
        else sum(array.nbytes for array in (x.data, x.indices, x.indptr))
    )
