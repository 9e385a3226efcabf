"""What no checkpoint is, or is no more, is refused in words, and nothing of it is loaded."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
from cases.saving import everything, network, rewrite, trained
from onepass.nets import AMSGrad, ExponentialDecay, load, save
from onepass.nets.saving.safetensors_file import read_file, write_file
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file with everything in it."""
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    net, _, run = trained()
    run.schedule = ExponentialDecay(0.1)
    save(path, net, run=run, mark="first")
    return path


@pytest.fixture
def path(whole, tmp_path):
    """A copy of it, to damage."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole.read_bytes())
    return path


def refused(path, *words):
    """The file is refused with an error that has its name and these words; `net` is unchanged."""
    net = network(seed=9)
    before = everything(net)
    for options in ({"device": "cpu"}, {"net": net}):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
            load(path, **options)
        for word in (str(path), *words):
            assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert everything(net) == before


def test_a_file_that_ends_at_any_byte(path):
    content = path.read_bytes()
    assert len(content) < 10_000, "a small file, or this takes long"
    for length in reversed(range(len(content))):
        os.truncate(path, length)
        with pytest.raises(ValueError, match=r"is no whole safetensors file .*it was truncated"):
            load(path, "cpu")
    path.write_bytes(content + b"\0")
    refused(path, "is no whole safetensors file", "Load another checkpoint")


def test_a_bit_that_flips_in_any_byte(path):
    content = path.read_bytes()
    bits = np.random.default_rng(0).integers(8, size=len(content))
    with path.open("r+b", buffering=0) as file:
        for place, bit in enumerate(bits):
            os.pwrite(file.fileno(), bytes([content[place] ^ 1 << int(bit)]), place)
            with pytest.raises(ValueError, match=r"damaged|no whole|another prog|has the format"):
                load(path, "cpu")
            os.pwrite(file.fileno(), content[place : place + 1], place)
    assert load(path, "cpu").epoch == 2, "it is whole again"


def test_what_is_no_safetensors_file(path):
    for content in (b"", b"not a model", b"\x93NUMPY" * 99, b"PK\3\4" * 99, os.urandom(4096)):
        path.write_bytes(content)
        refused(path, "is no whole safetensors file", "made by another program")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"content": "{}"}])
def test_a_file_of_another_program(metadata, path):
    net = network()
    save_file(net.state_dict(), path, metadata)
    has = ", ".join(metadata or ["nothing"])
    refused(path, "of another program", f"its metadata has {has}", "safetensors.numpy.load_file")


def change_metadata(path, **changed):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, {**metadata, **changed})


def test_a_newer_format(path):
    change_metadata(path, version="2", written_by="onepass 9.1")
    refused(path, "has the format 2, by onepass 9.1", "reads format 1", "pip install --upgrade")


@pytest.mark.parametrize("version", ["0", "-1", "one", "", "1.0", "01"])
def test_a_format_that_never_was(version, path):
    change_metadata(path, version=version)
    refused(path, f"is damaged: its format is {version!r}; expected '1'")


def test_metadata_that_another_program_has_changed(path):
    change_metadata(path, content='{"network": null}')
    refused(path, "is damaged: its checksum is", "Load another checkpoint")
    change_metadata(path, crc32="")
    refused(path, "is damaged: its checksum is ; expected")


def test_a_dtype_that_numpy_lacks(path):
    content = path.read_bytes()
    start = content.index(b'"F32"')
    shape = content.index(b"[", start)
    end = content.index(b"]", shape) + 1
    doubled = content[shape:end].replace(b"[", b"[2,")  # two bytes each, so twice as many
    longer = content[:start] + b'"BF16"' + content[start + 5 : shape] + doubled + content[end:]
    header = int.from_bytes(content[:8], "little") + len(longer) - len(content)
    path.write_bytes(header.to_bytes(8, "little") + longer[8:])
    refused(path, "holds arrays of a dtype that NumPy lacks", "bfloat16")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent is not there; expected a file that save"):
        load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="is a folder; expected a file that save"):
        load(tmp_path)


# Files that are whole, but don't hold what they must


def remove(name):
    return lambda tensors, content: tensors.pop(name)


def replace(name, value):
    return lambda tensors, content: tensors.update({name: value})


def layer(k, **changed):
    def change(tensors, content):
        content["network"]["layers"][k].update(changed)

    return change


def optimizer(**changed):
    return lambda tensors, content: content["optimizer"].update(changed)


def without_momentum(tensors, content):
    content["optimizer"]["hyper"].pop("betas")


GAMMA = "optimizer.m.1.gamma"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("0.weight"), ["lacks '0.weight'; expected '0.weight', '1.gamma'"]),
        (remove("1.running_var"), ["lacks '1.running_var'"]),
        (remove(GAMMA), [f"lacks '{GAMMA}'"]),
        (replace("9.weight", np.ones(2)), ["has the unexpected '9.weight'"]),
        (replace("optimizer.w.3.bias", np.ones(3)), ["unexpected 'optimizer.w.3.bias'"]),
        (replace("3.weight", np.ones((3, 8), "f4")), ["'3.weight'] has shape (3, 8); expect"]),
        (replace("3.bias", np.ones(3)), ["'3.bias'] has dtype float64; expected float32"]),
        (replace("1.running_mean", np.ones(8)), ["has dtype float64; expected float32"]),
        (replace(GAMMA, np.ones(9, "f4")), ["['m']['1.gamma'] has shape (9,); expected (8,)"]),
        (replace(GAMMA, np.ones(8, "i4")), ["['m']['1.gamma'] has dtype int32; expected float32"]),
        (layer(0, type="Conv2d"), ["layer 0 ", "Conv2d(in_features=2, "]),
        (layer(2, arguments={"keep_prob": 2.0}), ["keep_prob"]),
        (layer(2, arguments={"p": 0.5}), ["layer 2 ", "Dropout(p=0.5)"]),
        (layer(3, arguments={"in_features": 9, "out_features": 3}), ["layer 3 ", "features"]),
        (optimizer(type="Mine"), ["optimizer is 'Mine', which is not known here; expected one of"]),
        (optimizer(type="SGD"), ["has the unexpected 'optimizer.m.0.weight'"]),
        (optimizer(step=-1), ["state['step'] is -1; expected"]),
        (optimizer(hyper={}), ["state['hyper'] lacks 'lr', 'betas'"]),
        (optimizer(engine="cray"), ["engine is 'cray'; expected"]),
        (without_momentum, ["state['hyper'] lacks 'betas'"]),
    ],
)
def test_parts_that_do_not_fit(change, words, path):
    rewrite(path, change)
    refused(path, "can't be loaded: ", *words)


def test_a_file_with_an_old_maximum_of_amsgrad(tmp_path):
    net, optimizer, _ = trained(kind=AMSGrad)
    save(tmp_path / "old", net, optimizer)
    rewrite(tmp_path / "old", lambda _, content: content["optimizer"]["hyper"].pop("decoupled"))
    refused(tmp_path / "old", "can't be loaded: ", "maximum of the corrected average", "load_file")


def nodes(value, place=()):
    """The place of everything in a tree of lists and dicts."""
    yield place
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(inner, (*place, key))


def put(tree, place, value):
    tree = copy.deepcopy(tree)
    *above, last = place
    node = tree
    for key in above:
        node = node[key]
    node[last] = value
    return tree


KEPT = {
    "network", "dtype", "layers", "type", "random_state", "seed", "draw", "step", "engine", "epoch",
    "history", "loss", "rng_state", "bit_generator",
}  # fmt: skip


def test_json_that_was_tampered_with_anywhere(path, monkeypatch):
    """Each value becomes one of every kind: refused in words, or loaded where it may be so."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # thousands of files
    tensors, content = read_file(path)
    values = None, True, -1, 0.5, "text", [], {}, [[]], {"text": None}
    loaded, refusals = [], set()
    for place in list(nodes(content))[1:]:
        for value in values:
            write_file(path, tensors, put(content, place, value))
            try:
                load(path, "cpu")
                loaded.append((place, value))
            except ValueError as error:
                refusals.add(str(error).partition(":")[0])
    assert refusals == {f"{path} can't be loaded"}
    write_file(path, tensors, content)
    assert load(path, "cpu").epoch == 2
    for place, value in loaded:
        assert place[-1] not in KEPT, (place, value)
