"""`rnn translate`: sentences in other words, several of each if asked for, and what each token looked at."""

from pathlib import Path

from rnncli.cli.actions import Work, command_for, example_of
from rnncli.cli.screen import note, origin, print_json, print_text, tell_picture
from rnncli.cli.verb import Verb
from rnncli.results import Translation


def translate(work: Work, as_json: bool) -> None:
    """Translate sentences, or every line of a file: a translation a line, n-best ones with their scores.

    A blank line of a file stays one.
    """
    trained, options = work.trained, work.options
    found: list[list[Translation]] = work.do()
    out, several = getattr(options, "out", None), getattr(options, "nbest", 1) > 1
    if out:
        from rnncli.analysis.plots import draw_attention

        ((best, *_),) = filter(None, found)
        drawn = draw_attention(best.source_tokens, best.tokens, best.attention, Path(out))
        tell_picture(drawn)
    if as_json:
        told = [
            {"text": line, "translations": [each._asdict() for each in best]}
            for line, best in zip(options.spaced, found, strict=True)
        ]
        print_json({"checkpoint": str(trained.source), "sentences": told})
        return
    note(origin(trained))
    for translations in found:
        for each in translations:
            print_text(f"{each.score:.3f}\t{each.text}" if several else each.text)
        if not translations:
            print_text()


VERB = Verb(command_for("translate", translate), example_of("translate"))
