"""Training steps that tell what each of their parts took: captured, and layer by layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import perf_counter_ns

import numpy as np

from ....kernels.program import why_no_programs
from ....nets import Dataset, Dense, SoftmaxCrossEntropy
from ....nets.training.captured.program import CapturedProgram
from ....nets.training.update import update
from ....nets.types import Array, HostArray
from .onepass_trainer import Onepass

Parts = list[tuple[str, int]]
"""(what was done, nanoseconds), in the order in which it was done."""


class TimedSteps(ABC):
    """The network of section "training" with batches that follow one another through the data."""

    def __init__(self, data: Dataset, batch: int) -> None:
        self.trainer = Onepass(data.x_train.shape[1], data.classes, batch)
        self.loss, self.batch = SoftmaxCrossEntropy(), batch
        self.x, self.y = data.x_train, data.y_train
        self._order = np.random.default_rng(0).permutation(len(self.x))
        self._next = 0

    @abstractmethod
    def step(self) -> Parts:
        """Take the next step."""

    def weights(self) -> dict[str, HostArray]:
        return self.trainer.weights()

    def chosen(self) -> HostArray:
        """The numbers of the next batch's samples."""
        if self._next + self.batch > len(self._order):
            self._next = 0
        self._next += self.batch
        return self._order[self._next - self.batch : self._next]


class CapturedSteps(TimedSteps):
    """By a program, whose instructions tell their names."""

    def __init__(self, data: Dataset, batch: int) -> None:
        super().__init__(data, batch)
        net, optimizer = self.trainer.net, self.trainer.optimizer
        given = self.x, np.ascontiguousarray(self.y, np.int64), None
        self.captured = CapturedProgram(net, self.loss, optimizer, batch, given, (), len(self.x))

    @staticmethod
    def why_missing() -> str:
        """Why there are none here; "" if there are."""
        if reason := why_no_programs(np.dtype("float32")):
            return reason
        try:
            from ....kernels.program.numba_clock import clocks

            clocks(1)
        except NotImplementedError as error:
            return str(error)
        return ""

    def step(self) -> Parts:
        self.captured.prepare(0)
        return self.captured.timed(self.chosen())


class PlainSteps(TimedSteps):
    """The calls that layers, loss and optimizer make where there is no captured step."""

    def step(self) -> Parts:
        self._parts: Parts = []
        self._last = perf_counter_ns()
        net, chosen = self.trainer.net, self.chosen()
        x, y = self.x.take(chosen, axis=0), self.y.take(chosen, axis=0)
        self._did("gather")
        inputs = []
        for layer in net.layers:
            inputs.append(x)
            x = self._dense(layer, x) if isinstance(layer, Dense) else layer.forward(x, train=True)
            self._did("activation" if isinstance(layer, Dense) else "batch norm")
        _, dy = self.loss(x, y)
        self.loss.measure(x, y)
        self._did("softmax")
        for k in range(len(net.layers) - 1, -1, -1):
            layer = net.layers[k]
            if isinstance(layer, Dense):
                dy = self._dense_backward(layer, inputs[k], dy, k > 0)
            else:
                dy = layer.backward(dy)
                self._did("batch norm")
        self.trainer.optimizer.step()
        self._did("adam")
        return self._parts

    def reference_step(self) -> None:
        """The next step as `nets` takes it."""
        chosen, trainer = self.chosen(), self.trainer
        x, y = self.x[chosen], self.y[chosen]
        update(trainer.net, self.loss, trainer.optimizer, (), len(self.x), x, y, None)

    def _dense(self, layer: Dense, x: Array) -> Array:
        y = x @ layer.params["weight"]
        self._did("product")
        if layer.bias:
            y += layer.params["bias"]
        return y

    def _dense_backward(self, layer: Dense, x: Array, dy: Array, input_grad: bool) -> Array:
        if layer.bias:
            np.sum(dy, axis=0, out=layer.grads["bias"])
            self._did("activation")
        np.matmul(x.T, dy, out=layer.grads["weight"])
        dx = dy @ layer.params["weight"].T if input_grad else None
        self._did("product")
        return dx

    def _did(self, name: str) -> None:
        now = perf_counter_ns()
        self._parts.append((name, now - self._last))
        self._last = perf_counter_ns()
