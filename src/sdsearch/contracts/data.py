"""Where questions and passages come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

from sdsearch.config.component import Component
from sdsearch.core.question import Passage, Question
from sdsearch.errors import DataError


class Dataset(Component):
    """Gives questions, in a fixed order."""

    family: ClassVar[str] = "dataset"
    default: ClassVar[str] = "auto"

    def inspect(self) -> str | None:
        return "; ".join(filter(None, (f"{len(self.questions()):,} questions", self.remark())))

    def remark(self) -> str:
        """Return what reading repaired and left out, and why; "" when there is nothing to say."""
        return ""

    def paragraphs(self) -> Iterable[Passage]:
        """Return the paragraphs that come with the questions, an id once or more. Raises `DataError` without any."""
        raise DataError(
            f"the data set {self.type} comes without paragraphs, expected one that has them, such as hotpotqa, "
            "two_wiki or musique; a corpus of its own is `corpus: {path: ...}`"
        )

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """Return all questions. Raises `DataError` when there are none or a record is malformed."""


class Stored(Sequence[Passage], ABC):
    """Passages that stay where they are stored and are read when they are asked for; ids are unique."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Names ids, contents and their order."""


class Corpus(Component):
    """Gives the passages that a retriever searches."""

    family: ClassVar[str] = "corpus"
    default: ClassVar[str] = "auto"

    def inspect(self) -> str | None:
        return f"{len(self.passages()):,} passages"

    def rows(self) -> Sequence[Passage]:
        """Return the passages as they stand in a file, one for each record: row 0 is the first, however named.

        What an index made elsewhere counts its rows by.
        """
        return self.passages()

    def lazily(self) -> Stored | None:
        """Return the passages without holding them, if they are many and their layout allows it. Raises `DataError`."""
        return None

    @abstractmethod
    def passages(self) -> Sequence[Passage]:
        """Return all passages, ids unique. Raises `DataError` when there are none or a record is malformed."""
