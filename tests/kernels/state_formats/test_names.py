"""Names of rules beside those of formats and of the loops that engines write; all rules compile."""

from __future__ import annotations

import ast
from dataclasses import replace

import numpy as np
import pytest
from cases.state_formats import CASES, UNSIGNED
from onepass import kernels
from onepass.kernels.rules import RULES
from onepass.kernels.state_formats.layout import FORMULAS, TAKEN, Layout
from onepass.kernels.state_formats.step import Rounding, step_one
from onepass.kernels.state_formats.words import PRIMITIVES

DERIVED = ("{}_at", "{}_scale", "{}_scales", "{}_new", "{}_most", "{}_factor", "{}_kept", "new_{}")
KINDS = ("bfloat16", "8bit")


def own_names(rule):
    """Those of its coefficients and states, and what statements make of the latter."""
    derived = {each.format(name) for name in rule.state for each in DERIVED}
    return {*rule.scalars, *rule.state, *derived}


def test_what_is_taken_are_all_functions_of_the_statements():
    assert {each.__name__ for each in (*FORMULAS, *PRIMITIVES)} < TAKEN


@pytest.mark.parametrize("name", RULES)
def test_no_coefficient_or_state_has_a_name_that_statements_use(name):
    rule = RULES[name]
    assert not own_names(rule) & TAKEN
    assert len(own_names(rule)) == len(rule.scalars) + len(rule.state) * (1 + len(DERIVED))


@pytest.fixture
def loop_source(monkeypatch):
    """What the loop of a layout is compiled from: its text's names, and those it is given."""
    pytest.importorskip("numba", reason="Numba is not installed")
    from onepass.kernels.state_formats.cpu import numba_loops

    seen = []

    def build(rule, suffix, text, namespace):
        seen.append((text, {*namespace}))

    monkeypatch.setattr(numba_loops.python_text, "build", build)
    monkeypatch.setattr(numba_loops, "c_function", lambda function: function)

    def source(rule, kind, param="bfloat16"):
        fresh = replace(rule, name=rule.name + "-names")  # an equal one may be compiled already
        numba_loops.block_loop(Layout(fresh, param, "float32", (kind,) * len(rule.state)))
        return seen[-1]

    return source


@pytest.mark.parametrize("kind", KINDS)
def test_nor_one_that_the_loop_uses(loop_source, kind):
    sources = {name: loop_source(rule, kind) for name, rule in RULES.items()}
    loops = set()
    for name, (text, given) in sources.items():
        used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        loops |= (used | given) - own_names(RULES[name])
    for name, rule in RULES.items():
        assert not own_names(rule) & loops, name
        text, _ = sources[name]
        written = [
            node.id
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        for scalar in rule.scalars:
            assert written.count(scalar) == 1, f"{scalar} of {name} is written by the loop"


def stepped(engine, rule, coefficients, kind):
    """param and states after a step of any rule, by the frame that the public functions use."""
    size, rng = 777, np.random.default_rng(6)
    arrays = [engine.asarray(rng.standard_normal(size).astype("f4")) for _ in range(2)]
    for state in rule.state:
        values = engine.asarray(np.abs(rng.standard_normal(size)).astype("f4"))
        how = "float32" if state == "average" else kind
        arrays.append(kernels.encode_state(values, how, signed=state not in UNSIGNED))
    step_one((rule, coefficients), arrays, engine.name, Rounding("a_step", 1, 1, None))
    return [engine.to_numpy(kernels.decode_state(array)).astype(float) for array in arrays]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "adam" else pytest.mark.slow) for n in CASES]
)
def test_every_rule_clipped_and_averaged(engine, name, kind):
    """The forms that optimizers use beside the public functions: held, then averaged."""
    rule = RULES[name].clipped.averaged
    prelude, last = (0.5, 0.01, 0.99, -1.0, -0.2), (0.9, 0.1)
    own = [0.5 if "beta" in each or "rest" in each else 0.1 for each in rule.coefficients]
    got = stepped(engine, rule, (*prelude, *own, *last), kind)
    expected = stepped(replace(engine, name="array"), rule, (*prelude, *own, *last), kind)
    param, average = got[0], got[-1]
    assert np.isfinite(param).all()
    rng = np.random.default_rng(6)
    for _ in range(len(rule.arguments) - 1):
        rng.standard_normal(777)
    np.testing.assert_allclose(average, 0.9 * np.abs(rng.standard_normal(777)) + 0.1 * param,
                               rtol=1e-5, atol=1e-6)  # fmt: skip
    for one, other in zip(got, expected, strict=True):
        same = np.isclose(one, other, rtol=1e-5, atol=1e-6)
        assert same.mean() > 0.995
