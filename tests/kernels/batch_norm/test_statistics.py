"""Batch normalization's statistics: their variance, their dtypes, and frozen ones."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from cases.batch_norm import LAYOUTS, arrays, make, needs, refused
from onepass import kernels
from onepass.nets import BatchNorm, Dense, Sequential, load, load_torch_state, save, torch_state
from onepass.nets.saving.network_json import network_config
from oracles import batch_norm as batchnorm
from tolerances import DTYPES, assert_close

VECTORS = ("gamma", "beta", "running_mean", "running_var")


# --- the biased variance --------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["N C", "N C H W over N H W C"])
def test_the_running_variance_may_be_the_biased_one(engine, layout, dtype):
    needs(engine, dtype)
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, order=order)
    batch = batchnorm.forward(case.x, case.gamma, case.beta, **case.options)
    for ddof in (0, 1):
        x, gamma, beta, mean, var = map(engine.asarray, (case.x, *case[2:6]))
        options = {"momentum": 0.3, "running_var_ddof": ddof, **case.options}
        engine.kernel("batch_norm_forward")(x, gamma, beta, mean, var, **options)
        m = case.values
        wanted = 0.7 * case.running_var.astype("f8") + 0.3 * batch.var * m / (m - ddof)
        limit = (7.0 if dtype != "float16" else 0.6) * engine.factor
        assert_close(engine.to_numpy(var), wanted, dtype, limit=limit, what=f"ddof {ddof}")
        wanted = 0.7 * case.running_mean.astype("f8") + 0.3 * batch.mean
        scale = np.abs(case.running_mean.astype("f8")) + np.abs(batch.mean)
        assert_close(engine.to_numpy(mean), wanted, dtype, scale=scale, limit=limit)


@pytest.mark.parametrize("ddof", [2, -1, 0.0, True, None, "0"])
def test_another_ddof_is_refused(engine, ddof):
    error = ValueError if type(ddof) is int else TypeError
    refused(engine, "forward", arrays(engine, running_var_ddof=ddof), error, "running_var_ddof is")


# --- dtypes of gamma, beta and the running statistics ---------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("other", [*DTYPES, "int64", "uint8"])
@pytest.mark.parametrize("name", [*VECTORS, "all"])
def test_vectors_of_another_dtype_count_as_their_values(engine, name, other, dtype):
    """What is written keeps its dtype; gradients have that of gamma and beta."""
    needs(engine, dtype)
    integers, changed = other not in DTYPES, VECTORS if name == "all" else (name,)
    if integers and any(each.startswith("running") for each in changed):
        changed = ("gamma", "beta")
    case = make((6, 3, 5), dtype=dtype)
    given = {"gamma": [3, 4, 5], "beta": [1, 0, 2], "running_mean": [0, 1, 2],
             "running_var": [2, 1, 4]}  # fmt: skip
    host = {key: np.array(v, other if key in changed else dtype) for key, v in given.items()}
    same = {key: np.array(v, dtype) for key, v in given.items()}
    results = []
    for vectors in (host, same):
        mine = {key: engine.asarray(v) for key, v in vectors.items()}
        x, dy = engine.asarray(case.x), engine.asarray(case.dy)
        z = engine.kernel("batch_norm_inference")(x, *mine.values())
        frozen = engine.kernel("batch_norm_inference_backward")(dy, x, *mine.values())
        y, saved = engine.kernel("batch_norm_forward")(x, *mine.values())
        grads = engine.kernel("batch_norm_backward")(dy, saved)
        for gradients in (grads, frozen):
            for key, gradient in zip(("gamma", "beta"), gradients[1:], strict=True):
                wide = "float64" if dtype == "float64" else "float32"
                kind = wide if vectors[key].dtype.kind in "iu" else vectors[key].dtype
                assert gradient.dtype == kind, key
        assert all(mine[key].dtype == vectors[key].dtype for key in VECTORS)
        results.append([z, y, grads[0], frozen[0], mine["running_mean"], mine["running_var"]])
    for one, two in zip(*results, strict=True):
        coarse = max(np.finfo(engine.to_numpy(each).dtype).eps for each in (one, two))
        one, two = engine.to_numpy(one).astype("f8"), engine.to_numpy(two).astype("f8")
        np.testing.assert_allclose(one, two, rtol=4 * coarse, atol=coarse)


# --- backward through inference -------------------------------------------------------------------
def frozen_oracle(case):
    """dx, dgamma, dbeta by the chain rule, the statistics being constants; and y before ReLU."""
    axis = case.options["channel_axis"]
    x, dy = (batchnorm.rows(each, axis) for each in (case.x, case.dy))
    column = [np.float64(each)[:, None] for each in case[2:6]]
    inv_std = 1 / np.sqrt(column[3] + case.options["eps"])
    xhat = (x - column[2]) * inv_std
    z = column[0] * xhat + column[1]
    if case.options["activation"]:
        dy = np.where(z > 0, dy, 0.0)
    dx = batchnorm.from_rows(dy * column[0] * inv_std, case.x.shape, axis)
    return dx, (dy * xhat).sum(axis=1), dy.sum(axis=1), z, np.abs(dy * xhat).sum(axis=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_inference_follow_the_oracle(engine, layout, activation, dtype):
    needs(engine, dtype)
    shape, axis, order = LAYOUTS[layout]
    case = make(shape, axis, dtype=dtype, activation=activation, order=order)
    near = batchnorm.from_rows(np.abs(frozen_oracle(case)[3]) < 0.05, case.x.shape, axis)
    case.dy[near & (activation is not None)] = 0  # where rounding could decide
    want = frozen_oracle(case)
    run = engine.kernel("batch_norm_inference_backward")
    vectors = list(map(engine.asarray, case[2:6]))
    for place in (None, "dy", "x"):
        dy, own = engine.asarray(case.dy), engine.asarray(case.x)
        out = {"dy": dy, "x": own}.get(place)
        dx, dgamma, dbeta = run(dy, own, *vectors, out=out, **case.options)
        assert out is None or dx is out
        limit = (8.0 if dtype != "float16" else 0.6) * engine.factor
        assert_close(engine.to_numpy(dx), want[0], dtype, limit=limit, what="dx")
        scale = [want[4], np.abs(batchnorm.rows(case.dy, axis)).sum(axis=1)]
        for found, expected, each in zip((dgamma, dbeta), want[1:3], scale, strict=True):
            assert_close(engine.to_numpy(found), expected, dtype, scale=each, limit=limit)


def test_gradients_of_inference_without_gamma_and_of_no_samples(engine):
    run = engine.kernel("batch_norm_inference_backward")
    mean, var = engine.asarray(np.zeros(3, "f")), engine.asarray(np.full(3, 3.0, "f"))
    x = engine.asarray(np.ones((1, 3), "f"))
    dx, *rest = run(x, x, None, None, mean, var, eps=1.0)
    assert (engine.to_numpy(dx) == 0.5).all()
    assert rest == [None, None]
    empty = engine.asarray(np.ones((0, 3), "f"))
    dx, dgamma, dbeta = run(empty, empty, var, mean, mean, var)
    assert dx.shape == (0, 3)
    assert (engine.to_numpy(dgamma) == 0).all()
    assert (engine.to_numpy(dbeta) == 0).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dy": np.ones((4, 3), "f8")}, "dy has dtype float64 but x has float32"),
        ({"dy": np.ones((3, 3), "f4")}, "dy has shape"),
        ({"running_mean": None}, "running_mean is None"),
        ({"out": np.ones((2, 3), "f4")}, "out has shape"),
    ],
)
def test_gradients_of_inference_refuse(changed, words):
    good = {name: np.ones((4, 3), "f4") for name in ("dy", "x")}
    good |= {name: np.ones(3, "f4") for name in VECTORS}
    with pytest.raises((TypeError, ValueError), match=words):
        kernels.batch_norm_inference_backward(**{**good, **changed})


# --- the layer ------------------------------------------------------------------------------------
def network(**options):
    layers = Dense(4, 5, bias=False), BatchNorm(5, **options), Dense(5, 2)
    return Sequential(*layers, seed=1, dtype="float64", device="cpu")


def batches(count=3, n=8):
    return np.random.default_rng(0).normal(2.0, 3.0, (count, n, 4))


def test_without_momentum_all_batches_count_alike():
    net, hidden = network(momentum=None, running_var_ddof=0), []
    for x in batches():
        hidden.append(net.layers[0].forward(x))
        net.forward(x, train=True)
    buffers = net.buffers()
    np.testing.assert_allclose(
        buffers["1.running_mean"], np.mean([h.mean(axis=0) for h in hidden], axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(
        buffers["1.running_var"], np.mean([h.var(axis=0) for h in hidden], axis=0), rtol=1e-12
    )
    assert buffers["1.num_batches_tracked"] == 3


def test_a_refused_batch_is_not_counted():
    net = network(momentum=None)
    with pytest.raises(ValueError, match="not 2 values a channel"):
        net.forward(batches()[0][:1], train=True)
    assert net.buffers()["1.num_batches_tracked"] == 0


@pytest.mark.parametrize("how", ["file", "pickle", "deepcopy"])
def test_options_and_counts_outlast_a_copy(tmp_path, how):
    net = network(momentum=None, running_var_ddof=0, use_running_average=True)
    net.layers[1].use_running_average = False
    net.forward(batches()[0], train=True)
    if how == "file":
        save(tmp_path / "net.safetensors", net)
        other = load(tmp_path / "net.safetensors", device="cpu").net
    else:
        other = pickle.loads(pickle.dumps(net)) if how == "pickle" else copy.deepcopy(net)
    for x in batches()[1:]:
        net.forward(x, train=True)
        other.forward(x, train=True)
    for name, buffer in net.buffers().items():
        assert np.array_equal(buffer, other.buffers()[name]), name
    assert repr(other) == repr(net)


def test_files_of_layers_without_the_options_are_what_they_were(tmp_path):
    assert network_config(network())["layers"][1]["arguments"] == {
        "features": 5, "momentum": 0.1, "eps": 1e-5, "activation": None,
    }  # fmt: skip
    save(tmp_path / "net.safetensors", network())
    load(tmp_path / "net.safetensors", net=network())
    with pytest.raises(ValueError, match="running_var_ddof"):
        load(tmp_path / "net.safetensors", net=network(running_var_ddof=0))


def test_running_averages_in_training_are_used_and_left_alone():
    net = network()
    for x in batches():
        net.forward(x, train=True)
    net.layers[1].use_running_average = True
    before = {name: buffer.copy() for name, buffer in net.buffers().items()}
    x, dy = batches()[0][:1], np.ones((1, 2))
    y = net.forward(x, train=True)
    assert np.array_equal(y, net.forward(x))
    dx = net.backward(dy)
    grads = net.parameters().flat_grads.copy()
    for name, buffer in net.buffers().items():
        assert np.array_equal(buffer, before[name]), name
    flat, h = net.parameters().flat, 1e-6
    for k in range(flat.size):
        kept, values = flat[k], []
        for flat[k] in (kept + h, kept - h):
            values.append(net.forward(x).sum())
        flat[k] = kept
        assert abs((values[0] - values[1]) / (2 * h) - grads[k]) < 1e-7
    slopes = [(net.forward(x + h * e).sum() - net.forward(x - h * e).sum()) / (2 * h)
              for e in np.eye(4)]  # fmt: skip
    np.testing.assert_allclose(dx[0], slopes, atol=1e-7)
    assert net.least_rows == 1


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_pytorch_counts_alike(momentum):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    net = network(momentum=momentum)
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 5, bias=False),
        torch.nn.BatchNorm1d(5, momentum=momentum),
        torch.nn.Linear(5, 2),
    ).double()
    module.load_state_dict(torch_state(net))
    for x in batches():
        net.forward(x, train=True)
        module(torch.from_numpy(x))
    state = module.state_dict()
    np.testing.assert_allclose(net.buffers()["1.running_var"], state["1.running_var"], rtol=1e-12)
    other = network(momentum=momentum)
    load_torch_state(other, state)
    assert torch_state(other)["1.num_batches_tracked"] == (3 if momentum is None else 0)
    x, dy = batches()[0], np.ones((8, 2))
    other.layers[1].use_running_average = True
    leaf = torch.tensor(x, requires_grad=True)
    module.eval()(leaf).backward(torch.from_numpy(dy))
    other.forward(x, train=True)
    np.testing.assert_allclose(other.backward(dy), leaf.grad, rtol=1e-10)
    np.testing.assert_allclose(other.layers[1].grads["gamma"], module[1].weight.grad, rtol=1e-10)
