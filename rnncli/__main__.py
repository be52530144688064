"""The entry point, and the one place where errors become a line and an exit code."""

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import typer
from typer.exceptions import TyperException

from rnncli.errors import Interrupted, RnnError
from rnncli.files import POSIX, reason
from rnncli.launch import LAUNCHED

if LAUNCHED in os.environ:  # before torch is imported
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # every process would warn of what is as it should be


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (the process's own by default); returns its exit code."""
    _take_all_characters()
    try:
        from rnncli.cli import app  # here, so that a Ctrl-C while it loads is one line as well

        code = app(args=arguments, standalone_mode=False, prog_name="rnn")
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where it is known what to do if nobody reads any more
    except Interrupted as interruption:
        _say(f"rnn: {interruption}")
        return interruption.exit_code
    except RnnError as error:
        return _fail(str(error), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        return _unread()
    except SystemExit as end:  # typer turns a broken pipe into one
        if isinstance(end.__context__, BrokenPipeError):
            return _unread()
        raise
    except TyperException as error:
        text = error.format_message()
        return _fail(text, 2) if text else 2  # without one, a help was printed
    except OSError as error:
        return _refused(error)
    except Exception as error:
        return _fail(f"{type(error).__name__}: {error} (a fault of rnn itself: --debug shows where)", 1)
    if code == 130:
        _say("rnn: stopped")
    return code if isinstance(code, int) else 0


def _take_all_characters() -> None:
    """Let both streams escape the characters that their encoding lacks; pipes and files of Windows become UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue
        if not POSIX and not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        elif stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _refused(error: OSError) -> int:
    if not POSIX and error.errno == errno.EINVAL and error.filename is None:  # a closed pipe, as Windows has it
        return _unread()
    return _fail(f"{error.filename or 'standard output'}: {reason(error)}", 1)


def _unread() -> int:
    """Whoever read our output has closed it, as `head` does: end quietly, like any program that SIGPIPE kills."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be written at the end
    return 141


def _fail(text: str, code: int) -> int:
    if os.environ.get("RNN_DEBUG"):
        import traceback

        traceback.print_exc()
    _say(f"rnn: error: {' '.join(text.split())}")
    return code


def _say(text: str) -> None:
    if LAUNCHED in os.environ:  # one of several processes, of which one speaks
        from rnncli.training.distributed import speaks

        if not speaks():
            return
        text = text if os.environ.get("RANK") == "0" else f"\n{text}"  # below the bar of the first one
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr)


def main() -> None:
    """The `rnn` command."""
    sys.exit(run())


if __name__ == "__main__":
    main()
