"""What `kernels.warmup` compiles, no training step does: the library's kernels are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels, nets
from onepass.kernels.compiling.gpu import cuda_launch

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]


@pytest.fixture
def made(monkeypatch):
    """The names of the kernels that are made from now on, none of which is known."""
    names, original = [], cuda_launch.RawKernel.__init__

    def noted(self, name, *given):
        names.append(name)
        original(self, name, *given)

    monkeypatch.setattr(cuda_launch.RawKernel, "__init__", noted)
    cuda_launch.forget()
    yield names
    cuda_launch.forget()


def trained(loss, dtype, clip_norm):
    rng = np.random.default_rng(0)
    net = nets.Sequential(
        nets.Dense(6, 16, bias=False), nets.BatchNorm(16, activation="relu"), nets.Dropout(0.5),
        nets.Dense(16, 5, activation="tanh"), nets.Dense(5, 3), seed=0, dtype=dtype, device="cuda",
    )  # fmt: skip
    x = rng.standard_normal((40, 6)).astype(dtype)
    y = rng.integers(0, 3, 40) if loss == "softmax" else rng.standard_normal((40, 3)).astype(dtype)
    function = nets.SoftmaxCrossEntropy() if loss == "softmax" else nets.MeanSquaredError()
    optimizer = nets.Adam(net.parameters(), lr=1e-3, clip_norm=clip_norm)
    return nets.fit(
        net, (x, y), loss=function, optimizer=optimizer, epochs=2, batch_size=20, progress=False
    )


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("loss", ["softmax", "squares"])
def test_a_captured_step_compiles_no_more(made, loss, dtype, clip_norm):
    kernels.warmup(
        dtype, "cupy", rules=["adam"], batch_norm=True, softmax=True, dropout=True,
        activations=("relu", "tanh"), captured=True,
    )  # fmt: skip
    assert {"graph_take", "graph_decide", "adam_by_table"} <= {*made}
    made.clear()
    history = trained(loss, dtype, clip_norm)
    assert history.path == "captured"
    assert made == []


def test_without_it_they_are_compiled_by_the_capture(made):
    kernels.warmup("float32", "cupy", rules=["adam"])
    made.clear()
    trained("squares", "float32", 1.0)
    assert {"graph_take", "graph_decide", "squares_total"} <= {*made}


def test_it_is_refused_unless_it_is_a_flag():
    with pytest.raises(TypeError, match="captured is 1"):
        kernels.warmup(captured=1)


def test_norms_compile_no_more(made):
    import cupy

    kernels.warmup("float32", "cupy", rules=(), norms="rms_norm")
    assert {"rms_norm_forward", "rms_norm_residual_forward", "rms_norm_plain_gradients"} <= {*made}
    made.clear()
    for width in (5, 64, 777, 5000):
        x, gamma = (cupy.ones(shape, "float32") for shape in ((3, width), width))
        for residual in (None, x):
            _, saved = kernels.rms_norm_forward(x, gamma, residual=residual)
            kernels.rms_norm_backward(x, saved)
    assert made == []
    with pytest.raises(ValueError, match="norms holds 'instance'"):
        kernels.warmup(norms="instance")
