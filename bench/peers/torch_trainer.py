"""The network of section "training" in PyTorch."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from ...nets import History, minibatches
from ...nets.types import HostArray
from ..cases.trainer import HIDDEN, LR, Pair, Trainer


class Torch(Trainer):
    """The same in eager PyTorch with its fused Adam, written as its users write it.

    It begins with the weights `start`, named as `weights` names them. Loss and right answers add
    up in tensors that are read once an epoch, as `fit` does.
    """

    def __init__(
        self,
        start: dict[str, HostArray],
        width: int,
        classes: int,
        batch: int,
        seed: int = 0,
        device: str = "cpu",
    ):
        from torch import nn

        first, second = HIDDEN
        self.batch, self.seed, self.device = batch, seed, device
        self.model = nn.Sequential(
            nn.Linear(width, first, bias=False),
            nn.BatchNorm1d(first),
            nn.ReLU(),
            nn.Linear(first, second, bias=False),
            nn.BatchNorm1d(second),
            nn.ReLU(),
            nn.Linear(second, classes),
        ).to(device)
        self._start = start
        self.optimizer: Any = None
        self.reset()

    def train(self, data: Pair, epochs: int = 1, validation: Pair | None = None) -> History:

        rng = np.random.default_rng(self.seed)
        history = History()
        x, y = self._there(data)
        for _ in range(epochs):
            start = perf_counter()
            loss, share = self._epoch(x, y, rng)
            history.seconds.append(perf_counter() - start)
            history.loss.append(loss)
            history.accuracy.append(share)
            if validation is not None:
                history.val_accuracy.append(self._accuracy(*self._there(validation)))
        return history

    def _epoch(self, x: Any, y: Any, rng: np.random.Generator) -> tuple[float, float]:
        import torch

        self.model.train()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        hits = torch.zeros((), dtype=torch.int64, device=self.device)
        for batch in minibatches(len(x), self.batch, rng):
            chosen = torch.from_numpy(batch).to(self.device)
            rows, labels = x.index_select(0, chosen), y.index_select(0, chosen)
            loss, right = self._step(rows, labels)
            total += loss * len(batch)
            hits += right
        return total.item() / len(x), hits.item() / len(x)

    def _step(self, rows: Any, labels: Any) -> tuple[Any, Any]:
        return self._learn(rows, labels)

    def _learn(self, rows: Any, labels: Any) -> tuple[Any, Any]:
        """One update: (mean loss, right answers) before it."""
        from torch.nn.functional import cross_entropy

        output = self.model(rows)
        loss = cross_entropy(output, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (output.detach().argmax(1) == labels).sum()

    def _there(self, pair: Pair) -> tuple[Any, Any]:
        """Rows and labels as tensors on the network's device."""
        import torch

        x, y = (torch.from_numpy(part).to(self.device) for part in pair)
        return x, y

    def _accuracy(self, x: Any, y: Any) -> float:
        import torch

        self.model.eval()
        with torch.no_grad():
            found = torch.cat([self.model(rows).argmax(1) for rows in x.split(1024)])
        return float((found == y).double().mean())

    def weights(self) -> dict[str, HostArray]:
        return {
            ours: np.ascontiguousarray(tensor.detach().cpu().numpy().T).copy()
            for ours, tensor in self._named().items()
        }

    def reset(self) -> None:
        import torch

        with torch.no_grad():
            for ours, tensor in self._named().items():
                tensor.copy_(torch.from_numpy(self._start[ours].T.copy()))
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, fused=True)
        for states in self.optimizer.state.values():  # of the one that compiled code knows
            for state in states.values():
                state.zero_()

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
