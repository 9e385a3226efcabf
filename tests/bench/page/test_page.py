"""The page and its plots: nothing from outside, nothing unescaped, nothing blank."""

from __future__ import annotations

import builtins
import re
import struct
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest
from cases.reports import full_report, measurement, small_report
from onepass.bench.report.record import Curve, Skipped
from programs import TESTS

pytest.importorskip("matplotlib", reason="plots need matplotlib")

from onepass.bench.page.looks import LOOKS
from onepass.bench.page.page import write_page, write_pngs
from onepass.bench.page.plots import plots

VOID = {"meta", "br", "link", "img", "hr", "input"}
EVIL = '<script>alert("1")</script>&"\'$\\frac{$\\g<0>'


class Page(HTMLParser):
    """What a page holds, and whether its tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def values(self, name):
        return [value for _, found, value in self.attributes if found == name]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(full_report(gpu=True), path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_nothing_comes_from_outside(text, page):
    assert not {"script", "link", "iframe", "object", "img", "image", "base"} & set(page.tags)
    for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
        for value in page.values(name):
            assert value.startswith("#"), (name, value)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in text
    assert "@font-face" not in text
    assert all(part.startswith("#") for part in re.findall(r"url\(\s*['\"]?(.)", text))
    assert "http" not in text


def test_ids_are_unique_and_every_reference_meets_one(text, page):
    ids = Counter(page.values("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    inside = {value[1:] for name in ("href", "xlink:href") for value in page.values(name)}
    inside |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert inside - set(ids) == set()
    assert len(inside) > 100


def test_every_section_has_its_plot(page):
    sections = Counter(page.values("data-section"))
    report = full_report(gpu=True)
    assert set(sections) == {one.section for one in report.measurements} | {"curves"}
    assert sections["curves"] == 2
    assert page.tags.count("svg") == sum(sections.values()) == len(plots(report))
    ids = set(page.values("id"))
    for name in ("time", "gain", "peer", "bytes"):
        assert {f"{name}-float32-cpu", f"{name}-float32-cuda-0"} <= ids
    assert {"break-even-steps", "growth", "batch-norm-float32-cpu", "curves-mnist-128"} <= ids


def test_every_plot_has_a_caption_and_its_numbers(page):
    count = page.tags.count("svg")
    assert page.tags.count("figcaption") == count
    assert page.tags.count("details") == count


def test_the_page_says_machine_versions_figures_and_what_was_skipped(page):
    words = " ".join(" ".join(page.words).split())
    for part in (
        "Some Processor, 2 core(s)",
        "python 3.11.7, onepass 0.1.0, numpy 2.4.6",
        "default, 2026-11-21",
        "adam 1e7: NumPy / fused 17.46",
        "How to read this",
        "Skipped paths",
        'pip install "a[b]"',
        "1e8 elements, float32, cpu: time of array expressions / ours 15 x",
    ):
        assert part in words
    for word in ("Limit", "Gain", "Peer"):
        assert word in page.words
    assert words.count("deepspeed is missing") == 1


def test_words_from_the_report_are_escaped(tmp_path):
    report = small_report(
        *(
            measurement(path, k + 1.0, section=section, operation=EVIL, label=EVIL, size=size)
            for section in ("steps", "growth", EVIL)
            for size in (10, 100, 1000)
            for k, path in enumerate(("numba", "array", EVIL))
        ),
        mode=EVIL,
        versions={EVIL: EVIL},
        hardware=[EVIL],
        curves=[Curve(EVIL, EVIL, 8, [1.0], [0.5], [0.5], [1.0])],
        skipped=[Skipped(EVIL, EVIL, EVIL)],
        figures=[{"figure": EVIL, "value": 1.0, "at_least": 1, "reached": True}],
    )
    write_page(report, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert sum(EVIL in words for words in page.words) > 8
    for path in write_pngs(report, tmp_path / "png"):
        assert path.parent == tmp_path / "png"


def test_names_of_files_stay_in_their_folder_and_apart(tmp_path):
    report = small_report(
        *(measurement("numba", 1.0, section="vectorize", device=d) for d in ("../x", "/x", "x"))
    )
    files = write_pngs(report, tmp_path / "new" / "folder")
    assert len(set(files)) == 3
    assert sorted(files) == sorted((tmp_path / "new" / "folder").iterdir())


@pytest.mark.slow
def test_pngs_are_whole_and_not_blank(tmp_path):
    from matplotlib.image import imread

    report = full_report()
    files = write_pngs(report, tmp_path)
    assert [path.stem for path in files] == [plot.name for plot in plots(report)]
    for path in files:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", content[16:24])
        assert width == 1020
        assert height > 200
        shades = imread(path)[..., :3].mean(axis=2)
        assert 0.005 < (shades < 0.6).mean() < 0.5
        body = shades[int(height * 0.25) : int(height * 0.75), width // 4 : -width // 8]
        assert (body < 0.75).any(), path.name


def test_the_limit_is_dashed_and_every_path_looks_different():
    (plot,) = [plot for plot in plots(full_report()) if plot.name == "time-float32-cpu"]
    for axes in plot.figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert set(lines) == {
            "array", "tuned", "serial", "numba", "limit", "torch fused", "torch foreach"
        }  # fmt: skip
        assert lines["limit"].get_linestyle() == "--"
        for look in ("get_color", "get_marker"):
            assert len({str(getattr(line, look)()) for line in lines.values()}) == len(lines)
        assert list(lines["numba"].get_xdata()) == [10**k for k in range(2, 9)]
    rivals = ("array", "tuned", "serial", "numba", "limit", "torch fused", "torch foreach")
    assert len({LOOKS[name].hatch for name in rivals}) == len(rivals)


def test_legends_cover_no_data():
    for plot in plots(full_report()):
        plot.figure.draw_without_rendering()
        panels = plot.figure.axes
        legends = [*plot.figure.legends, *(axes.get_legend() for axes in panels)]
        for legend in filter(None, legends):
            box = legend.get_window_extent()
            for axes in panels:
                assert not box.overlaps(axes.get_window_extent()), plot.name
            assert box.x0 >= 0, plot.name
            assert box.x1 <= plot.figure.bbox.x1, plot.name


def test_bars_of_gain_start_at_one_and_end_at_the_gain():
    report = small_report(
        *(
            measurement(path, seconds, operation=rule)
            for rule, slow in (("sgd", 8.0), ("adam", 0.5))
            for path, seconds in (("array", slow), ("numba", 1.0))
        )
    )
    (plot,) = [plot for plot in plots(report) if plot.name.startswith("gain")]
    (axes,) = plot.figure.axes
    ends = [sorted((bar.get_y(), bar.get_y() + bar.get_height())) for bar in axes.patches]
    assert ends == [[1.0, 8.0], [0.5, 1.0]]


def test_training_curves_run_against_seconds_since_the_start():
    (plot,) = [plot for plot in plots(full_report()) if plot.name == "curves-mnist-128"]
    loss, accuracy = plot.figure.axes
    (ours,) = [line for line in loss.get_lines() if line.get_label() == "onepass"]
    assert ours.get_xdata() == pytest.approx([0.38 * k for k in range(1, 11)])
    assert ours.get_ydata()[-1] == pytest.approx(0.2)
    assert len(accuracy.get_lines()) == 3


def test_the_same_report_gives_the_same_page(tmp_path):
    report = small_report(*(measurement(path, 1.0) for path in ("array", "numba")))
    for name in ("a", "b"):
        write_page(report, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_empty_report_is_a_page(tmp_path):
    write_page(small_report(), tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "svg" not in page.tags
    assert "Some Processor" in " ".join(page.words)


def test_without_matplotlib_the_error_names_the_remedy(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "onepass\[plot\]"'):
        write_page(full_report(), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_importing_is_light_and_pyplot_is_never_used(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import onepass.bench.page.page as page; assert 'matplotlib' not in sys.modules;"
        "from cases.reports import measurement, small_report;"
        "page.write_page(small_report(measurement('numba', 1.0)), sys.argv[2]);"
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(TESTS), str(tmp_path / "page.html")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
