"""proving/README.md shows the registers that the pinned compilers give now."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from proving import account as proof
from proving.compiled import gate as cuda_gate
from proving.compiled import table as cuda_table
from proving.compiled import versions
from proving.compiled.ptxas import Report

SHOWN = cuda_table.README.read_text(encoding="utf-8")
PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"


def test_the_table_is_of_the_pinned_compilers():
    """Else the test above would skip everywhere."""
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    pins = [each.split("==") for each in extras["optional-dependencies"]["cuda-check"]]
    pinned = {pin[0]: pin[1] for pin in pins if len(pin) == 2}
    packages = (*versions.PACKAGES, versions.ASSEMBLER)
    assert cuda_table.heading({name: pinned[name] for name in packages}) in SHOWN


@pytest.fixture
def made_up(monkeypatch):
    """No compiler is asked: `sm_75` takes 10 registers, or 12 in one form, and others 9."""

    def reports(kernel, architecture):
        more = 2 if architecture == "75" and kernel.dtype == "float32" else 0
        few = Report(10 if architecture == "75" else 9, 0)
        return {"decay": few, "no decay": Report(few.registers + more, 0)}

    monkeypatch.setattr(cuda_gate, "reports", reports)


@pytest.mark.usefixtures("made_up")
def test_a_cell_has_the_most_of_any_form_for_each_gpu(tmp_path):
    cuda_table.write(tmp_path / "new" / "table.md")
    table = (tmp_path / "new" / "table.md").read_text(encoding="utf-8")
    assert "| `cupy` | adam | 10 9 9 9 9 | 12 9 9 9 9 | 10 9 9 9 9 |\n" in table
    assert table.count("\n| `") == len({kernel[:2] for kernel in proof.shipped()})
    record = json.loads((tmp_path / "new" / "table.json").read_text(encoding="utf-8"))
    assert len(record["kernels"]) == 2 * len(list(proof.shipped()))
    (found,) = [
        each
        for each in record["kernels"]
        if list(each.values())[:4] == ["cupy", "adam", "float32", "no decay"]
    ]
    assert found["registers"] == {"75": 12, "80": 9, "90": 9, "100": 9, "120": 9}


@pytest.mark.usefixtures("made_up")
def test_a_stale_table_is_seen_and_updated():
    stale = f"before\n{cuda_table.BEGIN}old\n{cuda_table.END}after\n"
    fresh = cuda_table.replaced(stale, cuda_table.markdown())
    assert fresh != stale
    assert cuda_table.replaced(fresh, cuda_table.markdown()) == fresh
    assert fresh.startswith("before\n")
    assert fresh.endswith("after\n")
    with pytest.raises(ValueError, match="the document lacks the marks <!-- registers -->"):
        cuda_table.replaced("no marks", "table")
