"""The contracts of the families, as functions to call on a component of your own.

Each check raises `AssertionError` with what was got and what is expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from sdsearch.contracts.agent import Agent, AgentSession, Reply
from sdsearch.contracts.credit import Credit
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.contracts.hint import Hint, HintText
from sdsearch.contracts.loss import LossInput, Term
from sdsearch.contracts.retrieval import Searcher, fault
from sdsearch.core.question import Hit, Passage
from sdsearch.core.trajectory import Group, Span
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.errors import ComponentError
from sdsearch.learning.credit import checked
from sdsearch.testing.environments import check_environment
from sdsearch.testing.examples import (
    VOCABULARY,
    ExampleProbe,
    example_groups,
    example_passages,
    example_questions,
    example_table,
    example_trajectory,
    long_groups,
)

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch.core.tokens import TokenTable

__all__ = [
    "VOCABULARY",
    "ExampleProbe",
    "check_agent",
    "check_credit",
    "check_dataset",
    "check_environment",
    "check_hint",
    "check_retriever",
    "check_term",
    "example_groups",
    "example_passages",
    "example_questions",
    "example_table",
    "example_trajectory",
    "long_groups",
]


def check_credit(credit: Credit) -> None:
    """Check that a credit has a finite number or NaN per sampled token, repeats itself, and ignores lost episodes.

    NaN for every token is none.
    It is given the example groups as one step, and a probe whose answers are made up.
    """
    assert TypeAdapter(Credit).validate_python(credit.model_dump()) == credit, "its settings do not read back"
    groups = example_groups() + long_groups()
    try:
        first = checked(credit, groups, ExampleProbe())
        checked(credit, [], ExampleProbe())
    except ComponentError as error:
        raise AssertionError(str(error)) from error
    assert any(np.isfinite(a).any() for a in first.values), "got NaN for every token, expected credit for some of them"
    beside = [
        Group(
            g.question, (replace(g.trajectories[0], stop_reason="retriever_unavailable", reward=1e3), *g.trajectories)
        )
        for g in groups
    ]
    for other in (groups, beside):
        again = checked(credit, other, ExampleProbe())
        pairs = zip(first.values + (first.targets or []), again.values + (again.targets or []), strict=True)
        same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        assert same, "got other advantages the second time, or beside a lost episode: expected the same"


def check_hint(hint: Hint) -> None:
    """Check that a hint has a text, None, or one of these per turn for each kept trajectory, and repeats itself."""
    assert TypeAdapter(Hint).validate_python(hint.model_dump()) == hint, "its settings do not read back"
    groups = example_groups() + long_groups()
    by_group = hint.texts(groups, 0)
    got, expected = [len(texts) for texts in by_group], [len(g.kept) for g in groups]
    assert got == expected, f"got {got} hints, expected one per kept trajectory: {expected}"
    pairs = [p for g, hints in zip(groups, by_group, strict=True) for p in zip(g.kept, hints, strict=True)]
    wrong = [t for _, text in pairs for t in _every(text) if not (t is None or (isinstance(t, str) and t))]
    assert not wrong, f"got the hint {wrong[:1]}, expected a text that is not empty, or None"
    for trajectory, hint_text in pairs:
        turns = len(trajectory.actions)
        assert not isinstance(hint_text, tuple) or len(hint_text) == turns, (
            f"got {hint_text}, expected {turns} texts, one a turn"
        )
    assert hint.texts(groups, 0) == by_group, "got other hints for the same seed, expected the same"
    assert list(hint.texts([], 0)) == [], "expected no hints for no groups"


def _every(hint_text: HintText) -> tuple[str | None, ...]:
    return hint_text if isinstance(hint_text, tuple) else (hint_text,)


def check_term(term: Term) -> None:
    """Check that a term's losses are finite, have a gradient, and depend on rows of their own trajectory only.

    Also that its selection can be used, and that it `needs` the teacher that it selects.
    """
    import torch

    from sdsearch.core.tokens import TokenTable
    from sdsearch.learning.loss import StepLoss

    assert TypeAdapter(Term).validate_python(term.model_dump()) == term, "its settings do not read back"
    term, table = term.model_copy(update={"weight": 1.0}), example_table()
    try:
        assert StepLoss.of(TokenTable.build([], []), [term], 0, 0).parts, "expected an empty selection for no rows"
        (first,), (again,) = (StepLoss.of(table, [term], 0, 0).parts for _ in range(2))
    except ValueError as error:
        raise AssertionError(str(error)) from error
    assert torch.equal(first.selection.rows, again.selection.rows), "got other rows for the same seed"
    assert first.selection.hints == again.selection.hints, "got other hints for the same seed"
    mine = table.at(first.selection.rows)
    assert len(mine), "got no row of the example table, expected some: see sdsearch.testing.example_table"
    dice = torch.Generator().manual_seed(0)
    for scale in (1.0, 1e4):
        logits, teacher = (scale * torch.randn(len(mine), VOCABULARY, generator=dice) for _ in range(2))
        given = teacher if first.selection.teacher else None
        loss, metrics = term.loss(_loss_input(mine, logits.requires_grad_(), given))
        for name, figure in {"loss": loss, **metrics}.items():
            assert figure.shape == (len(mine),), f"got {name} of shape {tuple(figure.shape)}, expected {(len(mine),)}"
            assert figure.isfinite().all(), f"got a {name} that is not finite for logits of size {scale}"
        assert loss.requires_grad, "got a loss without gradient"
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.isfinite().all(), f"got a gradient that is not finite for logits of size {scale}"
        assert scale > 1 or gradient.any(), "got a gradient of zero for every row"
        for t in sorted(set(mine.trajectory.tolist())):
            rows = (mine.trajectory == t).nonzero().squeeze(1)
            by_itself = _loss_input(mine.at(rows), logits[rows], None if given is None else given[rows])
            alone = term.loss(by_itself).loss
            close = torch.allclose(alone, loss[rows], rtol=1e-4, atol=1e-6)
            both = f"got {alone.tolist()} alone and {loss[rows].tolist()} among others, expected the same"
            assert close, f"trajectory {t}: {both}"
        if term.follows_credit:
            calm = replace(mine, advantage=torch.zeros_like(mine.advantage))
            loss = term.loss(_loss_input(calm, logits, given)).loss
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert not (loss.any() or gradient.any()), "got a loss or a gradient where every advantage is zero"


def _loss_input(rows: TokenTable, logits: Tensor, teacher: Tensor | None) -> LossInput:
    from sdsearch.policy.logprobs import pick

    return LossInput(rows, logits, pick(logits, rows.token), teacher)


AWKWARD = ("", " ", "\n", "?!", "<search>", "Łódź 東京 🙂 \u202e\u200b", "a" * 20_000, "0", "word " * 2_000)
"""Queries that a policy may well write."""


def check_retriever(searcher: Searcher, passages: Sequence[Passage]) -> None:
    """Check that a searcher over `passages` is orderly: batches, order, ties, sizes, awkward queries, repetition.

    The titles of the passages are asked, fifty at most.
    """
    known = {p.id: p for p in passages}
    queries = list(dict.fromkeys(p.title for p in passages))[:50]

    def ask(texts: Sequence[str], k: int) -> list[list[Hit]]:
        lists = searcher.search(texts, k)
        assert not (wrong := fault(lists, len(texts), k)), f"got {wrong}"
        for hits in lists:
            foreign = [h.passage for h in hits if known.get(h.passage.id) != h.passage]
            assert not foreign, f"got {foreign[:1]}, which is no passage of the corpus"
            order = [(-h.score, h.passage.id) for h in hits]
            assert order == sorted(order), f"got {order}, expected the highest score first, equal ones by passage id"
        return lists

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
        wanted = getattr(searcher, "most", None) or len(passages) + 10
        most = ask(queries[:2], wanted)
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
        strange = {h.passage for h in q.hops} - {*q.gold, ""}
        assert not strange, f"{q.id!r}: got hops through {sorted(strange)}, expected passages that are in `gold`"
        missing = [i for i in q.gold if known and i not in known]
        assert not missing, f"{q.id!r}: got the gold passages {missing}, expected ids of the corpus"
        told = [h for h in q.hops if known and h.passage]
        silent = [h for h in told if not (h.entity in known[h.passage] and h.answer in known[h.passage])]
        assert not silent, f"{q.id!r}: got {silent[:1]}, expected a passage that holds its entity and its answer"


def check_agent(agent: Agent, protocol: Grammar | None = None, model: LanguageModel | None = None) -> None:
    """Check that an agent records what it was shown and what it did, lets rows leave, resumes, and repeats itself.

    It plays the example questions, three turns at most, in the grammar `protocol` (Search-R1's by default).
    A trainable agent acts with `model`.
    """
    grammar = protocol or SearchR1()
    assert TypeAdapter(Agent).validate_python(agent.model_dump()) == agent, "its settings do not read back"
    session = agent.open(grammar, model)
    played = _play(session, grammar)
    assert _play(session, grammar) == played, "got other episodes for the same seed after a reset, expected the same"
    pasts = {
        row: [s for reply in replies for s in reply[:2] if s][:-1]
        for row, replies in enumerate(played)
        if replies[-1].action
    }
    session.reset(example_questions(), range(4))
    resumed = session.resume(list(pasts), list(pasts.values()))
    for past, reply in zip(pasts.values(), resumed, strict=True):
        assert reply.context == past[-1], f"got {reply.context} when resumed, expected it as recorded, {past[-1]}"


def _play(session: AgentSession, grammar: Grammar) -> list[list[Reply]]:
    questions, passages = example_questions(), example_passages()
    session.reset(questions, range(len(questions)))
    shown = {row: grammar.prompt(q) for row, q in enumerate(questions)}
    played: list[list[Reply]] = [[] for _ in questions]
    for turn in range(3):
        rows = list(shown)
        replies = session.act(rows, list(shown.values()))
        assert len(replies) == len(rows), f"got {len(replies)} replies, expected one for each of the rows {rows}"
        for row, reply in zip(rows, replies, strict=True):
            _check_reply(reply, shown.pop(row), grammar, turn)
            played[row].append(reply)
            # As in an environment, a row leaves when it has answered or has no room; the first one is lost on the way.
            action = grammar.parse(reply.action.text) if reply.action else None
            if action and action.kind != "answer" and row:
                hits = [Hit(p, 1.0) for p in passages if action.kind == "search" and p.title in action.text][: row % 3]
                shown[row] = grammar.render_invalid() if action.kind == "invalid" else grammar.render_hits(hits)
    return played


def _check_reply(reply: Reply, shown: str, grammar: Grammar, turn: int) -> None:
    context, action = reply.context, reply.action
    role = "observation" if turn else "prompt"
    assert context.role == role, f"got a context of role {context.role!r} in turn {turn}, expected {role!r}"
    assert context.text == shown, f"got the context {context.text!r:.80}, expected what was shown, {shown!r:.80}"
    assert not (action and reply.outage), f"got an action beside the outage {reply.outage!r:.80}, expected one of them"
    strange = {name: value for name, value in reply.figures.items() if not np.isfinite(value)}
    assert not strange, f"got the figures {strange}, expected finite numbers"
    if action is None:
        return
    assert action.role == "model", f"got an action of role {action.role!r}, expected 'model'"
    assert bool(action.tokens) == bool(context.tokens), (
        f"got {len(context.tokens)} tokens shown and {len(action.tokens)} written, expected tokens for both or for none"
    )
    wrong = [p for p in action.logprobs if not -np.inf < p <= 1e-4]
    assert not wrong, f"got the log-probability {wrong[0]}, expected finite numbers that are not above 0"
    kind = grammar.parse(action.text).kind
    for span, means in ((Span.QUERY, "search"), (Span.ANSWER, "answer")):
        fits = span not in action.spans or kind == means
        assert fits, f"got tokens of span {span.name} in {action.text!r:.80}, whose action is {kind!r}"
