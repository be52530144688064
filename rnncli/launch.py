"""Whether torchrun has started this process; known before torch is imported."""

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""The environment variable that says so."""
