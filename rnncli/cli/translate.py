"""`rnn translate`: translations of sentences, optionally several of each, and the attention of each token."""

from pathlib import Path

from rnncli.cli.actions import Work, command_for, example_of
from rnncli.cli.screen import note, note_picture, note_unknown, origin, print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.results import Translation


def translate(work: Work, as_json: bool) -> None:
    """Translate sentences, or every line of a file; prints one translation per line, n-best ones with their scores.

    A blank line of a file gives a blank line.
    """
    trained, options = work.trained, work.options
    found: list[list[Translation]] = work.do()
    out, several = getattr(options, "out", None), getattr(options, "nbest", 1) > 1
    if out:
        from rnncli.analysis.plots import draw_attention

        ((best, *_),) = filter(None, found)
        drawn = draw_attention(best.source_tokens, best.tokens, best.attention, Path(out))
        note_picture(drawn)
    if as_json:
        answers = [
            {"text": line, "translations": [each._asdict() for each in best]}
            for line, best in zip(options.spaced, found, strict=True)
        ]
        print_json({"checkpoint": str(trained.source), "sentences": answers})
        return
    note(origin(trained))
    for translations in found:
        for each in translations:
            print_text(f"{each.score:.3f}\t{each.text}" if several else each.text)
        if not translations:
            print_text()
    note_unknown(sorted({token for each in found for best in each[:1] for token in best.unknown}))


VERB = Verb(command_for("translate", translate), example_of("translate"))
