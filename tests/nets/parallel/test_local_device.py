"""Which GPU each rank of a machine takes; on GPUs proving/made_up_driver/test_nccl.py tests it."""

from __future__ import annotations

import threading

import pytest
from onepass import use_device
from onepass.backend.devices import DeviceStatus
from onepass.nets import Communicator, local_device
from onepass.nets.parallel import local_device as module
from onepass.nets.parallel.local_device import shared_out


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([], []),
        ([("a", "xy")] * 2, [0, 1]),  # all see all
        ([("a", "x"), ("a", "y"), ("b", "x")], [0, 0, 0]),  # each sees one
        ([("a", "xy"), ("b", "xy"), ("a", "xy"), ("b", "xy")], [0, 0, 1, 1]),  # two machines
        ([("a", "x")] * 3, [0, None, None]),  # more ranks than GPUs
        ([("a", ""), ("a", "x")], [None, 0]),
        ([("a", "yx"), ("a", "xy")], [0, 0]),  # in another order
    ],
)
def test_each_rank_takes_a_gpu_that_no_other_has(places, found):
    assert shared_out(places) == found


class Together(Communicator):
    """Ranks that are threads."""

    def __init__(self, rank, size, barrier, told):
        self.rank = rank
        self.size = size
        self.barrier, self.told = barrier, told

    def objects(self, value):
        self.told[self.rank] = value
        self.barrier.wait()
        found = [*self.told]
        self.barrier.wait()
        return found

    def _never(self, *given):
        raise AssertionError("not asked for")

    sum_parts = gather_parts = gathered = take_from_first = sum_numbers = abort = close = _never


def found(devices):
    """What each rank is given for each of these."""
    size = len(devices)
    barrier, told, given = threading.Barrier(size, timeout=60), [None] * size, [None] * size

    def run(rank):
        try:
            given[rank] = local_device(Together(rank, size, barrier, told), devices[rank])
        except Exception:
            barrier.abort()
            raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


@pytest.fixture
def machine(monkeypatch):
    """machine(bus ids, those that work): what each rank sees."""

    def make(gpus, usable):
        monkeypatch.delenv("ONEPASS_DEVICE", raising=False)
        monkeypatch.setattr(module, "bus_ids", lambda: gpus)
        monkeypatch.setattr(module, "probe_cuda", lambda k: DeviceStatus("", gpus[k] in usable))

    return make


@pytest.mark.parametrize(
    ("gpus", "usable", "devices", "wanted"),
    [
        ("xy", "xy", ["auto"] * 2, ["cuda:0", "cuda:1"]),
        ("xy", "xy", ["auto"] * 3, ["cpu"] * 3),  # one each, or none
        ("xy", "x", ["auto"] * 2, ["cpu"] * 2),  # one does not work
        ("", "", ["auto"] * 2, ["cpu"] * 2),
        ("xy", "", ["cuda"] * 3, ["cuda:0", "cuda:1", "cuda:2"]),  # refused where it is used
        ("xy", "xy", ["cpu"] * 2, ["cpu"] * 2),
        ("xy", "xy", ["cuda:1"] * 2, ["cuda:1"] * 2),
        ("xy", "xy", ["auto", "cpu"], ["cpu", "cpu"]),  # nobody waits for the other
        ("xy", "xy", ["cuda", "cpu"], ["cuda:0", "cpu"]),
    ],
)
def test_ranks_agree(machine, gpus, usable, devices, wanted):
    machine(gpus, usable)
    assert found(devices) == wanted


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("auto", "cuda:0")],
)
def test_the_environment_says_what_auto_is(machine, monkeypatch, variable, wanted):
    machine("xy", "xy")
    monkeypatch.setenv("ONEPASS_DEVICE", variable)
    assert found(["auto"]) == [wanted]


def test_a_device_in_use_is_what_auto_is(machine):
    machine("x", "x")
    alone = Together(0, 1, threading.Barrier(1), [None])
    with use_device("cpu"):
        assert local_device(alone) == "cpu"


@pytest.mark.parametrize(("device", "error"), [("gpu", ValueError), (None, TypeError)])
def test_what_is_no_device_is_refused(device, error):
    with pytest.raises(error, match="expected"):
        local_device(Together(0, 1, threading.Barrier(1), [None]), device)
