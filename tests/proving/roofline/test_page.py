"""The page of predictions is what its command gives, and its model does as it says."""

from __future__ import annotations

from collections import Counter

import pytest

from proving.compiled import gate, sass
from proving.compiled.sass import Loop
from proving.compiled.versions import compilers as versions_here
from proving.roofline import counts, page
from proving.roofline.counts import Counted, Values
from proving.roofline.devices import COPY, DEVICES, REGISTERS
from proving.roofline.model import predicted, resident

SHOWN = page.PAGE.read_text(encoding="utf-8")
UPDATE = "the page is stale: run `PYTHONPATH=tests python -m proving.roofline.page --update`"
H200 = DEVICES[0]


@pytest.fixture
def compilers():
    """Skips where the page can't be made, or is of other compilers."""
    gate.needed_for_code()
    for name in page._PACKAGES:
        told = f"{name} {versions_here()[name]}"
        if told not in SHOWN:
            pytest.skip(f"the page is not of {told}")


@pytest.mark.usefixtures("compilers")
@pytest.mark.parametrize("name", counts.names())
def test_the_page_shows_what_is_counted_now_of_a_form_of_each_kernel(name):
    kernel = next(counts.counted(name))
    assert f"| {' | '.join(page.row(kernel))} |\n" in SHOWN, UPDATE


def test_the_page_begins_as_the_command_writes_it(monkeypatch):
    """All but the counts."""
    monkeypatch.setattr(counts, "names", list)
    monkeypatch.setattr(counts, "calls", dict)
    made, _, _ = page.page().partition("\n## The kernels")
    if any(f"{name} {versions_here()[name]}" not in SHOWN for name in page._PACKAGES):
        pytest.skip("the page is of other compilers")
    assert SHOWN.startswith(made), UPDATE


def test_the_page_says_what_it_is():
    title, _, first, *_ = SHOWN.splitlines()
    assert title.endswith(": a prediction")
    assert first.startswith("**PREDICTION. Nothing on this page was measured")


def test_a_result_of_a_gpu_is_named_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    assert "has no result of one" in page._results()
    (tmp_path / "2027-01-01-gpu-nvidia-h9-proof.json").write_text("{}")
    assert "2027-01-01-gpu-nvidia-h9-proof.json" in page._results()


# --- the model ------------------------------------------------------------------------------------
def kernel(loads, stores, instructions, values=None, registers=32, threads=256):
    loop = Loop(instructions, Counter(loads), Counter(stores))
    return Counted("some", "", values, registers, threads, loop)


def test_an_element_is_told_by_what_is_written_or_else_read():
    """One store of 16 bytes is four values; a coefficient that is loaded beside x moves nothing."""
    applied = kernel({128: 1, 32: 2}, {128: 1}, 40, Values(1, 1))
    assert (applied.elements, applied.bytes, applied.instructions) == (4, 8, 10)
    summed = kernel({32: 8}, {}, 40, Values(2, 0))
    assert (summed.elements, summed.bytes, summed.instructions) == (4, 8, 10)
    unknown = kernel({128: 1}, {128: 1}, 40)
    assert (unknown.elements, unknown.bytes) == (8, 4)


def test_the_longest_of_three_times_counts():
    few, many = Values(1, 1), 128 * 4
    bound = {
        "memory": kernel({128: 1}, {128: 1}, 8, few),
        "instructions": kernel({128: 1}, {128: 1}, many, few),
        "latency": kernel({16: 1}, {16: 1}, 4, few, registers=255),
    }
    for name, one in bound.items():
        found = predicted(one, H200)
        assert found.bound == name
        memory = one.bytes / (COPY * H200.bytes_per_second)
        assert found.share == pytest.approx(memory / found.seconds)
        assert (found.share == 1) == (name == "memory")
    lanes = H200.multiprocessors * 128 * H200.hertz
    found = predicted(bound["instructions"], H200)
    assert found.seconds == pytest.approx(many / 4 / lanes)


@pytest.mark.parametrize(
    ("registers", "threads", "there"),
    [(32, 256, 2048), (33, 256, 1536), (64, 256, 1024), (64, 1024, 1024), (16, 256, 2048)],
)
def test_as_many_threads_are_there_as_registers_and_the_gpu_allow(registers, threads, there):
    assert resident(registers, threads, H200) == there
    assert there * registers <= REGISTERS


def test_the_busiest_loop_is_that_which_moves_most_and_the_whole_kernel_where_none_does():
    first = ".L_x_1:\n /*0000*/ LDG.E R0, [R2] ;\n /*0010*/ STG.E [R2], R0 ;\n"
    first += " /*0020*/ @P0 BRA `(.L_x_1) ;\n"
    second = first.replace("_1", "_2").replace(".E ", ".E.128 ")
    found = sass.code_of(first + second).busiest_loop()
    assert found == Loop(3, Counter({128: 1}), Counter({128: 1}))
    assert found.bytes == 32
    straight = " /*0000*/ LDG.E.64 R0, [R2] ;\n /*0010*/ STG.E [R2], R0 ;\n /*0020*/ EXIT ;\n"
    found = sass.code_of(straight).busiest_loop()
    assert (found.instructions, found.loaded, found.bytes) == (3, 8, 12)


def test_launches_of_a_call_are_counted_without_those_that_made_its_arrays():
    pytest.importorskip("numba")
    seen = counts.launched(counts.calls()["a step of a rule"])
    assert seen == ["adam"]
