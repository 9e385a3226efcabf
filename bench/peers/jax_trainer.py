"""The network of section "training" trained by JAX: a jitted step a batch, or a scan an epoch."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from ...nets import History
from ...nets.data.batches import shuffled
from ...nets.types import HostArray
from ..cases.trainer import Pair, Trainer
from .jax_network import State, functions


class Jax(Trainer):
    """It begins with the weights `start`, named as `weights` names them.

    Args:
        scan: whether an epoch is one call, which gathers batches by an order it is given; else
            each batch is gathered by NumPy, and a call of its own. A last, smaller batch is.

    The data lies where JAX wants it before an epoch begins, and losses are read at its end.
    """

    state: State

    def __init__(self, start: dict[str, HostArray], batch: int, seed: int = 0, scan: bool = True):
        self.batch, self.seed, self.scan = batch, seed, scan
        self._start = start
        self._given: Pair | None = None
        self._data: Any = None
        self.reset()

    def train(self, data: Pair, epochs: int = 1, validation: Pair | None = None) -> History:
        rng, history = np.random.default_rng(self.seed), History()
        self._place(data)
        for _ in range(epochs):
            start = perf_counter()
            order = shuffled(len(data[0]), rng).astype(np.int32)
            loss, share = self._epoch(order)
            history.seconds.append(perf_counter() - start)
            history.loss.append(loss)
            history.accuracy.append(share)
            if validation is not None:
                x, y = validation
                right = functions().right(self.state.params, self.state.running, x, y)
                history.val_accuracy.append(float(right) / len(x))
        return history

    def _place(self, data: Pair) -> None:
        import jax

        if self._given is None or any(a is not b for a, b in zip(data, self._given, strict=True)):
            x, y = data
            found = x, y.astype(np.int32)
            self._given, self._data = data, jax.device_put(found, _cpu()) if self.scan else found

    def _epoch(self, order: HostArray) -> tuple[float, float]:
        """(mean loss, share of right answers) of an epoch."""
        import jax

        x, y = self._data
        whole = len(order) - len(order) % self.batch
        means, rights = [], []
        if self.scan and whole:
            batches = order[:whole].reshape(-1, self.batch)
            self.state, (mean, right) = functions().epoch(self.state, x, y, batches)
            means, rights = [mean], [right]
        for first in range(whole if self.scan else 0, len(order), self.batch):
            numbers = order[first : first + self.batch]
            if self.scan:
                self.state, (mean, right) = functions().gathered(self.state, x, y, numbers)
            else:
                self.state, (mean, right) = functions().step(self.state, x[numbers], y[numbers])
            means.append(mean)
            rights.append(right)
        means, rights = jax.device_get((means, rights))
        losses = np.hstack(means).astype(np.float64)
        rows = np.full(len(losses), self.batch)
        rows[-1] = len(order) - self.batch * (len(losses) - 1)
        return float(losses @ rows) / len(order), float(np.hstack(rights).sum()) / len(order)

    def weights(self) -> dict[str, HostArray]:
        named = {**self.state.params, **self.state.running}
        return {name: np.array(named[name]) for name in self._start}

    def reset(self) -> None:
        import jax

        params = {name: a.copy() for name, a in self._start.items() if "running" not in name}
        running = {name: a.copy() for name, a in self._start.items() if "running" in name}
        m, v = ({name: np.zeros_like(a) for name, a in params.items()} for _ in range(2))
        state = State(params, running, m, v, np.float32(0))
        self.state = jax.device_put(state, _cpu())


def _cpu() -> Any:
    import jax

    return jax.local_devices(backend="cpu")[0]
