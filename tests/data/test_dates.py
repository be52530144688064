"""The corpus of dates: datetime parses every written date back."""

import re
from datetime import date, datetime

import pytest

from rnncli.data.dates import FORMS, LINES, MONTHS, ordinal, write, year

DAYS = {ordinal(day): day for day in range(1, 32)}
YEARS = {year(value): value for value in range(1900, 2100)}
AS_DATETIME = (
    *("%A %B %d %Y", "%d %b %Y", "%b. %d, %Y", "%d.%m.%Y", "in %Y, on %B %d", "%A, the %d of %B %Y", "%B %d %Y"),
    *("the %d of %B, %Y", "%B the %d, %Y", "on the %d of %B in %Y"),
)


def parsed(text: str) -> date:
    """The date of a text, after its words are replaced by digits."""
    text = text.replace(" day of ", " of ")
    for words, value in sorted(YEARS.items(), key=lambda item: -len(item[0])):
        text = re.sub(rf"\b{words}$", str(value), text)
    for words, value in sorted(DAYS.items(), key=lambda item: -len(item[0])):
        text = re.sub(rf"\b{words}\b", str(value), text)
    text = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text)
    for form in AS_DATETIME:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise AssertionError(text)


def test_every_line_is_a_distinct_date_with_the_right_iso_form() -> None:
    lines = [line.split("\t") for line in write().splitlines()]
    assert len(lines) == len({iso for _, iso in lines}) == LINES
    for written, iso in lines[:3_000]:
        assert parsed(written) == date.fromisoformat(iso)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_distinguishes_all_months_and_days(form) -> None:
    days = [date(year, month, day) for year in (1905, 2000, 2031) for month in range(1, 13) for day in (1, 12, 22)]
    assert [parsed(form(day)) for day in days] == days
    assert len(MONTHS) == 12


def test_a_seed_fixes_the_text() -> None:
    assert write(seed=1, lines=5) == write(seed=1, lines=5) != write(seed=2, lines=5)
