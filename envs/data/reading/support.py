"""The paragraphs of a multi-hop question, which of them suffice, and its decomposition; in all known layouts.

A paragraph has no id of its own: it is named by its content, so that the same paragraph is the same passage in every
question and in every file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from sdsearch.core.question import Hop, Passage
from sdsearch.envs.data.reading.record import Record, nested, rows

NO_SENTENCE = "support points past its paragraph: the paragraph counts"
NO_PARAGRAPH = "support names a paragraph that is not there"
NO_HOP = "a step of the decomposition names no paragraph"


class Support(NamedTuple):
    """Ids of the passages that suffice, the steps through them, and what did not fit."""

    gold: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    repaired: tuple[str, ...] = ()


class Paragraph(NamedTuple):
    """A title and sentences; `idx` and `supports` are MuSiQue's."""

    title: str
    sentences: tuple[str, ...]
    idx: int | None = None
    supports: bool = False

    @property
    def passage(self) -> Passage:
        """It as a passage."""
        text = " ".join(filter(None, (s.strip() for s in self.sentences)))
        return Passage(content_id(self.title, text), self.title, text)


def content_id(title: str, text: str) -> str:
    """Name a passage by its content; how its white space is set makes no difference."""
    content = "\n".join(" ".join(part.split()) for part in (title, text))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def paragraphs(record: Record, fields: Mapping[str, Any]) -> list[Paragraph]:
    """Return the paragraphs under `context` or `paragraphs`, without blank ones. Raises `Unusable` for strange ones.

    `context` is a list of [title, sentences] (HotpotQA), or columns `title` and `sentences` (Hugging Face) or `content`
    (FlashRAG); `paragraphs` a list of {title, paragraph_text} (MuSiQue). Each may be JSON in a text.
    """
    found: list[Paragraph] = []
    context = nested(fields.get("context"))
    if isinstance(context, Mapping):
        texts = nested(context.get("sentences", context.get("content")))
        titles = nested(context.get("title"))
        if not isinstance(titles, list) or not isinstance(texts, list) or len(titles) != len(texts):
            raise _strange(record, "context", context)
        context = list(zip(titles, texts, strict=True))
    for pair in context if isinstance(context, list) else []:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise _strange(record, "context", pair)
        sentences = pair[1] if isinstance(pair[1], list) else [pair[1]]
        if not all(isinstance(sentence, str) for sentence in sentences):
            raise _strange(record, "context", pair)
        found.append(Paragraph(pair[0].strip(), tuple(sentences)))
    for row in rows(fields.get("paragraphs")):
        title, text, idx = row.get("title") or "", row.get("paragraph_text", row.get("text")), row.get("idx")
        if not isinstance(title, str) or not isinstance(text, str):
            raise _strange(record, "paragraphs", row)
        found.append(
            Paragraph(title.strip(), (text,), idx if isinstance(idx, int) else None, row.get("is_supporting") is True)
        )
    found += [
        Paragraph(*told, supports=True) for step in rows(fields.get("question_decomposition")) if (told := _told(step))
    ]
    return [p for p in found if any(s.strip() for s in p.sentences)]


def _told(step: Mapping[str, Any]) -> tuple[str, tuple[str]] | None:
    """Return title and text of the paragraph that a step of FlashRAG's MuSiQue holds."""
    told = nested(step.get("support_paragraph"))
    if not isinstance(told, Mapping) or not isinstance(told.get("paragraph_text"), str):
        return None
    return str(told.get("title") or "").strip(), (told["paragraph_text"],)


def _strange(record: Record, name: str, got: Any) -> Exception:
    return record.unusable(f"{name} is malformed", f"the {name} {got!r:.60}", "titles and sentences")


def support(record: Record, fields: Mapping[str, Any], shown: Sequence[Paragraph]) -> Support:
    """Return gold and hops from whatever says so: `supporting_facts`, `evidences`, `is_supporting`, a decomposition."""
    repaired: dict[str, None] = {}
    gold: dict[str, Passage] = {}
    for title, sentence in _facts(record, fields.get("supporting_facts")):
        same = [p for p in shown if _same(p.title, title)]
        whole = [p for p in same if sentence is None or 0 <= sentence < len(p.sentences)]
        if not same:
            repaired[NO_PARAGRAPH] = None
            continue
        if not whole:
            repaired[NO_SENTENCE] = None
        passage = (whole or same)[0].passage
        gold[passage.id] = passage
    for paragraph in shown:
        if paragraph.supports:
            gold[paragraph.passage.id] = paragraph.passage
    hops = [
        *_triples(fields.get("evidences"), gold.values()),
        *_steps(fields.get("question_decomposition"), shown, gold),
    ]
    if any(not hop.passage for hop in hops):
        repaired[NO_HOP] = None
    return Support(tuple(gold), tuple(hops), tuple(repaired))


def _facts(record: Record, value: Any) -> list[tuple[str, int | None]]:
    value = nested(value)
    if value is None:
        return []
    if isinstance(value, Mapping):
        titles, sentences = value.get("title"), value.get("sent_id")
        if not isinstance(titles, list) or not isinstance(sentences, list):
            raise _strange(record, "supporting_facts", value)
        value = list(zip_longest(titles, sentences[: len(titles)]))
    pairs = []
    for pair in value if isinstance(value, list) else [value]:
        title, sentence = (*pair, None)[:2] if isinstance(pair, list | tuple) and pair else (pair, None)
        if not isinstance(title, str):
            raise _strange(record, "supporting_facts", pair)
        pairs.append((title, sentence if isinstance(sentence, int) else None))
    return pairs


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def _triples(value: Any, gold: Iterable[Passage]) -> list[Hop]:
    """Return the hops of 2WikiMultihopQA: subject, relation, object; told by the gold passage on the subject."""
    hops = []
    passages = list(gold)
    value = nested(value)
    for triple in value if isinstance(value, list) else []:
        if isinstance(triple, list | tuple) and len(triple) == 3 and all(isinstance(t, str) for t in triple):
            subject, relation, target = (t.strip() for t in triple)
            on = [p for p in passages if _same(p.title, subject)]
            tell = [p for p in passages if subject in p.contents and target in p.text]
            passage = next((p.id for p in (*on, *tell)), "")
            hops.append(Hop(subject, relation, target, passage))
    return hops


REFERENCE = re.compile(r"#(\d+)")


def _steps(value: Any, shown: Sequence[Paragraph], gold: dict[str, Passage]) -> list[Hop]:
    """Return the hops of MuSiQue: "#1" in a step is the answer of the first, "entity >> relation" is in two parts."""
    hops: list[Hop] = []
    by_idx = {p.idx: p.passage for p in shown if p.idx is not None}
    for step in rows(value):
        asked, answer = step.get("question"), step.get("answer")
        if not isinstance(asked, str) or not isinstance(answer, str):
            continue
        named = REFERENCE.sub(
            lambda number: hops[int(number[1]) - 1].answer if 0 < int(number[1]) <= len(hops) else number[0], asked
        )
        entity, arrow, relation = named.partition(">>")
        told, idx = _told(step), step.get("paragraph_support_idx")
        passage = Paragraph(*told).passage if told else by_idx.get(idx) if isinstance(idx, int) else None
        if passage:
            gold[passage.id] = passage
        question = entity.strip() if arrow else ""
        hops.append(
            Hop(question, (relation if arrow else named).strip(), answer.strip(), passage.id if passage else "")
        )
    return hops
