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

With scikit-learn there are also NetClassifier and NetRegressor, its estimators, and, to search
hyperparameters, log_uniform, one_minus_log_uniform, LayerSizes, coarse_to_fine, narrowed,
search_table and plot_search; it is imported when one of them is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .activations import Activation, LeakyReLU, Linear, ReLU, Sigmoid, Softmax, Tanh
from .augmentation import Augmentation
from .averages import ExponentialAverage, exponential_average
from .batch_norm import BatchNorm
from .bias_variance import BiasVariance, bias_variance
from .binary_cross_entropy import BinaryCrossEntropy
from .callbacks import Callback, EarlyStopping
from .checkpointing import Checkpoint
from .data import Dataset, advised_batch_size, minibatches
from .dense import Dense
from .digits import load_digits
from .dropout import Dropout
from .ensemble import Ensemble
from .gradient_check import GradientCheck, gradient_check
from .history import History
from .images import flip_horizontal, flip_vertical, rotate, shift, zoom
from .initialize import DEVIATIONS, deviation, initialize
from .layer import Layer
from .loading import load
from .losses import Loss, SoftmaxCrossEntropy
from .mnist import load_mnist
from .normalization import Normalizer
from .optimizer import Optimizer
from .optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, Momentum, RMSprop
from .parameters import Parameters
from .prediction import accuracy, outputs, predict, predict_proba
from .recipes import Recipe, digits_recipe, mnist_recipe
from .regularizers import L1, L2, Regularizer
from .run import Run
from .saved import Saved
from .saved_network import LAYERS
from .saving import OPTIMIZERS, save
from .schedules import (
    SCHEDULES,
    ExponentialDecay,
    InverseSqrtDecay,
    InverseTimeDecay,
    Manual,
    Schedule,
    Staircase,
    schedule_from,
)
from .sequential import Sequential
from .split import split, stratified_split
from .squared_error import MeanSquaredError
from .table import Table, read_features, read_table
from .torch_state import load_torch_state, torch_state
from .training import fit

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
    "accuracy",
    "advised_batch_size",
    "bias_variance",
    "deviation",
    "digits_recipe",
    "exponential_average",
    "fit",
    "flip_horizontal",
    "flip_vertical",
    "gradient_check",
    "initialize",
    "load",
    "load_digits",
    "load_mnist",
    "load_torch_state",
    "minibatches",
    "mnist_recipe",
    "outputs",
    "predict",
    "predict_proba",
    "read_features",
    "read_table",
    "rotate",
    "save",
    "schedule_from",
    "shift",
    "split",
    "stratified_split",
    "torch_state",
    "zoom",
]

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
