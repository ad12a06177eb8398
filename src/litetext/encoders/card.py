"""The model card that every checkpoint is written with."""

from __future__ import annotations

from .config import EncoderConfig

_MASKING = {
    "none": "read like any other token",
    "attention": "hidden from attention",
    "everywhere": "hidden from attention and convolution, so features do not depend on it",
}


def model_card(config: EncoderConfig, size: int, notes: str = "") -> str:
    """Return a checkpoint's README (Markdown): shape, parameters, convention, how to load it, and ``notes``."""
    convention = config.convention
    blocks = f"{config.layers} transformer blocks"
    if config.repmixer:
        blocks = f"RepMixer block, {config.layers - 2} transformer blocks, RepMixer block"
    masking = (
        "behind a causal mask"
        if config.causal and convention.mask_padding == "none"
        else _MASKING[convention.mask_padding]
    )
    lines = [
        "---",
        "library_name: litetext",
        "tags: [text-encoder, promptable-segmentation, sam3]",
        "---",
        f"# litetext text encoder `{config.variant}`",
        "",
        f"Turns noun phrases into the {config.output_dim}-dimensional token features that a SAM3 detector reads.",
        "",
        "| | |",
        "|---|---|",
        f"| blocks | {blocks}{', causal' if config.causal else ''} |",
        f"| width / heads / feed-forward | {config.width} / {config.heads} / {config.ffn} |",
        f"| vocabulary | {config.vocab_size:,} rows of CLIP's byte-level BPE |",
        f"| parameters | {config.parameters():,}, of which live {config.live_parameters():,} |",
        f"| tensors | {size:,} bytes |",
        f"| context | {convention.context_length} tokens, SOT and EOT included |",
        f"| padding | id {convention.pad_id}, {masking} |",
        f"| positions | {config.position_rows} rows, read by `{convention.positions}` where the context differs |",
        "",
        "```python",
        "from litetext import load_encoder",
        "",
        'features = load_encoder("path/to/this/folder").encode(["white dog", "red car"])',
        "features.tokens, features.mask  # [2, L, D]; [2, L], True = padding",
        "```",
        "",
        "The convention above is part of the model: under another one the same weights give other features.",
        "A pruned vocabulary stands in `config.json` (`vocabulary`, the CLIP ids kept, in row order); `tokenizer.json`",
        "is CLIP's full tokenizer.",
    ]
    if notes:
        lines += ["", notes.strip()]
    return "\n".join(lines) + "\n"
