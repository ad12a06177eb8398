"""What the paper (arXiv 2602.12173) printed, kept beside what is measured, and where it contradicts itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperWindow:
    """A row of table 1; shares, 0 to 1."""

    information_density: float
    padding_share: float
    truncation_rate: float


PROMPTS = 404_796
WINDOWS = {
    8: PaperWindow(0.800, 0.200, 0.285),
    16: PaperWindow(0.480, 0.520, 0.050),
    32: PaperWindow(0.245, 0.755, 0.001),
}
MEAN_TOKENS = {"all prompts": "7.9", "LVIS": "3.3", "SA-Co": "5.4 to 5.9", "RefCOCO": "9.4"}
USED_TOKENS, USED_SHARE, TOP_100_SHARE, SPECIAL_SHARE = 17_300, 0.35, 0.585, 0.346
EMBEDDING = {"effective_rank": "943 of 1024", "used_effective_rank": "906", "dimensions_90": "857"}
POSITIONS = {"early": "0.54", "late": "0.76 to 0.79", "effective_rank": "20 of 32", "dimensions_90": "7"}
MANIFOLD = {"effective_rank": "85.3 of 256", "dimension": "16 to 19"}
DIMENSION_BAND = (16.0, 19.0)
ATTENUATION = "about 282 x at noise 0.1"

REMARKS = {
    "prompts": ["The paper's 404,796 prompts are the plain sum of its six sources, not a de-duplicated count."],
    "context": [
        "The paper's densities imply a token loss of 18.4 % at L = 8 (1 - 8 x 0.800 / (32 x 0.245)); its table 1 "
        "prints 12.3 %.",
        "LVIS: the paper prints a mean of 3.3 tokens for its 1,199 names. The published list of 1,203 names does not "
        "reproduce it: its mean is 3.889 with SOT and EOT counted.",
        "On accuracy, table 5 shows L = 32 slightly better than 16; the text says worse.",
    ],
    "vocabulary": [
        "The paper prints 34.6 % for SOT + EOT and a mean of 7.9 tokens a prompt. Both cannot hold: each prompt has "
        "exactly one of each, so 34.6 % imply a mean of 5.8 tokens, and a mean of 7.9 implies 25.3 %.",
    ],
    "embedding": [
        "The paper's 1024 columns are the teacher's. Elsewhere it calls the teacher 12 layers of width 768; it has 24 "
        "of 1024.",
    ],
    "manifold": [
        "Both estimators read high dimensions low at a few thousand points; the bias curve shows by how much. A "
        "reading is a lower bound, not the dimension.",
    ],
    "robustness": [
        "The paper's attenuation divides an absolute error going in by an absolute error coming out: numbers on "
        "different scales. Beside it stands the ratio of relative errors, and what a wrong noun does to the same "
        "quantities.",
    ],
}
"""Section key -> what a reader should know when comparing."""
