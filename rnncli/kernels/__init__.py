"""How a cell is unrolled over time: the backends, and the rule that chooses one."""

PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")
BACKENDS = ("auto", "reference", "fused", "library", "triton")
