"""A captured step on a GPU: forward, loss, backward and update as one graph of kernels."""

from __future__ import annotations

from typing import Any

from ....kernels.graph import new_graph, why_no_graphs
from ...network.captured_forward import Uncapturable
from ...network.sequential import Sequential
from ...optimizers.frame.optimizer import Optimizer
from ...types import Array
from .step import MOST, Batch, Captured, check_engine


def check_graphs(net: Sequential, optimizer: Optimizer | None) -> None:
    """Raise Uncapturable with the reason where there are no graphs, or not of these."""
    if optimizer is None:
        raise Uncapturable("gradients alone are not captured on a GPU")
    if optimizer.formats:
        raise Uncapturable("the optimizer's states are in 16 or 8 bits")
    if reason := why_no_graphs():
        raise Uncapturable(reason)
    check_engine(optimizer, "cupy")
    for k, layer in enumerate(net.layers):
        if reason := layer.why_no_graph():
            raise Uncapturable(f"layer {k} {layer!r}: {reason}")


class CapturedGraph(Captured):
    """A graph of kernels/graph/: what `update` asks of the GPU, but for what changes with the step.

    Nothing is waited for until a run of steps has ended.
    """

    def _write_down(self, data: Batch, gathered: bool) -> None:
        net, optimizer = self._net, self._optimizer
        check_graphs(net, optimizer)
        assert optimizer is not None
        arrays = tuple(column[0] for column in optimizer.columns())
        states = net.random_state()
        with net.backend.scope():
            try:
                graph = new_graph(net.backend, MOST, self._table.shape[1])
                rooms = [self._room(each) for each in data]
                chunks = graph.chunks(arrays, self._runs)
            except Exception as error:
                raise _uncapturable(error) from error
            self._graph, self.loss, self.metric = graph, graph.loss, graph.metric
            self._chunks = chunks  # which the graph reads
            self._data = data if gathered else None  # which the graph reads
            self._rooms: Batch = rooms[0], rooms[1], rooms[2]

            def work() -> None:
                net.load_random_state(states)
                if gathered:
                    for source, room in zip(data, rooms, strict=True):
                        if source is not None:
                            graph.take(source, room)
                loss, metric = self._forward_and_backward()
                clip = self._clip_norm
                graph.decide(loss, metric, clip, arrays[1])
                graph.step(self._rule, chunks)

            try:
                graph.capture(work)
            except Exception as error:
                raise _uncapturable(error) from error
            finally:
                net.load_random_state(states)
        self._draws = _draws(net)

    def _forward_and_backward(self) -> tuple[Array, Array]:
        """The loss and the metric of the batch in the rooms; its gradients are the network's."""
        net, (x, y, weights) = self._net, self._rooms
        output = net.forward(x, train=True)
        mean, gradient, metric = self._loss.with_metric(output, y, weights)
        for regularizer in self._regularizers:
            mean = mean + regularizer.penalty(net, self._samples)
        net.backward(gradient, input_grad=False)
        for regularizer in self._regularizers:
            regularizer.add_gradient(net, self._samples)
        return mean, metric

    def _room(self, array: Array | None) -> Array | None:
        if array is None:
            return None
        return self._net.backend.empty((self.batch_size, *array.shape[1:]), array.dtype)

    def _settings(self) -> list[Any]:
        net = self._net
        seeds = [state.get("seed") for state in net.random_state().values()]
        return [*super()._settings(), *seeds, len({*self._drawn()}) < 2]

    def _drawn(self) -> list[int]:
        """How often each layer that draws has done so since the capture."""
        before = getattr(self, "_draws", _draws(self._net))
        return [now - then for now, then in zip(_draws(self._net), before, strict=True)]

    def give(self, *batch: Array | None) -> None:
        with self._net.backend.scope():
            for room, array in zip(self._rooms, batch, strict=True):
                if room is not None:
                    room[...] = array

    def _run(self, order: Array | None, steps: int) -> int:
        draws = next(iter(self._drawn()), 0)
        taken: int = self._graph.run(self._table, order, steps, draws)
        self._draw_on(taken)
        return taken

    @property
    def _not_finite(self) -> bool:
        return bool(self._graph.not_finite)

    def _ended(self) -> None:
        self._draw_on(1)

    def _draw_on(self, steps: int) -> None:
        """Layers that draw have done so for that many steps."""
        states = self._net.random_state()
        for state in states.values():
            state["draw"] += steps
        self._net.load_random_state(states)


def _uncapturable(error: Exception) -> Uncapturable:
    return Uncapturable(f"a GPU could not capture it: {error}")


def _draws(net: Sequential) -> list[int]:
    """The number of the next draw of each layer that draws."""
    return [state["draw"] for state in net.random_state().values()]
