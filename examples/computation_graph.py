"""The computation graph of J = 3 (a + b c) at a = 5, b = 3, c = 2, forward and backward.

    python examples/computation_graph.py [--device auto] [--out computation_graph.png]

Forward, each step uses those before it: u = b c, v = a + u, J = 3 v. Backward, each derivative uses
those after it, by the chain rule: dJ/dv, then dJ/da and dJ/du, then dJ/db and dJ/dc. Written as a
layer, so that the library's gradient check can judge it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass.nets import Layer, Loss, Sequential, gradient_check

VALUES = {"a": 5.0, "b": 3.0, "c": 2.0}


class Graph(Layer):
    """J = 3 (a + b c), whose parameters are a, b and c, whatever comes in."""

    in_features = out_features = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(VALUES, (1,))

    def initial(self, rng: np.random.Generator) -> dict[str, Any]:
        return {name: np.array([value]) for name, value in VALUES.items()}

    def forward(self, x: Any, train: bool = False) -> Any:
        a, b, c = (self.params[name] for name in "abc")
        u = b * c
        v = a + u
        J = 3 * v
        self._saved = {"u": u, "v": v, "J": J}
        return J.reshape(1, 1)

    def backward(self, dJ: Any, input_grad: bool = True) -> Any:
        dv = dJ.reshape(1) * 3
        da, du = dv, dv  # v = a + u passes its derivative on to both
        db = du * self.params["c"]  # u = b c: each factor gets the other one
        dc = du * self.params["b"]
        self.saved.update(dv=dv, da=da, du=du, db=db, dc=dc)
        for name, gradient in (("a", da), ("b", db), ("c", dc)):
            self.grads[name][...] = gradient
        return dJ * 0


class Output(Loss):
    """J is what the graph gives, and dJ/dJ = 1."""

    metric = "mae"

    def check(self, targets: Any, rows: int, width: int) -> None:
        pass

    def __call__(self, output: Any, targets: Any, weights: Any = None) -> tuple[Any, Any]:
        return output.sum(), output * 0 + 1

    def measure(self, output: Any, targets: Any) -> Any:
        return abs(output - targets).sum()


NODES = {  # name: (x, y, formula)
    "a": (0, 2, "a"), "b": (0, 1, "b"), "c": (0, 0, "c"),
    "u": (1.5, 0.5, "u = b c"), "v": (3, 1.25, "v = a + u"), "J": (4.5, 1.25, "J = 3 v"),
}  # fmt: skip
EDGES = ("av", "bu", "cu", "uv", "vJ")


def draw(axes: plt.Axes, found: dict[str, float]) -> None:
    boxes = {}
    for name, (x, y, formula) in NODES.items():
        style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "0.0"}
        boxes[name] = axes.text(x, y, formula, ha="center", va="center", fontsize=12, bbox=style)
        axes.text(x, y + 0.24, f"{found[name]:g}", ha="center", fontsize=12, fontweight="bold")
        axes.text(
            x, y - 0.34, f"dJ/d{name} = {found['d' + name]:g}", ha="center", fontsize=10,
            style="italic", color="0.35",
        )  # fmt: skip
    for start, end in EDGES:
        patches = {"patchA": boxes[start].get_bbox_patch(), "patchB": boxes[end].get_bbox_patch()}
        arrow = {"arrowstyle": "-|>", "color": "0.0", "shrinkA": 3, "shrinkB": 3, **patches}
        axes.annotate("", NODES[end][:2], NODES[start][:2], arrowprops=arrow)
    axes.set_xlim(-0.7, 5.2)
    axes.set_ylim(-0.6, 2.6)
    axes.set_title("above each node its value (forward), below dJ/d(node) (backward)")
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description="J = 3 (a + b c), step by step, as a picture.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("computation_graph.png"), metavar="FILE")
    options = parser.parse_args()
    net = Sequential(Graph(), dtype="float64", device=options.device)
    nothing = np.zeros((1, 1))
    value, dJ = Output()(net.forward(nothing, train=True), nothing)
    net.backward(dJ)
    found = VALUES | {name: float(number[0]) for name, number in net.layers[0].saved.items()}
    found["dJ"] = float(dJ[0, 0])
    print(f"u = b c = {found['u']:g}, v = a + u = {found['v']:g}, J = 3 v = {float(value):g}")
    print(", ".join(f"dJ/d{name} = {found['d' + name]:g}" for name in "vaubc"))
    print(f"gradient check: {gradient_check(net, nothing, nothing, Output())}")
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    draw(axes, found)
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
