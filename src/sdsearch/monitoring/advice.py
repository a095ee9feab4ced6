"""What is watched in a run, what it means when a limit is crossed, and what to do then."""

from __future__ import annotations

from typing import NamedTuple


class Watch(NamedTuple):
    """One limit of `sdsearch.monitoring.limits.Monitors` and the figures that it is for."""

    limit: str
    """The field."""
    figure: str
    """The name of the figure; `*` stands for the name of a term."""
    above: bool
    """Which side of the limit is the wrong one."""
    advice: str
    """Why it matters; what to do."""
    over: int = 0
    """Values that are averaged before they are judged; 0: `Monitors.window`."""
    relative: bool = False
    """Whether the limit is a multiple of the figure at the start of the run."""
    least: float = 0.0
    """What the figure must have been at the start, if it is relative: a multiple of next to nothing means nothing."""


MISMATCH = (
    "Before any update the trainer already finds other probabilities than the sampler reported, though both should be "
    "one model: every ratio is wrong from the start. Give both the same weights, dtype, temperature and chat template; "
    "where a small difference must stay, set `correction: 2` on the policy gradient."
)

THOUGHTS = 4.0
"""Tokens of thought per turn below which a policy is one that does not think, and has a slip now and then."""

DEAF = (
    "The teacher does not react to the labels of its hint (or, of one without labels, to whose hint it is): what is "
    "distilled is style. `sdsearch teacher` tells more; take a model that reads them, or another hint."
)

COLLAPSE = (
    "The policy was destroyed, or is about to be: it does not earn any more what it did in this very run. Read the "
    "newest file in trajectories/. The checkpoint with the best training reward is kept beside the newest ones: begin "
    "another run from it (model.name) with a lower train.learning_rate."
)

IDLE = (
    "The run learns nothing meanwhile: gradients are zero, for want of groups with different rewards, or not finite. "
    "Look at the figures `homogeneous`, `gradient_norm` and `loss`."
)

WATCHES = (
    Watch("drift_mean", "drift_mean", True, MISMATCH, over=1),
    Watch("drift_max", "drift_max", True, MISMATCH, over=1),
    Watch(
        "effective_share",
        "effective_share_last",
        False,
        "The policy has moved so far from what it sampled that a few tokens with large ratios decide the update. Lower "
        "train.epochs or train.learning_rate.",
        over=1,
    ),
    Watch(
        "credited",
        "credited",
        False,
        "Hardly any token gets credit: it is NaN, and the policy gradient has nothing to follow. Look for 0 / 0 in a "
        "credit of your own, and for what its questions or rollouts lack in one of ours.",
    ),
    Watch(
        "zero_credit",
        "zero/*",
        True,
        "This credit gives next to every token 0: it teaches nothing, and `modulate` has nothing to bend. Look at "
        "what it is made of: groups whose rewards are all alike, a weight of 0, hints or annotations that are missing.",
    ),
    Watch(
        "rows",
        "*/rows",
        False,
        "The term has hardly a token to act on: the run is nearly one without it. Look at what it leaves out: groups "
        "that its gate stops, spans that no turn has, turns that its hint does not mention, rollouts of no credit.",
    ),
    Watch(
        "entropy_low",
        "entropy",
        False,
        "The policy hardly varies any more: the rollouts of a group become alike and leave nothing to compare. Add the "
        "term `entropy`, raise `clip_high` of `clipped_pg`, or lower train.learning_rate.",
        relative=True,
    ),
    Watch(
        "entropy_high",
        "entropy",
        True,
        "The policy becomes unsure of what it writes, which often comes before gibberish. Read the newest file in "
        "trajectories/; lower train.learning_rate, or hold the policy with the term `kl`.",
        relative=True,
    ),
    Watch(
        "entropy_gap",
        "*/entropy_gap",
        False,
        "The teacher is less sure than the student although it sees more: the hint confuses instead of informing, and "
        "distilling blurs the policy. Check that the model can read this hint and that hint and prompt share one chat "
        "template; let only mixed groups through (gate: mixed), or lower the weight of the term.",
    ),
    Watch(
        "gradient_norm",
        "gradient_norm",
        True,
        "One update's gradient exploded; clipping bounds its size, not its direction, and one that is not finite is "
        "not applied at all. Lower train.learning_rate or raise train.questions; if it is not finite, look for an "
        "overflow (dtype, precision) in the terms' figures.",
        over=1,
        relative=True,
    ),
    Watch(
        "grad_ratio_low",
        "grad_ratio/*",
        False,
        "This term moves the weights so little beside the policy gradient that the run is nearly one without it. Raise "
        "the weight of the term.",
        over=3,
    ),
    Watch(
        "grad_ratio_high",
        "grad_ratio/*",
        True,
        "This term drowns the policy gradient: the policy follows its hinted self, right or wrong, and hardly the "
        "reward. Lower the weight of the term, or let only mixed groups through (gate: mixed).",
        over=3,
    ),
    Watch(
        "homogeneous",
        "homogeneous",
        True,
        "Nearly all groups have one outcome only, so that neither group credit nor hindsight has a contrast to learn "
        "from. Take easier questions if the reward is near 0 and harder ones if it is near 1, raise train.group, or "
        "raise agent.temperature.",
    ),
    Watch(
        "searches",
        "searches",
        False,
        "The policy stops searching and answers from memory, or plays no valid action. Look at the newest file in "
        "trajectories/ and at the figure `invalid`; if a hinted term causes it, lower its weight.",
    ),
    Watch(
        "repeated_queries",
        "repeated_queries",
        True,
        "The policy asks again what it was told already, which wastes its turns. Check that observations are neither "
        "cut nor empty (gold_recall, max_passage_characters), and lower the weight of terms that favour queries.",
    ),
    Watch(
        "empty_queries",
        "empty_queries",
        True,
        "Queries without content find nothing. Read the newest file in trajectories/; the reward or a hinted term may "
        "pay for the mere act of searching.",
    ),
    Watch(
        "invalid",
        "invalid",
        True,
        "Much of what the policy writes is no action. Read the newest file in trajectories/: if turns are cut off, "
        "raise sampling.max_new_tokens; if the format is lost, lower train.learning_rate or hold the policy with the "
        "term `kl`.",
    ),
    Watch(
        "model_tokens",
        "model_tokens",
        True,
        "Episodes grow without need, which costs time and may end in context_full. Check the figure `invalid`; limit "
        "sampling.max_new_tokens or environment.max_turns.",
        relative=True,
    ),
    Watch(
        "thought_low",
        "thought_tokens",
        False,
        "The policy hardly thinks any more, which long runs on search agents do before they collapse. Read the newest "
        "file in trajectories/; lower train.learning_rate, or hold the policy with the term `kl`.",
        relative=True,
        least=THOUGHTS,
    ),
    Watch(
        "thought_high",
        "thought_tokens",
        True,
        "Thoughts grow without need, at the cost of turns that are cut off. Read the newest file in trajectories/; "
        "limit sampling.max_new_tokens, or take the credit `overlong`.",
        relative=True,
        least=THOUGHTS,
    ),
    Watch(
        "thought_repetition",
        "thought_repetition",
        True,
        "The policy says the same again in its thoughts, as it does before its score falls. Read the newest file in "
        "trajectories/; lower train.learning_rate, or hold the policy with the term `kl`.",
    ),
    Watch(
        "outage",
        "outage",
        True,
        "The retriever ends episodes; they are left out, so that the step learns from fewer, easier or shorter ones. "
        "Mend or relieve the retriever; the run stops by itself at train.max_outage_rate.",
        over=1,
    ),
    Watch(
        "retries",
        "retrieval/retries",
        True,
        "The retriever answers only after repeated attempts, and the run waits meanwhile. Look at its load and its "
        "time limits before it fails for good.",
    ),
)
