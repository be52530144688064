"""wiki-lm: reading corpora, vocabularies, running text and sentences, unit vectors, evaluation."""

import json
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.downloads import registered, serving

from rnncli.api import Training, load
from rnncli.data import indexed
from rnncli.data.batching import built
from rnncli.data.codec import Codec, Known
from rnncli.data.corpora import CORPORA
from rnncli.data.indexed import IndexedCorpus, cut_vocabulary, read_indexed
from rnncli.data.sources import Corpus, Split
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN
from rnncli.errors import RnnError, UsageError
from rnncli.language.score import ScoreOptions
from rnncli.presets import resolve
from rnncli.settings import from_plain, plain
from rnncli.tasks import TASKS
from rnncli.tasks.wiki_lm import BPTT, EvaluateOptions, GenerateOptions, WikiConfig, read

TASK = TASKS["wiki-lm"]
evaluate = TASK.evaluate.run
LARGE = {each.name: each.default for each in fields(WikiConfig) if each.name in TASK.by_size[0].defaults}
"""The defaults of a large text, whose words are kept even if they occur once."""

QUICK = {**LARGE, "hidden": "4", "embedding": 4, "epochs": 1}
WORDS = ("the", "cat", "sat", "mat", "owl")


@pytest.fixture
def text(tmp_path: Path, home: Path) -> Path:
    file = tmp_path / "mine.txt"
    lines = [f"The cat sat on mat {'owl' if number == 7 else ''}." for number in range(40)]
    file.write_text("\n".join(lines))
    return file


def train(**flags: Any) -> Training:
    training = Training.start(TASK.name, resolve(TASK, {**QUICK, **flags}))
    training.train(lambda _: None, pytest.fail)
    return training


def test_vocabulary_has_the_most_frequent_words_and_those_to_keep() -> None:
    vocabulary = cut_vocabulary(WORDS, 2, ("owl", "the"))
    assert vocabulary.words == ("the", "cat", "owl")
    source = IndexedCorpus("", [], WORDS, lambda: (), "")
    assert source.remap(vocabulary).tolist() == [0, 1, 2, 3, 4, UNKNOWN, UNKNOWN, 5]
    everything = cut_vocabulary(WORDS, 10_000, ())
    assert everything.words == WORDS
    assert source.remap(everything).tolist() == list(range(len(SPECIALS) + 5))
    with pytest.raises(UsageError, match="--keep-words: 'dog' is nowhere in the corpus"):
        cut_vocabulary(WORDS, 2, ("dog",))


def test_a_text_is_read_sentence_by_sentence(text: Path) -> None:
    training = train(corpus=(str(text),), vocab_size=4, keep_words=("owl",))
    payload = training.experiment.payload
    assert payload["vocabulary"] == [*SPECIALS, "cat", "mat", "on", "sat", "owl"]
    config = training.config
    assert isinstance(config, WikiConfig)
    prose = read(config, Known())
    assert len(list(prose.stream.held_out())) == 4
    trained = load(training.run.folder / "best.safetensors")
    metrics = evaluate(trained, EvaluateOptions())
    assert (metrics["sequences"], metrics["unknown"]) == (4, pytest.approx(1 / 5))
    assert evaluate(trained, EvaluateOptions(corpus=(str(text),)))["sequences"] == 40
    text.write_text(text.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine is no longer what .* was trained on: give --corpus"):
        evaluate(trained, EvaluateOptions())


@pytest.mark.parametrize("running", [True, False])
def test_metrics_on_the_test_text_equal_a_loop_over_tokens(
    running: bool, tmp_path: Path, home: Path, rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """END counts after each line, as in validation."""
    lines = [f"the cat{number % 7} sat on <unk> mats" for number in range(60)]
    texts = {"train": lines, "valid": lines[3:9], "test": ["the cat3 sat", "", "on the new <unk>", *lines[20:25]]}
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as address:
        entries = {}
        for name, text in texts.items():
            data = "".join(f" {line} \n" for line in text).encode()
            (tmp_path / "served" / name).write_bytes(data)
            entries[name] = registered("mini", f"mini/{name}", f"{address}/{name}", data)
        learn = entries.pop("train")
        mini = Split(**vars(learn), held_out=entries["valid"], test=entries["test"], tokenizer="spaced-words")
        monkeypatch.setitem(CORPORA, "mini", mini)
        assert rnn("data get mini").code == 0
    training = train(corpus=("mini",), running=running, batch_size=2)
    validation, found = (json.loads(rnn(f"evaluate wiki-lm --split {s} --json").out) for s in ("validation", "test"))
    assert validation["metrics"]["loss"] == pytest.approx(training.trainer.progress.history[-1]["loss"], rel=1e-5)
    trained = load(training.run.folder / "best.safetensors")
    numbers = {word: number for number, word in enumerate(trained.payload["vocabulary"])}
    sentences = [
        [*(numbers.get(word, UNKNOWN) for word in line.split()), END] for line in texts["test"] if line.strip()
    ]
    net: Any = trained.model
    step, losses = net.stepper(), []
    with torch.inference_mode():
        states, token = net.initial_states(1), END
        for sentence in sentences:
            if not running:
                states, token = net.initial_states(1), START
            for target in sentence:
                logits, states = step(torch.tensor([token]), states)
                losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor([target])).item())
                token = target
    assert found["metrics"]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["metrics"]["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert found["metrics"]["sequences"] == 7
    assert found["metrics"]["unknown"] == pytest.approx(7 / 37)  # <unk> in six lines, and "new"
    assert found["corpus"] == "mini, test"
    assert (
        rnn("evaluate wiki-lm --split test --corpus mini --json").out.split('"metrics"')[1]
        == (rnn("evaluate wiki-lm --split test --json").out.split('"metrics"')[1])
    )
    (home / "data/mini/test").unlink()  # as in an older folder
    refused = rnn("evaluate wiki-lm --split test")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        1,
        "rnn: error: the test text of mini is not downloaded: `rnn data get mini` downloads it",
    )


def test_text_file_has_no_test_split(text: Path, rnn) -> None:
    train(corpus=(str(text),))
    refused = rnn("evaluate wiki-lm --split test")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        f"rnn: error: {text} has no test text of its own: leave --split out, or give the text by --corpus"
    )


def test_too_short_text_is_refused(text: Path) -> None:
    text.write_text("one line\n", encoding="utf-8")
    with pytest.raises(RnnError, match="mine has 1 sequence: training needs at least 20"):
        train(corpus=(str(text),))


def test_prepared_shards_equal_the_same_text(text: Path, home: Path, rnn) -> None:
    assert rnn(f"data prepare {text} --name shards").code == 0
    by_shards, by_text = (
        read(resolve(TASK, {**LARGE, "corpus": (spec,)}), Known()).stream for spec in ("shards", str(text))
    )
    assert isinstance(by_shards.parts[0].ids, np.memmap)
    assert [ids.tolist() for ids in by_shards.sequences()] == [ids.tolist() for ids in by_text.sequences()]
    assert [ids.tolist() for ids in by_shards.held_out()] == [ids.tolist() for ids in by_text.held_out()]
    shards = str(home / "data" / "shards")
    assert TASK.resolve_defaults(WikiConfig(corpus=(shards,))).corpus == (shards,)  # by the path of the folder, too
    assert read_indexed((shards,)).fingerprint == read_indexed(("shards",)).fingerprint
    with pytest.raises(UsageError, match="shards is prepared: give it as the only --corpus"):
        read_indexed(("shards", str(text)))


def test_unit_vectors_by_row_have_norm_one(text: Path) -> None:
    model: Any = train(corpus=(str(text),), unit_vectors="row").experiment.model
    seen = []
    model.stack.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.eval()(torch.tensor([[3], [4]]))
    assert seen[0].norm(dim=-1).flatten().tolist() == pytest.approx([1, 1])


def test_unit_vectors_by_matrix_are_scaled_like_in_the_book(text: Path) -> None:
    flags = {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9, "weight_decay": 0.0, "clip": 0.0, "schedule": "constant"}
    settings = resolve(TASK, {**QUICK, **flags, "corpus": (str(text),), "batch_size": 6, "unit_vectors": "matrix"})
    trainer = Training.start(TASK.name, settings).trainer
    model: Any = trainer.model
    W, velocity = model.embedding.weight.detach().double().clone(), 0.0
    for batch in islice(built(trainer.experiment.batches(0)), 4):
        model.zero_grad()
        (trainer.experiment.loss(model, batch, None).loss_sum / batch.predictions).backward()
        velocity = 0.9 * velocity - 0.5 * model.embedding.weight.grad.double()
        W = (W + velocity) / (W + velocity).square().sum().sqrt()  # the update of the book's chapter 6
        trainer.take_step(batch)
        torch.testing.assert_close(model.embedding.weight.detach().double(), W, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", "no"),
        ("--unit-vectors", "row"),
        ("--unit-vectors --hidden 4", "row"),
        ("--unit-vectors matrix", "matrix"),
        ("--unit-vectors=no", "no"),
        ("--preset book", "matrix"),
        ("--preset book --unit-vectors", "row"),
        ("--no-unit-vectors --preset book", "no"),
        ("--config true.toml", "row"),
        ("--config false.toml --preset book", "no"),
        ("--config matrix.toml", "matrix"),
    ],
)
def test_unit_vectors_as_a_switch_and_as_a_choice(
    words: str, wanted: str, rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("true", "true"), ("false", "false"), ("matrix", '"matrix"')):
        (tmp_path / f"{name}.toml").write_text(f"unit-vectors = {value}\n")
    monkeypatch.chdir(tmp_path)

    def start(_task: str, config: WikiConfig, _name: str | None) -> None:
        raise RnnError(config.unit_vectors)

    monkeypatch.setattr(Training, "start", start)
    assert rnn(f"train wiki-lm {words}").err == f"rnn: error: {wanted}\n"


def test_unit_vectors_of_old_checkpoints_and_invalid_ones(rnn) -> None:
    old = {name: value for name, value in plain(WikiConfig()).items() if name not in ("init", "end_share")}
    read = [from_plain(WikiConfig, {**old, "unit_vectors": value}) for value in (True, False)]
    assert [config.unit_vectors for config in read] == ["row", "no"]
    assert {(config.init, config.end_share) for config in read} == {("default", 1.0)}
    ran = rnn("train wiki-lm --unit-vectors diagonal")
    assert (ran.code, ran.err) == (2, "rnn: error: --unit-vectors must be one of no, row, matrix, not 'diagonal'\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"running": True, "end_share": 0.5}, "--end-share 0.5 is for sentences: --running learns every END"),
        ({"unit_vectors": "matrix", "tied": True}, "scales free input vectors only: leave --tied out"),
        ({"unit_vectors": "matrix", "spelling": 3}, "scales free input vectors only: leave --spelling out"),
        ({"end_share": 1.5}, "--end-share must be at most 1, not 1.5"),
        ({"init": "magic"}, "--init must be one of default, book, not 'magic'"),
        ({"init": "book", "init_from": "some"}, "--init-from and --init both set the initial weights"),
    ],
)
def test_invalid_settings_are_refused(flags: dict, message: str, text: Path) -> None:
    with pytest.raises(UsageError, match=message):
        train(corpus=(str(text),), **flags)


@pytest.mark.slow
def test_preset_book_keeps_its_words_and_answers_analogies(text: Path, rnn) -> None:
    text.write_text(
        "\n".join(f"the {word} sat down" for word in ("king", "queen", "man", "woman", "cat") * 20), encoding="utf-8"
    )
    flags = "--preset book --vocab-size 3 --epochs 1 --name book"
    assert rnn(f"train wiki-lm --corpus {text} {flags}").code == 0
    trained = load("book")
    assert trained.payload["vocabulary"] == [*SPECIALS, "down", "sat", "the", "king", "queen", "man", "woman"]
    assert float(trained.model.embedding.weight.detach().norm()) == pytest.approx(1, abs=1e-6)
    assert evaluate(trained, EvaluateOptions())["loss"] == pytest.approx(np.log(10), abs=0.2)  # every END counts
    assert "input layer: 7 words, D 30" in rnn("analogy king man woman --from book").err
    text.write_text(text.read_text(encoding="utf-8").replace("queen", "duke"), encoding="utf-8")
    ran = rnn(f"train wiki-lm --corpus {text} --preset book")
    assert ran.err == "rnn: error: --keep-words: 'queen' is nowhere in the corpus; --keep-words '' keeps none\n"


def test_corpus_with_its_own_validation_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = Corpus("cut", "a <unk> b\n" * 20, "here", held_out="b a\nc b\n", tokenizer="spaced-words")
    monkeypatch.setattr(indexed, "load_corpus", lambda spec: cut)
    prose = read(resolve(TASK, {"corpus": ("cut",)}), Known())
    assert prose.corpus.tokenizer == "spaced-words"
    assert prose.codec.vocabulary.words == ("a", "b")
    a, b = prose.codec.vocabulary.encode("ab")
    assert [ids.tolist() for ids in prose.stream.held_out()] == [[b, a], [UNKNOWN, b]]
    assert [ids.tolist() for ids in prose.stream.sequences()] == [[a, UNKNOWN, b]] * 20
    assert prose.stream.batches_per_epoch(8) == 3


def test_unfinished_shards_are_refused_with_a_hint(home: Path) -> None:
    (home / "data" / "half.part").mkdir(parents=True)
    with pytest.raises(RnnError, match="shards half are unfinished: run the same `rnn data prepare` again"):
        train(corpus=("half",))


def test_corpus_of_too_long_sentences_is_refused(text: Path) -> None:
    text.write_text("\n".join(["word " * 30] * 40), encoding="utf-8")
    with pytest.raises(RnnError, match=r"mine have 31 words on average, and --longest 20 would skip most"):
        train(corpus=(str(text),), longest=20)
    assert train(corpus=(str(text),), longest=31).trainer.progress.finished


def test_evaluation_on_a_corpus_uses_its_validation_text(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = load(train(corpus=(str(text),)).run.folder / "best.safetensors")
    cut = Corpus("cut", "the cat\n" * 20, "here", held_out="cat the dog\n", tokenizer="spaced-words")
    monkeypatch.setattr(indexed, "load_corpus", lambda spec: cut)
    metrics = evaluate(trained, EvaluateOptions(corpus=("cut",)))
    assert (metrics["sequences"], metrics["unknown"]) == (1, pytest.approx(1 / 3))


def test_a_text_without_words_is_refused(text: Path) -> None:
    trained = load(train(corpus=(str(text),)).run.folder / "best.safetensors")
    text.write_text("...\n!\n", encoding="utf-8")
    with pytest.raises(RnnError, match="mine has no line with words: there is nothing to read"):
        evaluate(trained, EvaluateOptions(corpus=(str(text),)))


def test_loss_on_running_text_equals_a_single_pass(text: Path) -> None:
    training = train(corpus=(str(text),), running=True, batch_size=2)
    assert (training.config.bptt, Codec.of(training.experiment.payload, is_running=True).opening) == (BPTT, END)
    trained = load(training.run.folder / "best.safetensors")
    metrics = evaluate(trained, EvaluateOptions())
    numbers = np.array(trained.payload["vocabulary"])
    lines = text.read_text(encoding="utf-8").lower().replace(".", "").splitlines()
    ids = [END, *(int(np.flatnonzero(numbers == word)[0]) for line in lines for word in (*line.split(), "<end>"))]
    ends = [place for place, number in enumerate(ids) if number == END]
    cut = next(place for place in ends if place >= len(ids) - len(ids) // 10)
    with torch.inference_mode():
        logits, _ = trained.model(torch.tensor(ids[cut:-1])[:, None])
    whole = torch.nn.functional.cross_entropy(logits[:, 0], torch.tensor(ids[cut + 1 :]))
    assert metrics["loss"] == pytest.approx(float(whole), abs=1e-4)
    assert (metrics["tokens"], metrics["unknown"]) == (len(ids) - cut - 1, 0)
    assert metrics["sequences"] == ids[cut + 1 :].count(END)
    elsewhere = evaluate(trained, EvaluateOptions(corpus=(str(text),)))
    assert (elsewhere["sequences"], elsewhere["tokens"]) == (40, len(ids) - 1)


def test_running_shards_equal_the_same_text(text: Path, rnn) -> None:
    assert rnn(f"data prepare {text} --name shards").code == 0
    runs = [train(corpus=(spec,), running=True, bptt=5) for spec in ("shards", str(text))]
    assert runs[0].trainer.progress.history[-1]["loss"] == runs[1].trainer.progress.history[-1]["loss"]


def test_running_text_can_be_a_single_line(text: Path) -> None:
    text.write_text("one word after the other " * 50, encoding="utf-8")
    assert train(corpus=(str(text),), running=True).trainer.progress.finished
    text.write_text("one two three one two four " * 10, encoding="utf-8")
    with pytest.raises(RnnError, match="mine has 61 tokens: training needs at least 200"):
        train(corpus=(str(text),), running=True)


@pytest.mark.parametrize(("count", "words"), [(1, 6), (2, 5)])
def test_rare_words_are_unknown(text: Path, home: Path, rnn, count: int, words: int) -> None:
    rnn(f"data prepare {text} --name shards")
    for spec in (str(text), "shards"):
        prose = read(resolve(TASK, {"corpus": (spec,), "min_count": count}), Known())
        assert len(prose.codec.vocabulary.words) == words
        with pytest.raises(UsageError, match="no word occurs 41 times: take a smaller --min-count"):
            read(resolve(TASK, {"corpus": (spec,), "min_count": 41}), Known())


def test_ptb_has_the_published_numbers_of_tokens(
    home: Path, real_corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "data").symlink_to(real_corpora)
    stream = read(resolve(TASK, {"corpus": ("ptb",)}), Known()).stream
    training, held_out = stream.running_text()
    assert (len(training) - 1, len(held_out) - 1) == (929_589, 73_760)  # Mikolov's counts, with one END per line
    assert int(training.frequencies(10_001)[UNKNOWN]) == 45_020  # as counted by `grep -o '<unk>'`


SPLIT = "The cat ( 1,000 ) sat @-@ up , <unk> don't <end> U.S.\u00a0mat .\n"


def test_spaced_words_are_kept_unchanged(text: Path) -> None:
    text.write_text(SPLIT * 40, encoding="utf-8")
    trained = load(train(corpus=(str(text),), tokens="spaced", epochs=3).run.folder / "best.safetensors")
    words = set(SPLIT.split(" ")) - {"<unk>", "<end>", ".\n"} | {"."}
    assert set(trained.payload["vocabulary"]) == {*SPECIALS, *words}
    metrics = evaluate(trained, EvaluateOptions(corpus=(str(text),)))
    assert (metrics["sequences"], metrics["unknown"]) == (40, pytest.approx(2 / 14))  # <unk>, and <end> is no END
    assert metrics["bits_per_char"] == pytest.approx(metrics["loss"] / np.log(2) * 15 / len(SPLIT))
    written = TASK.uses["generate"].run(trained, GenerateOptions(prime="The <unk>", temperature=9.0, seed=1))
    first, *others = "".join(written.pieces).split("\n")
    assert first.startswith("The <unk> ")
    assert {word for line in (first[len("The <unk>") :], *others) for word in line.split(" ") if word} <= words
    (scored,) = TASK.uses["score"].run(trained, ScoreOptions(texts=("The <unk> sat ,",)))
    assert [(each.token, each.unknown) for each in scored.tokens[:4]] == [
        ("The", False),
        ("<unk>", True),
        ("sat", False),
        (",", False),
    ]


@pytest.mark.parametrize("running", [False, True])
def test_validation_file_of_a_corpus_gives_the_same_metrics(
    text: Path, monkeypatch: pytest.MonkeyPatch, running: bool
) -> None:
    """Like ptb.valid.txt for a model of ptb, or for the same model trained with --tokens spaced and --valid."""
    valid = text.with_name("valid.txt")
    text.write_text(SPLIT * 40, encoding="utf-8")
    valid.write_text(" the dog ( sat ) <unk> \n The cat . \n" * 3)
    cut = Corpus("cut", text.read_text(encoding="utf-8"), "here", held_out=valid.read_text(), tokenizer="spaced-words")
    load_corpus = indexed.load_corpus
    monkeypatch.setattr(indexed, "load_corpus", lambda spec: cut if spec == "cut" else load_corpus(spec))
    own = train(corpus=("cut",), running=running)
    by_files = train(corpus=(str(text),), tokens="spaced", valid=(str(valid),), running=running)
    figures = [training.trainer.progress.history[-1]["loss"] for training in (own, by_files)]
    trained = [load(training.run.folder / "best.safetensors") for training in (own, by_files)]
    bare = EvaluateOptions(corpus=(str(valid),))
    measured = [evaluate(each, options) for each in trained for options in (EvaluateOptions(), bare)]
    assert measured[0] == measured[1] == measured[2] == measured[3]
    assert figures == [measured[0]["loss"]] * 2
    assert measured[0]["unknown"] == pytest.approx(9 / 27)  # the, dog, <unk>
    assert TASK.evaluate.corpus(trained[1], EvaluateOptions()) == str(valid)
    assert "The cat ." in list(TASK.token_access.held_out_text(trained[1]))
    assert " the dog ( sat ) <unk>".strip() in list(TASK.token_access.held_out_text(trained[1]))
    valid.write_text("The cat .\n" * 3)
    with pytest.raises(UsageError, match=r"mine is no longer what .* was trained on: give --corpus"):
        evaluate(trained[1], EvaluateOptions())


def test_shards_do_not_mix_with_spaced_texts(text: Path, rnn) -> None:
    assert rnn(f"data prepare {text} --name shards").code == 0
    with pytest.raises(UsageError, match="shards was prepared with another tokenizer than --tokens spaced"):
        train(corpus=("shards",), tokens="spaced")
    with pytest.raises(UsageError, match="shards is prepared: give it as the only --corpus"):
        train(corpus=(str(text),), valid=("shards",))
    assert train(corpus=("shards",), valid=(str(text),)).trainer.progress.finished
    text.write_text("…\n", encoding="utf-8")
    with pytest.raises(RnnError, match=r"mine.txt has no line with words: give another text to --valid"):
        train(corpus=("shards",), valid=(str(text),))
