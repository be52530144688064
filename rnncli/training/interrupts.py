"""Ctrl-C, SIGTERM, a closed terminal while training: the first asks for a tidy end, a second one ends at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rnncli.errors import ending_signals

REPEATED = 0.5
"""Seconds within which the same signal counts once: a wrapper may pass on what the terminal has sent as well."""


class Interrupts:
    """Notes the first signal that came."""

    received: int = 0
    at: float = 0.0

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: remember the first signal, obey a second one on the spot."""
        if number == self.received and time.monotonic() - self.at < REPEATED:
            return
        if self.received:
            os._exit(128 + number)  # every save is atomic: nothing can be left half-written
        self.received, self.at = number, time.monotonic()


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """While inside, ending signals are noted instead of obeyed; those that the process ignores (nohup) it still does.

    Signals reach the main thread alone: elsewhere none can come.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.getsignal(number) for number in ending_signals()}
    noted = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in noted:
        signal.signal(number, interrupts.note)
    try:
        yield interrupts
    finally:
        for number, handler in noted.items():
            signal.signal(number, handler)
