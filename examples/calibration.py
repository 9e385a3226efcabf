"""Probabilities that can be believed: a network before and after calibration.

    python examples/calibration.py [--device auto] [--out calibration.png]

A classifier that says 90% should be right in 9 of 10 such cases. A network trained until it knows
its samples by heart is not: it has only ever seen itself be right, so that it says 99% where 80%
would be true. Its classes may still be good, its probabilities are not, and whoever weighs costs by
them, or ranks cases of several models, decides wrongly.

The data are made up: two classes, where 15% of the labels are drawn at random, so that nobody can
honestly be surer than about 93%. Shown are, on 10,000 samples that none has seen,

    as trained       NetClassifier, 150 epochs without an L2 penalty
    sigmoid          p = sigmoid(a z + b) of its logit z: two numbers, for few samples
    isotonic         a rising function of z, in steps: for a thousand samples or more
    stopped early    no calibration, but trained no longer than it helps on held-out samples

`CalibratedClassifierCV` of scikit-learn learns the two functions from predictions for samples that
the network was not trained on, here each of 5 folds from the other four; with the training's own
samples it would learn how sure the network is of what it knows by heart. With `ensemble=False` the
network in it is then trained on all samples, so that what changes is nothing but the function; with
True it is the mean over the networks of the folds, which takes 5 times as long to predict. It takes
the logits from `decision_function`.

What is measured: log loss and Brier score, the mean of -log of the probability of what came, and of
(p - y)^2; both are least for the true probabilities, and also tell how well classes are told
apart. The calibration error is the mean distance from the diagonal of the picture on the left,
each bin weighed by its samples. On the right is how often each probability is said. A rising
function changes no ranking, and hence the accuracy hardly. Isotonic steps may end in 0 and 1, and
the log loss makes much of a single sample for which that was wrong.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import NetClassifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from sklearn.model_selection import train_test_split

BINS = 10
LOOKS = {
    "as trained": {"color": "0.0", "marker": "s"},
    "sigmoid": {"color": "0.35", "marker": "^", "linestyle": "--"},
    "isotonic": {"color": "0.35", "marker": "o", "linestyle": ":"},
    "stopped early": {"color": "0.65", "marker": "D"},
}


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    """Mean distance of what is said from what comes, over bins of equal width."""
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    off = np.bincount(bins, weights=p - y, minlength=BINS)
    return float(abs(off).sum() / len(y))


def models(device: str) -> dict[str, Any]:
    sizes = (64, 64)
    net = NetClassifier(sizes, alpha=0.0, max_iter=150, random_state=0, device=device)
    stopped = NetClassifier(sizes, early_stopping=True, random_state=0, device=device)
    calibrated = {
        method: CalibratedClassifierCV(net, method=method, cv=5, ensemble=False)
        for method in ("sigmoid", "isotonic")
    }
    return {"as trained": net, **calibrated, "stopped early": stopped}


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration of a network, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("calibration.png"), metavar="FILE")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # it is to learn by heart
    x, y = make_classification(
        12_000, 20, n_informative=10, n_clusters_per_class=4, flip_y=0.15, random_state=0
    )
    x_train, x_test, y_train, y_test = train_test_split(x, y, train_size=2000, random_state=0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    for name, model in models(options.device).items():
        p = model.fit(x_train, y_train).predict_proba(x_test)[:, 1]
        print(
            f"{name}: log loss {log_loss(y_test, p):.3f}, Brier score "
            f"{brier_score_loss(y_test, p):.4f}, calibration error "
            f"{calibration_error(y_test, p):.3f}, accuracy {accuracy_score(y_test, p > 0.5):.3f}"
        )
        look = LOOKS[name]
        CalibrationDisplay.from_predictions(
            y_test, p, n_bins=BINS, name=name, ax=left, linewidth=1.2, **look
        )
        counts, edges = np.histogram(p, bins=BINS, range=(0, 1))
        right.plot((edges[1:] + edges[:-1]) / 2, counts, label=name, linewidth=1.2, **look)
    left.set_title("what is said, and what comes")
    left.set(xlabel="probability that is said", ylabel="share of samples for which it is true")
    left.legend(loc="lower right")
    right.set_title("how often it is said")
    right.set(xlabel="probability that is said", ylabel="samples", ylim=(0, None))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(options.out, dpi=100)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
