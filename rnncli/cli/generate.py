"""`rnn generate`: new text from a trained language model."""

from collections.abc import Callable, Sequence
from typing import Any

from rnncli.cli.options import Flags, command_of
from rnncli.cli.screen import AsJson, Device, From, load_model, note, origin, print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.settings import check_limits
from rnncli.task import Action, Task
from rnncli.tasks import TASKS

MOST = 20
"""Tokens of a prime that are named as strangers."""


def _verb(task: Task, action: Action) -> Callable[..., None]:
    def generate(flags: Flags, source: str | None, device: str, as_json: bool) -> None:
        options = action.Options(**flags)
        check_limits(options)
        trained = load_model(source, task.name, device)
        note(origin(trained))
        if options.novelty:
            trained.check_readable("leave --novelty out")
        written = action.run(trained, options)
        _show_unknown(written.unknown)
        if not as_json:
            for piece in written.pieces:
                print_text(piece, end="", flush=True)
            note(written.remark)
        facts: dict[str, Any] = {"task": task.name, "checkpoint": str(trained.source), **written.facts}
        if options.novelty:
            from rnncli.analysis.novelty import novelty

            found = novelty(trained, written.tokens)
            facts["novelty"] = found._asdict()
            note(found.remark)
        if as_json:
            print_json(facts)

    generate.__doc__ = f"Write with a model of {task.name}."
    return command_of(action.Options, generate, source=(From, None), device=(Device, "auto"), as_json=(AsJson, False))


def _show_unknown(tokens: Sequence[str]) -> None:
    """Name the tokens of the prime that the model never saw, as they are where they can be printed."""
    if tokens:
        shown = ", ".join(token if token.isprintable() else repr(token) for token in tokens[:MOST])
        more = f" and {len(tokens) - MOST:,} more" if len(tokens) > MOST else ""
        note(f"never seen in training: {shown}{more}")


def _by_task() -> dict[str, Verb]:
    return {
        task.name.removesuffix("-lm"): Verb(_verb(task, task.uses["generate"]), task.uses["generate"].example)
        for task in TASKS.values()
        if "generate" in task.uses
    }


VERB = Verb(help="Write new text.", example="rnn generate poetry --lines 8", commands=_by_task)
