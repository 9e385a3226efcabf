"""Files under names that look like home folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cases.saving import network
from onepass.nets import Checkpoint, load, load_mnist, read_table, save
from onepass.nets.paths import expanded

NOBODY = "~nobody-of-this-name"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows takes ~name for a neighbour of the home")
def test_a_name_that_starts_with_a_tilde_is_a_name_where_nobody_is_called_so(folder):
    save(NOBODY, network())
    assert (folder / NOBODY).is_file()
    assert load(NOBODY, "cpu").metadata == {}
    assert Checkpoint(NOBODY).path == folder / NOBODY
    Path("~table.csv").write_text("a,y\n1,0\n2,1\n3,0\n4,1\n", encoding="utf-8")
    assert len(read_table("~table.csv", "y").x) == 4
    with pytest.raises(FileNotFoundError, match="~digits is not a folder"):
        load_mnist("~digits")


@pytest.mark.skipif(os.name == "nt", reason="Windows has the home folder elsewhere")
def test_a_tilde_alone_is_the_home_folder(folder):
    save("~/net", network())
    assert (folder / "home" / "net").is_file()
    assert load(Path("~/net"), "cpu").metadata == {}


@pytest.mark.parametrize("path", [b"net", None, 3])
def test_refuses_what_is_no_path(path):
    for call in (expanded, load, Checkpoint, lambda path: save(path, network())):
        with pytest.raises(TypeError, match=r"path is .*; expected a string or a Path"):
            call(path)
