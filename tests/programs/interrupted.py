"""A program that trains until it is interrupted: python interrupted.py CASE

nets/training/test_interrupt.py runs it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time

import numpy as np
from onepass.nets import SGD, Callback, Dense, EarlyStopping, Sequential, SoftmaxCrossEntropy, fit


class Ready(Callback):
    """Says so once a batch was trained on in the third epoch."""

    def on_batch(self, run):
        if run.epoch == 2 and run.step % 10 == 3:
            print("ready", flush=True)
            self.wait()

    def wait(self):
        pass


class ReadyTwice(Ready):
    """And again when the first signal was noted; then it takes its time."""

    def wait(self):
        while not signal.getsignal(signal.SIGINT).__self__.asked:
            time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(3600)


def train(*callbacks, epochs=1_000_000):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((160, 4)), np.arange(160) % 3
    net = Sequential(Dense(4, 3), seed=0, device="cpu")
    history = fit(
        net, (x, y), loss=SoftmaxCrossEntropy(), optimizer=SGD(net.parameters()), epochs=epochs,
        batch_size=16, validation=(x, y), progress=False, callbacks=callbacks,
    )  # fmt: skip
    return net, history


def told(net, history):
    finite = bool(np.isfinite(net.parameters().flat).all())
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(f"stopped={history.stopped!r} epochs={history.epochs} {finite=} {default=}", flush=True)


def once():
    told(*train(Ready()))


def best():
    class Watched(EarlyStopping):
        def on_end(self, run):
            before = run.net.state_dict()["0.weight"]
            super().on_end(run)
            after = run.net.state_dict()["0.weight"]
            best = bool((after == self.best_state["0.weight"]).all())
            print(f"{self.best_epoch=} {best=} moved={(before != after).any()}", flush=True)

    told(*train(Ready(), Watched(patience=10**6)))


def twice():
    try:
        train(ReadyTwice())
    except KeyboardInterrupt:
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        print(f"raised {default=}", flush=True)


def own_handler():
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))

    class Waits(Ready):
        def on_epoch(self, run):
            while run.epoch == 3 and not seen:
                time.sleep(0.01)

    _, history = train(Waits(), epochs=4)
    print(f"stopped={history.stopped!r} epochs={history.epochs} seen={len(seen)}", flush=True)


def thread():
    found = []
    go_on, done = threading.Event(), threading.Event()

    class Waits(Ready):
        def on_epoch(self, run):
            if run.epoch == 3:
                go_on.wait(250)

    def work():
        found.append(train(Waits(), epochs=4)[1])
        done.set()

    threading.Thread(target=work).start()
    try:
        done.wait(250)
    except KeyboardInterrupt:
        print("the main thread was interrupted", flush=True)
        go_on.set()
        done.wait(250)
    print(f"stopped={found[0].stopped!r} epochs={found[0].epochs}", flush=True)


if __name__ == "__main__":
    {f.__name__: f for f in (once, best, twice, own_handler, thread)}[sys.argv[1]]()
