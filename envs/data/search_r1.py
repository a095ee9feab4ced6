"""`search_r1`: the Parquet files that Search-R1 and its followers train on (Jin et al., 2503.09516), verl's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdsearch.envs.data.flashrag import metadata, plain
from sdsearch.envs.data.reading.questions import Draft, FileQuestions, Layout
from sdsearch.envs.data.reading.record import Record, nested


class SearchR1(FileQuestions):
    """Search-R1: `question`, `golden_answers` or `reward_model: {ground_truth: {target}}`, `data_source`, `prompt`.

    The prompt is not taken over, the spec's protocol writes one; where there is no `question`, it is what follows
    "Question:" in the prompt. The source is `data_source`.
    """

    def layout(self, first: Record) -> Layout:
        return LAYOUT


TRUTHS = ("golden_answers", "reward_model.ground_truth.target", "reward_model.ground_truth", "extra_info.answer")


def fits(fields: Mapping[str, Any]) -> bool:
    """Say whether a record has the fields of Search-R1."""
    return "reward_model" in fields or {"data_source", "prompt"} <= fields.keys()


def draft(record: Record) -> Draft:
    """Read a record of Search-R1."""
    truth = nested(record.required(*TRUTHS))
    if isinstance(truth, Mapping):  # DeepResearcher puts one into the other
        truth = truth.get("ground_truth", truth.get("target"))
    question = record.first("question", "extra_info.question")
    asked = Record(record.place, record.number, {**record.fields, "question": question or _prompt(record)})
    return plain(asked, truth)._replace(source=record.word("data_source").rpartition("/")[2])


def _prompt(record: Record) -> str | None:
    """Return the question in a prompt."""
    prompt = nested(record.fields.get("prompt"))
    turns = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    asked = [t.get("content") for t in turns if isinstance(t, Mapping) and t.get("role") == "user"]
    texts = [text for text in asked if isinstance(text, str)]
    return texts[-1].rpartition("Question:")[2].strip() if texts else None


LAYOUT = Layout("search_r1", fits, draft, metadata)
