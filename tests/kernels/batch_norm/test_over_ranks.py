"""A batch on several ranks is normalized by the statistics of all of them, on every engine."""

from __future__ import annotations

import numpy as np
import pytest
from cases.batch_norm import arrays, make, needs, passes, refused
from cases.batch_norm_ranks import Sent, assert_ranks, bits, in_threads, split, stacked, together
from hypothesis import given
from hypothesis import strategies as st
from onepass import kernels
from oracles import batch_norm as batchnorm
from tolerances import DTYPES, OFFSET_LIMIT

SHARES = {"equal": (4, 4, 4), "unequal": (1, 9, 2), "one empty": (5, 0, 7), "one of all": (12,),
          "first empty": (0, 0, 11, 1), "a row each": (1,) * 12}  # fmt: skip
SHAPES = {"N C": ((12, 7), 1), "N C H W": ((12, 5, 3, 4), 1), "N L C": ((12, 6, 33), -1),
          "long runs": ((12, 3, 300), 1)}  # fmt: skip


# --- values ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shares", SHARES)
def test_ranks_follow_the_oracle_of_the_whole_batch(engine, shares, shape, dtype, activation):
    size, axis = SHAPES[shape]
    kinds = {"dtype": dtype, "parameters": "float64" if dtype == "float64" else "float32"}
    assert_ranks(engine, make(size, axis, activation=activation, **kinds), SHARES[shares])


@given(
    shares=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(lambda s: sum(s) > 1),
    inner=st.sampled_from([(), (1,), (3, 2), (40,)]),
    channels=st.integers(1, 9),
    dtype=st.sampled_from(["float32", "float64"]),
    activation=st.sampled_from([None, "relu"]),
    momentum=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_any_shares_follow_the_oracle(engine, shares, inner, channels, dtype, activation, momentum):
    case = make((sum(shares), channels, *inner), dtype=dtype, activation=activation)
    assert_ranks(engine, case, shares, momentum=momentum)


@pytest.mark.parametrize("without", [("gamma",), ("beta",), ("gamma", "beta")])
def test_without_gamma_or_beta_or_running_statistics(engine, without):
    case = make((9, 5, 7), activation="relu")
    bare = case._replace(**dict.fromkeys((*without, "running_mean", "running_var")))
    z = batchnorm.forward(bare.x, bare.gamma, bare.beta, **bare.options).z
    bare.dy[np.abs(z) < 1e-3] = 0
    assert_ranks(engine, bare, (3, 0, 6))


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 2, 1)])
def test_any_order_in_memory(engine, order):
    assert_ranks(engine, make((9, 5, 7), activation="relu", order=order), (3, 2, 4))


@pytest.mark.parametrize("shape", [(120_003, 3), (64, 2, 3001), (40, 96, 15, 15)])
def test_arrays_that_are_cut_into_parts(engine, shape):
    shares = shape[0] // 8, shape[0] - shape[0] // 8
    assert_ranks(engine, make(shape, activation="relu"), shares)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axis"), [((64, 3, 17), 1), ((3000, 3), 1), ((64, 9, 3), -1)])
def test_a_mean_far_from_zero_costs_no_digits(engine, shape, axis, dtype):
    needs(engine, dtype)
    rng, shares = np.random.default_rng(3), (shape[0] - 8, 1, 7)
    x = (1e4 + rng.standard_normal(shape)).astype(dtype)
    x[: shares[0]] += 3  # the ranks differ
    gamma = engine.asarray(np.ones(3, dtype))
    forward, _ = passes(engine)

    def call(part):
        return lambda merge: forward(
            engine.asarray(part), gamma, None, channel_axis=axis, merge=merge
        )

    results = together([call(part) for part in split(x, shares)])
    y = np.concatenate([engine.to_numpy(y) for y, _ in results])
    want = batchnorm.forward(x, channel_axis=axis)
    # in float64 the variance loses what its terms' mean has of it, eps 1e4
    limits = (OFFSET_LIMIT / 100, 5e-7, 3e-10) if dtype == "float32" else (1e-10, 2e-12, 1e-15)
    kept = engine.to_numpy(results[0][1].kept).astype("f8")
    assert np.abs(y - want.y).max() < limits[0]
    np.testing.assert_allclose(kept[2], want.inv_std, rtol=limits[1])
    np.testing.assert_allclose(kept[0] + kept[1], want.mean, rtol=limits[2])


def test_dgamma_and_dbeta_are_those_of_a_rank(engine):
    case, shares = make((9, 4, 5), dtype="float64", activation="relu"), (2, 0, 7)
    needs(engine, "float64")
    forward, backward = passes(engine)
    gamma, beta = engine.asarray(case.gamma), engine.asarray(case.beta)
    xs, dys = ([engine.asarray(p) for p in split(a, shares)] for a in (case.x, case.dy))

    def forwards(x):
        return lambda merge: forward(x, gamma, beta, merge=merge, **case.options)

    def backwards(dy, saved, *places):
        given = dict(zip(("gamma_grad", "beta_grad"), places, strict=True))
        return lambda merge: backward(dy, saved, merge=merge, **given)

    saved = [saved for _, saved in together([forwards(x) for x in xs])]
    places = [[engine.asarray(np.full(4, 7.0)) for _ in range(2)] for _ in shares]
    results = together([backwards(dy, s, *p) for dy, s, p in zip(dys, saved, places, strict=True)])
    for rank, (_, *gradients) in enumerate(results):
        own = np.zeros_like(case.dy)
        split(own, shares)[rank][...] = split(case.dy, shares)[rank]
        want = batchnorm.backward(own, case.x, case.gamma, case.beta, **case.options)
        for found, place, name in zip(gradients, places[rank], ("dgamma", "dbeta"), strict=True):
            assert found is place
            expected = getattr(want, name)
            np.testing.assert_allclose(engine.to_numpy(found), expected, rtol=1e-9, atol=1e-12)


def test_results_may_replace_what_they_are_made_of(engine):
    case, shares = make((8, 3, 5), activation="relu"), (3, 5)
    forward, backward = passes(engine)
    gamma, beta = engine.asarray(case.gamma), engine.asarray(case.beta)
    made = []
    for replaces in (False, True):
        xs, dys = ([engine.asarray(p) for p in split(a, shares)] for a in (case.x, case.dy))

        def forwards(x, out):
            return lambda merge: forward(x, gamma, beta, merge=merge, out=out, **case.options)

        def backwards(dy, saved, replaces=replaces):
            return lambda merge: backward(dy, saved, merge=merge, out=dy if replaces else None)

        saved = [saved for _, saved in together([forwards(x, None) for x in xs])]
        pairs = zip(dys, saved, strict=True)
        found = [dx for dx, *_ in together([backwards(*pair) for pair in pairs])]
        found += [y for y, _ in together([forwards(x, x if replaces else None) for x in xs])]
        made.append([engine.to_numpy(each) for each in found])
    for one, two in zip(*made, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("kind", DTYPES)
def test_the_running_variance_is_that_of_all_ranks(engine, kind, ddof):
    case, shares = make((6, 3, 2)), (1, 5)
    forward, _ = passes(engine)
    running = [[engine.asarray(np.full(3, k, kind)) for k in (0.5, 2.0)] for _ in shares]

    def call(part, mine):
        options = {"running_var_ddof": ddof, "momentum": 0.25}
        return lambda merge: forward(
            engine.asarray(part), None, None, *mine, merge=merge, **options
        )

    together([call(*each) for each in zip(split(case.x, shares), running, strict=True)])
    batch = batchnorm.forward(case.x)
    wanted = 0.375 + 0.25 * batch.mean, 1.5 + 0.25 * batch.var * 12 / (12 - ddof)
    for each, expected in zip(running[0], wanted, strict=True):
        eps = max(np.finfo(kind).eps, np.finfo("float32").eps)
        assert each.dtype == kind
        np.testing.assert_allclose(engine.to_numpy(each), expected, rtol=2 * eps, atol=2 * eps)
    for pair in zip(*running, strict=True):
        assert bits([engine.to_numpy(each) for each in pair]) == 1


def test_nan_stays_in_its_channel_on_all_ranks(engine):
    case, shares = make((6, 3, 5)), (2, 4)
    case.x[0, 1, 2] = np.nan
    forward, backward = passes(engine)

    def forwards(part):
        return lambda merge: forward(engine.asarray(part), None, None, merge=merge)

    def backwards(part, saved):
        return lambda merge: backward(engine.asarray(part), saved, merge=merge)

    results = together([forwards(part) for part in split(case.x, shares)])
    parts = zip(split(case.dy, shares), (saved for _, saved in results), strict=True)
    slopes = together([backwards(*part) for part in parts])
    for found in (*(y for y, _ in results), *(dx for dx, *_ in slopes)):
        host = engine.to_numpy(found)
        assert np.isnan(host[:, 1]).all()
        assert np.isfinite(host[:, [0, 2]]).all()


def test_no_channels(engine):
    forward, backward = passes(engine)
    x = engine.asarray(np.zeros((4, 0), "float32"))
    ((y, saved),) = together([lambda merge: forward(x, None, None, merge=merge)])
    ((dx, *_),) = together([lambda merge: backward(y, saved, merge=merge)])
    assert y.shape == dx.shape == (4, 0)


@pytest.mark.parametrize("name", ["array", "numba"])
@pytest.mark.parametrize("shape", [(9, 4), (40, 32, 30, 30)])
def test_ranks_that_are_threads(name, shape):
    case, shares = make(shape, activation="relu"), (shape[0] - 5, 2, 3)
    xs, dys = split(case.x, shares), split(case.dy, shares)

    def work(rank, merge):
        both = {"merge": merge, "engine": name}
        y, saved = kernels.batch_norm_forward(
            xs[rank], case.gamma, case.beta, **both, **case.options
        )
        return y, kernels.batch_norm_backward(dys[rank], saved, **both)[0], saved.kept

    y, dx, kept = zip(*in_threads(len(shares), work), strict=True)
    assert bits(kept) == 1
    want = batchnorm.forward(case.x, case.gamma, case.beta, **case.options)
    slope = batchnorm.backward(case.dy, case.x, case.gamma, case.beta, **case.options)
    np.testing.assert_allclose(np.concatenate(y), want.y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(dx), slope.dx, rtol=1e-5, atol=1e-5)


# --- refused --------------------------------------------------------------------------------------
class Counted:
    """A merge of one rank that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, values):
        self.calls += 1
        return stacked([values])


@pytest.mark.parametrize("shares", [(1,), (1, 0), (0, 0, 0)])
def test_less_than_two_values_on_all_ranks_are_refused_by_each(engine, shares):
    forward, _ = passes(engine)
    sent = []

    def ends(values):
        sent.append(values)
        raise Sent

    for rows in shares:
        x = engine.asarray(np.ones((rows, 3), "float32"))
        with pytest.raises(Sent):
            forward(x, None, None, merge=ends)
    for rows in shares:
        given = arrays(engine, x=engine.asarray(np.ones((rows, 3), "float32")))
        given["out"] = engine.asarray(np.ones((rows, 3), "float32"))
        given["merge"] = lambda values: stacked(sent)
        words = (f"{len(shares)} rank(s)", f"{sum(shares)} value(s) a channel", "at least 2")
        refused(engine, "forward", given, ValueError, *words)


@pytest.mark.parametrize("merge", [1, "sum", [], np.ones(3)])
def test_what_is_not_called_is_refused(engine, merge):
    words = f"merge is a {type(merge).__name__}; expected None, or a function"
    refused(engine, "forward", arrays(engine, merge=merge), TypeError, words)
    forward, backward = passes(engine)
    x = engine.asarray(make((4, 3)).x)
    _, saved = forward(x, None, None)
    with pytest.raises(TypeError, match="merge is a"):
        backward(x, saved, merge=merge)


WRONG = {
    "nothing": (lambda values: None, TypeError, "what merge returned is None"),
    "one rank's": (lambda values: values, ValueError, "expected (ranks, "),
    "a list": (lambda values: [values], TypeError, "what merge returned is a list"),
    "no ranks": (lambda values: stacked([values])[:0], ValueError, "the arrays of all ranks"),
    "some": (lambda values: stacked([values])[..., :-1], ValueError, "has shape (1, "),
    "more axes": (lambda values: stacked([values])[None], ValueError, "stacked in their order"),
    "float32": (lambda values: stacked([values]).astype("f4"), TypeError, "has dtype float32"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_merge_may_not_return(engine, wrong):
    merge, error, words = WRONG[wrong]
    refused(engine, "forward", arrays(engine, merge=merge), error, words)
    forward, backward = passes(engine)
    case = make((4, 3))
    x, gamma, beta, dy = map(engine.asarray, (case.x, case.gamma, case.beta, case.dy))
    _, saved = forward(x, gamma, beta, merge=Counted())
    given = {name: engine.asarray(np.full(3, 7.0, "f")) for name in ("gamma_grad", "beta_grad")}
    given["out"] = dy
    with engine.refuses(error, given, words):
        backward(dy, saved, merge=merge, **given)
    assert not saved.overwritten


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt, MemoryError])
def test_an_error_of_merge_stays_as_it_is_and_nothing_was_written(engine, error):
    def merge(values):
        raise error("the network is gone")

    refused(engine, "forward", arrays(engine, merge=merge), error, "the network is gone")


def test_a_rank_refuses_its_arguments_before_it_takes_part(engine):
    merge = Counted()
    gamma = engine.asarray(np.ones(2, "float32"))
    for changed in ({"gamma": gamma}, {"momentum": 2.0}, {"eps": 0.0}, {"running_var_ddof": 2}):
        refused(engine, "forward", arrays(engine, merge=merge, **changed), ValueError)
    forward, backward = passes(engine)
    x = engine.asarray(make((4, 3)).x)
    _, saved = forward(x, None, None, merge=merge)
    assert merge.calls == 1
    with pytest.raises(ValueError, match="dy has shape"):
        backward(x[:2], saved, merge=merge)
    with pytest.raises(ValueError, match="gamma_grad is given"):
        backward(x, saved, gamma_grad=gamma, merge=merge)
    assert merge.calls == 1


def test_both_passes_merge_or_none(engine):
    forward, backward = passes(engine)
    x, merge = engine.asarray(make((4, 3)).x), Counted()
    _, alone = forward(x, None, None)
    _, of_all = forward(x, None, None, merge=merge)
    assert alone.count is None
    assert of_all.count == 4
    with pytest.raises(ValueError, match="a forward that had no merge, and the backward has one"):
        backward(x, alone, merge=merge)
    with pytest.raises(ValueError, match="a forward that had a merge, and the backward has none"):
        backward(x, of_all)
    assert merge.calls == 1
