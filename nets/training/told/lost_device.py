"""What is said when a GPU fails while a network trains on it."""

from __future__ import annotations

from types import TracebackType

from ....backend import DeviceUnavailableError
from ....backend.failures import diagnose
from ..run import Run


class LostDevice:
    """A context in which a GPU that fails is told as DeviceUnavailableError, with where `run` was.

    Errors of memory and of compilers, which leave the GPU usable, stay as they are.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        device = self.run.net.backend.device
        if error is None or device == "cpu":
            return
        causes = [diagnose(each) for each in (error, error.__cause__) if each is not None]
        failure = next((each for each in causes if each and each.kind in ("launch", "lost")), None)
        if failure is None:
            return
        try:
            done = str(self.run.step)
        except Exception:  # the GPU kept their number
            done = "an unknown number of"
        raise DeviceUnavailableError(
            f"the device {device} failed in epoch {self.run.epoch + 1}, after "
            f"{done} updates: {failure.line}. What lies on it may be lost. Remedy: "
            f"{failure.remedy}. Then train again; from a file that Checkpoint wrote, fit goes on "
            "by resume="
        ) from error
