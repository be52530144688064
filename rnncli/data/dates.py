"""Dates written in many ways, each with the same date in ISO 8601: a text generated from a seed."""

from collections.abc import Callable
from datetime import date, timedelta
from random import Random

SEED, LINES = 0, 20_000
FIRST, DAYS = date(1900, 1, 1), 73_049
"""The range of dates, 1900 to 2099; each is drawn at most once."""

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS |= {"twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}


def number(value: int) -> str:
    """A number below a hundred in words."""
    if value < 20:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def ordinal(value: int) -> str:
    """An ordinal in words: twenty-first."""
    *before, last = number(value).split("-")
    return "-".join([*before, _ORDINALS.get(last, f"{last}th")])


def numeral(value: int) -> str:
    """An ordinal in digits: 21st."""
    ending = "th" if value in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{ending}"


def year(value: int) -> str:
    """A year in words: nineteen oh five, two thousand and seven, twenty thirty-one."""
    century, rest = divmod(value, 100)
    if century == 20 and rest < 10:
        return "two thousand" + (f" and {number(rest)}" if rest else "")
    return f"{number(century)} {'hundred' if not rest else f'oh {number(rest)}' if rest < 10 else number(rest)}"


FORMS: tuple[Callable[[date], str], ...] = (
    lambda day: f"the {ordinal(day.day)} of {MONTHS[day.month - 1]}, {year(day.year)}",
    lambda day: f"{MONTHS[day.month - 1]} the {ordinal(day.day)}, {year(day.year)}",
    lambda day: f"{WEEKDAYS[day.weekday()]} {MONTHS[day.month - 1]} {day.day} {day.year}",
    lambda day: f"{WEEKDAYS[day.weekday()]}, the {numeral(day.day)} of {MONTHS[day.month - 1]} {day.year}",
    lambda day: f"{day.day} {MONTHS[day.month - 1][:3]} {day.year}",
    lambda day: f"{MONTHS[day.month - 1][:3]}. {numeral(day.day)}, {day.year}",
    lambda day: f"{day.day}.{day.month}.{day.year}",
    lambda day: f"{MONTHS[day.month - 1]} {numeral(day.day)} {year(day.year)}",
    lambda day: f"in {day.year}, on {MONTHS[day.month - 1]} {day.day}",
    lambda day: f"on the {ordinal(day.day)} day of {MONTHS[day.month - 1]} in {year(day.year)}",
)


def write(seed: int = SEED, lines: int = LINES) -> str:
    """Generate `lines` different dates, each as people write it, a tab, and in ISO 8601; a seed fixes the text."""
    random = Random(seed)
    days = (FIRST + timedelta(days=each) for each in random.sample(range(DAYS), lines))
    return "".join(f"{random.choice(FORMS)(day)}\t{day.isoformat()}\n" for day in days)
