"""A saved state has one future: alone or among others, in this environment or another one, outages included."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st

from sdsearch.core.question import Hit, Passage, Question
from sdsearch.core.trajectory import Segment, Trajectory
from sdsearch.envs.episode import boundary
from sdsearch.envs.search_env import SearchEnv
from sdsearch.envs.vector_env import SearchVectorEnv
from sdsearch.errors import RetrieverUnavailable

QUESTIONS = [Question(str(i), f"What is {i}?", (f"number {i}",), (f"p{i}",)) for i in range(6)]
PASSAGES = [Passage(f"p{i}", f"{i}", f"{i} is number {i}.") for i in range(6)]

ACTIONS = st.one_of(
    st.sampled_from(["0", "1", "5", "all", "nothing", "down"]).map("<search>{}</search>".format),
    st.sampled_from(["number 0", "number 1", "number 2"]).map("<answer>{}</answer>".format),
    st.sampled_from(["hm", "", "<think>never mind</think>"]),
)
SCRIPTS = st.lists(st.tuples(ACTIONS, ACTIONS, ACTIONS), min_size=1, max_size=5)
ENDS = st.sampled_from(["retry", "end"])
SEEDS = st.integers(0, 100)
quick = settings(max_examples=60, deadline=None)


class ByTitle:
    """Finds the passages whose title is the query; one query meets an outage."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        if "down" in queries:
            raise RetrieverUnavailable("no route to 10.0.0.7:8000")
        return [[Hit(p, 1.0) for p in PASSAGES if q in (p.title, "all")][:k] for q in queries]


def single(on_invalid: str = "retry") -> SearchEnv:
    return SearchEnv(questions=QUESTIONS, searcher=ByTitle(), on_invalid=on_invalid)


def vector(on_invalid: str = "retry") -> SearchVectorEnv:
    return SearchVectorEnv(3, questions=QUESTIONS, searcher=ByTitle(), on_invalid=on_invalid)


def play_single(env: SearchEnv, actions: Sequence[str]) -> str:
    """Take actions, and begin again at each end; return all that was seen."""
    seen = []
    for action in actions:
        result = env.step(action)
        seen.append(str(result))
        if result[2] or result[3]:
            seen.append(str(env.reset()))
    return "\n".join([*seen, json.dumps(env.state())])


def play_vector(env: SearchVectorEnv, script: Sequence[Sequence[str]]) -> str:
    """Take rows of actions, and begin again where an episode has ended; return all that was seen."""
    seen = []
    for row in script:
        result = env.step(row)
        seen.append(str(result))
        if (over := result[2] | result[3]).any():
            seen.append(str(env.reset(options={"reset_mask": over})))
    return "\n".join([*seen, json.dumps(env.state())])


@quick
@given(st.lists(ACTIONS, max_size=9), st.lists(ACTIONS, max_size=9), ENDS, SEEDS)
def test_a_single_episode_has_one_future(before: list[str], after: list[str], ends: str, seed: int) -> None:
    env = single(ends)
    env.reset(seed=seed)
    play_single(env, before)
    state = json.loads(json.dumps(env.state()))
    shown = env.episode.shown
    first = play_single(env, after)
    for other in (env, single(ends)):
        assert other.restore(state)[0] == shown
        assert play_single(other, after) == first


@quick
@given(SCRIPTS, SCRIPTS, ENDS, SEEDS)
def test_many_episodes_have_one_future(
    before: list[tuple[str, ...]], after: list[tuple[str, ...]], ends: str, seed: int
) -> None:
    env = vector(ends)
    env.reset(seed=seed)
    play_vector(env, before)
    state = json.loads(json.dumps(env.state()))
    first = play_vector(env, after)
    for other in (env, vector(ends)):
        other.restore_all(state)
        assert play_vector(other, after) == first


@quick
@given(SCRIPTS, SCRIPTS, ENDS, st.integers(0, 2), st.integers(0, 2))
def test_a_row_goes_on_elsewhere_as_it_would_have_gone_on_here(
    before: list[tuple[str, ...]], after: list[tuple[str, ...]], ends: str, row: int, place: int
) -> None:
    """One row is moved to another place of another environment, whose other rows are busy with something else.

    An outage hits all searches of a batch, so that it is kept out of the other rows.
    """
    calm = ("<search>1</search>", "hm", "<search>all</search>")
    env, other = vector(ends), vector(ends)
    env.reset(options={"questions": QUESTIONS[:3]})
    other.reset(options={"questions": QUESTIONS[3:]})
    for actions in before:
        env.step([a if i == row else calm[i] for i, a in enumerate(actions)])
    state = json.loads(json.dumps(env.save(row)))
    live = env.episodes[row].stop_reason is None
    assert other.restore(place, state) == env.episodes[row].shown
    for actions in after:
        here = env.step([a if i == row else calm[i] for i, a in enumerate(actions)])
        there = other.step([actions[row] if i == place else calm[i] for i in range(3)])
        assert here[0][row] == there[0][place]
        assert [x[row] for x in here[2:4]] == [x[place] for x in there[2:4]]
        if live:
            assert here[1][row] == there[1][place]
    assert env.episodes[row].state() == other.episodes[place].state()


def test_a_row_put_back_is_paid_once_more() -> None:
    env = vector()
    env.reset(options={"questions": QUESTIONS[:3]})
    state = env.save(0)
    right = ["<answer>number 0</answer>", "hm", "hm"]
    assert list(env.step(right)[1]) == [1, 0, 0]
    assert list(env.step(right)[1]) == [0, 0, 0]
    ended = env.save(0)
    env.restore(0, state)
    assert list(env.step(right)[1]) == [1, 0, 0]
    env.restore(2, ended)
    assert list(env.step(right)[1]) == [0, 0, 0]
    with pytest.raises(ResetNeeded):
        vector().restore(0, state)


def test_a_row_saved_between_its_end_and_its_pay_is_still_paid_and_told() -> None:
    env, other = vector(), vector()
    for one in (env, other):
        one.reset(options={"questions": QUESTIONS[:3]})
    env.end(0, "context_full")
    other.restore(2, json.loads(json.dumps(env.save(0))))
    infos = other.step(["hm", "hm", ""])[4]
    assert (infos["stop_reason"][2], infos["question"][2]) == ("context_full", "0")
    assert not other.step(["hm", "hm", ""])[4]["_question"][2]


@quick
@given(SCRIPTS, ENDS)
def test_the_vector_environment_equals_single_ones_with_outages(script: list[tuple[str, ...]], ends: str) -> None:
    """Rows that search beside a row in outage are lost with it, so that single ones search for all that is asked."""
    together, alone = vector(ends), [single(ends) for _ in range(3)]
    together.reset(options={"questions": QUESTIONS[:3]})
    for env, question in zip(alone, QUESTIONS, strict=False):
        env.reset(options={"question": question})
    for row in script:
        live = [env.episode.stop_reason is None for env in alone]
        down = any(on and "down" in a for on, a in zip(live, row, strict=True))
        texts, rewards, terminated, truncated, infos = together.step(row)
        assert not any("10.0.0.7" in text for text in texts)
        for i, env in enumerate(alone):
            if not live[i]:
                assert (texts[i], rewards[i]) == ("", 0.0)
                continue
            asks = row[i].startswith("<search>") and len(env.episode.turns) + 1 < env.game.max_turns
            text, reward, end, cut, info = env.step("<search>down</search>" if down and asks else row[i])
            assert (text, reward, end, cut) == (texts[i], rewards[i], terminated[i], truncated[i])
            there = {name: infos[name][i] for name in info if name not in ("turns", "metrics")}
            assert {name: info[name] for name in there} == there
    lost = [e.stop_reason == "retriever_unavailable" for e in together.episodes]
    assert lost == [env.episode.stop_reason == "retriever_unavailable" for env in alone]


@given(st.lists(ACTIONS, max_size=5), ENDS)
@quick
def test_a_boundary_of_a_trajectory_is_the_state_that_the_episode_had_there(actions: list[str], ends: str) -> None:
    env = single(ends)
    text, _ = env.reset(options={"question": QUESTIONS[1]})
    segments, states = list[Segment](), list[dict[str, object]]()
    for action in actions:
        if env.episode.stop_reason is None:
            states.append(env.episode.state())
            segments += [Segment("observation" if segments else "prompt", text), Segment("model", action)]
            text = env.step(action)[0]
    stop = env.episode.stop_reason or "max_turns"
    played = Trajectory(QUESTIONS[1], tuple(segments), tuple(env.episode.turns), stop, env.episode.reward)
    assert [boundary(played, turn) for turn in range(len(states))] == states
    for turn in (-1, len(states)):
        with pytest.raises(ValueError, match=f"got turn {turn}, expected one of {len(states)} turns"):
            boundary(played, turn)


def test_flags_of_a_restored_environment_are_those_that_were_saved() -> None:
    env = vector()
    env.reset(seed=0)
    env.step(["<answer>x</answer>", "<search>down</search>", "hm"])
    state = env.state()
    other = vector()
    other.restore_all(state)
    _, rewards, terminated, truncated, _ = other.step(["", "", "<answer>x</answer>"])
    assert np.array_equal(terminated, [True, False, True])
    assert np.array_equal(truncated, [False, True, False])
    assert not rewards.any()
