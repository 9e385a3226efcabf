"""Training: everything is checked, then the loop runs."""

from __future__ import annotations

from math import ceil

import numpy as np

from ...backend.checks.numbers import count, flag
from ..losses.loss import Loss
from ..network.sequential import Sequential
from ..optimizers.frame.optimizer import Optimizer
from ..parallel.communicator import Comm
from ..parallel.data_parallel import DataParallel
from ..parallel.together import alike, all_or_none, trained_together
from ..seeds import seeded
from ..sparse_rows import SparseRows
from ..types import Array
from .callbacks.callback import Callbacks, callbacks_of
from .given.class_weights import ClassWeight
from .given.inputs import (
    Pair,
    Weighted,
    check_batches,
    check_loss,
    check_optimizer,
    parted,
    prepared,
    prepared_class_weight,
    prepared_weights,
)
from .history import History
from .loop import Augment, Loop
from .loss_scaler import LossScaler
from .regularizers import Regularizer, Regularizers, regularizers_of
from .run import LrSchedule, Resumable, Run
from .told.interrupt import Interrupt
from .told.lost_device import LostDevice
from .told.progress import Progress, RichProgress


def fit(
    net: Sequential,
    data: Pair,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int = 10,
    batch_size: int = 128,
    accumulate: int = 1,
    validation: Pair | Weighted | None = None,
    shuffle: bool = True,
    seed: int | np.random.Generator = 0,
    progress: bool = True,
    schedule: LrSchedule | None = None,
    regularizer: Regularizers = None,
    class_weight: ClassWeight = None,
    sample_weight: Array | None = None,
    loss_scaler: LossScaler | None = None,
    augment: Augment | None = None,
    callbacks: Callbacks = (),
    resume: Resumable | None = None,
    comm: Comm | DataParallel | None = None,
    sharded: bool = False,
) -> History:
    """Train `net` in place by mini-batch gradient descent, and return what was seen.

    In place: arrays taken out of `net.parameters()` before are views, and change too;
    `net.state_dict()` gives copies.

    Each epoch shuffles the samples anew, unless `shuffle` is False, and uses every one once, the
    last, smaller batch too. Data is brought to the network's device once, before the first epoch.
    One seed on one device gives one result, to the last bit, whatever the number of threads.

    A step is captured: its kernels and matrix products are written down once. On the CPU they run
    as one piece of compiled code, many steps a call, on `kernels.get_num_threads()` threads; BLAS
    libraries take one thread a call meanwhile, and afterwards as many as before. On a GPU they are
    a CUDA graph, captured after a first step of the same batch size: a step is one launch, and its
    figures are read after some milliseconds of steps. A callback with `on_batch`, or `augment`,
    makes it a call a step. A graph has memory of its own, beside CuPy's pool: for one step's
    activations, for each batch size, and for cuBLASLt to work in.

    What can't be captured goes layer by layer, and `history.path` tells why: layers, losses and
    regularizers of your own without `record`, optimizers with a `step` of their own, with
    clip_each_norm, or with clip_norm beside frozen parameters; accumulate and loss_scaler; sparse
    x; on the CPU float16, an optimizer's engine other than "auto" and "numba", and BatchNorm with
    momentum=None, running_var_ddof=0 or use_running_average; on a GPU an engine other than "auto"
    and "cupy", layers of your own that draw random numbers, and BatchNorm with momentum=None or
    running_var_ddof=0; of several ranks all on a GPU, and on the CPU augment and BatchNorm with
    sync=True, while of others the gradients are captured, and the step is taken together. On a GPU
    loss and metric then stay there, and are read together once in 4096 batches and at an epoch's
    end, so that no batch is waited for in between.

    Ctrl-C ends training after the present batch: `history.stopped` is then "interrupted", and
    callbacks end as ever (EarlyStopping brings the best weights back; without it the last stay).
    A second Ctrl-C raises KeyboardInterrupt at once; a loop over several fits is to look at
    `history.stopped`. Signals are left alone outside the main thread, and where a handler is set
    that isn't Python's own.

    Args:
        net: the network; its parameters and gradients are written.
        data: (x, y): rows of shape (n, in_features) and what the loss takes, labels of shape (n,)
            or targets of shape (n, out_features), on any device. x may be a SciPy sparse matrix or
            array, and is never made dense as a whole: CSR of any dtype as it is, other formats in
            a copy that is CSR. Rows are taken a batch at a time, which a Dense that comes first
            multiplies as they are on the CPU, with SciPy's one thread; other layers, float16 and a
            GPU get the batch as an array.
        loss: such as SoftmaxCrossEntropy().
        optimizer: made from `net.parameters()`; its states are written.
        epochs: passes over the data, at least 1; with `resume`, those done before included.
        batch_size: samples that go through the layers at a time, at least 1: those of an update,
            unless gradients are accumulated.
        accumulate: batches an update, at least 1: the gradients of so many are added up, at an
            epoch's end of those that are left. As `batch_size` times as large, within rounding, in
            less memory; but a BatchNorm has the statistics of each batch, and more time goes into
            adding up. Schedules, callbacks and `history` count updates.
        validation: (x, y) like `data`, held out: measured after every epoch, never trained on. Or
            (x, y, sample_weight), with a factor on the loss of each of its rows.
        shuffle: take the samples in a new order in each epoch; False: as they come.
        seed: of the shuffling, and of `augment`; or a generator, which goes on from run to run.
        progress: show a bar (needs rich); False prints nothing.
        schedule: schedule(epoch, step) -> lr, the epoch counted from 0 and the step (the
            mini-batch) from 1: sets `optimizer.lr` before each update.
        regularizer: such as L2(0.1), or several; its m is n, all training samples. The reported
            training loss has the penalty, the validation loss has not.
        class_weight: None, "balanced" (n / (C n_k), as scikit-learn has it), {class: weight} or a
            weight for each class: J = mean over rows of w[k] loss. The loss on validation data is
            weighted too, by the weights that were found for `data`, so that early stopping watches
            what is minimized; a metric is not.
        sample_weight: (n,), finite numbers >= 0, not all 0: a factor on the loss of each row of
            `data`, times class_weight's where both are given: J = sum of w_i loss_i / n, with n
            rows, however much they weigh. A row of weight 2 counts as two in the loss and its
            gradient; not in a metric, in a BatchNorm's statistics, or for "balanced", which goes by
            how many rows a class has.
        loss_scaler: a LossScaler, for networks of float16: batches whose gradients are inf or NaN
            change nothing but its scale. Its scale is saved and resumed with the run. On a GPU no
            batch waits for it, but where a schedule or a callback asks how many updates were done.
        augment: augment(rows, rng) -> rows of the same shape, on the network's device, for training
            batches only; `rows` is a copy that may be written, `rng` a numpy.random.Generator. Not
            where x is sparse.
        callbacks: one, or several, told of the run in this order; see `Callback`.
        resume: an earlier run's epoch, step, history and rng_state, as a checkpoint has them, to go
            on bit for bit; network and optimizer must hold what they held then. `seed` counts no
            more. Where all epochs are done, nothing is trained.
        comm: ranks that train together, each on its part of every batch of `batch_size`: mpi4py's,
            such as MPI.COMM_WORLD, or a `DataParallel` of this network and optimizer, which stays
            open. All of them call `fit` alike, on the same data, and end with the same network and
            history, which is that of one rank but for rounding, dropout's masks, `augment` (each
            rank draws its own) and a BatchNorm's statistics, unless it has sync=True. Rank 0 shows
            the bar, and writes the files of a `Checkpoint`; callbacks are called on all ranks. What
            ends one of them ends all, and is told. See `DataParallel`.
        sharded: each rank keeps 1/N of the optimizer's states while they train.

    Raises:
        ValueError: no samples, x and y differ in number, a value is not finite, another width,
            labels out of range or of one class only, an optimizer of other arrays, a count smaller
            than 1, a batch too small for a layer (BatchNorm takes two samples), a loss of logits
            after a Sigmoid, an option that does not fit; before anything is written.
        TypeError: the labels or a count are not integers, x holds complex numbers or times, an
            option is something else; before anything is written.
        FloatingPointError: the loss is not finite; the message names the epoch and the layer that
            first went wrong. The update that would follow is not done, but on a GPU where steps
            can't be captured.
        DeviceUnavailableError: the GPU was lost; the message says when.
        RankFailedError: another rank has failed; it is named, with what it raised.
        RuntimeError: a callback does on one rank alone what all are to do, such as
            `save(..., run=run)`; said on all of them.
    """
    with trained_together(net, optimizer, comm, sharded) as ranks:
        with all_or_none(ranks):
            check_loss(net, loss)
            check_optimizer(net, optimizer)
            epochs, batch_size = count("epochs", epochs), count("batch_size", batch_size)
            accumulate, shuffle = count("accumulate", accumulate), flag("shuffle", shuffle)
            for name, function in (("schedule", schedule), ("augment", augment)):
                if function is not None and not callable(function):
                    raise TypeError(f"{name} is {function!r}; expected a function, or None")
            called = callbacks_of(callbacks)
            regularizers = regularizers_of(regularizer)
            _check_scaler(loss_scaler, regularizers)
            x, y = prepared(net, data, loss, "data", sparse=True)
            if augment is not None and isinstance(x, SparseRows):
                raise ValueError(
                    "augment is given, but x of data is sparse; expected an array (x.toarray() "
                    "makes one), or augment=None"
                )
            check_batches(net, len(x), batch_size)
            by_class = prepared_class_weight(net, (x, y), loss, class_weight)
            weights = prepared_weights(net, y, loss, by_class, sample_weight, "data")
            held_out = held_out_weights = None
            if validation is not None:
                pair, own = parted(validation)
                held_out = prepared(net, pair, loss, "validation", sparse=True)
                held_out_weights = prepared_weights(
                    net, held_out[1], loss, by_class, own, "validation"
                )
            run = Run(
                net=net,
                optimizer=optimizer,
                loss=loss,
                epochs=epochs,
                rng=seeded(np.random.default_rng, seed),
                history=History(metric_name=loss.metric),
                schedule=schedule,
                loss_scaler=loss_scaler,
                validated=held_out is not None,
                ranks=ranks,
            )
            if resume is not None:
                run.resume(resume)
            facts = {
                "x of shape": x.shape,
                "y of shape": y.shape,
                "validation of shapes": held_out and [each.shape for each in held_out],
                "weights": [weights is not None, held_out_weights is not None],
                "epochs": epochs,
                "batch_size": batch_size,
                "accumulate": accumulate,
                "shuffle": shuffle,
                "loss": repr(loss),
                "regularizer": repr(regularizers),
                "a schedule": type(schedule).__name__,
                "loss_scaler": None if loss_scaler is None else loss_scaler.state_dict(),
                "augment": augment is not None,
                "callbacks": [type(each).__name__ for each in called],
                "epochs done": run.epoch,
                "a generator": type(run.rng.bit_generator).__name__,
            }
        if ranks is not None:
            alike(ranks, facts, run.rng)
        batches = ceil(len(x) / (batch_size * accumulate))
        progress = progress and run.rank == 0
        shown = RichProgress(epochs, batches, run.epoch, schedule is not None) if progress else None
        bar = shown or Progress()
        with bar, Interrupt() as interrupt, LostDevice(run), net.backend.scope():
            loop = Loop(
                run=run,
                x=x,
                y=y,
                weights=weights,
                held_out=held_out,
                held_out_weights=held_out_weights,
                batch_size=batch_size,
                shuffle=shuffle,
                accumulate=accumulate,
                scaler=loss_scaler,
                regularizers=regularizers,
                augment=augment,
                callbacks=called,
                interrupt=interrupt,
                bar=bar,
                ranks=None if ranks is None or ranks.size == 1 else ranks,
            )
            try:
                loop.run_epochs()
            finally:
                run.count_no_more()
        return run.history


def _check_scaler(scaler: LossScaler | None, regularizers: tuple[Regularizer, ...]) -> None:
    if scaler is None:
        return
    if not isinstance(scaler, LossScaler):
        raise TypeError(f"loss_scaler is a {type(scaler).__name__}; expected a LossScaler, or None")
    if regularizers:
        raise ValueError(
            f"loss_scaler is given beside the regularizer {regularizers[0]!r}, whose gradients it "
            "would not scale; expected the optimizer's weight_decay instead"
        )
