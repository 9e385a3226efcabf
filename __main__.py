"""The command `onepass`: info, demo, train."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from . import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2: what was asked for can't be done)."""
    parser = argparse.ArgumentParser(
        prog="onepass",
        description="Fused optimizer steps and batch norm on plain NumPy and CuPy arrays.",
    )
    parser.add_argument("--version", action="version", version=f"onepass {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="devices and engines of this machine, and why not")
    info.set_defaults(run=_info)

    demo = commands.add_parser("demo", help="train the digits network, then time every rule")
    _add_device(demo)
    demo.set_defaults(run=_demo)

    train = commands.add_parser("train", help="train a classifier on digits or MNIST")
    train.add_argument(
        "--data", default="digits", metavar="digits|mnist:FOLDER", help="default: digits"
    )
    train.add_argument(
        "--optimizer",
        default="adam",
        help="sgd, momentum, adagrad, rmsprop, adam, adamw or amsgrad; default: adam",
    )
    train.add_argument("--lr", type=float, help="learning rate; default: the optimizer's")
    train.add_argument("--epochs", type=int, help="default: the recipe's")
    train.add_argument("--batch-size", type=int, help="default: the recipe's")
    train.add_argument("--seed", type=_seed, default=0, help="0 or more; default: 0")
    train.add_argument(
        "--batch-norm", action="store_true", help="normalize the hidden layers, without biases"
    )
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_device(train)
    train.set_defaults(run=_train)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `onepass info | head -1`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (
        ArithmeticError,
        ImportError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        print(f"onepass: {error}", file=sys.stderr)
        return 2
    return 0


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 0")
    return int(text)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|cuda:N", help="default: auto"
    )


def _info(options: argparse.Namespace) -> None:
    from .bench.info import print_info

    print_info()


def _demo(options: argparse.Namespace) -> None:
    from rich.console import Console

    from .backend import get_backend
    from .bench.gain import print_gain
    from .nets.command import train_by_name

    train_by_name(device=options.device)
    print_gain(get_backend(options.device), Console())


def _train(options: argparse.Namespace) -> None:
    from .nets.command import train_by_name

    train_by_name(
        data=options.data,
        device=options.device,
        optimizer=options.optimizer,
        lr=options.lr,
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        batch_norm=options.batch_norm,
        progress=not options.quiet,
    )


if __name__ == "__main__":
    sys.exit(main())
