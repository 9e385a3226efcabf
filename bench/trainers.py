"""One network, trained by this library, by its array expressions, and by PyTorch.

784-256-128-10, or as wide as the data: Dense without bias, batch normalization with ReLU, twice,
then Dense; Adam, lr 1e-3. All start from the same weights and take the same batches in the same
order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter
from typing import Any

import numpy as np

from ..kernels import batch_norm_backward, batch_norm_forward
from ..nets import (
    Adam,
    BatchNorm,
    Dataset,
    Dense,
    History,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    minibatches,
)
from ..nets.types import Array, HostArray

HIDDEN = (256, 128)
LR = 1e-3
_Pair = tuple[HostArray, HostArray]


class Trainer(ABC):
    """A network with its optimizer."""

    @abstractmethod
    def train(self, data: _Pair, epochs: int = 1, validation: _Pair | None = None) -> History:
        """Train on NumPy rows and labels, and go on from what was learned before."""

    @abstractmethod
    def weights(self) -> dict[str, HostArray]:
        """Parameters and running statistics, named and laid out as `Sequential.state_dict` does."""

    @abstractmethod
    def reset(self) -> None:
        """Back to the first weights and running statistics, and an optimizer before step 1."""


class Onepass(Trainer):
    """Through `fit`; engine "auto" or "array" for both kernels that have engines."""

    def __init__(self, width: int, classes: int, batch: int, seed: int = 0, engine: str = "auto"):
        norm = BatchNorm if engine == "auto" else _ArrayBatchNorm
        first, second = HIDDEN
        self.batch, self.seed = batch, seed
        self.net = Sequential(
            Dense(width, first, bias=False),
            norm(first, activation="relu"),
            Dense(first, second, bias=False),
            norm(second, activation="relu"),
            Dense(second, classes),
            seed=seed,
            device="cpu",
        )
        self.optimizer = Adam(self.net.parameters(), lr=LR, engine=engine)
        self._start = self.net.state_dict(), self.optimizer.state_dict()

    def train(self, data: _Pair, epochs: int = 1, validation: _Pair | None = None) -> History:
        return fit(
            self.net,
            data,
            loss=SoftmaxCrossEntropy(),
            optimizer=self.optimizer,
            epochs=epochs,
            batch_size=self.batch,
            validation=validation,
            seed=self.seed,
            progress=False,
        )

    def weights(self) -> dict[str, HostArray]:
        return self.net.state_dict()

    def reset(self) -> None:
        self.net.load_state_dict(self._start[0])
        self.optimizer.load_state_dict(self._start[1])


class _ArrayBatchNorm(BatchNorm):
    """Training on the engine "array"."""

    def forward(self, x: Array, train: bool = False) -> Array:
        if not train:
            return super().forward(x)
        y, self._saved = batch_norm_forward(
            x,
            self.params["gamma"],
            self.params["beta"],
            self.buffers["running_mean"],
            self.buffers["running_var"],
            momentum=self.momentum,
            eps=self.eps,
            activation=self.activation,
            engine="array",
        )
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        dx, dgamma, dbeta = batch_norm_backward(dy, self.saved, engine="array")
        self.grads["gamma"][...] = dgamma
        self.grads["beta"][...] = dbeta
        return dx if input_grad else None


class Torch(Trainer):
    """The same in eager PyTorch with its fused Adam, written as its users write it.

    Loss and right answers add up in tensors that are read once an epoch, as `fit` does.
    """

    def __init__(self, width: int, classes: int, batch: int, seed: int = 0):
        from torch import nn

        first, second = HIDDEN
        self.batch, self.seed = batch, seed
        self.model = nn.Sequential(
            nn.Linear(width, first, bias=False),
            nn.BatchNorm1d(first),
            nn.ReLU(),
            nn.Linear(first, second, bias=False),
            nn.BatchNorm1d(second),
            nn.ReLU(),
            nn.Linear(second, classes),
        )
        self._start = Onepass(width, classes, batch, seed).weights()
        self.reset()

    def train(self, data: _Pair, epochs: int = 1, validation: _Pair | None = None) -> History:
        import torch

        rng = np.random.default_rng(self.seed)
        history = History()
        x, y = map(torch.from_numpy, data)
        for _ in range(epochs):
            start = perf_counter()
            loss, share = self._epoch(x, y, rng)
            history.seconds.append(perf_counter() - start)
            history.loss.append(loss)
            history.accuracy.append(share)
            if validation is not None:
                history.val_accuracy.append(self._accuracy(*map(torch.from_numpy, validation)))
        return history

    def _epoch(self, x: Any, y: Any, rng: np.random.Generator) -> tuple[float, float]:
        import torch
        from torch.nn.functional import cross_entropy

        self.model.train()
        total = torch.zeros((), dtype=torch.float64)
        hits = torch.zeros((), dtype=torch.int64)
        for batch in minibatches(len(x), self.batch, rng):
            chosen = torch.from_numpy(batch)
            rows, labels = x.index_select(0, chosen), y.index_select(0, chosen)
            output = self.model(rows)
            loss = cross_entropy(output, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(batch)
            hits += (output.detach().argmax(1) == labels).sum()
        return total.item() / len(x), hits.item() / len(x)

    def _accuracy(self, x: Any, y: Any) -> float:
        import torch

        self.model.eval()
        with torch.no_grad():
            found = torch.cat([self.model(rows).argmax(1) for rows in x.split(1024)])
        return float((found == y).double().mean())

    def weights(self) -> dict[str, HostArray]:
        return {
            ours: np.ascontiguousarray(tensor.detach().numpy().T).copy()
            for ours, tensor in self._named().items()
        }

    def reset(self) -> None:
        import torch

        with torch.no_grad():
            for ours, tensor in self._named().items():
                tensor.copy_(torch.from_numpy(self._start[ours].T.copy()))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, fused=True)

    def _named(self) -> dict[str, Any]:
        """Our name -> PyTorch's tensor, whose matrices are the transpose of ours."""
        names = {"0.weight": "0.weight", "2.weight": "3.weight"}
        names |= {"4.weight": "6.weight", "4.bias": "6.bias"}
        for ours, theirs in (("1", "1"), ("3", "4")):
            names |= {f"{ours}.gamma": f"{theirs}.weight", f"{ours}.beta": f"{theirs}.bias"}
            names |= {
                f"{ours}.{name}": f"{theirs}.{name}" for name in ("running_mean", "running_var")
            }
        found = self.model.state_dict(keep_vars=True)
        return {ours: found[theirs] for ours, theirs in names.items()}


def trainer(path: str, data: Dataset, batch: int, seed: int = 0) -> Trainer:
    """The trainer of a path: "onepass", "array" or "torch fused"."""
    width = data.x_train.shape[1]
    if path == "torch fused":
        return Torch(width, data.classes, batch, seed)
    engines = {"onepass": "auto", "array": "array"}
    if path not in engines:
        raise ValueError(f"path is {path!r}; expected 'onepass', 'array' or 'torch fused'")
    return Onepass(width, data.classes, batch, seed, engines[path])
