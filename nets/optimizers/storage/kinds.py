"""Which storage is whose."""

from __future__ import annotations

from collections.abc import Mapping

from ...network.parameters import Parameters
from .each_storage import EachStorage
from .flat_storage import FlatStorage
from .separate_storage import SeparateStorage
from .storage import Arrays, Storage


def storage_of(params: Arrays, each: bool = False) -> Storage:
    """The storage for what a user gave as `params`, with a target for `each` array of a network if
    that is asked for; TypeError says what can be given."""
    if isinstance(params, Parameters):
        return EachStorage(params) if each else FlatStorage(params)
    if isinstance(params, (Mapping, list, tuple)):
        return SeparateStorage(params)
    raise TypeError(
        f"params is a {type(params).__name__}; expected net.parameters(), a list of arrays or a "
        "dict of arrays (put one array into a list: [array])"
    )
