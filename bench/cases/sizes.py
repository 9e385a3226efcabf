"""The sizes that benchmarks run at, in one place."""

from __future__ import annotations

GAIN = {"1e3": 1_000, "1e5": 100_000, "1e7": 10_000_000}
"""Elements for `onepass demo`: launch-bound, in cache, far beyond the last cache."""

STEPS = {
    "1e2": 100,
    "1e3": 1_000,
    "1e4": 10_000,
    "1e5": 100_000,
    "1e6": 1_000_000,
    "1e7": 10_000_000,
    "1e8": 100_000_000,
}
"""Elements of a step, from launch-bound to far beyond the last cache."""

STEPS_BY_MODE = {
    "small": ("1e3",),
    "quick": ("1e3", "1e6"),
    "default": ("1e2", "1e4", "1e5", "1e6", "1e7"),
    "full": tuple(STEPS),
}

FORMATS = ("adam", "rmsprop", "momentum", "amsgrad", "lion")
"""Rules whose states are measured in each format."""

FORMATS_BY_SIZE = ("1e4", "1e5", "1e6", "1e7", "1e8")
"""The sizes of these; the rules after the first leave out the two smallest."""

STEPS_ON_A_GPU = {"1e3": 1_000, "1e6": 1_000_000, "6.4e7": 64_000_000, "1e8": 100_000_000}
"""The same on a GPU: at 6.4e7 a launch is nothing beside moving memory."""

STEPS_ON_A_GPU_BY_MODE = {
    "small": ("1e3",),
    "quick": ("1e3", "6.4e7"),
    "default": ("1e3", "1e6", "6.4e7"),
    "full": tuple(STEPS_ON_A_GPU),
}

ROWS_ON_A_GPU = (16_384, 1_024)
"""Rows and columns of activations and dropout on a GPU."""

LAYER = (128, 256)
"""Rows and columns of a layer in a small network, whose calls cost the host more than the GPU."""

TRAINING_ON_A_GPU = 6_400
"""Samples of an epoch whose steps are timed on a GPU."""

DRAWN = 1_000_000
"""Values of a step's array that are drawn; a longer one repeats them."""

MATRIX = (20, 50)
"""The shape of small matrices, whose step must cost no more than that of as many elements."""

FEW_TENSORS = (10, 100)
"""Arrays, and elements of each, in the step of an optimizer object."""

LOOP = 10_000
"""Elements up to which a Python loop ends in reasonable time."""

LARGE = 100_000_000
"""Elements from which a test needs gigabytes and seconds."""

BESIDE_PRODUCT = {"3e4": 30_000, "3e5": 300_000}
"""Elements of steps that follow a matrix product."""

TENSORS, TENSOR_SIZE = 3_000, 3_500
"""Many small tensors, as a network of many layers has them."""

TENSOR_COUNTS = (1, 10, 100, 1_000, 10_000)
"""Tensors of `GROWING_TENSOR` elements: cost as their number grows."""

GROWING_TENSOR = 100

NORM_GROWTH = (16, 64, 256, 1_024)
"""Channels, and rows, of batch normalization: cost as they grow."""

NORM_GROWTH_FIXED = 256
"""What does not grow."""

LOGISTIC = ((100, 10), (1_000, 64), (10_000, 784))
"""Samples and features of logistic regression."""

ESTIMATORS = {
    "digits": (1_797, 30),
    "breast cancer": (569, 60),
    "wine": (178, 100),
    "diabetes": (442, 100),
    "friedman1": (2_000, 100),
}
"""Rows of scikit-learn's own tables, and epochs of a training: a hundred updates and more."""

ESTIMATORS_SEEDS = 5
"""Trainings on each of these."""

SYNTHETIC = (100_000, 50, 10, 3)
"""Rows, columns, epochs and seeds of a large table for estimators."""

TEXTS = (7_000, 8, 3)
"""Documents, epochs and seeds of sparse rows for estimators."""

ESTIMATORS_MNIST = (5, 3)
"""Epochs and seeds of estimators on MNIST."""

BUSY = 3_840
"""Samples of an epoch beside busy processes: short, since some libraries take seconds for it."""

STEP_PARTS = 2_048
"""Samples from which the steps are taken whose parts are timed."""

RANKS_WIDTHS = (784, 256, 128, 10)
"""Of the network that several ranks train: inputs, two hidden layers, classes."""

RANKS_BATCH = 512
"""Rows of its batches, which ranks share."""

RANKS_BATCHES, RANKS_EPOCHS = 16, 4
"""Batches of an epoch, and epochs that are timed at a time."""

RANKS_EXCHANGED = {"1e4": 10_000, "1e6": 1_000_000, "1e7": 10_000_000}
"""Parameters that ranks hand one another."""

RANKS_UPDATED = {"the network": 235_146, "1e7": 10_000_000}
"""Parameters of an update on one thread: of that network, and far beyond the last cache."""

RANKS_OVERLAPPED = {"4e6": 4_000_000}
"""Parameters that are exchanged while something is computed."""

SMALL = 200
"""Samples of either where it is only to be seen that it runs."""
