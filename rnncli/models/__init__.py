"""Networks built of cells: stacks, and one module for each of the three kinds of prediction."""
