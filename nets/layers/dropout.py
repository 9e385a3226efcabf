"""The dropout layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...backend.checks.numbers import random_word
from ...kernels import dropout, validate
from ..state_checks import check_keys
from ..types import Array
from .layer import Layer, Recorded


class Dropout(Layer):
    """Inverted dropout: in training each element is zeroed at random, and the rest scaled up.

        y = x mask / keep_prob        dx = dy mask / keep_prob        mask_i = 1 or 0

    mask_i is 1 with probability keep_prob, so that the mean of y over all masks is x, and nothing
    is to be scaled afterwards: `forward(x)` without train is the identity and returns x itself, not
    a copy. x may have any shape.

    Args:
        keep_prob: probability that an element is kept, in (0, 1]; each layer has its own. PyTorch
            and Keras take that of dropping, 1 - keep_prob.

    Every forward(train=True) draws the next mask, and backward uses the mask of its forward without
    having stored it. The masks follow from the layer's seed and the number of the draw alone: they
    are the same on CPU and GPU and in every dtype, and a network that is copied, unpickled or moved
    goes on with those that it would have drawn. `state()` is {"seed": ..., "draw": ...}, draw being
    the number of the next. A network gives each layer a seed of its own; before that it is 0.

    Raises:
        TypeError, ValueError: `keep_prob` is not a number in (0, 1]; in backward, dy has another
            shape than x.

    Source: Srivastava et al. (2014). Formula and conventions: `kernels.dropout`.
    """

    stochastic = True

    def __init__(self, keep_prob: float = 0.5) -> None:
        self.keep_prob = validate("dropout", keep_prob=keep_prob)["keep_prob"]
        self._seed = self._draw = 0

    def seed(self, seed: int) -> None:
        """Draw the masks of that seed from now on, the first one next."""
        self._seed, self._draw = random_word("seed", seed), 0

    def state(self) -> dict[str, int]:
        return {"seed": self._seed, "draw": self._draw}

    def load_state(self, state: Mapping[str, int]) -> None:
        what = f"state of {self!r}"
        found = check_keys(state, ("seed", "draw"), what)
        seed, draw = (random_word(f"{what}[{key!r}]", found[key]) for key in ("seed", "draw"))
        self._seed, self._draw = seed, draw

    def why_no_graph(self) -> str:
        own = type(self).forward is Dropout.forward and type(self).state is Dropout.state
        return "" if own else super().why_no_graph()  # the number of the draw is on the GPU

    def forward(self, x: Array, train: bool = False) -> Array:
        if not train:
            return x
        y = dropout(x, self.keep_prob, seed=self._seed, draw=self._draw)
        self._saved = x.shape, self.keep_prob, {"seed": self._seed, "draw": self._draw}
        self._draw += 1
        return y

    def backward(self, dy: Array, input_grad: bool = True) -> Array:
        shape, keep_prob, mask = self.saved
        if dy.shape != shape:
            raise ValueError(f"dy of {self!r} has shape {dy.shape}; expected {shape}")
        return dropout(dy, keep_prob, **mask) if input_grad else None

    def record(self, recorder: Any, x: Array, train: bool = True) -> tuple[Array, Recorded]:
        keep_prob, mask = self.keep_prob, {"seed": self._seed, "draw": self._draw}
        if not train:
            return x, lambda dy, input_grad: dy
        y = recorder.empty(*x.shape)
        masks = [recorder.dropout(x, keep_prob, **mask, out=y)]

        def backward(dy: Array, input_grad: bool) -> Array:
            recorder.release(y)
            masks.append(recorder.dropout(dy, keep_prob, **mask, out=dy))
            return dy

        def start() -> None:
            for each in masks:
                each.start(self._seed, self._draw)

        def ended(steps: int) -> None:
            self._draw += steps

        recorder.around(start, ended)

        return y, backward

    def __repr__(self) -> str:
        return f"Dropout({self.keep_prob})"
