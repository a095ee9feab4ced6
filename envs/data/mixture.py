"""`mixture`: the questions of several data sets in one, in given shares."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from random import Random
from typing import Self

from pydantic import Field, PositiveFloat, model_validator

from sdsearch.config.words import quoted, suggest
from sdsearch.contracts.data import Dataset
from sdsearch.core.question import Passage, Question


class Mixture(Dataset):
    """Several data sets: `{type: mixture, of: {nq: {path: a}, hotpotqa: {path: b}}, weights: {nq: 1, hotpotqa: 2}}`.

    With weights, every stretch of it holds the parts in these shares, and it ends with the first part that does: no
    question is asked twice, and what is left of the others is left out (what Hugging Face calls first exhausted).
    """

    of: dict[str, Dataset] = Field(min_length=1)
    """The parts by name. The questions of a part say that name as their source, and their ids begin with it."""
    weights: dict[str, PositiveFloat] | None = None
    """How many questions of each part for those of the others; by default as many as there are, all of them."""
    size: int | None = Field(None, ge=1)
    """At most so many questions."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Decides the order within each part, where `weights` or `size` leave some out."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in self.weights or {}:
            if name not in self.of:
                raise ValueError(f"weights: got {quoted(name)}, expected a part{suggest(name, self.of)}")
        if self.weights and (missing := self.of.keys() - self.weights.keys()):
            raise ValueError(f"weights: got none for {', '.join(sorted(missing))}, expected one for each part")
        return self

    def questions(self) -> tuple[Question, ...]:
        parts = {name: [_named(name, q) for q in part.questions()] for name, part in self.of.items()}
        if self.weights or self.size:
            for name, questions in parts.items():
                Random(f"{self.seed} {name}").shuffle(questions)
        weights = self.weights or {name: float(len(questions)) for name, questions in parts.items()}
        taken, mixed = dict.fromkeys(parts, 0), list[Question]()
        while self.size is None or len(mixed) < self.size:
            # The part that is furthest behind its share; of equals the first.
            name = min(parts, key=lambda name: (taken[name] + 1) / weights[name])
            if taken[name] == len(parts[name]):
                break
            mixed.append(parts[name][taken[name]])
            taken[name] += 1
        return tuple(mixed)

    def remark(self) -> str:
        """Say how many there are of each part, and what each part says."""
        counts = dict.fromkeys(self.of, 0)
        for question in self.questions():
            counts[question.source] += 1
        whole = {name: len(part.questions()) for name, part in self.of.items()}
        said = {name: part.remark() for name, part in self.of.items()}
        return ", ".join(
            f"{name} {counts[name]:,}"
            + (f" of {whole[name]:,}" if counts[name] < whole[name] else "")
            + (f" ({said[name]})" if said[name] else "")
            for name in self.of
        )

    def paragraphs(self) -> Iterable[Passage]:
        return chain.from_iterable(part.paragraphs() for part in self.of.values())


def _named(name: str, question: Question) -> Question:
    rest = (question.text, question.answers, question.gold, question.hops, question.kind)
    return Question(f"{name}/{question.id}", *rest, source=name)
