"""Streams of sentences: each training sentence once, held-out ones never, and memory independent of the text."""

import tracemalloc
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from rnncli.data import streams
from rnncli.data.batching import IGNORED, built
from rnncli.data.streams import ConcatIds, Part, RunningText, SentenceStream
from rnncli.data.vocabulary import END, START, UNKNOWN

CPU = torch.device("cpu")


def part_of(sentences: list[list[int]]) -> Part:
    return Part(np.array([number for ids in sentences for number in (*ids, END)], dtype=np.uint16), len(sentences))


def random_sentences(count: int, seed: int, words: int = 50) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(3, words, generator.integers(0, 12)).tolist() for _ in range(count)]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> SentenceStream:
    """Two parts, with chunks so small that sentences cross them."""
    monkeypatch.setattr(streams, "CHUNK", 17)
    parts = [part_of(random_sentences(95, 1)), part_of(random_sentences(40, 2))]
    return SentenceStream(parts, np.arange(50), 100)


def test_every_sentence_is_either_trained_on_once_or_held_out(stream: SentenceStream) -> None:
    first, second = random_sentences(95, 1), random_sentences(40, 2)
    assert [ids.tolist() for ids in stream.held_out()] == first[9::10]
    assert [ids.tolist() for ids in stream.everything()] == first + second
    training = [ids for place, ids in enumerate(first) if place % 10 != 9] + second
    assert [ids.tolist() for ids in stream.sequences()] == training
    batches = list(built(stream.batches(8, 0, 0, CPU)))
    assert len(batches) == stream.batches_per_epoch(8) == -(-86 // 8) + 40 // 8
    seen = []
    for batch in batches:
        for inputs, targets in zip(batch.inputs.T.tolist(), batch.targets.T.tolist(), strict=True):
            targeted = [target for target in targets if target != IGNORED]
            assert inputs[: len(targeted)] == [START, *targeted[:-1]]
            assert targeted[-1] == END
            seen.append(targeted[:-1])
    assert sorted(seen) == sorted(training)


def test_seed_and_epoch_determine_the_order(stream: SentenceStream) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.inputs.flatten().tolist() for batch in built(stream.batches(8, seed, epoch, CPU))]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def test_an_epoch_may_begin_at_any_batch(stream: SentenceStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POOL", 2)  # several pools per part
    whole = [batch.inputs.tolist() for batch in built(stream.batches(8, 0, 0, CPU))]
    for begin in range(len(whole) + 1):
        assert [batch.inputs.tolist() for batch in built(stream.batches(8, 0, 0, CPU, begin))] == whole[begin:]


def test_frequencies_count_the_training_part(stream: SentenceStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHUNK", 1 << 20)
    training = [number for ids in stream.sequences() for number in (*ids.tolist(), END)]
    assert stream.frequencies(50).tolist() == [training.count(number) for number in range(50)]


def predicted_ends(stream: SentenceStream, seed: int, epoch: int, begin: int = 0) -> list[tuple[list[int], bool]]:
    """The target words of each sentence, batch after batch, and whether its END is a target."""
    rows = (batch.targets.T.tolist() for batch in built(stream.batches(8, seed, epoch, CPU, begin)))
    targeted = [[target for target in row if target != IGNORED] for batch in rows for row in batch]
    return [(ids[:-1], True) if ids[-1] == END else (ids, False) for ids in targeted]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_end_is_predicted_in_a_share_of_the_sentences(share: float) -> None:
    sentences = [[3 + number % 7] * (1 + number % 5) for number in range(2000)]
    stream = SentenceStream([part_of(sentences)], np.arange(50), 100, end_share=share)
    targeted = predicted_ends(stream, 0, 0)
    assert sorted(ids for ids, _ in targeted) == sorted(ids.tolist() for ids in stream.sequences())
    longer = [ended for ids, ended in targeted if len(ids) > 1]
    assert abs(np.mean(longer) - share) <= 5 * (share * (1 - share) / len(longer)) ** 0.5
    assert all(ended for ids, ended in targeted if len(ids) == 1)  # as in the book
    assert stream.frequencies(50)[END] == round(share * len(targeted))


def test_seed_and_epoch_determine_which_ends_are_predicted(
    stream: SentenceStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "POOL", 2)
    stream = replace(stream, end_share=0.5)
    whole = predicted_ends(stream, 0, 0)
    assert whole != predicted_ends(stream, 0, 1)
    assert whole != predicted_ends(stream, 1, 0)
    sizes = np.cumsum([batch.targets.shape[1] for batch in built(stream.batches(8, 0, 0, CPU))])
    for begin, done in enumerate((0, *sizes)):
        assert predicted_ends(stream, 0, 0, begin) == whole[done:]


def test_rare_words_are_unknown_and_long_sequences_cut() -> None:
    remap = np.where(np.arange(50) < 20, np.arange(50), UNKNOWN)
    stream = SentenceStream([part_of([[3, 19, 20, 49, 7]] * 10)], remap, 4)
    assert next(stream.sequences()).tolist() == [3, 19, UNKNOWN, UNKNOWN]


@pytest.mark.slow
def test_memory_is_the_same_for_more_text(tmp_path: Path) -> None:
    peaks = []
    for size in (2_200_000, 5_000_000):
        ids = np.random.default_rng(0).integers(3, 1000, size).astype(np.uint16)
        ids[::20] = END
        ids[-1] = END
        (tmp_path / "ids").write_bytes(ids.tobytes())
        sequences = int((ids == END).sum())
        del ids
        part = Part(np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r"), sequences)
        stream = SentenceStream([part], np.arange(1000), 100)
        tracemalloc.start()
        for _ in stream.sequences():
            pass
        for _ in islice(built(stream.batches(16, 0, 0, CPU)), 200):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(("size", "rows", "steps"), [(1000, 4, 7), (1001, 3, 10), (90, 64, 5), (30, 2, 100)])
def test_rows_of_running_text_continue_from_batch_to_batch(size: int, rows: int, steps: int) -> None:
    text = RunningText(np.arange(size, dtype=np.int32), rows, steps)
    batches = list(built(text.batches(CPU)))
    assert len(batches) == text.batches_per_epoch
    assert [batch.continues for batch in batches] == [False] + [True] * (len(batches) - 1)
    inputs, targets = torch.cat([batch.inputs for batch in batches]), torch.cat([batch.targets for batch in batches])
    assert torch.equal(targets, inputs + 1)
    starts = torch.arange(text.size) * text.row_length
    assert torch.equal(inputs, starts + torch.arange(text.row_length)[:, None])
    for begin in (1, len(batches) - 1, len(batches)):
        assert all(
            map(torch.equal, (b.inputs for b in built(text.batches(CPU, begin))), (b.inputs for b in batches[begin:]))
        )


@pytest.mark.parametrize(("size", "rows", "steps"), [(1000, 4, 7), (1001, 3, 10), (93, 64, 5), (30, 2, 100)])
@pytest.mark.parametrize("warm_up", [0, 6, 1000])
def test_each_token_of_a_running_text_is_evaluated_once(size: int, rows: int, steps: int, warm_up: int) -> None:
    text = RunningText(np.arange(size, dtype=np.uint16), rows, steps)
    predicted = []
    for batch in built(text.eval_batches(CPU, warm_up)):
        mask = batch.targets != IGNORED
        assert torch.equal(batch.targets[mask], batch.inputs[mask] + 1)
        predicted += batch.targets[mask].tolist()
    assert sorted(predicted) == list(range(1, size))
    row_length = -(-(size - 1) // text.size)
    begun = [max(0, row * row_length - min(warm_up, row_length)) for row in range(text.size)]
    assert next(built(text.eval_batches(CPU, warm_up))).inputs[0].tolist() == begun


def test_concatenated_arrays_read_as_one(stream: SentenceStream) -> None:
    remap = np.where(np.arange(50) < 20, np.arange(50), UNKNOWN)
    arrays = [np.array([END]), *(part.ids for part in stream.parts)]
    whole = remap[np.concatenate(arrays)]
    ids = ConcatIds(arrays, remap)
    assert len(ids) == len(whole)
    places = np.random.default_rng(0).integers(0, len(whole), (5, 7))
    assert np.array_equal(ids[places], whole[places])
    assert np.array_equal(np.concatenate(list(ids.chunks())), whole)
    assert np.array_equal(ids.frequencies(50), np.bincount(whole, minlength=50))
    assert np.array_equal(ids.frequencies(50, max_tokens=30), np.bincount(whole[:30], minlength=50))
    for begin, end in ((0, 10), (90, 130), (90, None)):
        part = ids.part(begin, end)
        assert np.array_equal(part[np.arange(len(part))], whole[begin:end])
        assert np.array_equal(part.part(2, 5)[np.arange(3)], whole[begin + 2 : begin + 5])


def test_held_out_end_of_running_text_begins_at_a_sentence_end(stream: SentenceStream) -> None:
    whole = np.concatenate([[END], *(part.ids for part in stream.parts)])
    training, held_out = (part[np.arange(len(part))] for part in stream.running_text())
    assert held_out[0] == training[-1] == END
    assert np.array_equal(np.concatenate([training, held_out[1:]]), whole)
    assert len(whole) // 10 - 12 <= len(held_out) - 1 <= len(whole) // 10
    endless = ConcatIds([np.full(100, 7), np.array([END])], np.arange(50))
    assert list(map(len, endless.split(0.2, 1000))) == [
        82,
        20,
    ]  # without an END the cut is inside a sentence, with one token in both parts
    assert list(map(len, endless.split(0.2, 10))) == [92, 10]


def test_running_text_may_have_its_own_validation_part(stream: SentenceStream) -> None:
    separate = SentenceStream(stream.parts[:1], stream.remap, 100, validation_part=stream.parts[1])
    training, held_out = (part[np.arange(len(part))] for part in separate.running_text())
    assert training.tolist() == [END, *stream.parts[0].ids.tolist()]
    assert held_out.tolist() == [END, *stream.parts[1].ids.tolist()]


@pytest.mark.parametrize(("size", "rows", "steps"), [(1000, 4, 7), (30, 2, 100)])
def test_concatenated_arrays_give_the_batches_of_one_array(size: int, rows: int, steps: int) -> None:
    ids = np.arange(size)
    one, two = RunningText(ids, rows, steps), RunningText(ConcatIds([ids[:11], ids[11:]], ids), rows, steps)
    for way in (lambda text: built(text.batches(CPU)), lambda text: built(text.eval_batches(CPU, 5))):
        for batch, same in zip(way(one), way(two), strict=True):
            assert torch.equal(batch.inputs, same.inputs)
            assert torch.equal(batch.targets, same.targets)


def test_running_text_splits_into_its_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.array([END, 5, 6, END, 7, END, 8, 9, 10, END], dtype=np.int64)
    for chunk in (3, 4, 100):
        monkeypatch.setattr(streams, "CHUNK", chunk)
        found = ConcatIds([ids[:4], ids[4:]], np.arange(11)).sentences()
        assert [sentence.tolist() for sentence in found] == [[5, 6], [7], [8, 9, 10]]
        assert [each.tolist() for each in ConcatIds([ids], np.arange(11)).part(0, 8).sentences()] == [
            [5, 6],
            [7],
            [8, 9],
        ]
