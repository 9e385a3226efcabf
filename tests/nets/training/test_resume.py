"""A run that is taken up again goes on bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from cases.training import bits, data, network, train
from onepass.nets import Adam, Callback, EarlyStopping, History


class Keeps(Callback):
    """What a checkpoint holds after an epoch, through JSON where it goes through JSON."""

    def __init__(self, at):
        self.at = at

    def on_epoch(self, run):
        if run.epoch == self.at:
            self.net = run.net.state_dict()
            self.optimizer = run.optimizer.state_dict()
            plain = json.loads(json.dumps([asdict(run.history), run.rng_state]))
            self.state = SimpleNamespace(
                epoch=run.epoch, step=run.step, history=History(**plain[0]), rng_state=plain[1]
            )


def jitter(x, rng):
    x += rng.normal(0, 0.05, x.shape).astype(x.dtype)
    return x


OPTIONS = {
    "plain": {},
    "schedule": {"schedule": lambda epoch, step: 0.02 / (1 + epoch) / step**0.5},
    "augment": {"augment": jitter},
    "weights": {"class_weight": {0: 2.0}, "kind": "two"},
}


def run(net, optimizer, options, **more):
    options = {"validation": data(options.get("kind", "classes"), n=15, seed=1), **options, **more}
    return train(net, optimizer=optimizer, **options)[1]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("at", [1, 3])
def test_it_goes_on_bit_for_bit(name, at):
    options = OPTIONS[name]
    kind = options.get("kind", "classes")
    net, keeps = network(kind), Keeps(at)
    whole = run(net, Adam(net.parameters()), options, epochs=4, callbacks=[keeps])

    later = network(kind, seed=9)
    optimizer = Adam(later.parameters())
    later.load_state_dict(keeps.net)
    optimizer.load_state_dict(keeps.optimizer)
    resumed = run(later, optimizer, options, epochs=4, resume=keeps.state, seed=77)
    assert bits(later) == bits(net)
    assert replace(resumed, seconds=[]) == replace(whole, seconds=[])
    assert len(resumed.seconds) == 4
    assert optimizer.steps == 4 * 4


def test_a_run_can_be_gone_on_with_directly():
    net, other = network(), network()
    whole = train(net, optimizer=Adam(net.parameters()), epochs=4)[1]

    class Last(Callback):
        def on_end(self, run):
            self.run = run

    last, optimizer = Last(), Adam(other.parameters())
    first = train(other, optimizer=optimizer, epochs=2, callbacks=[last])[1]
    resumed = train(other, optimizer=optimizer, epochs=4, resume=last.run)[1]
    assert bits(other) == bits(net)
    assert resumed.loss == whole.loss
    assert first.epochs == 2, "the earlier history was written"


def test_where_all_is_done_nothing_is_trained():
    net, keeps = network(), Keeps(2)
    optimizer = Adam(net.parameters())
    train(net, optimizer=optimizer, epochs=2, callbacks=[keeps])
    kept = bits(net)
    history = train(net, optimizer=optimizer, epochs=2, resume=keeps.state)[1]
    assert bits(net) == kept
    assert history == keeps.state.history


@pytest.mark.parametrize(("values", "ends"), [([3, 1, 2, 2, 2, 2], 4), ([3, 1, 2, 0, 2, 2], 6)])
def test_early_stopping_counts_what_was_before(values, ends):
    class Scripted(Callback):
        def on_epoch(self, run):
            run.history.val_loss[-1] = values[run.epoch - 1]

    net, keeps = network(), Keeps(3)
    optimizer = Adam(net.parameters())
    options = {"optimizer": optimizer, "epochs": 6, "validation": data(n=15)}
    callbacks = [Scripted(), keeps, EarlyStopping(patience=2)]
    whole = train(net, callbacks=callbacks, **options)[1]
    net.load_state_dict(keeps.net)
    optimizer.load_state_dict(keeps.optimizer)
    stopping = EarlyStopping(patience=2)
    resumed = train(net, callbacks=[Scripted(), stopping], resume=keeps.state, **options)[1]
    assert resumed.epochs == whole.epochs == ends
    assert resumed.stopped == whole.stopped != ""
    restored = stopping.best_state is not None
    assert restored == (ends == 6), "weights of epoch 2 are not there to be restored"


def test_early_stopping_restores_the_weights_it_began_with_where_those_are_best():
    net, keeps = network(), Keeps(2)
    optimizer = Adam(net.parameters())
    train(net, optimizer=optimizer, epochs=2, callbacks=[keeps], validation=data(n=15))
    kept = bits(net)

    class Worse(Callback):
        def on_epoch(self, run):
            run.history.val_loss[-1] = 100.0

    options = {"optimizer": optimizer, "epochs": 4, "validation": data(n=15)}
    callbacks = [Worse(), EarlyStopping()]
    train(net, callbacks=callbacks, resume=keeps.state, **options)
    assert bits(net) == kept


def wrong(state):
    yield {"epoch": 3}, ValueError, "resume has finished 3 epochs, but its history is"
    yield {"history": [1, 2]}, ValueError, "but its history is"
    other = replace(state.history, metric_name="mae")
    yield {"history": other}, ValueError, "resume measured 'mae'; expected 'accuracy'"
    yield {"step": 9}, ValueError, "resume has done 9 updates, but the optimizer 8"
    yield {"rng_state": {"bit_generator": "MT19937"}}, ValueError, "rng_state is no state of PCG64"
    yield {"rng_state": None}, ValueError, "rng_state is no state of PCG64"
    half = replace(state.history, val_loss=[1.0, 1.0], val_metric=[1.0, 1.0])
    yield {"history": half}, ValueError, "has figures of validation data; expected validation= to"


def test_refuses_what_does_not_fit_before_anything_is_written():
    net, keeps = network(), Keeps(2)
    optimizer = Adam(net.parameters())
    train(net, optimizer=optimizer, epochs=2, callbacks=[keeps])
    kept = bits(net)
    for change, error, message in wrong(keeps.state):
        state = SimpleNamespace(**{**vars(keeps.state), **change})
        with pytest.raises(error, match=message):
            train(net, optimizer=optimizer, epochs=4, resume=state)
    with pytest.raises(TypeError, match="resume is a str without epoch, step, history, rng_state"):
        train(net, optimizer=optimizer, epochs=4, resume="checkpoint.safetensors")
    assert bits(net) == kept
