"""What norms over rows have in common: their `Rows`, in every variant, and what a forward saves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from ...backend import Array
from ..rows.skeleton import Function, Guess, Rows, Shape, Step, Walk
from . import formula
from .activations import BACKWARD, CONSTANTS, FORWARD


@dataclass(frozen=True, eq=False)
class Norm:
    """One norm.

    Attributes:
        name: of its public functions.
        vectors: its parameters, with what stands for those that aren't given.
        walks: over x, in forward.
        kept: numbers of a row that a backward needs.
        xhat: x normalized.
        z: what the activation takes.
        products: the walk of backward.
        dx: the gradient with respect to x.
        gradients: dx, and a term of the gradient of each of `vectors`.
    """

    name: str
    vectors: dict[str, float]
    walks: tuple[Walk, ...]
    kept: tuple[str, ...]
    xhat: Function
    z: Function
    products: Walk
    dx: Function
    gradients: Function

    def __reduce__(self) -> str:
        """Copies and pickles are the constant of this module itself."""
        return self.name.upper()


_MOMENTS = Walk(
    formula.deviations,
    ("total_d", "total_square"),
    formula.moments_of,
    ("rest", "inv_std"),
    Guess("center", formula.guessed, formula.recentered),
)
_LAYER = (
    {"gamma": 1.0, "beta": 0.0},
    (_MOMENTS,),
    ("center", "rest", "inv_std"),
    formula.normalized,
    formula.affine,
    Walk(
        formula.products,
        ("total_g", "total_product"),
        formula.means_of,
        ("mean_g", "mean_product"),
    ),
    formula.layer_gradient,
    formula.result_and_affine,
)
LAYER_NORM, GROUP_NORM = Norm("layer_norm", *_LAYER), Norm("group_norm", *_LAYER)
RMS_NORM = Norm(
    "rms_norm",
    {"gamma": 1.0},
    (Walk(formula.squared, ("total_square",), formula.inv_rms_of, ("inv_rms",)),),
    ("inv_rms",),
    formula.divided,
    formula.scaled,
    Walk(formula.product_alone, ("total_product",), formula.mean_of, ("mean_product",)),
    formula.rms_gradient,
    formula.result_and_scale,
)


@cache
def forward_rows(norm: Norm, residual: bool, activation: str | None) -> Rows:
    """y from x; with a residual x is the sum of that and a branch, and is stored."""
    return Rows(
        "_".join([norm.name, *(["residual"] if residual else []), activation or "forward"]),
        ("branch", "residual") if residual else ("x",),
        FORWARD[activation],
        store=Step(formula.joined, ("x",)) if residual else None,
        vectors=norm.vectors,
        kept=norm.kept,
        numbers=("eps",),
        constants=CONSTANTS,
        steps=(Step(norm.xhat, ("xhat",)), Step(norm.z, ("z",))),
        walks=norm.walks,
    )


@cache
def backward_rows(norm: Norm, activation: str | None, summed: bool) -> Rows:
    """dx from dy and x; `summed`: the gradients of vectors too."""
    steps = (
        Step(norm.xhat, ("xhat",)),
        Step(norm.z, ("z",)),
        *BACKWARD[activation],
        Step(formula.weighed, ("g",)),
        Step(norm.dx, ("dx",)),
    )
    return Rows(
        "_".join([norm.name, activation or "plain", "gradients" if summed else "gradient"]),
        ("dy", "x"),
        norm.gradients if summed else formula.result,
        "dx",
        vectors=norm.vectors,
        given=norm.kept,
        constants=CONSTANTS,
        steps=steps,
        walks=(norm.products,),
        added=tuple(f"d{name}" for name in norm.vectors) if summed else (),
    )


@dataclass(eq=False, slots=True, repr=False)
class Saved:
    """What a norm's backward needs of its forward.

    Attributes:
        norm: which one.
        x: the array itself, not a copy, or where a residual was added the sum, in memory of its
            own: change it only after backward.
        gamma, beta: likewise.
        kept: numbers of each row, (numbers, rows), in float32 or float64: of layer and group norm
            center, rest and 1 / sqrt(sigma^2 + eps), the mean being center + rest; of RMS norm
            1 / sqrt(mean(x^2) + eps).
        shape: the rows of x.
        axes: the shape of x at that time.
        activation: as it was given.
        overwritten: whether `out=` of a forward or backward took x's memory.
    """

    norm: Norm
    x: Array
    gamma: Array | None
    beta: Array | None
    kept: Array
    shape: Shape
    axes: tuple[int, ...]
    activation: str | None
    overwritten: bool = False

    def __repr__(self) -> str:
        return f"Saved({self.norm.name!r}, {self.axes}, activation={self.activation!r})"
