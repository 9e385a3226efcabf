"""`onepass bench` from end to end: what it measures, writes, prints and refuses."""

from __future__ import annotations

import io
import json
import os
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from onepass.__main__ import main
from onepass.bench import command as run
from onepass.bench.peers import steps as peers
from onepass.bench.report.record import read_report
from onepass.bench.suite import ON_A_GPU, SECTIONS, Choice, workloads
from onepass.bench.workloads.kernels import state_formats
from onepass.bench.workloads.training import epochs as training
from rich.console import Console

pytest.importorskip("sklearn", reason="digits come from scikit-learn")
pytest.importorskip("matplotlib", reason="the page has figures")

LEFT_OUT = "left out of this test"
RESULTS = Path(run.__file__).with_name("results")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads stall each other beside any other busy process."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def leave_out(patch):
    """What takes a minute to compile: peers/test_steps.py measures it."""
    patch.setattr(state_formats, "why_no_deepspeed", lambda *where: LEFT_OUT)
    for name in ("why_no_deepspeed", "why_no_compiled_step"):
        patch.setattr(peers, name, lambda *where: LEFT_OUT)


def bench(**options):
    """A small run on the CPU, without what takes a minute to compile; and its text."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        report = run.bench(
            mode="small", device="cpu", console=Console(file=text, width=80), **options
        )
    return report, text.getvalue()


def paths_of(section, mnist=None):
    """(operation, label, dtype, path) of all that can run here."""
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        return [
            (work.operation, work.label, work.dtype, path)
            for work in workloads(section, Choice("small", "cpu", mnist))
            for path in work.paths
            if not work.missing(path)
        ]


def found_in(report, section):
    rows = [one for one in report.measurements if one.section == section]
    return [(one.operation, one.label, one.dtype, one.path) for one in rows]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A section -> its report, text and file; each section is measured once."""
    folder = tmp_path_factory.mktemp("sections")

    @cache
    def of(section):
        return *bench(only=[section], json=str(folder / section)), folder / section

    return of


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """Two sections with everything written."""
    folder = tmp_path_factory.mktemp("bench")
    files = {name: str(folder / name) for name in ("json", "page", "png")}
    report, text = bench(only=["vectorize", "tensors"], **files)
    return report, text, folder


# --- what it measures -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    "section",
    [
        "tensors",
        "beside-blas",
        "vectorize",
        "training",
        "step-parts",
        pytest.param("estimators", marks=pytest.mark.slow),
    ],
)
def test_every_path_of_a_section_is_measured(section, measured):
    report, _, _ = measured(section)
    assert found_in(report, section) == paths_of(section)
    assert {one.section for one in report.measurements} == {section}
    assert all(one.timing.median > 0 for one in report.measurements)
    assert report.seconds > 0


@pytest.mark.slow
@pytest.mark.peers
def test_the_whole_suite_runs_and_is_written(tmp_path):
    files = {name: str(tmp_path / name) for name in ("json", "page")}
    report, text = bench(**files)  # figures are drawn for the page, and alone in the tests below
    for section in SECTIONS:
        assert found_in(report, section) == paths_of(section), section
        assert bool(found_in(report, section)) == (section not in ON_A_GPU), section
    assert all(one.timing.median > 0 for one in report.measurements)
    assert read_report(tmp_path / "json") == report
    assert (tmp_path / "page").read_text(encoding="utf-8").count("<svg") >= 5
    reasons = {(one.section, one.path): one.reason for one in report.skipped}
    assert reasons["steps", "deepspeed"] == LEFT_OUT
    assert LEFT_OUT in " ".join(text.split())
    assert report.figures
    assert_curves_by_us_and_by_pytorch(report)


def test_training_has_curves_by_us_and_by_pytorch(measured):
    report, _, _ = measured("training")
    assert_curves_by_us_and_by_pytorch(report)


def assert_curves_by_us_and_by_pytorch(report):
    wanted = ["onepass"] + ["torch fused"] * (find_spec("torch") is not None)
    assert [(one.data, one.batch, one.path) for one in report.curves] == [
        ("digits", 16, path) for path in wanted
    ]
    assert all(len(one.loss) == run.EPOCHS["small"] for one in report.curves)


@pytest.mark.slow
def test_estimators_are_judged_by_their_scores_and_written(measured):
    report, text, file = measured("estimators")
    works = workloads("estimators", Choice("small", "cpu"))
    wanted = [(work.case.name, path) for work in works for path in ("onepass", "sklearn")]
    assert [(one.data, one.path) for one in report.fits] == wanted
    assert read_report(file) == report
    assert "estimators, float32, cpu: mean and standard error" in text
    reasons = {(one.section, one.path): one.reason for one in report.skipped}
    assert reasons == {("estimators", "mnist"): "no folder named: --data mnist:FOLDER"}


def test_other_sections_have_neither_curves_nor_a_word_on_mnist(some):
    report, _, _ = some
    assert report.curves == report.fits == []
    assert "mnist" not in [one.path for one in report.skipped]


@pytest.mark.peers
def test_reasons_are_told_once_each(monkeypatch):
    monkeypatch.setattr(run, "measure", lambda *what: [])
    report, _ = bench(only=["steps", "training"])
    assert len(set(report.skipped)) == len(report.skipped)
    reasons = {(one.section, one.path): one.reason for one in report.skipped}
    assert reasons["steps", "deepspeed"] == LEFT_OUT
    assert reasons["training", "mnist"] == "no folder named: --data mnist:FOLDER"


@pytest.mark.peers
def test_a_missing_package_is_told_and_the_rest_measured(monkeypatch):
    from onepass.bench.peers import torch_steps as torch_peers

    monkeypatch.setattr(torch_peers, "find_spec", lambda name: None)
    report, _ = bench(only=["tensors"])
    assert [one.path for one in report.measurements] == ["array", "separate", "flat", "limit"]
    assert {one.path for one in report.skipped} == {
        "torch for-loop",
        "torch foreach",
        "torch fused",
    }
    assert all("onepass[peers]" in one.reason for one in report.skipped)


# --- what it writes -------------------------------------------------------------------------------
def test_the_file_holds_the_report(some):
    report, _, folder = some
    assert read_report(folder / "json") == report
    assert report.mode == "small"
    assert {"python", "onepass", "numpy", "numba"} <= set(report.versions)
    assert "cores" in report.hardware[0]


def test_page_and_figures_exist_and_are_told(some):
    report, text, folder = some
    page = (folder / "page").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "logistic regression" in page
    pictures = list((folder / "png").glob("*.png"))
    assert pictures
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    for what, name in (("results", "json"), ("page", "page"), ("figures", "png")):
        assert f"{what}: {folder / name}" in text
    assert f"{len(report.measurements)} times" in text


def test_nothing_is_written_that_was_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, text = bench(only=["vectorize"])
    assert not list(tmp_path.iterdir())
    assert "results:" not in text


# --- MNIST ----------------------------------------------------------------------------------------
@pytest.fixture
def small_mnist(tmp_path):
    """Four files of random digits, as MNIST names them."""
    draw = np.random.default_rng(0)
    for part, rows in (("train", 150), ("t10k", 20)):
        pixels = draw.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        labels = draw.integers(0, 10, rows, dtype=np.uint8)
        for kind, magic, array in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            head = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return tmp_path


def test_mnist_is_trained_on_where_its_folder_is_named(small_mnist, monkeypatch):
    monkeypatch.setattr(training, "why_no_trainer", lambda path: LEFT_OUT)  # they train on digits
    report, _ = bench(only=["training"], mnist=str(small_mnist))
    labels = {one.label for one in report.measurements}
    assert labels == {"digits, batch 128", "mnist, batch 128", "mnist, batch 16"}
    assert {(one.data, one.batch) for one in report.curves} == {("digits", 16), ("mnist", 128)}
    assert "mnist" not in [one.path for one in report.skipped]


@pytest.mark.slow
@pytest.mark.skipif("ONEPASS_MNIST" not in os.environ, reason="ONEPASS_MNIST names no folder")
def test_real_mnist():
    report, _ = bench(only=["training"], mnist=os.environ["ONEPASS_MNIST"])
    sizes = {one.size for one in report.measurements if one.label.startswith("mnist")}
    assert sizes == {60_000}
    (ours,) = (one for one in report.curves if (one.data, one.path) == ("mnist", "onepass"))
    assert ours.test_accuracy[-1] > 0.95


# --- the command line -----------------------------------------------------------------------------
@pytest.fixture
def no_measuring(monkeypatch):
    def measure(*arguments):
        raise AssertionError("measured before the error was told")

    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(run, "train_curves", measure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "step"], "section is 'step'; expected 'steps', 'batch-norm'"),
        (["--only", "steps,,training"], "section is ''; expected 'steps'"),
        (["--json", "nowhere/a.json"], "'nowhere/a.json', but there is no folder"),
        (["--page", "nowhere/a.html"], "'nowhere/a.html', but there is no folder"),
        (["--png", "nowhere/a"], "'nowhere/a', but there is no folder"),
        (["--json", "."], "'.', which is no file; expected the name of a file"),
        (["--png", "file"], "'file' is a file; expected a folder"),
        (["--data", "cifar"], "--data is 'cifar'; expected mnist:FOLDER"),
        (["--data", "mnist"], "--data is 'mnist'; expected mnist:FOLDER"),
        (["--data", "mnist:"], "--data is 'mnist:'; expected mnist:FOLDER"),
        (["--data", "mnist:/no/such/folder"], "/no/such/folder is not a folder"),
        (["--data", "mnist:/no/such/one", "--only", "steps"], "/no/such/one is not a folder"),
        (["--device", "tpu"], "device is 'tpu'; expected"),
        (["--device", "cuda:99"], "device asks for 'cuda:99', which can't be used"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(
    tmp_path, monkeypatch, capsys, no_measuring, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["bench", "--quick", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_quick_run_does_without_what_compiles_for_seconds():
    for path in ("jax step", "jax scan", "jax", "torch compile"):
        assert "not in a quick run" in run.left_out(path, "quick")
        assert run.left_out(path, "small") == run.left_out(path, "default") == ""
    assert run.left_out("torch fused", "quick") == ""


def test_quick_and_full_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as left:
        main(["bench", "--quick", "--full"])
    assert left.value.code == 2
    assert "not allowed with argument --quick" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ([], {}),
        (["--quick"], {"mode": "quick"}),
        (["--full", "--device", "cuda:1"], {"mode": "full", "device": "cuda:1"}),
        (["--only", "steps,training"], {"only": ["steps", "training"]}),
        (["--data", "mnist:a:b"], {"mnist": "a:b"}),
        (
            ["--json", "a", "--page", "b", "--png", "c"],
            {"json": "a", "page": "b", "png": "c"},
        ),
    ],
)
def test_the_command_line_says_what_to_measure(monkeypatch, arguments, changed):
    asked = []
    monkeypatch.setattr(run, "bench", lambda **options: asked.append(options))
    assert main(["bench", *arguments]) == 0
    assert asked == [
        {
            "mode": "default",
            "device": "auto",
            "only": (),
            "mnist": None,
            "json": None,
            "page": "onepass-bench.html",
            "png": None,
            **changed,
        }
    ]


def test_compare_prints_how_two_files_differ(some, capsys):
    _, _, folder = some
    assert main(["bench", "compare", str(folder / "json"), str(folder / "json")]) == 0
    shown = capsys.readouterr().out
    assert "B beside A:" in shown
    assert "0 faster, 0 slower" in shown


@pytest.mark.parametrize("place", [0, 1])
def test_compare_refuses_files_that_are_missing_or_foreign(some, tmp_path, capsys, place):
    _, _, folder = some
    (tmp_path / "foreign.json").write_text("[]")
    for name, message in (
        ("nowhere.json", "No such file"),
        ("foreign.json", "foreign.json is not a result of `onepass bench`"),
    ):
        files = [str(folder / "json")] * 2
        files[place] = str(tmp_path / name)
        assert main(["bench", "compare", *files]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert "Traceback" not in shown.err


def test_page_makes_again_what_the_run_wrote(some, tmp_path, capsys):
    _, _, folder = some
    page = tmp_path / "page.html"
    for _ in range(2):  # the second replaces the first
        assert main(["bench", "page", str(folder / "json"), str(page)]) == 0
        assert page.read_bytes() == (folder / "page").read_bytes()
        assert "".join(capsys.readouterr().out.splitlines()) == f"page: {page}"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.skipif(not RESULTS.exists(), reason="results are not part of an installed wheel")
@pytest.mark.parametrize("of_make_gpu", [False, True])
def test_page_reads_committed_results_and_those_of_make_gpu(tmp_path, of_make_gpu):
    result = RESULTS / "2026-11-21-cpu-intel-xeon-2-cores-elementwise.json"
    if of_make_gpu:
        content = {"stages": [], "benchmark": json.loads(result.read_text(encoding="utf-8"))}
        result = tmp_path / "gpu.json"
        result.write_text(json.dumps(content), encoding="utf-8")
    assert main(["bench", "page", str(result), str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "<svg" in text
    assert "bias and relu, forward" in text


@pytest.mark.parametrize(
    ("result", "page", "message"),
    [
        ("nowhere.json", "page.html", "No such file or directory: 'nowhere.json'"),
        ("foreign.json", "page.html", "foreign.json is not a result of `onepass bench`"),
        ("damaged.json", "page.html", "damaged.json is damaged: report has no 'date'"),
        (".", "page.html", "Is a directory: '.'"),
        ("nowhere.json", "nowhere/page.html", "'nowhere/page.html', but there is no folder"),
        ("nowhere.json", ".", "'.', which is no file; expected the name of a file"),
        ("damaged.json", "./damaged.json", "would replace its results, 'damaged.json'; expected"),
    ],
)
def test_page_tells_what_it_cannot_read_or_write(
    tmp_path, monkeypatch, capsys, result, page, message
):
    monkeypatch.chdir(tmp_path)
    for name, text in (("foreign.json", "[]"), ("damaged.json", '{"format": 1}')):
        (tmp_path / name).write_text(text)
    assert main(["bench", "page", result, page]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert {path.name for path in tmp_path.iterdir()} == {"foreign.json", "damaged.json"}
    assert (tmp_path / "damaged.json").read_text() == '{"format": 1}'


def test_page_without_matplotlib_names_the_remedy(some, tmp_path, monkeypatch, capsys):
    _, _, folder = some
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    assert main(["bench", "page", str(folder / "json"), str(tmp_path / "page.html")]) == 2
    assert 'pip install "onepass[plot]"' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
