"""Reading bias and variance, with the examples that courses give."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onepass.nets import BiasVariance, bias_variance

SHARES = st.floats(0, 1)


@pytest.mark.parametrize(
    ("train", "dev", "base", "verdict"),
    [
        (0.01, 0.11, 0.0, "high variance"),
        (0.15, 0.16, 0.0, "high bias"),
        (0.15, 0.30, 0.0, "both"),
        (0.005, 0.01, 0.0, "neither"),
        (0.15, 0.16, 0.15, "neither"),
        (0.08, 0.10, 0.01, "high bias"),
        (0.08, 0.12, 0.075, "high variance"),
        (0.0, 0.0, 0.0, "neither"),
        (0.05, 0.01, 0.2, "neither"),  # better than the base, and than on its own set
    ],
)
def test_verdicts_of_known_cases(train, dev, base, verdict):
    found = bias_variance(train, dev, base)
    assert found.verdict == verdict
    assert found.bias == pytest.approx(train - base)
    assert found.variance == pytest.approx(dev - train)


@given(train=SHARES, dev=SHARES, base=SHARES, tolerance=SHARES)
def test_high_is_more_than_the_tolerance(train, dev, base, tolerance):
    found = bias_variance(train, dev, base, tolerance)
    if abs(train - base - tolerance) > 1e-9:
        assert (found.verdict in ("high bias", "both")) == (train - base > tolerance)
    if abs(dev - train - tolerance) > 1e-9:
        assert (found.verdict in ("high variance", "both")) == (dev - train > tolerance)


def test_what_is_exactly_the_tolerance_is_not_high():
    assert bias_variance(0.15, 0.16, 0.15, tolerance=0.01).verdict == "neither"
    assert 0.16 - 0.15 > 0.01, "as floating point has it"
    assert bias_variance(0.15, 0.1601, 0.15, tolerance=0.01).verdict == "high variance"


def test_advice_fits_the_verdict():
    assert "larger network" in bias_variance(0.3, 0.3).advice
    assert "more data" in bias_variance(0.0, 0.3).advice
    both = bias_variance(0.3, 0.6).advice
    assert both.index("larger network") < both.index("more data"), "bias is mended first"
    assert "test set" in bias_variance(0.0, 0.0).advice


def test_is_a_frozen_record_that_prints_itself():
    found = bias_variance(0.01, 0.11)
    assert isinstance(found, BiasVariance)
    assert str(found).startswith("bias 1.00%, variance 10.00%: high variance; ")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.bias = 0  # type: ignore[misc]


@pytest.mark.parametrize("name", ["train_error", "dev_error", "base_error", "tolerance"])
@pytest.mark.parametrize("value", [15, -0.1, float("nan")])
def test_refuses_what_is_no_share(name, value):
    good = {"train_error": 0.1, "dev_error": 0.1}
    with pytest.raises(ValueError, match=rf"{name} is {value}; expected a number in \[0, 1\]"):
        bias_variance(**(good | {name: value}))
    with pytest.raises(TypeError, match=f"{name} is '0.1'"):
        bias_variance(**(good | {name: "0.1"}))
