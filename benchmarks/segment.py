"""How fast `Segmenter` is, and what it takes at real size. Run on the machine you want to know about:

    python benchmarks/segment.py ratio                     # many prompts on one image, against looping transformers
    python benchmarks/segment.py full PHOTO... [-n 10]     # a full-size SAM3-LiteText-S0 of random weights; goes on
                                                           # where it was stopped

`ratio` draws a SAM3 whose vision encoder takes about the share of the work that it takes in the real model (some 13
times a prompt's), sets the presence logits through the weights so that 10, then all 50 of 50 prompts are there, and
times the same 50 prompts both ways in one process: `Segmenter.segment`, and transformers run as its page shows, one
image and one prompt a call. Both find the same instances, which is checked. `full` builds the model in one process and
runs it in another, so that the peak memory is that of segmenting alone.

All seconds are processor seconds on one thread: on a free core they are seconds on the clock, and on a busy machine
they stay what they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time as clock
from typing import Any

import numpy as np
import torch
from transformers import Sam3Config, Sam3ImageProcessor, Sam3LiteTextConfig, Sam3LiteTextModel, Sam3Model

from litetext import Segmenter, Tokenizer
from litetext.segment import decode, read_image

RESULTS = Path(__file__).with_suffix(".json")
COLOURS = ("red", "blue", "white", "black", "green")
NOUNS = ("car", "dog", "cup", "old tree", "horse", "bus", "kite", "chair", "apple", "shoe")
PROMPTS = [f"{colour} {noun}" for noun in NOUNS for colour in COLOURS]


def vision_heavy_model(queries: int) -> Sam3Model:
    """A SAM3 in which the vision encoder costs some ten times what one prompt costs; in the real one it is 13."""
    torch.manual_seed(0)
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 12,
        "num_attention_heads": 6,
        "image_size": 252,
        "window_size": 9,
        "global_attn_indexes": [5, 11],
        "pretrain_image_size": 126,
    }
    block = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256}
    text = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "backbone_config": vit,
            "fpn_hidden_size": 64,
            "backbone_feature_sizes": [[72, 72], [36, 36], [18, 18]],
        },
        text_config=text
        | {"model_type": "clip_text_model", "vocab_size": 49408, "max_position_embeddings": 32, "projection_dim": 64},
        geometry_encoder_config=block | {"num_layers": 1},
        detr_encoder_config=block | {"num_layers": 3},
        detr_decoder_config=block | {"num_layers": 3, "num_queries": queries},
        mask_decoder_config={"hidden_size": 64, "num_attention_heads": 4},
    )
    model = Sam3Model(config).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.dim() > 1:
                tensor.normal_(std=0.5 if "embed" in name else tensor[0].numel() ** -0.5)
    return model


def spread_presence(model: Sam3Model, logits: torch.Tensor, present: int) -> None:
    """Move the presence head so that the ``present`` highest of ``logits`` (which it gave) become clearly positive."""
    ranked = logits.sort(descending=True).values
    below = ranked[present] if present < len(ranked) else ranked[-1] - 1
    middle, gain = (ranked[present - 1] + below) / 2, 8.0 / (ranked[present - 1] - below)
    head = model.detr_decoder.presence_head.layer3
    with torch.no_grad():
        head.weight.mul_(gain)
        head.bias.sub_(middle).mul_(gain)


@torch.no_grad()
def looped(
    model: Sam3Model, processor: Any, photo: np.ndarray, prompts: list[str], threshold: float
) -> list[dict[str, torch.Tensor]]:
    """transformers as its documentation shows it: a full forward for every prompt."""
    found = []
    for ids in Tokenizer().encode_batch(prompts):
        padding = 32 - len(ids)
        output = model(
            pixel_values=processor(images=photo, return_tensors="pt")["pixel_values"],
            input_ids=torch.tensor([ids + ids[-1:] * padding]),
            attention_mask=torch.tensor([[1] * len(ids) + [0] * padding]),
        )
        found += processor.post_process_instance_segmentation(
            output, threshold=threshold, target_sizes=[photo.shape[:2]]
        )
    return found


def ratio() -> dict[str, Any]:
    """Seconds for 50 prompts on one image, both ways, with all and with 10 prompts present.

    All queries of a present prompt pass the threshold: five, about what a photograph holds, and as an extreme fifty,
    where both ways mostly resize masks. transformers' time grows with the prompts alone, so it is taken on ten of
    them (spread over the list) and multiplied.
    """
    photo = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    processor = Sam3ImageProcessor(size={"height": 252, "width": 252})
    sample = PROMPTS[:: len(PROMPTS) // 10]
    rows = []
    for present, queries in ((50, 5), (10, 5), (50, 50)):
        model = vision_heavy_model(queries)
        presence = reloaded(model, processor).segment(photo, PROMPTS, threshold=1.0).presence
        spread_presence(model, torch.from_numpy(presence).double().logit().float(), present)
        segmenter = reloaded(model, processor)
        start = clock()
        instances = segmenter.segment(photo, PROMPTS, threshold=0.3)
        ours = clock() - start
        start = clock()
        wanted = looped(model, processor, photo, sample, threshold=0.3)
        theirs = (clock() - start) * len(PROMPTS) / len(sample)
        if [len(instances[prompt]) for prompt in sample] != [len(one["scores"]) for one in wanted]:
            raise SystemExit("the two ways disagree; the timing would mean nothing")
        rows.append(
            {
                "prompts": len(PROMPTS),
                "present": present,
                "prompts_found": len(set(instances.labels)),
                "instances": len(instances),
                "transformers_seconds": round(theirs, 2),
                "litetext_seconds": round(ours, 2),
                "times_faster": round(theirs / ours, 1),
            }
        )
        record("ratio", {"rows": rows})
    return {"rows": rows}


def reloaded(model: Sam3Model, processor: Any) -> Segmenter:
    """The segmenter of a model in memory, by way of a folder."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return Segmenter.from_pretrained(folder, device="cpu")


def build_full_size(folder: str) -> None:
    """Save SAM3-LiteText-S0 at its real size with random weights in ``folder`` (fp32, about 2 GB)."""
    torch.manual_seed(0)
    text = {"num_hidden_layers": 6, "max_position_embeddings": 16}  # the published S0; 5.23's defaults are no variant
    model = Sam3LiteTextModel(Sam3LiteTextConfig(text_config=text))
    with torch.no_grad():
        model.detr_decoder.presence_head.layer3.bias.fill_(4.0)  # present, so that masks are decoded too
    model.save_pretrained(folder)
    Sam3ImageProcessor().save_pretrained(folder)


def run_full_size(folder: str, photos: list[str], prompts: int) -> None:
    """Print, a JSON document a line: what the stages of the model in ``folder`` take, then every photo's figures."""
    start = clock()
    segmenter = Segmenter.from_pretrained(folder, device="cpu").freeze(PROMPTS)
    loaded = clock() - start
    start = clock()
    pixels = segmenter.backend.pixels(read_image(photos[0]))
    with torch.inference_mode():
        image = decode.encode_images(segmenter.backend.detector, pixels)
        vision = clock() - start
        start = clock()
        found = decode.detect(segmenter.backend.detector, image, segmenter.text.encode(PROMPTS[:1]))
        prompt = clock() - start
        # Random weights score all queries alike: take the threshold that about ten of a prompt's 200 reach.
        threshold = float(found.scores.flatten().topk(10).values[-1])
        start = clock()
        decode.mask_logits(segmenter.backend.detector, image, found, [0], torch.arange(10)[None])
        pixel_decoder = clock() - start
    del image, found
    stages = {
        "parameters_without_text": sum(p.numel() for p in segmenter.backend.detector.parameters()),
        "load_seconds": round(loaded, 1),
        "vision_seconds": round(vision, 1),
        "prompt_seconds": round(prompt, 2),
        "pixel_decoder_seconds": round(pixel_decoder, 2),
        "prompts": prompts,
    }
    print(json.dumps(stages), flush=True)
    for photo in photos:
        start = clock()
        instances = segmenter.segment(photo, PROMPTS[:prompts], threshold=threshold, batch_size=4)
        row = {
            "photo": Path(photo).name,
            "size": f"{instances.size[1]}x{instances.size[0]}",
            "seconds": round(clock() - start, 1),
            "instances": len(instances),
            "prompts_found": len(set(instances.labels)),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(row), flush=True)


def full(photos: list[str], prompts: int) -> None:
    """Build and run the full-size model, each in a process of its own; record every photo as it is done."""
    result = json.loads(RESULTS.read_text()).get("full", {}) if RESULTS.exists() else {}
    rows = [row for row in result.get("photos", ()) if "photo" in row and result["prompts"] == prompts]
    done = {row["photo"] for row in rows}
    left = [photo for photo in photos if Path(photo).name not in done]
    if not left:
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, __file__, "build", folder], check=True)
        command = [sys.executable, __file__, "run", folder, *left, "-n", str(prompts)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            stages = json.loads(run.stdout.readline())
            for line in run.stdout:
                rows.append(json.loads(line))
                seconds = [row["seconds"] for row in rows]
                record(
                    "full",
                    stages
                    | {
                        "photos_done": len(rows),
                        "seconds": round(sum(seconds), 1),
                        "seconds_a_photo": round(statistics.median(seconds), 1),
                        "peak_memory_mib": max(row["peak_memory_mib"] for row in rows),
                        "photos": rows,
                    },
                )
    if run.returncode:
        raise SystemExit(run.returncode)


def record(name: str, result: dict[str, Any]) -> None:
    """Print the result and keep it beside the others in benchmarks/segment.json."""
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[name] = result | {"setup": machine | {"cores": os.cpu_count()}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    print(json.dumps(kept[name], indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(dest="stage", required=True)
    stages.add_parser("ratio")
    for name in ("full", "run"):
        stage = stages.add_parser(name)
        if name == "run":
            stage.add_argument("folder")
        stage.add_argument("photos", nargs="+")
        stage.add_argument("-n", "--prompts", type=int, default=10)
    stages.add_parser("build").add_argument("folder")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.stage == "ratio":
        ratio()
    elif given.stage == "full":
        full(given.photos, given.prompts)
    elif given.stage == "build":
        build_full_size(given.folder)
    else:
        run_full_size(given.folder, given.photos, given.prompts)


if __name__ == "__main__":
    main()
