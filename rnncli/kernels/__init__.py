"""How a cell is unrolled over time: the backends, and the rule that chooses one."""

PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")
ACTIVATIONS = ("tanh", "sigmoid", "relu")  # that kernels written by hand compute; `fused` knows each by its place
BACKENDS = ("auto", "reference", "fused", "torch", "triton")
FORMER_BACKENDS = {"library": "torch"}
"""Names that old checkpoints, TOML files and flags may hold, and the names of today."""
