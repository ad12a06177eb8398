"""Train `mini` from nothing: dense first, then with the detector, then everything.

Stage ``dense`` runs the vision encoder once an image and scores every place of the feature map against the texts of
all concepts and of the phrases asked, so one pass teaches vision and language what is what. Stage ``semantic`` adds
the detector's encoder, the presence token and the semantic map; stage ``all`` adds boxes, classes and masks.
Batch i is the same in every run, and checkpoints hold all other state, so a killed run continues where it was and
ends with the weights it would have had.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ..errors import LitetextError, choice_error
from ..files import atomic_path
from ..tokenizer import Tokenizer
from .batches import Batch, Batches, pixels_of, vocabulary_texts
from .concepts import CONCEPTS
from .losses import WEIGHTS, balanced, box_iou, corners, detection_losses, dice, focal, match
from .model import Mini, Shape, Vision, on_grid
from .optimizer import MuonAndAdamW

TRAIN_SEED = 1_000
STAGES = ("dense", "semantic", "all")
COPIES = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a mini is trained.

    Attributes:
        shape: of the model.
        concepts: how many of the world's concepts (the first ones) it is to know.
        steps: of the stages dense, semantic and all.
        many_steps: until then several queries learn to score each object; afterwards one.
        text_steps: after so many steps the text encoder stays as it is (None: never): the rest learns on, a little
            faster, and students of the text can be distilled meanwhile.
        images, phrases: scenes a step and phrases a scene, by stage.
        crowds, negatives: their shares in training; the held-out scenes have the world's own.
        mask_rows: phrases a step, at most, whose masks are computed: the pixel decoder is the cost.
        rate: the highest learning rate; linear warm-up, a cosine to less than half of it, then a straight line to
            nothing in the last eighth.
        seed: of weights and scenes.
        checkpoint_every, evaluate_every: steps.
        workers: processes that draw scenes.
    """

    shape: Shape = field(default_factory=lambda: Shape(image_size=96))
    concepts: int = 64
    steps: tuple[int, int, int] = (3000, 200, 5900)
    many_steps: int = 5600
    text_steps: int | None = 5400
    images: tuple[int, int, int] = (8, 8, 8)
    phrases: tuple[int, int, int] = (6, 6, 6)
    crowds: float = 0.2
    negatives: float = 0.4
    mask_rows: int = 12
    rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 150
    seed: int = 0
    checkpoint_every: int = 100
    evaluate_every: int = 500
    workers: int = 1

    def stage(self, step: int) -> int:
        """The index of the stage that ``step`` belongs to."""
        return 0 if step < self.steps[0] else 1 if step < self.steps[0] + self.steps[1] else 2

    def rate_at(self, step: int) -> float:
        """The learning rate of ``step``."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        bend = 0.88 * sum(self.steps)
        share = 0.45 + 0.55 * 0.5 * (1 + math.cos(math.pi * min(1, step / bend)))
        return self.rate * share * min(1, (sum(self.steps) - step) / (sum(self.steps) - bend))


PRESETS: dict[str, tuple[Recipe, ...]] = {
    "cpu": (
        Recipe(),
        # Outlines are what a larger picture improves, and the detector takes it as it is: pmF1 is 46 at once.
        Recipe(shape=Shape(image_size=128), steps=(0, 0, 3800), many_steps=0, text_steps=0, rate=6e-4),
    ),
    "gpu": (
        Recipe(
            shape=Shape(vision_width=256, vision_layers=7, detector_width=96, detector_ffn=384, text_width=256),
            concepts=200,
            steps=(15_000, 5_000, 60_000),
            many_steps=30_000,
            text_steps=None,
            images=(192, 64, 64),
            phrases=(8, 8, 8),
            rate=1e-3,
            warmup=1_000,
            checkpoint_every=1_000,
            evaluate_every=2_000,
            workers=14,
        ),
    ),
}
"""Each is one or more recipes: every one starts from the weights of the one before, perhaps on a larger picture."""


def recipes(name: str, seed: int = 0) -> tuple[Recipe, ...]:
    """Return a preset by name, its first recipe seeded with ``seed``; an unknown name is an error that lists them."""
    if name not in PRESETS:
        raise choice_error("training preset", name, tuple(PRESETS))
    return tuple(replace(one, seed=seed + number) for number, one in enumerate(PRESETS[name]))


def known_concepts(count: int) -> list[str]:
    """The names of the first ``count`` concepts of the world."""
    return [concept.name for concept in CONCEPTS[:count]]


def losses_of(model: Mini, batch: Batch, stage: int, mask_rows: int, class_copies: int = 1) -> dict[str, Tensor]:
    """Return the losses of one batch by name, unweighted; which ones there are depends on the stage."""
    vision = model.vision(pixels_of(batch.images))
    tokens, real = model.texts(batch.ids)
    losses = _dense_losses(model, vision, tokens, real, batch)
    if stage == 0:
        return losses
    # The detector's first steps must not undo what the dense stage taught, so its losses start beside it.
    prediction = model.detect(vision, batch.image_of, tokens, real)
    present = batch.targets[:, 0] > 0
    losses["presence"] = F.binary_cross_entropy_with_logits(
        prediction.presence, present.float().expand_as(prediction.presence)
    )
    side = vision.maps[-1].shape[-1]
    losses["encoded"] = balanced(
        model.encoded_head(prediction.encoded).view(-1, side, side), coverage(batch, side, slice(None))
    )
    rows = present.nonzero().squeeze(1)
    if len(rows) == 0:
        return losses
    drawn = rows[:: -(-len(rows) // mask_rows)]
    masks, semantic = model.pixels(vision, batch.image_of, tokens, real, prediction, drawn)
    target = coverage(batch, semantic.shape[-1], drawn)
    losses["semantic"] = focal(semantic, target) * 5 + dice(semantic, target)
    if stage == 1:
        return losses
    valid = batch.targets[rows] > 0
    wanted = batch.boxes[rows]
    last = len(prediction.scores) - 1
    # The early layers learn boxes one-to-many, as SAM3's extra branch does; only the last one's answers are used.
    layers = [
        detection_losses(scores[rows], boxes[rows], wanted, valid, 1 if layer == last else COPIES, class_copies)
        for layer, (scores, boxes) in enumerate(zip(prediction.scores, prediction.boxes, strict=True))
    ]
    for name in layers[0]:
        losses[name] = torch.stack([layer[name] for layer in layers]).mean()
    row, query, slot = match(
        prediction.scores[-1][drawn], prediction.boxes[-1][drawn], batch.boxes[drawn], batch.targets[drawn] > 0
    )
    pair = drawn[row]
    # The masks are judged at twice their resolution, since what counts is their edge after upsampling.
    fine = F.interpolate(masks[row, query][:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    exact = batch.instances[batch.image_of[pair]] == batch.targets[pair, slot][:, None, None]
    shrink = exact.shape[-1] // fine.shape[-1]
    exact_mask = F.avg_pool2d(exact.float()[:, None], shrink)[:, 0]
    losses["mask"] = focal(fine, exact_mask)
    losses["dice"] = dice(fine, exact_mask)
    return losses


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """The weighted sum."""
    return torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()


def coverage(batch: Batch, side: int, rows: Tensor | slice) -> Tensor:
    """The share of every cell of a side x side grid that the phrases' objects cover: [R, side, side]."""
    instances = batch.instances[batch.image_of[rows]].long()
    targets = batch.targets[rows]
    table = torch.zeros(len(targets), 256, device=targets.device)
    table.scatter_(1, targets, 1.0)
    table[:, 0] = 0
    covered = table.gather(1, instances.flatten(1)).view(instances.shape)
    return F.avg_pool2d(covered[:, None], instances.shape[-1] // side)[:, 0]


def _dense_losses(model: Mini, vision: Vision, tokens: Tensor, real: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every place says which concept and colour it shows, and which of the phrases asked of *any* image is true there.

    Phrases asked of other images are phrases like any other here, so one pass over B images is B * P questions.
    """
    losses = {}
    coarse = _centres(batch.instances, vision.maps[-1].shape[-1]).flatten(1)
    concepts = batch.concept_of.gather(1, coarse).flatten()
    colors = batch.color_of.gather(1, coarse).flatten()
    on_object = concepts > 0
    rarity = torch.ones(len(CONCEPTS) + 1, device=concepts.device)
    rarity[0] = 0.15
    losses["concept"] = F.cross_entropy(model.concept_head(vision.hidden).flatten(0, 1).float(), concepts, rarity)
    hidden = vision.hidden.flatten(0, 1)[on_object]
    losses["color"] = F.cross_entropy(model.color_head(hidden).float(), colors[on_object])
    losses |= _dense_boxes(model, vision, batch)
    phrases = []
    for level in vision.maps:
        logits = model.dense_logits(level, tokens, real)
        places = _centres(batch.instances, level.shape[-1])
        rows = torch.arange(len(places), device=places.device)[:, None, None]
        truth = batch.truth[rows, places]  # [B, h, w, P]
        true, clear = (truth == 1).float(), (truth >= 0).float()
        wrong = (true - logits.detach().sigmoid()).abs() ** 2
        entropy = F.binary_cross_entropy_with_logits(logits.float(), true, reduction="none")
        phrases.append((entropy * wrong * clear * (0.25 + 0.5 * true)).sum() / (true.sum() + 1))
    losses["phrases"] = torch.stack(phrases).sum()
    return losses


def _dense_boxes(model: Mini, vision: Vision, batch: Batch) -> dict[str, Tensor]:
    """Every place on an object says where that object is: its box on the coarse map, its centre on the fine one.

    Phrases have no part in it, so one pass over an image teaches all its objects' places.
    """
    rows = torch.arange(len(batch.images), device=batch.images.device)[:, None, None]
    coarse, fine = (_centres(batch.instances, level.shape[-1]) for level in (vision.maps[-1], vision.maps[0]))
    found, wanted = model.dense_boxes(vision.maps[-1])[coarse > 0], batch.box_of[rows, coarse][coarse > 0]
    _, giou = box_iou(corners(found), corners(wanted))
    centers = model.dense_centers(vision.maps[0])[fine > 0]
    return {
        "dense_box": (1 - giou).mean() + 2 * (found - wanted).abs().sum(-1).mean(),
        "center": (centers - batch.box_of[rows, fine][fine > 0][:, :2]).abs().sum(-1).mean(),
    }


def _centres(instances: Tensor, side: int) -> Tensor:
    """The object numbers at the centres of a side x side grid: [B, side, side] int64."""
    step = instances.shape[-1] // side
    return instances[:, step // 2 :: step, step // 2 :: step].long()


class _Steps(Sampler[int]):
    """The steps from ``start`` to ``stop``."""

    def __init__(self, start: int, stop: int) -> None:
        self.steps = range(start, stop)

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


@dataclass
class Run:
    """A training run: the model, its optimizer, and how far it is."""

    recipe: Recipe
    model: Mini
    optimizer: MuonAndAdamW
    tokenizer: Tokenizer
    step: int = 0

    @classmethod
    def fresh(cls, recipe: Recipe, device: torch.device) -> Run:
        """Start from drawn weights."""
        torch.manual_seed(recipe.seed)
        tokenizer = Tokenizer().prune_vocabulary(vocabulary_texts())
        model = Mini(recipe.shape, tokenizer.vocab_size).to(device)
        return cls(recipe, model, MuonAndAdamW(model, recipe.rate, recipe.weight_decay), tokenizer)

    def save(self, path: Path) -> None:
        """Write everything a run needs to go on, atomically."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "recipe": asdict(self.recipe),
            "rng": torch.get_rng_state(),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def start_from(self, folder: Path) -> None:
        """Take the weights of another run, whose input may be of another size; all else starts anew.

        Raises:
            LitetextError: no run has been there, or its model has other shapes.
        """
        path = folder / "checkpoint.pt"
        if not path.exists():
            raise LitetextError(f"{path} does not exist; no run to start from has been there")
        weights = torch.load(path, map_location="cpu", weights_only=True)["model"]
        detector = {name[9:]: tensor for name, tensor in weights.items() if name.startswith("detector.")}
        fitted = {f"detector.{name}": tensor for name, tensor in on_grid(detector, self.recipe.shape).items()}
        try:
            self.model.load_state_dict({**weights, **fitted})
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise LitetextError(f"{path} does not fit the recipe that follows ({reason})") from None

    def load(self, path: Path, device: torch.device) -> None:
        """Go on from a checkpoint of the same recipe."""
        state = torch.load(path, map_location=device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise LitetextError(f"{path} was written by another recipe; give --resume never or another --out")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        torch.set_rng_state(state["rng"].cpu())


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = True,
    device: torch.device | None = None,
    initial: Callable[[Run], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_evaluation: Callable[[int, dict[str, float]], None] | None = None,
) -> Run:
    """Train, and leave ``checkpoint.pt``, ``losses.csv``, ``curve.csv`` and TensorBoard events in ``out``.

    Args:
        recipe: what to do.
        out: a folder; with ``resume`` a checkpoint in it is continued.
        device: where to compute; bf16 autocast on CUDA, fp32 on the CPU.
        initial: given the fresh run, may load weights into its model (not called when a run is resumed).
        on_step: called with the step.
        on_evaluation: called with step and the metrics on held-out scenes.
    """
    from torch.utils.tensorboard import SummaryWriter

    from .quick import evaluate_quickly

    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    run = Run.fresh(recipe, device)
    checkpoint = out / "checkpoint.pt"
    if resume and checkpoint.exists():
        run.load(checkpoint, device)
    elif initial is not None:
        initial(run)
    writer = SummaryWriter(str(out / "tensorboard"), purge_step=run.step)
    started = time.monotonic()
    for batch in _batches(recipe, run.tokenizer, run.step):
        losses = _one_step(run, batch.to(device), device)
        run.step += 1
        if run.step % 20 == 0:
            values = {name: float(value) for name, value in losses.items()}
            for name, value in values.items():
                writer.add_scalar(f"loss/{name}", value, run.step)
            _append(out / "losses.csv", {"step": run.step, "seconds": time.monotonic() - started, **values}, _COLUMNS)
        if on_step:
            on_step(run.step)
        last = run.step == sum(recipe.steps)
        if run.step % recipe.checkpoint_every == 0 or last:
            run.save(checkpoint)
        if run.step % recipe.evaluate_every == 0 or last:
            metrics = evaluate_quickly(run.model, run.tokenizer, known_concepts(recipe.concepts))
            for name, number in metrics.items():
                writer.add_scalar(f"held-out/{name}", number, run.step)
            _append(out / "curve.csv", {"step": run.step, "seconds": time.monotonic() - started, **metrics})
            if on_evaluation:
                on_evaluation(run.step, metrics)
    writer.close()
    return run


def train_in_turn(
    plan: Sequence[Recipe],
    out: Path,
    *,
    resume: bool = True,
    device: torch.device | None = None,
    initial: Callable[[Run], None] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_evaluation: Callable[[int, dict[str, float]], None] | None = None,
) -> Run:
    """Train recipe after recipe in ``out/1``, ``out/2`` …, each from the weights of the one before.

    Arguments as `train` takes them; steps are counted through. Returns the last run.
    """
    if not plan:
        raise ValueError("a plan is at least one recipe")
    done = 0

    def step_taken(step: int) -> None:
        if on_step:
            on_step(done + step)

    def evaluated(step: int, metrics: dict[str, float]) -> None:
        if on_evaluation:
            on_evaluation(done + step, metrics)

    for number, recipe in enumerate(plan, start=1):
        run = train(
            recipe,
            out / str(number),
            resume=resume,
            device=device,
            initial=initial,
            on_step=step_taken,
            on_evaluation=evaluated,
        )
        initial = partial(Run.start_from, folder=out / str(number))
        done += sum(recipe.steps)
    return run


_COLUMNS = ["step", "seconds", *WEIGHTS]


def _batches(recipe: Recipe, tokenizer: Tokenizer, start: int) -> Iterator[Batch]:
    """All batches from step ``start`` on, stage after stage."""
    boundary = 0
    for stage, steps in enumerate(recipe.steps):
        first, boundary = max(start, boundary), boundary + steps
        if first >= boundary:
            continue
        drawn = Batches(
            tokenizer,
            TRAIN_SEED + 10 * recipe.seed + 2 * stage,
            known_concepts(recipe.concepts),
            recipe.shape.image_size,
            recipe.images[stage],
            recipe.phrases[stage],
            recipe.crowds,
            recipe.negatives,
            hold_out=True,
        )
        yield from DataLoader(
            drawn,
            batch_size=None,
            sampler=_Steps(first, boundary),
            num_workers=recipe.workers,
            prefetch_factor=4 if recipe.workers else None,
            multiprocessing_context="fork" if recipe.workers else None,
            worker_init_fn=_be_humble,
        )


def _be_humble(worker: int) -> None:
    """One thread a worker: the model needs the cores."""
    torch.set_num_threads(1)


def _one_step(run: Run, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    run.model.train()
    run.model.text.requires_grad_(run.recipe.text_steps is None or run.step < run.recipe.text_steps)
    rate = run.recipe.rate_at(run.step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    copies = COPIES if run.step < run.recipe.many_steps else 1
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        losses = losses_of(run.model, batch, run.recipe.stage(run.step), run.recipe.mask_rows, copies)
        loss = total_loss(losses)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 2.0, foreach=True)
    run.optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


def _append(path: Path, row: dict[str, Any], columns: list[str] | None = None) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns or list(row))
        if fresh:
            writer.writeheader()
        writer.writerow({name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()})
