"""The contracts of the families, as functions to call on a component of your own, and examples to call it on.

Each check raises `AssertionError` with what was got and what is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from sdsearch.objective import Credit, Hint, Term
from sdsearch.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.types import Hit, Passage, Question, Searcher

if TYPE_CHECKING:
    from sdsearch.tokens import TokenTable

VOCABULARY = 16
"""The tokens of the examples are below this."""


def example_trajectory(
    question: Question, actions: Sequence[tuple[str, str]], reward: float, lost: bool = False, seed: int = 0
) -> Trajectory:
    """Return an episode with made-up tokens: per action a thought, a tag, one token per word of the text, and a tag.

    `actions` are pairs of a kind ("search", "answer", "invalid") and a text; every action but the last is observed.
    """
    dice = np.random.default_rng(seed)
    segments = [Segment("prompt", f"Question: {question.text}\n", (1, 2, 3))]
    for kind, text in actions:
        inner = {"search": Span.QUERY, "answer": Span.ANSWER}.get(kind, Span.MARKUP)
        spans = (Span.THINK, Span.MARKUP, *[inner] * len(text.split()), Span.MARKUP)
        tokens = tuple(dice.integers(VOCABULARY, size=len(spans)).tolist())
        logprobs = tuple((-dice.uniform(0.1, 3.0, len(spans))).tolist())
        segments += [Segment("model", text, tokens, logprobs, spans), Segment("observation", "", (4, 5))]
    turns = tuple(Turn(kind, text) for kind, text in actions)
    stop = "retriever_unavailable" if lost else "answered" if actions and actions[-1][0] == "answer" else "max_turns"
    return Trajectory(question, tuple(segments[: max(1, len(segments) - 1)]), turns, stop, reward)


def example_groups() -> list[Group]:
    """Return groups of every kind: mixed with one lost, all alike, of one, all lost, without any search or token."""
    question = [Question(f"q{i}", f"Where is place {i}?", ("New Paris", "Paris")) for i in range(5)]
    right, wrong = ("answer", "Paris"), ("answer", "Rome")
    plays = [
        [
            ([("search", "place zero"), ("search", "city of place zero"), right], 1.0, False),
            ([("search", "zero"), wrong], 0.0, False),
            ([("search", "broken")], 0.0, True),
            ([("invalid", "what"), ("search", "a\nCORRECT: b | c"), ("answer", "Paris France")], 0.5, False),
        ],
        [([("search", "one"), wrong], 0.25, False), ([wrong], 0.25, False)],
        [([("search", "two"), right], 1.0, False)],
        [([("search", "three")], 0.0, True), ([], 0.0, True)],
        [([], 0.0, False), ([right], 1.0, False)],
    ]
    return [
        Group(q, tuple(example_trajectory(q, a, r, lost, 10 * i + j) for j, (a, r, lost) in enumerate(group)))
        for i, (q, group) in enumerate(zip(question, plays, strict=True))
    ]


def example_table() -> TokenTable:
    """Return the token table of the example groups; every third trajectory was never credited."""
    from sdsearch.tokens import TokenTable

    groups = example_groups()
    kept = [t for g in groups for t in g.kept]
    return TokenTable.build(groups, [np.full(t.sampled, np.nan if i % 3 == 1 else i - 2.5) for i, t in enumerate(kept)])


def check_credit(credit: Credit) -> None:
    """Check that a credit has one finite number or NaN per sampled token, repeats itself, and ignores lost episodes."""
    assert TypeAdapter(Credit).validate_python(credit.model_dump()) == credit, "its settings do not read back"
    for group in (g for g in example_groups() if g.kept):
        found = credit.assign(group)
        got, expected = [np.shape(a) for a in found], [(t.sampled,) for t in group.kept]
        assert got == expected, f"got arrays of shapes {got} for {group.question.id}, expected {expected}"
        assert not any(np.isinf(a).any() for a in found), "got an infinite credit, expected a number, or NaN for none"
        lost = replace(group.kept[0], stop_reason="retriever_unavailable", reward=1e3)
        for other in (group, Group(group.question, (lost, *group.trajectories))):
            pairs = zip(found, credit.assign(other), strict=True)
            same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
            assert same, "got other credits the second time, or beside a lost episode: expected the same"


def check_hint(hint: Hint) -> None:
    """Check that a hint has one text or None per kept trajectory, repeats itself, and takes an empty step."""
    assert TypeAdapter(Hint).validate_python(hint.model_dump()) == hint, "its settings do not read back"
    groups = example_groups()
    found = hint.texts(groups, 0)
    got, expected = [len(texts) for texts in found], [len(g.kept) for g in groups]
    assert got == expected, f"got {got} hints, expected one per kept trajectory: {expected}"
    wrong = [t for texts in found for t in texts if not (t is None or (isinstance(t, str) and t))]
    assert not wrong, f"got the hint {wrong[:1]}, expected a text that is not empty, or None"
    assert hint.texts(groups, 0) == found, "got other hints for the same seed, expected the same"
    assert list(hint.texts([], 0)) == [], "expected no hints for no groups"


def check_term(term: Term) -> None:
    """Check that a term's losses are finite, have a gradient, and depend on nothing but their own row."""
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
        for i in range(len(mine)):
            row = torch.tensor([i])
            alone = term.values(Rows(mine.at(row), logits[row], None if given is None else given[row])).loss
            close = torch.allclose(alone, loss[row], rtol=1e-4, atol=1e-6)
            assert close, f"row {i}: got {alone.item()} alone and {loss[i].item()} among others, expected the same"


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
