"""Small questions, passages, episodes and tables on which the contracts of `sdsearch.testing` are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher, hint_at
from sdsearch.core.question import Hop, Passage, Question
from sdsearch.core.trajectory import Fork, Group, Segment, Span, Trajectory, Turn

if TYPE_CHECKING:
    from sdsearch.core.tokens import TokenTable

VOCABULARY = 16
"""The tokens of the examples are below this."""
FACTS = (
    ("Orly", "Paris", "France"),
    ("Schiphol", "Amsterdam", "Netherlands"),
    ("Arlanda", "Stockholm", "Sweden"),
    ("Fiumicino", "Rome", "Italy"),
)
"""Airports, their cities, and the countries of these."""


def example_trajectory(
    question: Question, actions: Sequence[tuple[str, ...]], reward: float, lost: bool = False, seed: int = 0
) -> Trajectory:
    """Return an episode with made-up tokens: per action a thought, a tag, one token per word of the text, and a tag.

    `actions` are a kind ("search", "answer", "invalid"), a text, and the ids of what a search found, best first; every
    action but the last is observed.
    """
    dice = np.random.default_rng(seed)
    segments = [Segment("prompt", f"Question: {question.text}\n", (1, 2, 3))]
    for kind, text, *_ in actions:
        inner = {"search": Span.QUERY, "answer": Span.ANSWER}.get(kind, Span.MARKUP)
        spans = (Span.THINK, Span.MARKUP, *[inner] * len(text.split()), Span.MARKUP)
        tokens = tuple(dice.integers(VOCABULARY, size=len(spans)).tolist())
        logprobs = tuple((-dice.uniform(0.1, 3.0, len(spans))).tolist())
        segments += [Segment("model", text, tokens, logprobs, spans), Segment("observation", "", (4, 5))]
    turns = tuple(_turn(kind, text, hits) for kind, text, *hits in actions)
    stop = "retriever_unavailable" if lost else "answered" if actions and actions[-1][0] == "answer" else "max_turns"
    return Trajectory(question, tuple(segments[: max(1, len(segments) - 1)]), turns, stop, reward)


def _turn(kind: str, text: str, hits: Sequence[str]) -> Turn:
    scores = tuple(1.5 - i / 4 for i in range(len(hits)))
    return Turn(kind, text, tuple(hits), tuple(f"Title of {i}" for i in hits), scores, "stop")


def example_groups() -> list[Group]:
    """Return groups of every kind: mixed with one lost, all alike, of one, all lost, without any search or token.

    Of the searches some find the gold passage, again and among others, some others alone, and some nothing; the last
    one of an episode that ends with it is not carried out.
    """
    hops = [(Hop(f"place {i}", "city", "Paris", f"p{i}"),) for i in range(5)]
    question = [
        Question(f"q{i}", f"Where is place {i}?", ("New Paris", "Paris"), (f"p{i}",), hops[i]) for i in range(5)
    ]
    right, wrong = ("answer", "Paris"), ("answer", "Rome")
    plays: list[list[tuple[list[tuple[str, ...]], float, bool]]] = [
        [
            ([("search", "place zero", "x1", "p0"), ("search", "city of place zero", "p0"), right], 1.0, False),
            ([("search", "zero", "x1", "x2", "x3"), wrong], 0.0, False),
            ([("search", "broken")], 0.0, True),
            ([("invalid", "what"), ("search", "a\nCorrect: b | c"), ("answer", "Paris France")], 0.5, False),
        ],
        [([("search", "one"), wrong], 0.25, False), ([wrong], 0.25, False)],
        [([("search", "two", "p2", "x1"), right], 1.0, False)],
        [([("search", "three")], 0.0, True), ([], 0.0, True)],
        [([], 0.0, False), ([right], 1.0, False)],
    ]
    return [
        Group(q, tuple(example_trajectory(q, a, r, lost, 10 * i + j) for j, (a, r, lost) in enumerate(group)))
        for i, (q, group) in enumerate(zip(question, plays, strict=True))
    ]


def long_groups() -> list[Group]:
    """Return a group of attempts over several hops, as they come about: of four turns, each search with its hits.

    One finds both gold passages on the way, with an invalid turn between; one sees the same passages again and has no
    answer when its turns are used up; one does nothing valid; one runs out of context after a search.
    """
    hops = (Hop("Orly", "city", "Paris", "p1"), Hop("Paris", "country", "France", "p2"))
    question = Question("long", "In which country is the city that Orly serves?", ("France",), ("p1", "p2"), hops)
    first, second = ("search", "Orly", "p1", "x1", "x2"), ("search", "country of Paris", "x1", "p2", "x3")
    plays: list[tuple[list[tuple[str, ...]], float]] = [
        ([first, ("invalid", "no action"), second, ("answer", "France")], 1.0),
        ([first, first, ("search", "Orly Orly"), ("search", "where then")], 0.0),
        ([("invalid", "empty search"), ("invalid", "no action"), ("invalid", "no action"), ("invalid", "no end")], 0.0),
        ([("search", "Paris", "x2", "x3", "x4"), second], 0.0),
    ]
    episodes = [example_trajectory(question, acts, reward, seed=100 + i) for i, (acts, reward) in enumerate(plays)]
    full = episodes[-1]
    shown = Segment("observation", "Doc 1(Title: Title of x1)", (4, 5))
    episodes[-1] = replace(full, segments=(*full.segments, shown), stop_reason="context_full")
    return [Group(question, tuple(episodes))]


def example_table() -> TokenTable:
    """Return the token table of the example groups; every third trajectory was never credited.

    The learner's old log-probabilities are there already, and are the sampler's.
    """
    from sdsearch.core.tokens import TokenTable

    groups = example_groups()
    kept = [t for g in groups for t in g.kept]
    credited = [np.full(t.sampled, np.nan if i % 3 == 1 else i - 2.5) for i, t in enumerate(kept)]
    table = TokenTable.build(groups, credited)
    return replace(table, old_logprob=table.sampler_logprob.clone())


class ExampleProbe(Probe):
    """Answers with numbers that are made up, and always the same ones for the same question."""

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """Return numbers between -3 and -0.1, others for each hint and teacher."""
        trajectories = _kept(groups)
        given = [""] * len(trajectories) if hints is None else list(hints)
        assert len(given) == len(trajectories), f"got {len(given)} hints, expected one for each of {len(trajectories)}"
        arrays = []
        for t, hint in zip(trajectories, given, strict=True):
            drawn = _dice(t, hint, teacher).uniform(-3, -0.1, t.sampled)
            silent = [hint_at(hint, turn) is None for turn, a in enumerate(t.actions) for _ in a.tokens]
            arrays.append(np.where(silent, np.nan, drawn))
        return arrays

    def answer_logprobs(self, groups: Sequence[Group], teacher: Teacher = "live") -> Numbers:
        """Return numbers between -3 and -0.1; the last row is NaN after an answer."""
        arrays = []
        for t in _kept(groups):
            numbers = _dice(t, "answers", teacher).uniform(-3, -0.1, (len(t.actions) + 1, len(t.question.answers)))
            numbers[-1] = np.nan if t.answer is not None else numbers[-1]
            arrays.append(numbers)
        return arrays

    def continue_from(self, forks: Sequence[Fork], k: int, greedy: bool = False) -> list[Group]:
        """Return episodes that answer at once, rightly or wrongly."""
        return [
            Group(f.trajectory.question, tuple(_answered(f, _dice(f.trajectory, f.turn, i, greedy)) for i in range(k)))
            for f in forks
        ]

    def values(self, groups: Sequence[Group]) -> Numbers:
        """Return numbers between 0 and 1."""
        return [_dice(t, "values").uniform(0, 1, t.sampled + 1) for t in _kept(groups)]


def _kept(groups: Sequence[Group]) -> list[Trajectory]:
    return [t for g in groups for t in g.kept]


def _dice(trajectory: Trajectory, *about: object) -> np.random.Generator:
    return np.random.default_rng(crc32(repr((trajectory.question.id, trajectory.tokens, about)).encode()))


def _answered(fork: Fork, dice: np.random.Generator) -> Trajectory:
    trajectory, turn = fork
    right = bool(dice.integers(2))
    text = trajectory.question.answers[0] if right else "Rome"
    tokens = tuple(dice.integers(VOCABULARY, size=3).tolist())
    action = Segment("model", text, tokens, (-1.0,) * 3, (Span.MARKUP, Span.ANSWER, Span.MARKUP))
    segments, turns = (*trajectory.before(turn), action), (*trajectory.turns[:turn], Turn("answer", text))
    return replace(trajectory, segments=segments, turns=turns, stop_reason="answered", reward=float(right))


def example_passages() -> list[Passage]:
    """Return two passages for each of the example questions: the one tells of an airport, the other of its city."""
    return [
        passage
        for airport, city, country in FACTS
        for passage in (
            Passage(airport, airport, f"{airport} Airport serves the city of {city}."),
            Passage(city, city, f"{city} lies in {country}."),
        )
    ]


def example_questions() -> list[Question]:
    """Return questions of two hops, each answered by its two example passages."""
    return [
        Question(
            id=f"e{i}",
            text=f"In which country is the city that {airport} Airport serves?",
            answers=(country,),
            gold=(airport, city),
            hops=(Hop(airport, "city", city, airport), Hop(city, "country", country, city)),
        )
        for i, (airport, city, country) in enumerate(FACTS)
    ]
