"""What tests of crews look at and move."""

from __future__ import annotations


class Clock:
    """In the place of `perf_counter_ns`: a test moves it."""

    now = 0

    def __call__(self):
        return self.now


def jobs_posted(crew):
    """How many jobs, or lists of them, its helpers were offered."""
    return int(crew._board[0])
