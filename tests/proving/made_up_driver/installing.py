"""The made-up GPU under CuPy, from the moment on that anyone imports it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

from .compiling import compile_text
from .libraries import libcublas, libcublaslt, libcuda
from .patching import MISSING, lead_to_the_driver

VARIABLE = "ONEPASS_MADE_UP_GPU"
"""Set for the processes that tests start: site/sitecustomize.py then does as `install`."""

_SITE = str(Path(__file__).with_name("site"))
_SETTINGS = {
    VARIABLE: "1",
    "CUPY_ACCELERATORS": "",  # CUB's kernels are machine code
    "CUPY_CACHE_IN_MEMORY": "1",  # what is on disk is not for GPUs
}
_WITH_RUNTIME = (  # the modules that have a CUDA runtime in them
    "cupy.cuda.cub", "cupy.cuda.thrust", "cupy.cuda.jitify", "cupy.random._generator_api",
)  # fmt: skip


def missing() -> str:
    """Why there can't be a made-up GPU here; empty when there can."""
    for tool in ("g++", "gcc", "nm"):
        if not shutil.which(tool):
            return f"{tool} is not on the PATH"
    for package in ("cupy-cuda13x", "nvidia-cuda-runtime", "nvidia-cuda-nvrtc"):
        try:
            distribution(package)
        except PackageNotFoundError:
            return f"{package} is not installed: onepass[cuda-check] has it"
    return MISSING


def install() -> None:
    """CuPy, once it is imported, finds a made-up GPU; so it does in processes started from here.

    Nothing is done where it was done before.
    """
    if any(isinstance(each, _AtImport) for each in sys.meta_path):
        return
    if "cupy" in sys.modules:
        raise RuntimeError("CuPy was imported before the made-up GPU was there")
    os.environ.update(_SETTINGS)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _SITE not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SITE, *paths]))
    sys.meta_path.insert(0, _AtImport())


class _AtImport(MetaPathFinder):
    """Is asked for every module, and has something to do for some of CuPy's."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "cupy.cuda.nccl":
            _put_nccl_below()
        if name != "cupy" and name not in _WITH_RUNTIME:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                if name == "cupy":
                    _put_below()
        finally:
            sys.meta_path.insert(0, self)
        return spec


class _Loader(Loader):
    """A module's own, and then what can be changed only after it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        found: ModuleType | None = self._loader.create_module(spec)
        return found

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        if module.__name__ == "cupy":
            _replace_compiler()
        else:
            lead_to_the_driver(str(module.__file__))


def _put_below() -> None:
    """The libraries that CuPy calls, and its own runtime led to them."""
    libcuda()
    libcublaslt()
    libcublas()
    from cupy_backends.cuda.api import runtime

    lead_to_the_driver(runtime.__file__)


def _put_nccl_below() -> None:
    from . import nccl

    nccl.install()


def _replace_compiler() -> None:
    from cupy.cuda import compiler

    compiler._compile_using_nvrtc_no_warning = compile_text
