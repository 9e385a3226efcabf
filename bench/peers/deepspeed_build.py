"""DeepSpeed's kernels for the CPU, which it compiles from C++ when they are first used.

The compiler runs in a process of its own, with a time limit. This process only loads the result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .undisturbed import undisturbed

LIMIT = 300.0
"""Seconds that the compiler may take for one kernel; two cores take about 30."""

_BUILDERS = {"adam": "CPUAdamBuilder", "adagrad": "CPUAdagradBuilder"}
_OPTIMIZERS = {"adam": "DeepSpeedCPUAdam", "adagrad": "DeepSpeedCPUAdagrad"}


def lean(builder: Any) -> Any:
    """A builder of DeepSpeed's that compiles the same in a third of the time: without debug
    information, without PyTorch's headers for networks in C++, which it does not use, and all its
    files as one, so that the compiler reads headers once."""
    made = builder()
    its_own, (first, *others) = made.cxx_args, made.sources()

    def cxx_args() -> list[str]:
        included = [part for each in others for part in ("-include", made.deepspeed_src_path(each))]
        plain = [each for each in its_own() if each != "-g"]
        return [*plain, "-DTORCH_INDUCTOR_CPP_WRAPPER", *included]

    made.cxx_args, made.sources = cxx_args, lambda: [first]
    return made


@cache
def load_deepspeed(kernel: str) -> tuple[Any, str]:
    """(DeepSpeed's optimizer class for `kernel`, "adam" or "adagrad"; why there is none, or "").

    The first call compiles, which takes a while; PyTorch keeps the result on disk.
    """
    if find_spec("deepspeed") is None:
        return None, 'deepspeed is missing. Remedy: pip install "onepass[peers]"'
    if reason := _compile(kernel):
        return None, f"deepspeed is installed, but its kernel can't be compiled: {reason}"
    try:
        with undisturbed(**_settings()):
            builders = import_module("deepspeed.ops.op_builder.cpu")
            lean(getattr(builders, _BUILDERS[kernel])).load()
            return getattr(import_module(f"deepspeed.ops.{kernel}"), _OPTIMIZERS[kernel]), ""
    except Exception as error:  # whatever an import or a loader raises, the path is skipped
        return None, f"deepspeed is installed, but can't be loaded: {error}"


def _settings() -> dict[str, str]:
    """Environment in which DeepSpeed takes the CPU, and in which ninja is found."""
    settings = {} if "deepspeed" in sys.modules else {"DS_ACCELERATOR": "cpu"}
    folders = [os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")]
    if find_spec("ninja") is not None:
        folders.append(import_module("ninja").BIN_DIR)
    return {**settings, "PATH": os.pathsep.join(folders)}


def _compile(kernel: str, limit: float = LIMIT) -> str:
    """Compile where that has not been done; why it failed, or ""."""
    program = (
        f"from deepspeed.ops.op_builder.cpu import {_BUILDERS[kernel]} as Builder\n"
        f"from {__name__} import lean\n"
        "try:\n"
        "    lean(Builder).load()\n"
        "except Exception as error:\n"
        "    cause = error.__cause__ or error\n"
        "    raise SystemExit(f'{type(cause).__name__}: {error}')\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_settings(), "DS_ACCELERATOR": "cpu"},
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
            except BaseException as error:  # an interrupt too: the compiler must not stay behind
                _end(process)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return (
                    f"it took longer than {limit:g} s. Where an earlier run was interrupted, "
                    f"remove the file cpu_{kernel}/lock from PyTorch's folder of extensions "
                    "(TORCH_EXTENSIONS_DIR, or ~/.cache/torch_extensions)"
                )
        return "" if code == 0 else _told(log.read_text("utf-8", "replace"), code)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with its children: ninja and the compiler."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _told(log: str, code: int) -> str:
    """The line of a failed run that says most, or the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line.lower() or "not found" in line]
    return (telling or lines or [f"exit code {code}"])[-1][:300]
