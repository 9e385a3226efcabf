"""AMSGrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .adam import Adam


class AMSGrad(Adam):
    """Adam whose steps are divided by the largest second moment so far.

    v_max = max(v_max, v); p -= lr mhat / (sqrt(v_max / (1 - b2^t)) + eps), as in PyTorch and Keras.

    Source: Reddi, Kale and Kumar 2018, algorithm 2.
    """

    __slots__ = ()
    rule = "amsgrad"
    states = ("m", "v", "v_max")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As of every optimizer; a checkpoint whose maximum is of another kind is refused.

        Raises:
            ValueError: the checkpoint was made when v_max was the maximum of the corrected average.
        """
        given = state if isinstance(state, Mapping) else {}
        hyper = given.get("hyper")
        ours = given.get("optimizer") == type(self).__name__
        if ours and isinstance(hyper, Mapping) and "decoupled" not in hyper:
            raise ValueError(_OLD_MAXIMA)
        super().load_state_dict(state)


_OLD_MAXIMA = (
    "state is of an AMSGrad that kept the maximum of the corrected average, v / (1 - b2^t), as "
    "'v_max'; expected that of v itself, which is far smaller, so that this one's steps would stay "
    "too small. To go on, let the maximum begin anew: put copies of state['state']['v'] in place "
    "of 'v_max', and False for state['hyper']['decoupled']. From a file, take the network alone: "
    "net.load_state_dict takes its arrays, which safetensors.numpy.load_file reads, and a new "
    "AMSGrad goes on"
)
