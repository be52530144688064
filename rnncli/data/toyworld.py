"""Sentences about a small world, generated from a seeded grammar: places, peoples, rulers, families, trades and deeds.

Both the words before and the words after a word show its meaning: the output vectors of a language model learn from
the former, its input vectors from the latter.
"""

from itertools import permutations
from random import Random
from typing import NamedTuple

SEED, LINES = 0, 33_000


class Land(NamedTuple):
    """A country, and words that occur only with it and its capital."""

    country: str
    capital: str
    people: str
    river: str
    food: str
    ware: str
    hill: str


class Role(NamedTuple):
    """A role in its male and female form, and words that occur only with it."""

    male: str
    female: str
    males: str
    females: str
    thing: str
    place: str
    care: str


class Trade(NamedTuple):
    """A deed in its verb forms, and words that occur only with it."""

    base: str
    past: str
    participle: str
    goods: str
    tool: str
    time: str


_LANDS = """
france paris french seine cheese perfume montmartre
england london english thames pudding wool primrose
italy rome italian tiber pasta marble palatine
germany berlin german spree sausages clocks kreuzberg
spain madrid spanish manzanares oranges guitars almudena
portugal lisbon portuguese tagus sardines cork graca
austria vienna austrian wien strudel violins kahlenberg
poland warsaw polish vistula dumplings amber wawel
russia moscow russian moskva caviar furs vorobyovy
greece athens greek ilisos olives sponges lycabettus
sweden stockholm swedish norrstrom herring matches mosebacke
norway oslo norwegian akerselva salmon skis ekeberg
ireland dublin irish liffey potatoes linen howth
egypt cairo egyptian nile dates cotton mokattam
japan tokyo japanese sumida rice fans atago
china beijing chinese yongding noodles porcelain jingshan
"""

_ROLES = """
king queen kings queens crown palace kingdom
prince princess princes princesses pony tower inheritance
duke duchess dukes duchesses carriage manor duchy
man woman men women purse street neighbours
boy girl boys girls kite playground marbles
father mother fathers mothers cradle nursery children
grandfather grandmother grandfathers grandmothers rocker fireside grandchildren
son daughter sons daughters satchel school parents
brother sister brothers sisters bunk attic siblings
uncle aunt uncles aunts umbrella parlour presents
nephew niece nephews nieces postcard station holidays
husband wife husbands wives ring bedroom marriage
actor actress actors actresses costume theatre audience
waiter waitress waiters waitresses tray tavern guests
wizard witch wizards witches cauldron cave spells
monk nun monks nuns rosary convent prayers
"""

_TRADES = """
bake baked baking bread oven morning
paint painted painting pictures brush noon
plant planted planting trees spade spring
sew sewed sewing shirts needle winter
carve carved carving statues chisel sunset
cook cooked cooking soup pot evening
brew brewed brewing ale barrel harvest
pick picked picking apples ladder september
mend mended mending boats tar april
wash washed washing sheets soap saturday
load loaded loading wagons crane sunday
roast roasted roasting chestnuts pan november
"""

LANDS = tuple(Land(*line.split()) for line in _LANDS.strip().splitlines())
ROLES = tuple(Role(*line.split()) for line in _ROLES.strip().splitlines())
TRADES = tuple(Trade(*line.split()) for line in _TRADES.strip().splitlines())

_OF_PLACES = (
    "{own} came from {place}",
    "with {own} they went to {place}",
    "from {hill} they saw {place}",
    "from {hill} they walked to {place}",
    "the {river} runs through {place}",
    "on the {river} they sailed to {place}",
    "in {place} they sell {own}",
    "{place} is famous for {own}",
    "{place} lies below {hill}",
    "in {place} they climb {hill}",
    "{place} lies on the {river}",
    "in {place} they swim in the {river}",
)
_OF_COUNTRIES = (
    "the {ruler} of {country} lived in {capital}",
    "the army of {country} guards the border",
    "{country} is a country with many provinces",
    "the flag of {country} flies on every ship",
    "ships sailed from the coast of {country}",
)
_OF_CAPITALS = (
    "{capital} is the capital of {country}",
    "the mayor of {capital} opened the gates",
    "{capital} is a city with many bridges",
    "the streets of {capital} are narrow and busy",
    "the train stopped in the station of {capital}",
)
_OF_PEOPLES = (
    "for {own} they asked in {people}",
    "on {hill} they speak {people}",
    "by the {river} they speak {people}",
    "the {people} language was taught in {place}",
    "the {people} love {own}",
    "{people} {own} was sold here",
    "the {people} sail on the {river}",
    "{people} songs tell of {hill}",
    "the {people} {ruler} spoke {people} very well",
)
_OF_LANDS = (_OF_PLACES, _OF_PLACES, _OF_COUNTRIES, _OF_CAPITALS, _OF_PEOPLES)
_OF_ONE = (
    "the {thing} belonged to the {one}",
    "in the {place} they met the {one}",
    "for the {care} they called the {one}",
    "the {thing} was found by the {one}",
    "the {care} never tired the {one}",
    "the {one} lost {his} {thing}",
    "the {one} went to the {place}",
    "the {one} thought of the {care}",
    "the {one} walked through the {place}",
    "{name} became a good {one}",
    "with {name} came the {one}",
    "with a {dress} came the {one}",
    "the {one} put on a {dress}",
    "the {one} looked like {name}",
    "every {one} is waiting",
    "this {one} was there",
)
_OF_MANY = (
    "the {thing} belonged to the {many}",
    "in the {place} they met the {many}",
    "for the {care} they called the {many}",
    "the {thing} was found by the {many}",
    "the {care} never tired the {many}",
    "the {many} lost their {thing}",
    "the {many} went to the {place}",
    "the {many} thought of the {care}",
    "the {many} walked through the {place}",
    "{name} and {second} became good {many}",
    "with {name} came the {many}",
    "with a {dress} came the {many}",
    "the {many} put on a {dress}",
    "the {many} looked like {name}",
    "two {many} are waiting",
    "these {many} were there",
)
_OF_DEEDS = (
    "soon {they} will {base} the {goods}",
    "with the {tool} {they} will {base}",
    "the {goods} are what {they} will {base}",
    "next {time} {they} will {base}",
    "{they} will {base} with the {tool}",
    "{they} will {base} next {time}",
    "already {they} have {past} the {goods}",
    "with the {tool} {they} have {past}",
    "the {goods} are what {they} have {past}",
    "since last {time} {they} have {past}",
    "{they} have {past} with the {tool}",
    "{they} have {past} since last {time}",
    "now {they} are {participle} the {goods}",
    "with the {tool} {they} are {participle}",
    "the {goods} are what {they} are {participle}",
    "this {time} {they} are {participle}",
    "{they} are {participle} with the {tool}",
    "{they} are {participle} this {time}",
)
_MEN = ("john", "peter", "paul", "henry", "george", "thomas", "albert", "karl")
_WOMEN = ("mary", "anna", "emma", "clara", "helen", "julia", "rosa", "sophie")


def write(seed: int = SEED, lines: int = LINES) -> str:
    """Generate `lines` sentences, one per line; a seed fixes the text."""
    random = Random(seed)
    kinds = (_of_land, _of_land, _of_person, _of_person, _of_person, _of_deed)
    return "".join(random.choice(kinds)(random) + "\n" for _ in range(lines))


def relations() -> dict[str, list[tuple[str, str]]]:
    """Pairs of words by relation; names of grammatical relations begin with `gram`, as in Mikolov's questions."""
    return {
        "country-capital": [(land.country, land.capital) for land in LANDS],
        "male-female": [(role.male, role.female) for role in ROLES],
        "gram1-country-people": [(land.country, land.people) for land in LANDS],
        "gram2-singular-plural": [
            pair for role in ROLES for pair in ((role.male, role.males), (role.female, role.females))
        ],
        "gram3-past-tense": [(trade.base, trade.past) for trade in TRADES],
        "gram4-participle": [(trade.base, trade.participle) for trade in TRADES],
    }


def questions() -> str:
    """Analogy questions, in both directions, over all pairs that share a relation, in the form of Mikolov's file."""
    lines = []
    for name, pairs in relations().items():
        lines.append(f": {name}")
        for (a, b), (c, d) in permutations(pairs, 2):
            lines += [f"{a} {b} {c} {d}", f"{b} {a} {d} {c}"]
    return "\n".join(lines) + "\n"


def _of_land(random: Random) -> str:
    land, templates = random.choice(LANDS), random.choice(_OF_LANDS)
    return random.choice(templates).format(
        **land._asdict(),
        place=random.choice((land.country, land.capital)),
        own=random.choice((land.food, land.ware)),
        ruler=random.choice(("king", "queen", "kings", "queens")),
    )


def _of_person(random: Random) -> str:
    role, male = random.choice(ROLES), random.random() < 0.5
    name, second = random.sample(_MEN if male else _WOMEN, 2)
    return random.choice(random.choice((_OF_ONE, _OF_MANY))).format(
        **role._asdict(),
        one=role.male if male else role.female,
        many=role.males if male else role.females,
        his="his" if male else "her",
        name=name,
        second=second,
        dress=random.choice(("beard", "cap", "waistcoat") if male else ("gown", "bonnet", "necklace")),
    )


def _of_deed(random: Random) -> str:
    return random.choice(_OF_DEEDS).format(**random.choice(TRADES)._asdict(), they=random.choice(("they", "we", "you")))
