"""Write the states of a net to files: .npz for numpy, and HDF5 for LSTMVis (Strobelt et al. 2018).

LSTMVis needs four files in a folder: the states, one dataset (T, M) per matrix; the ids of the tokens; the vocabulary,
one token and its id per line; and lstm.yml, which names the other files.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnncli.errors import UsageError
from rnncli.extras import need
from rnncli.files import write_file
from rnncli.recording import Recording

if TYPE_CHECKING:
    from numpy.typing import NDArray

HDF5 = (".h5", ".hdf5")
IDS, WORDS, CONFIG = "train.hdf5", "words.dict", "lstm.yml"


def states_writer(path: Path) -> Callable[[Recording, str], list[Path]]:
    """A function that writes states to a file of that name, and returns the files that it wrote.

    Raises UsageError for another ending, RnnError where h5py is needed and not installed.
    """
    if path.suffix == ".npz":
        return lambda recording, _: _write_npz(path, recording)
    if path.suffix not in HDF5:
        raise UsageError(f"--states {path}: end its name in .npz, or in .h5 for LSTMVis")
    need("h5py", what="--states FILE.h5", extra="hdf5")
    return lambda recording, title: _write_lstmvis(path, recording, title)


def _write_npz(path: Path, recording: Recording) -> list[Path]:
    """The states by name, `ids` (T,), `pieces` (T,) as written, and `vocabulary`."""
    data = io.BytesIO()
    ids, pieces, names = np.array(recording.numbers), np.array(recording.pieces), np.array(recording.names)
    arrays: dict[str, Any] = {**recording.states, "ids": ids, "pieces": pieces, "vocabulary": names}
    np.savez_compressed(data, **arrays)
    write_file(path, data.getvalue())
    return [path]


def _write_lstmvis(path: Path, recording: Recording, title: str) -> list[Path]:
    folder = path.parent
    if path.name == IDS:
        raise UsageError(f"--states {path}: {IDS} is the file of the tokens' ids: name it states.h5")
    words = "".join(f"{one_word(name)} {number}\n" for number, name in enumerate(recording.names))
    files = {
        path: _hdf5(recording.states),
        folder / IDS: _hdf5({"word_ids": np.array(recording.numbers, np.int32)}),
        folder / WORDS: words.encode(),
        folder / CONFIG: _config(path.name, recording, title).encode(),
    }
    for file, data in files.items():
        write_file(file, data)
    return list(files)


def _hdf5(datasets: "dict[str, NDArray[Any]]") -> bytes:
    import h5py

    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, compression="gzip")
    return data.getvalue()


def one_word(token: str) -> str:
    """A token with symbols for white space, which would split it in two."""
    shown = token.replace("\n", "↵").replace("\t", "→")
    return "".join("␣" if sign.isspace() else sign for sign in shown) or "∅"


def _config(states: str, recording: Recording, title: str) -> str:
    """LSTMVis's configuration: states within -1 and 1 are shown unchanged, others through tanh."""
    types = []
    for name, values in recording.states.items():
        layer = "".join(filter(str.isdigit, name))
        kind = "output" if name[0] == "h" and f"c{name[1:]}" in recording.states else "state"
        plain = ", transform: none" if float(np.abs(values).max()) <= 1 else ""
        unsigned = ", unsigned: true" if float(values.min()) >= 0 else ""
        types.append(f"    {{type: {kind}, layer: {layer}, path: {name}{plain}{unsigned}}}")
    return (
        f"name: {json.dumps(title)}\n"
        f"description: {json.dumps('states of a recurrent net, written by rnn activations')}\n"
        f"files:\n  states: {json.dumps(states)}\n  train: {IDS}\n  words: {WORDS}\n"
        "word_sequence:\n  file: train\n  path: word_ids\n  dict_file: words\n"
        "states:\n  file: states\n  types: [\n" + ",\n".join(types) + "\n  ]\n"
    )
