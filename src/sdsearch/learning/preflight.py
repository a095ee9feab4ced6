"""Whether prompts, turns and hints fit the model, as far as that can be known before the first rollout.

What a policy will write cannot be known. Refused is what could not be played or taught whatever it writes; what may
come to be too long is told, and found at the step that meets it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sdsearch.contracts.engine import Codec, LanguageModel
from sdsearch.contracts.environment import EnvFactory
from sdsearch.contracts.hint import beside
from sdsearch.core.question import Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, Turn
from sdsearch.errors import ContextError, RetrieverUnavailable
from sdsearch.rollout.collect import begin
from sdsearch.spec import Experiment, Objective

LONGEST = 100
"""So many prompts, the longest in characters, are tokenised to find the longest in tokens."""
AT_ONCE = 1000
"""Episodes that are begun at once to see their prompts."""


class Opening(NamedTuple):
    """A question and the prompt of its episode."""

    question: Question
    prompt: Segment


def longest_prompt(env_factory: EnvFactory, codec: Codec, questions: Sequence[Question]) -> Opening:
    """Begin an episode of each question, and return the one whose prompt takes the most tokens.

    Raises `RetrieverUnavailable` where prompts begin with what a search finds, and it finds nothing during an outage.
    """
    longest: list[tuple[int, int, str]] = []
    for start in range(0, len(questions), AT_ONCE):
        env, texts, infos = begin(env_factory, questions[start : start + AT_ONCE])
        env.close()
        if outages := [why for why in infos.get("outage", ()) if why]:
            raise RetrieverUnavailable(outages[0])
        longest += [(-len(text), start + i, text) for i, text in enumerate(texts)]
        longest = sorted(longest)[:LONGEST]
    openings = [Opening(questions[i], Segment("prompt", text, codec.prompt(text))) for _, i, text in longest]
    return max(openings, key=lambda opening: len(opening.prompt.tokens))


def preflight(
    experiment: Experiment, model: LanguageModel, positions: int, train: Opening, test: Opening
) -> str | None:
    """Return a note when searches as long as a turn allows would make a hint too long for the model, else None.

    `train` and `test` are the longest prompts of both, `positions` are the model's. Raises `ContextError`, with the
    numbers, when one of them and one turn do not fit into `sampling.context`, or not into the model together with the
    shortest hint that a term gives its teacher.
    """
    turn, group = model.max_new_tokens, experiment.train.group
    longest = max(train, test, key=lambda opening: len(opening.prompt.tokens))
    if (need := len(longest.prompt.tokens) + turn) > model.context:
        raise ContextError(
            f"question {longest.question.id}: the prompt takes {need - turn} tokens and a turn may take {turn} "
            f"(sampling.max_new_tokens), together {need}, and sampling.context is {model.context}: raise "
            f"sampling.context (the model has {positions} positions), lower sampling.max_new_tokens or shorten the "
            "instruction"
        )
    objectives = [stage.objective for stage in experiment.stages]
    least = max(hinted(objective, model.codec, train, group, ["a"]) for objective in objectives) + turn
    if least > positions:
        raise ContextError(
            f"question {train.question.id}: the prompt takes {len(train.prompt.tokens)} tokens, {least - turn} with "
            f"the shortest hint for a group of {group}, and a turn may take {turn} (sampling.max_new_tokens), together "
            f"{least}, and the model has {positions} positions: lower train.group, limit the hint, or use another model"
        )
    # Made of a plain word: what stands in a prompt, such as a tag of the grammar, has a meaning in a query.
    query = model.codec.decode(model.codec.encode(" search" * turn)[:turn])
    queries = [query] * experiment.environment.max_turns
    most = max(hinted(objective, model.codec, train, group, queries) for objective in objectives)
    if most + turn <= positions:
        return None
    return (
        f"a prompt with a hint may take {most} tokens and the model has {positions} positions: a step that "
        "meets one too long ends the run; limits in the hint, such as max_queries and max_characters, rule that out"
    )


def hinted(objective: Objective, codec: Codec, opening: Opening, group: int, queries: Sequence[str]) -> int:
    """Return the tokens of the longest prompt that a teacher is given when every attempt makes the same searches.

    Every other attempt is right, so that no gate is shut.
    """
    attempts = tuple(attempt(opening, queries, right=i % 2 == 0) for i in range(group))
    table = TokenTable.build([Group(opening.question, attempts)], [np.zeros(a.sampled) for a in attempts])
    terms = [t for t in objective.terms if t.weight_at(sys.maxsize)]
    hints = [hint for term in terms for hint in term.select(table, 0).hints or ()]
    texts = {text for hint in hints for text in (hint if isinstance(hint, tuple) else (hint,)) if text is not None}
    prompt = opening.prompt
    return max((len(codec.prompt(beside(text, prompt.text))) for text in texts), default=len(prompt.tokens))


def attempt(opening: Opening, queries: Sequence[str], right: bool) -> Trajectory:
    """Return an episode that searches and finds nothing, and then, if it is to be right, gives the answer."""
    question, prompt = opening
    answer = question.answers[0] if question.answers else ""
    turns = [Turn("search", query) for query in queries] + [Turn("answer", answer)] * right
    segments = [prompt]
    for turn in turns:
        segments.append(Segment("model", turn.text, (0,), (0.0,), (Span.QUERY,)))
        if turn.kind == "search":
            segments.append(Segment("observation", "", (0,)))
    scores = {"exact_match": float(right), "f1": float(right)}
    reason = "answered" if right else "max_turns"
    return Trajectory(question, tuple(segments), tuple(turns), reason, float(right), scores)
