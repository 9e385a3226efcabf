"""A plugin for one run of pytest: which sources of the checkout the process reads, and how it ends.

update.py starts it as the first one, before anything of the checkout is imported.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from proving.kept_runs import seen

_passed: set[str] = set()
_skipped: set[str] = set()
_others: set[str] = set()

seen.watch()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid)
    elif report.skipped:
        _skipped.add(f"{report.nodeid} {report.outcome}")
    elif not report.passed:
        _others.add(f"{report.nodeid} {report.outcome}")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if seen.started:
        item.session.shouldstop = "a process of its own reads what is not seen here"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    from proving import account

    read = seen.sources(session.config.rootpath)
    told = {
        "read": read,
        "passed": len(_passed),
        "skipped": sorted(_skipped),
        "others": sorted(_others),
        "started": sorted(seen.started),
        "proven": {rung: kernels for rung, kernels in account.told().items() if kernels},
    }
    Path(os.environ[seen.WHERE]).write_text(json.dumps(told), encoding="utf-8")
