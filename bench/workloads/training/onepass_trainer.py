"""One network, trained by this library, its array expressions, and others: cases/trainer.py."""

from __future__ import annotations

from ....kernels import batch_norm_backward, batch_norm_forward
from ....nets import Adam, BatchNorm, Dataset, Dense, History, Sequential, SoftmaxCrossEntropy, fit
from ....nets.types import Array, HostArray
from ...cases.trainer import HIDDEN, LR, Pair, Trainer
from ...peers.trainers import PEER_TRAINERS, peer_trainer


class Onepass(Trainer):
    """Through `fit`; engine "auto" or "array" for both kernels that have engines."""

    def __init__(
        self,
        width: int,
        classes: int,
        batch: int,
        seed: int = 0,
        engine: str = "auto",
        device: str = "cpu",
    ):
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
            device=device,
        )
        self.optimizer = Adam(self.net.parameters(), lr=LR, engine=engine)
        self._start = self.net.state_dict(), self.optimizer.state_dict()

    def train(self, data: Pair, epochs: int = 1, validation: Pair | None = None) -> History:
        history = fit(
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
        if history.stopped == "interrupted":  # the whole suite is to end
            raise KeyboardInterrupt
        return history

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
        assert self.momentum is not None
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


def trainer(path: str, data: Dataset, batch: int, seed: int = 0) -> Trainer:
    """The trainer of a path: "onepass", "array" or one of PEER_TRAINERS."""
    width = data.x_train.shape[1]
    if path in PEER_TRAINERS:
        start = Onepass(width, data.classes, batch, seed).weights()
        return peer_trainer(path, start, width, data.classes, batch, seed)
    engines = {"onepass": "auto", "array": "array"}
    if path not in engines:
        raise ValueError(
            f"path is {path!r}; expected 'onepass', 'array', {', '.join(map(repr, PEER_TRAINERS))}"
        )
    return Onepass(width, data.classes, batch, seed, engines[path])
