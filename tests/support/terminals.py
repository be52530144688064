"""A pseudo-terminal in place of standard output and standard error, and of standard input if something is typed."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Shown:
    """The text sent to a terminal, complete after it is closed."""

    text = ""


@contextmanager
def on_a_terminal(typed: str = "") -> Iterator[Shown]:
    """Make this process write to a terminal inside this context, and read what is `typed` there, without an echo.

    Skips a test on a system without terminals.
    """
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    shown, sent = Shown(), []
    reader, writer = pty.openpty()
    if typed:
        _silence(writer)
        os.write(reader, typed.encode())

    def read() -> None:
        try:
            while part := os.read(reader, 4096):
                sent.append(part)
        except OSError:  # its other end is closed
            pass

    thread = threading.Thread(target=read)
    thread.start()
    try:
        with (
            pytest.MonkeyPatch.context() as patched,
            os.fdopen(os.dup(writer), encoding="utf-8") as keys,
            os.fdopen(writer, "w", encoding="utf-8") as screen,
        ):
            for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "300")):
                patched.setenv(name, value)
            patched.delenv("NO_COLOR", raising=False)
            patched.setattr(sys, "stdout", screen)
            patched.setattr(sys, "stderr", screen)
            if typed:
                patched.setattr(sys, "stdin", keys)
            yield shown
    finally:
        thread.join()
        os.close(reader)
        shown.text = b"".join(sent).decode().replace("\r\n", "\n")


def _silence(terminal: int) -> None:
    import termios

    attributes = termios.tcgetattr(terminal)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, attributes)
