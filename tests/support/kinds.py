"""Every cell with every variant and activation, as the registry has them: a new cell is covered without an edit."""

from rnncli.cells import CELLS, cell_class

KINDS = [f"{name}:{variant}" if variant else name for name in CELLS for variant in cell_class(name).variants]
KINDS_WITH_ACTIVATIONS = [
    (kind, activation) for kind in KINDS for activation in cell_class(kind.partition(":")[0]).activations
]
