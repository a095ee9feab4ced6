"""Whether prompts, turns and hints fit the model, as far as that can be known before the first rollout.

What a policy will write cannot be known. Refused is what could not be played or taught whatever it writes; what may
come to be too long is told, and found at the step that meets it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from sdsearch.agents.local import LocalSession
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.errors import ContextError
from sdsearch.spec import Experiment, Objective

LONGEST = 100
"""So many prompts, the longest in characters, are tokenised to find the longest in tokens."""


def preflight(
    experiment: Experiment, session: LocalSession, train: Sequence[Question], test: Sequence[Question]
) -> str | None:
    """Return a note when searches as long as a turn allows would make a hint too long for the model, else None.

    Raises `ContextError`, with the numbers, when the longest prompt and one turn do not fit into `agent.context`, or
    not into the model together with the shortest hint that a term gives its teacher.
    """
    policy, turn = session.policy, session.settings.max_new_tokens
    longest, opening = longest_prompt(session, [*train, *test])
    if len(opening.tokens) + turn > session.context:
        raise ContextError(
            f"question {longest.id}: the prompt takes {len(opening.tokens)} tokens and a turn may take {turn} "
            f"(agent.max_new_tokens), together {len(opening.tokens) + turn}, and agent.context is {session.context}: "
            f"raise agent.context (the model has {policy.positions} positions), lower agent.max_new_tokens or shorten "
            "the instruction"
        )
    question, opening = longest_prompt(session, train)
    objective, group = experiment.objective, experiment.train.group
    if objective is None:
        return None
    least = hinted(objective, session, question, opening, group, ["a"]) + turn
    if least > policy.positions:
        raise ContextError(
            f"question {question.id}: the prompt takes {len(opening.tokens)} tokens, {least - turn} with the shortest "
            f"hint for a group of {group}, and a turn may take {turn} (agent.max_new_tokens), together {least}, and "
            f"the model has {policy.positions} positions: lower train.group, limit the hint, or use another model"
        )
    tokens = (opening.tokens * (turn // len(opening.tokens) + 1))[:turn]
    most = hinted(
        objective, session, question, opening, group, [session.codec.decode(tokens)] * experiment.environment.max_turns
    )
    if most + turn <= policy.positions:
        return None
    return (
        f"a prompt with a hint may take {most} tokens and the model has {policy.positions} positions: a step that "
        "meets one too long ends the run; limits in the hint, such as max_queries and max_characters, rule that out"
    )


def longest_prompt(session: LocalSession, questions: Sequence[Question]) -> tuple[Question, Segment]:
    """Return the question whose prompt takes the most tokens, and that prompt."""
    texts = sorted(((session.grammar.prompt(q), q) for q in questions), key=lambda pair: -len(pair[0]))[:LONGEST]
    prompts = [(q, Segment("prompt", text, session.codec.prompt(text))) for text, q in texts]
    return max(prompts, key=lambda pair: len(pair[1].tokens))


def hinted(
    objective: Objective,
    session: LocalSession,
    question: Question,
    opening: Segment,
    group: int,
    queries: Sequence[str],
) -> int:
    """Return the tokens of the longest prompt that a teacher is given when every attempt makes the same searches.

    Every other attempt is right, so that no gate is shut.
    """
    attempts = tuple(attempt(session, question, opening, queries, right=i % 2 == 0) for i in range(group))
    table = TokenTable.build([Group(question, attempts)], [np.zeros(a.sampled) for a in attempts])
    terms = [t for t in objective.terms if t.weight_at(sys.maxsize)]
    hints = [hint for term in terms for hint in term.select(table, 0).hints or ()]
    texts = {text for hint in hints for text in (hint if isinstance(hint, tuple) else (hint,)) if text is not None}
    return max((len(session.codec.prompt(text + opening.text)) for text in texts), default=len(opening.tokens))


def attempt(
    session: LocalSession, question: Question, opening: Segment, queries: Sequence[str], right: bool
) -> Trajectory:
    """Return an episode that searches and finds nothing, and then, if it is to be right, gives the answer."""
    turns = [Turn("search", query) for query in queries] + [Turn("answer", question.answers[0])] * right
    segments = [opening]
    for turn in turns:
        text = session.grammar.write(turn.kind, turn.text)
        segments.append(Segment("model", text, (0,), (0.0,), (Span.QUERY,)))
        if turn.kind == "search":
            segments.append(Segment("observation", session.grammar.render_hits(()), (0,)))
    scores = {"exact_match": float(right), "f1": float(right)}
    reason = "answered" if right else "max_turns"
    return Trajectory(question, tuple(segments), tuple(turns), reason, float(right), scores)
