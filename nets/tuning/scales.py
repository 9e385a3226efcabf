"""What hyperparameters are drawn from at random: each on the scale on which it matters."""

from __future__ import annotations

from typing import Any

from scipy.stats import loguniform
from sklearn.utils import check_random_state

from ...backend.checks.numbers import count, positive

Pair = tuple[int, int]


def log_uniform(low: float, high: float) -> Any:
    """Numbers whose logarithm is uniform: as many from 0.001 to 0.01 as from 0.01 to 0.1.

    For learning rates and regularization, such as log_uniform(1e-4, 1). It is
    scipy.stats.loguniform, for the `param_distributions` of scikit-learn's searches.

    Raises:
        TypeError, ValueError: not 0 < low < high.
    """
    return loguniform(*_ends(low, high))


class Distribution:
    """Something to draw from that can be compared, copied and pickled."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


class OneMinusLogUniform(Distribution):
    """Numbers b whose 1 - b is log-uniform: as many from 0.9 to 0.99 as from 0.99 to 0.999.

    For the weight of the past in exponentially weighted averages, which reach back over about
    1 / (1 - b) values: `one_minus_log_uniform(1e-3, 1e-1)` is a momentum of 0.9 to 0.999.

    Args:
        low, high: ends of 1 - b, 0 < low < high < 1.

    Raises:
        TypeError, ValueError: they are something else.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = _ends(low, high)
        if self.high >= 1:
            raise ValueError(f"high is {high!r}; expected less than 1: it is that of 1 - b")

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """A number, or an array of that size."""
        shape = () if size is None else size
        drawn = 1 - loguniform(self.low, self.high).rvs(size=shape, random_state=random_state)
        return float(drawn) if size is None else drawn

    def support(self) -> tuple[float, float]:
        """The smallest and the largest b."""
        return 1 - self.high, 1 - self.low


def one_minus_log_uniform(low: float, high: float) -> OneMinusLogUniform:
    """`OneMinusLogUniform(low, high)`: numbers b whose 1 - b is log-uniform on [low, high]."""
    return OneMinusLogUniform(low, high)


class LayerSizes(Distribution):
    """Hidden layers as a tuple of units: how many, and the units of each, are uniform integers.

    Args:
        layers: fewest and most layers, such as (1, 3).
        units: fewest and most units of a layer, such as (50, 100).

    Raises:
        TypeError, ValueError: they are no such pairs.
    """

    def __init__(self, layers: Pair, units: Pair) -> None:
        self.layers, self.units = _counts("layers", layers), _counts("units", units)

    def rvs(self, random_state: Any = None) -> tuple[int, ...]:
        """A tuple of units."""
        (fewest, most), (low, high) = self.layers, self.units
        random = check_random_state(random_state)
        layers = random.randint(fewest, most + 1)
        return tuple(map(int, random.randint(low, high + 1, size=layers)))


def _ends(low: float, high: float) -> tuple[float, float]:
    ends = positive("low", low), positive("high", high)
    if ends[0] >= ends[1]:
        raise ValueError(f"low is {low!r} and high is {high!r}; expected low < high")
    return ends


def _counts(name: str, pair: Any) -> Pair:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{name} is {pair!r}; expected the fewest and the most, such as (1, 3)")
    low, high = (count(f"{name}[{k}]", value) for k, value in enumerate(pair))
    if low > high:
        raise ValueError(f"{name} is {pair!r}; expected the fewest first")
    return low, high
