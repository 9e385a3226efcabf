"""What is trained by one rank and by several, which then is to be the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onepass.nets import (
    L1,
    L2,
    OPTIMIZERS,
    SGD,
    Adam,
    BatchNorm,
    BinaryCrossEntropy,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    Huber,
    Layer,
    LossScaler,
    MeanSquaredError,
    Momentum,
    ReduceOnPlateau,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    fit,
)

FEATURES, CLASSES = 5, 3


def data(n: int = 22, seed: int = 3) -> tuple[Any, Any]:
    """Points and their classes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, FEATURES))
    return x, (x @ rng.standard_normal((FEATURES, CLASSES))).argmax(axis=1)


def numbers(n: int = 22, seed: int = 4) -> tuple[Any, Any]:
    """Points, and a few numbers for each."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, FEATURES))
    return x, x @ rng.standard_normal((FEATURES, CLASSES)) + 0.1 * rng.standard_normal((n, CLASSES))


def labels(n: int = 22) -> tuple[Any, Any]:
    """Points, and which of a few labels each has."""
    x, y = numbers(n)
    return x, (y > 0).astype(int)


def sparse(n: int = 22) -> tuple[Any, Any]:
    """Points in a sparse matrix, and their classes."""
    from scipy.sparse import csr_array

    x, y = data(n)
    return csr_array(np.where(np.abs(x) > 0.7, x, 0.0)), y


def plain() -> list[Layer]:
    return [Dense(FEATURES, 7), Tanh(), Dense(7, CLASSES)]


def normed(**options: Any) -> Callable[[], list[Layer]]:
    def layers() -> list[Layer]:
        return [Dense(FEATURES, 7, bias=False), BatchNorm(7, **options), ReLU(), Dense(7, CLASSES)]

    return layers


def with_dropout() -> list[Layer]:
    return [Dense(FEATURES, 7), ReLU(), Dropout(0.6), Dense(7, CLASSES)]


class Doubled(Layer):
    """x -> 2 x: a layer of one's own, which can't be captured."""

    def forward(self, x: Any, train: bool = False) -> Any:
        return 2 * x

    def backward(self, dy: Any, input_grad: bool = True) -> Any:
        return 2 * dy


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        equal: whether several ranks end as one does, within rounding.
        limit: how far off they may be, in eps.
    """

    layers: Callable[[], list[Layer]] = plain
    optimizer: Callable[..., Any] = SGD
    hyper: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    fresh: Callable[[], dict[str, Any]] = dict
    """Options that are used up."""
    pair: Callable[[], tuple[Any, Any]] = data
    loss: Callable[[], Any] = SoftmaxCrossEntropy
    dtype: str = "float32"
    equal: bool = True
    limit: float = 100.0


def _noise(rows: Any, rng: Any) -> Any:
    return rows + rng.standard_normal(rows.shape)


def _halved(rows: Any, rng: Any) -> Any:
    return rows * 0.5


def _cases() -> dict[str, Case]:
    adam = {"optimizer": Adam, "hyper": {"lr": 0.02}}
    found = {
        name: Case(optimizer=kind, hyper={"lr": 0.5 if name == "Adadelta" else 0.02})
        for name, kind in OPTIMIZERS.items()
    }
    for name, hyper in {
        "nesterov": {"optimizer": Momentum, "nesterov": True, "lr": 0.1},
        "weight decay but of biases": {"weight_decay": 0.1, "no_decay": "1-D"},
        "decoupled": {"weight_decay": 0.1, "decoupled": True},
        "groups": {"groups": {"2.*": {"lr": 0.001}, "0.bias": {"betas": (0.5, 0.9)}}},
        "frozen": {"frozen": "0.weight"},
        "frozen but one": {"frozen": ["0.*", "2.weight"]},
        "clip_norm": {"optimizer": SGD, "lr": 0.5, "clip_norm": 0.1},
        "clip_norm, frozen, groups": {
            "clip_norm": 0.05, "frozen": "0.bias", "groups": {"2.*": {"lr": 0.001}},
        },
        "clip_each_norm": {"optimizer": SGD, "lr": 0.5, "clip_each_norm": 0.05},
        "clip_value": {"optimizer": SGD, "lr": 0.5, "clip_value": 0.01},
        "all clips": {"clip_norm": 0.2, "clip_each_norm": 0.05, "clip_value": 0.01},
        "use_ema": {"use_ema": True, "ema_momentum": 0.8},
        "swa": {"optimizer": SGD, "lr": 0.3, "swa_start": 3, "swa_every": 2},
        "ema, frozen, groups": {
            "use_ema": True, "ema_momentum": 0.8, "frozen": "0.bias",
            "groups": {"2.*": {"lr": 1e-3}},
        },
        "array": {"engine": "array"},
    }.items():  # fmt: skip
        kind = hyper.pop("optimizer", Adam)
        found[name] = Case(optimizer=kind, hyper={"lr": 0.02, **hyper})
    found["float64"] = Case(**adam, dtype="float64")
    found["float64, clip_norm"] = Case(hyper={"lr": 0.5, "clip_norm": 0.1}, dtype="float64")
    found["float64, sync"] = Case(
        **adam, layers=normed(sync=True), options={"batch_size": 5}, dtype="float64"
    )
    for name, options in {
        "batches of 7, a last one of 1": {"batch_size": 7},
        "batches of 1": {"batch_size": 1, "epochs": 1},
        "accumulate": {"accumulate": 2},
        "accumulate uneven": {"accumulate": 3, "batch_size": 5},
        "regularizers": {"regularizer": [L1(0.3), L2(0.2)]},
        "balanced": {"class_weight": "balanced", "validation": data(7, 8)},
        "class weights": {"class_weight": {0: 0.5, 1: 2.0, 2: 1.0}},
        "sample weights": {"sample_weight": np.arange(22) / 11.0, "class_weight": "balanced"},
        "schedule": {"schedule": ExponentialDecay(0.05, 0.9)},
        "a function": {"schedule": lambda epoch, step: 0.1 / (epoch + step)},
        "as they come": {"shuffle": False},
        "augmented": {"augment": _halved, "shuffle": False},  # ranks draw a seed of their own
        "validation": {"validation": data(7, 8)},
        "weighted validation": {"validation": (*data(7, 8), np.arange(7) / 3.0)},
        "validation of 2": {"validation": data(2, 8)},
    }.items():
        found[name] = Case(**adam, options=options)
    found["fewer samples than ranks"] = Case(**adam, pair=lambda: numbers(2), loss=MeanSquaredError)
    found["one parameter"] = Case(
        layers=lambda: [Dense(FEATURES, 1, bias=False)], loss=MeanSquaredError,
        pair=lambda: (numbers()[0], numbers()[0][:, :1]), hyper={"lr": 0.1},
    )  # fmt: skip
    found["own layer"] = Case(**adam, layers=lambda: [Doubled(), *plain()])
    found["sparse"] = Case(**adam, pair=sparse)
    found["squared error"] = Case(**adam, pair=numbers, loss=MeanSquaredError)
    found["Huber"] = Case(**adam, pair=numbers, loss=lambda: Huber(0.4))
    found["labels"] = Case(**adam, pair=labels, loss=BinaryCrossEntropy)
    found["float16"] = Case(
        **adam, dtype="float16", limit=60.0, fresh=lambda: {"loss_scaler": LossScaler(2.0**10)}
    )
    found["float16, scaled too much"] = Case(  # sums over ranks overflow sooner than means
        **adam, dtype="float16", equal=False, fresh=lambda: {"loss_scaler": LossScaler(2.0**20)}
    )
    found["stopped early"] = Case(
        optimizer=SGD, hyper={"lr": 3.0}, options={"validation": data(7, 8), "epochs": 9},
        fresh=lambda: {"callbacks": EarlyStopping(patience=1)},
    )  # fmt: skip
    found["plateaus"] = Case(
        optimizer=SGD, hyper={"lr": 3.0}, options={"validation": data(7, 8), "epochs": 6},
        fresh=lambda: {"callbacks": ReduceOnPlateau(patience=1, factor=0.3)},
    )  # fmt: skip
    for name, options in {
        "sync": {},
        "sync, activation": {"activation": "relu"},
        "sync, cumulative": {"momentum": None},
        "sync, ddof 0": {"running_var_ddof": 0},
    }.items():
        found[name] = Case(**adam, layers=normed(sync=True, **options), options={"batch_size": 5})
    found["sync, 7"] = Case(
        **adam, layers=normed(sync=True), options={"batch_size": 7}, pair=lambda: data(23)
    )
    for rows in (4, 5):
        found[f"sync, accumulate {rows}"] = Case(
            **adam, layers=normed(sync=True), options={"batch_size": rows, "accumulate": 3}
        )
    found["sync, validated"] = Case(
        **adam, layers=normed(sync=True), options={"validation": data(7, 8), "batch_size": 5}
    )
    for name, case in {
        "own statistics": Case(layers=normed(), options={"batch_size": 5}),
        "own statistics, 3": Case(
            layers=normed(), options={"batch_size": 3}, pair=lambda: data(21)
        ),
        "own statistics, layer by layer": Case(
            layers=normed(), options={"batch_size": 5, "augment": _halved}
        ),
        "own statistics, 3, layer by layer": Case(
            layers=normed(), options={"batch_size": 3, "augment": _halved}, pair=lambda: data(21)
        ),
        "own statistics, accumulate": Case(
            layers=normed(), options={"batch_size": 5, "accumulate": 2}
        ),
        "own statistics, accumulate 2": Case(
            layers=normed(), options={"batch_size": 2, "accumulate": 4}
        ),
        "dropout": Case(layers=with_dropout),
        "dropout, 7": Case(layers=with_dropout, options={"batch_size": 7}),
        "noise": Case(options={"augment": _noise}),
        "sync, dropout, noise": Case(
            layers=lambda: [*normed(sync=True)()[:3], *with_dropout()[2:]],
            options={"augment": _noise, "batch_size": 5},
        ),
    }.items():  # fmt: skip
        found[name] = Case(
            layers=case.layers, options=case.options, pair=case.pair, equal=False, **adam
        )
    return found


CASES = _cases()

SHORT = (
    "SGD", "Adam", "clip_norm, frozen, groups", "clip_each_norm", "use_ema",
    "batches of 7, a last one of 1", "fewer samples than ranks", "one parameter",
    "accumulate uneven", "regularizers", "weighted validation", "float16", "float64, clip_norm",
    "sync, 7", "sync, accumulate 5", "own statistics, 3, layer by layer", "dropout, 7",
)  # fmt: skip
"""Of all of these the ones in which parts of a batch matter most."""


def made(case: Case, seed: int = 0) -> tuple[Any, Any]:
    """A network, and its optimizer."""
    net = Sequential(*case.layers(), seed=seed, dtype=case.dtype, device="cpu")
    return net, case.optimizer(net.parameters(), **case.hyper)


def trained(case: Case, net: Any, optimizer: Any, **options: Any) -> Any:
    """The history of a training of some epochs."""
    chosen = {"epochs": 2, "batch_size": 8, "progress": False, "loss": case.loss()}
    chosen |= {**case.options, **case.fresh(), **options}
    return fit(net, case.pair(), optimizer=optimizer, **chosen)


def seen(net: Any, optimizer: Any, history: Any) -> dict[str, Any]:
    """All that a training has left, as arrays by name."""
    found = {f"net.{name}": array for name, array in net.state_dict().items()}
    for state, arrays in optimizer.state_dict()["state"].items():
        found |= {f"{state}.{name}": array for name, array in arrays.items()}
    if "average" in optimizer.state_dict()["state"]:
        with optimizer.averaged():
            found["averaged"] = net.parameters().flat.copy()
    for name in ("loss", "metric", "val_loss", "val_metric", "lr"):
        found[f"history.{name}"] = np.array(getattr(history, name), np.float64)
    found["steps"] = np.array(optimizer.steps)
    return found
