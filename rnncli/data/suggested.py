"""Names that the shell completes: what lists them is imported when it asks."""

from collections.abc import Iterable


def corpus_names() -> Iterable[str]:
    """The names of all corpora: the registered ones, and those that `rnn data prepare` made."""
    from rnncli.data.corpora import CORPORA
    from rnncli.data.shards import VOCABULARY
    from rnncli.home import data_dir

    return [*CORPORA, *(file.parent.name for file in data_dir().glob(f"*/{VOCABULARY}"))]
