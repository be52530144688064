"""Neighbours and the odd one out against gensim; the plane against numpy and scikit-learn."""

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from rnncli.analysis.plots import draw_words
from rnncli.analysis.vectors import neighbors, odd_one_out, project
from rnncli.data.vectors import WordVectors
from rnncli.errors import RnnError, UsageError

KeyedVectors = pytest.importorskip("gensim.models", reason="waits for gensim, which does not install here").KeyedVectors

generator = np.random.default_rng(1)
WORDS = tuple(f"word{number}" for number in range(300))
VECTORS = WordVectors(WORDS, generator.normal(size=(300, 12)).astype("f4"))


@pytest.fixture(scope="module")
def gensim() -> KeyedVectors:
    theirs = KeyedVectors(12)
    theirs.add_vectors(list(WORDS), VECTORS.matrix)
    return theirs


def test_neighbors_match_gensim(gensim: KeyedVectors) -> None:
    for word in WORDS[:50]:
        ours, theirs = neighbors(VECTORS, word, 10), gensim.most_similar(word, topn=10)
        assert [near.word for near in ours] == [word for word, _ in theirs]
        np.testing.assert_allclose([near.score for near in ours], [score for _, score in theirs], atol=1e-6)


def test_no_more_neighbors_than_there_are() -> None:
    assert len(neighbors(VECTORS, "word0", 10_000)) == 299


def test_odd_one_out_matches_gensim(gensim: KeyedVectors) -> None:
    for _ in range(50):
        words = generator.choice(WORDS, 5, replace=False).tolist()
        ranked = gensim.rank_by_centrality(words)
        ours = odd_one_out(VECTORS, words)
        assert ours[0].word == gensim.doesnt_match(words)
        assert [near.word for near in ours] == [word for _, word in reversed(ranked)]
        np.testing.assert_allclose([near.score for near in ours], [score for score, _ in reversed(ranked)], atol=1e-6)


def test_two_words_have_no_odd_one() -> None:
    with pytest.raises(UsageError, match="an odd one out is one of three words or more, not of 2"):
        odd_one_out(VECTORS, ["word0", "word1"])


@pytest.mark.parametrize("count", [3, 5, 300])
def test_pca_matches_scikit_learn(count: int) -> None:
    matrix = VECTORS.matrix[:count]
    ours, theirs = project(matrix, "pca"), PCA(2).fit_transform(matrix.astype(float))
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-6)


def test_pca_of_one_feature_lies_on_a_line() -> None:
    assert project(VECTORS.matrix[:5, :1], "pca").shape == (5, 2)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_groups_are_separate_in_the_plane(method: str) -> None:
    centres = np.eye(3, 12) * 20
    matrix = np.concatenate([centre + generator.normal(size=(15, 12)) for centre in centres]).astype("f4")
    flat = project(matrix, method, seed=3)
    np.testing.assert_array_equal(flat, project(matrix, method, seed=3))
    middles = np.stack([flat[begin : begin + 15].mean(0) for begin in (0, 15, 30)])
    nearest = np.linalg.norm(flat[:, None] - middles, axis=2).argmin(1)
    assert nearest.tolist() == [0] * 15 + [1] * 15 + [2] * 15


def test_too_few_words_make_no_picture() -> None:
    with pytest.raises(UsageError, match="a picture shows three words or more, not 2"):
        project(VECTORS.matrix[:2], "pca")
    with pytest.raises(UsageError, match="--method must be one of pca, tsne, not 'umap'"):
        project(VECTORS.matrix, "umap")


def test_without_scikit_learn_tsne_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(RnnError, match=r"needs sklearn, .*: pip install 'rnncli\[baselines\]', or take --method pca"):
        project(VECTORS.matrix, "tsne")


def test_labels_do_not_cover_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty words on twenty points, so that every point has two labels to separate."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr("rnncli.analysis.plots._save", lambda figure, path: drawn.append(figure) or path)
    points = np.repeat(generator.normal(size=(20, 2)), 2, axis=0).tolist()
    draw_words([f"word $x^{number}" for number in range(40)], points, tmp_path / "words.png", title="words")
    (figure,) = drawn
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].texts]
    boxes = [type(box).from_bounds(box.x0 + 1, box.y0 + 1, box.width - 2, box.height - 2) for box in boxes]
    overlapping = sum(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[:place])
    assert overlapping <= 2


def test_picture_is_saved_whole_or_refused_in_one_line(tmp_path: Path) -> None:
    points = [[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]
    for name in ("a.png", "absent/a", "b.PNG"):
        file = draw_words(["a", "b", "c"], points, tmp_path / name, title="a").path
        assert file.suffix.lower() == ".png"
        assert file.read_bytes().startswith(b"\x89PNG")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    for name, message in (("a.nothing", "cannot draw .*: name a file such as"), ("a.png/b.png", "cannot save .*b.png")):
        with pytest.raises(RnnError, match=message):
            draw_words(["a", "b", "c"], points, tmp_path / name, title="a")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before
