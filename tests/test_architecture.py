"""The house: imports run one way, heavy libraries come late, docstrings say what they must."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import onepass
import pytest
from onepass import kernels, nets

ROOT = Path(onepass.__file__).parent
BELOW = {
    "backend": {"backend"},
    "kernels": {"backend", "kernels"},
    "nets": {"backend", "kernels", "nets"},
    "bench": {"backend", "kernels", "nets", "bench"},
}
FILES = [
    path for room in BELOW for path in (ROOT / room).rglob("*.py") if "results" not in path.parts
]


def imports(path):
    """(module as written from the root, at module level?) of every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            stem = ".".join(("onepass", *base, *(node.module or "").split("."))).rstrip(".")
            yield from ((f"{stem}.{alias.name}", top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module, top


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] == "onepass" and len(parts) > 1 and parts[1] in BELOW:
            assert parts[1] in BELOW[room], f"{module} from {room}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_numba_and_cupy_are_imported_in_engines_and_backend_only(path):
    heavy = {"numba", "cupy", "llvmlite"} & {
        module.partition(".")[0] for module, _ in imports(path)
    }
    compiled = path.parent.name in {"backend", "compiling", "crew", "rule_engines", "simd"}
    allowed = compiled or path.name in {"gradient_norm.py", "usable.py"}
    assert not heavy or allowed or path.name.startswith(("numba_", "cupy_")), heavy
    at_top = {m.partition(".")[0] for m, top in imports(path) if top} & {"cupy"}
    assert not at_top, "cupy is imported inside functions only"


def test_no_test_module_imports_another():
    """What several need is in cases, programs or proving."""
    for path in Path(__file__).parent.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in getattr(node, "names", ()) if hasattr(alias, "name")]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [name.rpartition(".")[2] for name in names]
                assert not [name for name in modules if name.startswith("test_")], path


def functions_of_nets():
    """Those that `nets` has beside __all__, and not for itself."""
    return [
        name
        for name, thing in vars(nets).items()
        if inspect.isfunction(thing) and thing.__module__.startswith("onepass.nets.")
    ]


def public_functions():
    for module in (onepass, kernels, nets):
        for name in (*module.__all__, *(functions_of_nets() if module is nets else ())):
            thing = getattr(module, name)
            if callable(thing):
                yield pytest.param(thing, id=f"{module.__name__}.{name}")


def test_importing_all_of_nets_hides_no_function_of_the_programs_own():
    own = {name: object() for name in ("fit", "load", "split", "shift", "zoom", "load_digits")}
    scope = dict(own)
    exec("from onepass.nets import *", scope)
    assert {name: scope[name] for name in own} == own
    given = set(scope) - set(own) - {"__builtins__"}
    assert {"Adam", "Dense", "Sequential", "SoftmaxCrossEntropy", "LAYERS"} <= given
    assert given == set(nets.__all__)
    assert all(name[0].isupper() for name in given)


def test_functions_of_nets_are_there_by_name():
    names = functions_of_nets()
    assert {"fit", "predict", "save", "load", "split", "load_digits", "gradient_check"} <= {*names}
    assert {*names} <= {*dir(nets)}
    source = ast.parse((ROOT / "nets" / "__init__.py").read_text(encoding="utf-8"))
    again = {
        alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname == alias.name
    }
    assert {*names} <= again, "`import fit as fit`: what type checkers count as public"


@pytest.mark.parametrize("thing", list(public_functions()))
def test_public_names_have_docstrings(thing):
    assert len(inspect.getdoc(thing) or "") > 30


@pytest.mark.parametrize("name", [name for name in kernels.__all__ if name.endswith("_step")])
def test_step_docstrings_follow_the_template(name):
    doc = inspect.getdoc(getattr(kernels, name))
    for heading in ("in place", "Args:", "Raises:", "Source:", "param = param"):
        assert heading in doc, heading
    assert "param.copy()" in doc or "those of `adam_step`" in doc, "views of it change too"
    if name != "amsgrad_step":  # which refers to adam_step for them
        for argument in inspect.signature(getattr(kernels, name)).parameters:
            assert f"{argument}:" in doc or f"{argument}, " in doc or f", {argument}" in doc, (
                argument
            )


@pytest.mark.parametrize("name", [name for name in kernels.__all__ if "batch_norm" in name])
def test_batch_norm_docstrings_follow_the_template(name):
    doc = inspect.getdoc(getattr(kernels, name))
    for heading in ("Args:", "Raises:", "Conventions:", "Source:", "eps"):
        assert heading in doc, heading
    for argument in inspect.signature(getattr(kernels, name)).parameters:
        assert f"{argument}:" in doc or f"{argument}, " in doc or f", {argument}" in doc, argument
