"""The spec's `monitors`: what a run measures beside its steps, and the limits of its figures."""

from __future__ import annotations

from pydantic import Field

from sdsearch.config.component import Settings


class Monitors(Settings):
    """When a run warns; null turns a warning off. What is measured is recorded all the same.

    No source gives such limits: the defaults are ours, each with its reason.
    """

    gradients_every: int = Field(20, ge=0)
    """Steps between measurements of each term's gradient norm, the first step included; 0: none. A measurement takes
    one more backward pass, and room for one more gradient, per term; with a single term it is free."""
    labels_every: int = Field(4, ge=0)
    """Steps between measurements of whether the teacher reads its hint (`<term>/label_effect`), the first step
    included; 0: none."""
    labels_groups: int = Field(4, ge=1)
    """Groups with both outcomes that are measured then, at most, in each process; one attempt of each."""
    label_effect: int | None = Field(40, ge=2)
    """Groups after which a label effect whose interval holds 0 is warned of."""
    dead: int | None = Field(1, ge=1)
    """Steps after which a run is told that none of them taught anything: no reward, no gradient, or no valid turns."""
    window: int = Field(10, ge=1)
    """Steps over which noisy figures are averaged. The first so many are "the start" that others are compared with."""
    collapse: float | None = Field(0.1, ge=0, le=1)
    """Least reward of the last steps, as a part of the mean of all before them: in three steps where that is at least a
    third, in more where it is lower. For rewards from 0 up."""
    idle: int | None = Field(10, ge=1)
    """Steps in a row without an update after which a run warns that it learns nothing, and again after twice, four
    times as many and so on."""
    drift_mean: float | None = Field(0.05, ge=0)
    """|log p now - log p sampled| before the first update, mean: a quarter of the usual clip range of 0.2."""
    drift_max: float | None = Field(2.0, ge=0)
    """The same for the worst token: rounding does not make one seven times as likely."""
    effective_share: float | None = Field(0.9, ge=0, le=1)
    """Least effective share of the sampled tokens at the last update; ratios from 0.8 to 1.2 leave at least 0.96."""
    credited: float | None = Field(0.01, ge=0, le=1)
    """Least share of sampled tokens that are credited at all; 0 is credit."""
    zero_credit: float | None = Field(0.999, ge=0, le=1)
    """Most share of the tokens that a credit speaks of to which it gives exactly 0."""
    rows: float | None = Field(1.0, ge=0)
    """Fewest tokens that a term acts on in a step; below one it mostly acts on none."""
    entropy_low: float | None = Field(0.2, ge=0)
    """Least entropy, as a part of that at the start."""
    entropy_high: float | None = Field(2.0, ge=0)
    """Most entropy, as a multiple of that at the start."""
    entropy_gap: float | None = -0.1
    """Least entropy of the student minus that of its teacher, in nats; in the paper it falls from 0.25 to 0.065."""
    gradient_norm: float | None = Field(20.0, ge=0)
    """Most gradient norm of one update, before clipping, as a multiple of that at the start."""
    grad_ratio_low: float | None = Field(1e-3, ge=0)
    """Least norm of a hinted term's gradient divided by that of the policy gradient."""
    grad_ratio_high: float | None = Field(10.0, ge=0)
    """The most of it."""
    homogeneous: float | None = Field(0.9, ge=0, le=1)
    """Most share of groups without contrast: beyond it fewer than one rollout in ten teaches."""
    searches: float | None = Field(0.5, ge=0)
    """Fewest searches per episode."""
    repeated_queries: float | None = Field(0.3, ge=0, le=1)
    """Most share of queries that were asked before in the same episode."""
    empty_queries: float | None = Field(0.05, ge=0, le=1)
    """Most share of queries without a letter or digit."""
    invalid: float | None = Field(0.3, ge=0, le=1)
    """Most share of invalid actions."""
    model_tokens: float | None = Field(3.0, ge=0)
    """Most sampled tokens per episode, as a multiple of those at the start."""
    thought_low: float | None = Field(0.2, ge=0)
    """Least tokens of thought per turn, as a part of those at the start."""
    thought_high: float | None = Field(3.0, ge=0)
    """Most tokens of thought per turn, as a multiple of those at the start."""
    thought_repetition: float | None = Field(0.5, ge=0, le=1)
    """Most share of the runs of four tokens in an episode's thoughts that were there before: beyond it more than half
    of what is thought is said again."""
    outage: float | None = Field(0.05, ge=0, le=1)
    """Most share of a step's episodes that the retriever may end; `train.max_outage_rate` stops the run."""
    retries: float | None = Field(1.0, ge=0)
    """Most repeated attempts at a retrieval per step."""
