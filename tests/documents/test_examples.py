"""Every example runs as a user runs it, says what its picture shows, and writes the picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import onepass
import pytest

gallery = pytest.importorskip("manual.gallery", reason="examples are not part of a wheel")

FOLDER = Path(onepass.__file__).parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.exists(), reason="examples are not part of an installed wheel"),
]


def run(name, folder, device="cpu"):
    """What the example prints; its picture is looked at as far as a test can.

    Those that train hundreds of small networks run on the CPU alone: a GPU would take minutes.
    """
    for package in ("matplotlib", "sklearn"):
        pytest.importorskip(package, reason=f"examples need {package}")
    picture = folder / "picture.png"
    command = [sys.executable, "-W", "error", str(FOLDER / name), "--device", device]
    done = subprocess.run(
        [*command, "--out", str(picture)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        # alone, as other tests run beside it: helpers that wait for work would take their core
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "ONEPASS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 20_000
    if device == "cpu":
        gallery.keep(FOLDER / name, picture, done.stdout)
    return done.stdout


def numbers(pattern, text):
    """{first group: the others as numbers} of every match."""
    found = {name: [*map(float, rest)] for name, *rest in re.findall(pattern, text)}
    assert found, f"nothing in the output looks like {pattern}:\n{text}"
    return found


def test_batch_norm_widens_what_can_be_trained_and_regularizes(tmp_path):
    text = run("batch_norm.py", tmp_path)
    reached = numbers(r"(with\w*) batch norm: (\d+) of 36 settings reach 90%", text)
    assert reached["with"][0] >= 20 > 3 * reached["without"][0]
    found = numbers(r"(.*): held-out loss ([\d.]+) after", text)
    loss = {name: value for name, (value,) in found.items()}
    assert loss["with batch norm"] < 0.8 * loss["without batch norm"]
    assert loss["with dropout"] < loss["without batch norm"]
    assert loss["with batch norm and dropout"] < min(loss["with dropout"], 0.1)


def test_norms_vanish_and_explode_unless_weights_or_layers_keep_them(reference, tmp_path):
    text = run("vanishing_gradients.py", tmp_path, reference.device)
    found = numbers(r"(.*): activations ([\d.e+-]+) at layer 50, gradient ([\d.e+-]+)", text)
    assert found["W = 1.5 I"] == pytest.approx([1.5**50] * 2, rel=0.02)
    assert found["W = 0.5 I"] == pytest.approx([0.5**50] * 2, rel=0.02)
    # A factor on the weights is one on the norm at every layer.
    he = found["ReLU, He"]
    assert found["ReLU, twice He"] == pytest.approx([2.0**50 * norm for norm in he], rel=0.05)
    assert found["ReLU, half of He"] == pytest.approx([0.5**50 * norm for norm in he], rel=0.05)
    for cured in ("ReLU, He", "tanh, Xavier"):
        assert all(0.02 < norm < 50 for norm in found[cured]), cured
    activation, gradient = found["ReLU, half of He, batch norm"]
    assert 0.02 < activation < 50
    assert 1 < gradient < 1.25**50


def test_initialization_decides_what_activations_are_like(reference, tmp_path):
    text = run("activation_histograms.py", tmp_path, reference.device)
    deviation = numbers(r"(.*): deviation ([\d.e+-]+) at layer 1, ([\d.e+-]+) at layer 5", text)
    ends = numbers(r"(.*): deviation .*, (\d+)% at an end", text)
    assert len(deviation) == 12
    assert len(ends) == 8
    assert ends["sigmoid, deviation 1"][0] > 40
    assert ends["tanh, deviation 1"][0] > 70
    assert deviation["ReLU, deviation 1"][1] > 1000 * deviation["ReLU, deviation 1"][0]
    for function in ("tanh", "ReLU"):
        first, last = deviation[f"{function}, deviation 0.01"]
        assert last < first / 1000, function
    for right in ("tanh, Xavier", "ReLU, He"):
        first, last = deviation[right]
        assert first / 3 < last < 3 * first, right
    assert ends["tanh, Xavier"][0] < 5


def test_optimizers_take_their_ways(reference, tmp_path):
    text = run("optimizer_paths.py", tmp_path, reference.device)
    found = numbers(r"(.*): f = (\S+) after \d+ steps", text)
    names = ("SGD", "Momentum", "AdaGrad", "RMSprop", "Adam")
    start = 7**2 / 20 + 2**2
    for name in names:
        assert 0 <= found[f"x^2/20 + y^2, {name}"][0] < start / 50, name
    for name in ("Momentum", "RMSprop", "Adam"):
        assert found[f"x^2 - y^2, {name}"][0] < -1 < found["x^2 - y^2, SGD"][0], name


def test_momentum_rmsprop_and_adam_leave_sooner_than_gradient_descent(reference, tmp_path):
    text = run("saddle_point.py", tmp_path, reference.device)
    steps = numbers(r"(.*): away after (\d+) steps", text)
    assert len(steps) == 10
    for place in ("saddle", "plateau"):
        for name in ("Momentum", "RMSprop", "Adam"):
            assert 3 * steps[f"{place}, {name}"][0] < steps[f"{place}, SGD"][0], (place, name)


def test_the_computation_graph_is_33_and_its_derivatives_are_right(reference, tmp_path):
    text = run("computation_graph.py", tmp_path, reference.device)
    assert "u = b c = 6, v = a + u = 11, J = 3 v = 33\n" in text
    assert "dJ/dv = 3, dJ/da = 3, dJ/du = 3, dJ/db = 6, dJ/dc = 9\n" in text
    assert "gradient check: right: ratio" in text


def test_early_stopping_keeps_the_weights_before_the_turn(reference, tmp_path):
    text = run("early_stopping.py", tmp_path, reference.device)
    words = r"best dev loss ([\d.]+) at epoch (\d+), stopped after epoch (\d+); with the weights "
    found = re.search(words + r"restored ([\d.]+), after 50 epochs ([\d.]+)", text)
    best, best_epoch, stopped, restored, last = map(float, found.groups())
    assert restored == best
    assert stopped == best_epoch + 10 < 50
    assert last > 1.2 * best
    kept, lost = map(float, re.search(r"accuracy ([\d.]+)% against ([\d.]+)%", text).groups())
    assert kept > lost + 5


def test_every_schedule_has_its_rates_and_a_plateau_is_left(reference, tmp_path):
    text = run("schedules.py", tmp_path, reference.device)
    found = numbers(r"(.*): from ([\d.e-]+), ([\d.e-]+) at most, in the end ([\d.e-]+)", text)
    assert len(found) == 18
    assert found["Cosine (to 0.02 within 700)"] == [0.1, 0.1, 0.02]
    assert found["OneCycle (two phases)"] == [0.004, 0.1, 4e-7]
    assert found["Warmup, Polynomial, Staircase"] == [0.001, 0.1, 0.005]
    loss, without = map(float, re.search(r"loss: ([\d.]+), without it ([\d.]+)", text).groups())
    assert 0.08 < loss < 0.8 * without, "the noise in the targets has a variance of 0.09"
    assert "ReduceOnPlateau: from 0.3 to 0.09 in epoch " in text


def test_an_average_falls_by_noise_and_stands_still_to_the_nearest(tmp_path, reference):
    text = run("state_formats.py", tmp_path, reference.device)
    found = numbers(r"(.*): ([\d.]+), ([\d.]+), ([\d.]+) of float64 after", text)
    assert {*found} == {
        f"{kind} {how}" for kind in ("bfloat16", "8bit") for how in ("nearest", "noise")
    }
    for kind in ("bfloat16", "8bit"):
        assert found[f"{kind} noise"] == pytest.approx([1, 1, 1], abs=0.1)
        shares = found[f"{kind} nearest"]
        assert 1.5 < shares[0] < shares[1] < shares[2]
        assert shares[2] > 20


def test_more_ranks_pay_for_larger_networks_and_faster_links(tmp_path):
    text = run("scale_on_paper.py", tmp_path)
    last = {
        (size, link): int(ranks)
        for size, link, ranks in re.findall(r"(\S+) parameters, (\d+ Gb/s \w+).* (\d+)\n", text)
    }
    assert len(last) == 6
    for link in ("10 Gb/s Ethernet", "200 Gb/s InfiniBand"):
        assert last["1e+06", link] < last["1e+08", link] < last["1e+10", link], link
    efficiencies = numbers(r"(\S+ parameters, NVLink)\D+4, 450 GB/s +([\d.]+) +([\d.]+)", text)
    for at_2, at_8 in efficiencies.values():
        assert 0 < at_8 <= at_2 <= 1


def test_random_on_the_right_scale_finds_more_than_a_grid(tmp_path):
    text = run("random_search.py", tmp_path)
    words = r"(.*): best dev accuracy ([\d.]+) on average, ([\d.]+) at worst; (\d+) different"
    found = numbers(words, text)
    mean, worst, useful = ({name: row[k] for name, row in found.items()} for k in range(3))
    assert [*found] == ["grid", "uniform", "log-uniform", "coarse to fine"]
    assert worst["log-uniform"] > worst["grid"] + 0.01
    assert worst["coarse to fine"] > worst["grid"] + 0.01
    assert mean["uniform"] < mean["log-uniform"]
    assert max(useful["grid"], useful["uniform"]) < useful["log-uniform"] < useful["coarse to fine"]


def test_halving_finds_a_good_network_for_few_epochs(tmp_path):
    text = run("halving_search.py", tmp_path)
    stages = numbers(r"stage of (\d+) epochs: (\d+) candidates, the best ([\d.]+)", text)
    assert {int(k): count for k, (count, _) in stages.items()} == {2: 27, 6: 9, 18: 3, 54: 1}
    reached = numbers(r"(.*): dev accuracy ([\d.]+) with (\d+) epochs", text)
    assert reached["halving"] == [stages["54"][1], 216]
    assert reached["4 to the end"][1] == 216
    assert reached["all to the end"][1] == 27 * 54
    assert reached["halving"][0] > max(0.95, reached["all to the end"][0] - 0.015)
    assert int(re.search(r"number (\d+) of 27", text)[1]) <= 9
    rates = numbers(r"best after (\d+) epochs has a rate of ([\d.e-]+)", text)
    assert rates["2"] > rates["54"]
    assert float(re.search(r"test accuracy: ([\d.]+)", text)[1]) > 0.95


def test_a_mixed_table_goes_through_a_pipeline(tmp_path):
    pytest.importorskip("pandas", reason="the table is a data frame")
    text = run("mixed_table.py", tmp_path)
    found = numbers(r"(.*): accuracy ([\d.]+), ROC AUC ([\d.]+), log loss ([\d.]+)", text)
    network, line = found["network"], found["logistic regression"]
    assert network[0] > line[0] + 0.02
    assert network[1] > line[1] + 0.05
    assert network[2] < line[2] - 0.03
    words = r"gets (\d+) columns, (\d+)% of their numbers not 0\n  age, months, spending, "
    columns, filled = map(int, re.search(words, text).groups())
    assert 30 < columns < 50
    assert filled < 30, "sparse, or ColumnTransformer makes it dense"
    assert "plan_basic, plan_plus, plan_pro" in text
    assert "classes: leaves, stays; " in text
    worth = numbers(r"(\w+): (-?[\d.]+) points of accuracy", text)
    assert [*worth] == ["age", "months", "spending", "plan", "city"]
    assert max(worth, key=worth.get) == "spending"
    assert worth["plan"][0] > 2


def test_calibration_makes_probabilities_true_and_keeps_the_classes(tmp_path):
    text = run("calibration.py", tmp_path)
    words = r"(.*): log loss ([\d.]+), Brier score ([\d.]+), calibration error ([\d.]+), accuracy "
    found = numbers(words + r"([\d.]+)", text)
    assert [*found] == ["as trained", "sigmoid", "isotonic", "stopped early"]
    loss, brier, error, right = found["as trained"]
    for name in ("sigmoid", "isotonic"):
        assert found[name][0] < 0.8 * loss, name
        assert found[name][1] < 0.92 * brier, name
        assert found[name][2] < error / 2, name
        assert found[name][3] == pytest.approx(right, abs=0.01), name
    assert found["stopped early"][2] < error / 2


def test_a_file_is_learnt_without_being_in_memory(tmp_path):
    pytest.importorskip("pandas", reason="it reads the file")
    text = run("larger_than_memory.py", tmp_path)
    size = float(re.search(r"the file: 200000 rows .*, ([\d.]+) MiB", text)[1])
    peak = float(re.search(r"peak memory: ([\d.]+) MiB", text)[1])
    assert peak < size / 4
    found = numbers(r"after (\d+) rows: accuracy ([\d.]+)", text)
    scores = [score for (score,) in found.values()]
    assert [*found] == [str(4000 * k) for k in (1, *range(5, 50, 5))]
    assert scores[0] < 0.8
    assert scores[-1] > 0.9
    assert scores[-1] > scores[2] > scores[1] > scores[0]


def test_our_adam_updates_torchs_parameters_as_torchs_does(tmp_path):
    pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    text = run("torch_parameters.py", tmp_path)
    assert float(re.search(r"differ by ([\d.e-]+)", text)[1]) < 1e-3
    losses = numbers(r"(.*): loss ([\d.]+) in epoch 1, ([\d.]+) in", text)
    first, last = losses["onepass.nets.Adam"]
    assert last < first / 5
    assert [first, last] == pytest.approx(losses["torch.optim.Adam"], rel=1e-3)


def test_every_example_is_run():
    tested = re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text(encoding="utf-8"))
    assert {path.name for path in FOLDER.glob("*.py")} == set(tested)
