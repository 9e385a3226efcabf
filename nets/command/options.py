"""The options of `onepass train` and `onepass predict`."""

from __future__ import annotations

import argparse
from typing import Any

from .launched import on_ranks

TABLE_ONLY = (
    "target", "task", "delimiter", "missing", "hidden", "keep_prob", "test_fraction", "save",
)  # fmt: skip
"""Options that go with a CSV file; None where not given."""


def add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="digits",
        metavar="digits|mnist:FOLDER|FILE.csv",
        help="a CSV file needs a header and --target; default: digits",
    )
    parser.add_argument(
        "--optimizer",
        default="adam",
        help="sgd, momentum, adagrad, rmsprop, adam, adamw, amsgrad, nadam, radam, adamax, "
        "adadelta or lion; default: adam",
    )
    parser.add_argument("--lr", type=float, help="learning rate; default: the optimizer's")
    parser.add_argument(
        "--schedule",
        metavar="cosine|linear|one-cycle",
        help="of the rates over all epochs, --lr the highest; default: the recipe's, or none",
    )
    parser.add_argument(
        "--warmup", type=int, metavar="BATCHES", help="in which the rate rises first; default: none"
    )
    parser.add_argument(
        "--clip-norm", type=float, help="largest norm of all gradients together; default: any"
    )
    parser.add_argument("--epochs", type=int, help="default: the recipe's; for a CSV file 100")
    parser.add_argument(
        "--batch-size", type=int, help="default: the recipe's; for a CSV file by its size"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="0 or more; default: 0")
    parser.add_argument(
        "--batch-norm",
        action=argparse.BooleanOptionalAction,
        help="normalize the hidden layers, without biases; default: not for a CSV file",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_device(parser)
    table = parser.add_argument_group("for a CSV file")
    table.add_argument("--target", metavar="COLUMN", help="the column to predict")
    table.add_argument(
        "--task",
        metavar="classification|regression",
        help="default: told from the target (names and few whole numbers are classes)",
    )
    table.add_argument("--delimiter", metavar="CHARACTER|tab", help="default: ,")
    _add_missing(table, "NA, ?, null, ... and nothing, among names of classes nothing only")
    table.add_argument(
        "--hidden", type=_sizes, metavar="64,32", help="units of each hidden layer; default: 64,32"
    )
    table.add_argument("--keep-prob", type=float, help="of dropout; default: 1, none")
    table.add_argument(
        "--test-fraction", type=float, help="share of the rows that is held out; default: 0.2"
    )
    table.add_argument("--save", metavar="MODEL.safetensors", help="write the trained model")
    parser.set_defaults(run=_train)


def add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.safetensors", help="what train --save wrote")
    parser.add_argument("data", metavar="FILE.csv", help="rows with the columns it was trained on")
    parser.add_argument("--out", metavar="PREDICTIONS.csv", help="default: printed")
    parser.add_argument("--proba", action="store_true", help="add a column for each class")
    parser.add_argument("--delimiter", metavar="CHARACTER|tab", default=",", help="default: ,")
    _add_missing(parser, "as the model was trained")
    add_device(parser)
    parser.set_defaults(run=_predict)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|cuda:N", help="default: auto"
    )


def _add_missing(parser: argparse._ActionsContainer, default: str) -> None:
    parser.add_argument(
        "--missing",
        type=_texts,
        metavar="NA,-999",
        help="what stands for a missing value, beside nothing; '' for nothing alone (and "
        f"--missing=-,NA where the first begins with -); default: {default}",
    )


def _train(options: argparse.Namespace) -> None:
    names = (
        "device", "optimizer", "lr", "schedule", "warmup", "clip_norm", "epochs", "batch_size",
        "seed", "batch_norm",
    )  # fmt: skip
    both: dict[str, Any] = {name: getattr(options, name) for name in names}
    if options.batch_norm is None:
        del both["batch_norm"]
    both["progress"] = not options.quiet
    table = {name: getattr(options, name) for name in TABLE_ONLY}
    given = {name: value for name, value in table.items() if value is not None}
    if options.target is not None:
        from .train_table import train_table

        on_ranks(lambda comm: train_table(options.data, **given, **both, comm=comm))
        return
    if given:
        raise ValueError(
            f"--{next(iter(given)).replace('_', '-')} was given without --target; expected "
            "--data FILE.csv --target COLUMN beside it"
        )
    from .train_recipe import train_by_name

    on_ranks(lambda comm: train_by_name(options.data, **both, comm=comm))


def _predict(options: argparse.Namespace) -> None:
    from .predict_table import predict_file

    predict_file(
        options.model,
        options.data,
        out=options.out,
        probabilities=options.proba,
        delimiter=options.delimiter,
        missing=options.missing,
        device=options.device,
    )


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= 0")
    return int(text)


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list such as 64,32") from None
