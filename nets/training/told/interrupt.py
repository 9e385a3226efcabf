"""Ctrl-C that waits for the present batch."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """A context in which the first Ctrl-C is noted (`asked`), and the second raises at once.

    So an update is never torn: who works in it looks at `asked` where stopping is safe. The handler
    that was there before is put back at the end.

    Signals are left alone outside the main thread, which alone can handle them, and where a handler
    is set that isn't Python's own: who set it wants Ctrl-C.
    """

    asked = False
    _installed = False

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # a handler that was set meanwhile stays
        if self._installed and signal.getsignal(signal.SIGINT) == self._note:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
