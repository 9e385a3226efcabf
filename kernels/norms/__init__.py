"""Layer norm, RMS norm and group norm, a residual before and an activation after, in one pass.

formula.py is the arithmetic, norm.py puts it into `Rows` (../rows/), one file each is a norm's
public functions.
"""

from .group_norm import group_norm_backward, group_norm_forward
from .layer_norm import layer_norm_backward, layer_norm_forward
from .rms_norm import rms_norm_backward, rms_norm_forward

__all__ = [
    "group_norm_backward",
    "group_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
]
