"""Ctrl-C without loss: the first asks the run to stop after the current step, the second stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """Turns the first interrupt into a wish; use as a context manager round a loop that looks at `asked`."""

    def __init__(self, say: Any) -> None:
        """Tell the user through `say(line)`."""
        self.say, self.asked = say, False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Take the signal over; in another thread than the main one there is none to take."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self.say("stopping after this step, with a checkpoint; Ctrl-C again stops at once")
