"""Any credit, with each token or turn strengthened or weakened by what a teacher that knows more makes of it.

A divergence from a hinted self says what the hint changes, style included, and may outvote the reward. So the teacher's
gap e = log p(under the hint) - log p(without it) only bends the advantage A of the credit `of`, within bounds and never
round; and `against` names a twin of the hint for the second log-probability, so that what both change falls out. The
forms, with their sources; `strength` is l:

- `rlsd` (2604.03128): A * ((1 - l) + l * clip(exp(sign(A) e), 1 - reach, 1 + reach)). With `decay_steps` l falls to 0
  in equal steps, as in the code, over 50.
- `rlcsd` (2606.11709): e is against the mean probability under at most `most` wrong attempts; r = l tanh(e /
  temperature); where |r| > threshold A becomes A + r, but keeps its sign (0 where A is 0). The code takes two means, of
  the tokens that are changed and of the others, and adds them: so does `means: two`, by weights that are exact in a
  term with `normalise: token` and no other credit beside this one. Its eta is 1; its bound of 2 on r never binds.
- `agent_opsd` (2608.05987): the belief that the attempt will be right starts at the group's mean reward B_0, within
  1e-4 of 0 and 1; c_k = memory c_(k-1) + e_k, the sum over the turn's tokens; B_k = sigmoid(logit B_0 + c_k). With z_k
  the standardised B_k - B_(k-1) of the trajectory: A * ((1 - l) + l * clip(1 + reach sign(A) z_k, 1 +- reach)). The
  copies of its code that we could read do not forget (memory 1), and move the belief by tokens in their scripts.

Deviations: what the policy itself found is the sampler's log-probability; where the hint or its twin says nothing, A
stays (the sources have a hint for all).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Advantages, Numbers, Probe
from sdsearch.contracts.hint import Hint, Teacher
from sdsearch.core.trajectory import Group, Span, Trajectory, kept
from sdsearch.crediting.incompatible import SELF, alone
from sdsearch.crediting.per_turn import by_group, by_turn, per_turn
from sdsearch.crediting.wrapper import Wrapper
from sdsearch.hinting.twin import twin

Array = NDArray[np.float64]
ONLY = {
    "reach": ("rlsd", "agent_opsd"),
    "temperature": ("rlcsd",),
    "threshold": ("rlcsd",),
    "means": ("rlcsd",),
    "memory": ("agent_opsd",),
}
"""Settings that only some forms have a use for."""


class Modulate(Wrapper):
    """The credit `of`, times a bounded factor, or plus a bounded part, for each token that a teacher has judged."""

    form: Literal["rlsd", "rlcsd", "agent_opsd"] = "rlsd"
    """How the gap enters; see above."""
    hint: Hint | None = Field(default="hindsight", validate_default=True)
    """What the teacher sees in front; none: what the policy saw, for a teacher with other weights."""
    against: str | None = None
    """The twin of the hint whose log-probability is subtracted: "flipped", "wrong" or another that the hint has, or
    "question", the hint of another question; none: that of the policy as it sampled."""
    most: int = Field(4, ge=1, le=1000)
    """Attempts that the twin tells of one by one, where it can (`peer_success`); the mean probability counts."""
    teacher: Teacher = "live"
    """The weights that are asked, see `distill`."""
    rows: Literal["query", "answer", "think", "policy"] = "policy"
    """The tokens that are bent: of one span, or all that were sampled. The others keep the credit `of`."""
    by: Literal["token", "turn"] = "token"
    """Whether each token has a gap of its own, or that of its turn: the mean over it, in `agent_opsd` the sum."""
    strength: float = Field(0.5, ge=0, le=1)
    """l: the factor's part in the credit, or the most that is added; 0 is `of` alone."""
    decay_steps: int | None = Field(None, ge=1)
    """Let the strength fall to 0 over the first so many steps of the run, or of its phase, in equal parts; none: it
    stays."""
    reach: float = Field(0.2, ge=0, le=1)
    """`rlsd`, `agent_opsd`: how far the factor can be from 1."""
    temperature: float = Field(0.02, gt=0)
    """`rlcsd`: the gap, in nats, at which about three quarters of the most are added (tanh 1)."""
    threshold: float = Field(0.02, ge=0, lt=1)
    """`rlcsd`: less than this is not added."""
    means: Literal["two", "one"] = "two"
    """`rlcsd`: the mean over changed tokens plus that over the others, or one mean over all of them."""
    memory: float = Field(0.95, ge=0, le=1)
    """`agent_opsd`: what is left of the evidence of a turn at the next one."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        idle = [
            f"{name}: {getattr(self, name)}"
            for name, forms in ONLY.items()
            if self.form not in forms and getattr(self, name) != type(self).model_fields[name].default
        ]
        if idle:
            raise ValueError(f"got {', '.join(idle)}, which form: {self.form} has no use for")
        if self.form == "rlcsd" and 0 < self.strength <= self.threshold:
            raise ValueError(
                f"got strength: {self.strength} and threshold: {self.threshold}: no more than the strength is ever "
                "added, so that nothing would be: expected a lower threshold"
            )
        if self.against is None:
            if self.form == "rlcsd":
                raise ValueError("form: rlcsd is a contrast of two hints: name a twin, such as `against: wrong`")
        elif self.hint is None:
            raise ValueError(f"got against: {self.against} and no hint that it could be the twin of")
        else:
            try:
                twin(self.hint, self.against)
            except ValueError as error:
                raise ValueError(f"against: {error}") from error
        return self

    @property
    def needs(self) -> frozenset[str]:
        return self.of.needs | (frozenset({self.teacher}) - {"live"})

    def objection(self, conditions: Conditions) -> str | None:
        if self.hint is None and self.teacher == "live":
            return SELF
        if self.of.weight == 0:
            return f"got of: {self.of.type} with weight 0: a credit that is zero cannot be bent"
        if self.form == "agent_opsd" and (why := alone(conditions)):
            return why
        hints = [*([self.hint] if self.hint else []), *self._twins()]
        return next(filter(None, (h.objection(conditions) for h in hints)), None) or super().objection(conditions)

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        values, targets = self.of.weighted(groups, probe)
        strength = self.strength_at(probe.step)
        if not strength:
            return Advantages(values, targets)
        pairs = zip(kept(groups), self.gaps(groups, probe), strict=True)
        gaps = [spread(t, gap) if self.by == "turn" else gap for t, gap in pairs]
        if self.form == "rlcsd":
            return Advantages(self._with_residual(values, gaps, strength, probe), targets)
        if self.form == "rlsd":
            # Past 1 the exponent is out of reach anyway, and could overflow.
            raised = [np.exp(np.minimum(np.sign(a) * e, 1.0)) for a, e in zip(values, gaps, strict=True)]
        else:
            moves = [move for group, own in by_group(groups, gaps) for move in self._revisions(group, own)]
            raised = [1 + self.reach * np.sign(a) * z for a, z in zip(values, moves, strict=True)]
        factors = [np.clip(x, 1 - self.reach, 1 + self.reach) for x in raised]
        bent = [1 - strength + strength * np.where(np.isnan(f), 1.0, f) for f in factors]
        return Advantages([a * f for a, f in zip(values, bent, strict=True)], targets)

    def strength_at(self, step: int) -> float:
        """Return the strength at a step, counted from 0."""
        return self.strength * (max(0.0, 1 - step / self.decay_steps) if self.decay_steps else 1.0)

    def gaps(self, groups: Sequence[Group], probe: Probe) -> Numbers:
        """Return log p under the hint less that without it, or under its twin, in nats: [sampled tokens].

        NaN for a token that is not among `rows`, and where the hint or every variant of its twin says nothing.
        """

        def scored(hint: Hint | None) -> Numbers:
            texts = [text for own in hint.placed(groups, probe.seed) for text in own] if hint else None
            return probe.logprobs(groups, texts, self.teacher)

        trajectories, taught = kept(groups), scored(self.hint)
        twins = [scored(hint) for hint in self._twins()]
        gaps = []
        for i, trajectory in enumerate(trajectories):
            spans = np.array([s for a in trajectory.actions for s in a.spans], np.int8)
            sampled = np.array([p for a in trajectory.actions for p in a.logprobs], np.float64)
            plain = marginal([numbers[i] for numbers in twins]) if twins else sampled
            mine = (spans == Span[self.rows.upper()]) if self.rows != "policy" else np.ones(len(spans), bool)
            gaps.append(np.where(mine, taught[i] - plain, np.nan))
        return gaps

    def _twins(self) -> Sequence[Hint]:
        return twin(self.hint, self.against).variants(self.most) if self.hint and self.against is not None else ()

    def _with_residual(self, values: Numbers, gaps: Numbers, strength: float, probe: Probe) -> Numbers:
        residuals = [np.nan_to_num(strength * np.tanh(e / self.temperature)) for e in gaps]
        changed = [np.abs(r) > self.threshold for r in residuals]
        rows = zip(values, residuals, changed, strict=True)
        bent = [np.sign(a) * np.maximum(np.sign(a) * (a + r * at), 0.0) for a, r, at in rows]
        if self.means == "one":
            return bent
        credited = [(at[~np.isnan(a)]) for a, at in zip(bent, changed, strict=True)]
        mine = sum(map(len, credited)), sum(int(at.sum()) for at in credited)
        every, some = (sum(counts) for counts in zip(*probe.gather(mine), strict=True))
        one, other = (every / max(1, count) for count in (some, every - some))
        return [a * np.where(at, one, other) for a, at in zip(bent, changed, strict=True)]

    def _revisions(self, group: Group, gaps: Numbers) -> Numbers:
        """Return z of each sampled token of each attempt: how much its turn, or itself, moved the belief.

        Standardised within the attempt, with the deviation of the population as in the code; NaN without a gap.
        """
        start = float(np.clip(np.mean([t.reward for t in group.kept]), 1e-4, 1 - 1e-4)) if group.kept else 0.5
        revisions = []
        for trajectory, gap in zip(group.kept, gaps, strict=True):
            evidence = gap if self.by == "token" else np.array([total(part) for part in by_turn(trajectory, gap)])
            known = ~np.isnan(evidence)
            moves = np.diff(self.beliefs(start, evidence[known]))
            scores = np.full(len(evidence), np.nan)
            scores[known] = (moves - moves.mean()) / (moves.std() + 1e-6) if len(moves) else 0.0
            whole = scores if self.by == "token" else per_turn(trajectory, scores)
            revisions.append(np.where(np.isnan(gap), np.nan, whole))
        return revisions

    def beliefs(self, start: float, evidence: Array) -> Array:
        """Return the probabilities of success before, and after each piece of evidence: [n] -> [n + 1]."""
        carried, odds = 0.0, [np.log(start / (1 - start))]
        for piece in evidence:
            carried = self.memory * carried + float(piece)
            odds.append(odds[0] + carried)
        return np.asarray(0.5 + 0.5 * np.tanh(np.array(odds) / 2), np.float64)


def marginal(readings: Sequence[Array]) -> Array:
    """Return the log of the mean probability over readings, NaN left out; NaN where all are: each [tokens]."""
    numbers = np.array(readings)
    known = ~np.isnan(numbers)
    largest = np.fmax.reduce(numbers)
    parts = np.exp(np.where(known, numbers - largest, -np.inf)).sum(0)
    return np.asarray(largest + np.log(np.where(known.any(0), parts, 1.0) / np.maximum(1, known.sum(0))))


def spread(trajectory: Trajectory, values: Array) -> Array:
    """Return for each token that has a number the mean of those in its turn: [tokens] -> [tokens]."""
    parts = [part[~np.isnan(part)] for part in by_turn(trajectory, values)]
    means = per_turn(trajectory, [part.mean() if len(part) else np.nan for part in parts])
    return np.where(np.isnan(values), np.nan, means)


def total(values: Array) -> float:
    """Return the sum of the numbers that are there; NaN for none."""
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else np.nan
