"""What steps of many arrays, and their norm, ask the driver for."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.kernels import global_norm
from onepass.nets import Adam, Parameters
from tolerances import DTYPES

from proving.made_up_driver import counting

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]
TENSORS = 300


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


def arrays(cupy, dtypes=("float32",), tensors=TENSORS):
    rooms = [cupy.ones((tensors, 40), dtype) for dtype in dtypes]
    return [row[: k % 37] for room in rooms for k, row in enumerate(room)]


def asked(call, *given):
    """What a call asks the driver for."""
    counting.reset()
    call(*given)
    found = counting.counts()
    return {name: found[name] for name in ("launches", "copies", "waits", "fills")}


def cost(launches, copies=0, waits=0):
    return {"launches": launches, "copies": copies, "waits": waits, "fills": 0}


@pytest.mark.parametrize("dtypes", [DTYPES[:1], DTYPES[1:], DTYPES], ids=len)
def test_a_step_of_many_arrays_is_a_launch_a_dtype(cupy, dtypes):
    params, grads = arrays(cupy, dtypes), arrays(cupy, dtypes)
    optimizer = Adam(params)
    optimizer.step(grads)
    for _ in range(3):
        assert asked(optimizer.step, grads) == cost(len(dtypes))


@pytest.mark.parametrize(
    "more", [{}, {"frozen": "1.*"}, {"use_ema": True, "clip_value": 0.5}], ids=len
)
@pytest.mark.parametrize("named", [False, True])
def test_groups_are_stepped_in_one_launch(cupy, named, more):
    """And a copy, of their coefficients."""
    if named:
        arrays = Parameters({f"{k}.{name}": (40, 3) for k in range(20) for name in "wb"})
        assert arrays.backend.device != "cpu"
        grads = None
    else:
        arrays = {f"{k}.{name}": cupy.ones(40, "float32") for k in range(20) for name in "wb"}
        grads = {name: array.copy() for name, array in arrays.items()}
    optimizer = Adam(arrays, groups={"*.b": {"lr": 0.1}, "0.w": {"weight_decay": 0.1}}, **more)
    optimizer.step(grads)
    for _ in range(3):
        assert asked(optimizer.step, grads) == cost(1, copies=1)


def test_a_table_is_made_anew_where_an_address_has_changed_and_only_there(cupy):
    room, other = cupy.ones((2, TENSORS, 40), "float32")
    params, grads = arrays(cupy), list(room)
    params = [cupy.ones(40, "float32") for _ in range(TENSORS)]
    optimizer = Adam(params)
    optimizer.step(grads)
    assert asked(optimizer.step, list(room)) == cost(1), "other objects, the same addresses"
    assert asked(optimizer.step, [*room[:-1], other[0]]) == cost(1, copies=1)
    assert asked(optimizer.step, [*room[:-1], other[0]]) == cost(1)
    assert asked(optimizer.step, list(room)) == cost(1, copies=1)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step(grads)
    assert asked(optimizer.step, grads) == cost(1)


@pytest.mark.parametrize("dtypes", [DTYPES[:1], DTYPES], ids=len)
def test_clipping_reads_the_gradients_by_the_same_table_and_waits_once(cupy, dtypes):
    params, grads = arrays(cupy, dtypes), arrays(cupy, dtypes)
    optimizer = Adam(params, clip_norm=1.0)
    optimizer.step(grads)
    launches = 2 * len(dtypes) + 1  # sums of chunks, their total, steps
    assert asked(optimizer.step, grads) == cost(launches, copies=1, waits=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_norm_of_one_array_is_two_launches_without_memory_of_its_size(cupy, dtype):
    array = cupy.ones(1 << 20, dtype)
    global_norm(array)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    assert asked(global_norm, array) == cost(2, copies=1, waits=1)
    assert pool.total_bytes() - before < 64 << 10
    assert global_norm(array) == 1 << 10


def test_a_norm_of_many_arrays_is_a_launch_a_dtype_and_one_more(cupy):
    many = arrays(cupy, DTYPES)
    assert asked(global_norm, many) == cost(4, copies=7, waits=1)  # two for each table
    assert global_norm(many) == pytest.approx(np.sqrt(sum(a.size for a in many)), rel=1e-15)


def test_zeros_are_read_once(cupy):
    assert asked(global_norm, cupy.zeros(100, "float32")) == cost(2, copies=1, waits=1)


# --- Python's part --------------------------------------------------------------------------------
def test_a_step_of_a_network_s_parameters_runs_few_lines_of_python(cupy, monkeypatch):
    monkeypatch.setattr("onepass.kernels.compiling.gpu.cuda_launch.observers", [])
    optimizer = Adam(Parameters({"weight": (20, 10), "bias": (10,)}, device="cuda"))
    optimizer.step()
    assert len(counting.python_calls(optimizer.step)) <= 28


def test_a_step_of_many_arrays_runs_as_many_however_many_they_are(cupy, monkeypatch):
    monkeypatch.setattr("onepass.kernels.compiling.gpu.cuda_launch.observers", [])
    found = []
    for tensors in (30, 300):
        params, grads = arrays(cupy, tensors=tensors), arrays(cupy, tensors=tensors)
        optimizer = Adam(params)
        for _ in range(3):
            optimizer.step(grads)
        found.append(len(counting.python_calls(optimizer.step, grads)))
    assert found[0] == found[1] <= 40
    assert len(counting.python_calls(optimizer.step, arrays(cupy))) <= 80, "other gradients"
