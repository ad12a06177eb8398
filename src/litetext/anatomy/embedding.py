"""Question 3, the token embedding: how much of its width does the table use (paper, table 2)?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .spectrum import Spectrum, spectrum


@dataclass(frozen=True, slots=True)
class TokenEmbedding:
    """The spectrum of all rows of the table, and of the rows the prompts use."""

    full: Spectrum
    used: Spectrum


def token_embedding(table: np.ndarray, used_ids: np.ndarray) -> TokenEmbedding:
    """Return the spectra of an embedding table.

    Args:
        table: floating [V, D].
        used_ids: int [U], the distinct ids that occur in the prompts.
    """
    return TokenEmbedding(spectrum(table), spectrum(table[used_ids]))
