"""How well the recipes do: their test accuracy for several seeds, as a result file.

    python -m onepass.bench.accuracy [--seeds 5] [--data mnist:FOLDER] [--device auto] [--json FILE]
        [--state-formats float32,bfloat16,8bit]

A seed decides a network's start, the shuffling and dropout, and for digits also which samples are
held out. With formats of the optimizer's states, each is measured, on a large embedding too.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from ..kernels.state_formats.layout import FLOAT32, FORMATS
from ..nets import Adam, digits_recipe, load_digits, load_mnist, mnist_recipe
from ..nets.command.recipes import LR
from .cases.data_sets import mnist_folder
from .cases.embedding import embedding_accuracy
from .machine import hardware, versions
from .report.to_json import to_json

Rows = dict[str, list[dict[str, Any]]]


def accuracies(
    seeds: int, device: str, mnist: str | None, formats: Sequence[str] = (FLOAT32,)
) -> Rows:
    """Data set -> a row for each seed and format: seed, test accuracy after the last epoch,
    seconds, and the format of the optimizer's states where there are several."""
    sets: dict[str, Any] = {"digits": (digits_recipe, lambda seed: load_digits(seed=seed))}
    if mnist is not None:
        data = load_mnist(mnist)
        sets["mnist"] = (mnist_recipe, lambda seed: data)
    found: Rows = {}
    for name, (recipe, load) in sets.items():
        for seed in range(seeds):
            for kind in formats:
                made = recipe(seed, device)
                if kind != FLOAT32:
                    optimizer = Adam(made.net.parameters(), lr=LR, state_format=kind)
                    made = replace(made, optimizer=optimizer)
                history = made.train(load(seed), progress=False)
                _add(found, name, seed, kind, history.val_accuracy[-1], sum(history.seconds))
    for seed in range(seeds if len(formats) > 1 else 0):
        for kind in formats:
            start = perf_counter()
            accuracy = embedding_accuracy(seed, state_format=kind)
            _add(found, "embedding", seed, kind, accuracy, perf_counter() - start)
    return found


def _add(rows: Rows, name: str, seed: int, kind: str, accuracy: float, seconds: float) -> None:
    row = {"seed": seed, "state_format": kind, "accuracy": accuracy, "seconds": seconds}
    rows.setdefault(name, []).append(row)
    print(f"{name}, {kind}, seed {seed}: {accuracy:.2%} in {seconds:.1f} s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The recipes' test accuracy, seed by seed.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", metavar="mnist:FOLDER", help="MNIST too, not digits only")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--state-formats", default=FLOAT32, metavar="float32,bfloat16,8bit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    options = parser.parse_args(arguments)
    try:
        folder = mnist_folder(options.data)
    except ValueError as error:
        parser.error(str(error))
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; expected at least 1")
    formats = options.state_formats.split(",")
    if unknown := [kind for kind in formats if kind not in FORMATS]:
        parser.error(f"--state-formats has {unknown[0]!r}; expected some of {', '.join(FORMATS)}")
    found = accuracies(options.seeds, options.device, folder, formats)
    for name, rows in found.items():
        for kind in formats:
            values = [row["accuracy"] for row in rows if row["state_format"] == kind]
            mean = sum(values) / len(values)
            print(f"{name}, {kind}: {min(values):.2%} to {max(values):.2%}, mean {mean:.2%}")
    if options.json:
        result = {
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
            "hardware": hardware(),
            "accuracy": found,
        }
        options.json.write_text(to_json(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
