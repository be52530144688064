"""Ctrl-C, SIGTERM, a closed terminal while training: the first asks for a tidy end, a second one ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interrupts:
    """Notes the first signal that came."""

    received: int = 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: remember the first signal, obey a second one on the spot."""
        if self.received:
            os._exit(128 + number)  # every save is atomic: nothing can be left half-written
        self.received = number


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """While inside, `SIGNALS` are noted instead of obeyed (in the main thread; elsewhere none can come)."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.note) for number in SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
