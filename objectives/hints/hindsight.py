"""What the group tried and how it ended: the search queries of every attempt under the label of its answer.

Seen afterwards, a group tells which searches led somewhere. Thoughts, passages and answers are left out, so that the
teacher knows better what to look for and still cannot read off the answer (SD-Search, 2605.18299, "future masking").
The paper does not give the block's words, order or place; they are fields here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Annotated, Literal

from pydantic import Field, field_validator

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint, HintText
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.incompatible import alone
from sdsearch.hinting.attempt import Kind, parts
from sdsearch.hinting.wording import one_line, wording


class Hindsight(Hint):
    """A header, one line per attempt, an empty line. An attempt without queries says so."""

    order: Literal["group", "random", "reward"] = "group"
    """As sampled, shuffled, or the highest reward first."""
    labels: Literal["on", "off", "shuffled", "flipped"] = "on"
    """The labels: true, replaced by one neutral word, dealt out anew within the group, or each turned round."""
    label_by: Literal["f1", "exact_match"] = "f1"
    """The score of an answer that says whether it is right."""
    above: float = Field(0.0, ge=0, lt=1)
    """An answer is right when its score is above this (the paper's rho)."""
    include_self: Literal["all", "others", "past_only"] = "all"
    """Whether an attempt finds itself in its own block, where its teacher could copy the query that it scores: all of
    it, none of it, or, with a block for each turn, what came before that turn."""
    which: Literal["all", "correct", "single"] = "all"
    """Every attempt, the right ones, or one drawn at random. Where none is left there is no teacher."""
    shows: tuple[Kind, ...] = Field(("query",), min_length=1)
    """The parts of an attempt that are told; more than its queries is the paper's ablation "no future masking"."""
    dedupe: bool = False
    """Tell what an attempt repeats only once."""
    max_queries: int | None = Field(None, ge=1)
    """Queries per attempt, the first ones."""
    max_characters: int | None = Field(None, ge=1)
    """Characters per query, or per other part."""
    max_words: int | None = Field(None, ge=1)
    """Words of all attempts together: those that come too late in `order` are left out, the first is cut if need be. A
    hint knows no tokens; in the embedded data a word is about 1.6 of them."""
    header: str = "Earlier attempts:"
    """The line above the attempts."""
    line: Annotated[str, wording("label", "parts")] = "{label}: {parts}"
    """How one attempt is told."""
    unmasked: Annotated[str, wording("kind", "text")] = "{kind}: {text}"
    """How a part that is no query is told."""
    right: str = "CORRECT"
    """The label of an attempt that was right."""
    wrong: str = "INCORRECT"
    """The label of any other attempt."""
    neutral: str = "ATTEMPT"
    """What stands in the label's place where `labels` are off."""
    separator: str = " | "
    """What stands between two parts of an attempt; it is taken out of the parts."""
    nothing: str = "no search"
    """What is told of an attempt without parts to show."""

    @field_validator("line", "unmasked", "right", "wrong", "neutral", "separator", "nothing")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if not text.strip() or text.splitlines() != [text]:
            raise ValueError(f"got {text!r}, expected one line of text that is not blank")
        return text

    def objection(self, conditions: Conditions) -> str | None:
        return alone(conditions) if self.include_self == "others" else None

    def twins(self) -> dict[str, Hint]:
        twins: dict[str, Hint] = {}
        turned = {"on": "flipped", "flipped": "on"}.get(self.labels)
        if turned and self.right != self.wrong:
            twins["flipped"] = self.model_copy(update={"labels": turned})
        if self.include_self == "all":
            twins["others"] = self.model_copy(update={"include_self": "others"})
        return twins

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return the blocks of each kept trajectory. A group's blocks do not depend on the other groups."""
        return [self._group(group, seed) for group in groups]

    def _group(self, group: Group, seed: int) -> list[HintText]:
        dice = Random(f"{seed}/{group.question.id}")
        kept = group.kept
        right = [correct(t, self.label_by, self.above) for t in kept]
        order = list(range(len(kept)))
        if self.order == "random":
            dice.shuffle(order)
        elif self.order == "reward":
            order.sort(key=lambda i: -kept[i].reward)
        labels = dice.sample(right, len(right)) if self.labels == "shuffled" else right
        labels = [not label for label in right] if self.labels == "flipped" else labels
        lines = [self._line(t, label) for t, label in zip(kept, labels, strict=True)]
        blocks: list[HintText] = []
        for index, trajectory in enumerate(kept):
            shown = [
                i
                for i in order
                if (i != index or self.include_self != "others") and (right[i] or self.which != "correct")
            ]
            if self.which == "single" and shown:
                shown = [dice.choice(shown)]
            if self.include_self != "past_only":
                blocks.append(self._block([lines[i] for i in shown]))
                continue
            past = [self._line(trajectory, labels[index], turn) for turn in range(len(trajectory.turns))]
            blocks.append(tuple(self._block([now if i == index else lines[i] for i in shown]) for now in past))
        return blocks

    def _block(self, lines: Sequence[str | None]) -> str | None:
        shown = [line for line in lines if line is not None]
        if self.max_words is not None and shown:
            whole = sum(words <= self.max_words for words in accumulate(len(line.split()) for line in shown))
            shown = shown[:whole] or [" ".join(shown[0].split()[: self.max_words])]
        return "\n".join([self.header, *shown]) + "\n\n" if shown else None

    def _line(self, trajectory: Trajectory, right: bool, before: int | None = None) -> str | None:
        """Tell an attempt, or what it was before a turn: None when that is nothing."""
        shown = [p for p in parts(trajectory) if p.kind in self.shows and (before is None or p.turn < before)]
        clean = [(p.kind, text) for p in shown if (text := self.clean(p.text))]
        clean = list(dict.fromkeys(clean)) if self.dedupe else clean
        queries = accumulate(kind == "query" for kind, _ in clean)
        most = self.max_queries or len(clean)
        texts = [
            text if kind == "query" else self.unmasked.format(kind=kind, text=text)
            for (kind, text), count in zip(clean, queries, strict=True)
            if count <= most or kind == "answer"
        ]
        if before is not None and not texts:
            return None
        label = self.neutral if self.labels == "off" else self.right if right else self.wrong
        return self.line.format(label=label, parts=self.separator.join(texts) or self.nothing)

    def clean(self, text: str) -> str:
        """Return text that can pass for nothing else: on one line, without separator, label or tag."""
        text = one_line(text.replace(self.separator.strip(), " "))
        words = "|".join(re.escape(w) for w in (self.right, self.wrong, self.neutral))
        text = re.sub(rf"(?<!\w)({words})[\s:\uff1a]*[:\uff1a]", r"\1 ", text, flags=re.IGNORECASE)
        return " ".join(text.split())[: self.max_characters].strip()
