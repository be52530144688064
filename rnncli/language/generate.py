"""What all tasks share that write text: the options, the prime, the dice, and what comes of it, as it is drawn."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from unicodedata import category

from rnncli.data.text import JOINERS, read_text
from rnncli.data.vocabulary import END, START, UNKNOWN
from rnncli.errors import UsageError
from rnncli.language.voices import label_number
from rnncli.models.sampling import DECODING, Sampling, with_decoding
from rnncli.settings import option
from rnncli.task import Trained

if TYPE_CHECKING:
    import torch

    from rnncli.models.decoding import Choice, Ending, Listener

T = TypeVar("T")

Join = Callable[[Iterable[int]], Iterator[str]]
"""Tokens by number -> pieces of text, one for each as soon as it is there; that of a part of a letter is empty."""


class DrawnToken(NamedTuple):
    """A token as it is drawn: what it adds to the text, how likely it was, and the likeliest that could have been."""

    line: int  # which text it belongs to
    text: str
    probability: float
    likeliest: list[tuple[str, float]]  # as people are shown them


@dataclass(frozen=True, kw_only=True)
@with_decoding
class WritingOptions:
    """How to write with a language model; its decoding options are those of `DECODING`."""

    prime: str = option("", "Text to go on from, or @FILE for that of a file; all of it is read.")
    length: int = option(500, "Tokens to write at most.", least=1)
    count: int = option(1, "Texts to write, side by side.", least=1, most=100_000)
    stop: str | None = option(None, "End before this text appears.")
    label: str | None = option(None, "The voice to write in, of a model that learned several.")
    beam: int = option(0, "Search for the likeliest text, so many at a time; 0: draw.", least=0, most=1_000)
    nbest: int = option(1, "Texts of the search to show, the best first.", least=1)
    seed: int | None = option(
        None, "Seed of the dice; without it, every call gives another text.", least=0, most=2**63 - 1
    )
    novelty: bool = option(False, "Say how much stands in the training text word for word.")
    listen: Callable[[DrawnToken], None] | None = None  # is told of each token that is drawn; from Python alone

    @property
    def sampling(self) -> Sampling:
        """How to draw, as decoding takes it; an option that is registered later than this class has its default."""
        return Sampling(**{each.name: getattr(self, each.name) for each in fields(self) if each.name in DECODING})

    @cached_property
    def drawn_seed(self) -> int | None:
        """The seed, or one drawn by chance, the same at every look; none where nothing is drawn."""
        if self.beam:
            return None
        import secrets  # takes longer to load than all else here

        return secrets.randbits(31) if self.seed is None else self.seed

    def dice(self, device: "torch.device") -> "torch.Generator":
        """The dice on a device, freshly seeded."""
        import torch

        return torch.Generator(device).manual_seed(self.drawn_seed or 0)

    def check(self, *others: str) -> None:
        """Raise UsageError for options that do not go together; beam search has no use for the `others` either."""
        defaults = {each.name: each.default for each in fields(self)}
        drawing = [name for name, each in DECODING.items() if name in defaults and not each.searches]
        useless = [name for name in (*drawing, "count", "seed", *others) if getattr(self, name) != defaults[name]]
        if self.beam and useless:
            raise UsageError(f"--beam searches and draws nothing: leave --{useless[0].replace('_', '-')} out")
        if self.nbest > max(1, self.beam):
            raise UsageError(f"--nbest {self.nbest} needs a search at least as wide: add --beam {self.nbest}")
        if self.stop == "":
            raise UsageError("--stop must not be empty: give the text to end before, or leave it out")

    def read_prime(self) -> str:
        """The text to go on from; `@@…` is one that begins with @. Raises UsageError for what is no text."""
        given = self.prime
        if given == "@":
            raise UsageError("--prime @ names no file: write @FILE, or @@ for the sign itself")
        if given.startswith("@") and not given.startswith("@@"):
            return read_text(Path(given[1:]))
        try:
            given.encode()
        except UnicodeEncodeError:
            raise UsageError(f"--prime {given!a} is no text that can be printed") from None
        return given.removeprefix("@") if given.startswith("@@") else given


@dataclass
class Draft:
    """One text that was written, whole once its pieces are taken."""

    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # those that are shown; without what it begins with
    log_probability: float | None = None  # nats, of what beam search found
    score: float | None = None  # the same by its length

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def facts(self) -> dict[str, Any]:
        """The same as plain values; without a score where it was drawn."""
        facts = {"text": self.text, "tokens": len(self.tokens)}
        return facts if self.score is None else {**facts, "log_probability": self.log_probability, "score": self.score}

    @property
    def heading(self) -> str:
        """How likely it is, in words."""
        return "" if self.score is None else f": log-probability {self.log_probability:.4f}, {self.score:.4f} a token"

    def written(self, tokens: Iterable[int], join: Join, stop: str | None) -> Iterator[str]:
        """The text of tokens up to where `stop` begins, as they come; those of which all is shown are kept."""
        letters = 0
        for piece in before_stop(join(_kept(tokens, self.tokens)), stop):
            letters += len(piece)
            yield piece
        del self.tokens[_count_shown(self.tokens, join, letters) :]


@dataclass
class Written:
    """Texts that are written, and what is to be said about them."""

    drafts: list[Draft]
    seed: int | None
    stream: Iterator[str] | None = None  # of a single text, as it is drawn
    unknown: list[str] = field(default_factory=list)  # tokens of the prime that the model never saw
    how: str = ""  # the seed, or the width of the search
    judge: Callable[["Written"], tuple[str, dict[str, Any]]] = lambda _: ("", {})  # the task's remark, and its facts

    @property
    def pieces(self) -> Iterator[str]:
        """What to show, piece by piece; several texts, and those of a search, have a line before each."""
        headed = len(self.drafts) > 1 or self.drafts[0].score is not None
        for number, draft in enumerate(self.drafts, start=1):
            if headed:
                yield f"--- {number}{draft.heading}\n"
            piece = ""
            for piece in chain(tuple(draft.pieces), self.stream or ()):
                yield piece
            if not piece.endswith("\n"):
                yield "\n"

    @property
    def texts(self) -> list[str]:
        """The texts themselves."""
        for _ in self.stream or ():
            pass
        return [draft.text for draft in self.drafts]

    @property
    def remark(self) -> str:
        """How they were written, and what the task says of them."""
        return self.how + self.judge(self)[0]

    @property
    def tokens(self) -> list[list[int]]:
        """Them by number, without what they begin with."""
        return [draft.tokens for draft in self.drafts if self.texts]

    @property
    def lines(self) -> list[str]:
        """Their lines that are not empty."""
        return [line for text in self.texts for line in text.split("\n") if line]

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as plain values."""
        texts = [draft.facts for draft in self.drafts if self.texts]
        return {"texts": texts, "unknown": self.unknown, "seed": self.seed, **self.judge(self)[1]}


@dataclass(frozen=True)
class Writing:
    """How a text goes on, as its task has it."""

    join: Join
    banned: Sequence[int]  # tokens that are never written
    banned_first: Sequence[int] = ()
    end: int | None = None  # ends a text of beam search
    shown: str = ""  # what every text begins with
    restarts: bool = False  # the state begins afresh after each END
    lines: int = 0  # lines of a text, each of --length tokens at most; 0: a text of --length tokens

    def ending(self, length: int, stop: str | None) -> "Ending":
        """Return what takes each token of a text as it is drawn, and says whether the text ends with it."""
        left = self.lines or length
        recent = deque[int](maxlen=4 * len(stop or "") + 4)  # each is a byte of text at least

        def ends(token: int) -> bool:
            nonlocal left
            left -= token == END if self.lines else 1
            recent.append(token)
            return not left or (stop is not None and stop in "".join(self.join(recent)))

        return ends


def write_on(trained: Trained, options: WritingOptions, prime: Sequence[int], writing: Writing) -> Written:
    """Write on from a prime: one text as it is drawn, several side by side, or the likeliest by beam search."""
    import torch

    from rnncli.models.decoding import Length, Opening, draw_streams, limited, read, restarting

    if options.beam:
        return Written(_searched(trained, options, prime, writing), None, how=f"the best of {options.beam} at a time")
    model: Any = trained.model.eval()
    label, shown = label_number(trained, options.label), [writing.shown] if writing.shown else []
    opening = read(model, prime, label)
    if writing.restarts:
        opening = opening._replace(step=restarting(opening.step, model.initial_states(1), START, END))
    if writing.lines:
        size = Length(torch.zeros(1, 1, dtype=torch.long, device=trained.device))
        step = limited(opening.step, END, options.length)
        opening = Opening(step, opening.logits, [size, *opening.states])
    steps = draw_streams(
        opening,
        options.count,
        options.sampling,
        banned=writing.banned,
        banned_first=writing.banned_first,
        generator=options.dice(next(model.parameters()).device),
        ending=lambda: writing.ending(options.length, options.stop),
        past=prime,
        listen=listener(trained, options, writing.join),
    )
    drafts, how = [Draft() for _ in range(options.count)], f"seed {options.drawn_seed}"
    if options.count == 1:
        tokens = (token for ((_, token),) in steps)
        pieces = chain(shown, drafts[0].written(tokens, writing.join, options.stop))
        return Written(drafts, options.drawn_seed, stream=_kept(pieces, drafts[0].pieces), how=how)
    texts = [list[int]() for _ in drafts]
    for number, token in chain.from_iterable(steps):
        texts[number].append(token)
    for draft, text in zip(drafts, texts, strict=True):
        draft.pieces = [*shown, *draft.written(text, writing.join, options.stop)]
    return Written(drafts, options.drawn_seed, how=how)


KEPT_WHOLE = {"min_count": 1, "vocab_size": 0}
"""Settings, where a task has them, by which every token of the training text is in the vocabulary."""


def write_stream(trained: Trained, options: WritingOptions) -> Written:
    """Continue a text, or begin one after a line feed, with a model that reads one stream of tokens.

    Tokens that the model does not know are read as UNKNOWN where it has learned what that is, else skipped.
    """
    options.check()
    codec = trained.codec
    kept_whole = all(getattr(trained.config, name, without) == without for name, without in KEPT_WHOLE.items())
    tokens = codec.split(options.read_prime())
    numbers = codec.vocabulary.encode(tokens)
    if kept_whole and not codec.units.spaced:
        numbers = [number for number in numbers if number != UNKNOWN]
    written = write_on(trained, options, numbers or [codec.opening], Writing(codec.join, banned=codec.unwritten))
    written.unknown = codec.unknown(tokens)
    return written


def write_sentences(trained: Trained, options: WritingOptions) -> Written:
    """Write sentences of words, a line each; the prime begins the first, or all but its last line goes before it.

    Words that the model does not know are read as UNKNOWN. A model of running text reads all of the prime; one of
    sentences starts afresh with each of them, and reads the last line only.
    """
    options.check()
    return write_lines(trained, options, options.read_prime().split("\n"))


def write_lines(trained: Trained, options: WritingOptions, primes: Sequence[str], count: int = 0) -> Written:
    """Write after the lines of a prime, and continue the last one: `count` lines in all, or --length tokens."""
    codec = trained.codec
    lines = [printable(codec.split(line)) for line in primes]
    before = [number for words in lines[:-1] if words for number in (*codec.vocabulary.encode(words), END)]
    opened = codec.vocabulary.encode(lines[-1])
    join = partial(codec.join, begun=bool(opened))
    writing = Writing(
        join=(lambda numbers: _between_lines(join(numbers))) if count else join,
        banned=codec.unwritten,
        banned_first=() if opened else (END,),
        end=END,
        shown="".join(codec.units.join(lines[-1])),
        restarts=codec.by_sentence,
        lines=count,
    )
    read = before if codec.is_running else []
    written = write_on(trained, options, [codec.opening, *read, *opened], writing)
    written.unknown = codec.unknown(word for words in lines for word in words)
    return written


def _between_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Give each line feed with the piece that follows it, so that none ends the text."""
    feed = ""
    for piece in pieces:
        ends = piece == "\n"
        yield feed if ends else feed + piece
        feed = piece if ends else ""


def listener(trained: Trained, options: WritingOptions, join: Join) -> "Listener | None":
    """Return what tells `options.listen` of the tokens of each text, as text."""
    listen = options.listen
    if listen is None:
        return None
    names = trained.codec.shown
    spelled = dict[int, Callable[[int], str]]()

    def tell(choice: "Choice") -> None:
        if choice.stream not in spelled:
            spelled[choice.stream] = spelling(join)
        text = spelled[choice.stream](choice.token)
        likeliest = [(names(token), share) for token, share in choice.likeliest]
        listen(DrawnToken(choice.stream, text, choice.probability, likeliest))

    return tell


def spelling(join: Join) -> Callable[[int], str]:
    """What each further token adds to a text, as they come one by one."""
    coming = deque[int]()
    pieces = join(iter(coming.popleft, None))

    def add(token: int) -> str:
        coming.append(token)
        return next(pieces)

    return add


def _searched(trained: Trained, options: WritingOptions, prime: Sequence[int], writing: Writing) -> list[Draft]:
    """The n best texts; the last token of the prime is the first one that the search reads."""
    from rnncli.models.decoding import beam_search, read

    model: Any = trained.model.eval()
    label, (*before, last) = label_number(trained, options.label), prime
    (found,) = beam_search(
        model.stepper(label),
        read(model, before, label).states if before else model.initial_states(1),
        start=last,
        end=writing.end,
        width=options.beam,
        max_length=[options.length],
        banned=writing.banned,
        banned_first=writing.banned_first,
        sampling=options.sampling,
        past=prime,
    )
    drafts = [Draft(log_probability=each.log_probability, score=each.score) for each in found[: options.nbest]]
    for draft, each in zip(drafts, found, strict=False):
        draft.pieces = [writing.shown, *draft.written(each.tokens, writing.join, options.stop)]
    return drafts


def before_stop(pieces: Iterable[str], stop: str | None) -> Iterator[str]:
    """A text in pieces up to where `stop` begins; what may be its beginning is held back until that is known."""
    held = ""
    for piece in pieces:
        held += piece
        safe = len(held)
        if stop:
            place = held.find(stop)
            if place >= 0:
                held = held[:place]
                break
            safe -= len(stop) - 1
        if safe > 0:
            yield held[:safe]
            held = held[safe:]
    if held:
        yield held


def _count_shown(tokens: Sequence[int], join: Join, letters: int) -> int:
    """How many of some tokens are whole within so many letters of their text, from its beginning."""
    size, whole, taken = 0, 0, list[int]()
    for piece in join(_kept(tokens, taken)):
        size += len(piece)
        if size > letters:
            return whole
        if piece:
            whole = len(taken)
    return whole


def _kept(things: Iterable[T], kept: list[T]) -> Iterator[T]:
    """The same things, each of which is kept as it goes by."""
    for thing in things:
        kept.append(thing)
        yield thing


def printable(words: list[str]) -> list[str]:
    """The words of a prime, which are kept as given; raises UsageError for one that cannot be printed."""
    strange = [word for word in words if not all(map(_is_printable, word))]
    if strange:
        raise UsageError(f"--prime: {strange[0]!a} is no text that can be printed")
    return words


def _is_printable(sign: str) -> bool:
    return sign.isprintable() or sign in JOINERS or category(sign) == "Zs"
