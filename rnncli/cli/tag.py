"""`rnn tag`: a label for every word of a sentence."""

from rnncli.cli.options import Flags, command_of, with_stdin
from rnncli.cli.screen import AsJson, Device, From, load_model, note, origin, print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.settings import check_limits
from rnncli.tasks import TASKS

_task = next(task for task in TASKS.values() if "tag" in task.uses)
_action = _task.uses["tag"]


def tag(flags: Flags, source: str | None, device: str, as_json: bool) -> None:
    """Label every word of a sentence, or of every line of a file: a word and its label a line."""
    options = _action.Options(**with_stdin(flags))
    check_limits(options)
    lines = options.spaced  # refused before a model is loaded
    trained = load_model(source, _task.name, device)
    sentences = trained.action("tag").run(trained, options)
    if as_json:
        told = [
            {"text": line, "words": [word._asdict() for word in sentence]}
            for line, sentence in zip(lines, sentences, strict=True)
        ]
        print_json({"checkpoint": str(trained.source), "sentences": told})
        return
    note(origin(trained))
    print_text("\n\n".join("\n".join(f"{word.word}\t{word.label}" for word in sentence) for sentence in sentences))


VERB = Verb(
    command_of(_action.Options, tag, source=(From, None), device=(Device, "auto"), as_json=(AsJson, False)),
    _action.example,
)
