"""`rnn tag`: a label for every word of a sentence."""

from rnncli.cli.actions import Work, command_for, example_of
from rnncli.cli.screen import note, origin, print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.results import Tagged


def tag(work: Work, as_json: bool) -> None:
    """Label every word of a sentence, or of every line of a file; prints one word with its label per line."""
    trained = work.trained
    sentences: list[list[Tagged]] = work.do()
    if as_json:
        answers = [
            {"text": line, "words": [word._asdict() for word in sentence]}
            for line, sentence in zip(work.options.spaced, sentences, strict=True)
        ]
        print_json({"checkpoint": str(trained.source), "sentences": answers})
        return
    note(origin(trained))
    print_text("\n\n".join("\n".join(f"{word.word}\t{word.label}" for word in sentence) for sentence in sentences))


VERB = Verb(command_for("tag", tag), example_of("tag"))
