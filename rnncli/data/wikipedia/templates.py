"""The templates that carry text, by name, and what each leaves of its arguments; all others leave nothing."""

import re
from collections.abc import Callable

Template = Callable[[list[str]], str]

_SEPARATOR = re.compile(r"\|(?![^\[\]]*\]\])")  # not one inside a link
_NAMED = re.compile(r"\s*([^\s=<\[][^=<\[]*?)\s*=\s*(.*)", re.DOTALL)
_RANGES = {"-": "–", "–": "–", "to": "to", "and": "and", "or": "or", "x": "×", "by": "by", "to(-)": "to", "+/-": "±"}


def text_of(inside: str) -> str:
    """What a template leaves in the text, given all that stands between its braces, other templates resolved."""
    name, *arguments = _SEPARATOR.split(inside)
    template = find(name)
    return template(_positional(arguments)) if template else ""


def find(name: str) -> Template | None:
    """The template of that name, if it is one that carries text."""
    name = name.strip().lower().replace("_", " ")
    return TEMPLATES.get(name) or (_first if name.startswith("lang-") else None)


def _positional(arguments: list[str]) -> list[str]:
    """The arguments that have no name, or a number as their name."""
    found = []
    for argument in arguments:
        named = _NAMED.match(argument)
        if named is None:
            found.append(argument.strip())
        elif named[1].isdigit():
            found.append(named[2].strip())
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
    months = "January February March April May June July August September October November December".split()
    year, month, day = (arguments + ["", "", ""])[:3]
    if month.isdigit() and 1 <= int(month) <= 12:
        month = months[int(month) - 1]
    return " ".join(part for part in (day, month, year) if part)


_BY_KIND: dict[Template, str] = {
    _first: "nowrap|nobr|nobreak|nowrap begin|small|smaller|smalldiv|big|bigger|larger|large|sc|smallcaps|sc1|caps|abbr"
    "|abbreviation|tooltip|vanchor|visible anchor|angbr|angle bracket|quote|blockquote|quotation|cquote|bquote|rquote"
    "|centered pull quote|sic|em|strong|strongbad|italic|bold|i|b|nobold|noitalic|normal|unicode|ill"
    "|interlanguage link|interlanguage link multi|illm|link-interwiki|nihongo|nihongo2|nihongo3|korean|zh-full"
    "|keypress|key press|key|kbd|code|mono|samp|var|tt|sup|sub|math|mvar|nts|number table sorting|formatnum|commas"
    "|val|dts|flag|flagcountry|flag country|country|flagu|ship|quoted|pull quote|u|underline|overline|color box text"
    "|linktext|not a typo|typo|as written|chem name|chem2|serif|sans-serif|allcaps|plain text|text|title|delink"
    "|hover title|proper name|noredlink|red|green|cslist|wikt-lang|wt|w|trim|poem|poemquote|verse translation"
    "|inline quote|nobel|respell name|audio|pronunciation name",
    _second: "lang|lang-x|color|font color|colour|font colour|fontcolor|legend text|iw2|background color|highlight"
    "|script|aut|nobreak2|font|resize|link if exists|listen name|sort|hs|page link|section link",
    _last: "transl|transliteration|translit|rtl-lang|ipa-link|sortname last|music symbol|wiktionary inline|lj",
    _all: "uss|hms|sortname|hlist|flatlist|ss|rms|mv|hmas|hmcs|ussr ship|name|sclass name",
    _joined: "gaps|gapnum|chem|simple chem|spaces joined|su|nuclide name",
    _fraction: "frac|fraction|sfrac|tfrac|dfrac",
    _measure: "convert|cvt|conv|convert/2",
    _date: "start date|end date|date|birth date text|film date|launch date",
}

TEMPLATES: dict[str, Template] = {name: kind for kind, names in _BY_KIND.items() for name in names.split("|")} | {
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
