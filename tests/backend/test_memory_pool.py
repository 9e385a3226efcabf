"""The pool of the CPU: large results lie in blocks that are kept and given again."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import pickle
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from onepass import get_backend, kernels
from onepass.backend import memory_pool
from onepass.backend.machine import memory_limit
from onepass.backend.machine.memory_limit import bytes_of, default_limit, memory_quota
from onepass.backend.memory_pool import (
    LARGE,
    POOL,
    MemoryPool,
    converted,
    empty,
    empty_like,
    joined,
    product,
    rows_taken,
    size_class,
)
from onepass.nets import Dense, Sequential, outputs

MB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def little_to_look_through():
    """Garbage is looked for among what is made from here on: in all that other tests have imported,
    and left, that takes a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def pool(monkeypatch):
    """A pool of its own, of 64 MB, in place of the process's."""
    made = MemoryPool()
    made.set_limit(64 * MB)
    monkeypatch.setattr(memory_pool, "POOL", made)
    from onepass.backend import numpy_backend

    monkeypatch.setattr(numpy_backend, "POOL", made)
    return made


def address(array):
    return array.__array_interface__["data"][0]


def floats(megabytes):
    return empty((4 * megabytes, MB // 16), "float32")


# --- what it gives --------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(1024, 256), (1 << 18,), (2, 3, 200_000), (1000, 1049)])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "uint8", ">f4", [("a", "f4"), ("b", "i8")]]
)
def test_an_array_of_the_pool_is_a_plain_one(pool, shape, dtype):
    array = empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    flags = array.flags
    assert flags.c_contiguous
    assert flags.writeable
    assert flags.aligned
    assert address(array) % 64 == 0 or array.nbytes < LARGE
    array[...] = np.ones((), array.dtype)
    assert (array == np.ones((), array.dtype)).all()
    assert (pool.figures().in_use > 0) == (array.nbytes >= LARGE)


@pytest.mark.parametrize("shape", [(0,), (0, 1 << 20), (1 << 20, 0), (), (1,), (LARGE - 1,)])
def test_small_arrays_and_those_without_elements_are_numpys(pool, shape):
    assert empty(shape, "uint8").shape == shape
    assert empty(shape, "uint8").flags.owndata
    assert pool.figures()[:2] == (0, 0)


def test_arrays_of_objects_are_numpys(pool):
    assert empty((1 << 18,), object)[0] is None
    assert pool.figures().misses == 0


@given(st.integers(1, 1 << 40))
def test_a_block_is_at_most_an_eighth_larger_than_what_lies_in_it(nbytes):
    size = size_class(nbytes)
    assert nbytes <= size
    assert size % mmap.PAGESIZE == 0
    assert size - nbytes < max(nbytes / 8, mmap.PAGESIZE)
    assert size_class(size) == size


# --- blocks that come back ------------------------------------------------------------------------
def test_a_block_is_given_again_when_its_array_is_gone(pool):
    array = floats(2)
    first = address(array)
    del array
    array = floats(2)
    assert address(array) == first
    assert pool.figures() == (2 * MB, 0, 64 * MB, 1, 1)
    other = floats(2)
    assert address(other) != first
    assert pool.figures() == (4 * MB, 0, 64 * MB, 1, 2)


def test_a_block_serves_nearly_equal_sizes(pool):
    first = empty((9 * MB,), "uint8")
    place = address(first)
    del first
    again = empty((9 * MB - 1000,), "uint8")
    assert address(again) == place
    assert pool.figures().misses == 1


def test_the_newest_block_is_given_first(pool):
    first, second = floats(1), floats(1)
    newest = address(first)
    del second
    del first
    assert address(floats(1)) == newest


VIEWS = {
    "slice": lambda a: a[1:, ::2],
    "reshape": lambda a: a.reshape(-1),
    "transpose": lambda a: a.T,
    "dtype": lambda a: a.view("uint8"),
    "subclass": lambda a: a.view(np.recarray),
    "field": lambda a: a.view([("a", "f4")])["a"],
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)),
    "strides": lambda a: np.lib.stride_tricks.sliding_window_view(a, (1, 3)),
    "view of a view": lambda a: a[0][3:][::-1],
    "memoryview": lambda a: memoryview(a)[1:],
    "array of a memoryview": lambda a: np.asarray(memoryview(a)),
    "frombuffer": lambda a: np.frombuffer(a, "uint8"),
    "dlpack": np.from_dlpack,
    "interface": lambda a: np.asarray(type("Like", (), {
        "__array_interface__": a.__array_interface__, "holds": a})()),
    "iterator": lambda a: a.flat,
    "ctypes": lambda a: (ctypes.c_byte * a.nbytes).from_buffer(a),
    "buffer of pickle": pickle.PickleBuffer,
    "base": lambda a: a.base,
    "cycle": lambda a: (lambda cell: cell.append(cell) or cell)([a]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", VIEWS)
def test_a_block_is_in_use_while_anything_reaches_it(pool, name):
    array = floats(1)
    array[...] = 7
    place = address(array)
    view = VIEWS[name](array)
    del array
    gc.collect()
    assert pool.figures()[:2] == (MB, 0)
    other = floats(1)
    assert address(other) != place
    other[...] = 0
    if isinstance(view, np.ndarray):
        assert view.size
        assert view.tobytes().strip(b"\0")
    del view, other
    gc.collect()
    assert pool.figures()[:2] == (0, 2 * MB)


def test_tensors_of_pytorch_keep_a_block(pool):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    array = floats(1)
    array[...] = 7
    tensor = torch.from_numpy(array)[5:]
    del array
    other = floats(1)
    other[...] = 0
    assert bool((tensor == 7).all())
    del tensor
    assert pool.figures()[:2] == (MB, MB)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_have_memory_of_their_own(pool, protocol):
    array = floats(1)
    array[...] = 3
    pickled = pickle.dumps(array, protocol)
    del array
    floats(1)[...] = 0
    loaded = pickle.loads(pickled)
    assert type(loaded) is np.ndarray
    assert (loaded == 3).all()
    assert pool.figures().in_use == 0


def test_a_cycle_gives_its_block_back_when_it_is_collected(pool):
    class Holder:
        pass

    gc.disable()
    try:
        holder = Holder()
        holder.array, holder.self = floats(1), holder
        del holder
        assert pool.figures()[:2] == (MB, 0)
        gc.collect()
        assert pool.figures()[:2] == (0, MB)
    finally:
        gc.enable()


def test_what_the_collector_runs_inside_the_pool_may_ask_it(pool, monkeypatch):
    """As a finalizer does that runs while a block is taken: it gets memory of NumPy's."""
    found = []

    def inside(size):
        array = floats(1)
        found.append((array.flags.owndata, pool.figures()))
        pool.release()
        pool.set_limit(64 * MB)
        return memory_pool.mmap.mmap(-1, size)

    monkeypatch.setattr(memory_pool, "new_block", inside)
    array = floats(2)
    assert not array.flags.owndata
    assert found == [(True, (0, 0, 64 * MB, 0, 1))]
    assert pool.figures()[:2] == (2 * MB, 0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=40))
def test_arrays_that_live_never_share_memory(steps):
    """Arrays come and go in any order; each holds what was written to it."""
    pool, live = MemoryPool(), {}
    pool.set_limit(20 * MB)
    for k, (slot, megabytes) in enumerate(steps):
        live.pop(slot, None)
        if (owner := pool.owner(megabytes * MB - k)) is not None:
            owner[::4096] = k % 251
            live[slot] = (owner, k % 251)
        assert all((array[::4096] == mark).all() for array, mark in live.values())
        in_use, kept, limit, hits, misses = pool.figures()
        assert in_use >= sum(array.nbytes for array, _ in live.values())
        assert in_use + kept <= limit
        assert hits + misses == k + 1


def test_threads_never_share_an_array(pool):
    """Eight of them make, mark, hand over and drop arrays of random sizes."""
    wrong, shelf = [], [None] * 16

    def work(seed):
        draw = random.Random(seed)
        for k in range(300):
            array = empty((draw.randint(MB, 3 * MB),), "uint8")
            mark = (seed * 31 + k) % 251
            array[::1024] = mark
            given = (array, mark)
            place = draw.randrange(16)
            found, shelf[place] = shelf[place], given
            for each, expected in filter(None, (found, given)):
                if not (each[::1024] == expected).all():
                    wrong.append((seed, k))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    in_use, kept, limit, hits, misses = pool.figures()
    assert in_use == sum(size_class(array.nbytes) for array, _ in filter(None, shelf))
    assert in_use + kept <= limit
    assert hits + misses == 8 * 300
    shelf.clear()
    assert pool.figures().in_use == 0


# --- the limit ------------------------------------------------------------------------------------
def test_the_oldest_blocks_go_first_when_another_needs_their_room(pool):
    pool.set_limit(8 * MB)
    arrays = [floats(1), floats(2), floats(3)]
    places = list(map(address, arrays))
    while arrays:
        arrays.pop(0)
    assert pool.figures()[:2] == (0, 6 * MB)
    large = floats(4)
    assert pool.figures()[:2] == (4 * MB, 3 * MB), "those of 1 and 2 MB went"
    assert address(floats(3)) == places[2]
    del large


def test_what_finds_no_room_is_memory_of_numpys(pool):
    pool.set_limit(4 * MB)
    held = floats(3)
    beyond = floats(2)
    assert not held.flags.owndata
    assert beyond.flags.owndata
    assert pool.figures() == (3 * MB, 0, 4 * MB, 0, 2)
    del beyond
    assert pool.figures()[:2] == (3 * MB, 0)


def test_a_lower_limit_holds_at_once(pool):
    first, second, held = floats(1), floats(2), floats(3)
    del first, second
    pool.set_limit(5 * MB)
    assert pool.figures()[:3] == (3 * MB, 2 * MB, 5 * MB)
    pool.set_limit(0)
    assert pool.figures()[:3] == (3 * MB, 0, 0)
    del held
    assert pool.figures()[:2] == (0, 0), "what was in use then goes when it comes back"
    assert floats(1).flags.owndata


def test_a_limit_of_zero_is_no_pool(pool):
    cpu = get_backend("cpu")
    cpu.set_memory_limit(0)
    assert floats(4).flags.owndata
    assert cpu.memory()[2:] == (0, 0, 0, 0, 1)


def test_emptying_leaves_arrays_as_they_are(pool):
    held, gone = floats(1), floats(2)
    held[...] = 5
    del gone
    get_backend("cpu").release_memory()
    assert pool.figures()[:2] == (MB, 0)
    assert (held == 5).all()
    assert (floats(2).shape, pool.figures().hits) == ((8, MB // 16), 0)


def test_the_figures_are_those_of_the_backend(pool):
    held, gone = floats(1), floats(2)
    del gone
    memory = get_backend("cpu").memory()
    assert (memory.in_use, memory.kept, memory.limit) == (MB, 2 * MB, 64 * MB)
    assert (memory.hits, memory.misses) == (0, 2)
    assert memory.free <= memory.total
    assert held.size


@pytest.mark.parametrize(("text", "expected"), [
    ("0", 0), ("1048576", MB), ("2G", 2 << 30), ("2g", 2 << 30), (" 512 MB ", 512 * MB),
    ("1.5GiB", 3 << 29), ("1T", 1 << 40), ("3k", 3072), ("7B", 7),
])  # fmt: skip
def test_a_limit_may_be_written(pool, monkeypatch, text, expected):
    get_backend("cpu").set_memory_limit(text)
    assert pool.figures().limit == expected
    monkeypatch.setenv("ONEPASS_MEMORY_LIMIT", text)
    pool.set_limit(None)
    assert pool.figures().limit == default_limit() == expected


@pytest.mark.parametrize("wrong", ["", "much", "-1", "2X", "1e9", "G", "0x10", -1, 1.5, True, [1]])
def test_a_limit_that_is_none_is_refused(pool, wrong):
    kind = ValueError if isinstance(wrong, str) or wrong == -1 else TypeError
    with pytest.raises(kind, match=r"limit is .*; expected bytes, such as 2147483648 or '2G'"):
        get_backend("cpu").set_memory_limit(wrong)
    assert pool.figures().limit == 64 * MB


def test_the_environment_variable_is_named_where_it_is_wrong(monkeypatch):
    monkeypatch.setenv("ONEPASS_MEMORY_LIMIT", "lots")
    fresh = MemoryPool()
    with pytest.raises(ValueError, match="ONEPASS_MEMORY_LIMIT is 'lots'; expected bytes"):
        fresh.figures()
    monkeypatch.setenv("ONEPASS_MEMORY_LIMIT", "1M")
    assert fresh.figures().limit == MB


@pytest.mark.parametrize(("quota", "share"), [(None, 1000), (400, 100), (1 << 60, 1000)])
def test_the_default_is_a_quarter_of_what_the_process_may_have(monkeypatch, quota, share):
    psutil = pytest.importorskip("psutil")
    monkeypatch.delenv("ONEPASS_MEMORY_LIMIT", raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Figures", (), {"total": 4000}))
    monkeypatch.setattr(memory_limit, "memory_quota", lambda: quota)
    assert default_limit() == share


@pytest.mark.parametrize(("groups", "mount", "files", "expected"), [
    ("0::/a/b", "- cgroup2 cgroup2 rw", {"a/b/memory.max": "5000\n", "a/memory.max": "4000"}, 4000),
    ("0::/a", "- cgroup2 cgroup2 rw", {"a/memory.max": "max\n"}, None),
    ("4:memory:/a", "- cgroup cgroup rw,memory", {"a/memory.limit_in_bytes": "3000\n"}, 3000),
    ("4:cpu:/a", "- cgroup cgroup rw,cpu", {"a/memory.limit_in_bytes": "3000\n"}, None),
])  # fmt: skip
def test_control_groups_limit_memory(tmp_path, groups, mount, files, expected):
    (tmp_path / "cgroup").write_text(groups + "\n")
    (tmp_path / "mountinfo").write_text(f"29 23 0:26 / {tmp_path}/m rw shared:4 {mount}\n")
    for name, text in files.items():
        file = tmp_path / "m" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory_quota(str(tmp_path)) == expected
    assert memory_quota(str(tmp_path / "nothing")) is None


def test_bytes_of_takes_numbers_of_numpy():
    assert bytes_of("limit", np.int64(5)) == 5


# --- a system without memory ----------------------------------------------------------------------
def test_a_refusal_empties_the_pool_and_asks_once_more(pool, monkeypatch):
    kept = floats(1)
    del kept
    real, asked = memory_pool.new_block, []

    def refusing(size):
        asked.append((size, pool._kept_bytes()))
        if len(asked) == 1:
            raise OSError(12, "Cannot allocate memory")
        return real(size)

    monkeypatch.setattr(memory_pool, "new_block", refusing)
    array = floats(2)
    assert asked == [(2 * MB, MB), (2 * MB, 0)]
    assert not array.flags.owndata
    assert pool.figures()[:2] == (2 * MB, 0)


def test_numpy_is_asked_where_the_pool_gets_nothing(pool, monkeypatch):
    def refusing(size):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(memory_pool, "new_block", refusing)
    assert floats(2).flags.owndata
    assert pool.figures() == (0, 0, 64 * MB, 0, 1)


def test_a_memory_error_of_numpys_empties_the_pool_and_asks_once_more(pool, monkeypatch):
    gone, asked = floats(1), []
    del gone

    class Short:
        def __getattr__(self, name):
            return getattr(np, name)

        def empty(self, shape, dtype):
            asked.append(pool.figures().kept)
            if len(asked) == 1:
                raise MemoryError("Unable to allocate")
            return np.empty(shape, dtype)

    monkeypatch.setattr(memory_pool, "np", Short())
    assert empty((65 * MB,), "uint8").nbytes == 65 * MB
    assert asked == [MB, 0]


def test_what_nothing_can_hold_is_numpys_memory_error(pool):
    pool.set_limit(1 << 62)
    with pytest.raises(MemoryError, match="Unable to allocate"):
        empty((1 << 60,), "uint8")
    assert pool.figures()[:2] == (0, 0)


# --- processes ------------------------------------------------------------------------------------
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_after_a_fork_each_process_writes_memory_of_its_own(pool):
    held, gone = floats(1), floats(2)
    held[...], gone[...] = 1, 2
    del gone
    if not (child := os.fork()):
        status = 1
        try:
            signal.alarm(60)
            held[...] = 9
            taken = floats(2)
            taken[...] = 9
            good = pool.figures()[:2] == (3 * MB, 0) and bool((taken == 9).all())
            del taken
            status = 0 if good and pool.figures().kept == 2 * MB else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (held == 1).all()
    assert (floats(2) == 2).all(), "the block that was kept"


FORKS = """
import os, signal, threading
import numpy as np
from onepass.backend.memory_pool import POOL, empty

stop = threading.Event()
def work():
    while not stop.is_set():
        empty((1 << 20,), "uint8")[::4096] = 1

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(20):
    if not (child := os.fork()):
        signal.alarm(60)
        empty((1 << 20,), "uint8")[:] = 2
        POOL.figures()
        os._exit(0)
    bad += os.waitpid(child, 0)[1] != 0
stop.set()
for thread in threads:
    thread.join()
print(bad)
"""

ENDS = """
import threading, time
import numpy as np
from onepass.backend.memory_pool import empty

class Late:
    def __init__(self):
        self.array = empty((1 << 20,), "uint8")
        self.self = self
    def __del__(self, empty=empty):
        self.other = empty((1 << 21,), "uint8")

kept = [Late() for _ in range(3)]
array = empty((1 << 22,), "float32")[1:]
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print("end")
"""


def program(text):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_finds_the_pool_free_whatever_threads_do():
    assert program(FORKS) == (0, "0", "")


def test_arrays_that_outlive_the_interpreter_do_no_harm():
    assert program(ENDS) == (0, "end", "")


# --- as NumPy does it -----------------------------------------------------------------------------
@given(st.data(), array_shapes(max_dims=4, max_side=5), st.sampled_from([None, "f4", "f8", ">f4"]))
def test_the_order_in_memory_is_numpys(data, shape, dtype):
    """Of any permuted, reversed or thinned array; a megabyte is a byte here."""
    array = np.zeros(shape, "f4")
    array = array.transpose(data.draw(st.permutations(range(array.ndim))))
    steps = data.draw(
        st.lists(st.sampled_from([1, -1, 2]), min_size=array.ndim, max_size=array.ndim)
    )
    array = array[tuple(slice(None, None, step) for step in steps)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_pool, "LARGE", 1)
        made = empty_like(array, dtype)
    expected = np.empty_like(array, dtype=dtype)
    assert (made.shape, made.dtype, made.strides) == (
        expected.shape,
        expected.dtype,
        expected.strides,
    )
    assert not made.flags.owndata


def test_subclasses_stay_what_they_are(pool):
    array = np.zeros((2, MB), "u1").view(np.recarray)
    assert type(empty_like(array)) is np.recarray
    found, wanted = get_backend("cpu").asarray(array, "f4"), np.asarray(array, "f4")
    assert type(found) is type(wanted)
    assert pool.figures().misses == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", ">f4"])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
def test_conversions_are_numpys(pool, dtype, layout):
    whole = np.random.default_rng(0).standard_normal((2048, 1024)) * 50
    array = {"C": whole, "F": np.asfortranarray(whole), "strided": whole[::2]}[layout]
    found, wanted = get_backend("cpu").asarray(array, dtype), np.asarray(array, dtype)
    assert found.tobytes("A") == wanted.tobytes("A")
    assert (type(found), found.dtype, found.strides) == (np.ndarray, wanted.dtype, wanted.strides)
    assert pool.figures().misses == (array.dtype != dtype)
    assert np.shares_memory(get_backend("cpu").asarray(found, dtype), found)
    assert get_backend("cpu").asarray(found) is found


def test_conversions_of_what_is_no_number_are_numpys(pool):
    names = np.full((1 << 18,), "12")
    assert (converted(names, "f8") == 12).all()
    assert pool.figures().misses == 0


@pytest.mark.parametrize("turned", [False, True])
def test_products_are_numpys(pool, turned):
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((600, 70), "f4"), draw.standard_normal((70, 600), "f4")
    b = np.ascontiguousarray(b.T).T if turned else b
    found = product(a, b)
    assert (found == a @ b).all()
    assert not found.flags.owndata
    assert product(a[:3], b).flags.owndata
    assert product(a, b.astype("f8")).dtype == "f8"
    with pytest.raises(ValueError, match="matmul"):
        product(a, a)


@pytest.mark.parametrize("rows", [[0, 5, 5, 999], [-1, 0], [], [[1, 2], [3, 4]]])
def test_rows_are_taken_as_numpy_does(pool, rows):
    array = np.random.default_rng(0).standard_normal((1000, 700))
    for repeated in (rows, [*rows * 100]):
        numbers = np.array(repeated, int)
        found = rows_taken(array, numbers)
        np.testing.assert_array_equal(found, array.take(numbers, axis=0))
    for wrong in (1000, -1001):
        with pytest.raises(IndexError):
            rows_taken(array, np.full(400, wrong))


def test_arrays_are_joined_as_numpy_does(pool):
    parts = [np.full((n, 300), n, "f4") for n in (500, 400, 3)]
    found = joined(np, parts)
    np.testing.assert_array_equal(found, np.concatenate(parts))
    assert not found.flags.owndata
    assert joined(np, [parts[0], parts[1].astype("f8")]).dtype == "f8"


# --- what the library makes of it -----------------------------------------------------------------
def results():
    draw = np.random.default_rng(0)
    x, dy = draw.standard_normal((2, 512, 1024), "f4")
    g = np.ones(1024, "f4")
    labels = draw.integers(0, 1024, 512)
    y, saved = kernels.batch_norm_forward(x, g, g)
    yield "batch_norm_forward", y
    yield "batch_norm_backward", kernels.batch_norm_backward(dy, saved)[0]
    yield "batch_norm_inference", kernels.batch_norm_inference(x, g, g, g, g)
    for kind in ("relu", "tanh"):
        yield kind, (y := kernels.activation_forward(x, kind, bias=g))
        yield f"{kind} backward", kernels.activation_backward(dy, y, kind)
    yield "dropout", kernels.dropout(x, 0.5, seed=1, draw=2)
    yield "softmax", kernels.softmax_cross_entropy(x, labels)[1]
    strided = np.asfortranarray(x)
    yield "strided batch norm", kernels.batch_norm_forward(strided, g, g)[0]
    yield "strided activation", kernels.activation_forward(strided, "relu")
    yield "strided dropout", kernels.dropout(strided, 0.5, seed=1, draw=2)
    layer = Sequential(Dense(1024, 1024, bias=False), device="cpu")
    yield "dense", layer.layers[0].forward(x, train=True)
    yield "dense backward", layer.layers[0].backward(dy)
    yield "outputs", outputs(layer, x)


def test_every_large_result_lies_in_a_block(pool):
    found = {}
    for name, array in results():
        assert type(array) is np.ndarray, name
        found[name] = array.flags.owndata
    assert not [name for name, owns in found.items() if owns]
    del array
    gc.collect()
    assert pool.figures().in_use == 0


FAULTS = """
import resource
import numpy as np
from onepass import kernels

x, dy = np.random.default_rng(0).standard_normal((2, 32, 64, 56, 56), "f4")
g = np.ones(64, "f4")
faults = []
for _ in range(12):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    y, saved = kernels.batch_norm_forward(x, g, g)
    dx, _, _ = kernels.batch_norm_backward(dy, saved)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[3:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts Linux's page faults")
def test_batch_norm_takes_no_page_faults_after_the_third_call():
    """Of 12,544 pages; a few, for what Python itself allocates."""
    status, most, errors = program(FAULTS)
    assert status == 0, errors
    assert int(most) < 20


def test_the_pool_of_this_process_is_the_backends():
    before = POOL.figures()
    array = floats(1)
    assert get_backend("cpu").memory().in_use == before.in_use + array.nbytes
