"""An average of squares in 16 and 8 bits: to the nearest it stands still, by noise it falls.

    python examples/state_formats.py [--device auto] [--out state_formats.png]

A block of 256 parameters has gradients for a while; then all but one have none. RMSprop's average
v = 0.999 v + 0.001 g^2 of the others ought to fall by 0.1 % a step, which is less than half a step
of either format. What is printed is v after so many steps, as a share of what float64 has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from onepass import get_backend
from onepass.kernels import decode_state, encode_state, rmsprop_step, zero_state

ALPHA, BUSY, STEPS, SIZE = 0.999, 300, 4000, 256
FORMATS = ("bfloat16", "8bit")
Course = np.ndarray
"""v of each parameter but the first, after each step."""


def gradients(seed: int = 0) -> np.ndarray:
    """For each step one for each parameter: the first has one always, the others for a while."""
    found = np.random.default_rng(seed).standard_normal((STEPS, SIZE)).astype("float32")
    found[BUSY:, 1:] = 0
    return found


def exact(grads: np.ndarray) -> Course:
    """In float64."""
    v, course = np.zeros(SIZE), []
    for g in grads.astype("float64"):
        v = ALPHA * v + (1 - ALPHA) * g * g
        course.append(v[1:])
    return np.array(course)


def nearest(grads: np.ndarray, state_format: str) -> Course:
    """Rounded to the nearest after each step."""
    v, course = np.zeros(SIZE, np.float32), []
    for g in grads:
        v = np.float32(ALPHA) * v + np.float32(1 - ALPHA) * g * g
        v = decode_state(encode_state(v, state_format, signed=False))
        course.append(v[1:])
    return np.array(course)


def by_noise(grads: np.ndarray, state_format: str, device: str) -> Course:
    """As step functions round."""
    backend = get_backend(device)
    param = backend.asarray(np.zeros(SIZE, np.float32))
    v, course = zero_state(param, state_format, signed=False), []
    for step, g in enumerate(grads):
        rmsprop_step(param, backend.asarray(g), v, alpha=ALPHA, lr=0.0, seed=step)
        course.append(backend.to_numpy(decode_state(v))[1:])
    return np.array(course)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="v in 16 and 8 bits.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("state_formats.png"))
    options = parser.parse_args(arguments)
    grads = gradients()
    wanted = exact(grads)
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for panel, kind in zip(panels, FORMATS, strict=True):
        courses = {"nearest": nearest(grads, kind), "noise": by_noise(grads, kind, options.device)}
        for course, color in zip(courses.values(), ("0.6", "0.75"), strict=True):
            panel.plot(course[:, :8], color=color, linewidth=0.6)
        panel.plot(courses["nearest"].mean(axis=1), "k--", label="to the nearest, mean of 255")
        panel.plot(
            courses["noise"].mean(axis=1), "k-", linewidth=2.5, label="by noise, mean of 255"
        )
        panel.plot(wanted.mean(axis=1), "w:", linewidth=1.5, label="float64 (white, dotted)")
        panel.set(yscale="log", title=f"v in {kind}", xlabel="step", ylim=(1e-3, 1))
        panel.axvline(BUSY, color="0.8", linewidth=0.8)
        for name, course in courses.items():
            shares = [course[at - 1].mean() / wanted[at - 1].mean() for at in (1000, 2000, STEPS)]
            told = ", ".join(f"{share:.2f}" for share in shares)
            print(f"{kind} {name}: {told} of float64 after 1,000, 2,000 and {STEPS:,} steps")
    panels[0].set_ylabel("v; grey: of single parameters")
    panels[0].legend(loc="lower left", facecolor="0.85")
    figure.savefig(options.out, dpi=120)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
