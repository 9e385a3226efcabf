"""Formulas of docstrings become the mathematics that they mean, and nothing else does."""

from __future__ import annotations

import inspect
import re

import pytest

pytest.importorskip("manual", reason="the manual is not part of an installed wheel")

from manual.docstrings import formula_blocks, is_code, prose, to_rst
from manual.formula_layout import display, in_text
from manual.formula_words import FormulaError
from manual.formulas import inline
from manual.names import public_names
from manual.reference import resolve


def blocks():
    """(name, block) of every formula in the docstrings of public names and their methods."""
    for one in public_names().values():
        docs = {one.full: one.doc}
        if one.kind == "class":
            for name, member in vars(one.thing).items():
                if inspect.isroutine(member) or isinstance(member, property):
                    docs[f"{one.full}.{name}"] = inspect.getdoc(member) or ""
        for name, doc in docs.items():
            yield from ((name, block) for block in formula_blocks(doc))


def test_every_formula_of_a_public_docstring_is_set():
    seen, failed = 0, []
    for name, block in blocks():
        seen += 1
        try:
            latex = display(block)
        except FormulaError as error:
            failed.append(f"{name}: {error}")
            continue
        assert latex.count("{") == latex.count("}"), name
        assert len(re.findall(r"\\left\b", latex)) == len(re.findall(r"\\right\b", latex)), name
        if "align" in latex:
            rows = latex.split("\\\\\n")
            assert all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows), f"{name}: {latex}"
    assert failed == []
    assert seen > 60


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("b1 m", r"b_{1}\,m"),
        ("mhat / (sqrt(vhat) + eps)", r"\frac{\hat{m}}{\sqrt{\hat{v}} + \varepsilon}"),
        ("lr g / sqrt(s + eps) x", r"\frac{\mathrm{lr}\,g}{\sqrt{s + \varepsilon}}\,x"),
        ("1 - b1^t", r"1 - {b_{1}}^{t}"),
        ("2^-19", r"{2}^{-19}"),
        ("(x - mu)^2", r"{(x - \mu)}^{2}"),
        ("mu_(t+1) m", r"\mu_{t + 1}\,m"),
        ("x.T dz / m", r"\frac{{x}^\top\,\mathrm{d}z}{m}"),
        ("v_max", r"v_{\max}"),
        ("2 / (n_in + n_out)", r"\frac{2}{n_{\text{in}} + n_{\text{out}}}"),
        ("running_mean", r"\mathrm{running\_mean}"),
        ("sum over j of y log p", r"\sum_{j} y\,\log p"),
        ("1/m sum of x", r"\frac{1}{m} \sum x"),
        ("||a|| + |b|", r"\lVert a \rVert + \lvert b \rvert"),
        ("dy where y > 0, else 0", r"\mathrm{d}y \text{ where } y > 0 , \text{ else } 0"),
        ("W := W - lr dW", r"W \mathrel{:=} W - \mathrm{lr}\,\mathrm{d}W"),
        ("x mask / keep_prob", r"\frac{x\,\mathrm{mask}}{\mathrm{keep\_prob}}"),
        ("dy f'(z)", r"\mathrm{d}y\,f'(z)"),
        ("10,000", "10{,}000"),
        ('activation="relu"', r'\mathrm{activation} = \text{"relu"}'),
    ],
)
def test_a_formula_is_what_it_means(text, latex):
    assert inline(text) == latex


@pytest.mark.parametrize("text", ["(a", "a)", "/ b", "a^", "a = $", "sqrt(x", "|a"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(FormulaError):
        inline(text)


def test_cells_of_a_line_are_equations_of_their_own():
    latex = display("    m = b m + g        mhat = m / 2\n    p = p - lr m       where t > 1")
    assert latex.splitlines() == [
        r"\begin{align*}",
        r"m &= b\,m + g \\",
        r"\hat{m} &= \frac{m}{2} \\",
        r"p &= p - \mathrm{lr}\,m\qquad \text{where } t > 1",
        r"\end{align*}",
    ]


def test_lines_that_begin_with_a_name_are_a_table():
    latex = display('    "relu"   y = max(z, 0)\n    "tanh"   y = tanh(z)')
    assert r"\begin{array}{l@{\quad}l@{\quad}l}" in latex
    assert r"\text{relu} & y = \max(z , 0)" in latex


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("With b = 0.9, c = clip(d, -1, 1) and so on", ["b = 0.9", "c = clip(d, -1, 1)"]),
        ("nothing moves with eps = 0 then", ["eps = 0"]),
        ("p -= lr g. Then", ["p -= lr g"]),
        ("J = mean over rows of w[k] loss. More", ["J = mean over rows of w[k] loss"]),
        ("call it with momentum=None or eps=0", []),
        ("a < b and no equation", []),
    ],
)
def test_equations_within_a_text_end_where_words_go_on(text, found):
    assert [text[start:end] for start, end, _ in in_text(text)] == found


def test_code_is_told_from_formulas():
    assert is_code('    saved = load("model.safetensors")\n    fit(saved.net)')
    assert is_code("    with DataParallel(net) as ranks:\n        pass")
    assert is_code("    mpiexec -n 2 python script.py")
    assert not is_code("    m = b1 m + (1 - b1) g")
    assert not is_code("    sum_sq = sum_sq + g^2")


DOC = """Step `adam_step`, in place: 2 * x, not x_ or |y|.

    p = p - lr g

decoupled: leaves g
    alone.

Args:
    p: what `Adam` has, 2 * n.

Raises:
    TypeError, KernelError: it can't.

Conventions: as in PyTorch,
    but for eps.
Source: Somebody 2020.
"""


def test_a_docstring_becomes_markup_that_says_the_same():
    text = to_rst(DOC, resolve)
    assert ":py:obj:`adam_step <onepass.kernels.adam_step>`" in text
    assert r"2 \* x, not x\_ or \|y\|." in text
    assert ".. math::\n   :nowrap:\n\n   \\begin{align*}" in text
    assert "Args:\n    p: what :py:obj:`Adam <onepass.nets.Adam>` has, 2 \\* n." in text
    raised = ":py:obj:`KernelError <onepass.KernelError>`: it can't."
    assert f":Raises:\n    - ``TypeError``, {raised}" in text
    assert ":Conventions:\n    as in PyTorch,\n    but for eps." in text
    assert ":Source:\n    Somebody 2020." in text


def test_a_name_that_nobody_knows_is_code():
    assert prose("`delta` and `nets.Adam`", resolve) == (
        "``delta`` and :py:obj:`nets.Adam <onepass.nets.Adam>`"
    )
