"""Split a paragraph into sentences."""

import re

# No end after an initial (J. Smith, U.S. Army), nor after an abbreviation before a name or a number.
_SHORT = (
    "Mr Mrs Ms Dr Prof St Sr Jr Gen Col Maj Capt Lt Sgt Rev Hon Gov Sen Rep Pres No Nos Vol Vols Fig Figs vs cf ca c fl"
    " al etc approx Mt Ft Bros Inc Ltd Co Corp pp ed eds trans"
)
# Capitals and digits, and the letters of scripts without case: Hebrew to Georgian, Hangul to Mongolian, kana, Han, …
_BEGINNING = (
    "A-Z0-9À-ÖØ-ÞĀ-ſΆ-ΫЀ-ЯҐԱ-ՖḀ-ỿ"
    "\u0590-\u10ff\u1100-\u13ff\u1780-\u18af\u2d30-\u2ddf\u3040-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufb1d-\ufdff\ufe70-\ufefc"
    "\U00010800-\U00010fff\U00020000-\U000323af"
)
_CLOSING = "\"'”’»)\\]」』）》】〉"
_OPENING = "\"'“‘«(\\[「『（《【〈¿¡"
_END = re.compile(
    r"[.!?](?<![\s.(\[–-][^\W\d_]\.)(?<!\A[^\W\d_]\.)"
    + "".join(rf"(?<!\b{word}\.)" for word in _SHORT.split())
    + rf"(?:[{_CLOSING}]*+) ++(?=[{_OPENING}]*+[{_BEGINNING}])"
)
# Marks that end a sentence before any letter; some scripts have no blank after them.
_SIGNS = "。！？｡؟۔։।॥።။។"
_SIGN_END = re.compile(rf"[{_SIGNS}]++(?<![(（].)[{_CLOSING}]*+ *+(?=[^\s{_CLOSING}])")


def one_a_line(text: str) -> str:
    """Put a line feed after every sentence."""
    text = _END.sub(_break, text)
    if not text.isascii() and any(sign in text for sign in _SIGNS):
        text = _SIGN_END.sub(_break, text)
    return text


def _break(end: re.Match[str]) -> str:
    return end[0].rstrip(" ") + "\n"
