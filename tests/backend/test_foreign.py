"""Arrays of other libraries: seen over the same memory, updated in place, and whole networks."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cases.foreign_arrays import OnlyDLPack, OnlyInterface
from onepass import as_array, get_backend, kernels
from onepass.backend.foreign import taken_in
from onepass.nets import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load_torch_state,
    predict,
    torch_state,
)

DTYPES = ["float16", "float32", "float64"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


# --- seen over the same memory --------------------------------------------------------------------
@pytest.mark.parametrize("wrap", [OnlyDLPack, OnlyInterface, memoryview])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_foreign_array_is_seen_not_copied(wrap, dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    seen = as_array(wrap(array))
    assert (seen.dtype, seen.shape) == (array.dtype, array.shape)
    seen[1, 2] = 50
    assert array[1, 2] == 50


def test_numpy_arrays_are_themselves():
    array = np.zeros(3)
    assert as_array(array) is array
    assert taken_in(["a", "b"], [array, 3.0]) == (array, 3.0)


@pytest.mark.parametrize("value", ["text", object(), {"a": 1}, None])
def test_what_is_no_array_is_refused(value):
    with pytest.raises(TypeError, match="x is a"):
        as_array(value, "x")


def test_another_device_is_named():
    elsewhere = SimpleNamespace(__dlpack_device__=lambda: (8, 0), __dlpack__=lambda: None)
    with pytest.raises(ValueError, match="neither the CPU nor an NVIDIA GPU"):
        as_array(elsewhere)


class NoCuPy:
    """Where modules are looked for: CuPy is not there.

    A None in sys.modules would say so, too, but array-api-compat takes that for a module, and fails
    for every class that it has not seen before.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'")


def test_memory_on_a_gpu_asks_for_cupy(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoCuPy, *sys.meta_path])
    on_gpu = SimpleNamespace(__dlpack_device__=lambda: (2, 0), __dlpack__=lambda: None)
    with pytest.raises(ImportError, match=r"x lies on an NVIDIA GPU.*onepass\[cuda13\]"):
        as_array(on_gpu, "x")


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_share_their_memory(torch, dtype):
    tensor = torch.nn.Parameter(torch.arange(6.0, dtype=getattr(torch, dtype)).reshape(2, 3).T)
    seen = as_array(tensor)
    assert seen.strides == tuple(step * seen.itemsize for step in tensor.stride())
    seen[2, 0] = 70
    assert tensor[2, 0].item() == 70


def test_a_dtype_that_numpy_lacks_is_named(torch):
    with pytest.raises(TypeError, match=r"param is a Tensor of torch.bfloat16.*float32"):
        as_array(torch.zeros(2, dtype=torch.bfloat16), "param")


def test_jax_arrays_are_read_only():
    jnp = pytest.importorskip("jax.numpy", reason="JAX is not installed", exc_type=ImportError)
    param = jnp.ones(3)
    assert get_backend("cpu").asarray(param).tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="param is read-only"):
        kernels.sgd_step(param, np.ones(3, "float32"), lr=1.0)


@pytest.mark.gpu
def test_tensors_on_a_gpu_share_their_memory(torch):
    if not get_backend("auto").device.startswith("cuda") or not torch.cuda.is_available():
        pytest.skip("no GPU that CuPy and PyTorch both use")
    tensor = torch.nn.Parameter(torch.ones(5, device="cuda"))
    kernels.sgd_step(tensor, torch.ones(5, device="cuda"), lr=0.5)
    torch.cuda.synchronize()
    assert tensor.tolist() == [0.5] * 5


@pytest.mark.gpu
def test_foreign_arrays_of_one_memory_on_a_gpu_overlap(reference):
    if reference.device == "cpu":
        pytest.skip("on the CPU, test_a_foreign_array_that_does_not_fit tells")
    param, grad, both, grown = (reference.asarray(np.full(8, k / 9, "float32")) for k in range(4))
    with pytest.raises(ValueError, match="m and v overlap"):
        kernels.adam_step(param, grad, OnlyDLPack(both), OnlyDLPack(both), step=1)
    with pytest.raises(ValueError, match="m and v overlap"):
        kernels.adam_step(param[:6], grad[:6], OnlyDLPack(both[:6]), OnlyDLPack(both[2:]), step=1)
    kernels.adam_step(param, grad, OnlyDLPack(both), OnlyDLPack(grown), step=1)
    assert (reference.to_numpy(both) != np.float32(2 / 9)).all()


# --- updated in place -----------------------------------------------------------------------------
@pytest.mark.parametrize("wrap", [OnlyDLPack, OnlyInterface])
def test_a_step_writes_foreign_memory(wrap):
    arrays = [np.full(1023, value, "float32") for value in (1, 0.5, 0, 0)]
    expected = [array.copy() for array in arrays]
    kernels.adam_step(*map(wrap, arrays), step=1)
    kernels.adam_step(*expected, step=1)
    for found, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_foreign_array_that_does_not_fit_is_named_and_nothing_is_written():
    param, grad = np.ones(3), np.ones(4)
    with pytest.raises(ValueError, match=r"grad has shape \(4,\) but param has \(3,\)"):
        kernels.sgd_step(OnlyDLPack(param), OnlyDLPack(grad), lr=1.0)
    with pytest.raises(ValueError, match="overlap"):
        kernels.sgd_step(OnlyDLPack(param), OnlyDLPack(param), lr=1.0)
    np.testing.assert_array_equal(param, 1)


@pytest.mark.parametrize("named", [False, True])
def test_our_adam_trains_a_torch_module_as_torchs_does(torch, named):
    def module():
        torch.manual_seed(0)
        layers = torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
        return torch.nn.Sequential(*layers)

    ours, theirs = module(), module()
    parameters = dict(ours.named_parameters())
    optimizer = Adam(parameters if named else list(parameters.values()), lr=1e-2)
    reference = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    for _ in range(20):
        for net in (ours, theirs):
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
        grads = {name: parameter.grad for name, parameter in parameters.items()}
        optimizer.step(grads if named else list(grads.values()))
        reference.step()
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_networks_take_tensors(torch):
    net = Sequential(Dense(4, 3), device="cpu")
    x, y = torch.randn(40, 4), torch.randint(0, 3, (40,))
    before = predict(net, x)
    assert before.tolist() == predict(net, x.numpy()).tolist()
    optimizer = SGD(net.parameters(), lr=0.5)
    options = {"loss": SoftmaxCrossEntropy(), "optimizer": optimizer, "progress": False}
    history = fit(net, (x, y), epochs=5, **options)
    assert history.loss[-1] < history.loss[0]


# --- whole networks -------------------------------------------------------------------------------
def pair(torch, seed=0):
    """The same network in both libraries, with different numbers."""
    torch.manual_seed(seed)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 7, bias=False),
        torch.nn.BatchNorm1d(7),
        torch.nn.ReLU(),
        torch.nn.Linear(7, 2),
    )
    with torch.no_grad():
        for tensor in (theirs[1].weight, theirs[1].bias, theirs[1].running_mean):
            tensor.normal_()
        theirs[1].running_var.uniform_(0.5, 2)
    ours = Sequential(Dense(5, 7, bias=False), BatchNorm(7), ReLU(), Dense(7, 2), device="cpu")
    return ours, theirs.eval()


def test_a_torch_network_comes_in_and_says_the_same(torch):
    ours, theirs = pair(torch)
    load_torch_state(ours, theirs.state_dict())
    x = torch.randn(30, 5)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x), theirs(x).numpy(), rtol=1e-5, atol=1e-6)


def test_our_network_goes_out_and_says_the_same(torch):
    ours, theirs = pair(torch)
    theirs.load_state_dict(torch_state(ours))
    x = torch.randn(30, 5)
    with torch.no_grad():
        np.testing.assert_allclose(ours(x), theirs(x).numpy(), rtol=1e-5, atol=1e-6)


def test_names_of_another_module_are_used(torch):
    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.norm = torch.nn.Linear(5, 7, bias=False), torch.nn.BatchNorm1d(7)
            self.out = torch.nn.Linear(7, 2)

    ours, other = pair(torch)[0], Other()
    other.load_state_dict(torch_state(ours, like=other.state_dict()))
    np.testing.assert_array_equal(
        other.hidden.weight.detach().numpy().T, ours.layers[0].params["weight"]
    )
    again = pair(torch)[0]
    load_torch_state(again, other.state_dict())
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)


def changed(state, **changes):
    state = {key: value for key, value in state.items() if key not in changes.get("without", ())}
    return state | changes.get("more", {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"without": ["3.weight", "3.bias"]}, "2 modules"),
        ({"without": ["3.bias"]}, "stands for layer 3"),
        ({"more": {"4.weight": np.zeros((2, 2))}}, "3 layers with arrays"),
        ({"more": {"3.weight": np.zeros((7, 2), "float32")}}, r"expected \(2, 7\)"),
        ({"more": {"3.weight": "text"}}, "is a str"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_written(torch, changes, words):
    ours, theirs = pair(torch)
    before = ours.state_dict()
    with pytest.raises((TypeError, ValueError), match=words):
        load_torch_state(ours, changed(theirs.state_dict(), **changes))
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_without_torch_the_error_tells(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch"):
        torch_state(Sequential(Dense(2, 2), device="cpu"))


def test_a_dtype_that_another_package_gave_numpy_is_named():
    """JAX brings ml_dtypes, by which NumPy holds bfloat16 but can't compute in compiled loops."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with JAX")

    class Foreign:
        def __array__(self, dtype=None, copy=None):
            return np.ones(2, ml_dtypes.bfloat16)

    with pytest.raises(TypeError, match="param is a Foreign of bfloat16; expected float16, float3"):
        as_array(Foreign(), "param")
