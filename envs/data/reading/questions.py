"""From records to questions: what a layout makes of a record, and what all data sets do with that.

Ids are made where there are none and told apart where one is used twice, records that cannot be asked are left out and
counted, and what had to be repaired is counted too: `Reading.remark` says all of it.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, PositiveFloat, model_validator

from sdsearch.config.component import Settings
from sdsearch.config.words import quoted
from sdsearch.contracts.data import Dataset
from sdsearch.core.question import Passage, Question
from sdsearch.envs.data.reading.answers import answers, lists_of_numbers, unquoted
from sdsearch.envs.data.reading.files import records
from sdsearch.envs.data.reading.record import Record, Unusable
from sdsearch.envs.data.reading.support import Support, paragraphs
from sdsearch.errors import DataError


class Draft(NamedTuple):
    """What a layout reads off a record. `answers` is whatever stands there; `id`, `kind` and `source` may be ""."""

    text: str
    answers: Any
    id: str = ""
    kind: str = ""
    source: str = ""
    support: Support = Support()


class Layout(NamedTuple):
    """A way in which people keep questions."""

    name: str
    """What it is called in a spec."""
    fits: Callable[[Mapping[str, Any]], bool]
    """Whether a record with these fields is of this layout and no other."""
    draft: Callable[[Record], Draft]
    """What it says. Raises `Unusable`."""
    fields: Callable[[Record], Mapping[str, Any]] = lambda record: record.fields
    """Where in a record the paragraphs are."""


class Sample(Settings):
    """A few of the questions: those whose ids have the smallest hashes, so a smaller sample is a part of a larger."""

    count: int = Field(ge=1)
    """How many; all, if there are fewer."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Another one takes others."""


class Split(Settings):
    """One part of a file that holds all: a question's part is decided by a hash of its text."""

    part: str
    """Which part, by its name in `shares`."""
    shares: dict[str, PositiveFloat] = Field(default={"train": 0.8, "validation": 0.1, "test": 0.1})
    """The parts and about how large each is; another order or other shares are another split."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Another one divides otherwise."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.part not in self.shares:
            raise ValueError(f"got the part {quoted(self.part)}, expected one of {', '.join(self.shares)}")
        return self

    def holds(self, question: Question) -> bool:
        """Say whether a question is in the part; one that is asked twice is twice in the same."""
        place = _unit(f"split {self.seed} {question.asked}") * sum(self.shares.values())
        for part, share in self.shares.items():
            place -= share
            if place < 0:
                return part == self.part
        return part == self.part


def _unit(text: str) -> float:
    """Return a number in [0, 1) that looks random."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


class Reading(NamedTuple):
    """The questions of a data set, the numbers of their records, and what became of the others.

    Each of the `records` is a question that was `usable`, of which a split or a sample may have kept a part, or is one
    of those that are counted in `dropped`.
    """

    questions: tuple[Question, ...]
    numbers: tuple[int, ...]
    remark: str
    records: int
    usable: int
    repaired: Counter[str]
    dropped: Counter[str]


class Adapter(Dataset):
    """Questions that are made of records."""

    source: str | None = None
    """What the questions say they are from; by default what the record says, or the file's name."""
    limit: int | None = Field(None, ge=1)
    """Read only so many records."""
    split: Split | None = None
    """Keep one part of the questions, by a hash of their text: `{part: test, shares: {train: 0.9, test: 0.1}}`."""
    sample: Sample | None = None
    """Keep so many questions, by a hash of their ids: `{count: 500, seed: 0}`."""

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """Yield all records. Raises `DataError`."""

    @abstractmethod
    def layout(self, first: Record) -> Layout:
        """Return the layout of the records, of which one is given. Raises `DataError`."""

    @property
    @abstractmethod
    def place(self) -> str:
        """What errors call the whole."""

    @property
    def stamp(self) -> object:
        """Whatever changes when the records do."""
        return None

    def reading(self) -> Reading:
        """Return the questions and what was repaired and left out; a second time it is not read again."""
        return _remembered(_Key(json.dumps(self.model_dump(mode="json")), self.stamp, self))

    def questions(self) -> tuple[Question, ...]:
        return self.reading().questions

    def remark(self) -> str:
        return self.reading().remark

    def paragraphs(self) -> Iterator[Passage]:
        kept, layout, found = set(self.reading().numbers), None, False
        for record in islice(self.records(), self.limit):
            layout = layout or self.layout(record)
            if record.number in kept:
                for paragraph in paragraphs(record, layout.fields(record)):
                    found = True
                    yield paragraph.passage
        if not found:
            yield from super().paragraphs()


@dataclass(frozen=True)
class _Key:
    """A data set to read: equal to another if settings and file are."""

    settings: str
    stamp: object
    adapter: Adapter = field(compare=False)


@lru_cache(maxsize=8)
def _remembered(key: _Key) -> Reading:
    return read(key.adapter)


def read(adapter: Adapter) -> Reading:
    """Read a data set. Raises `DataError` when no question is left, with the reason of the first that was left out."""
    found = islice(adapter.records(), adapter.limit)
    first = next(found, None)
    if first is None:
        raise DataError(f"{adapter.place}: got no record, expected at least one")
    layout = adapter.layout(first)
    drafts: list[tuple[Record, Draft]] = []
    dropped, repaired, nameless = Tally(), Tally(), 0
    for record in chain([first], found):
        try:
            drafts.append((Record(record.place, record.number, {}), layout.draft(record)))
        except Unusable as why:
            dropped.add(why.reason, record.place, why)
    numbers = lists_of_numbers([value for _, draft in drafts for value in _each(draft.answers)])
    kept: dict[str, tuple[Question, int]] = {}
    for record, draft in drafts:
        accepted = answers(draft.answers, numbers)
        if not accepted.texts:
            reason = " and ".join(accepted.faults) or "no answer"
            fault = record.unusable(reason, reason if reason == "no answer" else f"an {reason}", "at least one answer")
            dropped.add(reason, record.place, fault)
            continue
        plain = unquoted(draft.text)
        made = "" if draft.id else f"q-{hashlib.sha256(plain.encode()).hexdigest()[:12]}"
        question = Question(
            draft.id or made,
            plain,
            accepted.texts,
            draft.support.gold,
            draft.support.hops,
            draft.kind,
            adapter.source or draft.source or _stem(adapter),
        )
        if question.id in kept and kept[question.id][0] == question:
            dropped.add("the same record again", record.place)
            continue
        notes = [*accepted.repaired, *draft.support.repaired]
        if plain != draft.text:
            notes.append("a question quoted as in CSV")
        if question.id in kept:
            content = hashlib.sha256("\0".join((plain, *accepted.texts)).encode()).hexdigest()[:8]
            again = f"{question.id}-{content}"
            if again in kept:
                dropped.add("the same record again", record.place)
                continue
            question = Question(again, *_beside(question))
            notes.append("an id used twice, told apart by its content")
        elif made:
            nameless += 1
        for note in notes:
            repaired.add(note, record.place)
        kept[question.id] = question, record.number
    if not kept:
        raise dropped.first or DataError(f"{adapter.place}: got no question, expected at least one")
    questions = chosen(list(kept.values()), adapter.split, adapter.sample)
    if not questions:
        raise DataError(f"{adapter.place}: got no question in this part of the split, expected at least one")
    parts = [
        f"read as {layout.name}" if adapter.type != layout.name else "",
        f"{nameless:,} without an id, named by their text" if nameless else "",
        repaired.told("repaired"),
        dropped.told("dropped"),
    ]
    if adapter.sample and len(questions) < adapter.sample.count:
        parts.append(f"a sample of {adapter.sample.count:,} was asked for")
    return Reading(
        tuple(question for question, _ in questions),
        tuple(number for _, number in questions),
        "; ".join(filter(None, parts)),
        len(kept) + dropped.counts.total(),
        len(kept),
        repaired.counts,
        dropped.counts,
    )


def _each(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list | tuple) else [value]


def _beside(question: Question) -> tuple[Any, ...]:
    return question.text, question.answers, question.gold, question.hops, question.kind, question.source


def _stem(adapter: Adapter) -> str:
    return Path(adapter.place).name.partition(".")[0]


def chosen(
    questions: list[tuple[Question, int]], split: Split | None, sample: Sample | None
) -> list[tuple[Question, int]]:
    """Return the questions of a part and a sample, in their order."""
    if split:
        questions = [pair for pair in questions if split.holds(pair[0])]
    if sample:
        order = sorted(questions, key=lambda pair: (_unit(f"sample {sample.seed} {pair[0].id}"), pair[0].id))
        taken = {question.id for question, _ in order[: sample.count]}
        questions = [pair for pair in questions if pair[0].id in taken]
    return questions


class Tally:
    """Counts reasons and remembers where each occurred first."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self.counts = Counter[str]()
        self.places: dict[str, str] = {}
        self.first: DataError | None = None

    def add(self, reason: str, place: str, error: DataError | None = None) -> None:
        """Count a reason."""
        self.counts[reason] += 1
        self.places.setdefault(reason, place)
        self.first = self.first or error

    def told(self, verb: str) -> str:
        """Return them in words, the most frequent first; "" for none."""
        counted = self.counts.most_common()
        each = [f"{n:,} ({reason}, first at {self.places[reason].rpartition('/')[2]})" for reason, n in counted]
        return f"{verb} {', '.join(each)}" if each else ""


class FileQuestions(Adapter):
    """Questions in a file."""

    path: Path
    """JSON Lines, JSON, CSV, TSV or Parquet, also packed by gzip."""

    @property
    def place(self) -> str:
        return str(self.path)

    @property
    def stamp(self) -> object:
        try:
            about = self.path.stat()
        except OSError:
            return None
        return self.path.absolute(), about.st_mtime_ns, about.st_size

    def records(self) -> Iterator[Record]:
        return records(self.path)
