"""The folders of corpora and checkpoints: in the current directory, or in `$RNN_HOME`."""

import os
from pathlib import Path


def home() -> Path:
    """The folder that holds `data/` and `checkpoints/`."""
    return Path(os.environ.get("RNN_HOME", "."))


def data_dir() -> Path:
    """The folder of downloaded and prepared corpora."""
    return home() / "data"


def checkpoints_dir() -> Path:
    """The folder of trained runs."""
    return home() / "checkpoints"
