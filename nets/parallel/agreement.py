"""Ranks that stay in step: what one of them meets, all of them know before they go on."""

from __future__ import annotations

import sys
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .communicator import Communicator

ExceptionT = TypeVar("ExceptionT", bound=BaseException)


class RankFailedError(RuntimeError):
    """Another rank has failed, so that this one stops too.

    Attributes:
        rank: its number.
    """

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(message)
        self.rank = rank

    def __reduce__(self) -> Any:
        return type(self), (self.rank, str(self))


class Met(NamedTuple):
    """What ranks have told one another.

    Attributes:
        loss, metric: the sums over all ranks.
        interrupted: on how many ranks Ctrl-C was pressed.
        stopped: the reason that the first of those ranks gives which want to stop, or "".
    """

    loss: float
    metric: float
    interrupted: int
    stopped: str


class Agreement:
    """A meeting of all ranks is a sum of a few numbers; a rank that has failed comes to it too.

    So a failure between two meetings, in a callback or while a batch is made, is told on all ranks
    and raised on all. Collectives come between a meeting and the end of a `closed` block, in which
    a failure of one rank can't be told to those that wait for it: it says so, and ends them all.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.communicator = communicator
        self._known: BaseException | None = None
        self._closed = False

    def meet(
        self,
        where: str,
        loss: float = 0.0,
        metric: float = 0.0,
        interrupted: bool = False,
        stopped: str = "",
    ) -> Met:
        """Wait for all ranks, and hear of them.

        Args:
            where: what this rank does, in words; the others do the same.

        Raises:
            RankFailedError: another rank has failed; it is named, with what it has met.
            RuntimeError: ranks do something else than one another, such as one that saves alone.
        """
        return self._meet(where, loss, metric, interrupted, stopped, "")

    def alike(self, error: ExceptionT) -> ExceptionT:
        """`error`, which all ranks raise alike."""
        self._known = error
        return error

    @contextmanager
    def together(self, where: str) -> Iterator[None]:
        """A block without meetings and collectives, from which all ranks come, or none."""
        try:
            yield
        except Exception as error:
            self._fail(error)
            raise
        self.meet(where)

    @contextmanager
    def closed(self, *agreed: type[BaseException]) -> Iterator[None]:
        """A block with collectives, begun by all ranks; `agreed` is what all raise alike."""
        self._closed = True
        try:
            yield
        except agreed as error:
            self._known = error
            raise
        self._closed = False

    def knows(self, error: BaseException) -> bool:
        """Whether `error` is what all ranks know of, and stop for."""
        return error is self._known or isinstance(error, RankFailedError)

    def leave(self, error: BaseException) -> None:
        """`error` ends what ranks do together: on all of them, if it can be told, or with them."""
        known = self.knows(error)
        if not known and (self._closed or not isinstance(error, Exception)):
            self.end_all(error)
        elif not known:
            self._fail(error)
        self._closed = False

    def _fail(self, error: BaseException) -> None:
        """Tell the others of what was raised here, since the last meeting."""
        self._known = error
        self._meet("", 0.0, 0.0, False, "", f"{type(error).__name__}: {error}")

    def end_all(self, error: BaseException) -> None:
        """Say what was raised here, and end the processes of all ranks."""
        communicator = self.communicator
        if communicator.size == 1:
            return
        traceback.print_exception(error, file=sys.stderr)
        print(
            f"onepass: rank {communicator.rank} of {communicator.size} failed, so all end: "
            f"{type(error).__name__}: {error}",
            file=sys.stderr,
        )
        communicator.abort()

    def _meet(
        self, where: str, loss: float, metric: float, interrupted: bool, stopped: str, failed: str
    ) -> Met:
        place = zlib.crc32(where.encode()) >> 16  # sums of squares are exact up to 2^21 ranks
        flags = interrupted, bool(stopped), bool(failed)
        told = np.array([loss, metric, *flags, place, place**2], np.float64)
        met = self.communicator.sum_numbers(told).tolist()
        loss, metric, asked, stops, failures, places, squares = met
        if not failures and self.communicator.size * int(squares) != int(places) ** 2:
            raise self.alike(self._apart(where))
        reason = ""
        if stops or failures:
            words = self.communicator.objects((stopped, failed))
            if failures and not failed:
                rank, text = next((k, each[1]) for k, each in enumerate(words) if each[1])
                raise RankFailedError(rank, f"rank {rank} of {len(words)} failed: {text}")
            reason = next((each[0] for each in words if each[0]), "")
        return Met(loss, metric, int(asked), reason)

    def _apart(self, where: str) -> RuntimeError:
        words = self.communicator.objects(where)
        other = next((rank for rank, word in enumerate(words) if word != words[0]), 0)
        return RuntimeError(
            f"rank 0 has come to {words[0]}, but rank {other} to {words[other]}; expected all "
            "ranks to do the same: what they do together, such as save(..., run=run), is called by "
            "all of them, not where run.rank == 0"
        )
