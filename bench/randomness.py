"""Every random choice of the harness, keyed by what it is for."""

from hashlib import blake2b

import numpy as np


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """The random numbers of one purpose: `stream(7, "victims", repeat, phase)`.

    The same seed and purpose give the same numbers in every process and on every machine,
    whatever else was drawn before. Streams of different purposes are independent.
    numpy may change how a *distribution* is derived from the bits between versions; plain
    `random()` has never changed, so choices that must be repeatable build on that alone.
    """
    digest = blake2b(digest_size=16)
    for part in (seed, *purpose):
        # The type and the length keep (1, "2") from (12,) and from ("1", 2).
        word = f"{type(part).__name__}:{part}".encode()
        digest.update(len(word).to_bytes(8, "big") + word)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "big")))
