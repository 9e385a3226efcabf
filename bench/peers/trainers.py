"""Other libraries' trainers of the network of section "training", by path."""

from __future__ import annotations

from importlib.util import find_spec

from ...nets.types import HostArray
from ..cases.trainer import Trainer
from .jax_steps import why_no_jax
from .jax_trainer import Jax
from .sklearn_trainer import Sklearn
from .steps import why_missing
from .torch_compile import why_no_compile
from .torch_compiled_trainer import CompiledTorch
from .torch_trainer import Torch

SAME = ("jax step", "jax scan", "torch fused", "torch compile")
"""Those that train the very same network."""

OTHER = "sklearn without batch norm"
PEER_TRAINERS = (*SAME, OTHER)


def why_no_trainer(path: str) -> str:
    """Why this path of PEER_TRAINERS can't train here; "" if it can."""
    if path == OTHER:
        there = find_spec("sklearn") is not None
        return "" if there else 'scikit-learn is missing. Remedy: pip install "onepass[sklearn]"'
    if path.startswith("jax"):
        return why_no_jax()
    return why_no_compile() if path == "torch compile" else why_missing(path, "adam")


def peer_trainer(
    path: str, start: dict[str, HostArray], width: int, classes: int, batch: int, seed: int = 0
) -> Trainer:
    """The trainer of a path of PEER_TRAINERS, which begins with the weights `start`."""
    if path == OTHER:
        return Sklearn(classes, batch, seed)
    if path.startswith("jax"):
        return Jax(start, batch, seed, scan=path == "jax scan")
    kind = CompiledTorch if path == "torch compile" else Torch
    return kind(start, width, classes, batch, seed)
