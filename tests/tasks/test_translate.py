"""translate: reading pairs, refusals, search, and metrics compared with sacrebleu."""

import gzip
import json
from pathlib import Path

import pytest
import sacrebleu
import torch
from support.downloads import registered, serving

from rnncli.api import Training, load
from rnncli.data.corpora import CORPORA, load_corpus
from rnncli.data.pairs import PairSpec, paired_files, read_paired, read_pairs
from rnncli.data.sources import Parallel
from rnncli.data.tables import Layout
from rnncli.errors import RnnError, UsageError
from rnncli.presets import resolve
from rnncli.tasks import TASKS, translate

QUICK = (
    "--hidden 24 --embedding 12 --tokens word --vocab-size 0 --epochs 40 --batch-size 4 "
    "--embedding-dropout 0 --output-dropout 0 --average 0 --label-smoothing 0"
)
WORDS = {"ein": "a", "kein": "no", "hund": "dog", "mann": "man", "vogel": "bird", "läuft": "runs", "singt": "sings"}


def write_pairs(folder: Path) -> Path:
    """Forty sentences of three words with translations; returns the folder."""
    german = [f"{a} {b} {c}" for a in ("ein", "kein") for b in ("hund", "mann", "vogel") for c in ("läuft", "singt")]
    german = (german * 4)[:40]
    english = [" ".join(WORDS[word] for word in line.split()) for line in german]
    (folder / "de").write_text("\n".join(german) + "\n")
    (folder / "en.gz").write_bytes(gzip.compress(("\n".join(english) + "\n").encode()))
    (folder / "both.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in zip(german, english, strict=True)))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Sentence pairs in a separate folder for one test."""
    return write_pairs(tmp_path)


@pytest.fixture(scope="module")
def training_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentence pairs that all models of this file train on."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def interpreter(rnn, trained, training_files: Path):
    """The command line, with a small trained model."""
    ran = trained(f"train translate --source {training_files}/de --target {training_files}/en.gz {QUICK} --name mine")
    assert ran.code == 0, ran.err
    return rnn


def test_translations_and_metrics_equal_sacrebleu(interpreter, files: Path, home: Path) -> None:
    assert interpreter("translate 'kein vogel singt'").out == "no bird sings\n"
    told = json.loads(interpreter("evaluate translate --json").out)["metrics"]
    model = load("mine")
    pairs = read_paired(model.config.pair_spec, model.config.hold_out).test
    found = [best.text for (best,) in model.translate([source for source, _ in pairs])]
    several = interpreter(f"evaluate translate --corpus {files}/both.tsv --corpus {files}/de")
    assert "pairs come from one --corpus" in several.err
    assert told["bleu"] == pytest.approx(sacrebleu.corpus_bleu(found, [[target for _, target in pairs]]).score)
    assert told["exact_match"] == sum(a == b for a, (_, b) in zip(found, pairs, strict=True)) / len(pairs)
    assert "|tok:13a|" in told["signatures"]["bleu"]
    assert "|tok:char|" in interpreter("evaluate translate --bleu-tokenize char").out
    assert (
        json.loads(interpreter(f"evaluate translate --corpus {files}/both.tsv --json").out)["metrics"]["sentences"]
        == 40
    )


def test_each_test_split_of_multi30k(files: Path, home: Path, rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each split is a file; an older folder, without the further splits, still works for training and evaluation."""
    german = (files / "de").read_text().splitlines()
    english = gzip.decompress((files / "en.gz").read_bytes()).decode().splitlines()
    parts = {"train": slice(40), "val": slice(12), "test_2016_flickr": slice(7), "new": slice(7, 12)}
    (files / "served").mkdir()
    with serving(files / "served") as address:
        entries = []
        for part, lines in parts.items():
            for language, sentences in (("de", german), ("en", english)):
                text, name = "".join(f"{line}\n" for line in sentences[lines]).encode(), f"{part}.{language}"
                (files / "served" / f"{name}.gz").write_bytes(gzip.compress(text))
                entries.append(registered("multi30k", f"multi30k/{name}", f"{address}/{name}.gz", text))
        captions = Parallel("multi30k", "", ("de", "en"), tuple(parts)[:3], tuple(entries), {"test-2017": "new"})
        monkeypatch.setitem(CORPORA, "multi30k", captions)
        assert rnn("data get multi30k").code == 0
    ran = rnn(f"train translate --corpus multi30k {QUICK} --epochs 1 --name captions")
    assert ran.code == 0, ran.err
    told = {split: rnn(f"evaluate translate --split {split} --json") for split in ("validation", "test", "test-2017")}
    found = {split: json.loads(ran.out) for split, ran in told.items()}
    assert {split: each["metrics"]["sentences"] for split, each in found.items()} == {
        "validation": 12,
        "test": 7,
        "test-2017": 5,
    }
    assert found["test-2017"]["corpus"] == "multi30k de-en, test-2017"
    pairs = "".join(f"{a}\t{b}\n" for a, b in zip(german[7:12], english[7:12], strict=True))
    (files / "pairs.tsv").write_text(pairs)
    by_file = json.loads(rnn(f"evaluate translate --corpus {files}/pairs.tsv --json").out)["metrics"]
    assert found["test-2017"]["metrics"] == by_file
    assert json.loads(rnn("evaluate translate --corpus multi30k --split test-2017 --json").out)["metrics"] == by_file
    (home / "data/multi30k/new.en.gz").unlink()
    assert rnn("evaluate translate --split test").code == 0
    refused = rnn("evaluate translate --split test-2017")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        1,
        "rnn: error: test-2017 of multi30k is not downloaded: `rnn data get multi30k` downloads it",
    )
    refused = rnn(f"evaluate translate --corpus {files}/pairs.tsv --split test-2017")
    assert refused.code == 2
    assert "--split test-2017: only multi30k has it" in refused.err


def test_unknown_tokens_of_a_sentence_are_named(interpreter) -> None:
    assert interpreter("translate 'ein ☃ hund' 'ein ☁'").err.splitlines()[-1] == "never seen in training: ☁, ☃"
    (known,) = json.loads(interpreter("translate 'ein ☃' --json").out)["sentences"][0]["translations"]
    assert [token.strip() for token in known["unknown"]] == ["☃"]


def test_nbest_file_attention_and_json(interpreter, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("ein\rhund\x0cläuft\r\n\n kein\u2028mann singt\n\n", newline="")
    ran = interpreter(f"translate --file {tmp_path}/lines --nbest 2 --json")
    told = json.loads(ran.out)["sentences"]
    assert [each["text"] for each in told] == ["ein hund läuft", "", "kein mann singt", ""]
    assert told[1]["translations"] == told[3]["translations"] == []
    for each in told[::2]:
        scores = [translation["score"] for translation in each["translations"]]
        assert len(scores) == 2
        assert scores == sorted(scores, reverse=True)
        best = each["translations"][0]
        assert [len(row) for row in best["attention"]] == [len(best["source_tokens"])] * len(best["tokens"])
        assert all(sum(row) == pytest.approx(1) for row in best["attention"])
    assert interpreter(f"translate --file {tmp_path}/lines").out == "a dog runs\n\nno man sings\n\n"
    (tmp_path / "none").write_text("")
    assert interpreter(f"translate --file {tmp_path}/none").out == ""
    assert interpreter(f"translate --file {tmp_path}/lines --out a.png").err.endswith("give one text\n")
    assert interpreter(f"translate 'ein hund läuft' --out {tmp_path}/a.png").code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_lone_carriage_return_does_not_end_a_line(tmp_path: Path) -> None:
    """With one in the source and one in the target, the numbers of lines equal `wc -l`, and pairs match."""
    (tmp_path / "de").write_text("eins\nzwei\rdrei\nvier\n", newline="")
    (tmp_path / "en").write_text("one\r\ntwo three\nfo\rur\n", newline="")
    expected = [("eins", "one"), ("zwei drei", "two three"), ("vier", "fo ur")]
    assert paired_files(str(tmp_path / "de"), str(tmp_path / "en")) == expected


def table(path: Path, text: str, **given: object) -> tuple[list[tuple[str, str]], str]:
    path.write_text(text, encoding="utf-8", newline="")
    found = read_pairs(PairSpec((str(path),), **given))
    return found.training, found.note


def test_further_columns_are_ignored_and_a_note_says_so(tmp_path: Path) -> None:
    rows = 'ein "hund\ta dog\tCC-BY #1\nzwei\ttwo\tCC-BY #2\t\n'
    pairs = [('ein "hund', "a dog"), ("zwei", "two")]
    assert table(tmp_path / "t.tsv", rows) == (pairs, "2 rows read, columns other than 1,2 ignored")
    assert table(tmp_path / "t.txt", rows, columns="2,1")[0] == [pair[::-1] for pair in pairs]


def test_pairs_of_other_tables(tmp_path: Path) -> None:
    named = 'id,de,en\n1,ein,one\n2,"zwei, drei",two\n'
    header = {"columns": "de,en", "layout": Layout(header=True)}
    expected = [("ein", "one"), ("zwei, drei", "two")]
    assert table(tmp_path / "t.csv", named, **header) == (expected, "2 rows read, columns other than de,en ignored")
    assert table(tmp_path / "t.csv", named, columns="de,en") == table(tmp_path / "t.csv", named, **header)
    assert len(table(tmp_path / "t.csv", "1,2\na,b\n", columns="1,2")[0]) == 2  # numbers of columns, not names
    assert table(tmp_path / "t.txt", "a;b\nc;d\n", layout=Layout("semicolon")) == (
        [("a", "b"), ("c", "d")],
        "2 rows read",
    )
    for text, complaint in (
        ("a,b\nc, d,e\n", "line 2: 3 fields, and line 1 has 2"),
        ("a\n", "line 1: a line needs a sentence, a comma, and its translation"),
        ("a,\n", "line 1 is empty"),
    ):
        with pytest.raises(RnnError, match=complaint):
            table(tmp_path / "t.csv", text)


def test_batched_translations_equal_single_ones(interpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep the order of the texts; a sentence longer than a batch allows is translated as well."""
    model, texts = load("mine"), ["ein hund läuft", "kein zebra", "ein", "ein hund läuft " * 5, "kein mann singt"]
    single = [model.translate(text, nbest=2)[0] for text in texts]
    for rows, positions in ((256, 8_192), (10, 8_192), (256, 40), (1, 1)):
        monkeypatch.setattr(translate, "ROWS", rows)
        monkeypatch.setattr(translate, "POSITIONS", positions)
        for found, wanted in zip(model.translate(texts, nbest=2), single, strict=True):
            assert [each.text for each in found] == [each.text for each in wanted]
            for ours, theirs in zip(found, wanted, strict=True):
                assert ours.score == pytest.approx(theirs.score, abs=1e-5)
                assert (ours.tokens, ours.source_tokens) == (theirs.tokens, theirs.source_tokens)
                torch.testing.assert_close(ours.attention, theirs.attention, rtol=0, atol=1e-5)


def test_unknown_word_is_copied_from_the_most_attended_token(interpreter, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("mine")
    net = model.model

    def unknown_first(tokens, states):
        logits = torch.full((len(tokens), len(model.payload["vocabulary"])), -9.0)
        logits[:, 2] = torch.where(tokens == 0, 9.0, -9.0)
        logits[:, 1] = torch.where(tokens == 2, 9.0, -9.0)
        return logits, states

    monkeypatch.setattr(net, "step", unknown_first)
    monkeypatch.setattr(net, "weights", lambda pair: torch.tensor([[[0.1, 0.8, 0.05, 0.05]] * 2]))
    ((best,),) = model.translate("ein zebra läuft", beam=1)
    assert (best.text, best.tokens) == ("zebra", [" zebra", "<end>"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--source {0}/de", "--source and --target belong together"),
        ("--source {0}/de --target {0}/short", "has 40 lines and"),
        ("--source {0}/gap --target {0}/short", "gap, line 2 is empty"),
        ("--source {0}/latin --target {0}/short", "is not UTF-8 text"),
        ("--source {0}/de --target {0}/nowhere", "nowhere does not exist"),
        ("--corpus {0}/both.txt", "both.txt, line 1: a line needs a sentence, a tab, and its"),
        ("--corpus dates --corpus hillside", "pairs come from one --corpus"),
        ("--corpus dates --source {0}/de --target {0}/de", "give --corpus, or --source and --target, not both"),
        ("--corpus multi30k --pair de-xx", "--pair 'de-xx': multi30k has en, de, fr"),
        ("--pair fr-en", "--pair fr-en names languages of multi30k: give --corpus multi30k"),
        ("--corpus dates --pair fr-en", "--pair fr-en names languages of multi30k"),
        ("--corpus multi30k --valid-source {0}/de --valid-target {0}/de", "multi30k has validation pairs of its own"),
        ("--corpus multi30k", "multi30k is not downloaded: run `rnn data get multi30k`"),
        ("--source {0}/de --target {0}/de --valid-source {0}/de", "--valid-source and --valid-target belong together"),
        ("--corpus dates --separator comma", "--separator applies to a table, and no table is given"),
        ("--corpus dates --attention soft", "--attention must be one of"),
    ],
)
def test_invalid_training_data_is_one_line(rnn, files: Path, words: str, complaint: str) -> None:
    (files / "short").write_text("a\nb\n")
    (files / "gap").write_text("a\n\n")
    (files / "both.txt").write_text("a b\n")
    (files / "latin").write_bytes(b"a\nl\xe4uft\n")
    ran = rnn("train translate --tokens char " + words.format(files))
    assert ran.code in (1, 2)
    assert complaint in ran.err
    assert ran.err.count("\n") == 1


def test_invalid_options_are_refused(interpreter) -> None:
    model = load("mine")
    with pytest.raises(UsageError, match="--nbest 3 needs a wider beam"):
        model.translate("ein hund", beam=2, nbest=3)
    for flags, complaint in (
        ("'ein mann' --out a.png", "give one text"),
        ("--out .", "name a file such as picture.png"),
        ("--length-power 1e9", "--length-power must be at most 10"),
    ):
        ran = interpreter(f"translate 'ein hund' {flags}")
        assert ran.code in (1, 2)
        assert complaint in ran.err
        assert "bug in rnn" not in ran.err


def test_separate_validation_files_leave_no_test_pairs(rnn, files: Path) -> None:
    valid = f"--valid-source {files}/de --valid-target {files}/en.gz"
    assert rnn(f"train translate --source {files}/de --target {files}/en.gz {valid} {QUICK} --max-time 0.1").code == 0
    assert "no pairs to test on" in rnn("evaluate translate").err
    assert rnn("evaluate translate --split validation").code == 0


@pytest.mark.parametrize("attention", ["none", "additive", "dot"])
def test_every_attention_trains_and_translates(attention: str, home: Path, files: Path) -> None:
    flags = {"corpus": (f"{files}/both.tsv",), "hidden": "6", "embedding": 4, "epochs": 1, "attention": attention}
    training = Training.start("translate", resolve(TASKS["translate"], flags), "mine")
    training.train(lambda _: None, pytest.fail)
    assert len(load("mine").translate("ein hund", nbest=2)[0]) == 2


def test_multi30k_has_three_parts(home: Path, real_corpora: Path) -> None:
    (home / "data").symlink_to(real_corpora)
    data = read_paired(PairSpec(("multi30k",), "de-en"), 0.1)
    assert [len(part) for part in data[1:4]] == [29_000, 1_014, 1_000]
    assert resolve(TASKS["translate"], {}).__dict__["tokens"] == "bpe"
    with pytest.raises(UsageError, match="pairs of sentences, not a text"):
        load_corpus("multi30k")


def test_a_model_of_files_is_measured_on_multi30k(interpreter, home: Path, real_corpora: Path) -> None:
    (home / "data").symlink_to(real_corpora)
    for split in ("test", "validation"):
        options = translate.EvaluateOptions(corpus=("multi30k",), split=split)
        pairs = translate.evaluation_pairs(load("mine"), options)
        assert pairs == getattr(read_paired(PairSpec(("multi30k",), "de-en"), 0.1), split)
