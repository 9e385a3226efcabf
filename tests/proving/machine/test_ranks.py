"""Ranks with a GPU each, and NCCL itself: `make gpu` runs it, with two where there are two."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import RANKED_LIMIT

from proving.made_up_driver.launching import missing, read, started

WAYS = ("float64", "float32", "sync")


def why_not(ranks, made_up):
    """Why there can't be so many ranks with NCCL here; empty where there can."""
    import cupy

    if made_up:
        return "made-up GPUs have a made-up NCCL, and tests of their own"
    if (count := cupy.cuda.runtime.getDeviceCount()) < ranks:
        return f"{ranks} ranks take {ranks} GPUs, and this machine has {count}"
    from cupy.cuda import nccl

    if not getattr(nccl, "available", True):
        return "CuPy finds no NCCL: pip install nvidia-nccl-cu13, or -cu12"
    return missing()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:\\s*nccl library could not be loaded")
@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_train_with_nccl(request, tmp_path, ranks):
    """Collectives of all lengths; the same bits on all, whole or sharded; the CPU's results. One
    rank alone shows that NCCL takes what it is asked for."""
    if why := why_not(ranks, request.config.getoption("--made-up-gpu")):
        pytest.skip(why)
    cases = ["collectives", *WAYS, "checkpoints"]
    found = read(tmp_path, started(tmp_path, (ranks, None, cases)))
    assert not [case["error"] for case in found.values() if "error" in case]
    assert found["collectives"]["wrong"] == []
    assert found["checkpoints"]["equal"] == [True] * ranks
    for case in WAYS:
        whole, sharded = found[case]["whole"], found[case]["sharded"]
        assert whole["same"]
        assert sharded["same"]
        assert whole["digest"] == sharded["digest"]
        eps = np.finfo("float32" if case == "float32" else "float64").eps
        for what in ("history", "state", "states"):  # a GPU sums in another order in each product
            assert whole[what] <= 10 * RANKED_LIMIT * eps, what
