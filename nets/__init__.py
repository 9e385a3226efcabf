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

from .command.recipes import Recipe
from .command.recipes import digits_recipe as digits_recipe
from .command.recipes import mnist_recipe as mnist_recipe
from .data.augmentation import Augmentation
from .data.batches import advised_batch_size as advised_batch_size
from .data.batches import minibatches as minibatches
from .data.dataset import Dataset
from .data.digits import load_digits as load_digits
from .data.images import flip_horizontal as flip_horizontal
from .data.images import flip_vertical as flip_vertical
from .data.images import rotate as rotate
from .data.images import shift as shift
from .data.images import zoom as zoom
from .data.mnist import load_mnist as load_mnist
from .data.normalizer import Normalizer
from .data.split import split as split
from .data.split import stratified_split as stratified_split
from .data.table import Table
from .data.table import read_features as read_features
from .data.table import read_table as read_table
from .diagnosis.averages import ExponentialAverage
from .diagnosis.averages import exponential_average as exponential_average
from .diagnosis.bias_variance import BiasVariance
from .diagnosis.bias_variance import bias_variance as bias_variance
from .diagnosis.gradient_check import GradientCheck
from .diagnosis.gradient_check import gradient_check as gradient_check
from .layers.activations import (
    ELU,
    GELU,
    Activation,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .layers.batch_norm import BatchNorm
from .layers.dense import Dense
from .layers.dropout import Dropout
from .layers.first_weights import DEVIATIONS
from .layers.first_weights import deviation as deviation
from .layers.first_weights import initialize as initialize
from .layers.group_norm import GroupNorm
from .layers.layer import Layer
from .layers.layer_norm import LayerNorm
from .layers.rms_norm import RMSNorm
from .losses.binary_cross_entropy import BinaryCrossEntropy
from .losses.huber import Huber
from .losses.loss import Loss
from .losses.poisson import Poisson
from .losses.softmax_cross_entropy import SoftmaxCrossEntropy
from .losses.squared_error import MeanSquaredError
from .network.ensemble import Ensemble
from .network.parameters import Parameters
from .network.prediction import accuracy as accuracy
from .network.prediction import outputs as outputs
from .network.prediction import predict as predict
from .network.prediction import predict_proba as predict_proba
from .network.sequential import Sequential
from .optimizers.adadelta import Adadelta
from .optimizers.adagrad import AdaGrad
from .optimizers.adam import Adam, AdamW
from .optimizers.adamax import Adamax
from .optimizers.amsgrad import AMSGrad
from .optimizers.by_name import OPTIMIZERS
from .optimizers.frame.optimizer import Optimizer
from .optimizers.lion import Lion
from .optimizers.momentum import Momentum
from .optimizers.nadam import NAdam
from .optimizers.radam import RAdam
from .optimizers.rmsprop import RMSprop
from .optimizers.schedules.annealing import Cosine, LinearDecay, Polynomial
from .optimizers.schedules.by_name import SCHEDULES
from .optimizers.schedules.by_name import schedule_from as schedule_from
from .optimizers.schedules.decays import (
    ExponentialDecay,
    InverseSqrtDecay,
    InverseTimeDecay,
    Staircase,
)
from .optimizers.schedules.manual import Manual
from .optimizers.schedules.one_cycle import OneCycle
from .optimizers.schedules.restarts import CosineRestarts
from .optimizers.schedules.schedule import Chain, Schedule
from .optimizers.schedules.warmup import Warmup
from .optimizers.sgd import SGD
from .parallel.agreement import RankFailedError
from .parallel.communicator import Communicator
from .parallel.cupy_nccl import NcclCommunicator
from .parallel.data_parallel import DataParallel
from .parallel.local_device import local_device as local_device
from .parallel.mpi_communicator import MpiCommunicator
from .saving.checkpoint import Checkpoint
from .saving.load import load as load
from .saving.network_json import LAYERS
from .saving.save import save as save
from .saving.saved import Saved
from .saving.torch_optimizer_state import (
    load_torch_optimizer_state as load_torch_optimizer_state,
)
from .saving.torch_optimizer_state import torch_optimizer_state as torch_optimizer_state
from .saving.torch_state import load_torch_state as load_torch_state
from .saving.torch_state import torch_state as torch_state
from .training.callbacks.callback import Callback
from .training.callbacks.early_stopping import EarlyStopping
from .training.callbacks.reduce_on_plateau import ReduceOnPlateau
from .training.capture import CapturedStep
from .training.capture import capture as capture
from .training.fit import fit as fit
from .training.history import History
from .training.lbfgs import fit_lbfgs as fit_lbfgs
from .training.loss_scaler import LossScaler
from .training.regularizers import L1, L2, Regularizer
from .training.run import Run

if TYPE_CHECKING:
    from .estimators.classifier import NetClassifier as NetClassifier
    from .estimators.regressor import NetRegressor as NetRegressor
    from .tuning.scales import LayerSizes as LayerSizes
    from .tuning.scales import OneMinusLogUniform as OneMinusLogUniform
    from .tuning.scales import log_uniform as log_uniform
    from .tuning.scales import one_minus_log_uniform as one_minus_log_uniform
    from .tuning.search import CoarseToFine as CoarseToFine
    from .tuning.search import coarse_to_fine as coarse_to_fine
    from .tuning.search import narrowed as narrowed
    from .tuning.search import search_table as search_table
    from .tuning.search_plot import plot_search as plot_search

__all__ = [
    "DEVIATIONS",
    "ELU",
    "GELU",
    "L1",
    "L2",
    "LAYERS",
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "AMSGrad",
    "Activation",
    "AdaGrad",
    "Adadelta",
    "Adam",
    "AdamW",
    "Adamax",
    "Augmentation",
    "BatchNorm",
    "BiasVariance",
    "BinaryCrossEntropy",
    "Callback",
    "CapturedStep",
    "Chain",
    "Checkpoint",
    "Communicator",
    "Cosine",
    "CosineRestarts",
    "DataParallel",
    "Dataset",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Ensemble",
    "ExponentialAverage",
    "ExponentialDecay",
    "GradientCheck",
    "GroupNorm",
    "History",
    "Huber",
    "InverseSqrtDecay",
    "InverseTimeDecay",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LinearDecay",
    "Lion",
    "Loss",
    "LossScaler",
    "Manual",
    "MeanSquaredError",
    "Momentum",
    "MpiCommunicator",
    "NAdam",
    "NcclCommunicator",
    "Normalizer",
    "OneCycle",
    "Optimizer",
    "Parameters",
    "Poisson",
    "Polynomial",
    "RAdam",
    "RMSNorm",
    "RMSprop",
    "RankFailedError",
    "ReLU",
    "Recipe",
    "ReduceOnPlateau",
    "Regularizer",
    "Run",
    "Saved",
    "Schedule",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "Softplus",
    "Staircase",
    "Table",
    "Tanh",
    "Warmup",
]
"""What `import *` gives: the classes and tables, whose names are capitalized. Functions have names
that programs have for their own (fit, load, split, shift): they are imported by name."""

_WITH_SCIKIT_LEARN = {
    "CoarseToFine": "tuning.search",
    "LayerSizes": "tuning.scales",
    "NetClassifier": "estimators.classifier",
    "NetRegressor": "estimators.regressor",
    "OneMinusLogUniform": "tuning.scales",
    "coarse_to_fine": "tuning.search",
    "log_uniform": "tuning.scales",
    "narrowed": "tuning.search",
    "one_minus_log_uniform": "tuning.scales",
    "plot_search": "tuning.search_plot",
    "search_table": "tuning.search",
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
