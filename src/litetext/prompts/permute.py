"""Word order, changed for certain: what the consistency loss and the order-sensitivity audit feed on."""

from __future__ import annotations

import random


def permute_words(phrase: str, rng: random.Random) -> str | None:
    """Return ``phrase`` with its words in another order, drawn evenly from all orders that read differently.

    A plain shuffle leaves a good part of short phrases as they were; this one never does.

    Returns:
        The permuted phrase, or None where no other order exists (one word, or the same word repeated).
    """
    words = phrase.split()
    if len(set(words)) < 2:
        return None
    while True:  # at least half of all draws differ, so this ends soon
        shuffled = rng.sample(words, len(words))
        if shuffled != words:
            return " ".join(shuffled)
