"""A program for `mpiexec`: ranks with a made-up GPU each train, and tell what came out.

    mpiexec -n 2 python -m proving.made_up_driver.ranks FOLDER [CASE ...]

Rank 0 writes FOLDER/found.json: case -> what `CASES[case]` gave. A case takes the folder, and
raises on all ranks or on none; what it raises is told under "error".
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from onepass.nets import (
    L2,
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    Dense,
    Dropout,
    LossScaler,
    Momentum,
    ReLU,
    Run,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    local_device,
)
from onepass.nets.parallel.cupy_nccl import NcclCommunicator
from onepass.nets.parallel.shards import shards

from proving.made_up_driver import nccl
from proving.made_up_driver.training import blobs

WORLD = MPI.COMM_WORLD
GPU = f"cuda:{WORLD.rank}"
DTYPES = "float16", "float32", "float64"


def same(*arrays: Any) -> bool:
    """Whether all ranks have the same bits."""
    digest = sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return len(set(WORLD.allgather(digest.hexdigest()))) == 1


def off(found: Any, wanted: Any) -> float:
    """The largest difference, as a part of the largest value; of all ranks."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if not found.size:
        return 0.0
    own = np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300)
    return float(max(WORLD.allgather(float(own))))


def raised(call: Callable[[], Any]) -> list[str]:
    """What each rank raises."""
    try:
        call()
    except Exception as error:
        own = f"{type(error).__name__}: {error}"
    else:
        own = ""
    return WORLD.allgather(own)


# --- collectives ----------------------------------------------------------------------------------
def collectives(folder: Path) -> dict[str, Any]:
    """Those of `Communicator`, of all lengths about the parts' and of each dtype."""
    import cupy

    carrier, wrong = NcclCommunicator(WORLD, WORLD.rank), []
    with cupy.cuda.Device(WORLD.rank):
        for dtype in DTYPES:
            for size in (0, 1, 3, 8, 11, 12, 13, 4 * WORLD.size, 100):
                given = np.random.default_rng(size).standard_normal((WORLD.size, size))
                given = given.astype(dtype)
                array, bounds = cupy.asarray(given[WORLD.rank]), shards(size, WORLD.size)
                own = slice(bounds[WORLD.rank], bounds[WORLD.rank + 1])
                carrier.sum_parts(array, bounds)
                total = given.astype(np.float64).sum(axis=0)
                limit = 4 * np.finfo(dtype).eps * np.abs(given).astype(np.float64).sum(axis=0)
                if (np.abs(array.get() - total)[own] > limit[own]).any():
                    wrong.append(f"sum_parts {dtype} {size}")
                carrier.gather_parts(array, bounds)
                if not same(array.get()) or (np.abs(array.get() - total) > limit).any():
                    wrong.append(f"gather_parts {dtype} {size}")
                part = cupy.asarray(given[WORLD.rank])
                if not np.array_equal(carrier.gathered(part).get(), given):
                    wrong.append(f"gathered {dtype} {size}")
                carrier.take_from_first(part)
                if not np.array_equal(part.get(), given[0]):
                    wrong.append(f"take_from_first {dtype} {size}")
        table = cupy.full((3, 4), WORLD.rank, "float32")[:, ::2]  # with gaps
        carrier.take_from_first(table)
        scalar = cupy.asarray(np.float32(WORLD.rank))
        carrier.take_from_first(scalar)
        if table.get().any() or float(scalar) or carrier.gathered(scalar).shape != (WORLD.size,):
            wrong.append("gaps, or no axis")
    with cupy.cuda.Device((WORLD.rank + 1) % WORLD.size):
        astray = cupy.zeros(8)
        refused = raised(lambda: carrier.sum_parts(astray, shards(8, WORLD.size)))
    refused += raised(lambda: carrier.gather_parts(np.zeros(8), shards(8, WORLD.size)))
    carrier.close()
    carrier.close()
    return {"wrong": wrong, "refused": refused, "left": len(nccl.state.handles)}


def mistakes(folder: Path) -> dict[str, list[str]]:
    """What a communicator is asked for wrongly -> what NCCL says, on each rank."""
    import cupy
    from cupy.cuda import nccl as real

    with cupy.cuda.Device(WORLD.rank):
        name = WORLD.bcast(real.get_unique_id() if WORLD.rank == 0 else None)
        carrier = real.NcclCommunicator(WORLD.size, name, WORLD.rank)
        x, y = cupy.zeros(64, "float32"), cupy.zeros(64, "float32")
        at, kind, stream = x.data.ptr, real.NCCL_FLOAT32, cupy.cuda.get_current_stream().ptr
        off_by = {0: 8, 1: 9}.get(WORLD.rank, 8)
        other = cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.Device((WORLD.rank + 1) % WORLD.size):
            far = cupy.zeros(64, "float32")
        order = [
            lambda: carrier.bcast(at, 4, kind, 0, stream),
            lambda: carrier.allGather(at, y.data.ptr, 4, kind, stream),
        ]

        def two() -> None:
            for call in order if WORLD.rank else order[::-1]:
                call()

        def unended() -> None:
            """CuPy looks at no status of `destroy`: this one tells by leaving the handle."""
            real.groupStart()
            handles = len(nccl.state.handles)
            carrier.destroy()
            real.groupEnd()
            assert len(nccl.state.handles) < handles, "it was refused"

        def grouped() -> None:
            """Nothing is done before the end of the outermost group."""
            x[...] = WORLD.rank + 1
            seen = []
            real.groupStart()
            real.groupStart()
            carrier.bcast(at, 64, kind, 0, stream)
            seen.append(float(x[0]))
            real.groupEnd()
            seen.append(float(x[0]))
            real.groupEnd()
            assert (seen, float(x[0])) == ([WORLD.rank + 1] * 2, 1)
            raise AssertionError("as it should be")

        found = {
            "count": raised(lambda: carrier.bcast(at, off_by, kind, 0, stream)),
            "type": raised(lambda: carrier.bcast(at, 4, kind + WORLD.rank % 2, 0, stream)),
            "root": raised(lambda: carrier.bcast(at, 4, kind, WORLD.rank % 2, stream)),
            "order": raised(two),
            "one rank's": raised(lambda: carrier.bcast(at, 4, kind, 5 * WORLD.rank, stream)),
            "no root": raised(lambda: carrier.bcast(at, 4, kind, WORLD.size, stream)),
            "no type": raised(lambda: carrier.bcast(at, 4, 17, 0, stream)),
            "operation": raised(lambda: carrier.reduce(at, at, 4, kind, real.NCCL_MAX, 0, stream)),
            "stream": raised(lambda: carrier.bcast(at, 4, kind, 0, other.ptr)),
            "device": raised(lambda: carrier.bcast(far.data.ptr, 4, kind, 0, stream)),
            "host": raised(lambda: carrier.bcast(np.zeros(4, "f").ctypes.data, 4, kind, 0, stream)),
            "behind": raised(lambda: carrier.bcast(at, 100_000, kind, 0, stream)),
            "unaligned": raised(lambda: carrier.bcast(at + 2, 4, kind, 0, stream)),
            "overlap": raised(
                lambda: carrier.reduceScatter(at, at + 4 * (8 * WORLD.rank + 1), 8, kind, 0, stream)
            ),
            "overlap gather": raised(lambda: carrier.allGather(at + 4, at, 8, kind, stream)),
            "group": raised(real.groupEnd),
            "grouped": raised(grouped),
            "not there": raised(lambda: carrier.allReduce(at, at, 4, kind, 0, stream)),
            "unended": raised(unended),
        }
        nccl.state.handles.clear()  # what "unended" has left
        found["destroyed"] = raised(lambda: carrier.bcast(at, 4, kind, 0, stream))
        found["name"] = raised(
            lambda: real.NcclCommunicator(WORLD.size, real.get_unique_id(), WORLD.rank)
        )
    with cupy.cuda.Device(0):
        name = WORLD.bcast(real.get_unique_id() if WORLD.rank == 0 else None)
        found["one GPU"] = raised(lambda: real.NcclCommunicator(WORLD.size, name, WORLD.rank))
    from proving.made_up_driver.counting import refused

    return {**found, "refused": WORLD.allgather(refused())}


# --- training -------------------------------------------------------------------------------------
def layers(sync: bool) -> list[Any]:
    first = [Dense(12, 16, bias=False), BatchNorm(16, sync=sync), ReLU(), Dropout(0.8)]
    return [*first, Dense(16, 7), ReLU(), Dense(7, 4)]


def trained(device: str, dtype: str, sharded: bool, sync: bool = False, **options: Any) -> Any:
    """The history, the state of the network, and the states of its optimizer."""
    net = Sequential(*layers(sync), seed=3, dtype=dtype, device=device)
    make = options.pop("optimizer", lambda params: Adam(params, lr=0.01, clip_norm=0.5))
    optimizer = make(net.parameters())
    x, y = blobs(90, 12, classes=4)
    history = fit(
        net,
        (x[:67], y[:67]),  # 16 to a batch, 3 to the last
        validation=(x[67:], y[67:]),
        loss=SoftmaxCrossEntropy(),
        optimizer=optimizer,
        **{"epochs": 2, "batch_size": 16, "regularizer": L2(0.05)} | options,
        progress=False,
        seed=5,
        comm=WORLD,
        sharded=sharded,
    )
    states = optimizer.state_dict()["state"].values()
    return history, net.state_dict(), [array for each in states for array in each.values()]


def compared(dtype: str, sharded: bool, stream: Any = None, **options: Any) -> dict[str, Any]:
    """The made-up GPUs' ranks beside the CPU's."""
    before = len(nccl.state.log)
    with stream() if stream else nullcontext():
        history, state, states = trained(GPU, dtype, sharded, **options)
    asked = nccl.state.log[before:]
    wanted, there, held = trained("cpu", dtype, sharded, **options)
    figures = [history.loss, history.val_loss, history.metric]
    return {
        "history": off(figures, [wanted.loss, wanted.val_loss, wanted.metric]),
        "state": max(off(state[name], there[name]) for name in state),
        "states": max(off(a, b) for a, b in zip(states, held, strict=True)),
        "same": same(*figures, *state.values(), *states),
        "path": history.path,
        "digest": sha256(b"".join(a.tobytes() for a in (*state.values(), *states))).hexdigest(),
        "left": len(nccl.state.handles),
        "asked": {name: asked.count(name) for name in sorted(set(asked))},
    }


def _momentum(params: Any) -> Any:
    return Momentum(params, lr=0.05, nesterov=True)


def _case(dtype: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    """Both ways: whole states, and sharded."""

    def run(folder: Path) -> dict[str, Any]:
        return {
            name: compared(dtype, sharded, **options)
            for name, sharded in (("whole", False), ("sharded", True))
        }

    return run


def scaled(folder: Path) -> dict[str, Any]:
    """float16; the first scale is so large that steps are left out."""
    found = {}
    for name, sharded in (("whole", False), ("sharded", True)):
        scalers = [LossScaler(init_scale=2.0**20, growth_interval=4) for _ in range(2)]
        options = {"epochs": 3, "regularizer": (), "optimizer": _momentum}
        pairs = [
            trained(device, "float16", sharded, loss_scaler=scaler, **options)
            for device, scaler in zip((GPU, "cpu"), scalers, strict=True)
        ]
        (history, state, states), (wanted, there, _) = pairs
        found[name] = {
            "history": off(history.loss, wanted.loss),
            "state": max(off(state[each], there[each]) for each in state),
            "scales": WORLD.allgather([scaler.scale for scaler in scalers]),
            "same": same(history.loss, *state.values(), *states),
        }
    return found


def streams(folder: Path) -> dict[str, Any]:
    """On a stream of the caller's own."""
    import cupy

    @contextmanager
    def own() -> Iterator[None]:
        with cupy.cuda.Device(WORLD.rank), cupy.cuda.Stream(non_blocking=True):
            yield

    return {"whole": compared("float32", False, stream=own)}


def checkpoints(folder: Path) -> dict[str, Any]:
    """A run that goes on from its file is the run that was never stopped, bit for bit."""
    path = folder / "run.safetensors"
    _, state, states = trained(GPU, "float32", True, epochs=3, optimizer=_momentum)
    trained(GPU, "float32", True, callbacks=Checkpoint(path), optimizer=_momentum)
    WORLD.barrier()
    saved = load(path, device=GPU)
    x, y = blobs(90, 12, classes=4)
    fit(
        saved.net, (x[:67], y[:67]), validation=(x[67:], y[67:]), loss=SoftmaxCrossEntropy(),
        optimizer=saved.optimizer, epochs=3, batch_size=16, regularizer=L2(0.05), progress=False,
        seed=5, comm=WORLD, sharded=True, resume=saved,
    )  # fmt: skip
    found = saved.net.state_dict()
    own = [a for each in saved.optimizer.state_dict()["state"].values() for a in each.values()]
    return {
        "equal": WORLD.allgather(
            all(np.array_equal(found[name], state[name]) for name in state)
            and all(np.array_equal(a, b) for a, b in zip(own, states, strict=True))
        ),
        "files": sorted(each.name for each in folder.glob("run*")),
    }


# --- what goes wrong ------------------------------------------------------------------------------
def _started(device: str = GPU) -> list[str]:
    return raised(lambda: trained(device, "float32", False, epochs=1))


def refusals(folder: Path) -> dict[str, Any]:
    """Said on all ranks, of which none waits; and afterwards they train."""
    import cupy.cuda.nccl as cupys

    found = {
        "one GPU": _started("cuda:0"),
        "GPU and CPU": _started("cpu" if WORLD.rank else GPU),
    }
    if WORLD.rank == 1:
        cupys.available = False
    found["no NCCL"] = _started()
    cupys.available = True
    if WORLD.rank == 0:
        nccl.state.fails["getUniqueId"] = "no socket"
    found["no name"] = _started()
    nccl.state.fails.clear()
    nccl.state.fails["reduceScatter"] = "a link is down"
    carrier = NcclCommunicator(WORLD, WORLD.rank)
    import cupy

    with cupy.cuda.Device(WORLD.rank):
        found["a call"] = raised(lambda: carrier.sum_parts(cupy.zeros(64), shards(64, WORLD.size)))
        depth = nccl.state.depth
        nccl.state.fails.clear()
        carrier.sum_parts(cupy.zeros(64), shards(64, WORLD.size))
    carrier.close()
    wild = {"optimizer": lambda params: SGD(params, lr=1e30), "regularizer": ()}
    found["diverged"] = raised(lambda: trained(GPU, "float32", True, **wild))
    return {
        **found, "depth": depth, "handles": len(nccl.state.handles), "afterwards": _started()
    }  # fmt: skip


def devices(folder: Path) -> dict[str, Any]:
    """`local_device` on each rank."""
    found = {
        given: WORLD.allgather(local_device(WORLD, given))
        for given in ("auto", "cuda", "cpu", "cuda:1")
    }
    carrier = NcclCommunicator(WORLD, WORLD.rank)
    found["a Communicator"] = WORLD.allgather(local_device(carrier))
    carrier.close()
    if WORLD.rank:
        os.environ["ONEPASS_DEVICE"] = "cpu"
    found["one rank is told otherwise"] = WORLD.allgather(local_device(WORLD))
    os.environ.pop("ONEPASS_DEVICE", None)
    return found


def train_there(folder: Path) -> list[Any]:
    """On what `local_device` gives."""
    device = local_device(WORLD)
    _, state, _ = trained(device, "float32", False, epochs=1)
    return [WORLD.allgather(device), same(*state.values())]


def init_fails(folder: Path) -> None:
    """NCCL begins on all ranks but the last, which ends them."""
    if WORLD.rank == WORLD.size - 1:
        nccl.state.fails["initRank"] = "no memory for channels"
    NcclCommunicator(WORLD, WORLD.rank)


def call_fails(folder: Path) -> None:
    """A sum of the second epoch, on the last rank alone."""

    class Fails(Callback):
        def on_epoch(self, run: Run) -> None:
            if WORLD.rank == WORLD.size - 1:
                nccl.state.fails["reduceScatter"] = "a link is down"

    trained(GPU, "float32", False, epochs=3, callbacks=Fails())


CASES: dict[str, Callable[[Path], Any]] = {
    "collectives": collectives,
    "mistakes": mistakes,
    "float64": _case("float64"),
    "float32": _case("float32"),
    "accumulate": _case("float64", accumulate=3, batch_size=18),
    "sync": _case("float64", sync=True),
    "scaled": scaled,
    "streams": streams,
    "checkpoints": checkpoints,
    "refusals": refusals,
    "devices": devices,
    "train there": train_there,
    "init fails": init_fails,
    "call fails": call_fails,
}

ALONE = "train there", "init fails", "call fails"  # run only where they are named


def main(folder: Path, names: list[str]) -> None:
    found = {}
    for name in names or [each for each in CASES if each not in ALONE]:
        try:
            found[name] = CASES[name](folder)
        except Exception:
            found[name] = {"error": traceback.format_exc()}
            print(f"{name}, rank {WORLD.rank}: {found[name]['error']}", file=sys.stderr, flush=True)
        if len(set(WORLD.allgather("error" in found[name]))) > 1:
            WORLD.Abort(1)
    if WORLD.rank == 0:
        (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
