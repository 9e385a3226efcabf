"""A CSV file that is never in memory as a whole: `partial_fit`, some rows at a time.

    python examples/larger_than_memory.py [--device auto] [--out larger_than_memory.png]

The script writes a table of 200,000 rows and 20 columns, some 30 MB of text, to a temporary folder,
and trains a network on it without ever holding more than 4,000 rows. That many would fit into any
memory, of course; ten thousand times as many would need no more of it.

    for chunk in pandas.read_csv(path, chunksize=4000):
        net.partial_fit(chunk[names], chunk["kind"], classes=KINDS)

What there is to know:

- `classes` are all that there will be. The first rows may lack some of them, and the network needs
  an output for each; later calls may leave them out.
- A call goes through its rows once, in batches of 200, with the optimizer's state of the call
  before: chunks of 4,000 rows train as one long epoch would, but that rows are shuffled within a
  chunk alone. Schedules over all of a training, such as "cosine", are refused: nobody knows where
  a stream ends.
- Samples are normalized by mean and deviation of the first chunk. Give it some hundreds of rows at
  least, in no order: a file sorted by class or by time has to be shuffled first.
- Held out are the first rows of the file; what `partial_fit` has not seen yet would do as well.
- There is no `early_stopping`, since a stream has no end to hold rows out of. Watch the score, and
  break out of the loop; go through the file again while it rises.

The picture has the accuracy on held-out rows after every fifth chunk, and the peak of what Python
and NumPy took by `tracemalloc`, beside the file and beside the table as an array. It is that of a
few chunks, and does not grow with the file. What the first training of a process loads, some 30 MiB
of compiler, is not counted: a small network is trained before. Needs pandas.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from onepass.nets import NetClassifier

ROWS, CHUNK, COLUMNS, EVERY = 200_000, 4000, 20, 5
NAMES = [f"x{k}" for k in range(COLUMNS)]
KINDS = np.array(["bass", "perch", "pike"])
MIB = 2**20


def write(path: Path) -> None:
    """The table, a chunk at a time: rows around 12 points, 4 of each kind, more or less far."""
    draw = np.random.default_rng(0)
    points = draw.normal(0, 1, (12, COLUMNS))
    for start in range(0, ROWS, CHUNK):
        which = draw.integers(12, size=CHUNK)
        frame = pd.DataFrame(points[which] + draw.normal(0, 1.3, (CHUNK, COLUMNS)), columns=NAMES)
        frame["kind"] = KINDS[which % 3]
        frame.to_csv(path, mode="a", header=start == 0, index=False, float_format="%.4f")


def chunks(path: Path) -> Iterator[tuple[pd.DataFrame, pd.Series]]:
    """Rows and their kinds, in float32, which takes half of the memory."""
    types = dict.fromkeys(NAMES, "float32")
    for chunk in pd.read_csv(path, chunksize=CHUNK, dtype=types):
        yield chunk[NAMES], chunk["kind"]


def learn(path: Path, device: str) -> list[tuple[int, float]]:
    """(rows seen, accuracy on the first chunk, which is held out) after every fifth chunk."""
    net = NetClassifier((64, 64), random_state=0, device=device)
    parts = chunks(path)
    held = next(parts)
    scores = []
    for number, (x, y) in enumerate(parts, start=1):
        net.partial_fit(x, y, classes=KINDS)
        if number == 1 or number % EVERY == 0:
            scores.append((number * CHUNK, net.score(*held)))
    return scores


def draw(figure: plt.Figure, scores: list[tuple[int, float]], sizes: dict[str, float]) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.plot(*zip(*scores, strict=True), "o-", color="0.0")
    left.set(xlabel="rows seen", ylabel="accuracy on held-out rows")
    left.set_title("each row is seen once")
    right.barh([*sizes], [*sizes.values()], color="0.7", edgecolor="0.0")
    right.invert_yaxis()
    right.set_xlabel("MiB")
    right.set_title("what lies where")
    for axes in (left, right):
        axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description="Learning from a file, some rows at a time.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("larger_than_memory.png"), metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "fish.csv")
        write(path)
        size = path.stat().st_size / MIB
        print(f"the file: {ROWS} rows of {COLUMNS} numbers and a word, {size:.1f} MiB")
        few = np.zeros((6, COLUMNS), "float32"), np.repeat(KINDS, 2)
        NetClassifier(2, device=options.device).partial_fit(*few, classes=KINDS).predict(few[0])
        tracemalloc.start()
        scores = learn(path, options.device)
        peak = tracemalloc.get_traced_memory()[1] / MIB
        tracemalloc.stop()
    for rows, score in scores:
        print(f"after {rows} rows: accuracy {score:.3f} on {CHUNK} held-out rows")
    array = ROWS * COLUMNS * 8 / MIB
    print(f"peak memory: {peak:.1f} MiB; a chunk of {CHUNK} rows is {array * CHUNK / ROWS:.2f} MiB")
    figure = plt.figure(figsize=(11, 4), layout="constrained")
    draw(figure, scores, {"the file": size, "as an array": array, "peak memory": peak})
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
