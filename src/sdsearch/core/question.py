"""What is asked and what can be found: questions with their decomposition, passages, hits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid")
"""How a record is read back: a field that is not known is refused, as it would be lost."""
SEED = "seed"
"""The kind of a question that only stands for a seed (its id), in an environment without questions."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One piece of text that a search can return."""

    id: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """What an embedder reads: the title, then the text."""
        return f"{self.title}\n{self.text}"


class Hit(NamedTuple):
    """A passage that a search returned; a higher score is nearer."""

    passage: Passage
    score: float


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a question's decomposition: ask for an `attribute` of an `entity`, find `passage`, read `answer`.

    A step that is a question in words has no `entity`, and one whose passage the data do not name has no `passage`.
    """

    __pydantic_config__ = STRICT

    entity: str
    attribute: str
    answer: str
    passage: str

    @property
    def query(self) -> str:
        """The plainest query for this step."""
        return f"{self.entity} {self.attribute}".strip()


@dataclass(frozen=True, slots=True)
class Question:
    """What an episode is about. `gold` holds the ids of the passages that suffice, `source` names the data set."""

    __pydantic_config__ = STRICT

    id: str
    text: str
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    kind: str = ""
    source: str = ""

    @property
    def asked(self) -> str:
        """The words of the text, in lower case: two questions with the same are the same question."""
        return " ".join(re.findall(r"\w+", self.text.casefold()))


def asked_again(train: Iterable[Question], test: Iterable[Question]) -> int:
    """Return how many questions of `test` are in `train` too, by their words."""
    known = {q.asked for q in train} - {""}
    return sum(q.asked in known for q in test)


def seeded(count: int) -> tuple[Question, ...]:
    """Return what stands for the seeds 0, 1, ..."""
    return tuple(Question(str(seed), "", (), kind=SEED) for seed in range(count))
