"""What the made-up driver alone can be asked."""

from __future__ import annotations

import pytest


@pytest.fixture
def made_up_gpu(request):
    """There is a made-up GPU: `--made-up-gpu` was asked for."""
    if not request.config.getoption("--made-up-gpu"):
        pytest.skip("what a driver was asked for is told by the made-up one: --made-up-gpu")
