"""What training recorded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """One number an epoch in each list.

    Attributes:
        loss, accuracy: over the epoch's training batches, each taken before its own update.
        val_loss, val_accuracy: over the validation data after the epoch; empty without any.
        seconds: wall-clock time of the epoch's training, without validation.
    """

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs were finished."""
        return len(self.loss)
