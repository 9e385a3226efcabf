"""Batch normalization, forward and backward: layout once, then one file an engine."""

from .backward import batch_norm_backward
from .base import Saved
from .forward import batch_norm_forward
from .inference import batch_norm_inference

__all__ = ["Saved", "batch_norm_backward", "batch_norm_forward", "batch_norm_inference"]
