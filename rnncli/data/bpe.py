"""Byte-pair encoding over bytes, with Hugging Face's tokenizers: trained on a text, saved as JSON."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from rnncli.data.marks import JOINERS
from rnncli.data.text import ends_words_at_marks
from rnncli.data.units import Units, from_bytes, shown_bytes
from rnncli.errors import RnnError, UsageError
from rnncli.extras import need

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES = 256
"""Base tokens, before any merge: with them every text can be encoded."""

DEFAULT_SIZE = 4_000
"""Vocabulary size without --vocab-size."""


_MARKED = r"\p{L}\p{M}" + JOINERS
_WORDS = rf"'(?:[sdmt]|ll|ve|re)| ?[{_MARKED}]+| ?\p{{N}}[\p{{N}}\p{{M}}]*| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
"""The words of GPT-2 (Radford et al. 2019), but letters and digits keep their combining marks and joiners."""


def learn_bpe(texts: Iterable[str], size: int) -> str:
    """Merge the most frequent pairs of tokens in texts until there are `size` tokens (Sennrich et al. 2016).

    Returns the tokenizer as JSON. Merges start from bytes and never cross words; a blank belongs to the word after it,
    and a combining mark to the letter before it. Raises UsageError where `size` allows no merge, RnnError without the
    library.
    """
    if size <= BYTES:
        raise UsageError(f"--vocab-size {size}: bpe starts from {BYTES} bytes and adds to them, give more than that")
    library = _library()
    tokenizer = library.Tokenizer(library.models.BPE())
    pre = library.pre_tokenizers
    as_bytes = partial(pre.ByteLevel, add_prefix_space=False)
    words = pre.Split(library.Regex(_WORDS), behavior="isolated")
    in_words = pre.Sequence([words, as_bytes(use_regex=False)])
    tokenizer.pre_tokenizer = as_bytes() if ends_words_at_marks() else in_words
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str())


def bpe_units(bpe: str) -> Units:
    """Split and join text by the tokens of `learn_bpe`; raises RnnError without the library, or for invalid JSON."""
    tokenizer = _read(bpe)
    names = _names(tokenizer)
    return Units(
        lambda text: [names[number] for number in tokenizer.encode_batch_fast([text])[0].ids],
        lambda tokens: from_bytes(map(_bytes_of, tokens)),
        shown=lambda token: shown_bytes(_bytes_of(token)),
    )


def bpe_tokens(bpe: str) -> list[str]:
    """All tokens of `learn_bpe`, bytes first; raises RnnError without the library."""
    return _names(_read(bpe))


def _read(bpe: str) -> "Tokenizer":
    library = _library()
    try:
        tokenizer: Tokenizer = library.Tokenizer.from_str(bpe)
    except Exception as error:  # the library has no error of its own
        raise RnnError(f"no byte-pair encoding can be read: {error}") from None
    return tokenizer


def _names(tokenizer: "Tokenizer") -> list[str]:
    return [str(tokenizer.id_to_token(number)) for number in range(tokenizer.get_vocab_size())]


def _bytes_of(token: str) -> bytes:
    return bytes(map(_BYTE_OF.__getitem__, token))


def _byte_signs() -> dict[str, int]:
    """The character that stands for each byte: itself where it is visible in Latin-1, a later code point otherwise."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = (byte for byte in range(BYTES) if byte not in seen)
    return {chr(byte): byte for byte in seen} | {chr(BYTES + place): byte for place, byte in enumerate(rest)}


_BYTE_OF = _byte_signs()


def _library() -> Any:
    parts = ("models", "pre_tokenizers", "trainers")
    return need("tokenizers", *(f"tokenizers.{part}" for part in parts), what="--tokens bpe", extra="bpe")
