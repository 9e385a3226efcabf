"""Captured steps of real CuPy on the made-up driver: the same as layer by layer, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from onepass.nets import (
    L2,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Momentum,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    capture,
    fit,
)
from onepass.nets.training.captured.steps import CapturedSteps

from proving.made_up_driver import counting
from proving.made_up_driver.test_training import OPTIMIZERS, blobs, trained

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("made_up_gpu")]


def test_x(monkeypatch):
    from onepass.nets.training import history
    import onepass.nets.training.loop as loop
    old = loop.Loop._epoch
    def ep(self):
        old(self); print("PATH", self.run.history.path, self.run.step)
    monkeypatch.setattr(loop.Loop, "_epoch", ep)
    figures, state = trained("cpu", "adam", "float32")
    found, there = trained("cuda", "adam", "float32")
    print(figures, found)
    import onepass.nets.training.captured.steps as st
    np.testing.assert_allclose(found, figures, rtol=5e-6)
