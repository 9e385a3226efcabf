"""A small network's parameters and six gradients of them, in each kind of storage."""

from __future__ import annotations

import pickle

import numpy as np
from onepass.nets import (
    OPTIMIZERS,
    Parameters,
)

SHAPES = {"0.weight": (3, 4), "0.bias": (4,), "2.weight": (4, 2), "2.bias": (2,)}
KINDS = dict(OPTIMIZERS)


def start(seed=0, dtype="float64"):
    """(dict of parameters, list of six dicts of gradients that shrink, so AMSGrad differs)."""
    rng = np.random.default_rng(seed)
    params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    gradients = [
        {name: rng.standard_normal(shape).astype(dtype) / 2**k for name, shape in SHAPES.items()}
        for k in range(6)
    ]
    return params, gradients


def flat_parameters(values, device="cpu"):
    parameters = Parameters(SHAPES, dtype=values["0.bias"].dtype, device=device)
    for name, value in values.items():
        parameters[name][...] = parameters.backend.asarray(value)
    return parameters


def write_grads(parameters, gradients):
    for name, gradient in gradients.items():
        parameters.grads[name][...] = parameters.backend.asarray(gradient)


def frozen(value):
    """Every bit of a state_dict or of arrays, to compare."""
    return pickle.dumps(value)
