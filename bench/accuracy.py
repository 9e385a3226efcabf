"""How well the recipes do: their test accuracy for several seeds, as a result file.

    python -m onepass.bench.accuracy [--seeds 5] [--data mnist:FOLDER] [--device auto] [--json FILE]

A seed decides a network's start, the shuffling and dropout, and for digits also which samples are
held out.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from pathlib import Path
from typing import Any

from ..nets import digits_recipe, load_digits, load_mnist, mnist_recipe
from .cases.data_sets import mnist_folder
from .machine import hardware, versions
from .report.to_json import to_json


def accuracies(seeds: int, device: str, mnist: str | None) -> dict[str, list[dict[str, Any]]]:
    """Data set -> a row for each seed: seed, test accuracy after the last epoch, seconds."""
    sets: dict[str, Any] = {"digits": (digits_recipe, lambda seed: load_digits(seed=seed))}
    if mnist is not None:
        data = load_mnist(mnist)
        sets["mnist"] = (mnist_recipe, lambda seed: data)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (recipe, load) in sets.items():
        for seed in range(seeds):
            history = recipe(seed, device).train(load(seed), progress=False)
            row = {
                "seed": seed,
                "accuracy": history.val_accuracy[-1],
                "seconds": sum(history.seconds),
            }
            found.setdefault(name, []).append(row)
            print(
                f"{name}, seed {seed}: {row['accuracy']:.2%} in {row['seconds']:.1f} s", flush=True
            )
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The recipes' test accuracy, seed by seed.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", metavar="mnist:FOLDER", help="MNIST too, not digits only")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    options = parser.parse_args(arguments)
    try:
        folder = mnist_folder(options.data)
    except ValueError as error:
        parser.error(str(error))
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; expected at least 1")
    found = accuracies(options.seeds, options.device, folder)
    for name, rows in found.items():
        values = [row["accuracy"] for row in rows]
        print(
            f"{name}: {min(values):.2%} to {max(values):.2%}, mean {sum(values) / len(values):.2%}"
        )
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
