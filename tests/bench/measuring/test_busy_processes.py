"""Busy processes run within the block alone, however it ends, and tell why they can't run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest
from onepass.bench.measuring.busy_processes import LOOP, PRODUCTS, beside

PATIENCE = 60  # seconds after which a test that hangs is given up
COUNTS = """
import os
print(os.getpid(), file=open({file!r}, "w"), flush=True)
while True: pass
"""


def children():
    """Running processes that this one has started."""
    found = psutil.Process().children(recursive=True)
    return {one.pid for one in found if one.status() != psutil.STATUS_ZOMBIE}


def ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("programs", [(), (LOOP,), (LOOP, LOOP), (PRODUCTS,)])
def test_as_many_processes_run_within_the_block_and_none_after_it(programs):
    before = children()
    with beside(*programs):
        assert len(children() - before) == len(programs)
    assert children() <= before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_they_end_where_the_block_ends_by_an_error_or_an_interrupt(error):
    before = children()
    with pytest.raises(error), beside(LOOP, LOOP):
        raise error
    assert children() <= before


def test_a_process_that_cannot_run_is_told_and_the_others_end():
    before = children()
    wrong = beside(LOOP, "import no_such\nwhile True: pass")
    with pytest.raises(RuntimeError, match=r"at once: ModuleNotFoundError: .*no_such"), wrong:
        raise AssertionError("the block was entered")
    assert children() <= before


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_none_is_left_where_the_process_that_measures_is_ended(tmp_path, how):
    pids = tmp_path / "pid"
    program = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from onepass.bench.measuring.busy_processes import beside\n"
        f"with beside({COUNTS.format(file=str(pids))!r}):\n"
        "    print('busy', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout.readline() == b"busy\n"
        pid = int(pids.read_text())
        assert not ended(pid)
        process.send_signal(how)
        process.wait(PATIENCE)
    until = time.monotonic() + PATIENCE
    while not ended(pid):
        assert time.monotonic() < until, "the busy process is still there"
        time.sleep(0.01)
