"""Settings of the tasks that start from word vectors in a file, and the copy of these vectors into a net."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from rnncli.data.vectors import find_vectors, read_vectors, width
from rnncli.errors import UsageError
from rnncli.settings import flag_of, option

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class VectorSettings:
    """Settings of a net with word vectors that may come from a file."""

    panel: ClassVar[str] = "Model"

    embeddings: str | None = option(None, "Start from word vectors: a file, or an imported name.", expert=True)
    freeze_embeddings: bool = option(False, "Keep the initial word vectors.", expert=True)


Settings = TypeVar("Settings", bound=VectorSettings)


def resolve_vectors(config: Settings, size: str) -> Settings:
    """Take the setting `size` from the word vectors, if any, and make their path absolute.

    Raises UsageError for another size, for `--init-from`, which sets the vectors too, and as `find_vectors`.
    """
    if config.embeddings is None:
        if config.freeze_embeddings:
            raise UsageError("--freeze-embeddings needs word vectors: add --embeddings FILE")
        return config
    if getattr(config, "init_from", None):
        raise UsageError("--init-from and --embeddings both set the initial word vectors: leave one of them out")
    file = find_vectors(config.embeddings)
    D, given = width(file), getattr(config, size)
    default = next(field.default for field in fields(config) if field.name == size)
    if given not in (default, D):
        flag = flag_of(size)
        raise UsageError(f"{flag} {given}: the vectors in {file} are of size {D}; leave {flag} out")
    changed: dict[str, Any] = {size: D, "embeddings": str(file.absolute())}
    return replace(config, **changed)


def start_from_vectors(
    config: VectorSettings, words: Iterable[tuple[str, int]], embeddings: "Sequence[nn.Embedding]"
) -> str:
    """Copy the vectors that the settings name into embeddings, by words and their rows; returns a note, or "" for none.

    Words without a vector keep their initial one. A word in lower case also takes the vector of a name; an exact
    spelling takes precedence. Raises UsageError where no word has a vector, and as `read_vectors`.
    """
    if config.embeddings is None:
        return ""
    import torch

    vectors = read_vectors(find_vectors(config.embeddings))
    folded: dict[str, int] = {}
    for row, word in enumerate(vectors.words):
        folded.setdefault(word.lower(), row)
    found = {number: vectors.numbers.get(word, folded.get(word)) for word, number in words}
    rows = {number: row for number, row in found.items() if row is not None}
    if not rows:
        raise UsageError(f"no word of the vocabulary has a vector in {config.embeddings}: use vectors of its language")
    with torch.no_grad():
        for each in embeddings:
            each.weight[list(rows)] = torch.from_numpy(vectors.matrix[list(rows.values())]).to(each.weight)
    kept = "frozen" if config.freeze_embeddings else "to train further"
    return f"vectors for {len(rows):,} of {len(found):,} words from {config.embeddings}, {kept}"
