"""A program that is killed while it saves: python saves_forever.py FOLDER HOW KILLS

It forks a child that saves one checkpoint after another and says so after each; kills it at a
random moment; and looks at what is on disk. So a hundred kills take seconds, where a hundred
interpreters would take a minute. nets/saving/test_atomic_write.py runs it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from onepass.nets import Adam, Dense, Sequential, load, save


def in_place(path, net, optimizer, **metadata):
    """As `save`, but straight into the file: what a checkpoint must not do."""
    whole = path.with_suffix(".whole")
    save(whole, net, optimizer, **metadata)
    content = whole.read_bytes()
    with path.open("wb") as file:  # most of the time, so that a kill surely comes amid it
        for low in range(0, len(content), 1 << 16):
            file.write(content[low : low + (1 << 16)])
            os.fsync(file.fileno())


def network(k):
    """All parameters are k, so that a mixture of two checkpoints shows."""
    net = Sequential(Dense(256, 256), Dense(256, 64), device="cpu")
    net.parameters().flat[...] = k
    return net


def save_forever(how, path, first, pipe):
    net = network(first)
    optimizer = Adam(net.parameters())
    for k in range(first, sys.maxsize):
        net.parameters().flat[...] = k
        how(path, net, optimizer, k=k)
        os.write(pipe, k.to_bytes(8, "little"))


def kill_once(how, path, last, wait):
    """The last checkpoint that a child said was saved, before it was killed."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        save_forever(how, path, last + 1, writing)
    os.close(writing)
    told = os.read(reading, 8)  # it is at work
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 8):
        told = more
    os.close(reading)
    return int.from_bytes(told, "little")


def main(folder, how, kills):
    path, draw = Path(folder) / "model.safetensors", random.Random(0)
    losses, torn, last = [], 0, 0
    start = time.perf_counter()
    save(path, network(0), k=0)
    took = time.perf_counter() - start
    for _ in range(int(kills)):
        wait = draw.uniform(0, 4 * took)
        last = kill_once({"save": save, "in_place": in_place}[how], path, last, wait)
        torn += any(name.endswith(".tmp") for name in os.listdir(folder))
        try:
            saved = load(path, "cpu")
            k = saved.metadata["k"]
            assert k in (last, last + 1), f"{k} is there, {last} was saved last"
            assert np.all(saved.net.parameters().flat == k), "parameters of two checkpoints"
            last = k
        except (ValueError, AssertionError) as error:
            losses.append(str(error))
            save(path, network(last), k=last)
    save(path, network(0), k=0)
    print(len(losses), torn, len(os.listdir(folder)), *losses[:3])


if __name__ == "__main__":
    main(*sys.argv[1:])
