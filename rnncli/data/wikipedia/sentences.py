"""Where a paragraph's sentences end."""

import re

# Not after an initial (J. Smith, U.S. Army), nor after words that are written short before a name or a number.
_SHORT = (
    "Mr Mrs Ms Dr Prof St Sr Jr Gen Col Maj Capt Lt Sgt Rev Hon Gov Sen Rep Pres No Nos Vol Vols Fig Figs vs cf ca c fl"
    " al etc approx Mt Ft Bros Inc Ltd Co Corp pp ed eds trans"
)
_END = re.compile(
    r"[.!?](?<![\s.(\[–-][^\W\d_]\.)"
    + "".join(rf"(?<!\b{word}\.)" for word in _SHORT.split())
    + r"(?:[\"'”’»)\]]*+) ++(?=[\"'“‘«(\[]*+[A-Z0-9À-ÖØ-ÞĀ-ſΑ-ΩА-Я])"
)


def one_a_line(text: str) -> str:
    """The same text with a line feed after every sentence."""
    return _END.sub(_break, text)


def _break(end: re.Match[str]) -> str:
    return end[0].rstrip(" ") + "\n"
