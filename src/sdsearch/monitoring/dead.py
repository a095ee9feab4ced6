"""A run that teaches nothing from its first step on: how that looks, and what mostly lies behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MOST = 0.5
"""The share beyond which something is called most of it."""


class Cause(NamedTuple):
    """What mostly lies behind a dead run, where a figure is on the wrong side of `MOST`, and what to do."""

    figure: str
    said: str
    advice: str


CAUSES = (
    Cause(
        "outage",
        "{:.0%} of the episodes were ended by outages",
        "The retriever does not answer. Look at its address, its load and environment.patience.",
    ),
    Cause(
        "invalid",
        "{:.0%} of the turns are invalid",
        "The model does not write the actions of the protocol. Give an instruction that shows them "
        "(environment.protocol), set model.chat for a chat model, raise sampling.max_new_tokens if turns are cut off.",
    ),
    Cause(
        "no_answer",
        "{:.0%} of the episodes end without an answer",
        "The model never gets to its answer. Raise environment.max_turns or sampling.context, or let the instruction "
        "say when to answer.",
    ),
)
"""In the order in which one explains the next."""
WRONG = (
    "Every answer is wrong. Look whether what is found can answer the questions at all (gold_recall, the corpus) and "
    "whether the answers are only worded otherwise (`sdsearch rescore` with f1); else take easier questions."
)
RIGHT = "Every group has one outcome only, and nothing to compare. Take harder questions, or raise train.group."
STILL = (
    "Rewards differ, and yet nothing moves. Look at the terms' figures `rows` and at `credited`: a weight of 0, a gate "
    "that lets nothing through, a schedule that has not begun."
)


def dead(steps: Sequence[Mapping[str, float]]) -> str | None:
    """Say how it shows that the first steps of a run taught nothing, and why it mostly is so; None: they did.

    They did not when no rollout of any earned a reward, though some credit needs one, when the gradient of each was 0,
    or when most turns of each were invalid.
    """
    unpaid = all(_unpaid(figures) for figures in steps)
    still = all(figures.get("gradient_norm") == 0 for figures in steps)
    newest = steps[-1]
    garbled = all(figures.get("invalid", 0.0) > MOST for figures in steps)
    if not (unpaid or still or garbled):
        return None
    shown = [cause for cause in CAUSES if newest.get(cause.figure, 0.0) > MOST]
    symptoms = ["no rollout earned a reward"] * unpaid + ["the gradient is 0"] * still
    symptoms += [cause.said.format(newest[cause.figure]) for cause in shown]
    alike = newest.get("homogeneous", 0.0) == 1
    advice = shown[0].advice if shown else WRONG if unpaid else RIGHT if alike else STILL
    first = "the first step" if len(steps) == 1 else f"the first {len(steps)} steps"
    return f"{first} taught little or nothing: {', '.join(symptoms)}. {advice}"


def _unpaid(figures: Mapping[str, float]) -> bool:
    """Say whether every reward of a step was 0; where no credit is given, rewards teach nothing anyway."""
    return figures.get("reward") == 0 and figures.get("homogeneous") == 1 and "credited" in figures
