"""A save that fails, or is killed, leaves the checkpoint that was there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from cases.saving import network
from onepass.nets import load, save
from onepass.nets.saving.atomic_write import write_atomically
from programs import TESTS

posix = pytest.mark.skipif(os.name == "nt", reason="needs signals, limits and locks of POSIX")


@pytest.fixture
def path(tmp_path):
    """A checkpoint that must survive."""
    path = tmp_path / "model.safetensors"
    save(path, network(), mark="first")
    return path


def intact(path):
    assert load(path, "cpu").metadata == {"mark": "first"}
    assert os.listdir(path.parent) == [path.name], "something was left beside it"


@posix
@pytest.mark.parametrize("limit", [0, 1, 500, 1500])
def test_a_disk_that_is_full(limit, path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"safetensors was not saved .*what was there is intact"):
            save(path, network(seed=1), mark="second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    intact(path)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_whatever_fails(call, error, path, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        save(path, network(seed=1), mark="second")
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert str(path) in str(caught.value)
    intact(path)


def test_it_is_on_disk_before_it_has_the_name(path, monkeypatch):
    calls = []

    def note(name, call):
        def noted(*arguments):
            calls.append(name)
            return call(*arguments)

        monkeypatch.setattr(os, name, noted)

    note("fsync", os.fsync)
    note("replace", os.replace)
    save(path, network(), mark="second")
    assert calls[:2] == ["fsync", "replace"]
    assert os.name == "nt" or calls[2:] == ["fsync"], "the folder, which holds the name"


@posix
def test_what_a_killed_process_left_is_removed_but_not_a_live_ones(path):
    from fcntl import LOCK_EX, flock

    dead, live = (path.parent / f".{path.name}.onepass-{k}.tmp" for k in ("0", "1"))
    others = path.parent / f".{path.name}.tmp", path.parent / ".other.onepass-0.tmp"
    for each in (dead, live, *others):
        each.touch()
    with live.open("rb") as file:
        flock(file.fileno(), LOCK_EX)
        write_atomically(path, b"new")
        assert not dead.exists()
        assert live.exists()
    write_atomically(path, b"newer")
    assert not live.exists()
    assert all(other.exists() for other in others)
    assert path.read_bytes() == b"newer"


def killed(folder, how, kills):
    """(checkpoints lost, kills amid a write, files at the end, what was said of the losses)."""
    program = TESTS / "programs" / "saves_forever.py"
    command = [sys.executable, str(program), str(folder), how, str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    lost, torn, files, *said = done.stdout.split(maxsplit=3)
    return int(lost), int(torn), int(files), said


@posix
@pytest.mark.slow
def test_a_hundred_kills_lose_no_checkpoint(tmp_path):
    lost, torn, files, said = killed(tmp_path, "save", 100)
    assert lost == 0, said
    assert torn, "no kill came while a file was being written: the test proves nothing"
    assert files == 1, "what killed processes left was not removed"


@posix
@pytest.mark.slow
def test_kills_are_seen_where_a_file_is_written_in_place(tmp_path):
    assert killed(tmp_path, "in_place", 20)[0] > 0


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(mode, path):
    path.chmod(mode)
    before = os.umask(0o077)
    try:
        save(path, network(seed=1), mark="first")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode
    intact(path)


@posix
def test_a_private_file_is_private_while_it_is_written(path, monkeypatch):
    path.chmod(0o600)
    seen = []
    fsync = os.fsync

    def note(fd):
        seen.append(os.fstat(fd).st_mode & 0o777)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(path, b"secret")
    assert seen[0] == 0o600


@posix
@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_a_new_file_has_the_permissions_of_any_other(umask, tmp_path):
    before = os.umask(umask)
    try:
        save(tmp_path / "net", network())
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "net").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["a" * 243 + ".safetensors", "ä" * 121 + ".tensors"])
def test_a_name_may_be_as_long_as_the_file_system_takes(name, tmp_path):
    for mark in ("first", "second"):
        save(tmp_path / name, network(), mark=mark)
    assert load(tmp_path / name, "cpu").metadata == {"mark": "second"}
    assert os.listdir(tmp_path) == [name]


@posix
def test_what_was_left_of_a_long_name_is_removed_too(tmp_path, monkeypatch):
    path, left = tmp_path / ("a" * 255), []
    monkeypatch.setattr(os, "replace", lambda source, target: left.append(source))
    write_atomically(path, b"old")
    monkeypatch.undo()
    assert left[0].exists()
    write_atomically(path, b"new")
    assert os.listdir(tmp_path) == [path.name]
