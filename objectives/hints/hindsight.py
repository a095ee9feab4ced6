"""What the group tried and how it ended: the search queries of every attempt under the label of its answer.

Seen afterwards, a group tells which searches led somewhere. Thoughts, passages and answers are left out, so that the
teacher knows better what to look for and still cannot read off the answer (SD-Search, 2605.18299, "future masking").
The labels are the paper's words. Those round them, the order and the place it does not give; they are fields here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator

from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.hint import Hint, HintText
from sdsearch.core.answers import correct
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.crediting.incompatible import alone
from sdsearch.hinting.attempt import Kind, parts
from sdsearch.hinting.wording import fields, one_line, wording


class Drawn(NamedTuple):
    """What is drawn for a group; attempts are indices among the kept ones."""

    right: list[bool]
    """Whether each attempt was right."""
    labels: list[bool]
    """What its label says."""
    order: list[int]
    """The attempts, as they are told."""
    go: list[int]
    """The same, as they are left out where there is no room."""
    dice: Random
    """For what is drawn for each block."""


class Hindsight(Hint):
    """A header, one line per attempt, an empty line. An attempt without queries says so."""

    order: Literal["group", "random", "reward"] = "group"
    """As sampled, shuffled, or the highest reward first."""
    labels: Literal["on", "off", "shuffled", "flipped"] = "on"
    """The labels: true, replaced by one neutral word, dealt out anew within the group, which leaves some of them true
    (the figure "labels_true"), or each turned round."""
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
    max_queries: int | None = Field(None, ge=1, le=1000)
    """Queries per attempt, the first ones."""
    max_characters: int | None = Field(None, ge=1, le=1_000_000)
    """Characters per query, or per other part."""
    max_words: int | None = Field(None, ge=1, le=100_000)
    """Words of all attempts together; attempts that are too many are left out, see `cut`. A hint knows no tokens; in
    the embedded data a word is about 1.6 of them."""
    cut: Literal["drawn", "last"] = "drawn"
    """What `max_words` leaves out: attempts drawn for the group, but never the own one; or those that come last in
    `order`, whosever they are. One is always left, and shortened if need be. The figure "hints_cut" is the share of
    blocks that lack something."""
    header: str = "Earlier attempts:"
    """The line above the attempts."""
    line: Annotated[str, wording("label", "parts")] = "{label}: {parts}"
    """How one attempt is told."""
    unmasked: Annotated[str, wording("kind", "text")] = "{kind}: {text}"
    """How a part that is no query is told."""
    right: str = "Correct"
    """The label of an attempt that was right."""
    wrong: str = "Incorrect"
    """The label of any other attempt."""
    neutral: str = "Attempt"
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
        if turned and self.right != self.wrong and "label" in fields(self.line):
            twins["flipped"] = self.model_copy(update={"labels": turned})
        if self.include_self == "all":
            twins["others"] = self.model_copy(update={"include_self": "others"})
        return twins

    def texts(self, groups: Sequence[Group], seed: int) -> list[list[HintText]]:
        """Return the blocks of each kept trajectory. A group's blocks do not depend on the other groups."""
        return [self._group(group, seed) for group in groups]

    def figures(self, groups: Sequence[Group], seed: int) -> Mapping[str, tuple[float, int]]:
        """Return "labels_true", where labels are shuffled: the share that is true, in groups with both outcomes.

        And "hints_cut", where there is a `max_words`: the share of blocks from which it took something.
        """
        found: dict[str, tuple[float, int]] = {}
        if self.labels == "shuffled":
            drawn = [self._draw(group, seed) for group in groups]
            mixed = [each for each in drawn if len(set(each.right)) > 1]
            stayed = sum(r == label for each in mixed for r, label in zip(each.right, each.labels, strict=True))
            found["labels_true"] = stayed, sum(len(each.right) for each in mixed)
        if self.max_words is not None:
            whole = self.model_copy(update={"max_words": None})
            pairs = zip(_flat(self.texts(groups, seed)), _flat(whole.texts(groups, seed)), strict=True)
            blocks = [one != other for one, other in pairs if other is not None]
            found["hints_cut"] = sum(blocks), len(blocks)
        return found

    def _draw(self, group: Group, seed: int) -> Drawn:
        dice = Random(f"{seed}/{group.question.id}")
        right = [correct(t, self.label_by, self.above) for t in group.kept]
        order = list(range(len(right)))
        if self.order == "random":
            dice.shuffle(order)
        elif self.order == "reward":
            order.sort(key=lambda i: -group.kept[i].reward)
        labels = dice.sample(right, len(right)) if self.labels == "shuffled" else right
        labels = [not label for label in right] if self.labels == "flipped" else labels
        # In one sequence for the group: blocks that are alike are scored together.
        go = Random(f"{seed}/{group.question.id}/cut").sample(order, len(order)) if self.cut == "drawn" else order[::-1]
        return Drawn(right, labels, order, go, dice)

    def _group(self, group: Group, seed: int) -> list[HintText]:
        right, labels, order, go, dice = self._draw(group, seed)
        lines = [self._line(t, label) for t, label in zip(group.kept, labels, strict=True)]
        blocks: list[HintText] = []
        for index, trajectory in enumerate(group.kept):
            shown = [
                i
                for i in order
                if (i != index or self.include_self != "others") and (right[i] or self.which != "correct")
            ]
            if self.which == "single" and shown:
                shown = [dice.choice(shown)]
            leave = [i for i in go if i != index or self.cut == "last"]
            if self.include_self != "past_only":
                blocks.append(self._block({i: lines[i] for i in shown}, leave))
                continue
            past = [self._line(trajectory, labels[index], turn) for turn in range(len(trajectory.turns))]
            own = ({i: now if i == index else lines[i] for i in shown} for now in past)
            blocks.append(tuple(self._block(each, leave) for each in own))
        return blocks

    def _block(self, lines: Mapping[int, str | None], leave: Sequence[int]) -> str | None:
        """Return the block of some attempts' lines; `leave` are those that may be left out, in that order."""
        shown = {i: line for i, line in lines.items() if line is not None}
        if self.max_words is not None:
            for i in leave:
                if i in shown and len(shown) > 1 and sum(len(line.split()) for line in shown.values()) > self.max_words:
                    del shown[i]
            shown = {i: self._short(line) for i, line in shown.items()} if len(shown) == 1 else shown
        return "\n".join([self.header, *shown.values()]) + "\n\n" if shown else None

    def _short(self, line: str) -> str:
        words = line.split()
        return line if self.max_words is None or len(words) <= self.max_words else " ".join(words[: self.max_words])

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


def _flat(texts: Sequence[Sequence[HintText]]) -> Iterator[str | None]:
    for of_group in texts:
        for text in of_group:
            yield from text if isinstance(text, tuple) else (text,)
