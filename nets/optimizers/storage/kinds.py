"""Which storage is whose."""

from __future__ import annotations

from collections.abc import Mapping

from ...network.parameters import Parameters
from .flat_storage import FlatStorage
from .separate_storage import SeparateStorage
from .storage import Arrays, Storage


def storage_of(params: Arrays) -> Storage:
    """The storage for what a user gave as `params`; TypeError says what can be given."""
    if isinstance(params, Parameters):
        return FlatStorage(params)
    if isinstance(params, (Mapping, list, tuple)):
        return SeparateStorage(params)
    raise TypeError(
        f"params is a {type(params).__name__}; expected net.parameters(), a list of arrays or a "
        "dict of arrays (put one array into a list: [array])"
    )
