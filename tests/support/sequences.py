"""Random sequences of token ids, to fit n-grams on."""

import random

from rnncli.data.vocabulary import END

V = 12


def some_sequences(count: int, seed: int, max_length: int = 9) -> list[list[int]]:
    """Ids from 3 on, with END after each sequence; some tokens are much rarer than others."""
    generator = random.Random(seed)
    return [
        [
            3 + min(generator.randrange(V - 3), generator.randrange(V - 3))
            for _ in range(generator.randrange(max_length))
        ]
        + [END]
        for _ in range(count)
    ]


TRAINING, HELD_OUT = some_sequences(40, seed=1), some_sequences(25, seed=2)
