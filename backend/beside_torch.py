"""Work on PyTorch's tensors of a GPU, in one order with PyTorch's own work on them.

Kernels run on CuPy's current stream, and PyTorch on its own, which may wait for no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from array_api_compat import is_torch_array


class BesideTorch:
    """A block that begins, on the GPU, after what PyTorch was asked for and ends before what it is
    asked for next, on the streams that are PyTorch's and CuPy's current ones where it begins.

    Nothing waits on the CPU. Where both are one stream, as the default ones are, nothing is done.
    """

    __slots__ = ("_device", "_streams")

    def __init__(self, device: int) -> None:
        self._device = device
        self._streams: tuple[Any, Any] | None = None

    def __enter__(self) -> None:
        import cupy
        import torch

        with cupy.cuda.Device(self._device):
            ours = cupy.cuda.get_current_stream()
            theirs = cupy.cuda.Stream.from_external(
                _Stream(torch.cuda.current_stream(self._device).cuda_stream)
            )
            self._streams = None if theirs.ptr == ours.ptr else (ours, theirs)
            if self._streams is not None:
                ours.wait_event(theirs.record())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import cupy

        if self._streams is not None:
            (ours, theirs), self._streams = self._streams, None
            with cupy.cuda.Device(self._device):
                theirs.wait_event(ours.record())

    def __reduce__(self) -> tuple[Any, ...]:
        return BesideTorch, (self._device,)


class _Stream:
    """A stream by its address, in CUDA's protocol, which older PyTorch's own do not speak."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address


def beside_torch(values: Iterable[Any]) -> BesideTorch | None:
    """The block for work on these, where any is a tensor of PyTorch's on a GPU."""
    for value in values:
        if is_torch_array(value) and value.is_cuda:
            return BesideTorch(value.get_device())
    return None
