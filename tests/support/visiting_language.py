"""A language model's task from outside: names, letter by letter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rnncli.language.baselines import NGrams
from rnncli.language.generate import WritingOptions, write_stream
from rnncli.language.reading import TextOptions
from rnncli.language.settings import LanguageSettings, corpus_option, valid_option
from rnncli.language.task import language_task
from rnncli.language.warm_start import WarmStartSettings
from rnncli.settings import option, retuned
from rnncli.task import Trained
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from rnncli.data.codec import Known
    from rnncli.data.stream_data import StreamData
    from rnncli.data.text_data import StreamSet


@dataclass(frozen=True, kw_only=True)
class NameSettings(WarmStartSettings):
    panel: ClassVar[str] = "Names"
    fast_precision: ClassVar[Mapping[str, str]] = {}

    corpus: tuple[str, ...] = corpus_option()
    valid: tuple[str, ...] = valid_option()
    hold_out: float = option(0.1, "Share of the text, at its end, that is held out.", least=0, below=1)
    embedding: int = retuned(LanguageSettings, "embedding", 4)
    hidden: str = retuned(RecurrentSettings, "hidden", "8")
    batch_size: int = retuned(RecurrentSettings, "batch_size", 32)
    epochs: int = retuned(RecurrentSettings, "epochs", 2)
    bptt: int = retuned(RecurrentSettings, "bptt", 16)


def read(settings: NameSettings, known: "Known") -> "StreamData":
    from rnncli.data.holding_out import HoldOut
    from rnncli.data.token_text import TextSpec, read_token_text

    spec = TextSpec(settings.corpus, "char", hold_out=HoldOut(settings.hold_out), valid=settings.valid)
    return read_token_text(spec._replace(**known._asdict()))


def read_other(trained: Trained, options: TextOptions) -> "StreamSet":
    from rnncli.data.token_text import TextSpec, read_token_text

    return read_token_text(TextSpec(options.corpus, codec=trained.codec)).whole


TASK = language_task(
    "names-lm",
    "Learn names letter by letter.",
    NameSettings,
    read=read,
    read_other=read_other,
    evaluate=(TextOptions, "rnn evaluate names-lm"),
    held_out="held-out end",
    generate=(WritingOptions, write_stream, "rnn generate names --length 40"),
    baselines=NGrams(char_orders=(2,)),
    corpora=(("hillside",),),
)
