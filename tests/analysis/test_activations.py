"""Units that track features, against numpy; and files of states, read back."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from rnncli.analysis.activations import features_of, rank
from rnncli.analysis.states import states_writer
from rnncli.errors import UsageError
from rnncli.recording import Recording

TEXT = 'He said "go (on)" twice.\n  And SHE did not.\n\n' * 4


def recorded(text: str = TEXT) -> Recording:
    generator = np.random.default_rng(0)
    states = {"h1": generator.normal(size=(len(text), 3)), "c1": generator.normal(size=(len(text), 3))}
    quoted = np.array(features_of(Recording(list(text), [], (), {}))["inside quotes"])
    states["c1"][:, 1] = 0.5 - 3 * quoted
    names = sorted(set(text))
    numbers = [names.index(letter) for letter in text]
    return Recording(list(text), numbers, names, {name: each.astype(np.float32) for name, each in states.items()})


def test_marks_belong_to_words_and_are_no_punctuation() -> None:
    text = "«Ве\u0301чер», „दिन“.\n「昼」"
    found = features_of(Recording(list(text), [], (), {}))
    marked = {name: "".join(text[at] for at in range(len(text)) if column[at]) for name, column in found.items()}
    assert marked["punctuation"] == "«»,„“.「」"
    assert marked["end of a word"] == "рन昼"
    assert marked["vowel"] == "ее"
    assert marked["inside quotes"] == "«Ве\u0301чер„दिन「昼"
    assert found["place in the word"][text.index("р")] == 6


def test_features_of_each_character() -> None:
    found = features_of(recorded())
    first = TEXT[: TEXT.index("\n\n") + 2]
    marked = {name: "".join(first[at] for at in range(len(first)) if column[at]) for name, column in found.items()}
    assert marked["inside quotes"] == '"go (on)'
    assert marked["inside brackets"] == "(on"
    assert marked["capital"] == "HASHE"
    assert marked["end of a word"] == "edonedEdt"
    assert marked["punctuation"] == '"()"..'
    assert found["indent"][first.index("And")] == 2
    assert found["place in the line"][first.index("And")] == 3
    assert found["place in the word"][first.index("wice")] == 2


def test_correlations_match_numpy_and_the_closest_unit_comes_first() -> None:
    ranking = rank(recorded())
    known = features_of(ranking.recording)
    for column, feature in enumerate(ranking.features):
        for row, name in enumerate(ranking.names):
            values = ranking.values[:, ranking.names.index(name)]
            wanted = np.corrcoef(values, known[feature])[0, 1]
            assert ranking.correlations[row, column] == pytest.approx(wanted, abs=1e-6)
    best = ranking.units[0]
    assert (best.name, best.tracks, best.r) == ("c1:1", "inside quotes", pytest.approx(-1))
    assert ranking.best[0] == best
    with pytest.raises(UsageError, match="there is no unit 'h9:1': they are named h1:0 to c1:2"):
        ranking.unit("h9:1")


def test_best_unit_of_each_feature_comes_first() -> None:
    """Against a search through all correlations, feature by feature."""
    ranking = rank(recorded())
    found = ranking.by_feature
    best = {}
    for column, feature in enumerate(ranking.features):
        best[feature] = max(
            zip(ranking.names, ranking.correlations[:, column], strict=True), key=lambda row: abs(row[1])
        )
    first = list(found)[: len({name for name, _ in best.values()})]
    assert {(each.tracks, name) for name in first for each in found[name]} == {
        (feature, name) for feature, (name, _) in best.items()
    }
    assert sorted(found) == sorted(ranking.names)
    for name, follows in found.items():
        for each in follows:
            correlation = ranking.correlations[ranking.names.index(name), ranking.features.index(each.tracks)]
            assert (each.name, each.r) == (name, pytest.approx(correlation))
    assert [abs(found[name][0].r) for name in first] == sorted((abs(found[name][0].r) for name in first), reverse=True)


def test_units_of_a_text_without_features_follow_nothing() -> None:
    states = {"h1": np.zeros((4, 2), np.float32)}
    assert rank(Recording(list("aaaa"), [0] * 4, ["a"], states)).by_feature == {"h1:0": [], "h1:1": []}


def test_rare_features_are_left_out() -> None:
    assert "inside quotes" not in rank(recorded("plain words, no more of them " * 3)).features


def test_word_tokens_have_the_features_of_their_last_letter() -> None:
    pieces = ["The", " gate", " stood\n", "open\n"]
    found = features_of(Recording(pieces, [], (), {}))
    assert found["length of the token"] == [3, 4, 5, 4]
    assert found["place in the line"] == [3, 8, 14, 4]
    assert found["a capital begins it"] == [True, False, False, False]


CYRILLIC = "Да 12! (ещё)\n"


@pytest.mark.parametrize(
    ("pieces", "decoded"),
    [
        ([f"\\x{byte:02x}" for byte in CYRILLIC.encode()], None),  # as a byte model reads it
        (["\\xd0", "\\x94а", " 12", "! (", "е\\xd1", "\\x89", "ё)\n"], ["", "Да", " 12", "! (", "е", "щ", "ё)\n"]),
    ],
)
def test_partial_characters_have_the_features_of_the_character(pieces: list[str], decoded: list[str] | None) -> None:
    added = decoded or [part for sign in CYRILLIC for part in [*[""] * (len(sign.encode()) - 1), sign]]
    seen = Recording(pieces, [], (), {}, decoded=added)
    found = features_of(seen)
    letters = features_of(Recording(list(CYRILLIC), [], (), {}))
    assert seen.text == CYRILLIC
    ends, at = [], 0
    for part in added:
        at += len(part)
        ends.append(at - 1 if part else at)
    ends = [end - (CYRILLIC[end] == "\n" and len(part) > 1) for end, part in zip(ends, added, strict=True)]
    for name in ("digit", "capital", "punctuation", "between words", "inside brackets", "place in the line"):
        assert found[name] == [letters[name][end] for end in ends], name
    assert sum(found["digit"]) == (2 if decoded is None else 1)  # not the digits of the escapes


def test_states_are_read_back_by_numpy(tmp_path: Path) -> None:
    seen, file = recorded(), tmp_path / "states.npz"
    assert states_writer(file)(seen, "mine") == [file]
    with np.load(file) as found:
        np.testing.assert_array_equal(found["c1"], seen.states["c1"])
        assert "".join(found["vocabulary"][found["ids"]]) == "".join(found["pieces"]) == TEXT


def test_states_have_the_layout_of_lstmvis(tmp_path: Path) -> None:
    seen = recorded()
    written = states_writer(tmp_path / "states.h5")(seen, 'mine: "a"')
    assert {file.name for file in written} == {"states.h5", "train.hdf5", "words.dict", "lstm.yml"}
    words = dict(reversed(line.split()) for line in (tmp_path / "words.dict").read_text().splitlines())
    with h5py.File(tmp_path / "states.h5") as states, h5py.File(tmp_path / "train.hdf5") as train:
        np.testing.assert_array_equal(states["h1"][:], seen.states["h1"])
        text = "".join(words[str(number)] for number in train["word_ids"][:])
    assert text == TEXT.replace(" ", "␣").replace("\n", "↵")
    config = (tmp_path / "lstm.yml").read_text()
    assert 'name: "mine: \\"a\\""' in config
    assert "{type: output, layer: 1, path: h1}" in config
    assert "{type: state, layer: 1, path: c1}" in config


def test_other_kinds_of_files_are_refused() -> None:
    with pytest.raises(UsageError, match="end its name in"):
        states_writer(Path("states.csv"))
