"""Whether torchrun started this process, which must be known before torch is imported."""

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""The environment variable that torchrun sets."""
