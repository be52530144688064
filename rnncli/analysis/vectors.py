"""Use word vectors: take them from a trained language model, find neighbours and the odd one out, project to the plane.

Shapes: V words, D features, N words of a query.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnncli.data.vectors import WordVectors
from rnncli.data.vocabulary import SPECIALS
from rnncli.errors import UsageError
from rnncli.extras import need
from rnncli.task import Trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAYERS = ("input", "output")
PROJECTIONS = ("pca", "tsne")


class Near(NamedTuple):
    """A word and its score: cosine similarity, distance or product."""

    word: str
    score: float


def default_layer(trained: Trained) -> str:
    """The default layer, whose vectors are the best."""
    layers: tuple[str, ...] = getattr(trained.model, "vector_layers", LAYERS)
    return layers[-1]


def of_model(trained: Trained, layer: str) -> WordVectors:
    """The input or output word vectors of a language model; tied models have one matrix for both.

    Leaves out START, END and UNKNOWN. Raises UsageError for a model without word vectors, for another layer, and for
    the output of an adaptive softmax.
    """
    from rnncli.models.language_model import LanguageModel

    if layer not in LAYERS:
        raise UsageError(f"--layer must be one of {', '.join(LAYERS)}, not {layer!r}")
    model = trained.model
    if not isinstance(model, LanguageModel) or "vocabulary" not in trained.payload:
        raise UsageError(f"{trained.source} is a model of {trained.task}, which has no word vectors")
    matrix = model.word_vectors(layer).detach().float().cpu().numpy()
    return WordVectors(tuple(trained.payload["vocabulary"][len(SPECIALS) :]), matrix[len(SPECIALS) :])


def shown_vectors(trained: Trained, layer: str) -> WordVectors:
    """The same with each token as it is displayed; of BPE, single bytes come after all merges."""
    vectors, codec = of_model(trained, layer), trained.codec
    if codec.noun not in ("byte", "token"):
        return vectors
    order = sorted(range(len(vectors.words)), key=lambda row: bool(codec.bpe) and len(vectors.words[row]) == 1)
    return WordVectors(tuple(codec.units.shown(vectors.words[row]) for row in order), vectors.matrix[order])


def neighbors(vectors: WordVectors, word: str, top: int) -> list[Near]:
    """The words with the greatest cosine similarity, without the word itself; raises UsageError as `rows`."""
    (row,) = vectors.rows([word])
    similarities = vectors.unit @ vectors.unit[row]
    similarities[row] = -np.inf
    best = np.argsort(-similarities, kind="stable")[: min(top, len(similarities) - 1)]
    return [Near(vectors.words[place], float(similarities[place])) for place in best]


def odd_one_out(vectors: WordVectors, words: Sequence[str]) -> list[Near]:
    """Words by their cosine similarity to the mean of all their unit vectors, the odd one first.

    Raises UsageError as `rows`, and for fewer than three words.
    """
    if len(words) < 3:
        raise UsageError(f"an odd one out is one of three words or more, not of {len(words)}: give more")
    unit = vectors.unit[vectors.rows(words)]
    mean = unit.mean(0)
    similarities = unit @ (mean / max(float(np.linalg.norm(mean)), 1e-30))
    return sorted((Near(word, float(near)) for word, near in zip(words, similarities, strict=True)), key=lambda n: n[1])


def project(matrix: "NDArray[np.float32]", method: str, seed: int = 0) -> "NDArray[np.float64]":
    """Project vectors (N, D) to the plane (N, 2) by `pca` or `tsne`.

    PCA keeps the directions of the greatest variance; t-SNE (van der Maaten and Hinton 2008) keeps neighbours together.
    Raises UsageError for another method and too few vectors, RnnError if scikit-learn is not installed.
    """
    if method not in PROJECTIONS:
        raise UsageError(f"--method must be one of {', '.join(PROJECTIONS)}, not {method!r}")
    if len(matrix) < 3:
        raise UsageError(f"a picture shows three words or more, not {len(matrix)}: give more")
    if method == "tsne":
        return _tsne(matrix, seed)
    centred = matrix.astype(np.float64) - matrix.mean(0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    flat = left[:, :2] * scale[:2]
    return flat if flat.shape[1] == 2 else np.pad(flat, ((0, 0), (0, 1)))


def _tsne(matrix: "NDArray[np.float32]", seed: int) -> "NDArray[np.float64]":
    manifold = need("sklearn.manifold", what="--method tsne", extra="baselines", otherwise=", or take --method pca")
    perplexity = min(30.0, (len(matrix) - 1) / 3)
    tsne = manifold.TSNE(perplexity=perplexity, random_state=seed, init="random")
    return np.asarray(tsne.fit_transform(matrix), np.float64)
