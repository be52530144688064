"""Every cell with every variant and activation, as the registry has them, and the backends that this CPU has."""

from rnncli.cells import CELLS, cell_class
from rnncli.kernels.fused import trouble

KINDS = [f"{name}:{variant}" if variant else name for name in CELLS for variant in cell_class(name).variants]
KINDS_WITH_ACTIVATIONS = [
    (kind, activation) for kind in KINDS for activation in cell_class(kind.partition(":")[0]).activations
]
CPU_BACKENDS = ("reference", *([] if trouble() else ["fused"]), "library")
"""Without numba there is no `fused`."""
