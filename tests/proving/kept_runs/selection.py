"""Which tests of a run are left out because a run of their file is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from proving import account
from proving.kept_runs import record


def left_out(
    items: Sequence[pytest.Item], root: Path, kind: record.Kind
) -> dict[str, list[pytest.Item]]:
    """By file, the tests that have passed as they are now; what they prove counts as proven.

    A file counts where all of its tests are there. The first case of every test runs all the same,
    and holds what is kept to the machine that this is.
    """
    by_file = defaultdict(list)
    for item in items:
        by_file[item.nodeid.partition("::")[0]].append(item)
    found = {}
    for file, run in record.valid(root, kind).items():
        if len(by_file[file]) == run.tests:
            account.add(run.proven)
            found[file] = _all_but_the_first(by_file[file])
    return found


def _all_but_the_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    seen: set[str] = set()
    rest = []
    for item in items:
        function = item.nodeid.partition("[")[0]
        if function in seen:
            rest.append(item)
        seen.add(function)
    return rest
