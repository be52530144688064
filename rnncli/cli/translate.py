"""`rnn translate`: sentences in other words, several of each if asked for, and what each token looked at."""

from pathlib import Path
from typing import Any

from rnncli.cli.options import Flags, command_of, with_stdin
from rnncli.cli.screen import AsJson, Device, From, load_model, note, origin, print_json, print_text, tell_picture
from rnncli.cli.verb import Verb
from rnncli.settings import check_limits
from rnncli.tasks import TASKS

_task = next(task for task in TASKS.values() if "translate" in task.uses)
_action = _task.uses["translate"]


def translate(flags: Flags, source: str | None, device: str, as_json: bool) -> None:
    """Translate sentences, or every line of a file: a translation a line, n-best ones with their scores.

    A blank line of a file stays one.
    """
    options: Any = _action.Options(**with_stdin(flags))
    check_limits(options)
    lines = options.spaced  # refused before a model is loaded
    trained = load_model(source, _task.name, device)
    found = trained.action("translate").run(trained, options)
    if options.attention:
        from rnncli.analysis.plots import draw_attention

        ((best, *_),) = filter(None, found)
        drawn = draw_attention(best.source_tokens, best.tokens, best.attention, Path(options.attention))
        tell_picture(drawn)
    if as_json:
        told = [
            {"text": line, "translations": [each._asdict() for each in best]}
            for line, best in zip(lines, found, strict=True)
        ]
        print_json({"checkpoint": str(trained.source), "sentences": told})
        return
    note(origin(trained))
    for best in found:
        for each in best:
            print_text(each.text if options.nbest == 1 else f"{each.score:.3f}\t{each.text}")
        if not best:
            print_text()


VERB = Verb(
    command_of(_action.Options, translate, source=(From, None), device=(Device, "auto"), as_json=(AsJson, False)),
    _action.example,
)
