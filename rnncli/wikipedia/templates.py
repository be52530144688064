"""The templates that produce text, by name, and the text of each; all others produce none."""

import re
from collections.abc import Callable
from functools import partial


class Arguments(list[str]):
    """The unnamed and numbered arguments of a template; the others are in `named`."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        super().__init__()
        self.name = name.strip()  # the template's, as written
        self.named: dict[str, str] = {}
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if not equals or "<" in key or "[" in key:
                self.append(argument.strip())
            elif key.strip().isdigit():
                self.append(value.strip())
            else:
                self.named[key.strip()] = value.strip()


Template = Callable[[Arguments], str]
Function = Callable[[list[str]], str]

# One string is easier to read than twelve.
_MONTHS = (
    "January February March April May June July August September October November December".split()  # noqa: SIM905  # shorter than a list
)
_MARKS = re.compile(r"\[\[|\]\]|\|")
_RANGES = {
    **{each: each for each in ("–", "to", "and", "or", "by", "×", "±", "/")},
    **{"-": "–", "x": "×", "*": "×", "to(-)": "to", "to-": "to", "by(x)": "by", "x(by)": "×", "+/-": "±", "±": "±"},
}
_AMOUNT = re.compile(r"[-−+]?\d[\d.,/+⁄]*(?:e[-+]?\d+)?")
_UNITS = {"C": "°C", "F": "°F"}
_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_MAX_PADDING = 500


def text_of(inside: str) -> str:
    """The text of a template, given the source between its braces with inner templates resolved.

    A function has its first argument after a colon, as in `formatnum:1000`.
    """
    name, *arguments = _split(inside)
    template = find_template(name)
    if template:
        return template(Arguments(name, arguments))
    function = find_function(name)
    return function([name.partition(":")[2].strip(), *(each.strip() for each in arguments)]) if function else ""


def carries_text(name: str) -> bool:
    """Whether a template, or a function with the beginning of its argument, produces text."""
    return bool(find_template(name) or find_function(name))


def find_template(name: str) -> Template | None:
    """The template of that name, if it produces text."""
    name = name.strip().lower().replace("_", " ")
    return TEMPLATES.get(name) or (_first if name.startswith("lang-") else None)


def find_function(name: str) -> Function | None:
    """The function whose name precedes the colon, if there is a colon."""
    name, colon, _ = name.partition(":")
    return FUNCTIONS.get(name.strip().lower()) if colon else None


def _split(inside: str) -> list[str]:
    """Split at bars outside of links."""
    if "[[" not in inside:
        return inside.split("|")
    parts, begin, links = [], 0, 0
    for mark in _MARKS.finditer(inside):
        if mark[0] == "|" and not links:
            parts.append(inside[begin : mark.start()])
            begin = mark.end()
        links = max(0, links + {"[[": 1, "]]": -1, "|": 0}[mark[0]])
    return [*parts, inside[begin:]]


def _first(arguments: Arguments) -> str:
    return arguments[0] if arguments else ""


def _second(arguments: Arguments) -> str:
    return arguments[1] if len(arguments) > 1 else _first(arguments)


def _last(arguments: Arguments) -> str:
    return arguments[-1] if arguments else ""


def _all(arguments: Arguments) -> str:
    return " ".join(arguments)


def _concatenated(arguments: Arguments) -> str:
    return "".join(arguments)


def _fraction(arguments: Arguments) -> str:
    whole, parts = arguments[:-2], arguments[-2:]
    return " ".join([*whole, "/".join(parts if len(parts) > 1 else ["1", *parts])])


def _measure(arguments: Arguments) -> str:
    """`5|km|mi` is 5 km, `5|to|8|km|mi` is 5 to 8 km, `5|-|8|km` is 5–8 km, and `5|ft|11|in|cm` is 5 ft 11 in."""
    taken, at = arguments[:2], 2
    while len(arguments) > at + 1 and taken[-1] in _RANGES:
        taken[-1] = _RANGES[taken[-1]]
        taken += arguments[at : at + 2]
        at += 2
    while len(arguments) > at + 1 and _AMOUNT.fullmatch(arguments[at]) and not _AMOUNT.match(arguments[at + 1]):
        taken += arguments[at : at + 2]
        at += 2
    return " ".join(_UNITS.get(each, each) for each in taken).replace(" – ", "–")


def _value(arguments: Arguments) -> str:
    """`1.5|0.2|e=30|u=kg` is 1.5±0.2×10^30 kg, and `1.5|+0.2|-0.1` is 1.5 +0.2 −0.1."""
    named = arguments.named
    signed = len(arguments) > 2 or arguments[1:2] == [""] or any(each[:1] in "+-−" for each in arguments[1:2])
    errors = [each.replace("-", "−") for each in arguments[1:3] if each]
    number = " ".join([*arguments[:1], *errors]) if signed else "±".join([*arguments[:1], *errors])
    power = f"×10^{named['e'].replace('-', '−')}" if named.get("e") else ""
    over = named.get("up") or named.get("upl")
    unit = (named.get("u") or named.get("ul") or "") + (f"/{over}" if over else "")
    return f"{named.get('p', '')}{number}{power}{' ' * bool(unit)}{unit}{named.get('s', '')}"


def _after(word: str) -> Template:
    return lambda arguments: f"{word} {_first(arguments)}".rstrip()


def _span(word: str, each: bool = False) -> Template:
    """`1850|1900` is c. 1850 – c. 1900 with `each`, otherwise fl. 1850–1900."""
    between = f" – {word} " if each else "–"
    return lambda arguments: f"{word} {between.join(filter(None, arguments[:2]))}".rstrip()


def _as_of(arguments: Arguments) -> str:
    """`2015|6|1` is as of 1 June 2015; with a capital As if the template's name has one and there is no `lc=`."""
    named = arguments.named
    if named.get("alt"):
        return named["alt"]
    word = "since" if named.get("since") or arguments.name.lower() == "since" else "as of"
    word = word.capitalize() if arguments.name[:1].isupper() and not named.get("lc") else word
    return " ".join(filter(None, [word, named.get("pre"), _date(arguments)])) + named.get("post", "")


def _money(sign: str) -> Template:
    return lambda arguments: f"{sign}{_first(arguments)}"


def _currency(arguments: Arguments) -> str:
    """`5 million|GBP` is £5 million."""
    code = arguments[1].upper() if len(arguments) > 1 else "USD"
    return f"{_SIGNS.get(code, f'{code} ')}{_first(arguments)}"


def _always(text: str) -> Template:
    return lambda _arguments: text


def _date(arguments: Arguments) -> str:
    """`1969|7|20` is 20 July 1969, and so is `1969-07-20`; with `df=us` July 20, 1969."""
    year, month, day = [*arguments, "", "", ""][:3]
    if iso := _ISO_DATE.fullmatch(year):
        year, month, day = iso.groups()
    day = day.lstrip("0")
    if month.isdecimal() and 1 <= int(month) <= 12:
        month = _MONTHS[int(month) - 1]
    if day and month and arguments.named.get("df", "").lower() == "us":
        return f"{month} {day}, {year}"
    return " ".join(part for part in (day, month, year) if part)


def _formatnum(arguments: list[str]) -> str:
    number = arguments[0]
    return number.replace(",", "") if "R" in arguments[1:] else number


def _pad(arguments: list[str], *, left: bool) -> str:
    """`7|3|0` is 007."""
    text, width, sign = [*arguments, "", ""][:3]
    size = min(int(width), _MAX_PADDING) if width.isdecimal() and len(width) < 10 else 0
    return text.rjust(size, (sign or "0")[0]) if left else text.ljust(size, (sign or "0")[0])


def _plural(arguments: list[str]) -> str:
    """`1|man|men` is man."""
    number, *forms = arguments
    return (forms[0] if number.replace(",", "") == "1" else forms[-1]) if forms else ""


def _if(arguments: list[str]) -> str:
    condition, then, otherwise = [*arguments, "", ""][:3]
    return then if condition else otherwise


def _if_equal(arguments: list[str]) -> str:
    one, other, then, otherwise = [*arguments, "", "", ""][:4]
    return then if one == other else otherwise


FUNCTIONS: dict[str, Function] = {
    "formatnum": _formatnum,
    "lc": lambda arguments: arguments[0].lower(),
    "uc": lambda arguments: arguments[0].upper(),
    "lcfirst": lambda arguments: arguments[0][:1].lower() + arguments[0][1:],
    "ucfirst": lambda arguments: arguments[0][:1].upper() + arguments[0][1:],
    "padleft": partial(_pad, left=True),
    "padright": partial(_pad, left=False),
    "plural": _plural,
    "#if": _if,
    "#ifeq": _if_equal,
}
"""The functions of wikitext that produce text, by name."""

_BY_KIND: dict[Template, str] = {
    _first: "nowrap|nobr|nobreak|small|smaller|big|bigger|larger|large|sc|smallcaps|allcaps|abbr|abbreviation|tooltip"
    "|vanchor|visible anchor|angbr|angle bracket|quote|blockquote|quotation|cquote|rquote|pull quote|quoted|sic|em"
    "|strong|italic|bold|nobold|noitalic|normal|unicode|ill|interlanguage link|interlanguage link multi|link-interwiki"
    "|nihongo|nihongo3|keypress|key press|key|kbd|code|mono|samp|var|tt|sup|sub|mvar|nts|number table sorting|formatnum"
    "|dts|flag|flagcountry|flagu|underline|linktext|not a typo|typo|as written|serif|sans-serif|delink|noredlink"
    "|poem|poemquote|proper name",
    _second: "lang|wikt-lang|color|font color|colour|iw2|background color|script|audio|resize|section link",
    _last: "transl|transliteration|rtl-lang",
    _all: "sortname|hlist|flatlist",
    _concatenated: "gaps|gapnum|chem|chem2|simple chem",
    _fraction: "frac|fraction|sfrac|tfrac",
    _measure: "convert|cvt|conv",
    _date: "start date|end date|date|film date|launch date",
}

_SIGNS = {
    **{"USD": "US$", "AUD": "A$", "CAD": "C$", "NZD": "NZ$", "HKD": "HK$", "SGD": "S$", "MXN": "MX$", "BRL": "R$"},
    **{"GBP": "£", "EUR": "€", "JPY": "¥", "CNY": "CN¥", "INR": "₹", "KRW": "₩", "RUB": "₽", "TRY": "₺", "PHP": "₱"},
    **{"ILS": "₪", "UAH": "₴", "VND": "₫", "NGN": "₦", "CHF": "CHF "},
}
"""The sign before an amount, by the currency's code; both the code and the sign are names of templates."""

_SHIPS = "uss|hms|ss|rms|mv|hmas|hmcs|rfa|usns|uscgc|ins|jds"

TEMPLATES: dict[str, Template] = {name: kind for kind, names in _BY_KIND.items() for name in names.split("|")} | {
    **{ship: _after(ship.upper()) for ship in _SHIPS.split("|")},
    **{name.lower(): _money(sign) for code, sign in _SIGNS.items() for name in (code, sign.strip())},
    **{name: _money(sign) for name, sign in (("euro", "€"), ("pound sterling", "£"), ("indian rupee", "₹"))},
    "ca$": _money("C$"),
    "au$": _money("A$"),
    "currency": _currency,
    "val": _value,
    "as of": _as_of,
    "since": _as_of,
    **{name: _span("c.", each=True) for name in ("circa", "c.", "ca", "ca.")},
    **{name: _span("fl.") for name in ("floruit", "fl.")},
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
