"""The model card of a warm start."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

from sdsearch.core.statistics import Estimate
from sdsearch.warmstart.spec import Stage, WarmStart

LABELS = {
    "exact_match": "exact match before training",
    "searches": "searches per question",
    "gold_recall": "recall of gold passages",
    "no_answer": "no-answer rate",
    "mixed": "share of groups with right and wrong attempts",
    "label_effect": "label effect, nats a query",
    "label_effect_per_token": "the same, nats a token",
    "label_effect_without_own": "label effect where the own attempt is left out of the block, nats a query",
    "label_effect_without_own_per_token": "the same, nats a token",
    "exact_match_none": "exact match where the right attempts are the minority, without a block",
    "exact_match_true": "behind the block of the group",
    "exact_match_flipped": "behind the same with every label turned round",
    "exact_match_foreign": "behind the block of another question",
    "gain": "true block less none",
    "loss": "true labels less turned ones",
    "shift": "another question's block less none",
}


def card(settings: WarmStart, made: Mapping[str, float], found: Mapping[str, Estimate]) -> str:
    """Return the model card: `made` tells how the model was made, `found` what became of it."""
    shape, cloning, judged = settings.shape, settings.cloning, settings.judged
    about = (
        f"Architecture: Llama, {shape.layers} layers, width {shape.width}, {shape.heads} heads that share "
        f"{shape.key_heads} of keys and values, vocabulary {shape.vocabulary}, context {shape.context}; "
        f"{made['parameters'] / 1e6:.2f} million parameters, stored as float16 safetensors. The tokeniser is a "
        "byte-level BPE of its own.",
        f"Data: {made['rows']:.0f} rows ({made['tokens'] / 1e6:.2f} million tokens) of {made['episodes']:.0f} "
        "episodes, played by a scripted agent with deliberate mistakes in the training split; its exact match is "
        f"{made['scripted_exact_match']:.2f}. "
        "No question, passage or entity of the test split is asked about in them.",
        *(f"Stage {number}: {told(stage)}" for number, stage in enumerate(cloning.stages, 1)),
        f"Time: {made['seconds'] / 60:.1f} minutes on {made['threads']:.0f} threads, {made['play_seconds'] / 60:.1f} "
        f"of them for playing, in {'bfloat16' if made['halves'] else 'float32'}. Final loss {made['loss']:.3f}.",
        "Reproduce: `sdsearch warmstart specs/warmstart.yaml`; one seed gives the same weights on the same machine.",
    )
    lines = [
        f"# {settings.name}",
        "",
        "A small language model that searches and answers, badly on purpose: where the embedded experiments start.",
        "",
        *(fill(each, 120, initial_indent="- ", subsequent_indent="  ") for each in about),
        "",
        f"| {judged.questions} held-out questions, {judged.group} attempts each, temperature "
        f"{settings.sampling.temperature} | | 95 % |",
        "|---|---|---|",
        *(
            f"| {label} | {found[name].value:.3f} | {ends(found[name])} |"
            for name, label in LABELS.items()
            if name in found
        ),
        "",
        "Intervals are t intervals over questions. A label effect says how much better the block fits the outcome of",
        "an attempt with true labels than with every label turned round: 0 is a model that does not read them.",
        "",
        "The facts in the episodes come from GeoNames (CC BY 4.0) and airportsdata. The model knows no more than",
        "these; it is of no use for anything else.",
    ]
    return "\n".join(lines) + "\n"


def told(stage: Stage) -> str:
    """Tell of a stage in a sentence or two."""
    text = f"rows for {stage.share:.0%} of the episodes, {stage.hinted:.0%} of them behind a hindsight block."
    if stage.foreign:
        text += f" {stage.foreign:.0%} of the blocks are of another question, and an attempt follows as it went."
    if stage.contrast:
        share = "all" if stage.contrast == 1 else f"{stage.contrast:.0%}"
        text += (
            f" In {share} of the {'others' if stage.foreign else 'blocks'} the minority, {stage.marked} "
            f"at most of {stage.smallest} to {stage.largest} attempts, is marked right, and one of these follows; in "
            f"{stage.flipped:.0%} of them every label is turned round."
        )
    if stage.contrast < 1:
        text += " A block of the whole group is followed by its shortest right attempt."
    return text


def ends(value: Estimate) -> str:
    """Return an interval as text."""
    return "" if value.low is None else f"{value.low:.3f} to {value.high:.3f}"
