"""Why a path can't run here."""

from __future__ import annotations

from importlib.util import find_spec

from ... import kernels
from ...backend import describe_devices

_PACKAGES = ("torch", "deepspeed", "jax")
EXTRA = 'pip install "onepass[peers]"'


def why_missing(path: str, device: str) -> str:
    """Why `path` can't run on `device` of this machine: GPU, engine, package; "" if it can."""
    if device != "cpu" and (reason := _why_no_gpu()):
        return reason
    if path in kernels.engines():
        return kernels.engines()[path].reason
    package = path.partition(" ")[0]
    if package in _PACKAGES and find_spec(package) is None:
        return f"{package} is not installed: {EXTRA}"
    if package == "torch" and device != "cpu":
        return why_no_gpu_in_torch()
    return ""


def _why_no_gpu() -> str:
    gpus = [status for status in describe_devices() if status.device != "cpu"]
    if any(status.available for status in gpus):
        return ""
    return next((status.reason for status in gpus), "no GPU was found")


def why_no_gpu_in_torch() -> str:
    """Why PyTorch, which is installed, can use no GPU; "" if it can."""
    import torch

    usable = torch.cuda.is_available()
    return "" if usable else f"PyTorch {torch.__version__} has no usable GPU"
