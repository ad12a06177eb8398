"""What the study found about one encoder, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from ..encoders.config import EncoderConfig
from .convention import ConventionGap
from .embedding import TokenEmbedding
from .manifold import Manifold
from .order import OrderSensitivity
from .positions import Positions
from .robustness import Robustness


@dataclass(frozen=True, slots=True)
class EncoderStudy:
    """Questions 3 to 8 answered for one encoder; None where one does not apply.

    ``robustness`` needs a gallery whose segmenter takes this encoder's features, ``order`` phrases with known nouns,
    ``config`` and ``convention`` one of litetext's own encoders.
    """

    name: str
    config: EncoderConfig | None
    token_embedding: TokenEmbedding
    positions: Positions | None
    manifold: Manifold
    robustness: Robustness | None
    order: OrderSensitivity | None
    convention: ConventionGap | None
