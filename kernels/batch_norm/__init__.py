"""Batch normalization, forward and backward: layout once (layout.py), then cpu/ and gpu/.

The arithmetic stands once, in formula.py; "array" alone spells the paper out again, as the
reference. What shaped the fused engine on the CPU ("numba"), and what was tried and dropped:

- x is read for its sums once, not once for the mean and again for the variance, and a second time
  to be normalized. A task is a block of channels whose slab fits a core's cache, so that the second
  read costs no memory traffic. Few channels with large slabs are cut into parts of rows as well,
  since a thread a channel would leave threads without work; then everything is read twice.
- Runs of a channel shorter than 256 values are not walked one by one, which leaves the SIMD units
  idle at both ends of each run, but whole blocks of channels at a time, one column for each place.
  Channels-last is the extreme case, with one value a run; short rows are joined into long ones.
- The sums go through memory once for four rows in the forward, two in the backward: four brought
  no more there.
- Storing y and dx past the caches (streaming stores) was slower: a burst of them waits for memory
  that ordinary stores overlap with arithmetic.
- Threads share arrays from 1 MB; below, waking them took what they gained.
- What goes through the array again begins at the end of each thread's share, where the pass before
  it ended, and which a cache still holds.

A residual is added where y is written, before the ReLU. Its gradient is dz, dy where y > 0: the
pass that sums writes it, and the one that writes dx reads it in place of dy, and y no more. Without
a residual the compiled code has nothing of it (cpu/numba_beside.py, gpu/cuda_text.py).

Where a batch lies on several ranks (merging.py, over_ranks.py), the passes of an engine are called
one by one, and what ranks tell each other lies between them.
"""

from .backward import batch_norm_backward
from .contract import Saved
from .folding import fold_batch_norm
from .forward import batch_norm_forward
from .inference import batch_norm_inference
from .inference_backward import batch_norm_inference_backward

__all__ = [
    "Saved",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "fold_batch_norm",
]
