"""Where questions and passages come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from sdsearch.config.component import Component
from sdsearch.core.question import Passage, Question


class Dataset(Component):
    """Gives questions, in a fixed order."""

    family: ClassVar[str] = "dataset"

    def inspect(self) -> str | None:
        return f"{len(self.questions()):,} questions"

    @abstractmethod
    def questions(self) -> Sequence[Question]:
        """Return all questions. Raises `DataError` when there are none or a record is malformed."""


class Corpus(Component):
    """Gives the passages that a retriever searches."""

    family: ClassVar[str] = "corpus"

    def inspect(self) -> str | None:
        return f"{len(self.passages()):,} passages"

    @abstractmethod
    def passages(self) -> Sequence[Passage]:
        """Return all passages, ids unique. Raises `DataError` when there are none or a record is malformed."""
