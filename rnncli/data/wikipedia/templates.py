"""The templates that carry text, by name, and what each leaves of its arguments; all others leave nothing."""

import re
from collections.abc import Callable

Template = Callable[[list[str]], str]

# In one string they read better than twelve times in quotes.
_MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905
)
_MARKS = re.compile(r"\[\[|\]\]|\|")
_RANGES = {"-": "–", "–": "–", "to": "to", "and": "and", "or": "or", "x": "×", "by": "by", "to(-)": "to", "+/-": "±"}


def text_of(inside: str) -> str:
    """What a template leaves in the text, given all that stands between its braces, other templates resolved."""
    name, *arguments = _split(inside)
    template = find(name)
    return template(_positional(arguments)) if template else ""


def find(name: str) -> Template | None:
    """The template of that name, if it is one that carries text."""
    name = name.strip().lower().replace("_", " ")
    return TEMPLATES.get(name) or (_first if name.startswith("lang-") else None)


def _split(inside: str) -> list[str]:
    """Split at bars, but not at those inside links."""
    if "[[" not in inside:
        return inside.split("|")
    parts, begin, links = [], 0, 0
    for mark in _MARKS.finditer(inside):
        if mark[0] == "|" and not links:
            parts.append(inside[begin : mark.start()])
            begin = mark.end()
        links = max(0, links + {"[[": 1, "]]": -1, "|": 0}[mark[0]])
    return [*parts, inside[begin:]]


def _positional(arguments: list[str]) -> list[str]:
    """The arguments that have no name, or a number as their name."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or "<" in name or "[" in name:
            found.append(argument.strip())
        elif name.strip().isdigit():
            found.append(value.strip())
    return found


def _first(arguments: list[str]) -> str:
    return arguments[0] if arguments else ""


def _second(arguments: list[str]) -> str:
    return arguments[1] if len(arguments) > 1 else _first(arguments)


def _last(arguments: list[str]) -> str:
    return arguments[-1] if arguments else ""


def _all(arguments: list[str]) -> str:
    return " ".join(arguments)


def _joined(arguments: list[str]) -> str:
    return "".join(arguments)


def _fraction(arguments: list[str]) -> str:
    whole, parts = arguments[:-2], arguments[-2:]
    return " ".join([*whole, "/".join(parts if len(parts) > 1 else ["1", *parts])])


def _measure(arguments: list[str]) -> str:
    """`5|km|mi` is 5 km, and `5|to|8|km|mi` is 5 to 8 km."""
    taken = arguments[:2]
    while len(arguments) > len(taken) + 1 and taken[-1] in _RANGES:
        taken[-1] = _RANGES[taken[-1]]
        taken = [*taken, *arguments[len(taken) : len(taken) + 2]]
    return " ".join(taken)


def _after(word: str) -> Template:
    return lambda arguments: f"{word} {_first(arguments)}".rstrip()


def _always(text: str) -> Template:
    return lambda _arguments: text


def _date(arguments: list[str]) -> str:
    """`1969|7|20` is 20 July 1969."""
    year, month, day = [*arguments, "", "", ""][:3]
    if month.isdigit() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    return " ".join(part for part in (day, month, year) if part)


_BY_KIND: dict[Template, str] = {
    _first: "nowrap|nobr|nobreak|small|smaller|big|bigger|larger|large|sc|smallcaps|allcaps|abbr|abbreviation|tooltip"
    "|vanchor|visible anchor|angbr|angle bracket|quote|blockquote|quotation|cquote|rquote|pull quote|quoted|sic|em"
    "|strong|italic|bold|nobold|noitalic|normal|unicode|ill|interlanguage link|interlanguage link multi|link-interwiki"
    "|nihongo|nihongo3|keypress|key press|key|kbd|code|mono|samp|var|tt|sup|sub|mvar|nts|number table sorting|formatnum"
    "|val|dts|flag|flagcountry|flagu|underline|linktext|not a typo|typo|as written|serif|sans-serif|delink|noredlink"
    "|poem|poemquote|proper name",
    _second: "lang|wikt-lang|color|font color|colour|iw2|background color|script|audio|resize|section link",
    _last: "transl|transliteration|rtl-lang",
    _all: "sortname|hlist|flatlist",
    _joined: "gaps|gapnum|chem|chem2|simple chem",
    _fraction: "frac|fraction|sfrac|tfrac",
    _measure: "convert|cvt|conv",
    _date: "start date|end date|date|film date|launch date",
}

_SHIPS = "uss|hms|ss|rms|mv|hmas|hmcs|rfa|usns|uscgc|ins|jds"

TEMPLATES: dict[str, Template] = {name: kind for kind, names in _BY_KIND.items() for name in names.split("|")} | {
    **{ship: _after(ship.upper()) for ship in _SHIPS.split("|")},
    "as of": _after("as of"),
    "since": _after("since"),
    "circa": _after("c."),
    "c.": _after("c."),
    "ca": _after("c."),
    "floruit": _after("fl."),
    "fl.": _after("fl."),
    "'s": _always("'s"),
    "'": _always("'"),
    "nbsp": _always(" "),
    "space": _always(" "),
    "snd": _always(" – "),
    "spnd": _always(" – "),
    "spaced ndash": _always(" – "),
    "ndash": _always("–"),
    "mdash": _always("—"),
    "spaced mdash": _always(" — "),
    "dash": _always("–"),
    "·": _always(" "),
    "•": _always(" "),
    "pi": _always("π"),
    "degree": _always("°"),
    "deg": _always("°"),
    "okina": _always("ʻ"),
    "ayin": _always("ʿ"),
    "number sign": _always("#"),
    "half": _always("1/2"),
}
