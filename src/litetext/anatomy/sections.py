"""The study put into words, tables and figures, once; the page, the terminal and the pictures all show these."""

from __future__ import annotations

import math

import numpy as np

from ..encoders import Convention
from ..reports.charts import BarChart, Figure, Heatmap, Line, LineChart, number
from ..reports.page import Section, Table
from . import paper
from .audit import Audit
from .context import Window, window_of
from .convention import ConventionGap
from .manifold import Dimension, FeatureCloud, Manifold, Reading
from .order import OrderSensitivity
from .robustness import STAGES, Robustness
from .spectrum import Spectrum
from .study import EncoderStudy

_NOT_PRINTED = "—"


def sections(audit: Audit) -> list[Section]:
    """Return the whole report, in reading order."""
    parts = [_prompts(audit), _context(audit), _vocabulary(audit)]
    for study in audit.encoders:
        parts += _encoder(study, audit)
    return [*parts, _recipe(audit)]


def skipped(audit: Audit) -> list[str]:
    """Return which questions were not asked, each with what it needs."""
    if not audit.encoders:
        return ["3 to 8: about an encoder; name one with --encoder, such as --encoder mini"]
    missing = []
    for study in audit.encoders:
        for question, answer, needs in (
            (4, study.positions, "has no table of positions"),
            (6, study.robustness, "needs a SAM3 that takes its features; name one with --segmenter"),
            (7, study.order, "needs phrases with nouns that have synonyms"),
            (8, study.convention, "is not of a kind that is run under two conventions"),
        ):
            if answer is None:
                missing.append(f"{question}: {study.name} {needs}")
    return missing


def _percent(share: float) -> str:
    return number(share, percent=True)


def _prompts(audit: Audit) -> Section:
    corpus, duplicates = audit.corpus, audit.corpus.duplicates
    rows = [
        ["phrases read", number(corpus.read), f"{paper.PROMPTS:,}"],
        ["distinct", number(len(corpus)), _NOT_PRINTED],
        ["exact repeats removed", number(duplicates.exact), _NOT_PRINTED],
        ["equal to another but for case", number(duplicates.case), _NOT_PRINTED],
        ["equal to another but for an article", number(duplicates.article), _NOT_PRINTED],
        ["near-duplicates merged away", number(duplicates.merged), _NOT_PRINTED],
    ]
    return Section(
        "prompts",
        "The prompts",
        "Phrases are stripped, white space is collapsed and exact repeats are removed. Repeats but for case or a "
        "leading article are counted, and removed only on request.",
        [Table("Prompts", ["", "here", "paper"], rows)],
        remarks=paper.REMARKS["prompts"],
        summary=f"{len(corpus):,} distinct of {corpus.read:,} read; {duplicates.case + duplicates.article:,} equal to "
        f"another but for case or article, {duplicates.merged:,} of them merged",
    )


def _context(audit: Audit) -> Section:
    context = audit.context
    windows = [
        [f"L = {length}", *_beside(window, paper.WINDOWS.get(length)), _percent(window.token_loss)]
        for length, window in context.windows.items()
    ]
    header = ["", "density", "paper", "padding", "paper", "prompts cut", "paper", "tokens lost"]
    summaries = {"all prompts": context.tokens, **context.sources}
    lengths = [
        [name, number(s.prompts), f"{s.mean:.3f}", number(s.p50), number(s.p95), number(s.p99), number(s.max)]
        for name, s in summaries.items()
    ]
    printed_means = [[name, value] for name, value in paper.MEAN_TOKENS.items()]
    return Section(
        "context",
        "1 · The context window",
        f"Tokens of {audit.tokenizer}, SOT and EOT counted. For prompts of n tokens in a window of L slots: "
        "information density is mean(min(n, L)) / L; padding is the rest; a prompt is cut where n > L; tokens lost is "
        "the sum of max(0, n - L) over the sum of n. A cut prompt keeps EOT in its last slot, losing one word more.",
        [
            Table("Context window (table 1)", header, windows),
            Table("Tokens a prompt", ["", "prompts", "mean", "p50", "p95", "p99", "max"], lengths),
            Table("Mean tokens in the paper", ["", "mean"], printed_means),
        ],
        _context_figures(audit),
        paper.REMARKS["context"],
        summary=f"{context.tokens.mean:.1f} tokens a prompt, SOT and EOT counted; 99 % have at most "
        f"{math.ceil(context.tokens.p99)}. Cut: "
        + ", ".join(f"{_percent(w.truncation_rate)} at L = {length}" for length, w in context.windows.items()),
    )


def _beside(window: Window, printed: paper.PaperWindow | None) -> list[str]:
    """Density, padding and truncation, each measured and as printed."""
    cells = [f"{window.information_density:.3f}", f"{printed.information_density:.3f}" if printed else _NOT_PRINTED]
    for share in ("padding_share", "truncation_rate"):
        cells += [_percent(getattr(window, share)), _percent(getattr(printed, share)) if printed else _NOT_PRINTED]
    return cells


def _context_figures(audit: Audit) -> list[Figure]:
    histogram = np.array(audit.context.histogram)
    lengths = np.repeat(np.arange(len(histogram)), histogram)
    spread = list(range(2, max(35, max(audit.context.windows) + 3)))
    windows = [window_of(lengths, length) for length in spread]
    printed = list(paper.WINDOWS)
    marks = [(float(length), f"L = {length}") for length in audit.context.windows]
    trade = LineChart(
        "context_window",
        "What a context of L tokens fills and loses",
        "context length L",
        "share",
        [
            Line("information density", spread, [w.information_density for w in windows], color=0),
            Line("prompts cut", spread, [w.truncation_rate for w in windows], color=1),
            Line("tokens lost", spread, [w.token_loss for w in windows], color=2),
            Line("density, paper", printed, [w.information_density for w in paper.WINDOWS.values()], True, color=0),
            Line("prompts cut, paper", printed, [w.truncation_rate for w in paper.WINDOWS.values()], True, color=1),
        ],
        percent=True,
        verticals=marks,
    )
    shown = np.arange(len(histogram))
    counts = LineChart(
        "token_counts",
        "Prompts by their number of tokens",
        "tokens a prompt, SOT and EOT included",
        "share of prompts",
        [
            Line("exactly n tokens", shown.tolist(), (histogram / histogram.sum()).tolist()),
            Line("at most n tokens", shown.tolist(), (np.cumsum(histogram) / histogram.sum()).tolist(), dashed=True),
        ],
        percent=True,
        verticals=[mark for mark in marks if mark[0] < len(histogram)],
    )
    sources = audit.context.sources
    if len(sources) < 2:
        return [trade, counts]
    by_source = BarChart(
        "tokens_by_source",
        "Tokens a prompt by source",
        "tokens, SOT and EOT included",
        list(sources),
        {"mean": [s.mean for s in sources.values()], "99th percentile": [s.p99 for s in sources.values()]},
    )
    return [trade, counts, by_source]


def _vocabulary(audit: Audit) -> Section:
    found = audit.vocabulary
    rows = [
        ["tokens used", f"{found.used:,} of {found.size:,}", f"{paper.USED_TOKENS:,} of 49,408"],
        ["share of the vocabulary", _percent(found.used_share), _percent(paper.USED_SHARE)],
        ["share of SOT and EOT", _percent(found.special_share), _percent(paper.SPECIAL_SHARE)],
        ["share of the 100 most frequent", _percent(found.top_100_share), _percent(paper.TOP_100_SHARE)],
    ]
    smallest = [
        [_percent(share), number(found.rows_for_tokens[share]), number(found.rows_for_prompts[share])]
        for share in found.rows_for_tokens
    ]
    top = [
        [str(rank), token.text, number(token.count), _percent(token.share), ", ".join(token.words)]
        for rank, token in enumerate(found.top, start=1)
    ]
    coverage = LineChart(
        "vocabulary_coverage",
        "Share of all tokens held by the most frequent ones",
        "tokens, most frequent first",
        "share of all tokens",
        [
            Line("here", [float(rank) for rank, _ in found.coverage], [share for _, share in found.coverage]),
            Line("paper", [100.0, float(paper.USED_TOKENS)], [paper.TOP_100_SHARE, 1.0], points=True),
        ],
        log_x=True,
        percent=True,
        verticals=[(float(found.rows_for_tokens[0.99]), "99 %")],
    )
    words = [token for token in found.top if token.words][:20]
    frequent = BarChart(
        "top_tokens",
        "The most frequent tokens (without SOT and EOT)",
        "share of all tokens",
        [token.text.removesuffix("</w>") for token in words],
        {"share": [token.share for token in words]},
        percent=True,
    )
    return Section(
        "vocabulary",
        "2 · The vocabulary",
        "Every count includes SOT and EOT. A prompt is covered when all of its tokens are; the smallest vocabularies "
        "keep the most frequent tokens, which is exact for tokens and an upper bound for prompts.",
        [
            Table("Vocabulary (figure 3)", ["", "here", "paper"], rows),
            Table("Smallest vocabulary that covers", ["share", "rows for tokens", "rows for whole prompts"], smallest),
            Table("The 100 most frequent tokens", ["rank", "token", "count", "share", "frequent words with it"], top),
        ],
        [coverage, *([frequent] if words else [])],
        paper.REMARKS["vocabulary"],
        summary=f"{found.used:,} of {found.size:,} tokens are used ({_percent(found.used_share)}; the paper's prompts: "
        f"{_percent(paper.USED_SHARE)}); {found.rows_for_tokens[0.99]:,} of them are 99 % of all tokens",
    )


def _encoder(study: EncoderStudy, audit: Audit) -> list[Section]:
    parts = [_embedding(study)]
    if study.positions is not None:
        parts.append(_positions(study))
    parts.append(_manifold(study, audit))
    if study.robustness is not None:
        parts.append(_robustness(study.name, _slug(study), study.robustness))
    if study.order is not None:
        parts.append(_order(study.name, _slug(study), study.order))
    if study.convention is not None:
        parts.append(_convention(study.name, _slug(study), study.convention))
    return parts


def _slug(study: EncoderStudy) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in study.name).strip("-").lower()


def _spectrum_line(name: str, found: Spectrum) -> Line:
    held = found.variance[: found.dimensions]
    picked = sorted({round(float(n)) for n in np.geomspace(1, len(held), 120)})
    return Line(name, [float(n) for n in picked], [held[n - 1] for n in picked])


def _embedding(study: EncoderStudy) -> Section:
    full, used = study.token_embedding.full, study.token_embedding.used
    rows = [
        ["rows", number(full.points), number(used.points), _NOT_PRINTED],
        ["width", number(full.dimensions), number(used.dimensions), "1024"],
        ["effective rank", number(full.effective_rank), number(used.effective_rank),
         f"{paper.EMBEDDING['effective_rank']}; used tokens {paper.EMBEDDING['used_effective_rank']}"],
        ["dimensions for 90 % of variance", number(full.dimensions_90), number(used.dimensions_90),
         paper.EMBEDDING["dimensions_90"]],
        ["dimensions for 95 % of variance", number(full.dimensions_95), number(used.dimensions_95), _NOT_PRINTED],
    ]  # fmt: skip
    chart = LineChart(
        f"embedding_{_slug(study)}",
        f"Variance of {study.name}'s token embedding",
        "principal dimensions",
        "share of the variance",
        [_spectrum_line("whole vocabulary", full), _spectrum_line("tokens in the prompts", used)],
        percent=True,
    )
    return Section(
        f"embedding-{_slug(study)}",
        f"3 · Token embedding of {study.name}",
        "Singular values of the table about its mean. Effective rank is exp(entropy of their shares): the full width "
        "for a round cloud, 1 for a line.",
        [Table("Token embedding (table 2)", ["", "all rows", "used rows", "paper (SAM3's teacher)"], rows)],
        [chart],
        paper.REMARKS["embedding"],
        f"effective rank {number(full.effective_rank)} of {full.dimensions}; 90 % of the variance in "
        f"{number(full.dimensions_90)} dimensions, of the used rows' in {number(used.dimensions_90)}",
    )


def _positions(study: EncoderStudy) -> Section:
    found = study.positions
    assert found is not None
    printed = paper.POSITIONS
    rows = [
        ["rows examined", number(found.rows), "32"],
        ["mean cosine, positions 0 to 7", _or_none(found.early), printed["early"]],
        ["mean cosine, positions 8 and up", _or_none(found.late), printed["late"]],
        ["late / early", _or_none(found.ratio), "1.4 to 1.5, from these two"],
        ["effective rank", number(found.spectrum.effective_rank), printed["effective_rank"]],
        ["components for 90 % of variance", number(found.spectrum.dimensions_90), printed["dimensions_90"]],
    ]
    return Section(
        f"positions-{_slug(study)}",
        f"4 · Positions of {study.name}",
        "Cosine between the rows of the position table (its first 32). High cosines among late rows mean that the "
        "encoder hardly tells late positions apart.",
        [Table("Positions (figure 4)", ["", "here", "paper (SAM3's teacher)"], rows)],
        [Heatmap(f"positions_{_slug(study)}", f"Cosine of {study.name}'s positions", "position", found.cosine)],
        summary=f"{found.rows} rows of effective rank {number(found.spectrum.effective_rank)}; mean cosine "
        f"{_or_none(found.early)} among the first 8, {_or_none(found.late)} after them",
    )


def _or_none(value: float | None) -> str:
    return "does not apply" if value is None else number(value)


def _manifold(study: EncoderStudy, audit: Audit) -> Section:
    found = study.manifold
    clouds = {"pooled prompts": found.pooled, "single tokens": found.tokens}
    columns = [_dimension_cells(cloud) for cloud in clouds.values()]
    printed = {
        "effective rank": paper.MANIFOLD["effective_rank"],
        "TwoNN": paper.MANIFOLD["dimension"],
        "MLE, mean over k": paper.MANIFOLD["dimension"],
    }
    names = list(dict.fromkeys(name for cells in columns for name in cells))
    rows = [
        [name, *(cells.get(name, "does not apply") for cells in columns), printed.get(name, _NOT_PRINTED)]
        for name in names
    ]
    bands = [(*paper.DIMENSION_BAND, "the paper's reading, 16 to 19")]
    lines = [
        Line("TwoNN", [float(d) for d in found.bias.true], found.bias.two_nn, color=0),
        Line("MLE, mean over k", [float(d) for d in found.bias.true], found.bias.mle_mean, color=1),
        Line("no bias", [float(d) for d in found.bias.true], [float(d) for d in found.bias.true], dashed=True, color=7),
    ]
    for name, cloud, colors in (("pooled", found.pooled, (2, 3)), ("tokens", found.tokens, (4, 6))):
        if cloud.dimension is not None:
            lines += _readings(name, cloud.dimension, found, colors)
    curve = LineChart(
        f"bias_{_slug(study)}",
        f"What {found.bias.points:,} points in balls of known dimension read",
        "true dimension",
        "reading",
        lines,
        bands=bands,
    )
    variance = LineChart(
        f"features_{_slug(study)}",
        f"Variance of {study.name}'s output features",
        "principal dimensions",
        "share of the variance",
        [_spectrum_line(name, cloud.spectrum) for name, cloud in clouds.items()],
        percent=True,
    )
    return Section(
        f"manifold-{_slug(study)}",
        f"5 · Output manifold of {study.name}",
        f"Features of {audit.sample:,} prompts drawn with seed {audit.seed}: the mean over each prompt's real tokens, "
        "and single real tokens. In brackets the 95 % bootstrap interval. " + _bias_sentence(found),
        [
            Table("Manifold (figure 5)", ["", *clouds, "paper (SAM3's teacher)"], rows),
            Table("Which true dimension gives a reading of", ["reading", "by MLE", "by TwoNN"], _inverse_rows(found)),
        ],
        [*([curve] if found.bias.true else []), variance],
        [*paper.REMARKS["manifold"], *_scale_remarks(found)],
        "; ".join(_cloud_summary(name, cloud) for name, cloud in clouds.items()),
    )


def _cloud_summary(name: str, cloud: FeatureCloud) -> str:
    rank = f"{name}: effective rank {number(cloud.spectrum.effective_rank)} of {cloud.spectrum.dimensions}"
    return rank if cloud.dimension is None else f"{rank}, dimension {cloud.dimension.mle_mean:.1f} by MLE"


def _scale_remarks(found: Manifold) -> list[str]:
    """What to think where the reading depends on how far one looks."""
    remarks = []
    for name, cloud in (("pooled prompts", found.pooled), ("single tokens", found.tokens)):
        readings = list(cloud.dimension.mle.items()) if cloud.dimension else []
        if readings and readings[-1][1].value > 1.25 * readings[0][1].value:
            (near, low), (far, high) = readings[0], readings[-1]
            remarks.append(
                f"For {name} the reading grows with the neighbourhood, from {low.value:.1f} at k = {near} to "
                f"{high.value:.1f} at k = {far}: seen closely there are variants of one phrase, which differ in few "
                "directions. No single number is the dimension; --merge article takes some of the variants away."
            )
    return remarks


def _dimension_cells(cloud: FeatureCloud) -> dict[str, str]:
    cells = {
        "points": number(cloud.spectrum.points),
        "effective rank": f"{number(cloud.spectrum.effective_rank)} of {cloud.spectrum.dimensions}",
        "dimensions for 90 % of variance": number(cloud.spectrum.dimensions_90),
    }
    found = cloud.dimension
    if found is None:
        return cells
    return {
        **cells,
        "TwoNN": _interval(found.two_nn),
        **{f"MLE, k = {k}": _interval(reading) for k, reading in found.mle.items()},
        "MLE, mean over k": f"{found.mle_mean:.2f}",
        "repeated points left out": number(found.repeated),
    }


def _interval(reading: Reading) -> str:
    return f"{reading.value:.2f} [{reading.low:.2f}, {reading.high:.2f}]"


def _readings(name: str, found: Dimension, whole: Manifold, colors: tuple[int, int]) -> list[Line]:
    """Marks on the bias curve where this cloud's readings lie, a color each."""
    marks = []
    readings = (("TwoNN", found.two_nn.value), ("MLE", found.mle_mean))
    for (estimator, reading), color in zip(readings, colors, strict=True):
        true = whole.bias.true_dimension(reading, "two_nn" if estimator == "TwoNN" else "mle_mean")
        if true is not None:
            marks.append(Line(f"{name}, {estimator}", [true], [reading], points=True, color=color))
    return marks


def _inverse_rows(found: Manifold) -> list[list[str]]:
    readings = [("the paper's 16", 16.0, 16.0), ("the paper's 19", 19.0, 19.0)]
    for name, cloud in (("pooled prompts here", found.pooled), ("single tokens here", found.tokens)):
        if cloud.dimension is not None:
            readings.append((name, cloud.dimension.mle_mean, cloud.dimension.two_nn.value))
    return [
        [f"{name} ({mle:.1f} / {two:.1f})" if "here" in name else name,
         _or_none(found.bias.true_dimension(mle)), _or_none(found.bias.true_dimension(two, "two_nn"))]
        for name, mle, two in readings
    ]  # fmt: skip


def _bias_sentence(found: Manifold) -> str:
    low, high = (found.bias.true_dimension(reading) for reading in paper.DIMENSION_BAND)
    if low is None or high is None:
        return f"With {found.bias.points:,} points the bias curve does not reach a reading of 16 to 19."
    two = [found.bias.true_dimension(reading, "two_nn") for reading in paper.DIMENSION_BAND]
    return (
        f"With {found.bias.points:,} points, a reading of 16 to 19 corresponds to a true dimension of {low:.0f} to "
        f"{high:.0f} (MLE) or {two[0] or 0:.0f} to {two[1] or 0:.0f} (TwoNN)."
    )


def _robustness(name: str, slug: str, found: Robustness) -> Section:
    cases = {f"noise {level:g}": case for level, case in found.noise.items()} | {"another noun": found.wrong_noun}
    relative = [
        [case, *(number(error.relative) for error in result.stages.values()), number(result.mask_overlap)]
        for case, result in cases.items()
    ]
    ratios = [
        [case, *(_or_none(result.stages[stage].attenuation) for stage in STAGES[1:]),
         *(_or_none(result.stages[stage].absolute_ratio) for stage in STAGES[1:])]
        for case, result in cases.items()
    ]  # fmt: skip
    short = [stage.removeprefix("attention ") for stage in STAGES[1:]]
    levels = list(found.noise)
    chart = LineChart(
        f"robustness_{slug}",
        "Relative error on its way from the text to the masks",
        "noise on the text features (relative)",
        "relative error",
        [
            Line(stage, levels, [max(found.noise[level].stages[stage].relative, 1e-6) for level in levels])
            for stage in STAGES[1:]
        ],
        log_x=True,
        log_y=True,
    )
    return Section(
        f"robustness-{slug}",
        f"6 · Attention robustness of {name}",
        f"Noise on the features of real tokens, {found.prompts} prompts on {found.scenes} pictures; relative errors "
        "(Frobenius) where vision attends to text in the detector's encoder, and at the masks. The last row replaces "
        "the prompt by another noun of as many tokens: what an error is small against.",
        [
            Table("Relative error (section 5.7)", ["", *STAGES, "mask overlap"], relative),
            Table("Attenuation, relative in / relative out; then absolute in / absolute out, as the paper has it "
                  f"({paper.ATTENUATION})", ["", *short, *(f"{stage}, absolute" for stage in short)], ratios),
        ],
        [chart],
        paper.REMARKS["robustness"],
        "masks overlap the undisturbed ones by "
        + ", ".join(f"{number(result.mask_overlap)} ({case})" for case, result in cases.items()),
    )  # fmt: skip


def _order(name: str, slug: str, found: OrderSensitivity) -> Section:
    changes = {"words reordered": found.reordered, "noun by a synonym": found.synonym, "another noun": found.other_noun}
    shown = found.scene_phrases > 0
    rows = [
        [kind, f"{change.features:.3f} [{change.low:.3f}, {change.high:.3f}]"]
        + ([_or_none(change.mask_overlap)] if shown else [])
        for kind, change in changes.items()
    ]
    masks = f" Mask overlap: soft IoU before and after, {found.scene_phrases} phrases at pictures." if shown else ""
    verdict = "holds" if found.bag_of_concepts else "does not hold"
    return Section(
        f"order-{slug}",
        f"7 · Order sensitivity of {name}",
        f"Change of the pooled features of {found.phrases} phrases, 1 = as far apart as two different phrases (in "
        f"brackets the 95 % interval).{masks} The prior of a bag of concepts {verdict} here: reordering moves the "
        f"features {found.reordered.features / max(found.synonym.features, 1e-12):.2f} times as far as a synonym does.",
        [Table("Beyond the paper", ["", "change of features", *(["mask overlap"] if shown else [])], rows)],
        [
            BarChart(
                f"order_{slug}",
                f"How far an edit moves {name}'s features",
                "distance, 1 = two different phrases",
                list(changes),
                {"change": [change.features for change in changes.values()]},
            )
        ],
        summary=", ".join(f"{kind}: features move {change.features:.2f}" for kind, change in changes.items())
        + " (1: two different phrases)",
    )


def _convention(name: str, slug: str, found: ConventionGap) -> Section:
    rows = [
        ["conventions compared", f"{_convention_text(found.first)} and {_convention_text(found.second)}"],
        ["mean cosine", f"{found.mean_cosine:.4f}"],
        ["worst token", f"{found.min_cosine:.4f}"],
        ["worst prompt", found.worst_prompt],
    ]
    lengths = [float(length) for length in found.by_length]
    chart = LineChart(
        f"convention_{slug}",
        f"Cosine of {name}'s real tokens under two conventions",
        "tokens of the prompt",
        "mean cosine",
        [Line("cosine", lengths, list(found.by_length.values()))],
    )
    return Section(
        f"convention-{slug}",
        f"8 · Convention gap of {name}",
        f"The same weights over {found.prompts} prompts under the encoder's own convention and under the other one met "
        "in published code; the cosine is between the features of the same real token.",
        [Table("Beyond the paper", ["", "here"], rows)],
        [chart],
        summary=f"mean cosine {found.mean_cosine:.4f}, worst token {found.min_cosine:.4f} ({found.worst_prompt!r})",
    )


def _convention_text(convention: Convention) -> str:
    return (
        f"{convention.context_length} tokens padded with id {convention.pad_id}, "
        f"padding masked in {convention.mask_padding.replace('none', 'nothing')}, positions by {convention.positions}"
    )


def _recipe(audit: Audit) -> Section:
    student, reasons = audit.recipe.student, audit.recipe.reasons
    rows = [
        ["context length", number(student.convention.context_length), reasons["context_length"]],
        ["vocabulary rows", number(student.vocab_size), reasons["vocab_size"]],
        ["layers x width", f"{student.layers} x {student.width}", reasons["shape"]],
        ["padding", "masked everywhere", reasons["mask_padding"]],
        ["parameters", f"{student.live_parameters():,}", "all that the output depends on, the embedding included"],
        *(["warning", "–", warning] for warning in audit.recipe.warnings),
    ]
    return Section(
        "recipe",
        "The recipe",
        "What these figures recommend for a student. recipe.toml holds it; litetext distill --student recipe.toml "
        "takes it.",
        [Table("Recommendation", ["", "choice", "reason"], rows)],
        summary="; ".join(f"{name} {choice}" for name, choice, _ in rows),
    )
