"""The entry point, and the one place where errors become a line and an exit code."""

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence

import typer
from typer.exceptions import TyperException

from rnncli.errors import Interrupted, RnnError
from rnncli.launch import LAUNCHED
from rnncli.terminal import write_message

if LAUNCHED in os.environ:  # before torch is imported
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # every process would warn of what is as it should be

_NO_MEMORY = re.compile(
    r"failed to map segment|(cannot|can't|unable to|not enough|out of)\b.{0,20} memory|bad_alloc", re.I
)
"""How libraries say that there is no memory left, which have no error of their own for it."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (the process's own by default); returns its exit code."""
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
    except Exception as error:
        return _fail(_reason(error), 1)
    if code == 130:
        _say("rnn: stopped")
    return code if isinstance(code, int) else 0


def _reason(error: Exception) -> str:
    """Why rnn ends at an error that nothing in it has foreseen, in words."""
    if any(map(_is_of_memory, _chain(error))):
        return "there is not enough memory: free some, raise its limit (`ulimit -v`), or take a smaller model or batch"
    if isinstance(error, OSError):
        return f"{error.filename or 'standard output'}: {error.strerror or error}"
    if isinstance(error, ImportError) and not (error.name or "").startswith("rnncli"):
        return f"a library cannot be loaded: {[*_chain(error)][-1]}: install rnn again"
    return f"{type(error).__name__}: {error} (a fault of rnn itself: --debug shows where)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_of_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, OSError | ImportError | RuntimeError) and bool(_NO_MEMORY.search(str(error))))
    )


def _unread() -> int:
    """Whoever read our output has closed it, as `head` does: end quietly, like any program that SIGPIPE kills."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be written at the end
    return 141


def _fail(text: str, code: int) -> int:
    if os.environ.get("RNN_DEBUG"):
        import traceback

        for line in traceback.format_exc().splitlines():
            write_message(line)
    _say(f"rnn: error: {' '.join(text.split())}")
    return code


def _say(text: str) -> None:
    below_bar = ""
    if LAUNCHED in os.environ:  # one of several processes, of which one speaks
        from rnncli.training.distributed import speaks

        if not speaks():
            return
        below_bar = "" if os.environ.get("RANK") == "0" else "\n"  # the bar is that of the first process
    write_message(text, before=below_bar)


def main() -> None:
    """The `rnn` command."""
    sys.exit(run())


if __name__ == "__main__":
    main()
