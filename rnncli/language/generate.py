"""Generate text with a language model: options, primes, random draws, beam search, and texts that stream."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar
from unicodedata import category

from rnncli.data.marks import JOINERS
from rnncli.data.text import read_text
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
"""Token ids -> pieces of text, one per token and without delay; the piece of an incomplete character is empty."""


class DrawnToken(NamedTuple):
    """A drawn token: the text that it adds, its probability, and the likeliest tokens at its place."""

    line: int  # the number of its text
    text: str
    probability: float
    likeliest: list[tuple[str, float]]  # displayed tokens with their probabilities


@dataclass(frozen=True, kw_only=True)
@with_decoding
class WritingOptions:
    """Options of generation, including the decoding options in `DECODING`."""

    sample: ClassVar[Mapping[str, Any]] = {"length": 200}  # options of a sample during training

    prime: str = option("", "Text to continue, or @FILE for the text of a file; all of it is read.")
    length: int = option(500, "Maximum number of tokens to write.", least=1)
    count: int = option(1, "Number of texts to write.", least=1, most=100_000)
    stop: str | None = option(None, "End before this text appears.")
    label: str | None = option(None, "Voice to write in, for a model with several.")
    beam: int = option(0, "Beam search for the likeliest text, of this width; 0: draw at random.", least=0, most=1_000)
    nbest: int = option(1, "Number of texts of the beam search to show, best first.", least=1)
    seed: int | None = option(None, "Random seed; without it, every call gives another text.", least=0, most=2**63 - 1)
    novelty: bool = option(False, "Print how much of the text is copied from the training text.")
    listen: Callable[[DrawnToken], None] | None = None  # called with each drawn token; only from Python

    @property
    def sampling(self) -> Sampling:
        """The decoding options; one that is registered after this class was made has its default."""
        return Sampling(**{each.name: getattr(self, each.name) for each in fields(self) if each.name in DECODING})

    @cached_property
    def used_seed(self) -> int | None:
        """The seed of the random draws: the given one, or a random one, drawn once; None with beam search."""
        if self.beam:
            return None
        import secrets  # imported here, since it loads slowly

        return secrets.randbits(31) if self.seed is None else self.seed

    def generator(self, device: "torch.device") -> "torch.Generator":
        """A newly seeded random generator on a device."""
        import torch

        return torch.Generator(device).manual_seed(self.used_seed or 0)

    def check(self, *others: str) -> None:
        """Raise UsageError for options that exclude each other; beam search also excludes the `others`."""
        defaults = {each.name: each.default for each in fields(self)}
        drawing = [name for name, each in DECODING.items() if name in defaults and not each.searches]
        unused = [name for name in (*drawing, "count", "seed", *others) if getattr(self, name) != defaults[name]]
        if self.beam and unused:
            raise UsageError(f"--beam searches and draws nothing: leave --{unused[0].replace('_', '-')} out")
        if self.nbest > max(1, self.beam):
            raise UsageError(f"--nbest {self.nbest} needs a search at least as wide: add --beam {self.nbest}")
        if self.stop == "":
            raise UsageError("--stop must not be empty: give the text to end before, or leave it out")

    def read_prime(self) -> str:
        """The text to continue; `@@` stands for a first @. Raises UsageError for a text that cannot be printed."""
        text = self.prime
        if text == "@":
            raise UsageError("--prime @ names no file: write @FILE, or @@ for the sign itself")
        if text.startswith("@") and not text.startswith("@@"):
            return read_text(Path(text[1:]))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"--prime {text!a} cannot be printed: give another text") from None
        return text.removeprefix("@") if text.startswith("@@") else text


@dataclass
class Draft:
    """One generated text; it is complete once its pieces are consumed."""

    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # displayed tokens, without the prime
    log_probability: float | None = None  # nats; only with beam search
    score: float | None = None  # the log-probability, normalized by length

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def facts(self) -> dict[str, Any]:
        """The text as plain values; with a score only after beam search."""
        facts = {"text": self.text, "tokens": len(self.tokens)}
        return facts if self.score is None else {**facts, "log_probability": self.log_probability, "score": self.score}

    @property
    def heading(self) -> str:
        """The log-probability and the score, in words; empty without them."""
        return "" if self.score is None else f": log-probability {self.log_probability:.4f}, {self.score:.4f} per token"

    def written(self, tokens: Iterable[int], join: Join, stop: str | None) -> Iterator[str]:
        """Yield the text of tokens before `stop`, without delay; keeps the tokens that are displayed completely.

        The bytes of an incomplete character at the end are left out.
        """
        size = 0
        for piece in before_stop(_complete(join, _kept(tokens, self.tokens)), stop):
            size += len(piece)
            yield piece
        del self.tokens[_count_shown(self.tokens, join, size) :]


@dataclass
class Written:
    """Generated texts, and remarks on them."""

    drafts: list[Draft]
    seed: int | None
    stream: Iterator[str] | None = None  # of a single text, while it is drawn
    unknown: list[str] = field(default_factory=list)  # tokens of the prime that the model does not know
    how: str = ""  # the seed, or the width of the search
    inspect: Callable[["Written"], tuple[str, dict[str, Any]]] = lambda _: ("", {})  # the task's remark, and its facts

    @property
    def pieces(self) -> Iterator[str]:
        """The output in pieces; several texts, and those of a beam search, each follow a heading line."""
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
        """The texts as strings."""
        for _ in self.stream or ():
            pass
        return [draft.text for draft in self.drafts]

    @property
    def remark(self) -> str:
        """The seed or the width of the search, and the task's remark."""
        return self.how + self.inspect(self)[0]

    @property
    def tokens(self) -> list[list[int]]:
        """The token ids of each text, without the prime."""
        return [draft.tokens for draft in self.drafts if self.texts]

    @property
    def lines(self) -> list[str]:
        """The lines of all texts, except empty ones."""
        return [line for text in self.texts for line in text.split("\n") if line]

    @property
    def facts(self) -> dict[str, Any]:
        """The texts and remarks as plain values."""
        texts = [draft.facts for draft in self.drafts if self.texts]
        return {"texts": texts, "unknown": self.unknown, "seed": self.seed, **self.inspect(self)[1]}


@dataclass(frozen=True)
class Writing:
    """The rules by which a task continues a text."""

    join: Join
    banned: Sequence[int]  # tokens that are never written
    banned_first: Sequence[int] = ()
    end: int | None = None  # the token that ends a text of beam search
    shown: str = ""  # the beginning of every text
    restarts: bool = False  # whether the state is reset after each END
    lines: int = 0  # lines per text, of at most --length tokens each; 0: --length tokens per text

    def ending(self, length: int, stop: str | None) -> "Ending":
        """Return a function that takes each drawn token of a text, and returns whether the text ends with it."""
        left = self.lines or length
        recent = deque[int](maxlen=4 * len(stop or "") + 4)  # each token is at least one byte of text

        def ends(token: int) -> bool:
            nonlocal left
            left -= token == END if self.lines else 1
            recent.append(token)
            return not left or (stop is not None and stop in "".join(self.join(recent)))

        return ends


def continue_text(trained: Trained, options: WritingOptions, prime: Sequence[int], writing: Writing) -> Written:
    """Continue a prime: one text that streams, several in a batch, or the likeliest by beam search."""
    import torch

    from rnncli.models.decoding import Length, Opening, draw_streams, limited, read, restarting
    from rnncli.models.recorded import graphs_on

    if options.beam:
        return Written(_beam_search(trained, options, prime, writing), None, how=f"beam search of width {options.beam}")
    model: Any = trained.model.eval()
    label, shown = label_number(trained, options.label), [writing.shown] if writing.shown else []
    opening = read(model, prime, label)
    if writing.restarts:
        opening = opening._replace(step=restarting(opening.step, model.initial_states(1), START, END))
    if writing.lines:
        size = Length(torch.zeros(1, 1, dtype=torch.long, device=trained.device))
        step = limited(opening.step, END, options.length)
        opening = Opening(step, opening.logits, [size, *opening.states])
    device = next(model.parameters()).device
    generator = options.generator(device)
    steps = draw_streams(
        opening,
        options.count,
        options.sampling,
        banned=writing.banned,
        banned_first=writing.banned_first,
        generator=generator,
        ending=lambda: writing.ending(options.length, options.stop),
        past=prime,
        listen=listener(trained, options, writing.join),
        graphs=graphs_on(device, generator),
    )
    drafts, how = [Draft() for _ in range(options.count)], f"seed {options.used_seed}"
    if options.count == 1:
        tokens = (token for ((_, token),) in steps)
        pieces = chain(shown, drafts[0].written(tokens, writing.join, options.stop))
        return Written(drafts, options.used_seed, stream=_kept(pieces, drafts[0].pieces), how=how)
    texts = [list[int]() for _ in drafts]
    for number, token in chain.from_iterable(steps):
        texts[number].append(token)
    for draft, text in zip(drafts, texts, strict=True):
        draft.pieces = [*shown, *draft.written(text, writing.join, options.stop)]
    return Written(drafts, options.used_seed, how=how)


KEPT_WHOLE = {"min_count": 1, "vocab_size": 0}
"""Settings that keep every token of the training text in the vocabulary; a task may lack them."""


def write_stream(trained: Trained, options: WritingOptions) -> Written:
    """Continue a text, or start one after a line feed, with a model of one stream of tokens.

    Unknown tokens are read as UNKNOWN if the model was trained with UNKNOWN, and skipped otherwise.
    """
    options.check()
    codec = trained.codec
    kept_whole = all(getattr(trained.config, name, without) == without for name, without in KEPT_WHOLE.items())
    prime = options.read_prime()
    tokens = codec.split(prime)
    numbers = codec.vocabulary.encode(tokens)
    if kept_whole and not codec.units.spaced:
        numbers = [number for number in numbers if number != UNKNOWN]
    writing = Writing(partial(codec.join, after=tokens[-1:]), banned=codec.unwritten, shown=prime)
    written = continue_text(trained, options, numbers or [codec.opening], writing)
    written.unknown = codec.unknown(tokens)
    return written


def write_sentences(trained: Trained, options: WritingOptions) -> Written:
    """Write sentences, one per line; the last line of the prime begins the first sentence.

    Unknown words are read as UNKNOWN. A model of running text reads all lines of the prime; a model of sentences, which
    resets its state for each sentence, reads only the last line.
    """
    options.check()
    return write_lines(trained, options, options.read_prime().split("\n"))


def write_lines(trained: Trained, options: WritingOptions, primes: Sequence[str], count: int = 0) -> Written:
    """Continue the last line of a prime: `count` lines in total, or without `count` --length tokens."""
    codec = trained.codec
    lines = [codec.split(line) for line in primes]
    check_printable(codec.units.shown(word) for words in lines for word in words)
    before = [number for words in lines[:-1] if words for number in (*codec.vocabulary.encode(words), END)]
    opened = codec.vocabulary.encode(lines[-1])
    join = partial(codec.join, after=lines[-1][-1:])
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
    written = continue_text(trained, options, [codec.opening, *read, *opened], writing)
    written.unknown = codec.unknown(word for words in lines for word in words)
    return written


def _between_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield each line feed together with the next piece, so that the text does not end with one."""
    feed = ""
    for piece in pieces:
        ends = piece == "\n"
        yield feed if ends else feed + piece
        feed = piece if ends else ""


def listener(trained: Trained, options: WritingOptions, join: Join) -> "Listener | None":
    """Return a function that passes the tokens of each text to `options.listen`, decoded."""
    listen = options.listen
    if listen is None:
        return None
    names = trained.codec.shown
    decoders = dict[int, Callable[[int], str]]()

    def pass_on(choice: "Choice") -> None:
        if choice.stream not in decoders:
            decoders[choice.stream] = stream_decoder(join)
        text = decoders[choice.stream](choice.token)
        likeliest = [(names(token), prob) for token, prob in choice.likeliest]
        listen(DrawnToken(choice.stream, text, choice.probability, likeliest))

    return pass_on


def stream_decoder(join: Join) -> Callable[[int], str]:
    """Return a function that takes one token after the other, and returns the text that each adds."""
    queue = deque[int]()
    pieces = join(iter(queue.popleft, None))

    def add(token: int) -> str:
        queue.append(token)
        return next(pieces)

    return add


def _beam_search(trained: Trained, options: WritingOptions, prime: Sequence[int], writing: Writing) -> list[Draft]:
    """The n best texts of a beam search, whose first input is the last token of the prime."""
    from rnncli.models.decoding import beam_search, read
    from rnncli.models.recorded import graphs_on

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
        graphs=graphs_on(next(model.parameters()).device),
    )
    drafts = [Draft(log_probability=each.log_probability, score=each.score) for each in found[: options.nbest]]
    for draft, each in zip(drafts, found, strict=False):
        draft.pieces = [writing.shown, *draft.written(each.tokens, writing.join, options.stop)]
    return drafts


def before_stop(pieces: Iterable[str], stop: str | None) -> Iterator[str]:
    """Yield a text in pieces up to the start of `stop`; characters that may start it are held back."""
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


def _complete(join: Join, tokens: Iterable[int]) -> Iterator[str]:
    """Yield a piece of text per token, without a further one for bytes of an incomplete character."""
    taken = list[int]()
    for number, piece in enumerate(join(_kept(tokens, taken)), start=1):
        if number <= len(taken):
            yield piece


def _count_shown(tokens: Sequence[int], join: Join, characters: int) -> int:
    """The number of tokens that are complete within the first `characters` of their text."""
    size, complete, taken = 0, 0, list[int]()
    for piece in join(_kept(tokens, taken)):
        size += len(piece)
        if size > characters:
            return complete
        if piece:
            complete = len(taken)
    return complete


def _kept(items: Iterable[T], kept: list[T]) -> Iterator[T]:
    """Yield the items, and append each to `kept`."""
    for item in items:
        kept.append(item)
        yield item


def check_printable(words: Iterable[str]) -> None:
    """Raise UsageError for a word of a prime that cannot be printed."""
    unprintable = [word for word in words if not all(map(_is_printable, word))]
    if unprintable:
        raise UsageError(f"--prime: {unprintable[0]!a} cannot be printed: give another text")


def _is_printable(character: str) -> bool:
    return character.isprintable() or character in JOINERS or category(character) == "Zs"
