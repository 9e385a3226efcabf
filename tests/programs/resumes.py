"""A program that goes on with every run in a folder: python resumes.py FOLDER DEVICE

It knows nothing of the networks and optimizers but what the files say.
nets/saving/test_resume_from_file.py runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cases.saving import train
from onepass.nets import Checkpoint, load


def go_on(path, device, epochs=6):
    """Train the run of a file to the sixth epoch, and save it beside, as NAME.resumed."""
    saved = load(path, device)
    train(
        saved.net, saved.optimizer, epochs, schedule=saved.schedule, resume=saved, seed=99,
        callbacks=[Checkpoint(path.with_suffix(".resumed"))],
    )  # fmt: skip


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).glob("*.half")):
        go_on(path, sys.argv[2])
