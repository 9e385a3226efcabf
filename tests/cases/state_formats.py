"""Steps on states in 16 and 8 bits: their arrays, and what they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onepass import kernels
from oracles import state_formats as oracle
from oracles.rules import RULES, Options
from tolerances import LIMITS, assert_close, signed, wide

FORMATS = ("float32", "bfloat16", "8bit")
UNSIGNED = frozenset({"v", "v_max", "u", "square_avg", "acc_delta", "sum_sq"})
DIFFERENT = 1e-3  # share of codes that float32's rounding may move over a threshold of noise


class Case(NamedTuple):
    """A rule, by the options that make it that one."""

    function: str
    options: Options

    @property
    def arrays(self) -> list[str]:
        return RULES[self.function].arrays_with(self.options)

    @property
    def states(self) -> list[str]:
        return self.arrays[2:]

    def at(self, step: int, seed: int | None) -> Options:
        """All options of that step, in float32's bounds."""
        counted = {"step": step} if "step" in RULES[self.function].options else {}
        noisy = {} if self.function == "sgd_step" else {"seed": seed}
        return {"lr": 0.1, **self.options, **counted, **noisy}


_CENTERED, _HEAVY = {"alpha": 0.9, "eps": 1e-2, "centered": True}, {"momentum": 0.8}
CASES = {
    "sgd": Case("sgd_step", {}),
    "momentum": Case("momentum_step", {"momentum": 0.8}),
    "nesterov": Case("momentum_step", {"momentum": 0.8, "nesterov": True}),
    "adagrad": Case("adagrad_step", {}),
    "rmsprop": Case("rmsprop_step", {"alpha": 0.9}),
    "rmsprop-momentum": Case("rmsprop_step", {"alpha": 0.9, **_HEAVY}),
    "rmsprop-centered": Case("rmsprop_step", _CENTERED),
    "rmsprop-centered-momentum": Case("rmsprop_step", _CENTERED | _HEAVY),
    "adam": Case("adam_step", {}),
    "amsgrad": Case("amsgrad_step", {}),
    "nadam": Case("nadam_step", {}),
    "radam": Case("radam_step", {"betas": (0.8, 0.95), "eps": 1e-2}),
    "adamax": Case("adamax_step", {}),
    "adadelta": Case("adadelta_step", {"eps": 1e-2}),
    "lion": Case("lion_step", {}),
}
"""Every rule."""


def encoded(
    engine: Any, name: str, values: Any, kind: str, block_size: int = 256, seed: int | None = None
) -> Any:
    """A state called `name` of these values, on the engine's device."""
    return kernels.encode_state(
        engine.asarray(np.asarray(values, np.float32)),
        kind,
        signed=name not in UNSIGNED,
        block_size=block_size,
        seed=seed,
    )


def start(rng: np.random.Generator, name: str, shape: Any) -> NDArray[Any]:
    """What an array called `name` may hold before a step: states over some magnitudes, and
    averages of gradients below the roots of those of squares."""
    if name == "param":
        return signed(rng, shape, 0.5, 2.0, "float32")
    if name == "grad":
        return signed(rng, shape, 0.25, 4.0, "float32")
    low, high = (0.05, 2.0) if name in UNSIGNED else (1e-3, 0.1)
    sizes = np.exp(rng.uniform(np.log(low), np.log(high), shape))
    return np.asarray(sizes if name in UNSIGNED else sizes * rng.choice([-1, 1], shape), "float32")


def call_arrays(
    engine: Any,
    case: Case,
    formats: Mapping[str, str] | str,
    shape: Any,
    *,
    block_size: int = 256,
    seed: int = 0,
) -> dict[str, Any]:
    """Good arguments: "param" and "grad" may be bfloat16 as well, then with a "remainder"."""
    rng = np.random.default_rng(seed)
    kinds = dict.fromkeys(case.states, formats) if isinstance(formats, str) else dict(formats)
    arrays: dict[str, Any] = {}
    for name in case.arrays:
        values, kind = start(rng, name, shape), kinds.get(name, "float32")
        if name == "param" and kind == "bfloat16":
            arrays[name], rest = kernels.split_param(engine.asarray(values))
            continue
        arrays[name] = encoded(engine, name, values, kind, block_size)
    if kinds.get("param") == "bfloat16":
        arrays["remainder"] = rest
    return arrays


def numbers(engine: Any, arrays: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """All arrays in float64, by their own names; a param in two halves is one."""
    found = {}
    for name, array in arrays.items():
        if name == "param" and "remainder" in arrays:
            array = kernels.join_param(array, arrays["remainder"])
        if name != "remainder":
            found[name] = wide(engine.to_numpy(kernels.decode_state(array)))
    return found


def parts(engine: Any, array: Any) -> list[NDArray[Any]]:
    """The bits of a state or array, as integers on the host."""
    if isinstance(array, kernels.State8bit):
        return [engine.to_numpy(array.codes), engine.to_numpy(array.scales).view(np.uint32)]
    host = np.ascontiguousarray(engine.to_numpy(array))
    return [host.view(f"u{host.dtype.itemsize}")]


def bits(engine: Any, arrays: Mapping[str, Any]) -> dict[str, list[NDArray[Any]]]:
    return {name: parts(engine, array) for name, array in arrays.items()}


def same_bits(one: Mapping[str, Sequence[Any]], other: Mapping[str, Sequence[Any]]) -> bool:
    return all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


def assert_encoded_step(
    engine: Any, case: Case, arrays: dict[str, Any], step: int, seed: int, block_size: int = 256
) -> None:
    """One step in place: the parameter is the oracle's given the decoded states, each state lies
    beside the oracle's value, and on the side that the noise says."""
    rule, options = RULES[case.function], case.at(step, seed)
    before = numbers(engine, arrays)
    asked = {name: value for name, value in options.items() if name != "seed"}
    expected = dict(
        zip(rule.written_with(case.options), rule.call(rule.oracle, before, asked), strict=True)
    )
    assert rule.call(engine.kernel(case.function), arrays, options) is None
    after = numbers(engine, arrays)
    assert np.array_equal(after["grad"], before["grad"]), "grad was written"

    number = step if "step" in rule.options else 0
    size = before["param"].size
    noise = oracle.noise(size, block_size, oracle.key(seed, number), len(case.states))
    limit = LIMITS["float32"][0] * engine.factor
    for name, want in expected.items():
        room = np.abs(before[name])
        if name == "param":
            room = np.maximum(room, np.maximum(options["lr"], np.abs(want - before[name])))
        if name == "param" or str(getattr(arrays[name], "dtype", "")) == "float32":
            assert_close(
                after[name].astype("float32"), want, "float32", scale=room, limit=limit, what=name
            )
            continue
        room = limit * float(np.finfo("float32").eps) * np.maximum(room, np.abs(want))
        u = noise[case.states.index(name)]
        _assert_beside(name, parts(engine, arrays[name]), want, room, u, block_size)


def _assert_beside(
    name: str, stored: list[NDArray[Any]], want: Any, room: Any, u: Any, block_size: int
) -> None:
    """Codes of one of the two values beside each number of `want`, by noise u; the number may be
    off by `room`."""
    codes, want, room = (np.reshape(each, -1) for each in (stored[0], want, room))
    codes = codes.astype(np.int64)
    if len(stored) == 1:
        signs, least, place = 1 << 15, 0, oracle.place_in_bfloat16
        exact = oracle.bfloat16_at(want, u)
    else:
        negative = name not in UNSIGNED
        signs, least = (1 << 7, 0) if negative else (1 << 8, 1)
        scales = stored[1].view(np.float32).astype(np.float64)
        assert np.array_equal(scales, oracle.scales_of(want, block_size)), f"scales of {name}"
        place = partial(
            oracle.place_in_block,
            scale=oracle.spread(scales, want.size, block_size),
            signed=negative,
        )
        exact = oracle.codes_at(place(want), u, negative, want)
    found = np.where(codes >= signs, signs - codes, codes)
    low, high = want - room, want + room
    below = np.where(low >= 0, place(low).code, -place(low).code - 1)
    above = np.where(high >= 0, place(high).code + 1, -place(high).code)
    assert (found >= below).all(), f"{name} is below both neighbours"
    assert (found <= np.maximum(above, least)).all(), f"{name} is above both neighbours"
    differ = codes != exact
    assert differ.sum() <= 1 + DIFFERENT * differ.size, (
        f"{name}: {differ.sum()} of {differ.size} codes differ"
    )
