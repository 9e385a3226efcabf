"""Dropout on a GPU whose memory runs out or whose compiler fails: done or not begun, never half."""

from __future__ import annotations

import numpy as np
import pytest
from onepass import kernels
from onepass.nets import Dropout
from proving.absence.every_failure import ENGINES, check_every_failure, strided


class Things:
    """x, where y goes, and a layer."""

    def __init__(self, machine, layout):
        gaps = layout == "gaps"
        self.x = strided(machine, (4, 3), "float16") if gaps else machine.draw((4, 3), "float16")
        self.out = strided(machine, (4, 3), "float16") if gaps else machine.draw((4, 3), "float16")
        self.layer, self.y = Dropout(0.5), machine.array(np.zeros((4, 3), "float16"))

    def seen(self):
        arrays = [array.get().tobytes() for array in (self.x, self.out, self.y)]
        return arrays, self.layer.state()


@pytest.mark.parametrize(("keep_prob", "in_place"), [(0.5, False), (0.5, True), (1.0, False)])
@pytest.mark.parametrize("layout", ["contiguous", "gaps"])
@pytest.mark.parametrize("engine", ENGINES)
def test_dropout_is_never_half(engine, layout, keep_prob, in_place):
    def run(things):
        out = things.x if in_place else things.out
        kernels.dropout(things.x, keep_prob, seed=1, draw=2, out=out, engine=engine)

    tried = check_every_failure(
        lambda machine: Things(machine, layout), Things.seen, run, "dropout", f"engine '{engine}'"
    )
    assert tried["compile"] >= (keep_prob < 1.0 or layout == "gaps")


def test_a_layer_takes_no_mask_where_its_pass_failed():
    def run(things):
        things.y = things.layer.forward(things.x, train=True)

    tried = check_every_failure(
        lambda machine: Things(machine, "contiguous"), Things.seen, run, "dropout", "float16 arrays"
    )
    assert min(tried.values()) >= 1
