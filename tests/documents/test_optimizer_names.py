"""The table of names is up to date, complete, and true of each library that is installed."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest
from documents.optimizer_names import (
    CHAPTERS,
    COMMON,
    FILE,
    LIBRARIES,
    OPTIMIZERS,
    SCHEDULES,
    Whole,
    call,
    document,
    option,
)
from onepass import nets
from onepass.nets.optimizers.frame import encoding, options
from onepass.nets.optimizers.frame.optimizer import Common

PLACES = {
    "here": ["onepass.nets"],
    "torch": [
        "torch.optim",
        "torch.optim.lr_scheduler",
        "torch.optim.swa_utils",
        "torch.nn.utils",
        "torch.amp",
    ],
    "keras": ["keras.optimizers", "keras.optimizers.schedules", "keras.callbacks"],
    "optax": ["optax", "optax.contrib"],
    "sklearn": ["sklearn.neural_network", "sklearn.linear_model"],
}
"""Where names are looked up; others are written with their module."""

OF_NO_INTEREST = {
    "here": {"params", "hyper", "common"},
    "torch": {"params", "optimizer", "last_epoch", "model", "device", "self", "defaults"},
    "keras": {"name", "kwargs", "inner_optimizer"},
    "optax": {"opt", "inner", "params"},
}
"""What a row would not help with: whom they work on."""


def modules(library):
    first, *others = PLACES[library]
    name = {"sklearn": "scikit-learn"}.get(library, library)
    root = first.partition(".")[0]
    pytest.importorskip(root, reason=f"{name} is not installed", exc_type=ImportError)
    return [import_module(each) for each in (first, *others, root)]


def found(library, path):
    """The object of that name."""
    for module in modules(library):
        value = module
        names = path.removeprefix(f"{module.__name__}.").split(".")
        for name in names:
            value = getattr(value, name, None)
            if value is None:
                break
        else:
            return value
    raise AssertionError(f"{library} has no {path}")


def parameters(library, function):
    """Name -> default of what it takes; `...` where there is none."""
    taken = inspect.signature(function).parameters.values()
    names = {p.name: ... if p.default is p.empty else p.default for p in taken}
    if library == "here" and isinstance(function, type) and issubclass(function, nets.Optimizer):
        own = {name: p.default for name, p in inspect.signature(nets.Optimizer).parameters.items()}
        common = {name: own.get(name, ...) for name in Common.__annotations__}
        names = {
            **common,
            **options.DEFAULTS,
            **encoding.DEFAULTS,
            **nets.Optimizer.defaults,
            **names,
            **function.defaults,
        }
    return names


def keras_base(library, names):
    """Keras' Optimizer itself takes any keyword; its subclasses tell which."""
    return parameters(library, found("keras", "SGD")) if library == "keras" else names


ROWS = [
    (section.name, row, library)
    for chapter in CHAPTERS
    for section in chapter.sections
    for row in (section.name, *section.options)
    for library in LIBRARIES
    if getattr(row, library)
]


@pytest.mark.skipif(not FILE.exists(), reason="documents are not part of an installed wheel")
def test_the_document_is_what_the_table_makes():
    assert FILE.read_text(encoding="utf-8") == document(), (
        "run: python tests/documents/optimizer_names.py"
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_name_and_default_is_there(library):
    wrong = []
    for section, row, of in ROWS:
        if of != library:
            continue
        cell = getattr(row, library)
        if row is not section and not isinstance(cell, Whole):
            path = call(getattr(section, library)).path
            names = parameters(library, found(library, path))
            if path == "Optimizer":
                names = keras_base(library, names)
            name, default = option(cell)
            if name not in names:
                wrong.append(f"{path} has no {name}")
            elif default is not ... and names[name] != default:
                wrong.append(f"{path}: {name} is {names[name]!r}, not {default!r}")
            continue
        path, arguments = call(cell)
        value = found(library, path)
        if arguments:
            names = parameters(library, value)
            wrong += [f"{path} has no {name}" for name in arguments if name not in names]
    assert not wrong


def options_of(section, library):
    """The names that a section's rows tell of."""
    cells = [getattr(row, library) for row in section.options]
    return {option(cell)[0] for cell in cells if cell and not isinstance(cell, Whole)}


def common_options(library):
    """Those of the table of all optimizers, as options of whichever function."""
    names = set()
    for row in COMMON.sections[0].options:
        if cell := getattr(row, library):
            whole = isinstance(cell, Whole)
            names |= {*call(cell).arguments} if whole else {option(cell)[0]}
    return names


@pytest.mark.parametrize("library", ["here", "torch", "keras", "optax"])
def test_every_option_is_in_the_table(library):
    missing = []
    for chapter in CHAPTERS:
        for section in chapter.sections:
            if not getattr(section.name, library):
                continue
            path, fixed = call(getattr(section.name, library))
            names = {*parameters(library, found(library, path))} | {*fixed}
            told = options_of(section, library) | {*fixed} | OF_NO_INTEREST[library]
            if chapter is OPTIMIZERS:
                told |= common_options(library)
            if path == "fit":
                names = told  # a function of many things
            missing += [f"{path}: {name}" for name in sorted(names - told)]
    assert not missing


def test_every_optimizer_and_schedule_is_in_the_table():
    optimizers = {section.name.here for section in OPTIMIZERS.sections}
    assert optimizers == {
        name
        for name, kind in nets.OPTIMIZERS.items()
        if kind.__module__.startswith("onepass.")  # and none that a test has added
    }
    schedules = {section.name.here for section in SCHEDULES.sections}
    assert schedules == {*nets.SCHEDULES, "ReduceOnPlateau"}
    assert {*Common.__annotations__} <= common_options("here")
