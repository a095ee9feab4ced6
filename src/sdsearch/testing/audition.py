"""The contract of an agent: it plays small episodes, and what it records of them is looked at."""

from __future__ import annotations

import numpy as np
from pydantic import TypeAdapter

from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.testing.examples import example_passages, example_questions
from sdsearch.trajectory import Span
from sdsearch.types import Actor, Agent, Grammar, Hit, Step


def check_agent(agent: Agent, protocol: Grammar | None = None) -> None:
    """Check that an agent records what it was shown and what it did, lets rows leave, resumes, and repeats itself.

    It plays the example questions, three turns at most, in the grammar `protocol` (Search-R1's by default).
    """
    grammar = protocol or SearchR1()
    assert TypeAdapter(Agent).validate_python(agent.model_dump()) == agent, "its settings do not read back"
    actor = agent.open(grammar)
    played = _play(actor, grammar)
    assert _play(actor, grammar) == played, "got other episodes for the same seed after a reset, expected the same"
    pasts = {row: [s for step in steps for s in step if s][:-1] for row, steps in enumerate(played) if steps[-1].action}
    actor.reset(example_questions(), 0)
    resumed = actor.resume(list(pasts), list(pasts.values()))
    for past, step in zip(pasts.values(), resumed, strict=True):
        assert step.context == past[-1], f"got {step.context} when resumed, expected it as recorded, {past[-1]}"


def _play(actor: Actor, grammar: Grammar) -> list[list[Step]]:
    questions, passages = example_questions(), example_passages()
    actor.reset(questions, 0)
    shown = {row: grammar.prompt(q) for row, q in enumerate(questions)}
    played: list[list[Step]] = [[] for _ in questions]
    for turn in range(3):
        rows = list(shown)
        steps = actor.act(rows, list(shown.values()))
        assert len(steps) == len(rows), f"got {len(steps)} steps, expected one for each of the rows {rows}"
        for row, step in zip(rows, steps, strict=True):
            _check_step(step, shown.pop(row), grammar, turn)
            played[row].append(step)
            # As in an environment, a row leaves when it has answered or has no room; the first one is lost on the way.
            found = grammar.parse(step.action.text) if step.action else None
            if found and found.kind != "answer" and row:
                hits = [Hit(p, 1.0) for p in passages if found.kind == "search" and p.title in found.text][: row % 3]
                shown[row] = grammar.render_invalid() if found.kind == "invalid" else grammar.render_hits(hits)
    return played


def _check_step(step: Step, shown: str, grammar: Grammar, turn: int) -> None:
    context, action = step
    role = "observation" if turn else "prompt"
    assert context.role == role, f"got a context of role {context.role!r} in turn {turn}, expected {role!r}"
    assert context.text == shown, f"got the context {context.text!r:.80}, expected what was shown, {shown!r:.80}"
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
