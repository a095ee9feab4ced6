"""`triviaqa`: questions of trivia quizzes with the aliases of their answers (Joshi et al., 1705.03551)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, nested


class TriviaQA(FileQuestions):
    """TriviaQA: a JSON object whose `Data` are `Question`, `QuestionId` and `Answer: {Value, Aliases}`.

    Hugging Face writes the names small and in full (`question_id`, `answer: {value, aliases}`). Aliases in normalised
    form are not needed: answers are normalised when they are compared. Search results are left unread.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of TriviaQA."""
    answer = nested(fields.get("Answer", fields.get("answer")))
    return isinstance(answer, Mapping) and bool({"Value", "value", "Aliases", "aliases"} & answer.keys())


def draft(record: Record) -> Draft:
    """Read a record of TriviaQA. The aliases include HumanAnswers, where there are any."""
    values = [record.first(f"Answer.{name}", f"answer.{name.lower()}") for name in ("Value", "Aliases")]
    human = record.first("Answer.HumanAnswers", "answer.human_answers")
    if values == [None, None]:
        record.required("Answer.Value", "answer.value")
    return Draft(
        record.text("Question", "question"),
        [value for value in (*values, human) if value is not None],
        record.id("QuestionId", "question_id"),
    )


LAYOUT = Layout("triviaqa", fits, draft)
