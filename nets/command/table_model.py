"""A network with all that it takes to apply it to another file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from ..data.cells import Missing
from ..data.normalizer import Normalizer
from ..network.prediction import outputs, predict, predict_proba
from ..network.sequential import Sequential
from ..saving.load import load
from ..saving.save import save
from ..state_checks import check_keys
from ..types import Device, HostArray

KEYS = (
    "features",
    "target",
    "classes",
    "mean",
    "deviation",
    "target_mean",
    "target_deviation",
    "missing",
)


@dataclass(frozen=True)
class TableModel:
    """A network that was trained on a table.

    Attributes:
        net: takes normalized features; gives logits, or normalized targets.
        features: names of the columns it takes, in this order.
        target: name of the column it predicts.
        classes: what the file called class 0, 1, ...; empty for a regression.
        normalizer: of the features.
        target_normalizer: of the target of a regression, else None.
        missing: what stands for a value that is not there, as `read_table` takes it.
    """

    net: Sequential
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...]
    normalizer: Normalizer
    target_normalizer: Normalizer | None
    missing: tuple[str, ...] | None = None

    def numbers(self, x: HostArray) -> HostArray:
        """The predictions of a regression for rows as the file has them, (n,), in float64."""
        found = outputs(self.net, self._inputs(x))
        if self.target_normalizer is not None:
            found = self.target_normalizer.inverse(found)
        return found[:, 0]

    def labels(self, x: HostArray) -> HostArray:
        """The class number of each row, (n,)."""
        return predict(self.net, self._inputs(x))

    def probabilities(self, x: HostArray) -> HostArray:
        """The probability of each class, (n, classes)."""
        return predict_proba(self.net, self._inputs(x))

    def _inputs(self, x: HostArray) -> HostArray:
        """Normalized rows in the network's dtype; ValueError for what that can't hold."""
        with np.errstate(over="ignore", under="ignore"):
            found = self.normalizer.apply(x).astype(self.net.dtype, copy=False)
        for row, k in np.argwhere(~np.isfinite(found))[:1]:
            raise ValueError(
                f"row {row + 1} holds {x[row, k]:g} in column {self.features[k]!r}; expected "
                f"numbers nearer to those that were trained on: normalized, this is too large for "
                f"{self.net.dtype}"
            )
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write all of it to one safetensors file; raises as `onepass.nets.save` does."""
        table: dict[str, Any] = {
            "features": list(self.features),
            "target": self.target,
            "classes": list(self.classes),
            **_numbers(self.normalizer),
            "target_mean": None,
            "target_deviation": None,
            "missing": None if self.missing is None else list(self.missing),
        }
        if self.target_normalizer is not None:
            table |= {f"target_{k}": v for k, v in _numbers(self.target_normalizer).items()}
        save(path, self.net, table=table)


def load_table_model(path: str | PathLike[str], device: Device = "auto") -> TableModel:
    """Read what `TableModel.save` wrote.

    Raises:
        ValueError: the file is none of these, or damaged.
        FileNotFoundError, DeviceUnavailableError: as `onepass.nets.load`.
    """
    saved = load(path, device=device)
    table = saved.metadata.get("table")
    if table is None:
        raise ValueError(
            f"{path} holds a network, but not what its inputs and outputs are called; expected a "
            "model that `onepass train --data FILE.csv --target COLUMN --save MODEL` wrote"
        )
    try:
        table = {"missing": None, **table}  # which older files lack
        check_keys(table, KEYS, "the table")
        model = TableModel(
            saved.net,
            tuple(table["features"]),
            table["target"],
            tuple(table["classes"]),
            _normalizer(table, ""),
            None if table["classes"] else _normalizer(table, "target_"),
            None if table["missing"] is None else tuple(table["missing"]),
        )
        Missing(model.missing)
        width = 1 if len(model.classes) in (0, 2) else len(model.classes)
        if (model.net.in_features, model.net.out_features) != (len(model.features), width) or len(
            model.normalizer.mean
        ) != len(model.features):
            raise ValueError("names and numbers of features or classes differ")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); train and save it again") from error
    return model


def _numbers(normalizer: Normalizer) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in normalizer.state_dict().items()}


def _normalizer(table: Mapping[str, Any], prefix: str) -> Normalizer:
    normalizer = Normalizer()
    state = {name: np.array(table[f"{prefix}{name}"], float) for name in ("mean", "deviation")}
    normalizer.load_state_dict(state)
    return normalizer
