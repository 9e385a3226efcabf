"""What ranks meet, one thing after another: mpiexec -n 3 python ranks_together.py FOLDER [CASE...]

Each function is called by all ranks. Rank 0 prints what each has returned, or raised, as one line
of JSON; after each all of them train once more, with what is left.
"""

from __future__ import annotations

import copy
import importlib
import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
from cases.ranks import Case, data, made, normed, numbers, plain, seen, trained, with_dropout
from mpi4py import MPI
from onepass import kernels
from onepass.kernels.loss_scale import LEAST
from onepass.nets import (
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    DataParallel,
    Dense,
    EarlyStopping,
    Huber,
    Layer,
    LossScaler,
    MeanSquaredError,
    Sequential,
    SoftmaxCrossEntropy,
    fit,
    load,
    save,
)
from onepass.nets.parallel import same_everywhere
from onepass.nets.training.told.progress import Progress

from programs import ranks_steps

COMM = MPI.COMM_WORLD
RANK, SIZE = COMM.rank, COMM.size
FOLDER = Path(sys.argv[1])
ADAM = Case(optimizer=Adam, hyper={"lr": 0.02})
SYNC = Case(normed(sync=True), Adam, {"lr": 0.02}, {"batch_size": 5})


class Acts(Callback):
    """Does something in the place `where`, on one rank."""

    def __init__(self, where, act, rank=1, epoch=1):
        self.where, self.act, self.rank, self.epoch = where, act, rank, epoch

    def _at(self, where, run):
        if where == self.where and self.rank == RANK and run.epoch >= self.epoch:
            self.act(run)

    def on_start(self, run):
        self._at("on_start", run)

    def on_batch(self, run):
        self._at("on_batch", run)

    def on_epoch(self, run):
        self._at("on_epoch", run)

    def on_end(self, run):
        self._at("on_end", run)


def boom(*_):
    raise KeyError("boom")


def train(case=ADAM, net=None, optimizer=None, **options):
    if net is None:
        net, optimizer = made(case)
    elif optimizer is None:
        optimizer = Adam(net.parameters(), lr=0.02)
    options.setdefault("comm", COMM)
    history = trained(case, net, optimizer, **options)
    return net, optimizer, history


def bits(net, optimizer, history):
    found = seen(net, optimizer, history)
    return b"".join(name.encode() + found[name].tobytes() for name in sorted(found))


# what one rank raises in `fit`


def raises_on_start():
    train(callbacks=Acts("on_start", boom, epoch=0))


def raises_on_batch():
    train(callbacks=Acts("on_batch", boom))


def raises_on_epoch():
    train(callbacks=[Acts("on_epoch", boom), Checkpoint(FOLDER / "told")])


def raises_on_end():
    train(callbacks=Acts("on_end", boom))


def raises_in_augment():
    train(augment=lambda rows, rng: boom() if RANK == 2 else rows)


def raises_in_augment_of_sync():
    train(SYNC, augment=lambda rows, rng: boom() if RANK == 2 else rows)


def raises_for_a_shape():
    train(augment=lambda rows, rng: rows[:, 1:] if RANK == 1 else rows)


def raises_in_a_schedule():
    train(schedule=lambda epoch, step: boom() if (RANK, step) == (1, 4) else 0.1)


def raises_for_an_lr():
    train(schedule=lambda epoch, step: -1.0 if (RANK, step) == (1, 4) else 0.1)


def raises_in_the_bar():
    """After the last batch of an epoch; rank 0 alone has one."""

    class Bar(Progress):
        batches = 0

        def __init__(self, *_):
            pass

        def batch(self):
            self.batches += 1
            if self.batches == 3:  # 22 samples by 8
                boom()

    module = importlib.import_module("onepass.nets.training.fit")
    own, module.RichProgress = module.RichProgress, Bar
    try:
        train(progress=True)
    finally:
        module.RichProgress = own


class Falls(Layer):
    """Raises in forward on one rank."""

    def forward(self, x, train=False):
        return boom() if train and RANK == 1 else x

    def backward(self, dy, input_grad=True):
        return dy


def raises_in_a_layer():
    train(Case(lambda: [Falls(), *plain()], Adam))


def two_ranks_raise():
    def act(run):
        if RANK:
            boom()

    each = Acts("on_epoch", act, rank=RANK)
    train(callbacks=each)


def all_ranks_raise():
    train(callbacks=Acts("on_epoch", boom, rank=RANK))


# what one rank stops


def stops_on_batch():
    _, optimizer, history = train(
        callbacks=Acts("on_batch", lambda run: run.stop("enough"), epoch=0)
    )
    return [history.stopped, history.epochs, optimizer.steps]


def stops_on_epoch():
    act = Acts("on_epoch", lambda run: run.stop("enough"))
    _, optimizer, history = train(callbacks=act, epochs=5)
    return [history.stopped, history.epochs, optimizer.steps]


def stops_before_a_checkpoint():
    """On one rank, which then would have to save an epoch that is not the third."""
    place = FOLDER / "stopped"
    if RANK == 0:
        place.mkdir()
    COMM.barrier()
    stop = Acts("on_epoch", lambda run: run.stop("enough"))
    _, _, history = train(callbacks=[stop, Checkpoint(place / "file", every=3)], epochs=9)
    return [history.stopped, history.epochs, sorted(each.name for each in place.iterdir())]


class Keeps(Callback):
    """Keeps the run."""

    def on_start(self, run):
        self.run = run


def stops_in_a_schedule():
    """On one rank, before the first update of the second epoch."""
    kept = Keeps()

    def schedule(epoch, step):
        if (RANK, step) == (2, 4):
            kept.run.stop("enough")
        return 0.02

    _, optimizer, history = train(callbacks=kept, schedule=schedule, epochs=5)
    return [history.stopped, history.epochs, optimizer.steps]


# figures that are not finite


def nan_on_one_rank():
    def augment(rows, rng):
        return rows * np.float32(np.nan if RANK == 1 else 1)

    train(augment=augment)


def nan_in_sync():
    def augment(rows, rng):
        return rows * np.float32(np.nan if RANK == 1 else 1)

    train(SYNC, augment=augment)


def inf_after_sync():
    """On one rank alone, and its rows have nothing to do with the statistics."""
    x, y = numbers(6)
    y[4] = 1e30
    case = Case(normed(sync=True), Adam, pair=lambda: (x, y), loss=MeanSquaredError)
    train(case, shuffle=False)


def inf_after_sync_of_few(rows=2):
    """One rank has no rows, the others one each, which alone are too few for a batch norm."""
    x, y = numbers(rows)
    y[1] = 1e30
    case = Case(normed(sync=True), Adam, pair=lambda: (x, y), loss=MeanSquaredError)
    train(case, shuffle=False)


def inf_gradients():
    """Of rank 2 alone, whose loss is finite; found by clip_norm, in the step."""
    x, y = numbers(6)
    x[5], y[5] = 1e22, 1e18
    case = Case(lambda: [Dense(5, 3)], pair=lambda: (x, y), loss=MeanSquaredError)
    net, _ = made(case)
    net.parameters().flat[...] = 0
    train(case, net, SGD(net.parameters(), clip_norm=1.0), shuffle=False)


def inf_sum_of_gradients(sharded=False):
    """Each rank's are finite, but not their sum, which is in rank 2's part: its norm."""
    x, y = np.ones((6, 5)), np.full((6, 3), -6.0)
    x[:, 4] = 5e37
    case = Case(lambda: [Dense(5, 3)], pair=lambda: (x, y), loss=MeanSquaredError)
    net, _ = made(case)
    net.parameters().flat[...] = 0
    train(case, net, SGD(net.parameters(), clip_norm=1.0), shuffle=False, sharded=sharded)


def inf_sum_of_gradients_sharded():
    inf_sum_of_gradients(sharded=True)


class Bursts(Layer):
    """Gradients behind it are inf on one rank."""

    def forward(self, x, train=False):
        return x

    def backward(self, dy, input_grad=True):
        return dy * np.float32(np.inf if RANK == 1 else 1)


def scaler_is_stuck():
    """At the least scale that there is."""
    case = Case(lambda: [*plain(), Bursts()], Adam)
    train(case, loss_scaler=LossScaler(LEAST))


def nan_in_validation():
    x, y = numbers(6)
    y[5] = 1e30
    train(Case(pair=numbers, loss=MeanSquaredError), validation=(x, y))


# what is not the same


def other_network():
    train(net=Sequential(Dense(5, 8), Dense(8, 3), device="cpu") if RANK == 1 else made(ADAM)[0])


def other_activation():
    layers = plain() if RANK == 1 else with_dropout()
    train(net=Sequential(*layers, device="cpu"))


def other_dtype():
    dtype = "float64" if RANK == 2 else "float32"
    train(net=Sequential(*plain(), dtype=dtype, device="cpu"))


def other_optimizer():
    net = made(ADAM)[0]
    train(net=net, optimizer=(SGD if RANK == 2 else Adam)(net.parameters()))


def other_lr():
    net = made(ADAM)[0]
    train(net=net, optimizer=Adam(net.parameters(), lr=0.1 + RANK // 2))


def other_groups():
    net = made(ADAM)[0]
    train(net=net, optimizer=Adam(net.parameters(), frozen="0.bias" if RANK == 1 else None))


def other_steps():
    net, optimizer, _ = train(comm=None, epochs=1 + RANK)
    train(net=net, optimizer=optimizer)


def other_version():
    own, same_everywhere.__version__ = same_everywhere.__version__, f"9.{RANK}"
    try:
        train()
    finally:
        same_everywhere.__version__ = own


def other_samples():
    train(Case(optimizer=Adam, pair=lambda: data(22 - RANK // 2)))


def other_batch_size():
    train(batch_size=8 + RANK // 2)


def other_callbacks():
    train(callbacks=[Callback()] if RANK == 1 else [])


def other_sharded():
    train(sharded=RANK == 1)


def other_loss():
    loss = (lambda: Huber(0.5)) if RANK == 1 else MeanSquaredError
    train(Case(optimizer=Adam, pair=numbers, loss=loss))


def bad_labels():
    x, y = data()
    train(Case(optimizer=Adam, pair=lambda: (x, y - (RANK == 1))))


def too_few_samples():
    train(Case(normed(), Adam, pair=lambda: data(22), options={"batch_size": 7}))


def both_batch_norms():
    train(Case(lambda: [BatchNorm(5), *normed(sync=True)()], Adam))


class Alone(Callback):
    """Does something on rank 0 alone that all ranks are to do."""

    def __init__(self, act):
        self.act = act

    def on_epoch(self, run):
        if RANK == 0:
            self.act(run)


def saves_alone():
    train(callbacks=Alone(lambda run: save(FOLDER / "alone", run.net, run=run)))


def saves_a_part_alone():
    alone = Alone(lambda run: save(FOLDER / "alone", run.net, run.optimizer))
    train(callbacks=alone, sharded=True)


def takes_states_alone():
    train(callbacks=Alone(lambda run: run.optimizer.state_dict()), sharded=True)


def saves_the_net_alone():
    """Which takes nobody else."""
    train(callbacks=Alone(lambda run: save(FOLDER / "net", run.net)), sharded=True)
    return load(FOLDER / "net", "cpu").net.parameters().flat.size if RANK == 0 else 66


def sets_an_lr_alone():
    def act(run):
        run.optimizer.lr = 0.5

    train(callbacks=Alone(act), epochs=3)


def other_schedule():
    train(schedule=lambda epoch, step: 0.1 + 0.1 * (RANK == 2))


# files


def folder_missing():
    """For rank 0, which alone looks."""
    train(callbacks=Checkpoint(FOLDER / ("none" if RANK == 0 else "") / "file"))


def folder_goes():
    """Midway, so that rank 0 can't write."""
    place = FOLDER / "goes"
    place.mkdir(exist_ok=True)
    COMM.barrier()
    act = Acts("on_epoch", lambda run: shutil.rmtree(place), rank=0, epoch=2)
    train(callbacks=[Checkpoint(place / "file"), act, Checkpoint(place / "file")])


def metadata_of_one_rank():
    class Saves(Callback):
        def on_epoch(self, run):
            save(FOLDER / "meta", run.net, run=run, **({"a": print} if RANK == 1 else {}))

    train(callbacks=Saves())


def save_without_folder():
    net, optimizer = made(ADAM)
    with DataParallel(net, optimizer, COMM, sharded=True) as ranks:
        try:
            save(FOLDER / "none" / "file", net, optimizer)
        except (OSError, RuntimeError) as error:
            said = f"{type(error).__name__}: {error}"
        fit(
            net, data(), loss=SoftmaxCrossEntropy(), optimizer=optimizer, comm=ranks, progress=False
        )
    return said


def one_file():
    """All ranks write one, at most, and it stays at its place."""
    place = FOLDER / "one"
    if RANK == 0:
        place.mkdir()
    COMM.barrier()
    names = []

    class Looks(Callback):
        def on_epoch(self, run):
            names.append(sorted(each.name for each in place.iterdir()))

    train(callbacks=[Checkpoint(place / "file"), Looks()], sharded=True)
    return names


def kept_run():
    """After `fit` each rank does alone what all did together in it."""
    kept, said = Keeps(), []
    net, optimizer, _ = train(callbacks=kept, sharded=True)
    for rank in reversed(range(SIZE)):
        if rank == RANK:
            path = FOLDER / f"kept-{rank}"
            save(path, net, optimizer, run=kept.run)
            kept.run.by_first(lambda: said.append("done"))
            saved = load(path, "cpu")
            said.append(bool((saved.net.parameters().flat == net.parameters().flat).all()))
            said.append(saved.epoch)
        COMM.barrier()
    return said


RESUMED = {
    "noise, dropout, batch norm": Case(
        lambda: [*normed()()[:3], *with_dropout()[2:]], Adam, {"lr": 0.02, "use_ema": True},
        {"augment": lambda rows, rng: rows + rng.standard_normal(rows.shape), "batch_size": 5},
    ),
    "sync": SYNC,
    "captured": Case(with_dropout, Adam, {"lr": 0.02}),
}  # fmt: skip


def resumed():
    """Bit for bit, sharded or not, whoever wrote the file."""
    found = {}
    for name, case in RESUMED.items():
        for sharded in (False, True):
            whole = bits(*train(case, epochs=3, sharded=sharded))
            path = FOLDER / f"{name}-{sharded}"
            train(case, epochs=1, sharded=sharded, callbacks=Checkpoint(path))
            halves = []
            for again in (False, True):
                saved = load(path, "cpu")
                halves.append(
                    bits(
                        *train(
                            case,
                            saved.net,
                            saved.optimizer,
                            epochs=3,
                            sharded=again,
                            resume=saved,
                            seed=7 + RANK,
                        )
                    )
                )
            found[f"{name}, {sharded}"] = [each == whole for each in halves]
    return found


def resumed_by_others():
    """What three ranks wrote goes on on two and on one, and what two wrote on three."""
    train(ADAM, epochs=1, sharded=True, callbacks=Checkpoint(FOLDER / "of three"))
    pair = COMM.Split(0 if RANK < 2 else 1)
    if pair.size == 2:
        train(ADAM, comm=pair, epochs=1, sharded=True, callbacks=Checkpoint(FOLDER / "of two"))
    COMM.barrier()
    net, optimizer, history = train(comm=None, epochs=3)
    expected, off = seen(net, optimizer, history), []
    for name, comm in (("of three", pair), ("of two", COMM), ("of three", None)):
        saved = load(FOLDER / name, "cpu")
        if comm is not None and comm.size == 1:
            continue
        own = train(ADAM, saved.net, saved.optimizer, comm=comm, epochs=3, resume=saved)
        found = seen(*own)
        off += [float(np.abs(found[key] - expected[key]).max(initial=0.0)) for key in found]
    return max(off)


# loops of one's own


def own_loop(sharded=False, ranks_of=COMM):
    net, optimizer = made(ADAM, seed=RANK)
    x, y = (np.asarray(each) for each in data())
    x, loss = x.astype("float32"), SoftmaxCrossEntropy()
    with DataParallel(net, optimizer, ranks_of, sharded=sharded) as ranks:
        for _ in range(2):
            for start in range(0, len(x), 8):
                rows = np.arange(start, min(start + 8, len(x)))
                own, weight = ranks.share(len(rows))
                output = net.forward(x[rows[own]], train=True)
                _, gradient = loss(output, y[rows[own]])
                net.backward(np.float32(weight) * gradient, input_grad=False)
                optimizer.step()
    return net, optimizer


def own_loop_as_fit():
    net, optimizer = made(ADAM)
    trained(ADAM, net, optimizer, shuffle=False, comm=COMM)
    loops = [own_loop(sharded)[0].parameters().flat for sharded in (False, True)]
    digests = COMM.allgather([each.tobytes() for each in loops])
    same = all(each == digests[0][0] for both in digests for each in both)
    return [same, float(np.abs(loops[0] - net.parameters().flat).max())]


def stays_open():
    """`fit` with a DataParallel leaves it open, and after a failure that all were told, too."""
    net, optimizer = made(ADAM)
    said = []
    with DataParallel(net, optimizer, COMM, sharded=True) as ranks:
        trained(ADAM, net, optimizer, comm=ranks)
        said.append(ranks.open)
        try:
            trained(ADAM, net, optimizer, comm=ranks, callbacks=Acts("on_epoch", boom))
        except (KeyError, RuntimeError) as error:
            said.append(type(error).__name__)
        said.append(ranks.open)
        trained(ADAM, net, optimizer, comm=ranks)
        part = sum(each.size for state in optimizer.columns()[2:] for each in state)
        averages = optimizer.state_dict()["state"]["m"]  # by all ranks
    ranks.close()  # twice
    whole = sum(each.size for state in optimizer.columns()[2:] for each in state)
    state = optimizer.state_dict()["state"]["m"]
    same = all((state[key] == averages[key]).all() for key in state)
    said += [ranks.open, part < whole == 2 * net.parameters().flat.size, same]
    copy.deepcopy(optimizer).step()  # alone
    pickle.loads(pickle.dumps(optimizer))
    return said


def refused():
    """What a program does wrong on all ranks: told on all, in these words."""
    net, optimizer = made(ADAM)
    other, other_optimizer = made(ADAM)
    said = {}

    def note(name, call):
        try:
            call()
            said[name] = "nothing"
        except Exception as error:
            said[name] = f"{type(error).__name__}: {error}"

    note("no comm", lambda: trained(ADAM, net, optimizer, sharded=True))
    note("a comm of another kind", lambda: trained(ADAM, net, optimizer, comm=3))
    note("a group", lambda: trained(ADAM, net, optimizer, comm=COMM.group))
    note("no bool", lambda: trained(ADAM, net, optimizer, comm=COMM, sharded=2))
    note("no net", lambda: DataParallel(None, optimizer, COMM))
    note("no optimizer", lambda: DataParallel(net, None, COMM))
    note("other arrays", lambda: DataParallel(net, other_optimizer, COMM))
    with DataParallel(net, optimizer, COMM, sharded=True) as ranks:
        note("another net", lambda: trained(ADAM, other, other_optimizer, comm=ranks))
        note("shared", lambda: trained(ADAM, net, optimizer, comm=COMM))
        note("shared, alone", lambda: DataParallel(net, optimizer, COMM))
        unsharded = {"comm": ranks, "sharded": True}
        note("sharded alike", lambda: trained(ADAM, net, optimizer, **unsharded))
        note("pickled", lambda: pickle.dumps(optimizer))
        note("copied", lambda: copy.deepcopy(optimizer))
        given = {key: each.copy() for key, each in net.parameters().grads.items()}
        note("gradients given", lambda: optimizer.step(given))
    note("closed", lambda: trained(ADAM, net, optimizer, comm=ranks))
    with DataParallel(net, optimizer, COMM) as ranks:
        note("sharded", lambda: trained(ADAM, net, optimizer, comm=ranks, sharded=True))
    return said


def alone_in_one_rank_program():
    """COMM_SELF: as without ranks, to the bit but for what is captured."""
    net, optimizer, history = train(SYNC, comm=MPI.COMM_SELF)
    found = seen(net, optimizer, history)
    net, optimizer, history = train(SYNC, comm=None)
    expected = seen(net, optimizer, history)
    return max(float(np.abs(found[key] - expected[key]).max(initial=0.0)) for key in expected)


def dropout_masks():
    """They differ from rank to rank, while ranks are together; afterwards all have rank 0's."""
    net, optimizer = made(Case(with_dropout, Adam))
    before = net.random_state()
    with DataParallel(net, optimizer, COMM):
        seeds = COMM.allgather(net.random_state()["2"]["seed"])
    return [len(set(seeds)), seeds[0] == before["2"]["seed"], net.random_state() == before]


def running_statistics():
    """How many there are after an epoch, and whether they are what rank 0's part of it gives."""
    found = []

    class Looks(Callback):
        def on_epoch(self, run):
            found.append(run.net.buffers()["1.running_mean"].tobytes())

    case = Case(normed(), Adam, {"lr": 0.02}, {"batch_size": 22, "shuffle": False, "epochs": 1})
    train(case, callbacks=Looks())
    net, _ = made(case)
    net.forward(data()[0][: 22 // SIZE], train=True)
    there = COMM.allgather(found[0])
    return [len(set(there)), bool(there[0] == net.buffers()["1.running_mean"].tobytes())]


def bytes_sent():
    """By a step of an optimizer of 48 parameters, in two ways, as parts of 2 * 4 * 48 bytes."""
    found = []
    for sharded in (False, True):
        net = Sequential(Dense(5, 8), device="cpu")
        optimizer = Adam(net.parameters())
        with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
            net.forward(np.ones((2, 5), "float32"), train=True)
            net.backward(np.ones((2, 8), "float32"))
            before = ranks.communicator.sent
            optimizer.step()
            found.append((ranks.communicator.sent - before) / (8 * 48))
    return found


def averaged():
    """A block of averages amid training, sharded or not: the same, and all goes on as before."""
    found = []
    case = Case(optimizer=Adam, hyper={"lr": 0.02, "use_ema": True, "frozen": "0.bias"})
    for sharded in (False, True):
        net, optimizer = made(case)
        with DataParallel(net, optimizer, COMM, sharded=sharded) as ranks:
            trained(case, net, optimizer, comm=ranks)
            before = bits_of(net, optimizer)
            with optimizer.averaged():
                inside = net.parameters().flat.tobytes()
            found.append(
                [inside, not before.startswith(inside) and bits_of(net, optimizer) == before]
            )
    return [found[0][0] == found[1][0], found[0][1], found[1][1]]


def bits_of(net, optimizer):
    state = optimizer.state_dict()["state"]
    return net.parameters().flat.tobytes() + b"".join(
        array.tobytes() for arrays in state.values() for array in arrays.values()
    )


def stopped_early_alike():
    net, _, history = train(
        Case(hyper={"lr": 3.0}),
        validation=data(7, 8),
        epochs=9,
        callbacks=EarlyStopping(patience=1),
    )
    return [history.stopped, history.epochs, float(net.parameters().flat.sum())]


def threads():
    """In fit, and after it; then with what `set_num_threads` says."""
    found = [kernels.get_num_threads()]

    class Looks(Callback):
        def on_epoch(self, run):
            found.append(kernels.get_num_threads())

    train(epochs=1, callbacks=Looks())
    found.append(kernels.get_num_threads())
    return found


CASES_HERE = [
    each for name, each in [*globals().items(), *vars(ranks_steps).items()]
    if getattr(each, "__module__", "") in ("__main__", ranks_steps.__name__)
    and not name.startswith("_")
    and callable(each) and not isinstance(each, type)
    and name not in ("boom", "train", "bits", "own_loop", "bits_of")
]  # fmt: skip


if __name__ == "__main__":
    for case in CASES_HERE:
        if sys.argv[2:] and case.__name__ not in sys.argv[2:]:
            continue
        try:
            own = {"returned": case()}
        except Exception as error:
            own = {"raised": f"{type(error).__name__}: {error}"}
        found = COMM.allgather(own)
        _, _, history = train(epochs=1)
        if RANK == 0:
            print(
                json.dumps({"case": case.__name__, "ranks": found, "after": history.epochs}),
                flush=True,
            )
