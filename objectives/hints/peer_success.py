"""One right attempt of the same group, told from its first query to its answer: how it could have gone.

SDPO (2601.20802) shows the teacher a successful rollout of the same question, the first other one of the group, without
its thoughts. An attempt without a right peer has no teacher, so that all-wrong groups and lone successes teach nothing.
Search-E1 (2605.22511) shows a *more efficient* one, `pick: fewest`; that it has fewer searches than the attempt that is
taught, whether this was right or not, is our reading. RLCSD (2606.11709) contrasts the hint with wrong attempts in the
same words: the twin "wrong".
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.incompatible import alone
from sdsearch.hinting.attempt import Kind, parts
from sdsearch.hinting.wording import one_line, wording


class PeerSuccess(Hint):
    """A template round the lines of another attempt that was right."""

    template: Annotated[str, wording("attempt")] = "An earlier attempt that was right:\n{attempt}\n\n"
    """The words round the lines of the attempt, which `{attempt}` stands for; an empty line ends them."""
    line: Annotated[str, wording("kind", "text")] = "{kind}: {text}"
    """How one part of the attempt is told, a line each."""
    shows: tuple[Kind, ...] = Field(("query", "documents", "answer"), min_length=1)
    """The parts that are told."""
    which: Literal["right", "wrong"] = "right"
    """The peers that are told of. Wrong ones, in the words for right ones, are a control."""
    pick: Literal["first", "random", "fewest"] = "first"
    """Which of several peers: the first of the group, one drawn anew for each attempt, or the one with the fewest
    searches of those that have fewer than the attempt itself."""
    skip: int = Field(0, ge=0, le=1000)
    """Pass over so many peers that would have been taken before."""
    label_by: Literal["f1", "exact_match"] = "exact_match"
    """The score of an answer that says whether it is right."""
    above: float = Field(0.0, ge=0, lt=1)
    """An answer is right when its score is above this."""
    max_characters: int | None = Field(None, ge=1, le=1_000_000)
    """Characters per part."""

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions)

    def twins(self) -> dict[str, Hint]:
        return {"wrong": self.model_copy(update={"which": "wrong"})} if self.which == "right" else {}

    def variants(self, count: int) -> list[Hint]:
        return [self.model_copy(update={"skip": self.skip + i}) for i in range(count)]

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        """Return one text per kept trajectory. A group's texts do not depend on the other groups."""
        return [self._group(group, Random(f"{seed}/{group.question.id}")) for group in groups]

    def _group(self, group: Group, dice: Random) -> list[str | None]:
        told = [correct(t, self.label_by, self.above) == (self.which == "right") for t in group.kept]
        texts: list[str | None] = []
        for index, attempt in enumerate(group.kept):
            peers = [t for i, t in enumerate(group.kept) if told[i] and i != index]
            if self.pick == "random":
                dice.shuffle(peers)
            elif self.pick == "fewest":
                fewer = (t for t in peers if len(t.queries) < len(attempt.queries))
                peers = sorted(fewer, key=lambda t: len(t.queries))
            left = peers[self.skip :]
            texts.append(self.template.format(attempt=self.tell(left[0])) if left else None)
        return texts

    def tell(self, attempt: Trajectory) -> str:
        """Return the lines of an attempt."""
        shown = ((p.kind, one_line(p.text)[: self.max_characters]) for p in parts(attempt) if p.kind in self.shows)
        return "\n".join(self.line.format(kind=kind, text=text) for kind, text in shown)
