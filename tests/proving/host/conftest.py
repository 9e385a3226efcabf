"""What tests of CUDA text on the host share."""

from __future__ import annotations

import pytest

from proving.host.sanitized import usable


@pytest.fixture(params=["asan", "tsan"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each sanitizer that there is."""
    return usable(request.param)
