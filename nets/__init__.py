"""Networks on plain arrays: layers, losses, optimizers, data and the training loop.

Example:
    >>> from onepass.nets import Adam, Dense, ReLU, Sequential, SoftmaxCrossEntropy, fit
    >>> from onepass.nets import load_digits
    >>> data = load_digits()
    >>> net = Sequential(Dense(64, 64), ReLU(), Dense(64, 10), seed=0)
    >>> history = fit(
    ...     net,
    ...     (data.x_train, data.y_train),
    ...     loss=SoftmaxCrossEntropy(),
    ...     optimizer=Adam(net.parameters()),
    ...     epochs=2,
    ...     progress=False,
    ... )
    >>> history.loss[1] < history.loss[0]
    True

`from onepass.nets import *` gives the classes and the tables; functions (fit, predict, save, load,
split, ...) are imported by name, or called as nets.fit.

With scikit-learn there are also NetClassifier and NetRegressor, its estimators, and, to search
hyperparameters, log_uniform, one_minus_log_uniform, LayerSizes, coarse_to_fine, narrowed,
search_table and plot_search; it is imported when one of them is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .activations import Activation, LeakyReLU, Linear, ReLU, Sigmoid, Softmax, Tanh
from .augmentation import Augmentation
from .averages import ExponentialAverage
from .averages import exponential_average as exponential_average
from .batch_norm import BatchNorm
from .bias_variance import BiasVariance
from .bias_variance import bias_variance as bias_variance
from .binary_cross_entropy import BinaryCrossEntropy
from .callbacks import Callback, EarlyStopping
from .checkpointing import Checkpoint
from .data import Dataset
from .data import advised_batch_size as advised_batch_size
from .data import minibatches as minibatches
from .dense import Dense
from .digits import load_digits as load_digits
from .dropout import Dropout
from .ensemble import Ensemble
from .gradient_check import GradientCheck
from .gradient_check import gradient_check as gradient_check
from .history import History
from .images import flip_horizontal as flip_horizontal
from .images import flip_vertical as flip_vertical
from .images import rotate as rotate
from .images import shift as shift
from .images import zoom as zoom
from .initialize import DEVIATIONS
from .initialize import deviation as deviation
from .initialize import initialize as initialize
from .layer import Layer
from .loading import load as load
from .losses import Loss, SoftmaxCrossEntropy
from .mnist import load_mnist as load_mnist
from .normalization import Normalizer
from .optimizer import Optimizer
from .optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, Momentum, RMSprop
from .parameters import Parameters
from .prediction import accuracy as accuracy
from .prediction import outputs as outputs
from .prediction import predict as predict
from .prediction import predict_proba as predict_proba
from .recipes import Recipe
from .recipes import digits_recipe as digits_recipe
from .recipes import mnist_recipe as mnist_recipe
from .regularizers import L1, L2, Regularizer
from .run import Run
from .saved import Saved
from .saved_network import LAYERS
from .saving import OPTIMIZERS
from .saving import save as save
from .schedules import (
    SCHEDULES,
    ExponentialDecay,
    InverseSqrtDecay,
    InverseTimeDecay,
    Manual,
    Schedule,
    Staircase,
)
from .schedules import schedule_from as schedule_from
from .sequential import Sequential
from .split import split as split
from .split import stratified_split as stratified_split
from .squared_error import MeanSquaredError
from .table import Table
from .table import read_features as read_features
from .table import read_table as read_table
from .torch_state import load_torch_state as load_torch_state
from .torch_state import torch_state as torch_state
from .training import fit as fit

if TYPE_CHECKING:
    from .classifier import NetClassifier as NetClassifier
    from .regressor import NetRegressor as NetRegressor
    from .scales import LayerSizes as LayerSizes
    from .scales import OneMinusLogUniform as OneMinusLogUniform
    from .scales import log_uniform as log_uniform
    from .scales import one_minus_log_uniform as one_minus_log_uniform
    from .search_picture import plot_search as plot_search
    from .tuning import CoarseToFine as CoarseToFine
    from .tuning import coarse_to_fine as coarse_to_fine
    from .tuning import narrowed as narrowed
    from .tuning import search_table as search_table

__all__ = [
    "DEVIATIONS",
    "L1",
    "L2",
    "LAYERS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "AMSGrad",
    "Activation",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Augmentation",
    "BatchNorm",
    "BiasVariance",
    "BinaryCrossEntropy",
    "Callback",
    "Checkpoint",
    "Dataset",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "ExponentialAverage",
    "ExponentialDecay",
    "GradientCheck",
    "History",
    "InverseSqrtDecay",
    "InverseTimeDecay",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Loss",
    "Manual",
    "MeanSquaredError",
    "Momentum",
    "Normalizer",
    "Optimizer",
    "Parameters",
    "RMSprop",
    "ReLU",
    "Recipe",
    "Regularizer",
    "Run",
    "Saved",
    "Schedule",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Staircase",
    "Table",
    "Tanh",
]
"""What `import *` gives: the classes and tables, whose names are capitalized. Functions have names
that programs have for their own (fit, load, split, shift): they are imported by name."""

_WITH_SCIKIT_LEARN = {
    "CoarseToFine": "tuning",
    "LayerSizes": "scales",
    "NetClassifier": "classifier",
    "NetRegressor": "regressor",
    "OneMinusLogUniform": "scales",
    "coarse_to_fine": "tuning",
    "log_uniform": "scales",
    "narrowed": "tuning",
    "one_minus_log_uniform": "scales",
    "plot_search": "search_picture",
    "search_table": "tuning",
}
"""Name -> its module. Not in __all__: `import *` is to work without scikit-learn."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_SCIKIT_LEARN:
        raise AttributeError(f"module 'onepass.nets' has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_WITH_SCIKIT_LEARN[name]}", __name__), name)
    except ImportError as error:
        raise ImportError(
            f'{name} needs scikit-learn 1.6 or newer: pip install "onepass[sklearn]" ({error})'
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_WITH_SCIKIT_LEARN])
