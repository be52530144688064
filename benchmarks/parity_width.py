"""How many hidden units does parity need? Feed-forward nets against Elman's, for strings of 4 to 12 bits.

A width suffices if 3 of 5 seeds solve all strings with it. Prints the smallest power of two that suffices, with its
parameters. Feed-forward nets use the recipe of `--model mlp` (3,000 full-batch steps), Elman's nets the default recipe.
Run: python benchmarks/parity_width.py [--bits 4,6,8,10,12]
"""

import argparse
from typing import Any

from parity_seeds import train

SEEDS, ENOUGH, WIDEST = 5, 3, 4096
NETS: dict[str, Any] = {
    "feed-forward, 1 layer": lambda width: {"model": "mlp", "hidden": f"{width}"},
    "feed-forward, 2 layers": lambda width: {"model": "mlp", "hidden": f"{width},{width}"},
    "Elman, tanh": lambda width: {"hidden": f"{width}"},
    "Elman, sigmoid": lambda width: {"hidden": f"{width}", "activation": "sigmoid"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bits", default="4,6,8,10,12")
    lengths = [int(bits) for bits in parser.parse_args().bits.split(",")]
    print("| net | " + " | ".join(f"{bits} bits" for bits in lengths) + " |")
    print("| --- |" + " --- |" * len(lengths))
    for name, flags in NETS.items():
        cells = [smallest(bits, flags) for bits in lengths]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def smallest(bits: int, flags: Any) -> str:
    """The smallest width that suffices, as a cell of the table."""
    width = 1
    while width <= WIDEST:
        solved, parameters = attempt(bits, flags(width))
        if solved >= ENOUGH:
            return f"{width} units per layer, {parameters:,} parameters ({solved} of {SEEDS})"
        width *= 2
    return f"more than {WIDEST}"


def attempt(bits: int, flags: dict[str, Any]) -> tuple[int, int]:
    """The number of seeds that solve it, and the net's parameters; stops after too many failures."""
    solved = parameters = 0
    for seed in range(SEEDS):
        trained, progress = train(bits=bits, seed=seed, **flags)
        solved += progress.finished == "solved"
        parameters = sum(parameter.numel() for parameter in trained.model.parameters())
        if solved + SEEDS - seed - 1 < ENOUGH:
            break
    return solved, parameters


if __name__ == "__main__":
    main()
