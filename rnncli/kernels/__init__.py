"""How a cell is unrolled over time: the backends, and the rule that chooses one."""

BACKENDS = ("auto", "reference", "fused", "library", "triton")
