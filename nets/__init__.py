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
"""

from .activations import Activation, ReLU, Sigmoid, Tanh
from .batch_norm import BatchNorm
from .data import Dataset, minibatches, stratified_split
from .dense import Dense
from .digits import load_digits
from .history import History
from .initialize import DEVIATIONS, deviation, initialize
from .layer import Layer
from .losses import Loss, SoftmaxCrossEntropy
from .mnist import load_mnist
from .optimizer import Optimizer
from .optimizers import SGD, AdaGrad, Adam, AdamW, AMSGrad, Momentum, RMSprop
from .parameters import Parameters
from .prediction import accuracy, predict
from .recipes import Recipe, digits_recipe, mnist_recipe
from .sequential import Sequential
from .training import fit

__all__ = [
    "DEVIATIONS",
    "SGD",
    "AMSGrad",
    "Activation",
    "AdaGrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "Dataset",
    "Dense",
    "History",
    "Layer",
    "Loss",
    "Momentum",
    "Optimizer",
    "Parameters",
    "RMSprop",
    "ReLU",
    "Recipe",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "Tanh",
    "accuracy",
    "deviation",
    "digits_recipe",
    "fit",
    "initialize",
    "load_digits",
    "load_mnist",
    "minibatches",
    "mnist_recipe",
    "predict",
    "stratified_split",
]
