"""Rollouts: groups in order, and continuations that go on from recorded tokens, not from recorded text."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdsearch.agents.policy import PolicySession
from sdsearch.agents.scripted import Scripted, ScriptedSession
from sdsearch.contracts.engine import Model, Sampling
from sdsearch.contracts.environment import Action, EnvFactory
from sdsearch.core.question import Hit, Hop, Passage, Question
from sdsearch.core.trajectory import Fork, Group, Segment, Trajectory, read_groups, write_groups
from sdsearch.envs.episode import boundary
from sdsearch.envs.protocol.rag import Rag
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.errors import RetrieverUnavailable
from sdsearch.policy.policy import Policy, language_model
from sdsearch.rollout.collect import EpisodeCollector, bearable, collect, continue_from
from sdsearch.warmstart.judge import Hinted

HOPS = (Hop("Airport 1", "city", "Rome", "a1"), Hop("Rome", "country", "Italy", "r"))
CHAIN = Question("chain", "In which country is the city of Airport 1?", ("Italy",), ("a1", "r"), HOPS)
QUESTIONS = [Question(str(i), f"Which city does Airport {i} serve?", ("Rome",)) for i in range(3)]


class EverySearch(SearchR1):
    """Takes whatever is written for a query, so that a policy with random weights searches."""

    def parse(self, text: str) -> Action:
        return Action("search", text)


class Shelf:
    """Answers each query with a passage that says the query backwards."""

    down = False

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        if self.down:
            raise RetrieverUnavailable("host 10.0.0.7 is down")
        return [[Hit(Passage(q, "Rome", f"Airport 1 serves Rome. {q[::-1]}"), 1.0)] for q in queries]


class Facts:
    """Knows the two facts of the chain."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        known = {h.query: Hit(Passage(h.passage, h.entity, f"{h.attribute}: {h.answer}"), 1.0) for h in HOPS}
        return [[known[q]] if q in known else [] for q in queries]


@pytest.fixture
def session(tiny: Policy) -> PolicySession:
    """Return a session of random weights whose every turn is a search."""
    return PolicySession(EverySearch(), language_model(Model(), Sampling(max_new_tokens=6), tiny))


class Made(EnvFactory):
    """Makes search environments with some settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def __call__(self, num_envs: int) -> SearchVectorEnv:
        return SearchVectorEnv(num_envs, questions=(), **self.settings)

    def state_at(self, trajectory: Trajectory, turn: int) -> Any:
        return boundary(trajectory, turn)


searching = Made(searcher=Shelf(), grammar=EverySearch(), max_turns=4)
reading = Made(searcher=Facts(), max_turns=5)


def forks(groups: Sequence[Group]) -> list[Fork]:
    return [Fork(t, turn) for g in groups for t in g.trajectories for turn in range(len(t.actions))]


def drawn(groups: Sequence[Group]) -> list[list[tuple[int, ...]]]:
    """Return the tokens of every turn; log-probabilities have other last bits in another batch."""
    return [[s.tokens for s in t.actions] for g in groups for t in g.trajectories]


def test_groups_come_in_order(session: PolicySession) -> None:
    groups = collect(searching, session, QUESTIONS, 2, seed=5)
    assert [g.question for g in groups] == QUESTIONS
    assert all(t.question == g.question for g in groups for t in g.trajectories)
    assert [len(g.trajectories) for g in groups] == [2, 2, 2]
    assert (
        collect(searching, session, QUESTIONS, 2, seed=5) == groups != collect(searching, session, QUESTIONS, 2, seed=6)
    )


def test_what_a_question_gets_depends_on_nothing_but_its_attempts(session: PolicySession) -> None:
    def collector(*questions: Question) -> EpisodeCollector:
        return EpisodeCollector(searching, session, questions, 2, 5, 0)

    alone, beside = collector(QUESTIONS[1]), collector(*QUESTIONS)
    first, several = alone.collect([QUESTIONS[1]], 2), beside.collect(QUESTIONS, 2)
    assert drawn(first) == drawn(several[1:2]) == drawn(collect(searching, session, [QUESTIONS[1]], 2, seed=5))
    # Others are played in between; a third attempt is the third all the same, and none is drawn twice.
    beside.collect([QUESTIONS[0]], 3)
    third = alone.collect([QUESTIONS[1]], 1)
    assert drawn(third) == drawn(beside.collect([QUESTIONS[1]], 1))
    assert drawn(third) == drawn(collect(searching, session, [QUESTIONS[1]], 3, seed=5))[2:]
    fork, other = Fork(first[0].trajectories[0], 1), Fork(several[0].trajectories[0], 1)
    grown = alone.continue_from([fork], 2)
    assert drawn(grown) == drawn(beside.continue_from([other, fork], 2)[1:]) != drawn(first)
    assert len({str(tokens) for tokens in (*drawn(first), *drawn(third), *drawn(grown))}) == 5


@pytest.mark.parametrize("at_once", [1, 4, 7])
def test_lots_bound_what_is_held_and_change_no_number(session: PolicySession, at_once: int) -> None:
    sizes: list[int] = []

    class Counting(Made):
        def __call__(self, num_envs: int) -> SearchVectorEnv:
            sizes.append(num_envs)
            return super().__call__(num_envs)

    def collector(most: int | None) -> EpisodeCollector:
        counting = Counting(searcher=Shelf(), grammar=EverySearch(), max_turns=3)
        return EpisodeCollector(counting, session, QUESTIONS, 2, 5, 0, at_once=most)

    def played(most: int | None) -> list[object]:
        play = collector(most)
        groups = play.collect(QUESTIONS, 2)
        later = play.continue_from(forks(groups), 3)
        paired = continue_from(play.env_factory, session, forks(groups), 3, 8, paired=True, at_once=most)
        return [drawn(groups), drawn(later), drawn(paired), play.usage, play.attempts]

    whole = played(None)
    assert sizes == [6, 54, 54]
    sizes.clear()
    assert played(at_once) == whole
    assert max(sizes) == {1: 3, 4: 4, 7: 6}[at_once]


def test_going_on_from_turn_zero_is_the_rollout_itself(session: PolicySession) -> None:
    groups = collect(searching, session, QUESTIONS, 3, seed=5)
    start = [Fork(g.trajectories[0], 0) for g in groups]
    assert continue_from(searching, session, start, 3, seed=5) == groups


def test_every_boundary_goes_on_from_the_recorded_tokens(session: PolicySession, tiny: Policy, tmp_path: Path) -> None:
    write_groups(tmp_path / "groups.jsonl", collect(searching, session, QUESTIONS, 1, seed=5))
    places = forks(list(read_groups(tmp_path / "groups.jsonl")))
    assert {f.turn for f in places} == {0, 1, 2, 3}
    found = continue_from(searching, session, places, 2, seed=8)
    assert found == continue_from(searching, session, places, 2, seed=8)
    later = set()
    for fork, group in zip(places, found, strict=True):
        past, length = fork.trajectory.before(fork.turn), 2 * fork.turn + 1
        assert group.question == fork.trajectory.question
        for t in group.trajectories:
            assert t.segments[:length] == past
            assert t.turns[: fork.turn] == fork.trajectory.turns[: fork.turn]
            assert len(t.turns) == len(t.actions) == 4
            assert session.model.codec.decode(t.tokens) == "".join(s.text for s in t.segments)
            check_logprobs(tiny, t)
        later.add(tuple(t.tokens for t in group.trajectories))
    assert len(later) > len(places) / 2
    assert any(len({t.tokens for t in g.trajectories}) == 2 for g in found)


def check_logprobs(policy: Policy, trajectory: Trajectory) -> None:
    """Compare every recorded log-probability with a fresh pass over the whole episode."""
    with torch.no_grad():
        fresh = policy.model(torch.tensor([trajectory.tokens])).logits[0].log_softmax(-1)
    at = 0
    for segment in trajectory.segments:
        for i, logprob in enumerate(segment.logprobs):
            assert logprob == pytest.approx(fresh[at + i - 1, segment.tokens[i]].item(), abs=1e-4)
        at += len(segment.tokens)


def test_the_likeliest_future_is_the_same_from_every_boundary(session: PolicySession) -> None:
    groups = collect(searching, session, QUESTIONS, 1, seed=0, greedy=True)
    places = forks(groups)
    for fork, group in zip(places, continue_from(searching, session, places, 2, seed=1, greedy=True), strict=True):
        assert [t.tokens for t in group.trajectories] == [fork.trajectory.tokens] * 2


def test_text_is_never_encoded_anew(session: PolicySession, tiny: Policy) -> None:
    """Tokens that no encoding of their text would give are kept as they are."""
    (group,) = collect(searching, session, QUESTIONS[:1], 1, seed=5)
    played = group.trajectories[0]
    letters = [tuple(session.model.codec.encode(c)[0] for c in "Airport"), session.model.codec.encode("Airport")]
    assert letters[0] != letters[1]
    spelt = Segment("observation", "Airport", letters[0])
    odd = replace(played, segments=(*played.segments[:2], spelt, *played.segments[3:]))
    (after,) = continue_from(searching, session, [Fork(odd, 1)], 1, seed=0)
    assert after.trajectories[0].segments[2] is spelt
    check_logprobs(tiny, after.trajectories[0])


def test_a_continuation_keeps_to_the_context(session: PolicySession) -> None:
    (group,) = collect(searching, session, QUESTIONS[:1], 1, seed=5)
    played = group.trajectories[0]
    session.model = session.model._replace(context=sum(len(s.tokens) for s in played.before(2)) + 1)
    one, none = continue_from(searching, session, [Fork(played, 2), Fork(played, 3)], 1, seed=0)
    assert len(one.trajectories[0].segments[5].tokens) == 1
    assert none.trajectories[0].stop_reason == "context_full"
    assert none.trajectories[0].segments == played.before(3)


def test_a_hint_in_front_is_part_of_the_recorded_prompt(session: PolicySession) -> None:
    hinted = Hinted(session, ["Think of Rome.\n\n"] * 2)
    (group,) = collect(searching, hinted, QUESTIONS[:1], 2, seed=5)
    assert group.trajectories[0].segments[0].text.startswith("Think of Rome.\n\nQuestion: ")
    again = continue_from(searching, hinted, [Fork(t, 0) for t in group.trajectories], 1, seed=5)
    assert [g.trajectories[0] for g in again] == list(group.trajectories)


def test_a_script_reads_again_what_was_shown() -> None:
    session = Scripted().open(SearchR1())
    (group,) = collect(reading, session, [CHAIN], 1, seed=0)
    played = group.trajectories[0]
    assert [t.kind for t in played.turns] == ["search", "search", "answer"]
    found = continue_from(reading, session, forks([group]), 2, seed=1)
    assert [list(g.trajectories) for g in found] == [[played] * 2] * 3


def test_a_script_goes_on_with_what_a_policy_began(session: PolicySession) -> None:
    """The oracle rescues an episode of another agent: it asks for what that one has not read yet."""
    prompt = Segment("prompt", f"Question: {CHAIN.text}\n", (1,))
    seen = "\n\n<information>Doc 1(Title: Airport 1) city: Rome\n</information>\n\n"
    (group,) = collect(reading, Scripted().open(SearchR1()), [CHAIN], 1, seed=0)
    foreign = replace(
        group.trajectories[0],
        segments=(prompt, Segment("model", "x"), Segment("observation", seen, (2,)), Segment("model", "y")),
    )
    (after,) = continue_from(reading, ScriptedSession(Scripted(), SearchR1()), [Fork(foreign, 1)], 1, seed=0)
    assert [t.text for t in after.trajectories[0].turns] == ["Airport 1 city", "Rome country", "Italy"]
    assert after.trajectories[0].reward == 1.0


def test_what_cannot_be_gone_on_from_is_told(session: PolicySession) -> None:
    (group,) = collect(reading, Scripted().open(SearchR1()), [CHAIN], 1, seed=0)
    with pytest.raises(ValueError, match="question chain: got turn 3, expected one of 3 turns"):
        continue_from(reading, session, [Fork(group.trajectories[0], 3)], 1, seed=0)
    with pytest.raises(ValueError, match="got a prompt without tokens, expected a past that this kind of agent"):
        continue_from(reading, session, [Fork(group.trajectories[0], 1)], 1, seed=0)
    assert continue_from(reading, session, [], 3, seed=0) == []


def test_an_outage_is_recorded_for_people_and_shown_to_nobody(
    session: PolicySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = collect(searching, session, QUESTIONS, 2, seed=5)
    monkeypatch.setattr(Shelf, "down", True)
    found = continue_from(searching, session, [Fork(groups[0].trajectories[0], 1)], 3, seed=0)
    for t in found[0].trajectories:
        assert (t.stop_reason, t.lost, t.outage) == ("retriever_unavailable", True, "host 10.0.0.7 is down")
        assert t.segments[-1].role == "model"
        assert not any("10.0.0.7" in s.text for s in t.segments)
    assert found[0].kept == ()
    bearable([*groups, *found], most=1 / 3)
    with pytest.raises(RetrieverUnavailable, match=r"failed in 33% of the episodes .* is 33%\): host 10\.0\.0\.7 is"):
        bearable([*groups, *found], most=0.333)
    bearable([], most=0.0)


class DownOnce(Shelf):
    """Has an outage in its second call alone."""

    calls = 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.calls += 1
        self.down = self.calls == 2
        return super().search(queries, k)


def test_an_outage_of_the_search_before_the_first_turn_loses_those_episodes_alone(tiny: Policy) -> None:
    """Each of the three lots is two episodes of a question, whose prompts are searched for in one call."""
    rag = Rag()
    session = PolicySession(rag, language_model(Model(), Sampling(max_new_tokens=6), tiny))
    groups = collect(Made(searcher=DownOnce(), grammar=rag, max_turns=1), session, QUESTIONS, 2, seed=5, at_once=2)
    assert [[t.lost for t in g.trajectories] for g in groups] == [[False] * 2, [True] * 2, [False] * 2]
    for t in groups[1].trajectories:
        assert (t.stop_reason, t.outage, t.reward) == ("retriever_unavailable", "host 10.0.0.7 is down", 0.0)
        assert [s.role for s in t.segments] == ["prompt", "model"]
        assert not any("10.0.0.7" in s.text or "Airport 1 serves" in s.text for s in t.segments)
    with pytest.raises(RetrieverUnavailable, match=r"failed in 33% .* host 10\.0\.0\.7 is down"):
        bearable(groups, most=0.3)
