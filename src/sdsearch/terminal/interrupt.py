"""An end without loss: who asks a run to stop lets it finish its step; only a second Ctrl-C stops it at once.

Ctrl-C asks, and so do the signals that schedulers send (SIGTERM) and that a closed terminal leaves behind (SIGHUP).
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

ASKING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupt:
    """Turns signals into a wish; use as a context manager round a loop that looks at `asked`."""

    def __init__(self, say: Any) -> None:
        """Tell the user through `say(line)`."""
        self.say, self.asked = say, False
        self._pressed = False
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Self:
        """Take the signals over; in another thread than the main one there are none to take."""
        if threading.current_thread() is threading.main_thread():
            self._terminals = [number for number in (1, 2) if os.isatty(number)]
            # Who started the run with `nohup` wants it to outlive the terminal.
            kept = [n for n in ASKING if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._on_signal) for number in kept}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # A scheduler may send the same signal twice, and means it once.
        if self._pressed and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._pressed = self._pressed or number == signal.SIGINT
        if number == getattr(signal, "SIGHUP", None):
            self._hang_up()
        self.asked = True
        again = "; Ctrl-C again stops at once" if self._pressed else f" ({signal.Signals(number).name})"
        self.say(f"stopping after this step, with a checkpoint{again}")

    def _hang_up(self) -> None:
        """Write to nowhere what would go to a terminal that is gone: it would raise."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)
