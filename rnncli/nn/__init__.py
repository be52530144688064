"""Recurrent layers for any torch code: `from rnncli.nn import GRU, LSTM, RNN` in place of `from torch.nn import …`.

`GRU`, `LSTM` and `RNN` have torch's arguments, equations, parameters and results; `Elman`, `Rated` and `Recurrent` are
layers of our cells, or of yours. All run on the backends of rnn. docs/nn.md compares them with torch.nn.
"""

from rnncli.nn.recurrent import Elman, Rated, Recurrent
from rnncli.nn.torch_named import GRU, LSTM, RNN, from_torch, to_torch

__all__ = ["GRU", "LSTM", "RNN", "Elman", "Rated", "Recurrent", "from_torch", "to_torch"]
