"""Data sets of Hugging Face as corpora, where `datasets` is installed; tests/data/test_items.py has a substitute."""

from pathlib import Path

import pytest

import rnncli
from rnncli.data.from_python import corpus_specs
from rnncli.data.labelled import read_labelled, read_tagged

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # its own, and those of pyarrow and pandas


def test_data_set_in_memory_is_a_corpus(home: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="waits for `pip install datasets`")
    labels = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features({"text": datasets.Value("string"), "label": labels, "id": datasets.Value("int32")})
    rows = {"text": [f"text {n}" for n in range(12)], "label": [n % 2 for n in range(12)], "id": list(range(12))}
    found = datasets.Dataset.from_dict(rows, features=features)
    assert read_labelled(corpus_specs(found)).labels == ["bad", "good"] * 6
    assert read_labelled(corpus_specs(found.to_iterable_dataset())).texts == rows["text"]
    model = rnncli.train("poetry-classify", corpus=found, folds=0, ensemble=1, hidden=2, epochs=1, progress=False)
    assert model.classify("text 3")[0].label in labels.names
    words = datasets.Dataset.from_dict(
        {"tokens": [["a", "b"]], "tags": [[1, 0]]},
        features=datasets.Features(
            {"tokens": datasets.Sequence(datasets.Value("string")), "tags": datasets.Sequence(labels)}
        ),
    )
    assert read_tagged(corpus_specs(words), "tokens,tags").labels == [["good", "bad"]]
