"""The registry of cells: those of rnn, and those that installed packages bring (entry points `rnncli.cells`)."""

from typing import TYPE_CHECKING, Any

from rnncli.plugins import Registry

if TYPE_CHECKING:
    from rnncli.cells.base import Cell

_OWN: "dict[str, type[Cell[Any]] | str]" = {
    "elman": "rnncli.cells.elman:Elman",
    "rated": "rnncli.cells.rated:Rated",
    "gru": "rnncli.cells.gru:GRU",
    "lstm": "rnncli.cells.lstm:LSTM",
    "mgu": "rnncli.cells.mgu:MGU",
    "mlstm": "rnncli.cells.mlstm:MultiplicativeLSTM",
    "lnlstm": "rnncli.cells.lnlstm:LayerNormLSTM",
    "indrnn": "rnncli.cells.indrnn:IndRNN",
    "sru": "rnncli.cells.sru:SRU",
    "lru": "rnncli.cells.lru:LRU",
    "mingru": "rnncli.cells.mingru:MinGRU",
    "minlstm": "rnncli.cells.minlstm:MinLSTM",
    "slstm": "rnncli.cells.slstm:SLSTM",
}

CLASSIC = ("elman", "rated", "gru", "lstm")
"""The cells that verbs with several cells take where none is named."""

BUILT_IN = tuple(_OWN)
"""The names of rnn's own cells; listing `CELLS` may import other packages."""


class _Cells(Registry["type[Cell[Any]]"]):
    """Classes of cells by name; the name of an entry point need not be that of its class."""

    def _check(self, name: str, thing: object) -> None:
        from rnncli.cells.base import Cell

        if not (isinstance(thing, type) and issubclass(thing, Cell)):
            raise TypeError("it is not a subclass of rnncli.cells.base.Cell")
        if name in self._objects:
            raise ValueError("this name is taken")


CELLS = _Cells("rnncli.cells", type, _OWN)
