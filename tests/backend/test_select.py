"""Choosing a device, and the NumPy backend. GPUs that are missing, or made up: test_devices.py."""

from __future__ import annotations

import asyncio
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import onepass
import pytest
from onepass import MixedBackendsError, backend_of, get_backend, use_device
from onepass.backend import Backend, device_of, why_device
from onepass.backend.devices import parse_device
from onepass.backend.numpy_backend import NumpyBackend

CHOICES = '"auto", "cpu", "cuda" or "cuda:N"'


class OtherBackend(NumpyBackend):
    """Something to select that is not what "auto" takes by itself."""

    device = "elsewhere"


OTHER = OtherBackend()


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    monkeypatch.delenv("ONEPASS_DEVICE", raising=False)


# --- device strings -------------------------------------------------------------------------------
@pytest.mark.parametrize(("text", "parsed"), [
    ("auto", ("auto", None)), ("cpu", ("cpu", None)), ("cuda", ("cuda", None)),
    ("cuda:0", ("cuda", 0)), ("cuda:12", ("cuda", 12)), (" CUDA:1\n", ("cuda", 1)),
])  # fmt: skip
def test_device_strings(text, parsed):
    assert parse_device(text) == parsed


@pytest.mark.parametrize("text", [
    "", " ", "gpu:0", "cpu:0", "cuda:", "cuda:-1", "cuda:1.0", "cuda:x", "cuda 0", "cuda:0:1", "0",
    "auto:0", "mps", "None",
])  # fmt: skip
def test_a_bad_string_is_quoted_and_the_choices_are_listed(text):
    with pytest.raises(ValueError, match="expected") as caught:
        get_backend(text)
    assert repr(text) in str(caught.value)
    assert CHOICES in str(caught.value)


@pytest.mark.parametrize("value", [None, 0, 1.0, b"cpu", ["cpu"], np.float32, {}])
def test_a_wrong_type_is_named_and_the_choices_are_listed(value):
    for choose in (get_backend, lambda wrong: use_device(wrong).__enter__()):
        with pytest.raises(TypeError) as caught:
            choose(value)
        assert type(value).__name__ in str(caught.value)
        assert CHOICES in str(caught.value)


# --- the environment variable ---------------------------------------------------------------------
@pytest.mark.parametrize("wish", ["cpu", " CPU "])
def test_variable_chooses(monkeypatch, wish):
    monkeypatch.setenv("ONEPASS_DEVICE", wish)
    assert get_backend().device == "cpu"
    assert "ONEPASS_DEVICE" in why_device(get_backend())


@pytest.mark.parametrize("wish", ["gpu:0", "cuda:", "cpu,cuda"])
def test_a_bad_variable_is_named(monkeypatch, wish):
    monkeypatch.setenv("ONEPASS_DEVICE", wish)
    with pytest.raises(ValueError, match="environment variable ONEPASS_DEVICE") as caught:
        get_backend()
    assert repr(wish) in str(caught.value)
    assert CHOICES in str(caught.value)
    assert get_backend("cpu").device == "cpu", "an argument does not ask the variable"


def test_use_device_goes_before_the_variable(monkeypatch):
    monkeypatch.setenv("ONEPASS_DEVICE", "cpu")
    with use_device(OTHER):
        assert get_backend() is OTHER
        assert why_device(OTHER) == "elsewhere was chosen by use_device"
        assert get_backend("cpu").device == "cpu", "a name goes before use_device"


# --- use_device -----------------------------------------------------------------------------------
def fail_on(device):
    with use_device(device):
        assert get_backend().device == device
        raise ZeroDivisionError


def test_nesting_restores_each_level_also_after_an_error():
    outside = get_backend()
    with use_device(OTHER) as given:
        assert given is OTHER is get_backend("auto")
        with pytest.raises(ZeroDivisionError):
            fail_on("cpu")
        assert get_backend() is OTHER
        with pytest.raises(ValueError, match="gpu"), use_device("gpu"):
            pass
        assert get_backend() is OTHER
    assert get_backend() == outside != OTHER


def test_threads_do_not_see_each_others_device():
    seen, inside, done = [], threading.Event(), threading.Event()

    def other_thread():
        with use_device(OTHER):
            seen.append(get_backend())
            inside.set()
            done.wait(250)

    outside = get_backend()
    thread = threading.Thread(target=other_thread)
    thread.start()
    assert inside.wait(250)
    assert get_backend() == outside
    with use_device("cpu"):
        done.set()
        thread.join(250)
        assert get_backend().device == "cpu"
    assert seen == [OTHER]


def test_tasks_do_not_see_each_others_device():
    async def task(device, order, turn):
        with use_device(device):
            order.append(device)
            await turn.wait()  # the other task enters its own block meanwhile
            return get_backend()

    async def both():
        order, turn = [], asyncio.Event()
        tasks = [asyncio.create_task(task(each, order, turn)) for each in (OTHER, "cpu")]
        await asyncio.sleep(0)
        assert order == [OTHER, "cpu"]
        turn.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(both()) == [OTHER, get_backend("cpu")]


# --- the NumPy backend ----------------------------------------------------------------------------
def test_backends_are_values():
    cpu = get_backend("cpu")
    assert cpu == NumpyBackend()
    assert hash(cpu) == hash(NumpyBackend())
    assert cpu != OTHER
    assert cpu != "cpu"
    assert pickle.loads(pickle.dumps(cpu)) is cpu
    assert eval(repr(cpu), {"get_backend": get_backend}) is cpu
    assert get_backend(cpu) is cpu
    assert isinstance(cpu, Backend)


def test_arrays_come_and_go_without_copies():
    cpu, array = get_backend("cpu"), np.arange(3.0)
    assert cpu.asarray(array) is array is cpu.to_numpy(array)
    assert cpu.asarray(array, dtype="float32").dtype == "float32"
    np.testing.assert_array_equal(cpu.asarray([1, 2]), [1, 2])
    assert cpu.asarray(2.5).shape == ()
    assert cpu.xp is np
    assert cpu.synchronize() is None
    with cpu.scope():
        assert cpu.xp.zeros(1).nbytes == 8


def test_equal_seeds_draw_equal_numbers():
    draws = [get_backend("cpu").random(seed).random(8) for seed in (3, 3, 4, None, None)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert len({draw.tobytes() for draw in draws}) == 4, "another seed, or none, draws others"


def test_memory_is_in_bytes():
    memory = get_backend("cpu").memory()
    assert 1 << 26 < memory.free <= memory.total < 1 << 50


# --- whose array is it ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2),
        np.zeros(()),
        np.zeros((0, 3), "float16"),
        np.arange(4)[::2],
        np.zeros(2).view(np.recarray),
    ],
)
def test_numpy_arrays_are_on_the_cpu(array):
    assert device_of(array) == "cpu"
    assert backend_of(array, np.ones(1)) is get_backend("cpu")


@pytest.mark.parametrize(("value", "words"), [
    ([1.0], "a list"), ((1.0,), "a tuple"), (1.0, "a float"), ("x", "a str"),
    (np.float32(1), "a numpy float32"), (memoryview(b"x"), "a memoryview"),
])  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_anything_else_is_named_with_a_remedy(value, words, place):
    arrays, names = [np.zeros(1), np.zeros(1)], ["param", "grad"]
    arrays[place] = value
    with pytest.raises(TypeError) as caught:
        backend_of(*arrays, names=names)
    assert not isinstance(caught.value, MixedBackendsError)
    for word in (f"{names[place]} is {words}", f"numpy.asarray({names[place]}"):
        assert word in str(caught.value)


@pytest.mark.parametrize(("value", "words", "remedy"), [
    (np.ma.array([1.0]), "a numpy MaskedArray", "filled"),
    (np.ones((1, 1)).view(np.matrix), "a numpy matrix", "numpy.asarray makes one of it"),
    (None, "None", "Leave it out"),
])  # fmt: skip
def test_a_remedy_does_not_lose_a_mask_and_makes_no_array_of_none(value, words, remedy):
    with pytest.raises(TypeError) as caught:
        device_of(value, "x")
    assert f"x is {words}; expected a NumPy or CuPy array. " in str(caught.value)
    assert remedy in str(caught.value)
    assert "dtype=numpy.float32" not in str(caught.value)


@pytest.mark.parametrize(
    "held", [np.ma.array([1.0, 2.0], mask=[1, 0]), np.ones((1, 1)).view(np.matrix)]
)
def test_asarray_refuses_what_would_lose_a_mask_at_any_depth(held):
    plain = np.zeros(2)
    for values, where in ((held, ""), ([plain, held], "[1]"), ([[1.0], ([held],)], "[1][0][0]")):
        with pytest.raises(TypeError, match=re.escape(f"values{where} is a numpy ")):
            get_backend("cpu").asarray(values)
    assert get_backend("cpu").asarray([[1, 2], (3, 4)]).tolist() == [[1, 2], [3, 4]]


def test_torch_tensors_get_the_remedy_that_shares_their_memory():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with pytest.raises(TypeError, match=r"w is a torch Tensor.*onepass\.as_array\(w\)"):
        device_of(torch.zeros(2), "w")


def test_no_arrays_at_all():
    with pytest.raises(TypeError, match="at least one array"):
        backend_of()


# --- importing ------------------------------------------------------------------------------------
def run_python(code):
    """The last line that `code` prints in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


HEAVY = "{m for m in ('cupy', 'numba', 'torch', 'scipy', 'numba_cuda') if m in sys.modules}"
FIRST_USE = "onepass.kernels.sgd_step(np.ones(1), np.ones(1), lr=0.5)"


@pytest.mark.parametrize(("code", "loaded"), [
    ("import onepass", set()),
    ("import onepass.kernels", set()),
    ("import onepass.nets", set()),
    ("import onepass; dir(onepass); onepass.get_backend('cpu').asarray([1])", set()),
    (f"import onepass.kernels, numpy as np; {FIRST_USE}", {"numba"}),
])  # fmt: skip
def test_import_loads_nothing_heavy_before_its_first_use(code, loaded):
    seen = eval(run_python(f"import sys; {code}; print({HEAVY})"))
    assert seen - ({"scipy"} if loaded else set()) == loaded  # Numba looks for SciPy's BLAS


def test_import_loads_few_modules():
    """bench/gate.py has what it takes in time."""
    code = "import sys, numpy; before = set(sys.modules); import onepass; " \
           "print(set(sys.modules) - before)"  # fmt: skip
    loaded = eval(run_python(code))
    packages = {name.partition(".")[0] for name in loaded}
    assert packages - sys.stdlib_module_names <= {"onepass", "array_api_compat", "numpy"}
    assert len(loaded) < 60


def test_import_loads_no_products_of_a_gpu():
    loaded = run_python("import sys, onepass.kernels; print([*sys.modules])")
    room = "onepass.kernels.products"
    assert [name for name in eval(loaded) if name.startswith(room)] == [room]


def test_the_front_door_holds_what_it_lists():
    assert set(onepass.__all__) <= set(dir(onepass))
    assert all(getattr(onepass, name) is not None for name in onepass.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        onepass.nonsense  # noqa: B018
