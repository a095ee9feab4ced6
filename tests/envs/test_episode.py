import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import pytest

from sdsearch.contracts.environment import Reward
from sdsearch.core.question import Hit, Hop, Passage, Question
from sdsearch.core.trajectory import Turn
from sdsearch.envs.episode import Done, Episode, Search, Shown
from sdsearch.envs.protocol.search_r1 import SearchR1
from sdsearch.envs.reward.exact_match import ExactMatch

QUESTION = Question("7", "Where?", ("Paris",), ("p1",), (Hop("Eiffel Tower", "city", "Paris", "p1"),), "bridge")
HITS = [Hit(Passage("p1", "Eiffel Tower", "It stands in Paris."), 0.9), Hit(Passage("p2", "T", "x"), 0.1)]
SEARCH, ANSWER, NONSENSE = "<search> tower </search>", "<answer> paris </answer>", "hm"


class MinusOneForSilence(Reward):
    """A reward that sees the difference between a wrong answer and none."""

    def score(self, answer: str | None, answers: Sequence[str]) -> float:
        return -1.0 if answer is None else float(answer in answers)


def begin(max_turns: int = 3, on_invalid: Literal["retry", "end"] = "retry", reward: Reward | None = None) -> Episode:
    return Episode(QUESTION, SearchR1(), reward or ExactMatch(), max_turns, on_invalid)


def test_search_then_answer() -> None:
    episode = begin()
    assert episode.shown == episode.prompt == "Question: Where?\n"
    assert episode.act(SEARCH) == Search("tower")
    assert episode.observe(HITS) == (
        "\n\n<information>Doc 1(Title: Eiffel Tower) It stands in Paris.\nDoc 2(Title: T) x\n</information>\n\n"
    )
    assert episode.stop_reason is None
    assert not (episode.terminated or episode.truncated)
    assert episode.answer is None
    assert episode.act(ANSWER) == Done("answered")
    assert episode.turns == [
        Turn("search", "tower", ("p1", "p2"), ("Eiffel Tower", "T"), (0.9, 0.1)),
        Turn("answer", "paris"),
    ]
    assert episode.state() == {
        "question": asdict(QUESTION),
        "turns": [asdict(turn) for turn in episode.turns],
        "shown": "",
        "stop_reason": "answered",
        "reward": 1.0,
        "outage": "",
    }
    assert episode.answer == "paris"
    assert episode.terminated
    assert not episode.truncated


def test_a_wrong_answer_ends_without_reward() -> None:
    episode = begin()
    episode.act("<answer>Rome</answer>")
    assert (episode.stop_reason, episode.reward) == ("answered", 0.0)


def test_an_answer_on_the_last_turn_counts() -> None:
    episode = begin(max_turns=1)
    assert episode.act(ANSWER) == Done("answered")
    assert episode.reward == 1.0


def test_a_search_on_the_last_turn_is_not_carried_out() -> None:
    episode = begin(max_turns=2)
    episode.act(SEARCH)
    episode.observe(HITS)
    assert episode.act(SEARCH) == Done("max_turns")
    assert episode.turns[-1] == Turn("search", "tower")
    assert episode.truncated
    assert not episode.terminated


def test_an_invalid_action_costs_a_turn_and_is_told() -> None:
    episode = begin(max_turns=2)
    assert episode.act(NONSENSE) == Shown(SearchR1().render_invalid())
    assert episode.turns == [Turn("invalid", "no action")]
    assert episode.act(NONSENSE) == Done("max_turns")


def test_an_invalid_action_can_end_the_episode() -> None:
    episode = begin(on_invalid="end")
    assert episode.act(NONSENSE) == Done("invalid")
    assert episode.turns == [Turn("invalid", "no action")]
    assert episode.terminated


def test_an_outage_ends_the_episode_and_shows_nothing() -> None:
    episode = begin(reward=MinusOneForSilence())
    episode.act(SEARCH)
    assert episode.lose("connection refused") == Done("retriever_unavailable")
    assert (episode.reward, episode.shown, episode.outage) == (0.0, "", "connection refused")
    assert episode.turns == [Turn("search", "tower")]
    assert episode.truncated


def test_it_can_be_closed_from_outside() -> None:
    episode = begin()
    assert episode.close("context_full") == Done("context_full")
    assert episode.turns == []
    assert episode.truncated


@pytest.mark.parametrize(
    ("actions", "max_turns", "on_invalid"), [([NONSENSE], 3, "end"), ([NONSENSE], 1, "retry"), ([SEARCH], 1, "retry")]
)
def test_the_reward_is_told_when_there_is_no_answer(
    actions: list[str], max_turns: int, on_invalid: Literal["retry", "end"]
) -> None:
    episode = begin(max_turns, on_invalid, MinusOneForSilence())
    for action in actions:
        episode.act(action)
    assert episode.reward == -1.0


def test_moves_out_of_turn_are_refused() -> None:
    episode = begin()
    with pytest.raises(RuntimeError, match="no search is under way"):
        episode.observe(HITS)
    with pytest.raises(RuntimeError, match="no search is under way"):
        episode.lose()
    episode.act(SEARCH)
    for move in (lambda: episode.act(ANSWER), lambda: episode.close("context_full"), episode.state):
        with pytest.raises(RuntimeError, match="the search 'tower' is under way"):
            move()
    episode.observe([])
    episode.act(ANSWER)
    for move in (lambda: episode.act(ANSWER), lambda: episode.close("context_full")):
        with pytest.raises(RuntimeError, match=r"has ended \(answered\)"):
            move()


def test_nothing_found_is_an_observation() -> None:
    episode = begin()
    episode.act(SEARCH)
    assert "No passages found." in episode.observe([])
    assert episode.turns == [Turn("search", "tower", ())]


def moves(episode: Episode) -> list[dict[str, Any]]:
    """Play a whole episode and return its state after each turn."""
    states = [episode.state()]
    for action in (SEARCH, NONSENSE, SEARCH, ANSWER):
        if isinstance(episode.act(action), Search):
            episode.observe(HITS)
        states.append(episode.state())
    return states


def test_a_state_survives_json_and_goes_on_as_before() -> None:
    episode = begin(max_turns=5)
    states = moves(episode)
    for i, state in enumerate(states):
        other = Episode(Question("0", "another", ("x",)), SearchR1(), ExactMatch(), 5)
        other.restore(json.loads(json.dumps(state)))
        assert other.state() == state
        assert other.question == QUESTION
        if i < 4:
            assert other.act(ANSWER) == Done("answered")
            assert (other.reward, len(other.turns)) == (1.0, i + 1)
        else:
            assert (other.stop_reason, other.reward, other.turns) == ("answered", 1.0, episode.turns)


def test_a_state_does_not_change_with_the_episode() -> None:
    episode = begin()
    state = episode.state()
    before = json.dumps(state)
    episode.act(ANSWER)
    assert json.dumps(state) == before
    episode.restore(state)
    assert (episode.turns, episode.stop_reason, episode.shown) == ([], None, episode.prompt)
    episode.act(SEARCH)
    episode.restore(state)
    assert episode.act(ANSWER) == Done("answered")
