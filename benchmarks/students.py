"""Students of mini's teacher, and the paper's ablations on them: what docs/results.md says comes from here.

    python benchmarks/students.py train [main ...]   students not yet trained (weights in runs/students; resumes)
    python benchmarks/students.py score [main ...]   what of them is not yet scored with this segmenter (resumes)
    python benchmarks/students.py report             the tables, as Markdown, and docs/results/frontier.png
    python benchmarks/students.py pack DIR           the "11 %" student as an encoder, to be shipped

Names are of experiments (all by default), so that two processes can share the work.

MINI=FOLDER takes another mini than the shipped one.

Every student learns from phrases alone and is then plugged into the same segmenter; the figures are SA-Co's, on scenes
that training never drew. Run with OMP_NUM_THREADS=1 (and tcmalloc): a run takes half a minute to two minutes.
"""

from __future__ import annotations

import copy
import fcntl
import hashlib
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litetext.data import resolve
from litetext.distill import (
    Downstream,
    EncoderTeacher,
    Examples,
    LossWeights,
    TrainConfig,
    chunks_of,
    fitted,
    fresh_student,
    prompt_ids,
    take_embedding,
    train,
)
from litetext.encoders import TextFeatures, TorchTextEncoder, load_torch_encoder
from litetext.encoders.checkpoints import save_encoder
from litetext.encoders.config import Convention, EncoderConfig, preset
from litetext.evaluate.compare import compare
from litetext.evaluate.image import ImageMetrics, evaluate_images
from litetext.files import atomic_path, write_json
from litetext.json_files import read_json
from litetext.mini.evaluation import predictions
from litetext.mini.export import DrawnPairs, draw_pairs, saco_document
from litetext.mini.facts import facts_of, known_phrases
from litetext.mini.world import World
from litetext.probe.downstream import downstream_of
from litetext.ragged import Ragged
from litetext.results.formats.saco import ground_truth_from
from litetext.segment import Segmenter

HERE = Path(__file__).parent
RESULTS = HERE / "students.json"
WEIGHTS = HERE.parent / "runs" / "students"
PHRASES, NEW_PHRASES = 12_000, 1_000
SEEDS = (0, 1, 2)

# Widths and layers; the feed-forward width takes what the budget (a share of the teacher's live parameters) leaves.
SIZES = {"35 %": (192, 3, 0.35), "18 %": (128, 3, 0.18), "11 %": (128, 2, 0.11), "3 %": (64, 1, 0.03)}
FRONTIER = {"6 %": (64, 2, 0.06), "2 %": (32, 1, 0.02), "1 %": (16, 1, 0.011)}
S0 = "S0"  # the published student's own shape on this vocabulary: where the frontier begins
RATES = {"control": 1e-2, S0: 1e-3}
TABLES = ("35 %", "18 %", "11 %")  # as many as the paper has students


@dataclass(frozen=True)
class Run:
    """One student to train.

    Attributes:
        size: a key of `SIZES` or `FRONTIER`, or "control".
        context: L, of the student and of the targets.
        losses: weights.
        bottleneck: dimensions that the features pass through before the projector, or None.
        start: "drawn", or "pca" for the teacher's embedding through its principal components.
        steps, seed: of the training.
    """

    size: str
    context: int = 16
    losses: LossWeights = field(default_factory=LossWeights)
    bottleneck: int | None = None
    start: str = "drawn"
    steps: int = 250
    seed: int = 0

    @property
    def name(self) -> str:
        """What this run is filed under: all that makes it differ."""
        weights = " ".join(f"{key}={value:g}" for key, value in self.losses.active().items())
        parts = [self.size, f"L={self.context}", weights, f"{self.steps} steps", f"seed {self.seed}"]
        parts += [f"bottleneck {self.bottleneck}"] if self.bottleneck else []
        parts += ["pca"] if self.start == "pca" else []
        return ", ".join(parts)


MAIN_STEPS = 3000
S0_STEPS = 1000  # what there was time for
FLAT = "teacher, positions from 8 on replaced by their mean"
BATCH = 64
LOSSES = {
    "MSE": LossWeights(mse=1, cosine=0, consistency=0),
    "cosine": LossWeights(mse=0, cosine=2, consistency=0),
    "MSE + cosine": LossWeights(mse=1, cosine=2, consistency=0),
    "MSE + cosine + 0.05 consistency": LossWeights(mse=1, cosine=2, consistency=0.05),
    "MSE + cosine + 0.1 consistency": LossWeights(mse=1, cosine=2, consistency=0.1),
}
BEYOND = {
    "+ relational": LossWeights(relational=1.0),
    "+ downstream": LossWeights(downstream=1.0),
    "downstream and cosine": LossWeights(mse=0, cosine=2, consistency=0, downstream=1.0),
}


def experiments() -> dict[str, list[Run]]:
    """Every run by experiment; a run that two experiments share is trained once."""
    return {
        "main": [Run(size, steps=MAIN_STEPS) for size in ("11 %", "control", "18 %", "3 %", "35 %")],
        "context": [Run(size, context, seed=seed) for context in (8, 16, 32) for seed in SEEDS for size in TABLES],
        "losses": [
            Run(size, losses=losses, seed=seed) for losses in LOSSES.values() for seed in SEEDS for size in TABLES
        ],
        "bottleneck": [Run("11 %", bottleneck=width, seed=seed) for width in (8, 16, 32, 64) for seed in SEEDS],
        "beyond": [Run("11 %", losses=losses, seed=seed) for losses in BEYOND.values() for seed in SEEDS]
        + [Run("11 %", start="pca", seed=seed) for seed in SEEDS],
        "frontier": [Run(size, steps=MAIN_STEPS) for size in FRONTIER] + [Run(S0, steps=S0_STEPS)],
        "main, other seeds": [
            Run(size, steps=MAIN_STEPS, seed=seed) for seed in SEEDS[1:] for size in ("control", "11 %")
        ],
    }


def planned(names: Sequence[str]) -> list[Run]:
    """The runs of the experiments named (all by default), each once."""
    plan = experiments()
    return list(dict.fromkeys(run for name in names or plan for run in plan[name]))


class ContextFree(nn.Module):
    """The control: the mean of a phrase's token embeddings through one linear layer, the same at every token.

    It has as many parameters as a student, and no way to use the order of the words or which attends to which.
    """

    def __init__(self, config: EncoderConfig, budget: int) -> None:
        super().__init__()
        self.config = config
        width = (budget - config.output_dim) // (config.vocab_size + config.output_dim)
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.linear = nn.Linear(width, config.output_dim)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        eot = self.config.vocab_size - 1
        padding = ((ids == eot).int().cumsum(1) - (ids == eot).int()) > 0
        real = ~padding.unsqueeze(-1)
        mean = (self.embedding(ids) * real).sum(1) / real.sum(1)
        return self.linear(mean).unsqueeze(1) * real, padding


class ControlEncoder:
    """`ContextFree` behind the seam."""

    def __init__(self, module: ContextFree, tokenizer: Any) -> None:
        self.module, self.tokenizer = module, tokenizer

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> TextFeatures:
        ids = self.tokenizer(list(prompts), self.module.config.convention.context_length)
        return TextFeatures(*self.module(torch.from_numpy(ids)))


class Experiments:
    """What all runs share: the teacher, the phrases, the scenes, and what is already known."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.folder = Path(os.environ.get("MINI") or resolve("mini"))
        self.encoder = load_torch_encoder(self.folder / "text" / "teacher")
        self.teacher = EncoderTeacher(self.encoder.module)
        self.tokenizer = self.encoder.tokenizer
        self.segmenter = Segmenter.from_pretrained(self.folder, text=self.encoder, device="cpu")
        self.detector = hashlib.sha256((self.folder / "segmenter" / "model.safetensors").read_bytes()).hexdigest()[:16]
        self.weights = WEIGHTS / self.teacher.digest[:16]
        self.weights.mkdir(parents=True, exist_ok=True)
        self.results = self.known()
        self._examples: dict[tuple[int, bool], Examples] = {}
        self._teacher_metrics: dict[str, ImageMetrics] = {}

    @cached_property
    def phrases(self) -> dict[bool, list[str]]:
        """Phrases to learn from (False) and to be held to (True): colours on concepts that never meet in the first."""
        return {
            False: known_phrases(PHRASES, 0, folder=self.folder, new=False),
            True: known_phrases(NEW_PHRASES, 1, folder=self.folder, new=True),
        }

    def examples(self, context: int, new: bool) -> Examples:
        """Phrases with the teacher's features at one context length."""
        if (context, new) not in self._examples:
            phrases = self.phrases[new]
            ids = prompt_ids(phrases, self.tokenizer, context)
            targets = Ragged(self.teacher.features(ids), ids.offsets)
            self._examples[context, new] = Examples(ids, targets, chunks_of(phrases, ids, self.tokenizer))
        return self._examples[context, new]

    @cached_property
    def drawn(self) -> dict[str, DrawnPairs]:
        """Scenes that training never drew: many for the main students, fewer for the ablations."""
        facts = facts_of(self.folder)
        world = World(facts["known_concepts"], size=facts["image_size"])
        return {"main": draw_pairs(world, 21, 1500), "ablation": draw_pairs(world, 22, 400)}

    def shape(self, size: str, context: int) -> EncoderConfig:
        """The student of a size: a plain transformer whose feed-forward layers take what the budget leaves, or S0."""
        if size == S0:
            teacher = self.encoder.config
            plain = replace(preset("s0"), unused_projection=0)
            return fitted(plain, output_dim=teacher.output_dim, vocab_size=teacher.vocab_size, context_length=context)
        width, layers, share = (SIZES | FRONTIER)["11 %" if size == "control" else size]
        teacher = self.encoder.config
        config = EncoderConfig(
            f"mini-{size.replace(' ', '')}",
            width,
            max(1, width // 64),
            width,
            layers,
            causal=False,
            vocab_size=teacher.vocab_size,
            position_rows=context,
            output_dim=teacher.output_dim,
            convention=Convention(context, 0, "everywhere", "slice"),
        )
        left = share * teacher.live_parameters() - replace(config, ffn=8).live_parameters()
        return replace(config, ffn=max(8, 8 * int(1 + left / (layers * 2 * width) / 8)))

    def student(self, run: Run) -> nn.Module:
        """A student with drawn weights."""
        config = self.shape(run.size, run.context)
        torch.manual_seed(run.seed)
        if run.size == "control":
            return ContextFree(config, config.live_parameters())
        module = fresh_student(config, run.seed)
        if run.start == "pca":
            take_embedding(module, self.encoder.module.token_embedding.weight)
        if run.bottleneck:
            module.projector = nn.Sequential(
                nn.Linear(config.width, run.bottleneck, bias=False), nn.Linear(run.bottleneck, config.output_dim)
            )
        return module

    def behind_the_seam(self, module: nn.Module) -> Any:
        """A trained student as a text encoder."""
        if isinstance(module, ContextFree):
            return ControlEncoder(module, self.tokenizer)
        return TorchTextEncoder(module, self.tokenizer)

    @cached_property
    def readers(self) -> Downstream:
        """What the detector's attentions read of the text."""
        return downstream_of(str(self.folder), "reads", self.segmenter.dim, torch.device("cpu"))

    def run(self, run: Run) -> tuple[nn.Module, dict[str, Any]]:
        """Train one student and measure it."""
        module = self.student(run)
        rate = RATES.get(run.size, 3e-3)
        result = train(
            module,
            self.examples(run.context, False),
            TrainConfig(steps=run.steps, batch_size=BATCH, learning_rate=rate, losses=run.losses, seed=run.seed),
            held_out=self.examples(run.context, True),
            downstream=self.readers if run.losses.downstream else None,
            device="cpu",
        )
        assert result.held_out is not None
        parameters = sum(parameter.numel() for parameter in module.parameters())
        return module, {
            "parameters": parameters,
            "share": round(parameters / self.encoder.config.live_parameters(), 4),
            "seconds": round(result.seconds, 1),
            "prompts_a_second": round(result.prompts_per_second),
            **{name: round(value, 4) for name, value in asdict(result.held_out).items() if "cosine" in name},
        }

    def score(self, encoder: Any, scenes: str) -> ImageMetrics:
        """The segmenter's metrics with ``encoder``."""
        drawn = self.drawn[scenes]
        segmenter = Segmenter(self.segmenter.backend, encoder)
        answers = predictions(segmenter, drawn, [pair.text for _, pair in drawn.pairs], threshold=0.5)
        return evaluate_images(ground_truth_from(saco_document(drawn), name="drawn pairs"), answers)

    def teacher_metrics(self, scenes: str) -> ImageMetrics:
        """The same with the teacher."""
        if scenes not in self._teacher_metrics:
            self._teacher_metrics[scenes] = self.score(self.encoder, scenes)
            self.results["scores"][f"teacher, {scenes}"] = figures(self._teacher_metrics[scenes])
        return self._teacher_metrics[scenes]

    def measured(self, module: nn.Module, context: int, scenes: str) -> dict[str, Any]:
        """A student's metrics, and how they differ from the teacher's on the same pairs (paired bootstrap)."""
        metrics = self.score(self.behind_the_seam(module), scenes)
        teacher = self.teacher_metrics(scenes)
        difference = compare(teacher.scores, metrics.scores).differences["cgF1"]
        return {
            **figures(metrics),
            "retained": round(metrics.cgF1 / teacher.cgF1, 4),
            "cgF1_difference": [round(value, 2) for value in (difference.difference, difference.low, difference.high)],
        }

    def score_all(self, names: Sequence[str]) -> None:
        """Score the trained students of the experiments named (all by default), saving after each."""
        for run in planned(names):
            if not self.file(run).exists():
                continue
            module = self.student(run)
            module.load_state_dict(load_file(self.file(run)))
            scenes = "main" if run.steps >= S0_STEPS else "ablation"
            self._score_once(run.name, module, run.context, scenes)
            if run.context == 32:  # trained at 32, read at 16: section 4.2
                self._score_once(f"{run.name}, cut to 16", cut_to(module, 16), 16, scenes)
        if "main" in (names or ["main"]):
            flat = copy.deepcopy(self.encoder.module)  # finding II
            with torch.no_grad():
                flat.position_embedding[8:] = flat.position_embedding[8:].mean(0)
            self._score_once(FLAT, flat, 32, "main")

    def _score_once(self, name: str, module: nn.Module, context: int, scenes: str) -> None:
        if name not in self.known()["scores"]:
            self.results["scores"][name] = self.measured(module, context, scenes)
            self.save()
            print(f"{name}: {json.dumps(self.results['scores'][name])}", flush=True)

    def train_all(self, names: Sequence[str]) -> None:
        """Train what is not yet trained of the experiments named (all of them by default), saving after each."""
        for run in planned(names):
            if run.name not in self.known()["runs"] or not self.file(run).exists():
                module, row = self.run(run)
                with atomic_path(self.file(run)) as temporary:
                    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, str(temporary))
                self.results["runs"][run.name] = row
                self.save()
                print(f"{run.name}: {json.dumps(row)}", flush=True)

    def pack(self, folder: Path) -> None:
        """Write the student that ships as an encoder."""
        run = experiments()["main"][0]
        module = self.student(run)
        module.load_state_dict(load_file(self.file(run)))
        save_encoder(module, self.tokenizer, folder)

    def file(self, run: Run) -> Path:
        """Where a student's weights are."""
        return self.weights / f"{run.name.replace(', ', '_').replace(' ', '-').replace('%', 'percent')}.safetensors"

    def known(self) -> dict[str, Any]:
        """What is on disk about the students of this teacher, and their scores with this detector."""
        found = read_json(RESULTS) if RESULTS.exists() else {}
        known: dict[str, Any] = {
            "machine": "2-core CPU, one thread, shared with other work",
            "teacher": self.teacher.digest,
            "detector": self.detector,
            "runs": {},
            "scores": {},
        }
        if found.get("teacher") == self.teacher.digest:
            known["runs"] = found["runs"]
            if found["detector"] == self.detector:
                known["scores"] = found["scores"]
        return known

    def save(self) -> None:
        """Write what is known so far, with what another process of this script has found meanwhile."""
        with (WEIGHTS / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self.known()
            for part in ("runs", "scores"):
                self.results[part] = {**found[part], **self.results[part]}
            write_json(RESULTS, self.results)


def figures(metrics: ImageMetrics) -> dict[str, float]:
    """The three figures of a table."""
    return {"cgF1": round(metrics.cgF1, 2), "pmF1": round(metrics.pmF1, 2), "IL_MCC": round(metrics.IL_MCC, 4)}


def cut_to(module: Any, context: int) -> Any:
    """A student that reads fewer tokens than it was trained with."""
    config = replace(module.config, convention=replace(module.config.convention, context_length=context))
    shorter = copy.copy(module)
    shorter.config = config
    return shorter


def report() -> None:
    """Print every table as Markdown and draw the frontier."""
    results = read_json(RESULTS)
    scores, plan = results["scores"], experiments()
    runs = {name: {**row, **scores[name]} for name, row in results["runs"].items() if name in scores}
    teacher = scores["teacher, main"]
    print(f"Teacher: cgF1 {teacher['cgF1']}, pmF1 {teacher['pmF1']}, IL_MCC {teacher['IL_MCC']} (1,500 pairs)\n")
    head = "| student | parameters | share | cgF1 | pmF1 | IL_MCC | cgF1 kept | difference, 95 % | token cosine |"
    print(head + "\n|" + "---|" * 9)
    for run in (*plan["main"], *plan["frontier"], *plan["main, other seeds"]):
        if (row := runs.get(run.name)) is not None:
            change, low, high = row["cgF1_difference"]
            print(
                f"| {run.size}{f' (seed {run.seed})' if run.seed else ''} | {row['parameters']:,} | {row['share']:.1%} "
                f"| {row['cgF1']:.1f} | {row['pmF1']:.1f} | {row['IL_MCC']:.3f} | {row['retained']:.1%} "
                f"| {change:+.1f} ({low:+.1f} to {high:+.1f}) | {row['mean_cosine']:.3f} |"
            )
    groups: dict[str, list[tuple[str, list[Run]]]] = {
        "Table 5: context length": [
            (f"L = {context}", [run for run in plan["context"] if run.context == context]) for context in (8, 16, 32)
        ],
        "Tables 6 and 7: losses": [
            (name, [run for run in plan["losses"] if run.losses == losses]) for name, losses in LOSSES.items()
        ],
        "Section 3.3: a bottleneck before the projector": [
            (f"{width} dimensions", [run for run in plan["bottleneck"] if run.bottleneck == width])
            for width in (8, 16, 32, 64)
        ],
        "Beyond the paper": [
            ("as the paper", [run for run in plan["losses"] if run.size == "11 %" and run.losses == LossWeights()]),
            *((name, [run for run in plan["beyond"] if run.losses == losses]) for name, losses in BEYOND.items()),
            ("embedding from the teacher's (PCA)", [run for run in plan["beyond"] if run.start == "pca"]),
        ],
    }
    for title, rows in groups.items():
        sizes = [size for size in TABLES if any(run.size == size for _, chosen in rows for run in chosen)]
        print(f"\n### {title}\n")
        print("| | " + " | ".join(f"{size}: cgF1 | token cosine" for size in sizes) + " |")
        print("|---|" + "---|---|" * len(sizes))
        for name, chosen in rows:
            cells = []
            for size in sizes:
                done = [runs[run.name] for run in chosen if run.size == size and run.name in runs]
                cells += [
                    _spread([row[key] for row in done], digits) for key, digits in (("cgF1", 1), ("mean_cosine", 3))
                ]
            print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n### Section 4.2: trained at 32 tokens and cut to 16, against trained at 16\n")
    print("| size | trained at 16 | trained at 32, read at 16 |\n|---|---|---|")
    for size in TABLES:
        chosen = [run for run in plan["context"] if run.size == size and run.name in runs]
        at_16 = [runs[run.name]["cgF1"] for run in chosen if run.context == 16]
        cut = [scores[f"{run.name}, cut to 16"]["cgF1"] for run in chosen if run.context == 32]
        print(f"| {size} | {_spread(at_16, 1)} | {_spread(cut, 1)} |")
    print(f"\nTeacher with positions 8 and up replaced by their mean: {scores.get(FLAT)}")
    _draw_frontier(results)


def _spread(values: list[float], digits: int) -> str:
    """Mean and sample standard deviation over seeds."""
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def draw_retention(axis: Any, results: dict[str, Any]) -> None:
    """Draw on a matplotlib axis what the main students and the control keep of the teacher's cgF1, by parameters."""
    plan, scores = experiments(), results["scores"]
    done = [run for run in (*plan["main"], *plan["frontier"]) if run.name in scores]
    where = {run.size: (results["runs"][run.name]["parameters"], 100 * scores[run.name]["retained"]) for run in done}
    control = where.pop("control")
    axis.plot(*zip(*sorted(where.values()), strict=True), marker="o", color="#c2410c", label="students")
    axis.plot(*control, "s", color="#6b7280", label="no use of context")
    axis.axhline(100, color="#9ca3af", linewidth=0.8, linestyle=":", label="teacher")
    axis.set(xscale="log", xlabel="parameters of the text encoder, millions")
    axis.set_xticks([1e5, 3e5, 1e6, 3e6, 1e7], ["0.1", "0.3", "1", "3", "10"])
    axis.minorticks_off()
    axis.legend(frameon=False, loc="center right")


def _draw_frontier(results: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4))
    draw_retention(axis, results)
    axis.set_ylabel("cgF1 kept of the teacher's, %")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    figure.tight_layout()
    target = HERE.parent / "docs" / "results" / "frontier.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", *names]:
            Experiments().train_all(names)
        case ["score", *names]:
            Experiments().score_all(names)
        case ["pack", folder]:
            Experiments().pack(Path(folder))
        case ["report"]:
            report()
        case _:
            sys.exit(__doc__)
