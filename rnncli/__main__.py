"""The entry point: it turns every error into one line and an exit code."""

import errno
import gc
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any

from rnncli.errors import Interrupted, RnnError, RnnWarning, UsageError
from rnncli.files import POSIX, reason
from rnncli.launch import LAUNCHED, wait_briefly
from rnncli.terminal import write_message

wait_briefly()  # before torch is imported
if LAUNCHED in os.environ:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # otherwise every process prints needless warnings

_NO_MEMORY = re.compile(
    r"failed to map segment|(cannot|can't|unable to|not enough|out of)\b.{0,20} memory|bad_alloc", re.I
)
"""Out-of-memory messages of libraries that raise no error class of their own for it."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (by default that of the process); returns its exit code."""
    _escape_unencodable()
    try:
        with _one_line_warnings():
            return _command(arguments)
    except Interrupted as interruption:
        _print_end(f"rnn: {interruption}")
        return interruption.exit_code
    except RnnError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        return _end_quietly()
    except SystemExit as end:  # typer turns a broken pipe into one
        if isinstance(end.__context__, BrokenPipeError):
            return _end_quietly()
        raise
    except (KeyboardInterrupt, Exception) as error:
        if any(isinstance(each, KeyboardInterrupt) for each in _chain(error)):  # a library may hide one
            _print_end("rnn: stopped", loaded=False)
            return 128 + signal.SIGINT
        if _is_closed_pipe(error):
            return _end_quietly()
        return _fail(_reason(error), 1)


def _command(arguments: Sequence[str] | None) -> int:
    """Run a command line by Typer, and turn its errors into ours; imports happen here, where an interrupt is caught."""
    import typer

    from rnncli.cli import app

    # The base of Typer's errors, which has another name and place before 0.29.
    TyperError: Any = next(each for each in reversed(typer.BadParameter.__mro__) if hasattr(each, "format_message"))
    try:
        code = app(args=arguments, standalone_mode=False, prog_name="rnn")
    except typer.Abort:
        raise KeyboardInterrupt from None
    except TyperError as error:
        text = error.format_message()
        if not text:  # Typer printed the help
            return 2
        raise UsageError(_with_list(text, error)) from None
    if sys.stdout is not None:
        sys.stdout.flush()  # here, where a closed pipe is handled
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _with_list(text: str, error: Any) -> str:
    """Typer's message, after an unknown command that resembles none with the command line that lists them."""
    if not text.startswith("No such command") or "Did you mean" in text or error.ctx is None:
        return text
    return f"{text.rstrip('.')}: `{error.ctx.command_path} --help` lists them"


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Within this context, print each RnnWarning in one line; of several processes only the first prints."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, RnnWarning):
                others(message, category, *place, **more)
            elif LAUNCHED not in os.environ or os.environ.get("RANK") == "0":
                write_message(f"rnn: warning: {message}")

        warnings.simplefilter("always", RnnWarning)
        warnings.showwarning = show
        yield


def _is_closed_pipe(error: BaseException) -> bool:
    """Whether an error is what Windows raises instead of BrokenPipeError."""
    return not POSIX and isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None


def _reason(error: BaseException) -> str:
    """The message for an error that no other code handles."""
    if any(map(_is_of_memory, _chain(error))):
        return "there is not enough memory: free some, raise its limit (`ulimit -v`), or take a smaller model or batch"
    if isinstance(error, OSError):
        return f"{error.filename or 'standard output'}: {reason(error)}"
    if isinstance(error, ImportError) and not (error.name or "").startswith("rnncli"):
        return f"a library cannot be loaded: {[*_chain(error)][-1]}: install rnn again"
    cells = sys.modules.get("rnncli.cells.outside")
    if cells and (place := cells.place_in_cells(error)):
        return f"the cell's code fails at {place}: {type(error).__name__}: {error}"
    return f"{type(error).__name__}: {error} (this is a bug in rnn; --debug shows the traceback)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that caused it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, OSError | ImportError | RuntimeError) and bool(_NO_MEMORY.search(str(error))))
    )


def _escape_unencodable() -> None:
    """Make both streams escape characters that their encoding lacks; on Windows, pipes and files become UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue
        if not POSIX and not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        elif stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _end_quietly() -> int:
    """End quietly after the reader of our output closed it, as `head` does; the exit code is that of SIGPIPE."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter still flushes at its end
    return 141


def _fail(text: str, code: int) -> int:
    if os.environ.get("RNN_DEBUG"):
        import traceback

        for line in traceback.format_exc().splitlines():
            write_message(line)
    _print_end(f"rnn: error: {' '.join(text.split())}")
    return code


def _print_end(text: str, *, loaded: bool = True) -> None:
    """Print why rnn ends; `loaded` is False if an interrupt may have left torch half imported."""
    below_bar = ""
    with suppress(KeyboardInterrupt):  # rnn ends anyway
        if LAUNCHED in os.environ:  # only one of several processes prints
            if not _reports(loaded):
                return
            below_bar = "" if os.environ.get("RANK") == "0" else "\n"  # the progress bar belongs to the first process
        write_message(text, before=below_bar)


def _reports(loaded: bool) -> bool:
    """Whether this process prints why all processes end: the first to fail, or rank 0 if torch is not loaded."""
    if loaded or "rnncli.training.meeting" in sys.modules:
        with suppress(Exception):  # torch itself may fail to load
            from rnncli.training.meeting import speaks

            return speaks()
    return os.environ.get("RANK") == "0"


def main() -> None:
    """The `rnn` command."""
    gc.set_threshold(5_000)  # by default, looking for garbage takes a tenth of the start, and finds none
    code = run()
    if code == 128 + signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the message is printed; another Ctrl-C has nothing to stop
    sys.exit(code)


if __name__ == "__main__":
    main()
