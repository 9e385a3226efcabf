"""PyTorch's network and gradients, our Adam: its parameters are updated where they lie.

    python examples/torch_parameters.py [--device auto] [--out torch_parameters.png]

The same network learns the digits twice from the same start: once with `torch.optim.Adam`, once
with `onepass.nets.Adam` on the same module's parameters. Nothing is copied: `optimizer.step` sees
the tensors' own memory, on the CPU through NumPy, on a GPU through CuPy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from onepass import get_backend
from onepass.nets import Adam, load_digits, minibatches

EPOCHS, BATCH, LR = 10, 32, 1e-3


def make_net(device: str) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    return torch.nn.Sequential(*layers).to(device)


def our_step(net: torch.nn.Module) -> Callable[[], None]:
    parameters = list(net.parameters())
    optimizer = Adam(parameters, lr=LR)
    return lambda: optimizer.step([parameter.grad for parameter in parameters])


def train(net: torch.nn.Module, step: Callable[[], object], x, y) -> list[float]:
    """The mean loss of each epoch; every run sees the same batches."""
    order, losses = np.random.default_rng(0), []
    for _ in range(EPOCHS):
        total = 0.0
        for batch in minibatches(len(x), BATCH, order):
            net.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x[batch]), y[batch])
            loss.backward()
            step()
            total += loss.item() * len(batch)
        losses.append(total / len(x))
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description="PyTorch's parameters, updated by our Adam.")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|cuda:N")
    parser.add_argument("--out", type=Path, default=Path("torch_parameters.png"), metavar="FILE")
    options = parser.parse_args()
    device = get_backend(options.device).device
    data = load_digits()
    x, y = (torch.as_tensor(array, device=device) for array in (data.x_train, data.y_train))

    nets = {name: make_net(device) for name in ("torch.optim.Adam", "onepass.nets.Adam")}
    steps = {
        "torch.optim.Adam": torch.optim.Adam(nets["torch.optim.Adam"].parameters(), lr=LR).step,
        "onepass.nets.Adam": our_step(nets["onepass.nets.Adam"]),
    }
    losses = {name: train(net, steps[name], x, y) for name, net in nets.items()}
    weights = [torch.cat([p.detach().ravel() for p in net.parameters()]) for net in nets.values()]
    apart = float((weights[0] - weights[1]).abs().max())
    print(f"after {EPOCHS} epochs the parameters differ by {apart:.1e} at most")
    for name, values in losses.items():
        print(f"{name}: loss {values[0]:.4f} in epoch 1, {values[-1]:.4f} in epoch {EPOCHS}")

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    epochs = range(1, EPOCHS + 1)
    axes.semilogy(
        epochs, losses["torch.optim.Adam"], "-", color="0.7", lw=5, label="torch.optim.Adam"
    )
    axes.semilogy(epochs, losses["onepass.nets.Adam"], "k--", marker="o", label="onepass.nets.Adam")
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy, nats")
    axes.set_title(f"one network, two optimizers: parameters differ by {apart:.0e}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.out, dpi=110)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
