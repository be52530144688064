"""Data sets of Hugging Face as corpora, where `datasets` is installed; tests/data/test_items.py has a substitute."""

from pathlib import Path
from typing import Any

import pytest

import rnncli
from rnncli.data.from_python import corpus_specs
from rnncli.data.labelled import read_labelled, read_tagged

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # its own, and those of pyarrow and pandas


def in_memory(datasets: Any, features: dict[str, Any], rows: dict[str, Any]) -> Any:
    """A data set, with a fingerprint of ours: its own pickles classes of pyarrow, which some versions refuse."""
    typed = datasets.Features(features)
    table = datasets.table.InMemoryTable.from_pydict(rows, schema=typed.arrow_schema)
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=typed), fingerprint="mine")


def test_data_set_in_memory_is_a_corpus(home: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="waits for `pip install datasets`")
    text, labels = datasets.Value("string"), datasets.ClassLabel(names=["bad", "good"])
    texts = {"text": [f"text {n}" for n in range(12)], "label": [n % 2 for n in range(12)], "id": list(range(12))}
    found = in_memory(datasets, {"text": text, "label": labels, "id": datasets.Value("int32")}, texts)
    assert read_labelled(corpus_specs(found)).labels == ["bad", "good"] * 6
    model = rnncli.train("poetry-classify", corpus=found, folds=0, ensemble=1, hidden=2, epochs=1, progress=False)
    assert model.classify("text 3")[0].label in labels.names
    columns = {"tokens": datasets.Sequence(text), "tags": datasets.Sequence(labels)}
    words = in_memory(datasets, columns, {"tokens": [["a", "b"]], "tags": [[1, 0]]})
    assert read_tagged(corpus_specs(words), "tokens,tags").labels == [["good", "bad"]]
