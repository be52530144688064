"""Compilation of kernels, which a machine does once: an announcement at its start, and the seconds spent so far."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Compilation:
    """The compilations of this process; nested ones count once."""

    def __init__(self) -> None:
        self.announce: Callable[[], None] = lambda: None  # called once, when the first compilation begins
        self.seconds = 0.0
        self._announced = False
        self._depth = 0

    def begin(self) -> None:
        """Record that a compilation begins."""
        if not self._announced:
            self._announced = True
            self.announce()
        self._enter()

    def end(self) -> None:
        """Record that the innermost compilation ends."""
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._began

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count seconds without an announcement: a compiler is loaded here, which takes a second or more."""
        self._enter()
        try:
            yield
        finally:
            self.end()

    def _enter(self) -> None:
        if not self._depth:
            self._began = time.perf_counter()
        self._depth += 1


COMPILATION = Compilation()
