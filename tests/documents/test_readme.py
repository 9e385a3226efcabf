"""README's Python blocks run as they stand, one after another."""

from __future__ import annotations

import re
from pathlib import Path

import onepass
import pytest

README = Path(onepass.__file__).parent / "README.md"


@pytest.mark.skipif(not README.exists(), reason="README.md is not part of an installed wheel")
def test_python_blocks_run(capsys):
    pytest.importorskip("sklearn", reason="README's network trains on scikit-learn's digits")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    scope = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), scope)
    assert float(capsys.readouterr().out.split()[-1]) > 0.9
