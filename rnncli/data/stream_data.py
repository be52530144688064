"""An encoded text that a language model reads as one stream: a training part and a held-out part.

Shapes: N tokens, V words.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from rnncli.data.codec import Codec, Ids
from rnncli.data.streams import RunningText
from rnncli.data.text_data import Epochs, Plan, StreamSet, Summary
from rnncli.data.vocabulary import UNKNOWN
from rnncli.errors import RnnError
from rnncli.terminal import counted

MAX_VALIDATION = 1_000_000
"""Training tokens that validation uses where nothing is held out."""

MIN_TOKENS = 200
"""From fewer tokens nothing can be learned and held out."""

MIN_MEASURED = 2
"""The least number of evaluation tokens: the model reads the first to predict the second."""

MAX_SHOWN = 100_000
"""Tokens of the held-out part that are returned as text."""


@dataclass(frozen=True)
class StreamData:
    """An encoded text; its held-out tokens come last."""

    name: str
    ids: Ids  # (N,)
    cut: int  # training tokens
    characters: tuple[int, int]  # of the training part, and of the held-out part
    counts: Ids  # (V,), of the training part
    codec: Codec
    fingerprint: str
    folder: Path | None = None  # of the ids, if they are not in memory
    voices: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # training and held-out tokens of each
    valid: "StreamData | None" = None  # the held-out text, if it is not the end of this one

    @property
    def training_ids(self) -> Ids:
        """The training tokens."""
        return self.ids[: self.cut]

    @property
    def held_out(self) -> Ids:
        """The held-out tokens."""
        return self.valid.ids if self.valid else self.ids[self.cut :]

    def check(self, min_tokens: int = MIN_TOKENS, use: str = "learn from") -> "StreamData":
        """Return it; raises RnnError for fewer than `min_tokens` tokens, or fewer than two to validate on."""
        if len(self.ids) < min_tokens:
            raise RnnError(f"{self.name} has {counted(len(self.ids), 'token')}: {min_tokens} are the least to {use}")
        if self.valid and len(self.held_out) < MIN_MEASURED:
            raise RnnError(f"{self.valid.name} has fewer than two tokens: give a longer text to --valid")
        return self

    @property
    def holds_out(self) -> bool:
        return len(self.held_out) > 0

    def with_valid(self, valid: "StreamData") -> "StreamData":
        """Use another text, encoded alike, as the held-out part."""
        fingerprint = hashlib.sha256(f"{self.fingerprint} {valid.fingerprint}".encode()).hexdigest()
        characters = self.characters[0], valid.characters[0]
        return replace(self, valid=valid, characters=characters, fingerprint=fingerprint)

    @property
    def about(self) -> str:
        held_out = f"{len(self.held_out):,} held out" if self.holds_out else "none held out, validation on the same"
        known = len(self.codec.vocabulary.words)
        where = f", by numbers in {self.folder}" if self.folder else ""
        voices = f", {len(self.voices)} voices" if len(self.voices) > 1 else ""
        return f"{self.name}: {self.cut:,} tokens to learn, {held_out}, {known:,} different ones{voices}{where}"

    @property
    def validation(self) -> StreamSet:
        if self.valid:
            return self.valid.whole
        if self.holds_out:
            voices = self._voices(is_held=True)
            return StreamSet(self.held_out, lambda: _summarize(self.held_out, self.characters[1]), voices)
        ids = self.training_ids[:MAX_VALIDATION]
        rate = self.cut / self.characters[0]
        return StreamSet(ids, lambda: _summarize(ids, len(ids) / rate), self._voices())

    @property
    def whole(self) -> StreamSet:
        """All of a text without a held-out part, for evaluation."""
        unknown = int(self.counts[UNKNOWN])
        return StreamSet(self.ids, lambda: _summarize(self.ids, self.characters[0], unknown), self._voices())

    def _voices(self, *, is_held: bool = False) -> Sequence[tuple[int, int]]:
        """The label and the tokens of each voice; empty where a voice is unknown to the model."""
        labels = self.codec.labels
        if not set(self.voices) <= set(labels):
            return []
        return [(labels.index(name), sizes[is_held]) for name, sizes in self.voices.items()]

    def frequencies(self) -> Tensor:
        return torch.from_numpy(self.counts)

    def epochs(self, plan: Plan, device: torch.device) -> Epochs:
        text = RunningText(self.training_ids, plan.step_size, plan.bptt, self._voices())
        return Epochs(lambda _, begin=0: text.batches(device, begin), text.batches_per_epoch)

    def tensors(self) -> Mapping[str, Tensor]:
        return {}

    def training_arrays(self) -> Iterator[Ids]:
        yield self.training_ids

    def held_out_text(self) -> Iterator[str]:
        ids = (self.held_out if self.holds_out else self.training_ids)[:MAX_SHOWN].tolist()
        shows_unknown = self.codec.units.spaced
        yield from "".join(self.codec.join(each for each in ids if shows_unknown or each != UNKNOWN)).split("\n")


def _summarize(ids: Ids, characters: float, unknown: int | None = None) -> Summary:
    if unknown is None:
        unknown = int((ids == UNKNOWN).sum())
    return Summary(len(ids) / characters, {"unknown": unknown / len(ids), "tokens": len(ids)})
