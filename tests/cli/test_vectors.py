"""The verbs of word vectors, as a user runs them, on a quickly trained model and on files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from rnncli.data.vectors import WordVectors, read_vectors, write_vectors
from rnncli.presets import resolve
from rnncli.tasks import TASKS

pytestmark = pytest.mark.no_backend

KeyedVectors = pytest.importorskip("gensim.models", reason="waits for gensim, which does not install here").KeyedVectors

QUICK = "train poetry-lm --corpus hillside --tokens words --hidden 6 --embedding 5 --epochs 1"
WORLD = WordVectors(
    ("the", "man", "woman", "king", "queen", "paris", "france", "london", "england"),
    np.array(
        [
            [9, 9, 9, 9, 9],
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 1, 1],
            [0, 2, 0, 1, 0],
            [0, 2, 0, 1, 1],
        ],
        "f4",
    ),
)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A file of vectors of a few countries, capitals and people."""
    write_vectors(WORLD, tmp_path / "world.txt", "glove")
    return tmp_path / "world.txt"


@pytest.mark.parametrize(("question", "answer"), [("king man woman", "queen"), ("france paris london", "england")])
def test_analogy_shows_both_distances_of_the_book(rnn, world: Path, question: str, answer: str) -> None:
    ran = rnn(f"analogy {question} --vectors {world} --top 3")
    assert ran.code == 0
    a, b, c = question.split()
    assert ran.out.startswith(f"{a} - {b} = ? - {c}\n")
    assert ran.out.splitlines()[2].split() == ["euclidean", "cosine"]
    assert ran.out.splitlines()[4].split()[::2] == [answer, answer]
    assert f"from {world}: 9 words, D 5" in ran.err


def test_analogy_as_json(rnn, world: Path) -> None:
    printed = json.loads(rnn(f"analogy king man woman --vectors {world} --metric 3cosmul --top 2 --json").out)
    assert (printed["vectors"], printed["layer"], printed["words"]) == (str(world), None, 9)
    assert list(printed["answers"]) == ["3cosmul"]
    assert printed["answers"]["3cosmul"][0]["word"] == "queen"


def test_a_model_has_two_layers_unless_they_are_tied(rnn, home: Path) -> None:
    assert rnn(f"{QUICK} --name tied").code == 0
    assert rnn(f"{QUICK} --name free --no-tied").code == 0
    printed = {
        (name, layer): json.loads(rnn(f"embeddings neighbors the --from {name} --layer {layer} --json").out)
        for name in ("tied", "free")
        for layer in ("input", "output")
    }
    assert printed["tied", "input"]["neighbors"] == printed["tied", "output"]["neighbors"]
    assert printed["free", "input"]["neighbors"] != printed["free", "output"]["neighbors"]
    assert (printed["free", "input"]["size"], printed["free", "output"]["size"]) == (5, 6)
    assert printed["free", "input"]["corpus"] == "hillside"
    default = rnn("embeddings neighbors the")
    assert "free/best.safetensors (hillside), output layer: " in default.err


def test_evaluate_analogies_shows_categories_and_totals(rnn, world: Path, tmp_path: Path) -> None:
    family, capitals = "man woman king queen", "Paris France London England\nparis france rome italy"
    (tmp_path / "questions.txt").write_text(f": family\n{family}\n: capitals\n{capitals}\n: gram-x\na b c d\n")
    ran = rnn(f"evaluate analogies --vectors {world} --questions {tmp_path}/questions.txt")
    rows = {line.split()[0]: line.split()[1:] for line in ran.out.splitlines() if line.strip()}
    assert rows["family"] == ["1", "1", "1", "1", "1"]
    assert rows["capitals"] == ["2", "1", "1", "1", "0.5"]
    assert rows["gram-x"] == ["1", "0", "0", "-", "0"]
    assert (rows["semantic"][:3], rows["syntactic"][:3]) == (["3", "2", "2"], ["1", "0", "0"])
    exact = json.loads(
        rnn(f"evaluate analogies --vectors {world} --questions {tmp_path}/questions.txt --exact-case --json").out
    )
    assert exact["metrics"]["covered"] == 1
    assert [each["name"] for each in exact["categories"]] == ["family", "capitals", "gram-x"]


def test_the_default_questions_are_toyworld_or_mikolov_s(
    rnn, world: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(rnn(f"evaluate analogies --vectors {world} --json").out)["questions"] == "toyworld"
    monkeypatch.setattr("rnncli.cli.evaluate.available", lambda name: name == "questions-words")
    missing = rnn(f"evaluate analogies --vectors {world}")
    assert "questions-words is not downloaded: run `rnn data get questions-words`" in missing.err
    answers = rnn(f"evaluate analogies --vectors {world} --questions toyworld --metric euclidean --json")
    assert json.loads(answers.out)["metrics"]["covered"] == 8


def test_neighbors_and_the_odd_one_out(rnn, world: Path) -> None:
    assert rnn(f"embeddings neighbors queen --vectors {world} --top 2").out.split()[3:] == [
        "woman",
        "0.8165",
        "king",
        "0.8165",
    ]
    assert rnn(f"embeddings odd-one-out king queen man paris --vectors {world}").out.startswith("paris\n")
    printed = json.loads(rnn(f"embeddings odd-one-out king queen man paris --vectors {world} --json").out)
    assert printed["odd"] == "paris"
    assert len(printed["similarities"]) == 4


@pytest.mark.parametrize("words", ["", "king queen man woman"])
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_plot(rnn, world: Path, tmp_path: Path, words: str, method: str) -> None:
    picture = tmp_path / "words.png"
    ran = rnn(f"embeddings plot {words} --vectors {world} --method {method} --out {picture} --json")
    assert len(json.loads(ran.out)["points"]) == (4 if words else 9)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_export_import_and_start_from(rnn, world: Path, tmp_path: Path, home: Path) -> None:
    assert rnn(f"{QUICK} --name poet").code == 0
    out = tmp_path / "poet.bin"
    exported = rnn(f"embeddings export {out} --layer input").out
    gensim = KeyedVectors.load_word2vec_format(str(out), binary=True)
    assert exported == f"{out}: {len(gensim):,} vectors of size 5, word2vec-binary\n"
    ran = rnn(f"embeddings import {out} --name mine --limit 50")
    assert ran.out == "mine: 50 words of size 5\n"
    vectors = read_vectors(home / "data" / "vectors" / "mine.npz")
    np.testing.assert_array_equal(vectors.matrix, gensim.vectors[:50])
    assert "mine.npz: 50 words, D 5" in rnn("embeddings neighbors the --vectors mine").err
    again = rnn(f"{QUICK.replace('--embedding 5 ', '')} --embeddings mine --freeze-embeddings --name kept --json")
    assert re.search(r"vectors for 50 of \d+ words from .*mine.npz, frozen", again.err)
    kept = read_vectors_of(rnn, tmp_path, "kept")
    np.testing.assert_array_equal(kept.matrix[kept.rows(vectors.words)], vectors.matrix)
    assert rnn(f"{QUICK} --embeddings mine --name tuned").code == 0
    assert not np.array_equal(read_vectors_of(rnn, tmp_path, "tuned").matrix[:50], vectors.matrix)


def read_vectors_of(rnn, folder: Path, name: str) -> WordVectors:
    assert rnn(f"embeddings export {folder}/{name}.npz --from {name} --layer input").code == 0
    return read_vectors(folder / f"{name}.npz")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("analogy king man", 2, "Missing argument 'c'"),
        ("analogy king man woman", 2, "yet: run `rnn train wiki-lm` first"),
        ("analogy king man womn --vectors WORLD", 2, "no vector for 'womn': did you mean woman?"),
        (
            "analogy king man woman --vectors WORLD --metric taxi",
            2,
            "--metric must be one of euclidean, cosine, 3cosmul",
        ),
        ("analogy king man woman --vectors nowhere", 2, "no file of word vectors is named 'nowhere'"),
        (
            "analogy king man woman --vectors WORLD --layer input",
            2,
            "--vectors names a file, --from, --layer and --cell select",
        ),
        ("analogy king man woman --from PARITY", 2, "is a model of parity, which has no word vectors"),
        ("analogy king man woman --from poet --layer middle", 2, "--layer must be one of input, output, not 'middle'"),
        ("evaluate analogies --vectors WORLD --metric taxi", 2, "--metric must be one of"),
        (
            "evaluate analogies --vectors WORLD --questions qustions",
            2,
            "no corpus, file or folder is named 'qustions' in ",
        ),
        (
            "embeddings odd-one-out king man --vectors WORLD",
            2,
            "an odd one out is one of three words or more, not of 2",
        ),
        ("embeddings plot king man --vectors WORLD", 2, "a picture shows three words or more, not 2"),
        ("embeddings plot --vectors WORLD --out a.nothing", 1, "cannot draw a.nothing"),
        ("embeddings export out.txt --format csv --vectors WORLD", 2, "--format must be one of word2vec"),
        ("embeddings import absent.txt", 1, "cannot read absent.txt: No such file or directory"),
        ("embeddings import WORLD --name a/b", 2, "--name 'a/b' cannot be a folder's name"),
        ("train poetry-lm --freeze-embeddings", 2, "--freeze-embeddings needs word vectors"),
        ("train poetry-lm --embeddings nowhere", 2, "no file of word vectors is named 'nowhere'"),
        ("train poetry-lm --embeddings WORLD --embedding 4", 2, "are of size 5; leave --embedding out"),
    ],
)
def test_errors_are_one_line(rnn, world: Path, home: Path, words: str, code: int, message: str) -> None:
    if "poet " in words:
        assert rnn(f"{QUICK} --name poet").code == 0
    if "PARITY" in words:
        assert rnn("train parity --bits 2 --epochs 1 --name odd").code == 0
    ran = rnn(words.replace("WORLD", str(world)).replace("PARITY", "odd"))
    assert ran.code == code
    assert message in ran.err
    assert ran.err.splitlines()[-1].startswith("rnn: error: ")
    assert ran.out == ""


def test_a_resumed_run_does_not_need_its_file_of_vectors(rnn, world: Path) -> None:
    assert rnn(f"{QUICK.replace('--embedding 5 ', '')} --embeddings {world} --name poet").code == 0
    world.unlink()
    ran = rnn("train poetry-lm --resume --name poet --epochs 2")
    assert ran.code == 0
    assert "vectors for" not in ran.err
    assert rnn("embeddings neighbors the --from poet").code == 0


def test_the_size_of_the_vectors_replaces_the_default(world: Path) -> None:
    task = TASKS["poetry-lm"]
    assert task.resolve_defaults(resolve(task, {"embeddings": str(world)})).embedding == 5
    assert task.resolve_defaults(resolve(task, {"embeddings": str(world), "embedding": 5})).embedding == 5


def test_vectors_keep_their_name_without_replace(home: Path, rnn) -> None:
    for size, name in ((2, "glove.6B.50d.txt"), (3, "glove.6B.100d.txt")):
        (home / name).write_text(f"1 {size}\nword{' 1' * size}\n")
        assert rnn(f"embeddings import {home / name}").code == 0
    again = rnn(f"embeddings import {home / 'glove.6B.50d.txt'}")
    assert (again.code, "take another --name, or --replace" in again.err) == (2, True)
    assert rnn(f"embeddings import {home / 'glove.6B.100d.txt'} --name glove.6B.50d --replace --json").code == 0
    assert "of size 3" in rnn(f"embeddings export {home}/all.txt --vectors glove.6B.50d").out


def test_bad_words_of_a_file_are_counted_and_the_first_is_named(home: Path, rnn) -> None:
    (home / "bad.txt").write_bytes(b"\xef\xbb\xbf3 2\nnew york 1 2\ncaf\xe9 1 2\nb 3 4\n")
    refused = rnn(f"embeddings import {home}/bad.txt")
    assert (refused.code, "line 3 is not UTF-8" in refused.err, "--skip-bad" in refused.err) == (1, True, True)
    taken = rnn(f"embeddings import {home}/bad.txt --skip-bad")
    assert taken.out == "bad: 2 words of size 2, 1 skipped: line 3 is not UTF-8 (b'caf\\xe9')\n"
    assert "neighbors 'new york' --vectors bad" in taken.err


def test_letters_that_cannot_be_drawn_are_named(home: Path, rnn) -> None:
    (home / "odd.txt").write_text("a 1 2\nb\U00016ac0 3 1\nc 2 2\n", encoding="utf-8")
    ran = rnn(f"embeddings plot --vectors {home}/odd.txt --out {home}/odd.png")
    assert ran.out == f"picture {home}/odd.png\n"
    assert f"rnn: warning: {home}/odd.png: no font here has \U00016ac0: they are drawn as boxes" in ran.err
