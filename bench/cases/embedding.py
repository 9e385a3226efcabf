"""A task with a large embedding table of which a batch touches a few rows: made up, and learnable.

Words are drawn by Zipf's law, a few dozen for each sample; a hidden table gives each word a vector,
and the sample's class is the one whose direction the mean of its words' vectors has most of. The
model is a table of 156,250 x 64 parameters, ten million, with a matrix and a bias to the classes.
Gradients of the table are dense arrays, nearly all of whose rows are zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...kernels import softmax_cross_entropy
from ...nets import Adam
from ...nets.types import HostArray

WORDS, WIDTH, CLASSES, LENGTH = 156_250, 64, 10, 32
TRAINED, HELD_OUT, BATCH = 60_000, 10_000, 256


class Words(NamedTuple):
    """Samples: the numbers of their words, and their classes."""

    x: HostArray
    y: HostArray


def words(seed: int, samples: int) -> Words:
    """Samples of one hidden table; `seed` draws them."""
    hidden = np.random.default_rng(1234)
    table = hidden.standard_normal((WORDS, 16), dtype="float32")
    directions = hidden.standard_normal((16, CLASSES), dtype="float32")
    draw = np.random.default_rng(seed)
    x = draw.zipf(1.15, size=(samples, LENGTH)) % WORDS
    mean = table[x].mean(axis=1)
    return Words(x, ((mean - _usual(table)) @ directions).argmax(axis=1))


def _usual(table: HostArray) -> HostArray:
    """The mean of many samples, without which one class would have most of them."""
    usual: HostArray = table[np.random.default_rng(99).zipf(1.15, size=200_000) % WORDS].mean(
        axis=0
    )
    return usual


def embedding_accuracy(seed: int, trained: int = TRAINED, **options: Any) -> float:
    """Of held-out samples after one pass over the others, in batches, by Adam with `options`."""
    draw = np.random.default_rng(seed)
    data, held_out = words(2 * seed, trained), words(2 * seed + 1, HELD_OUT)
    table = draw.normal(0, 0.1, (WORDS, WIDTH)).astype("float32")
    out = draw.normal(0, 0.1, (WIDTH, CLASSES)).astype("float32")
    bias = np.zeros(CLASSES, np.float32)
    optimizer = Adam({"table": table, "out": out, "bias": bias}, lr=5e-3, **options)
    table_grad, out_grad = np.zeros_like(table), np.zeros_like(out)
    for start in range(0, trained, BATCH):
        x, y = (each[start : start + BATCH] for each in data)
        mean = table[x].mean(axis=1)
        _, d_logits = softmax_cross_entropy(mean @ out + bias, y)
        np.matmul(mean.T, d_logits, out=out_grad)
        bias_grad = d_logits.sum(axis=0)
        each = (d_logits @ out.T / LENGTH).repeat(LENGTH, axis=0)
        rows = x.reshape(-1)
        np.add.at(table_grad, rows, each)
        optimizer.step({"table": table_grad, "out": out_grad, "bias": bias_grad})
        table_grad[rows] = 0
    logits = table[held_out.x].mean(axis=1) @ out + bias
    return float((logits.argmax(axis=1) == held_out.y).mean())
