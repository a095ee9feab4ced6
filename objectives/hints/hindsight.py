"""What the group tried and how it ended: the search queries of every attempt under the verdict on its answer.

Seen afterwards, a group tells which searches led somewhere. Thoughts, passages and answers are left out, so that the
teacher knows better what to look for and still cannot read off the answer (SD-Search, 2605.18299, "future masking").
The paper does not give the block's words, order or place; they are fields here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Literal

from pydantic import Field, field_validator

from sdsearch.metrics import correct
from sdsearch.objective import Hint
from sdsearch.trajectory import Group, Trajectory


class Hindsight(Hint):
    """A header, one line per attempt, an empty line. An attempt without queries says so."""

    order: Literal["group", "random", "reward"] = "group"
    """As sampled, shuffled, or the highest reward first."""
    labels: Literal["on", "off", "shuffled"] = "on"
    """The verdicts: true, replaced by one neutral word, or dealt out anew within the group."""
    label_by: Literal["f1", "exact_match"] = "f1"
    above: float = Field(0.0, ge=0, lt=1)
    """An answer is right when its score is above this (the paper's rho)."""
    include_self: Literal["all", "others"] = "all"
    """Whether an attempt finds itself in its own block, where its teacher could copy the query."""
    which: Literal["all", "correct", "single"] = "all"
    """Every attempt, the right ones, or one drawn at random. Where none is left there is no teacher."""
    dedupe: bool = False
    """Write a query that an attempt repeats only once."""
    max_queries: int | None = Field(None, ge=1)
    """Queries per attempt, the first ones."""
    max_characters: int | None = Field(None, ge=1)
    """Characters per query."""
    header: str = "Earlier attempts:"
    right: str = "CORRECT"
    wrong: str = "INCORRECT"
    neutral: str = "ATTEMPT"
    separator: str = " | "
    nothing: str = "no search"

    @field_validator("right", "wrong", "neutral", "separator", "nothing")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if not text.strip() or len(text.splitlines()) != 1:
            raise ValueError(f"got {text!r}, expected one line of text that is not blank")
        return text

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        """Return one block per kept trajectory. A group's blocks do not depend on the other groups."""
        return [self._group(group, seed) for group in groups]

    def _group(self, group: Group, seed: int) -> list[str | None]:
        dice = Random(f"{seed}/{group.question.id}")
        kept = group.kept
        right = [correct(t, self.label_by, self.above) for t in kept]
        order = list(range(len(kept)))
        if self.order == "random":
            dice.shuffle(order)
        elif self.order == "reward":
            order.sort(key=lambda i: -kept[i].reward)
        said = dice.sample(right, len(right)) if self.labels == "shuffled" else right
        lines = [self._line(t, verdict) for t, verdict in zip(kept, said, strict=True)]
        blocks: list[str | None] = []
        for own in range(len(kept)):
            shown = [
                i for i in order if (i != own or self.include_self == "all") and (right[i] or self.which != "correct")
            ]
            if self.which == "single" and shown:
                shown = [dice.choice(shown)]
            blocks.append("\n".join([self.header, *(lines[i] for i in shown)]) + "\n\n" if shown else None)
        return blocks

    def _line(self, trajectory: Trajectory, right: bool) -> str:
        queries = [q for q in map(self.clean, trajectory.queries) if q]
        queries = list(dict.fromkeys(queries)) if self.dedupe else queries
        label = self.neutral if self.labels == "off" else self.right if right else self.wrong
        return f"{label}: {self.separator.join(queries[: self.max_queries]) or self.nothing}"

    def clean(self, query: str) -> str:
        """Return a query that can pass for nothing else: on one line, without separator, verdict or tag."""
        for mark in (self.separator.strip(), "<", ">"):
            query = query.replace(mark, " ")
        words = "|".join(re.escape(w) for w in (self.right, self.wrong, self.neutral))
        query = re.sub(rf"(?<!\w)({words})[\s:\uff1a]*[:\uff1a]", r"\1 ", query, flags=re.IGNORECASE)
        return " ".join(query.split())[: self.max_characters].strip()
