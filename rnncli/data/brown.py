"""The Brown corpus: its sentences with their tags, and the universal tag (one of twelve) for each of them."""

import re
from collections.abc import Mapping
from functools import cache

from rnncli.data.sources import TaggedSentence
from rnncli.data.text import lines_of

_BY_ITSELF = {
    "NIL": "X",
    "DO+PPSS": "X",
    "WDT+DO+PPS": "X",
    "WDT+BER+PP": "X",
    "WRB+IN": "PRT",
    "AP$": "PRT",
    "JJ$": "PRT",
    "RB$": "PRT",
    "CD$": "NOUN",
    "PP$": "DET",
}
_BY_PATTERN = (
    (r"FW-", "X"),
    (r"VB|BE|HV|DO|MD", "VERB"),
    (r"[^+]+\+(VB|BE|HV|DO|MD)", "PRT"),  # contractions: he's, that'll
    (r"N|PN", "NOUN"),
    (r"\*|RB|RN|QL|WRB|WQL", "ADV"),
    (r"IN|CS", "ADP"),
    (r"TO|RP|EX|UH|ABL|ABN", "PRT"),
    (r"AT|DT|WDT|WP\$|ABX", "DET"),
    (r"JJ|AP|OD", "ADJ"),
    (r"PP|WP", "PRON"),
    (r"CC", "CONJ"),
    (r"CD", "NUM"),
    (r"\W", "."),
)
"""The first pattern that matches the beginning of a tag decides."""


def tagged_sentences(members: Mapping[str, bytes]) -> list[TaggedSentence]:
    """All sentences in the order of the files, each a list of (word, Brown tag in capitals)."""
    sentences = []
    for data in members.values():
        for line in lines_of(data.decode("latin-1")):
            if words := line.split():
                pairs = (word.rpartition("/") for word in words)
                sentences.append([(word, tag.upper()) for word, _, tag in pairs])
    return sentences


def universal_sentences(members: Mapping[str, bytes]) -> list[TaggedSentence]:
    """The same with the universal tag of each word."""
    return [[(word, universal(tag)) for word, tag in sentence] for sentence in tagged_sentences(members)]


def running_text(members: Mapping[str, bytes]) -> str:
    """The words without tags, one sentence per line."""
    return "\n".join(" ".join(word for word, _ in sentence) for sentence in tagged_sentences(members))


@cache
def universal(tag: str) -> str:
    """The universal tag (Petrov et al. 2012) of a Brown tag in capitals, as NLTK maps it.

    The suffixes of titles, headlines and cited words (-TL, -HL, -NC) are ignored; a tag that matches no rule is X.
    """
    plain = re.sub(r"(?<=.)(-(TL|HL|NC|T|N))+$", "", tag)
    by_pattern = (universal for pattern, universal in _BY_PATTERN if re.match(pattern, plain))
    return _BY_ITSELF.get(plain) or next(by_pattern, "X")
