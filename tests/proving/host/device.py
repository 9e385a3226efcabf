"""A GPU engine on the CPU: its own launches, on NumPy arrays, under the public functions.

Only CuPy's module is replaced. For the engine "cupy" its RawKernels are raw.py's and its
ElementwiseKernels threaded.py's, so that grids, blocks and the types of arguments are
proven with the text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from onepass import kernels
from onepass.kernels.compiling.gpu import cuda_launch, first_launch
from onepass.kernels.engine_table import get_engine
from tolerances import DTYPES, GPU_FACTOR

from proving import account as proof
from proving.host import raw as hostcuda_raw
from proving.host.elementwise import on_host
from proving.host.raw import RUNGS, Call
from proving.host.threaded import ElementwiseKernel

STREAM = 7  # CuPy's current stream: an address


@contextmanager
def forgotten(cupy: Any) -> Iterator[None]:
    """`cupy` in the place of CuPy; kernels that were made before are not known, nor afterwards
    those that are made now, and no account is told of them."""
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = cupy
    cuda_launch.forget()
    try:
        with (
            mock.patch.object(cuda_launch, "observers", []),
            mock.patch.object(first_launch, "_compiled", set()),
        ):
            yield
    finally:
        cuda_launch.forget()
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before


@dataclass(frozen=True)
class OnHost:
    """An engine, as conftest.Engine offers it to checks, that runs NumPy arrays.

    Attributes:
        launched: kernel and dtype of the launches so far.
    """

    launched: list[tuple[str, str]] = field(default_factory=list, kw_only=True)

    name: ClassVar[str]
    where: ClassVar[str] = "launch"  # what asks for the engine; here for rules
    dtypes: ClassVar[tuple[str, ...]] = DTYPES

    @property
    def factor(self) -> float:
        return 1.0

    def asarray(self, array: Any) -> Any:
        return on_host(array)

    def to_numpy(self, array: Any) -> Any:
        return np.asarray(array)

    def kernel(self, name: str) -> Callable[..., Any]:
        """The public function `name`, run here."""

        def run(*args: Any, **options: Any) -> Any:
            with self.running():
                return getattr(kernels, name)(*args, engine=self.name, **options)

        return run

    @contextmanager
    def running(self) -> Iterator[None]:
        """Public functions run here."""
        cupy = SimpleNamespace(
            asarray=_read_only,
            empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
            ones=lambda shape, dtype: on_host(np.ones(shape, dtype)),
            zeros=lambda shape, dtype: on_host(np.zeros(shape, dtype)),
            ndarray=type("ndarray", (), {}),  # array_api_compat asks whether an array is one
            cuda=SimpleNamespace(
                get_current_stream=lambda: SimpleNamespace(ptr=STREAM, is_capturing=lambda: False),
                runtime=SimpleNamespace(getDevice=lambda: 0),
            ),
            **self._compilers(),
        )
        find = f"onepass.kernels.{self.where}.find_engine"
        with ExitStack() as stack:
            stack.enter_context(mock.patch(find, return_value=get_engine(self.name)))
            stack.enter_context(forgotten(cupy))
            for patch in self._patches():
                stack.enter_context(patch)
            cuda_launch.observers.append(self._note)
            yield

    def _note(self, engine: str, name: str, like: Any, args: tuple[Any, ...]) -> None:
        self.launched.append((name, like.dtype.name))

    def _compilers(self) -> dict[str, Any]:
        """What else of CuPy there is."""
        return {}

    def _patches(self) -> Iterable[Any]:
        """What is not as it ships."""
        return ()


def poisoned(shape: Any, dtype: Any) -> Any:
    """Memory that nobody has written: NaN, or the largest integer."""
    dtype = np.dtype(dtype)
    return np.full(shape, np.nan if dtype.kind == "f" else np.iinfo(dtype).max, dtype)


def _read_only(array: Any) -> Any:
    """A copy that no kernel may write."""
    copy = on_host(array)
    copy.flags.writeable = False
    return copy


def unchanged(name: str, text: str) -> str:
    return text


def planted(where: str, right: str, wrong: str) -> Callable[[str, str], str]:
    """An edit that plants a mistake in the kernels whose name holds `where`."""

    def edit(name: str, text: str) -> str:
        if where not in name:
            return text
        assert right in text, text
        return text.replace(right, wrong)

    return edit


@dataclass(frozen=True)
class Device(OnHost):
    """How kernels of the engine "cupy" are built and run; here those of the rules.

    Attributes:
        build, order: as raw.py's; "" runs nothing.
        edit: changes a kernel's text, given its name, to plant mistakes.
        threads, blocks: of a block, and of a grid at most.
        reached: arrays whose addresses are in tables of chunks.
        calls: the launches of RawKernels so far.
        threaded: those of ElementwiseKernels, where nothing ran.
    """

    build: str = "exact"
    order: str | int = "forward"
    edit: Callable[[str, str], str] = unchanged
    threads: int = cuda_launch.THREADS
    blocks: int = cuda_launch.MAX_BLOCKS
    reached: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    threaded: list[Call] = field(default_factory=list)

    name: ClassVar[str] = "cupy"

    @property
    def factor(self) -> float:
        return GPU_FACTOR if self.build in ("fma", "ftz") else 1.0

    def prove(self, check: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Hold the engine to the oracle by `check`, which proves the kernels it launches."""
        before = len(self.launched)
        check(self, *args, **options)
        for kernel in self.launched[before:] if self.edit is unchanged else ():
            proof.note(RUNGS[self.build], self.name, *kernel)

    def _compilers(self) -> dict[str, Any]:
        return {"RawKernel": self._raw, "ElementwiseKernel": self._elementwise}

    def _patches(self) -> Iterable[Any]:
        yield mock.patch.multiple(cuda_launch, THREADS=self.threads, MAX_BLOCKS=self.blocks)

    def _raw(self, code: str, name: str) -> Any:
        kernel = raw_kernel(self.edit(name, code), name)

        def launch(grid: Any, block: Any, args: Any) -> None:
            how = {"order": self.order, "reached": tuple(self.reached)}
            self.calls.append(Call(kernel, grid, block, args, **how))
            if self.build:
                kernel(grid, block, args, build=self.build, **how)

        launch.compile = lambda: None  # type: ignore[attr-defined]
        return launch

    def _elementwise(self, **parts: str) -> Any:
        parts["operation"] = self.edit(parts["name"], parts["operation"])
        kernel = ElementwiseKernel(**parts)

        def launch(*args: Any) -> None:
            if self.build:
                kernel(*args, build=self.build, order=self.order)
            else:
                self.threaded.append(kernel.threaded(args, self.order))

        return launch


@cache
def raw_kernel(code: str, name: str) -> hostcuda_raw.RawKernel:
    return hostcuda_raw.RawKernel(code, name)
