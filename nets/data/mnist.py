"""The MNIST handwritten digits, from their four original files."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from ..paths import expanded
from ..types import HostArray
from .dataset import Dataset
from .idx_file import IMAGES, LABELS, read_idx

_REMEDY = (
    "Fetch the four files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
    "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz again into one folder, and name that"
)


def load_mnist(folder: str | PathLike[str]) -> Dataset:
    """The 60,000 + 10,000 handwritten digits of 28 x 28 pixels in `folder`.

    Args:
        folder: holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
            t10k-labels-idx1-ubyte, each as it is or with ".gz", and with "-idx" or ".idx"; or it
            is the root, or the folder MNIST, of torchvision, which has them in MNIST/raw. Nothing
            is downloaded.

    Returns:
        A Dataset of 784 features, pixel / 255, so in 0..1.

    Raises:
        FileNotFoundError: the folder or a file is not there.
        ValueError: a file is damaged, truncated or of another kind; images and labels differ in
            number; or a label is above 9. The file is named.

    Source: LeCun, Bottou, Bengio and Haffner 1998.
    """
    root = expanded(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder. {_REMEDY}")
    below = [root / "MNIST" / "raw", root / "raw"]
    if not any(root.glob("*-ubyte*")):
        root = next((folder for folder in below if folder.is_dir()), root)
    x_train, y_train = _part(root, "train")
    x_test, y_test = _part(root, "t10k")
    return Dataset(x_train, y_train, x_test, y_test, classes=10, name="MNIST")


def _part(root: Path, prefix: str) -> tuple[HostArray, HostArray]:
    """Images as rows of float32 in 0..1, and labels as int64."""
    names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = read_idx(root, names[0], IMAGES, _REMEDY)
    labels = read_idx(root, names[1], LABELS, _REMEDY)
    if len(images) != len(labels):
        raise ValueError(
            f"{names[0]} in {root} holds {len(images)} images but {names[1]} holds {len(labels)} "
            f"labels; expected the same number. {_REMEDY}"
        )
    if labels.size and labels.max() > 9:
        raise ValueError(
            f"{names[1]} in {root} holds the label {labels.max()}; expected 0..9. {_REMEDY}"
        )
    x = images.reshape(len(images), -1).astype(np.float32)
    x /= 255
    return x, labels.astype(np.int64)
