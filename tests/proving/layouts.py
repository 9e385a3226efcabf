"""The layouts of encoded states whose kernels are proven: every rule in 8 bits, and mixtures of
formats; any other is made of the same statements."""

from __future__ import annotations

from collections.abc import Mapping

from onepass.kernels.rules import RULES
from onepass.kernels.state_formats.layout import BFLOAT16, EIGHT_BIT, FLOAT32, Layout

BLOCKS = (64, 256, 2048)
"""Elements of a block: those of a part of a warp, of a warp, and of several."""

IN_8_BITS = {
    name: Layout(rule, FLOAT32, FLOAT32, (EIGHT_BIT,) * len(rule.state))
    for name, rule in RULES.items()
    if rule.state
}
"""Every rule that keeps anything, all of it in 8 bits."""

_ADAM = RULES["adam"]
LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (
        *IN_8_BITS.values(),
        Layout(_ADAM, FLOAT32, FLOAT32, (BFLOAT16, BFLOAT16)),
        Layout(_ADAM, FLOAT32, FLOAT32, (EIGHT_BIT, BFLOAT16)),
        Layout(_ADAM, BFLOAT16, BFLOAT16, (EIGHT_BIT, EIGHT_BIT)),
        Layout(RULES["sgd"], BFLOAT16, BFLOAT16, ()),
        Layout(RULES["momentum"], FLOAT32, FLOAT32, (BFLOAT16,)),
        Layout(RULES["rmsprop"], FLOAT32, FLOAT32, (BFLOAT16,)),
    )
}
"""By the names of their kernels."""


def blocks(layout: Layout) -> tuple[int, ...]:
    """The sizes of blocks for which a layout's kernels differ."""
    return BLOCKS if layout.in_blocks else (256,)


def dtype(layout: Layout) -> str:
    """That of the array that a launch is like: of the parameter, or of its upper half."""
    return layout.arrays()["p_at"]


def formats(layout: Layout) -> dict[str, str]:
    """The formats of a call's arrays, by what users call them."""
    kinds = layout.param, layout.grad, *layout.states
    return dict(zip(layout.rule.arguments, kinds, strict=True))
