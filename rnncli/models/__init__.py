"""Networks built of cells: stacks, and one module for each of the three kinds of prediction."""

BLOCKS = ("none", "residual")
POOLINGS = ("last", "concat")
"""What can surround the cells of a layer, see `rnncli.models.block`."""
