"""Known or set before torch is imported: whether torchrun started this process, and how its threads wait."""

import os

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""The environment variable that torchrun sets."""

SPINS = "5000"
"""Turns of a waiting loop, some tens of microseconds; libgomp's default is 300,000."""

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""The environment variables that libgomp reads when torch loads it."""


def wait_briefly() -> None:
    """Let threads of OpenMP that wait for each other sleep soon, unless the user has set how they wait.

    With other work on a core, a thread that waits in a loop keeps the core from the thread that it waits for.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
