"""Steps on encoded states on a GPU whose memory runs out or whose compiler fails: done or not
begun."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.kernels import encoded_states
from onepass.kernels.engine_table import Kept
from onepass.kernels.rules import prepare
from onepass.kernels.state_formats.layout import BFLOAT16, EIGHT_BIT
from proving.absence.every_failure import ENGINES, check_every_failure

# Of NumPy's scalars, on which Numba's kernels run as Python.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
SIZES, NAMES = (5, 131, 64), ("param", "grad", "m", "v")


class Things:
    """Arrays of calls in several layouts."""

    def __init__(self, machine, kinds):
        self.calls = []
        for size, (kind, halves) in zip(SIZES, kinds, strict=False):
            values = np.linspace(0.5, 2.0, size, dtype="float32")
            states = [
                self._on(machine, kernels.encode_state(values, each, signed=signed, block_size=64))
                for each, signed in zip(kind, (True, False), strict=True)
            ]
            param, rest = (machine.array(a) for a in kernels.split_param(values)) if halves else (
                machine.array(values), None
            )  # fmt: skip
            self.calls.append(([param, machine.array(values), *states], rest))

    def _on(self, machine, state):
        return encoded_states.moved(state, machine.array)

    def seen(self):
        found = []
        for arrays, rest in self.calls:
            for each in (*arrays, rest):
                parts = (each.codes, each.scales) if hasattr(each, "codes") else (each,)
                found += [part.get().tobytes() for part in parts if part is not None]
        return found


@pytest.fixture(autouse=True)
def bits_as_uint16(monkeypatch):
    """The made-up GPU's arrays are NumPy's, which would be of ml_dtypes.bfloat16."""
    monkeypatch.setattr("onepass.kernels.state_formats.formats.bfloat16_dtype", lambda: None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "kind", [(BFLOAT16, EIGHT_BIT), pytest.param((EIGHT_BIT, EIGHT_BIT), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("halves", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_step_is_never_half(kind, halves, engine):
    def run(things):
        for arrays, rest in things.calls:
            kernels.adam_step(*arrays, step=2, remainder=rest, engine=engine)

    tried = check_every_failure(
        lambda machine: Things(machine, [(kind, halves)]), Things.seen, run, f"engine '{engine}'"
    )
    assert tried["compile"] >= 1
    assert tried["memory"] >= (engine == "array")


@pytest.mark.parametrize("engine", [pytest.param("array", marks=pytest.mark.slow), *ENGINES[1:]])
def test_nor_is_one_of_many_arrays_in_several_layouts(engine):
    kinds = [
        ((EIGHT_BIT, EIGHT_BIT), False),
        ((EIGHT_BIT, BFLOAT16), True),
        ((BFLOAT16, BFLOAT16), True),
    ]

    def run(things):
        prepared = prepare("adam", 2, (1e-3, (0.9, 0.999), 1e-8, False, 0.0, False, False), 1.0)
        columns = [*zip(*(arrays for arrays, _ in things.calls), strict=True)]
        kept, halves = Kept(12), [rest for _, rest in things.calls]
        given = columns, halves, lambda k: NAMES
        encoded_states.step_all(prepared, *given, engine, (3, 2), kept)

    tried = check_every_failure(
        lambda machine: Things(machine, kinds), Things.seen, run, f"engine '{engine}'"
    )
    assert tried["compile"] >= 3
