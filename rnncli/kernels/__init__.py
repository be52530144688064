"""Unrolling a cell over time: the backends, and the rule that chooses one."""

PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")
ACTIVATIONS = ("tanh", "sigmoid", "relu")  # those of our cells
BACKENDS = ("auto", "reference", "fused", "torch", "triton")
FORMER_BACKENDS = {"library": "torch"}
"""Names that old checkpoints, TOML files and flags may hold, and the names of today."""
