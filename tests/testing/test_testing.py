"""The contracts refuse what they are meant to refuse."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sdsearch.agents.scripted import Scripted, ScriptedSession
from sdsearch.contracts.agent import Reply
from sdsearch.contracts.credit import Advantages, Credit, GroupCredit, Probe
from sdsearch.contracts.data import Dataset
from sdsearch.contracts.engine import LanguageModel
from sdsearch.contracts.environment import Grammar
from sdsearch.contracts.hint import Hint
from sdsearch.contracts.loss import LossInput, LossOutput, Selection, Term
from sdsearch.core.question import Hit, Question
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Fork, Group, Segment, Span, Trajectory
from sdsearch.crediting.per_turn import whole
from sdsearch.testing import (
    ExampleProbe,
    check_agent,
    check_credit,
    check_dataset,
    check_hint,
    check_retriever,
    check_term,
    example_groups,
    example_passages,
    example_questions,
    long_groups,
)

calls = count()


class CountsLost(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, float(len(group.trajectories))) for t in group.kept]


class Short(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [np.zeros(1) for _ in group.kept]


class Endless(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, np.inf) for t in group.kept]


class Fickle(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, next(calls)) for t in group.kept]


class Hasty(Credit):
    """Teaches the critic about the state after the last token too."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"critic"})

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        values = probe.values(groups)
        return Advantages([v[:-1] for v in values], values)


class Secretive(Hasty):
    """Teaches a critic that it does not say it needs."""

    @property
    def needs(self) -> frozenset[str]:
        return frozenset()

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        values = [v[:-1] for v in probe.values(groups)]
        return Advantages(values, values)


class Forgetful(Hasty):
    """Keeps from the critic what it has to learn."""

    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        return Advantages([v[:-1] for v in probe.values(groups)])


class Stubborn(Credit):
    def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
        return Advantages([whole(t, 0.0) for g in groups or example_groups() for t in g.kept])


@pytest.mark.parametrize(
    ("credit", "message"),
    [
        (Hasty(), "Hasty, targets: trajectory 0 .* got an array of shape"),
        (Secretive(), "got targets for a critic that it does not need"),
        (Forgetful(), "Forgetful: got no targets for the critic that it needs"),
        (Stubborn(), "Stubborn: got .*, expected a list of 0 arrays"),
        (CountsLost(), "beside a lost episode"),
        (Short(), "got an array of shape"),
        (Endless(), "got inf at its sampled token 0"),
        (Fickle(), "got other advantages the second time"),
    ],
)
def test_check_credit(credit: Credit, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_credit(credit)


class TakesHitsForPassages(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        seen = [{h.passage.id for turn in t.turns for h in turn.hits} for t in group.kept]  # type: ignore[attr-defined]
        return [whole(t, float(len(s))) for t, s in zip(group.kept, seen, strict=True)]


class TakesTheBestHit(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, sum(turn.scores[0] for turn in t.turns if turn.kind == "search")) for t in group.kept]


class AsksForNewHits(GroupCredit):
    """What a search found that none before it had; divided by what it found."""

    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        def new(t: Trajectory) -> float:
            seen, total = set[str](), 0.0
            for turn in t.turns:
                if turn.hits:
                    total += 1 / len({*turn.hits} - seen)
                seen |= {*turn.hits}
            return total

        return [whole(t, new(t)) for t in group.kept]


class ExpectsAnAnswer(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [whole(t, float(len(t.answer or t.queries[-1]))) for t in group.kept]


class ActsAfterAnObservation(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        ends = [t.segments[-1] for t in group.kept if len(t.segments) > 1]
        assert all(end.role == "model" for end in ends), "an episode ends with what its agent wrote"
        return [whole(t, 0.0) for t in group.kept]


@pytest.mark.parametrize(
    ("credit", "fault"),
    [
        (TakesHitsForPassages(), AttributeError),
        (TakesTheBestHit(), IndexError),
        (AsksForNewHits(), ZeroDivisionError),
        (ExpectsAnAnswer(), IndexError),
        (ActsAfterAnObservation(), AssertionError),
    ],
)
def test_what_would_crash_on_real_episodes_crashes_in_the_check(credit: Credit, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        check_credit(credit)


def test_the_examples_are_episodes_as_they_come_about() -> None:
    kept = [t for g in [*example_groups(), *long_groups()] for t in g.kept]
    turns = [turn for t in kept for turn in t.turns]
    assert {t.stop_reason for t in kept} == {"answered", "max_turns", "context_full"}
    assert {turn.kind for turn in turns} == {"search", "answer", "invalid"}
    assert all(len(turn.hits) == len(turn.titles) == len(turn.scores) for turn in turns)
    assert all(turn.kind == "search" for turn in turns if turn.hits)
    assert all(list(turn.scores) == sorted(turn.scores, reverse=True) for turn in turns)
    assert all(len(t.turns) == len(t.actions) for t in kept)
    assert max(len(t.turns) for t in kept) == 4
    assert max(len(t.question.hops) for t in kept) == 2


def test_the_example_probe_answers_as_a_real_one_does() -> None:
    groups, probe = example_groups(), ExampleProbe()
    kept = [t for g in groups for t in g.kept]
    forks = [Fork(t, len(t.actions) - 1) for t in kept if t.actions]
    for fork, group in zip(forks, probe.continue_from(forks, 3), strict=True):
        assert group.question == fork.trajectory.question
        for t in group.kept:
            assert t.segments[:-1] == fork.trajectory.before(fork.turn)
            assert (len(t.turns), t.answer is not None) == (len(t.actions), True)
    assert probe.continue_from(forks, 3) == probe.continue_from(forks, 3) != probe.continue_from(forks, 3, greedy=True)
    answers = probe.answer_logprobs(groups)
    assert [a.shape for a in answers] == [(len(t.actions) + 1, 2) for t in kept]
    assert [bool(np.isnan(a[-1]).all()) for a in answers] == [t.answer is not None for t in kept]
    hints = [None if i % 2 else "hint" for i in range(len(kept))]
    for i, (plain, hinted) in enumerate(zip(probe.logprobs(groups), probe.logprobs(groups, hints), strict=True)):
        assert plain.shape == hinted.shape == (kept[i].sampled,)
        assert np.isnan(hinted).all() if i % 2 else not len(plain) or not (plain == hinted).any()


class PerEpisode(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [["hint"] * len(g.trajectories) for g in groups]


class Empty(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [[""] * len(g.kept) for g in groups]


class Moody(Hint):
    def texts(self, groups: Sequence[Group], seed: int) -> list[list[str | None]]:
        return [[f"hint {next(calls)}"] * len(g.kept) for g in groups]


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (PerEpisode(), r"got \[4, 2, 1, 2, 2, 4\] hints"),
        (Empty(), "expected a text that is not empty"),
        (Moody(), "got other hints for the same seed"),
    ],
)
def test_check_hint(hint: Hint, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_hint(hint)


class Faulty(Term):
    fault: str

    def select(self, table: TokenTable, seed: int) -> Selection:
        none = torch.zeros_like(table.token, dtype=torch.bool)
        if self.fault == "fickle":
            none[next(calls) % max(1, len(none)) :] = True
            return Selection(none)
        if self.fault == "undeclared":
            return Selection(~none, "ema")
        return Selection(none if self.fault == "idle" else ~none)

    def loss(self, rows: LossInput) -> LossOutput:
        loss = rows.logprob
        match self.fault:
            case "mixes":
                loss = loss + loss.mean()
            case "shares":
                own = rows.table.trajectory
                loss = loss + torch.zeros(int(own.max()) + 1).index_add(0, own, loss)[own]
            case "sums":
                loss = loss.sum()
            case "overflows":
                loss = (-loss).exp()
            case "detached":
                loss = loss.detach()
            case "flat":
                loss = loss * 0
        return LossOutput(loss, {})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mixes", "alone and .* among others"),
        ("sums", r"got loss of shape \(\)"),
        ("overflows", "not finite for logits of size 10000"),
        ("detached", "got a loss without gradient"),
        ("flat", "got a gradient of zero"),
        ("idle", "got no row of the example table"),
        ("fickle", "got other rows for the same seed"),
        ("undeclared", "got the teacher 'ema', expected one that it `needs`"),
    ],
)
def test_check_term(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_term(Faulty(fault=fault))


@pytest.mark.parametrize("fault", ["", "shares"])
def test_check_term_accepts_a_sound_one(fault: str) -> None:
    """A number may depend on the other rows of its trajectory."""
    check_term(Faulty(fault=fault))


class Clumsy(Scripted):
    """The scripted agent with one fault in what it records."""

    fault: str = ""

    def open(self, grammar: Grammar, model: LanguageModel | None = None) -> ScriptedSession:
        return ClumsyActor(self, grammar)


class ClumsyActor(ScriptedSession):
    settings: Clumsy

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        steps = super().act(rows, texts)
        one, two = (1, 2), (-0.5, -0.5)
        match self.settings.fault:
            case "tidies":
                steps = [Reply(replace(c, text=c.text.strip()), a) for c, a, *_ in steps]
            case "drops":
                steps = steps[1:]
            case "prompts":
                steps = [Reply(replace(c, role="prompt"), a) for c, a, *_ in steps]
            case "fickle":
                steps = [Reply(c, Segment("model", f"{next(calls)}")) for c, _, *_ in steps]
            case "half":
                steps = [Reply(c, Segment("model", a.text, one, two, (Span.THINK,) * 2)) for c, a, *_ in steps if a]
            case "sure" | "mistaken":
                above, span = (0.5, Span.THINK) if self.settings.fault == "sure" else (-0.5, Span.ANSWER)
                steps = [
                    Reply(replace(c, tokens=one), Segment("model", a.text, one, (above, -1.0), (span,) * 2))
                    for c, a, *_ in steps
                    if a
                ]
        return steps

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        steps = super().resume(rows, pasts)
        if self.settings.fault == "rewrites":
            steps = [Reply(replace(c, text=c.text + " "), a) for c, a, *_ in steps]
        return steps


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("tidies", "got the context .* expected what was shown"),
        ("drops", "got 3 replies, expected one for each of the rows"),
        ("prompts", "got a context of role 'prompt' in turn 1, expected 'observation'"),
        ("fickle", "got other episodes for the same seed"),
        ("half", "got 0 tokens shown and 2 written"),
        ("sure", r"got the log-probability 0\.5"),
        ("mistaken", "got tokens of span ANSWER in .* whose action is 'search'"),
        ("rewrites", "when resumed, expected it as recorded"),
    ],
)
def test_check_agent(fault: str, message: str) -> None:
    check_agent(Clumsy())
    with pytest.raises(AssertionError, match=message):
        check_agent(Clumsy(fault=fault))


class Sloppy(Dataset):
    """The example questions with one fault."""

    fault: str = ""

    def questions(self) -> list[Question]:
        first, *others = example_questions()
        match self.fault:
            case "twin":
                others[0] = first
            case "moody":
                first = replace(first, id=f"{next(calls)}")
            case "open":
                first = replace(first, answers=())
            case "list":
                first = replace(first, answers=["France"])  # type: ignore[arg-type]
            case "blank":
                first = replace(first, text=" ")
            case "detour":
                first = replace(first, gold=("Orly",))
            case "lost":
                first = replace(first, gold=("Orly", "Paris", "Lyon"))
            case "silent":
                first = replace(first, hops=(replace(first.hops[0], answer="Lyon"),))
        return [] if self.fault == "empty" else [first, *others]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("empty", "expected a sequence of questions"),
        ("twin", "got the id 'e0' twice"),
        ("moody", "got other questions the second time"),
        ("open", "got no answers"),
        ("list", "got the answers .* expected a tuple of texts"),
        ("blank", "got the text .* not blank"),
        ("detour", r"got hops through \['Paris'\]"),
        ("lost", r"got the gold passages \['Lyon'\]"),
        ("silent", "expected a passage that holds its entity and its answer"),
    ],
)
def test_check_dataset(fault: str, message: str) -> None:
    check_dataset(Sloppy(), example_passages())
    with pytest.raises(AssertionError, match=message):
        check_dataset(Sloppy(fault=fault), example_passages())


class Careless:
    """A searcher that counts shared letters, with one fault; see `sdsearch.contracts.retrieval.Searcher`."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        known = example_passages()
        if self.fault == "foreign":
            known[0] = replace(known[0], text="Another one.")
        found = []
        for place, query in enumerate(queries):
            marks = [float(len(set(query) & set(p.title))) for p in known]
            hits = sorted(
                (Hit(p, m) for p, m in zip(known, marks, strict=True)), key=lambda h: (-h.score, h.passage.id)
            )
            match self.fault:
                case "upside down":
                    hits = hits[:k][::-1]
                case "generous":
                    k = k + 1
                case "place":
                    hits = [Hit(p, m + place) for p, m in hits]
                case "repeats":
                    hits = [hits[0], *hits]
                case "fewer":
                    hits = hits[: 6 - k]
            found.append(hits[:k])
        return found[1:] if self.fault == "drops" else found


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("foreign", "which is no passage of the corpus"),
        ("upside down", "expected the best first"),
        ("generous", "expected a list of at most 3 hits"),
        ("repeats", "a passage twice in a list"),
        ("place", "in a batch in another order|alone"),
        ("drops", "expected 8 lists"),
        ("fewer", "got fewer hits for a larger k"),
    ],
)
def test_check_retriever(fault: str, message: str) -> None:
    check_retriever(Careless(""), example_passages())
    with pytest.raises(AssertionError, match=message):
        check_retriever(Careless(fault), example_passages())
