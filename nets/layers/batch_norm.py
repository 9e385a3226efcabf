"""The batch-normalization layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ...backend.checks.numbers import count, flag
from ...kernels import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
    validate,
)
from ..types import Array, HostArray, Shape
from .layer import Layer, Recorded, no_backward

Merge: TypeAlias = Callable[[Array], Array]
"""Returns an array of all ranks, stacked in their order."""


class BatchNorm(Layer):
    """Batch normalization over rows, and over all other axes but the channels'.

    Training normalizes by the batch's own mean and variance and keeps running averages of them;
    `forward(x)` without train normalizes by these. The layer before needs no bias, which the mean
    would take out again: `Dense(64, 32, bias=False), BatchNorm(32)`.

    Args:
        features: channels C of x, shape (n, C) or (n, C, ...).
        momentum: weight of the new batch in the running averages, in [0, 1]; None: all batches
            count alike, a cumulative average, for which a GPU is waited for at each batch.
        eps: added to the variance, > 0.
        activation: None, or "relu" for max(y, 0) in the same pass, in place of a ReLU layer.
        running_var_ddof: 1: the running variance is unbiased, as in PyTorch; 0: it is not, as in
            Keras.
        use_running_average: normalize by the running averages in training too and leave them as
            they are, to fine-tune a network that was trained before; gamma and beta still learn.
            PyTorch does so in eval mode, Keras where trainable is False, Flax under this name. May
            be set at any time: `layer.use_running_average = True`.
        sync: where the rows of a batch lie on several ranks, normalize by the mean and variance of
            all of them, as PyTorch's SyncBatchNorm does, and not each rank by its own. It takes
            `layer.merge`, which whoever trains on several ranks sets.

    Attributes:
        merge: None, or `merge` of `kernels.batch_norm_forward`: returns an array of all ranks. Each
            training forward and each backward calls it once where sync is True, so that every rank
            must take as many of them; a rank may have no rows. Where it is None, or sync is False,
            each rank has statistics of its own, running ones too. Copies and files go without it.

    The parameters are "gamma", which starts at 1, and "beta", which starts at 0, both (C,) and
    PyTorch's weight and bias. The buffers are "running_mean" (0) and "running_var" (1), (C,), in
    float32 where the network is float16; a network's state_dict holds them. Where momentum is None
    "num_batches_tracked" counts the batches averaged so far.

    Raises:
        TypeError, ValueError: `features` is not an integer or smaller than 1, another argument is
            out of its range; in training, a channel has one value, on all ranks together.

    Formulas, conventions and source: `kernels.batch_norm_forward`.
    """

    running_var_ddof: int = 1  # also of a layer that was pickled before it had these
    use_running_average: bool = False
    sync: bool = False
    merge: Merge | None = None

    @property
    def least_rows(self) -> int:  # type: ignore[override]
        """Rows that a training batch must have at least: a variance takes two, on all ranks."""
        return 1 if self.use_running_average or self._merge is not None else 2

    @property
    def _merge(self) -> Merge | None:
        """What merges this layer's statistics with those of other ranks."""
        return self.merge if self.sync else None

    def __init__(
        self,
        features: int,
        momentum: float | None = 0.1,
        eps: float = 1e-5,
        activation: str | None = None,
        running_var_ddof: int = 1,
        use_running_average: bool = False,
        sync: bool = False,
    ) -> None:
        self.features = self.in_features = self.out_features = count("features", features)
        average = {} if momentum is None else {"momentum": momentum}
        both = {"eps": eps, "activation": activation, "running_var_ddof": running_var_ddof}
        checked = validate("batch_norm", **average, **both)
        self.momentum: float | None = checked.get("momentum")
        self.eps, self.activation = checked["eps"], checked["activation"]
        self.running_var_ddof = checked["running_var_ddof"]
        self.use_running_average = flag("use_running_average", use_running_average)
        self.sync = flag("sync", sync)

    def config(self) -> dict[str, Any]:
        """Without what is new and at its default: older versions read it, and match older files."""
        config = super().config()
        for name in ("running_var_ddof", "use_running_average", "sync"):
            if config[name] == getattr(BatchNorm, name):
                del config[name]
        return config

    def __getstate__(self) -> dict[str, Any]:
        """Without merge, which belongs to a process."""
        return {key: value for key, value in super().__getstate__().items() if key != "merge"}

    def shapes(self) -> dict[str, Shape]:
        features = count("features", self.in_features)
        return {"gamma": (features,), "beta": (features,)}

    def initial(self, rng: np.random.Generator) -> dict[str, HostArray]:
        features = self.in_features or 0
        return {"gamma": np.ones(features), "beta": np.zeros(features)}

    def initial_buffers(self) -> dict[str, HostArray]:
        features = self.in_features or 0
        buffers = {"running_mean": np.zeros(features), "running_var": np.ones(features)}
        return buffers | ({"num_batches_tracked": np.zeros(())} if self.momentum is None else {})

    def why_no_graph(self) -> str:
        if self.use_running_average:
            return ""
        if self._merge is not None:
            return "sync=True waits for other ranks at each step"
        if self.momentum is None:
            return "momentum=None waits for the GPU at each step"
        return "running_var_ddof=0 is averaged in copies" if self.running_var_ddof == 0 else ""

    def forward(self, x: Array, train: bool = False) -> Array:
        if x.ndim < 2 or x.shape[1] != self.in_features:
            raise ValueError(
                f"x of {self!r} has shape {x.shape}; expected (n, {self.in_features}, ...)"
            )
        affine = self.params["gamma"], self.params["beta"]
        running = self.buffers["running_mean"], self.buffers["running_var"]
        both: dict[str, Any] = {"eps": self.eps, "activation": self.activation}
        frozen, merge = self.use_running_average, self._merge
        if train and not frozen and merge is None and x.size < 2 * x.shape[1]:
            raise ValueError(
                f"x of {self!r} has shape {x.shape}, which is not 2 values a channel; expected a "
                "larger batch to train on (forward(x) without train takes one sample)"
            )
        if not train:
            return batch_norm_inference(x, *affine, *running, **both)
        if frozen:
            self._saved = x, both
            return batch_norm_inference(x, *affine, *running, **both)
        both |= {"momentum": self.momentum, "running_var_ddof": self.running_var_ddof}
        both |= {"merge": merge}
        if self.momentum is None:
            batches = float(self.buffers["num_batches_tracked"]) + 1.0
            both["momentum"] = 1.0 / batches
        y, self._saved = batch_norm_forward(x, *affine, *running, **both)
        if self.momentum is None:
            self.buffers["num_batches_tracked"][...] = batches
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        places = self.grads["gamma"], self.grads["beta"]
        if isinstance(self.saved, tuple):  # of a forward by running averages
            x, both = self.saved
            affine = self.params["gamma"], self.params["beta"]
            running = self.buffers["running_mean"], self.buffers["running_var"]
            dx, *_ = batch_norm_inference_backward(
                dy, x, *affine, *running, gamma_grad=places[0], beta_grad=places[1], **both
            )
        else:
            both = {"gamma_grad": places[0], "beta_grad": places[1], "merge": self._merge}
            dx, *_ = batch_norm_backward(dy, self.saved, **both)
        return dx if input_grad else None

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        affine = self.params["gamma"], self.params["beta"]
        running = self.buffers["running_mean"], self.buffers["running_var"]
        both: dict[str, Any] = {"eps": self.eps, "activation": self.activation}
        y = recorder.empty(*x.shape)
        if not train:
            return recorder.batch_norm_inference(x, *affine, *running, **both, out=y), no_backward
        if self.momentum is None or self.running_var_ddof == 0 or self.use_running_average:
            raise NotImplementedError(
                f"{self!r}: momentum=None, running_var_ddof=0 and use_running_average are not "
                "written down"
            )
        if self._merge is not None:
            raise NotImplementedError(f"{self!r}: what waits for other ranks is not written down")
        both["momentum"] = self.momentum
        _, saved = recorder.batch_norm_forward(x, *affine, *running, **both, out=y)

        def backward(dy: Array, input_grad: bool) -> Array:
            recorder.release(y)
            grads = {"gamma_grad": self.grads["gamma"], "beta_grad": self.grads["beta"]}
            dx = recorder.empty(*x.shape)
            recorder.batch_norm_backward(dy, saved, **grads, out=dx)
            recorder.release(dy)
            return dx

        return y, backward

    def __repr__(self) -> str:
        shown = [str(self.in_features)]
        shown += [f"momentum={self.momentum}"] if self.momentum != 0.1 else []
        shown += [f"eps={self.eps}"] if self.eps != 1e-5 else []
        shown += [f"activation={self.activation!r}"] if self.activation is not None else []
        shown += ["running_var_ddof=0"] if self.running_var_ddof == 0 else []
        shown += ["use_running_average=True"] if self.use_running_average else []
        shown += ["sync=True"] if self.sync else []
        return f"BatchNorm({', '.join(shown)})"
