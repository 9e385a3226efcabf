"""Ranks that train everything there is: mpiexec -n N python ranks_equal.py FOLDER CASE...

Rank 0 writes what each training has left to FOLDER, and says on a line of its own whether all
ranks have the same bits, and the same with their states sharded.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from cases.ranks import CASES, made, seen, trained
from mpi4py import MPI
from onepass.nets import Callback

COMM = MPI.COMM_WORLD


class Bytes(Callback):
    """How many bytes of states this rank has while it trains."""

    def on_end(self, run):
        self.states = sum(each.nbytes for state in run.optimizer.columns()[2:] for each in state)


def digest(found):
    return hashlib.sha256(
        b"".join(name.encode() + array.tobytes() for name, array in sorted(found.items()))
    ).hexdigest()


def one(name, sharded):
    case, watch = CASES[name], Bytes()
    net, optimizer = made(case, seed=0 if COMM.rank == 0 else 100 + COMM.rank)
    options = case.fresh().get("callbacks", [])
    callbacks = [*(options if isinstance(options, list) else [options]), watch]
    history = trained(
        case, net, optimizer, comm=COMM, sharded=sharded, callbacks=callbacks, seed=COMM.rank
    )
    found = seen(net, optimizer, history)
    return found, digest(found), watch.states


if __name__ == "__main__":
    for name in sys.argv[2:]:
        told = {"case": name}
        try:
            (found, whole, _), (_, sharded, states) = one(name, False), one(name, True)
            digests = COMM.allgather((whole, sharded))
            told |= {"alike": len(set(digests)) == 1, "sharded": whole == sharded}
            told["states"] = COMM.allgather(states)
        except Exception as error:  # on all ranks
            told["error"] = f"{type(error).__name__}: {error}"
            found = {}
        if COMM.rank == 0:
            np.savez(Path(sys.argv[1]) / f"{name}.npz", **found)
            print(json.dumps(told), flush=True)
