"""The contracts of the families, as functions to call on a component of your own.

Each check raises `AssertionError` with what was got and what is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import TypeAdapter

from sdsearch.crediting.checked import checked
from sdsearch.errors import ComponentError
from sdsearch.objective import Credit, Hint, Term, Told
from sdsearch.testing.audition import check_agent
from sdsearch.testing.examples import (
    VOCABULARY,
    ExampleProbe,
    example_groups,
    example_passages,
    example_questions,
    example_table,
    example_trajectory,
)
from sdsearch.trajectory import Group
from sdsearch.types import Dataset, Hit, Passage, Searcher

__all__ = [
    "VOCABULARY",
    "ExampleProbe",
    "check_agent",
    "check_credit",
    "check_dataset",
    "check_hint",
    "check_retriever",
    "check_term",
    "example_groups",
    "example_passages",
    "example_questions",
    "example_table",
    "example_trajectory",
]


def check_credit(credit: Credit) -> None:
    """Check that a credit has a finite number or NaN per sampled token, repeats itself, and ignores lost episodes.

    NaN for every token is none.
    It is given the example groups as one step, and a probe whose answers are made up.
    """
    assert TypeAdapter(Credit).validate_python(credit.model_dump()) == credit, "its settings do not read back"
    groups, none = example_groups(), credit.credits([], ExampleProbe())
    assert none == [], f"got {none} for a step without groups, expected an empty list"
    try:
        found = checked(credit, groups, ExampleProbe())
    except ComponentError as error:
        raise AssertionError(str(error)) from error
    assert any(np.isfinite(a).any() for a in found), "got NaN for every token, expected credit for some of them"
    beside = [
        Group(
            g.question, (replace(g.trajectories[0], stop_reason="retriever_unavailable", reward=1e3), *g.trajectories)
        )
        for g in groups
    ]
    for other in (groups, beside):
        pairs = zip(found, checked(credit, other, ExampleProbe()), strict=True)
        same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        assert same, "got other credits the second time, or beside a lost episode: expected the same"


def check_hint(hint: Hint) -> None:
    """Check that a hint has a text, None, or one of these per turn for each kept trajectory, and repeats itself."""
    assert TypeAdapter(Hint).validate_python(hint.model_dump()) == hint, "its settings do not read back"
    groups = example_groups()
    found = hint.texts(groups, 0)
    got, expected = [len(texts) for texts in found], [len(g.kept) for g in groups]
    assert got == expected, f"got {got} hints, expected one per kept trajectory: {expected}"
    pairs = [p for g, hints in zip(groups, found, strict=True) for p in zip(g.kept, hints, strict=True)]
    wrong = [t for _, told in pairs for t in _every(told) if not (t is None or (isinstance(t, str) and t))]
    assert not wrong, f"got the hint {wrong[:1]}, expected a text that is not empty, or None"
    for trajectory, told in pairs:
        turns = len(trajectory.actions)
        assert not isinstance(told, tuple) or len(told) == turns, f"got {told}, expected {turns} texts, one a turn"
    assert hint.texts(groups, 0) == found, "got other hints for the same seed, expected the same"
    assert list(hint.texts([], 0)) == [], "expected no hints for no groups"


def _every(told: Told) -> tuple[str | None, ...]:
    return told if isinstance(told, tuple) else (told,)


def check_term(term: Term) -> None:
    """Check that a term's losses are finite, have a gradient, and depend on rows of their own trajectory only."""
    import torch

    from sdsearch.objective import Rows
    from sdsearch.plan import make
    from sdsearch.tokens import TokenTable

    assert TypeAdapter(Term).validate_python(term.model_dump()) == term, "its settings do not read back"
    assert make(TokenTable.build([], []), [("term", term, 1.0)], 0).terms, "expected an empty selection for no rows"
    table = example_table()
    (planned,), (again,) = (make(table, [("term", term, 1.0)], 0).terms for _ in range(2))
    assert torch.equal(planned.selection.rows, again.selection.rows), "got other rows for the same seed"
    assert planned.selection.hints == again.selection.hints, "got other hints for the same seed"
    mine = table.at(planned.selection.rows)
    assert len(mine), "got no row of the example table, expected some: see sdsearch.testing.example_table"
    dice = torch.Generator().manual_seed(0)
    for scale in (1.0, 1e4):
        logits, teacher = (scale * torch.randn(len(mine), VOCABULARY, generator=dice) for _ in range(2))
        given = teacher if planned.selection.teacher else None
        loss, metrics = term.values(Rows(mine, logits.requires_grad_(), given))
        for name, figure in {"loss": loss, **metrics}.items():
            assert figure.shape == (len(mine),), f"got {name} of shape {tuple(figure.shape)}, expected {(len(mine),)}"
            assert figure.isfinite().all(), f"got a {name} that is not finite for logits of size {scale}"
        assert loss.requires_grad, "got a loss without gradient"
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.isfinite().all(), f"got a gradient that is not finite for logits of size {scale}"
        assert scale > 1 or gradient.any(), "got a gradient of zero for every row"
        for t in sorted(set(mine.trajectory.tolist())):
            rows = (mine.trajectory == t).nonzero().squeeze(1)
            alone = term.values(Rows(mine.at(rows), logits[rows], None if given is None else given[rows])).loss
            close = torch.allclose(alone, loss[rows], rtol=1e-4, atol=1e-6)
            said = f"got {alone.tolist()} alone and {loss[rows].tolist()} among others, expected the same"
            assert close, f"trajectory {t}: {said}"
        if term.follows_credit:
            calm = replace(mine, credit=torch.zeros_like(mine.credit))
            loss = term.values(Rows(calm, logits, given)).loss
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert not (loss.any() or gradient.any()), "got a loss or a gradient where all credit is zero"


AWKWARD = ("", " ", "\n", "?!", "<search>", "Łódź 東京 🙂 \u202e\u200b", "a" * 20_000, "0", "word " * 2_000)
"""Queries that a policy may well write."""


def check_retriever(searcher: Searcher, passages: Sequence[Passage]) -> None:
    """Check that a searcher over `passages` is orderly: batches, order, ties, sizes, awkward queries, repetition.

    The titles of the passages are asked, fifty at most.
    """
    known = {p.id: p for p in passages}
    queries = list(dict.fromkeys(p.title for p in passages))[:50]

    def ask(texts: Sequence[str], k: int) -> list[list[Hit]]:
        found = searcher.search(texts, k)
        assert isinstance(found, list) and len(found) == len(texts), f"got {found!r:.80}, expected {len(texts)} lists"
        for hits in found:
            ids = [h.passage.id for h in hits]
            assert len(ids) <= k and len(set(ids)) == len(ids), f"got {ids}, expected at most {k} different passages"
            foreign = [h.passage for h in hits if known.get(h.passage.id) != h.passage]
            assert not foreign, f"got {foreign[:1]}, which is no passage of the corpus"
            assert all(np.isfinite(h.score) for h in hits), f"got {hits}, expected finite scores"
            order = [(-h.score, h.passage.id) for h in hits]
            assert order == sorted(order), f"got {order}, expected the highest score first, equal ones by passage id"
        return found

    def same(got: Sequence[Hit], expected: Sequence[Hit], when: str) -> None:
        # Rounding differs between batches, so that passages closer than it may change places.
        for one, two in zip(got, expected, strict=True):
            near = abs(one.score - two.score) <= 1e-4 * max(1.0, abs(two.score))
            assert near, f"got {one} {when}, expected {two}"

    assert ask([], 3) == [], "expected no lists for no queries"
    batch = ask(queries, 3)
    for query, hits, again in zip(queries, batch, ask(queries[::-1], 3)[::-1], strict=True):
        same(ask([query], 3)[0], hits, f"for {query!r} alone")
        same(again, hits, f"for {query!r} in a batch in another order")
        same(ask([query], 1)[0], hits[:1], f"as the first of {query!r}")
    if queries:
        for hits in ask([queries[0]] * 3, 3):
            same(hits, batch[0], f"for {queries[0]!r} three times over")
        most = ask(queries[:2], len(passages) + 10)
        assert all(len(hits) >= len(few) for hits, few in zip(most, batch, strict=False)), (
            "got fewer hits for a larger k"
        )
    ask(AWKWARD, 3)


def check_dataset(dataset: Dataset, passages: Sequence[Passage] = ()) -> None:
    """Check that questions are whole, have ids of their own and a fixed order, and name passages that tell of them.

    With `passages`, those of the corpus that is to be searched, what the questions name is looked up there.
    """
    assert TypeAdapter(Dataset).validate_python(dataset.model_dump()) == dataset, "its settings do not read back"
    questions = dataset.questions()
    assert isinstance(questions, Sequence) and questions, f"got {questions!r:.80}, expected a sequence of questions"
    assert list(dataset.questions()) == list(questions), "got other questions the second time: expected the same order"
    ids = [q.id for q in questions]
    assert len(set(ids)) == len(ids), f"got the id {max(ids, key=ids.count)!r} twice, expected different ones"
    known = {p.id: f"{p.title} {p.text}" for p in passages}
    for q in questions:
        for name, texts in {"id": (q.id,), "text": (q.text,), "answers": q.answers, "gold": q.gold}.items():
            sound = isinstance(texts, tuple) and all(isinstance(t, str) and t.strip() for t in texts)
            assert sound, f"{q.id!r}: got the {name} {texts!r:.80}, expected a tuple of texts that are not blank"
        assert q.answers, f"{q.id!r}: got no answers, expected at least one"
        strange = {h.passage for h in q.hops} - set(q.gold)
        assert not strange, f"{q.id!r}: got hops through {sorted(strange)}, expected passages that are in `gold`"
        missing = [i for i in q.gold if known and i not in known]
        assert not missing, f"{q.id!r}: got the gold passages {missing}, expected ids of the corpus"
        silent = [h for h in q.hops if known and not (h.entity in known[h.passage] and h.answer in known[h.passage])]
        assert not silent, f"{q.id!r}: got {silent[:1]}, expected a passage that holds its entity and its answer"
