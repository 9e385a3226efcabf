"""The command `onepass`: info, demo, train, predict, bench."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from io import TextIOWrapper

from . import __version__

PAGE = "onepass-bench.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2: what was asked for can't be done)."""
    from .nets.command.options import add_device, add_predict, add_train

    _escape_letters_that_an_encoding_lacks()
    parser = argparse.ArgumentParser(
        prog="onepass",
        description="Fused optimizer steps and batch norm on plain NumPy and CuPy arrays.",
    )
    parser.add_argument("--version", action="version", version=f"onepass {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    info = commands.add_parser("info", help="devices and engines of this machine, and why not")
    info.set_defaults(run=_info)

    demo = commands.add_parser("demo", help="train the digits network, then time every rule")
    add_device(demo)
    demo.set_defaults(run=_demo)

    add_train(commands.add_parser("train", help="train on digits, MNIST or a CSV file"))
    add_predict(commands.add_parser("predict", help="apply a trained model to a CSV file"))
    _add_bench(commands.add_parser("bench", help="measure gain, limit and peers; compare results"))

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


def _escape_letters_that_an_encoding_lacks() -> None:
    """Names come out as \\u0141 where output can't hold them, as Python has it for stderr.

    Else a report of minutes of work ends in an error: pipes of Windows, LC_ALL=POSIX.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _add_bench(bench: argparse.ArgumentParser) -> None:
    from .nets.command.options import add_device

    bench.set_defaults(run=_bench)
    length = bench.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a part of it, briefly")
    length.add_argument("--full", action="store_true", help="everything: many minutes, 10 GB")
    bench.add_argument("--only", metavar="SECTION[,...]", help="some sections, such as steps")
    bench.add_argument(
        "--data", metavar="mnist:FOLDER", help="train on MNIST too, not on digits only"
    )
    bench.add_argument(
        "--json", metavar="FILE", help="write the results, for `bench compare` and `bench page`"
    )
    bench.add_argument(
        "--page", metavar="FILE", help=f"default: {PAGE}, where matplotlib is installed"
    )
    bench.add_argument("--png", metavar="FOLDER", help="write the page's figures as PNG files")
    add_device(bench)
    actions = bench.add_subparsers(metavar="compare|page", required=False)
    compare = actions.add_parser("compare", help="two results: faster, slower, same or unclear")
    compare.add_argument("before", metavar="A.json")
    compare.add_argument("after", metavar="B.json")
    compare.set_defaults(run=_compare)
    page = actions.add_parser("page", help="the page of a result that --json or `make gpu` wrote")
    page.add_argument("result", metavar="RESULT.json")
    page.add_argument("out", metavar="OUT.html")
    page.set_defaults(run=_page)


def _info(options: argparse.Namespace) -> None:
    from .bench.machine import print_info

    print_info()


def _demo(options: argparse.Namespace) -> None:
    from rich.console import Console

    from .backend import get_backend
    from .bench.demo import print_gain
    from .nets.command.train_recipe import train_by_name

    train_by_name(device=options.device)
    print_gain(get_backend(options.device), Console())


def _bench(options: argparse.Namespace) -> None:
    from .bench.cases.data_sets import mnist_folder
    from .bench.command import bench

    page = options.page
    if page is None and find_spec("matplotlib") is not None:
        page = PAGE
    if page is None:
        print('no page without matplotlib: pip install "onepass[plot]"', file=sys.stderr)
    bench(
        mode="quick" if options.quick else "full" if options.full else "default",
        device=options.device,
        only=options.only.split(",") if options.only else (),
        mnist=mnist_folder(options.data),
        json=options.json,
        page=page,
        png=options.png,
    )


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from .bench.report.compare import print_comparison

    print_comparison(options.before, options.after, Console())


def _page(options: argparse.Namespace) -> None:
    from rich.console import Console

    from .bench.command import write_page_of

    write_page_of(options.result, options.out, Console())


if __name__ == "__main__":
    sys.exit(main())
