"""The house: imports run one way, heavy libraries come late, docstrings say what they must."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import onepass
import pytest
from onepass import kernels, nets

ROOT = Path(onepass.__file__).parent
ROOMS = ("backend", "kernels", "nets", "bench")  # each imports from those before it
FILES = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
MODULES = {}  # name -> file
for path in [*FILES, ROOT / "__init__.py", ROOT / "__main__.py"]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    MODULES[".".join(("onepass", *parts)).removesuffix(".__init__")] = path
_DOORS = (
    "", ".launch", ".engine_table", ".encoded_states", ".loss_scale", ".program", ".graph",
    ".crew.threads",
)  # fmt: skip
DOORS = {f"onepass.kernels{room}" for room in _DOORS}
"""What nets imports of kernels."""


@cache
def imports(path):
    """(module, at module level?) of every import of a file: lazy ones and those for types too."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    package = ("onepass", *path.relative_to(ROOT).parts[:-1])
    at_top = {*map(id, tree.body)}
    for node in ast.walk(tree):
        top = id(node) in at_top
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else ()
            origin = ".".join((*base, *(node.module or "").split("."))).rstrip(".")
            names = [f"{origin}.{alias.name}" for alias in node.names]
            found += [(name if name in MODULES else origin, top) for name in names]
    return found


@cache
def reach():
    """The modules that each imports. Every process collects these tests: few need to read them."""
    return {
        name: {module for module, _ in imports(path) if module in MODULES} - {name}
        for name, path in MODULES.items()
    }


def circle(reached):
    """Modules that import one another in a circle, or none."""
    left = {name: set(others) for name, others in reached.items()}
    while done := [name for name, others in left.items() if not others & left.keys()]:
        for name in done:
            del left[name]
    return sorted(left)


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_another_in_a_circle():
    assert circle(reach()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = ROOMS.index(path.relative_to(ROOT).parts[0])
    for module, _ in imports(path):
        package, _, rest = module.partition(".")
        if package == "onepass" and rest:
            assert ROOMS.index(rest.partition(".")[0]) <= own, module


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("onepass.nets")])
def test_nets_enters_kernels_by_its_doors(name):
    assert {other for other in reach()[name] if other.startswith("onepass.kernels")} <= DOORS


PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_the_name_of_a_module_beside_it(package):
    """It would be a module or a function, by which was imported last."""
    tree = ast.parse(MODULES[package].read_text(encoding="utf-8"))
    names = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module  # not the modules themselves
        for alias in node.names
    ]
    assert not [name for name in names if f"{package}.{name}" in MODULES]


def test_every_package_is_packaged():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(settings["tool"]["setuptools"]["packages"]) == sorted(PACKAGES)


def test_no_folder_holds_more_files_than_one_reads_at_a_glance():
    in_folder = Counter(path.parent for path in FILES if path.name != "__init__.py")
    full = {str(folder.relative_to(ROOT)): n for folder, n in in_folder.items() if n > 17}
    assert not full, "a part of them wants a folder of its own"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_numba_and_cupy_are_imported_in_engines_and_backend_only(path):
    heavy = {"numba", "cupy", "llvmlite"} & {
        module.partition(".")[0] for module, _ in imports(path)
    }
    rooms = {"backend", "checks", "compiling", "crew", "rule_engines", "simd"}
    compiled = rooms & {*path.parent.relative_to(ROOT).parts}
    allowed = compiled or path.name in {"blas.py", "gradient_norm.py", "usable.py"}
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
