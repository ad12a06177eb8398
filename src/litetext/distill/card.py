"""What a distilled checkpoint's model card says of its making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from ..encoders import EncoderConfig
from .config import LossWeights, TrainConfig
from .trainer import TrainResult

_CURVE_ROWS = 12


def distillation_notes(
    teacher: str,
    teacher_config: EncoderConfig,
    student: EncoderConfig,
    data: Mapping[str, object],
    config: TrainConfig,
    result: TrainResult,
    command: str,
) -> str:
    """Return Markdown for a model card: teacher, data, recipe, curve, held-out figures.

    Args:
        teacher: its name.
        teacher_config: the teacher's shape, for its live parameters.
        student: the student's shape.
        data: what it learned from, by name of the figure.
        config: of the run.
        result: of the run.
        command: what to type to repeat it.
    """
    live, of_teacher = student.live_parameters(), teacher_config.live_parameters()
    lines = [
        "## Distilled",
        "",
        f"From `{teacher}` ({of_teacher:,} live parameters) into {live:,}: {1 - live / of_teacher:.1%} fewer.",
        "",
        *_table({name: value for name, value in data.items() if value is not None}),
        "",
        "### Recipe",
        "",
        *_table(_recipe(config, result)),
        "",
    ]
    if result.held_out is not None:
        figures = asdict(result.held_out)
        lines += [
            "### Held out",
            "",
            f"{figures['prompts']:,} prompts ({figures['tokens']:,} tokens) whose concepts (stems) training never saw, "
            "compared with the teacher:",
            "",
            *_table(
                {
                    "token cosine, mean": f"{figures['mean_cosine']:.4f}",
                    "token cosine, 5th percentile": f"{figures['p5_cosine']:.4f}",
                    "cosine of the prompts' mean features": f"{figures['pooled_cosine']:.4f}",
                    "mean squared error": f"{figures['mse']:.4g}",
                }
            ),
            "",
        ]
    lines += ["### Curve", "", *_curve(result.history), "", "```bash", command, "```"]
    return "\n".join(lines)


def _recipe(config: TrainConfig, result: TrainResult) -> dict[str, object]:
    weights = config.losses.active()
    rows: dict[str, object] = {
        "steps": f"{result.steps:,} of {config.batch_size} prompts",
        "learning rate": f"{config.learning_rate:g}, warm-up {config.warmup_ratio:.0%}, then a cosine to nothing",
        "AdamW": f"weight decay {config.weight_decay:g}, gradient norm at most {config.max_grad_norm:g}",
        "losses": ", ".join(f"{weight:g} × {name}" for name, weight in weights.items()),
        "precision": config.precision,
        "seed": config.seed,
        "time": f"{result.seconds:,.0f} s, {result.prompts_per_second:,.0f} prompts/s",
    }
    if config.ema_decay:
        rows["average of weights"] = f"decay {config.ema_decay:g}"
    return rows


def _curve(history: Sequence[Mapping[str, float]]) -> list[str]:
    """About a dozen rows of the history as a table, the last one among them."""
    every = max(1, -(-len(history) // _CURVE_ROWS))
    rows = history[len(history) - 1 :: -every][::-1]
    names = [field.name for field in fields(LossWeights) if any(field.name in row for row in rows)]
    header = ["step", "loss", *names, "held-out cosine", "p5"]
    table = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        figures = [f"{row['total']:.4f}", *(f"{row[name]:.4f}" if name in row else "" for name in names)]
        figures += [f"{row[key]:.4f}" if key in row else "" for key in ("held_out_mean_cosine", "held_out_p5_cosine")]
        table.append(f"| {row['step']:.0f} | " + " | ".join(figures) + " |")
    return table


def _table(rows: Mapping[str, object]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
