"""Networks on plain arrays: layers, losses, optimizers, data and the training loop.

Example:
    >>> net = Sequential(Dense(64, 64), ReLU(), Dense(64, 10))
    >>> optimizer = Adam(net.parameters())
    >>> history = fit(net, (x, y), loss=SoftmaxCrossEntropy(), optimizer=optimizer)
"""

from .activations import Activation, ReLU, Sigmoid, Tanh
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
