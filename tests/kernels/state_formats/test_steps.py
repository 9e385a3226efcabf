"""Every rule on states of every format: the oracle's step on decoded states, rounded by noise."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from cases.state_formats import (
    CASES,
    DIFFERENT,
    FORMATS,
    assert_encoded_step,
    bits,
    call_arrays,
    numbers,
)
from hypothesis import given
from hypothesis import strategies as st
from onepass.kernels.rules import RULES as ALL_RULES
from oracles.rules import RULES

QUICK = ("adam", "rmsprop-centered-momentum")
"""Of two and three states; the others are compiled in slow runs."""

STATEFUL = [name for name, case in CASES.items() if case.states]
UNIFORM = [
    pytest.param(name, kind, marks=() if name in QUICK else pytest.mark.slow)
    for name in STATEFUL
    for kind in ("bfloat16", "8bit")
]
MIXES = [
    pytest.param(name, mix, id=f"{name}-{'-'.join(mix)}")
    for name in STATEFUL
    for mix in itertools.product(FORMATS, repeat=len(CASES[name].states))
    if len({*mix}) > 1
]
HALVES = {
    "float32 gradient": {"param": "bfloat16"},
    "bfloat16 gradient": {"param": "bfloat16", "grad": "bfloat16"},
}


def test_the_table_has_every_rule():
    assert len(CASES) == len(ALL_RULES) == 15
    assert {*CASES} == {*ALL_RULES}
    for name, case in CASES.items():
        assert {*case.states} == {*ALL_RULES[name].state}, name
        unsigned = {state for state in case.states if state in ALL_RULES[name].unsigned}
        assert unsigned == {state for state in case.states if not _negative(state)}, name


def _negative(state):
    return state in ("m", "velocity", "momentum_buffer", "grad_avg")


def take(engine, name, formats, size=4099, steps=3, block_size=256, seed=11):
    case = CASES[name]
    arrays = call_arrays(engine, case, formats, size, block_size=block_size)
    rng = np.random.default_rng(1)
    for step in range(1, steps + 1):
        assert_encoded_step(engine, case, arrays, step, seed + step, block_size)
        fresh = call_arrays(engine, case, formats, size, seed=int(rng.integers(1e6)))
        arrays["grad"] = fresh["grad"]


@pytest.mark.parametrize(("name", "kind"), UNIFORM)
def test_states_lie_beside_the_oracle_s_on_the_side_of_the_noise(engine, name, kind):
    take(engine, name, kind)


@pytest.mark.parametrize(("name", "mix"), MIXES)
def test_formats_mix(reference, name, mix):
    take(reference, name, dict(zip(CASES[name].states, mix, strict=True)), size=700, steps=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "adam",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("rmsprop-centered-momentum", "amsgrad")
        ),
    ],
)
def test_compiled_formats_mix(engine, name):
    states = CASES[name].states
    for first in range(3):
        take(engine, name, {s: FORMATS[(first + k) % 3] for k, s in enumerate(states)}, steps=2)


QUICK_HALVES = (
    ("sgd", "float32", "float32 gradient"),
    ("adam", "8bit", "bfloat16 gradient"),
)
# Each is compiled: of Adam all, of other rules what test_remainders compiles too, and one in turn.
EVERY = [*itertools.product(FORMATS, HALVES)]
BOTH = [("8bit", "bfloat16 gradient"), ("bfloat16", "float32 gradient")]
ALONE = [each for each in EVERY if each not in BOTH]
COMPILED_HALVES = [
    *(("sgd", "float32", how) for how in HALVES),
    *(
        (name, *each)
        for k, name in enumerate(STATEFUL)
        for each in (EVERY if name == "adam" else [*BOTH, ALONE[k % len(ALONE)]])
    ),
]


@pytest.mark.parametrize(
    ("name", "kind", "how"),
    [
        pytest.param(*case, marks=() if case in QUICK_HALVES else pytest.mark.slow)
        for case in COMPILED_HALVES
    ],
)
def test_a_param_in_two_halves_takes_the_oracle_s_step(engine, name, kind, how):
    take(engine, name, dict.fromkeys(CASES[name].states, kind) | HALVES[how], steps=2)


@pytest.mark.parametrize("how", HALVES)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", STATEFUL)
def test_so_it_does_in_array_expressions(reference, name, kind, how):
    take(reference, name, dict.fromkeys(CASES[name].states, kind) | HALVES[how], 700, steps=1)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 255, 257, 2047, 2049, 40_001])
@pytest.mark.parametrize("block_size", [64, 256, 2048])
def test_sizes_and_blocks(engine, size, block_size):
    take(engine, "adam", "8bit", size=size, steps=2, block_size=block_size)


@given(
    size=st.integers(1, 3000),
    block_size=st.sampled_from([64, 128, 256, 512, 1024, 2048]),
    kind=st.sampled_from(["bfloat16", "8bit"]),
    seed=st.integers(0, 2**64 - 1),
    step=st.integers(1, 10**6),
)
def test_any_size_block_seed_and_step(engine, size, block_size, kind, seed, step):
    block_size = 256 if kind == "bfloat16" else block_size
    arrays = call_arrays(engine, CASES["adam"], kind, size, block_size=block_size, seed=size)
    assert_encoded_step(engine, CASES["adam"], arrays, step, seed, block_size)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 300), (300, 1), ()])
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_shapes_are_read_in_c_order(engine, kind, shape):
    case = CASES["adam"]
    flat = call_arrays(engine, case, kind, int(np.prod(shape)))
    shaped = call_arrays(engine, case, kind, shape)
    for arrays in (flat, shaped):
        RULES[case.function].call(engine.kernel(case.function), arrays, case.at(1, 4))
    one, other = (numbers(engine, arrays) for arrays in (flat, shaped))
    for name, values in one.items():
        assert other[name].shape == shape
        np.testing.assert_array_equal(other[name].reshape(-1), values)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
@pytest.mark.parametrize("kind", ["bfloat16", "8bit"])
def test_empty_arrays_are_no_step(engine, kind, shape):
    arrays = call_arrays(engine, CASES["adam"], kind, shape)
    engine.kernel("adam_step")(*arrays.values(), step=1)


def test_seed_and_step_choose_the_noise(engine):
    case = CASES["adam"]
    outcomes = []
    for step, seed in ((5, 0), (5, None), (5, 1), (5, 0)):
        arrays = call_arrays(engine, case, "8bit", 999)
        RULES[case.function].call(engine.kernel(case.function), arrays, case.at(step, seed))
        outcomes.append(bits(engine, arrays))
    first, left_out, other, again = ([p.tolist() for k in o for p in o[k]] for o in outcomes)
    assert first == left_out == again, "seed is 0 by default"
    assert first != other


def test_a_function_that_counts_no_steps_takes_the_seed_alone(engine):
    case = CASES["lion"]
    changed = []
    for seed in (1, 2, 2):
        arrays = call_arrays(engine, case, "8bit", 5000)
        RULES[case.function].call(engine.kernel(case.function), arrays, case.at(1, seed))
        changed.append(numbers(engine, arrays)["m"])
    assert (changed[1] == changed[2]).all()
    assert (changed[0] != changed[1]).mean() > 0.1


# --- engines beside each other --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if name in QUICK else pytest.mark.slow)
        for name in STATEFUL
        for kind in ("bfloat16", "8bit")
    ],
)
def test_engines_agree_to_a_code(engine, name, kind):
    """The same noise: only float32's last bit, by fused multiply-adds, may turn one round."""
    if engine.name == "array":
        pytest.skip("it is what others are compared with")
    case, outcomes = CASES[name], []
    for chosen in (engine, replace(engine, name="array")):
        arrays = call_arrays(engine, case, kind, 20_011)
        RULES[case.function].call(chosen.kernel(case.function), arrays, case.at(1, 3))
        outcomes.append(bits(engine, arrays))
    for state in case.states:
        one, other = (outcome[state][0].astype(int) for outcome in outcomes)
        assert np.abs(one - other).max() <= 1, state
        assert (one != other).mean() < DIFFERENT, state
