"""The small search problem, against numbers worked out by hand."""

import numpy as np
import pytest

from sdsearch.core.trajectory import Fork, Group, Span
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem

HAND = SearchProblem(policy=((0.5, 0.25, 0.0, 0.25), (0.5, 0.0, 0.25, 0.25), (0.0, 0.0, 0.5, 0.5)), guess=0.5)
"""V0 = V1 / 2 + V0 / 4, V1 = V2 / 2 + V0 / 4, V2 = V1 / 2 + 1 / 2: that is 2, 3 and 5 sevenths."""
RIGHT, IDLE, HARM, ANSWER = range(4)


def test_values_are_those_worked_out_by_hand() -> None:
    np.testing.assert_allclose(HAND.values, [2 / 7, 3 / 7, 5 / 7], rtol=1e-12)
    assert HAND.worth(1, HARM) == pytest.approx(2 / 7)
    assert (HAND.worth(2, ANSWER), HAND.worth(1, ANSWER)) == (1.0, 0.0)


def test_an_episode_of_two_hops() -> None:
    question = HAND.question(0)
    t = HAND.recorded(question, [IDLE, RIGHT, HARM, RIGHT, RIGHT, ANSWER])
    assert HAND.visited(t) == [0, 0, 1, 0, 1, 2, 2]
    np.testing.assert_allclose(HAND.advantages(t) * 7, [0, 1, -1, 1, 2, 2], atol=1e-12)
    assert (t.reward, t.stop_reason, t.answer, question.answers) == (1.0, "answered", "France", ("France",))
    assert [turn.hits for turn in t.turns] == [
        ("weather",),
        ("Orly in Paris",),
        ("rumour",),
        ("Orly in Paris",),
        ("Paris in France",),
        (),
    ]
    assert set(question.gold) == {"Orly in Paris", "Paris in France"}
    assert t.actions[1].logprobs == (np.log(0.5),)
    assert [s.spans[0] for s in t.actions] == [Span.QUERY] * 5 + [Span.ANSWER]
    wrong = HAND.recorded(question, [RIGHT, ANSWER])
    assert (wrong.reward, wrong.answer) == (0.0, "Paris")
    np.testing.assert_allclose(HAND.advantages(wrong) * 7, [1, -3], atol=1e-12)


def test_the_probe_knows_what_the_problem_knows() -> None:
    question = HAND.question(0)
    groups = [Group(question, (HAND.recorded(question, [RIGHT, RIGHT, ANSWER]),))]
    probe = ExactProbe(HAND)
    np.testing.assert_allclose(probe.values(groups)[0] * 7, [2, 3, 5, 0])
    np.testing.assert_allclose(np.exp(probe.logprobs(groups)[0]), [0.5, 0.5, 0.5])
    # pi * Q / V: 1/2 * 3/2, 1/2 * 5/3, 1/2 * 7/5
    np.testing.assert_allclose(np.exp(probe.logprobs(groups, ["told"])[0]), [0.75, 5 / 6, 0.7])
    np.testing.assert_array_equal(probe.logprobs(groups, [(None, "told", None)])[0][[0, 2]], np.nan)
    np.testing.assert_allclose(np.exp(probe.answer_logprobs(groups)[0][:, 0]), [0.25, 0.5, 1.0, np.nan])


def test_the_policy_that_is_told_is_a_distribution() -> None:
    """Ideal hindsight only moves probability: over the actions of a state it adds up to 1."""
    for known, row in enumerate(HAND.policy):
        told = [p * HAND.worth(known, a) / HAND.values[known] for a, p in enumerate(row)]
        assert sum(told) == pytest.approx(1.0)


def test_episodes_end_as_often_well_as_the_first_state_is_worth() -> None:
    (group,) = HAND.groups(1, 4000, seed=3)
    rewards = [t.reward for t in group.trajectories]
    assert np.mean(rewards) == pytest.approx(2 / 7, abs=3 * (2 / 7 * 5 / 7 / 4000) ** 0.5)
    assert HAND.groups(1, 5, seed=3)[0].trajectories == group.trajectories[:5]


def test_a_continuation_goes_on_alike_from_the_next_state() -> None:
    """Continuation i of the question, gone on with after its first turn, is itself."""
    question, probe = HAND.question(4), ExactProbe(HAND, seed=2)
    start = HAND.recorded(question, [ANSWER])
    (first,) = probe.continue_from([Fork(start, 0)], 20)
    assert len({t.turns for t in first.trajectories}) > 4
    longer = [(i, t) for i, t in enumerate(first.trajectories) if len(t.turns) > 1]
    again = probe.continue_from([Fork(t, 1) for _, t in longer], 20)
    assert [g.trajectories[i] for (i, _), g in zip(longer, again, strict=True)] == [t for _, t in longer]
    other = ExactProbe(HAND, seed=3).continue_from([Fork(start, 0)], 20)[0]
    assert other.trajectories != first.trajectories
    with pytest.raises(ValueError, match="greedy continuations"):
        probe.continue_from([], 1, greedy=True)


@pytest.mark.parametrize(
    "policy", [((1.0, 0, 0, 0),) * 3, ((0.5, 0.5, 0.5, 0.5),) * 3, ((0.25,) * 4,), ((1.5, -0.5, -0.5, 0.5),) * 2]
)
def test_a_policy_has_to_be_one_that_ends(policy: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SearchProblem(policy=policy)
