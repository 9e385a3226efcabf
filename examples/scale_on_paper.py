"""Data-parallel training on paper: where more ranks stop paying, and what each of them holds.

    python examples/scale_on_paper.py [--result FILE] [--out scale_on_paper.png]

Above: the efficiency of N ranks, which is their speedup over one rank, over N, where they share
batches of a fixed size; for three sizes of networks, trained by Adam in float32 with sharded
states. Each link joins processors of its kind; a line is dotted where the link joins fewer. Below:
bytes that a rank holds beside its data and activations, with whole and with sharded states, and the
scratch that MPI takes.

The formulas are in onepass/bench/limits/data_parallel.py, links with the sources of their figures
in links.py beside it. This machine's own link is that of the last result of `onepass bench --only
ranks`, if there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import onepass
from onepass.bench.limits.data_parallel import (
    Link,
    Processor,
    Training,
    efficiency,
    memory,
    pays_up_to,
)
from onepass.bench.limits.links import H200, PAIRS
from onepass.bench.report.record import read_report
from onepass.bench.report.scaling import measured_link, measured_processor

RESULTS = Path(onepass.__file__).parent / "bench" / "results"
BATCHES = {10**6: 4_096, 10**8: 65_536, 10**10: 1_048_576}
"""Parameters -> rows of a batch: larger networks are trained with larger ones."""
FLOPS = 6
"""Operations for each parameter and row: 2 forward, 4 backward."""
RANKS = [2**k for k in range(1, 11)]
LOOKS = (
    {"color": "0.0", "marker": "o"},
    {"color": "#D55E00", "marker": "s"},
    {"color": "#0072B2", "marker": "^"},
    {"color": "0.5", "marker": "D"},
)


def measured(file: Path | None) -> list[tuple[Link, Processor]]:
    """This machine's link and core, where a result has them."""
    file = file or max(RESULTS.glob("*-ranks.json"), default=None)
    if file is None:
        print("this machine: no result of `onepass bench --only ranks` is kept yet")
        return []
    report = read_report(file)
    link, core = measured_link(report), measured_processor(report)
    if link is None or core is None:
        print(f"this machine: {file} has no link between two ranks")
        return []
    return [(link, core)]


def training(parameters: int, sharded: bool = True) -> Training:
    return Training(parameters, float(FLOPS * parameters * BATCHES[parameters]), sharded)


def tell(pairs: list[tuple[Link, Processor]]) -> None:
    for link, processor in pairs:
        print(
            f"{link.name}: alpha {link.alpha * 1e6:.3g} us, beta {link.beta / 1e9:.3g} GB/s; "
            f"{processor.name}: {processor.rate / 1e12:.3g} TFLOP/s, "
            f"memory {processor.bandwidth / 1e9:.4g} GB/s"
        )
        rows = 4 * processor.rate / (3 * link.beta)
        print(f"  half is lost where a rank of a large network has {rows:.0f} rows of a batch")
    some = (2, 8, 64, 1024)
    print(f"\n{'efficiency at N':36}" + "".join(f"{ranks:>7}" for ranks in some) + "   pays up to")
    for parameters in BATCHES:
        one = training(parameters)
        for pair in pairs:
            found = "".join(f"{efficiency(one, *reversed(pair), n):7.2f}" for n in some)
            last = pays_up_to(one, *reversed(pair), [n for n in RANKS if n <= pair[0].most])
            print(f"{parameters:.0e} parameters, {pair[0].name:21.21}{found}   {last}")


def draw_efficiency(axes: plt.Axes, parameters: int, pairs: list[tuple[Link, Processor]]) -> None:
    one = training(parameters)
    for (link, processor), look in zip(pairs, LOOKS, strict=False):
        label = f"{link.name}: {processor.name}"
        found = [efficiency(one, processor, link, ranks) for ranks in RANKS]
        there = [k for k, ranks in enumerate(RANKS) if ranks <= link.most]
        axes.plot([RANKS[k] for k in there], [found[k] for k in there], label=label, **look)
        beyond = range(len(there) - 1, len(RANKS))
        axes.plot([RANKS[k] for k in beyond], [found[k] for k in beyond], linestyle=":", **look)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set(ylim=(0, 1.03), xscale="log")
    axes.set_title(f"{parameters:.0e} parameters, batches of {BATCHES[parameters]:,}", fontsize=10)


def draw_memory(axes: plt.Axes, parameters: int) -> None:
    unit, scale = ("MB", 1e6) if parameters < 10**8 else ("GB", 1e9)
    for sharded, look in ((False, "--"), (True, "-")):
        held = [memory(training(parameters, sharded), ranks).total for ranks in RANKS]
        label = "states sharded" if sharded else "states whole on each rank"
        axes.plot(RANKS, [each / scale for each in held], look, label=label, color="0.0")
    assert H200.memory is not None
    if H200.memory < 16 * parameters:
        axes.axhline(H200.memory / scale, color="#D55E00", linestyle=":", label="an H200 has")
    axes.set(ylim=(0, 20 * parameters / scale), xscale="log", xlabel="ranks N")
    axes.set_ylabel(f"{unit} a rank")
    axes.legend(fontsize=8, loc="lower left")


def main() -> None:
    parser = argparse.ArgumentParser(description="Data-parallel training on paper.")
    parser.add_argument("--device", default="auto", help="ignored: nothing is computed on one")
    parser.add_argument("--result", type=Path, metavar="FILE", help="of this machine's link")
    parser.add_argument("--out", type=Path, default=Path("scale_on_paper.png"), metavar="FILE")
    options = parser.parse_args()
    pairs = [*PAIRS, *measured(options.result)]
    tell(pairs)
    figure, grid = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharex=True)
    for (above, below), parameters in zip(grid.T, BATCHES, strict=True):
        draw_efficiency(above, parameters, pairs)
        draw_memory(below, parameters)
        below.set_xticks(RANKS, [str(ranks) for ranks in RANKS], fontsize=8)
        below.minorticks_off()
        for axes in (above, below):
            axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("efficiency: speedup / N")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig(options.out, dpi=90)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
