"""The gradients of credits: exact ones against finite differences, figures by hand, and a bias that must be caught."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sdsearch.contracts.credit import Credit, GroupCredit, Numbers
from sdsearch.core.trajectory import Group, Trajectory, kept
from sdsearch.crediting.per_turn import discounted, per_turn
from sdsearch.fidelity.candidates import credited
from sdsearch.fidelity.command import gradients
from sdsearch.fidelity.gradients import Validity, group_gradients, validity
from sdsearch.fidelity.known_problem import ExactProbe, SearchProblem
from sdsearch.objectives.credit.constant import Constant
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.igpo import IGPO
from sdsearch.objectives.credit.leave_one_out import LeaveOneOut
from sdsearch.objectives.credit.vine import Vine

Array = NDArray[np.float64]
PROBLEMS = [SearchProblem(), SearchProblem(fatal=True)]
RIGHT, IDLE, HARM, ANSWER = range(4)


def told(credit: Credit, groups: Sequence[Group], problem: SearchProblem) -> list[Array]:
    """Return what a credit says of each turn."""
    by_name, skipped = credited({"it": credit}, groups, ExactProbe(problem, 1))
    assert not skipped
    return by_name["it"]


def judged(credit: Credit, groups: Sequence[Group], problem: SearchProblem) -> Validity:
    return validity(told(credit, groups, problem), groups, problem)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_exact_gradient_is_that_of_finite_differences(problem: SearchProblem) -> None:
    logits = np.log(np.array(problem.policy))

    def value(logits: Array) -> float:
        policy = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return float(SearchProblem(tuple(map(tuple, policy)), fatal=problem.fatal).values[0])

    step, found = 1e-5, np.zeros(logits.shape)
    for place in np.ndindex(*logits.shape):
        move = np.zeros(logits.shape)
        move[place] = step
        found[place] = (value(logits + move) - value(logits - move)) / (2 * step)
    np.testing.assert_allclose(problem.gradient, found, atol=1e-9)
    assert np.abs(found).max() > 0.01


def test_a_fatal_search_ends_the_episode() -> None:
    problem = SearchProblem(((0.5, 0.25, 0.0, 0.25), (0.5, 0.0, 0.25, 0.25), (0.0, 0.0, 0.5, 0.5)), fatal=True)
    # V2 = 1/2; V1 = V2 / 2 = 1/4; V0 = V0 / 4 + V1 / 2, which is 1/6.
    np.testing.assert_allclose(problem.values, [1 / 6, 1 / 4, 1 / 2])
    t = problem.recorded(problem.question(0), [RIGHT, HARM])
    assert (t.stop_reason, t.answer, t.reward, problem.visited(t)) == ("max_turns", None, 0.0, [0, 1, 1])
    np.testing.assert_allclose(problem.advantages(t), [1 / 12, -1 / 4])
    assert all(
        [a.tokens[0] - 1 in (HARM, ANSWER) for a in t.actions] == [False] * (len(t.actions) - 1) + [True]
        for g in PROBLEMS[1].groups(3, 20, seed=0)
        for t in g.trajectories
    )


def test_the_gradient_of_a_group_by_hand() -> None:
    problem = PROBLEMS[0]
    question = problem.question(0)
    group = Group(question, tuple(problem.recorded(question, a) for a in ([RIGHT, ANSWER], [ANSWER])))
    (found,) = group_gradients([np.array([2.0, np.nan]), np.array([-1.0])], [group], problem)
    # 2 (1[right] - pi) - (1[answer] - pi) in state 0, over two attempts; what was never credited adds nothing.
    np.testing.assert_allclose(found[0], [1 - 0.225, -0.125, -0.05, -0.5 - 0.1], atol=1e-12)
    assert not found[1:].any()


def test_the_figures_are_those_of_loops_over_pairs_of_groups() -> None:
    problem = PROBLEMS[0]
    groups = problem.groups(40, 8, seed=2)
    numbers = told(IGPO(), groups, problem)
    found = validity(numbers, groups, problem)
    each, exact = group_gradients(numbers, groups, problem).reshape(40, -1), problem.gradient.ravel()
    size = exact @ exact

    def figures(rows: list[int]) -> tuple[float, float, float]:
        scale = float(np.mean([each[i] @ exact for i in rows]) / size)
        length = float(np.mean([each[i] @ each[j] for i in rows for j in rows if i != j]) / size)
        return scale / length**0.5, length / scale**2 - 1, scale

    cosine, wrong, scale = figures([*range(40)])
    assert (found.cosine.value, found.bias.value, found.scale.value) == pytest.approx((cosine, wrong**0.5, scale))
    without = np.array([figures([i for i in range(40) if i != left]) for left in range(40)])
    half = 2.0226909200367604 * (np.var(without, 0) * 39) ** 0.5  # t with 39 degrees of freedom
    assert found.cosine.low == pytest.approx(cosine - half[0])
    assert found.bias.high == pytest.approx((wrong + half[1]) ** 0.5)
    assert found.scale.low == pytest.approx(scale - half[2])
    spread = float(np.var(each, 0, ddof=1).sum())
    assert found.noise == pytest.approx(spread / size / scale**2)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_true_advantage_is_right_and_costs_nothing_but_chance(problem: SearchProblem) -> None:
    groups = problem.groups(150, 8, seed=0)
    truth = [problem.advantages(t) for t in kept(groups)]
    exact = validity(truth, groups, problem)
    assert exact.rmse == pytest.approx(0.0, abs=0.05)
    more = validity([2 * (a + 0.1) for a in truth], groups, problem)  # a constant more is a baseline
    assert more.rmse == pytest.approx(0.0, abs=0.05)
    assert more.noise > exact.noise
    assert exact.cosine.value > 0.99
    assert not exact.biased
    assert exact.scale.low is not None
    assert exact.scale.high is not None
    assert exact.scale.low < 1 < exact.scale.high
    double = validity([-3 * a for a in truth], groups, problem)
    assert double.cosine.value == pytest.approx(-exact.cosine.value)
    assert double.scale.value == pytest.approx(-3 * exact.scale.value)
    assert math.isnan(double.noise)
    triple = validity([3 * a for a in truth], groups, problem)
    assert triple.noise == pytest.approx(exact.noise)
    assert triple.bias == pytest.approx(exact.bias)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_leave_one_out_baseline_is_unbiased_in_units_of_the_reward(problem: SearchProblem) -> None:
    groups = problem.groups(200, 8, seed=3)
    found = judged(LeaveOneOut(), groups, problem)
    assert not found.biased
    assert found.scale.low is not None
    assert found.scale.high is not None
    assert found.scale.low < 1 < found.scale.high
    # Their own reward in the baseline makes it 7 / 8 of that; the group's deviation another scale.
    assert judged(GroupMean(scale="none"), groups, problem).scale.value == pytest.approx(7 / 8 * found.scale.value)
    nothing = judged(Constant(), groups, problem)
    assert math.isnan(nothing.cosine.value)
    assert math.isnan(nothing.equal_cost)


def test_continuations_are_counted() -> None:
    problem = PROBLEMS[0]
    groups, probe = problem.groups(4, 5, seed=0), ExactProbe(problem)
    (numbers,) = credited({"it": Vine(k=3)}, groups, probe)[0].values()
    states = sum(len(t.turns) - 1 for t in kept(groups)) + 4  # the question is one state for the group
    assert probe.episodes == 3 * states
    found = validity(numbers, groups, problem, probe.episodes)
    assert found.cost == pytest.approx(1 + 3 * states / 20)
    assert found.equal_cost == pytest.approx(found.noise * found.cost, nan_ok=True)


# The check of the check: a credit that is known to be biased, and by how much.


def likely(problem: SearchProblem, known: int) -> float:
    """How likely the policy of the problem thinks the accepted answer."""
    return float(problem.guess ** (problem.hops - known))


class Gains(GroupCredit):
    """What each turn added to the likelihood of the answer, then the outcome less that: they add up to the outcome.

    Turn rewards are centred, or not, by turn index (verl#7244), and summed from each turn on.
    """

    problem: SearchProblem
    centred: bool

    def of_group(self, group: Group) -> Numbers:
        rewards = [self.rewards(t) for t in group.kept]
        if self.centred:
            columns: dict[int, list[float]] = {}
            for numbers in rewards:
                for i, r in enumerate(numbers):
                    columns.setdefault(i, []).append(r)
            rewards = [np.array([r - np.mean(columns[i]) for i, r in enumerate(numbers)]) for numbers in rewards]
        return [per_turn(t, discounted(numbers, 1.0)) for t, numbers in zip(group.kept, rewards, strict=True)]

    def rewards(self, trajectory: Trajectory) -> Array:
        chances = [likely(self.problem, known) for known in self.problem.visited(trajectory)[:-1]]
        return np.diff([*chances, trajectory.reward])


def further_turns(problem: SearchProblem, price_of: Callable[[Array], float], turns: int = 150) -> Array:
    """Return the gradient of the expected sum of prices, one for each turn that is taken.

    The price of a turn index follows from how likely each state is to take it. By dynamic programming over states and
    turns, without any episode.
    """
    policy, states = np.array(problem.policy), range(problem.hops + 1)
    alive = [np.eye(problem.hops + 1)[0]]
    for _ in range(turns):
        alive.append(alive[-1] @ problem.moves)
    paid = [price_of(there) for there in alive[:-1]]
    gradient, later = np.zeros(policy.shape), np.zeros(problem.hops + 1)
    for there, price in zip(alive[-2::-1], paid[::-1], strict=True):
        goes_on = [[0.0 if problem.ends(a) else later[problem.after(h, a)] for a in range(4)] for h in states]
        worth = price + np.array(goes_on)
        now = (policy * worth).sum(1)
        gradient += there[:, None] * policy * (worth - now[:, None])
        later = now
    return gradient


def expected_gain(problem: SearchProblem) -> Array:
    """Return the mean reward of `Gains` of a turn in each state."""
    policy = np.array(problem.policy)
    after = [
        [
            float(a == ANSWER and h == problem.hops) if problem.ends(a) else likely(problem, problem.after(h, a))
            for a in range(4)
        ]
        for h in range(problem.hops + 1)
    ]
    before = [likely(problem, h) for h in range(problem.hops + 1)]
    return np.asarray((policy * np.array(after)).sum(1) - np.array(before), np.float64)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_credit_that_normalises_per_turn_index_is_caught_by_its_closed_form(problem: SearchProblem) -> None:
    """A turn that goes on pays the mean reward of each index it reaches: E g = g* - sum_s m_s grad P(alive at s)."""
    gain = expected_gain(problem)
    hidden = further_turns(problem, lambda there: float(there @ gain / there.sum()))
    predicted = problem.gradient - hidden
    groups = problem.groups(6, 500, seed=5)  # so large that a group's means are the true ones
    centred, plain = (told(Gains(problem=problem, centred=c), groups, problem) for c in (True, False))
    found = validity(centred, groups, problem)
    assert found.biased
    scale = float((predicted * problem.gradient).sum() / (problem.gradient**2).sum())
    bias = float(np.linalg.norm(predicted / scale - problem.gradient) / np.linalg.norm(problem.gradient))
    assert bias > 0.15
    assert found.bias.low is not None
    assert found.bias.high is not None
    assert found.bias.low < bias < found.bias.high
    assert found.cosine.value == pytest.approx(1 / math.hypot(1, bias), abs=0.02)
    mean = np.mean(group_gradients(centred, groups, problem), 0)
    assert np.linalg.norm(mean - predicted) < 0.35 * np.linalg.norm(hidden)
    # The same rewards as they are add up to the outcome less a baseline: no bias, on the same episodes.
    right = validity(plain, groups, problem)
    assert not right.biased
    assert right.cosine.value > 0.98


def of_rewards(problem: SearchProblem, rewards: Array) -> Array:
    """Return the gradient of the expected sum of rewards, one for each state and action, in closed form."""
    policy = np.array(problem.policy)
    value = np.linalg.solve(np.eye(problem.hops + 1) - problem.moves, (policy * rewards).sum(1))
    later = [
        [0.0 if problem.ends(a) else value[problem.after(h, a)] for a in range(4)] for h in range(problem.hops + 1)
    ]
    return np.asarray(problem.visits[:, None] * policy * (rewards + np.array(later) - value[:, None]), np.float64)


def cosine(one: Array, two: Array) -> float:
    return float((one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two))


def test_what_a_group_mean_takes_from_every_turn_is_caught_too() -> None:
    """IGPO centres the rewards of all turns of a group before it adds them up: each further turn costs their mean."""
    problem = PROBLEMS[0]
    groups = problem.groups(6, 500, seed=6)
    found = judged(IGPO(), groups, problem)
    policy, states = np.array(problem.policy), range(problem.hops + 1)
    reward = np.array(
        [
            [
                float(a == ANSWER and h == problem.hops)
                if problem.ends(a)
                else likely(problem, problem.after(h, a)) - likely(problem, h)
                for a in range(4)
            ]
            for h in states
        ]
    )
    np.testing.assert_allclose(of_rewards(problem, reward * (reward == 1)), problem.gradient, atol=1e-12)
    mean = float(problem.visits @ (policy * reward).sum(1) / problem.visits.sum())
    predicted = of_rewards(problem, reward - mean)
    assert found.biased
    assert found.cosine.value == pytest.approx(cosine(predicted, problem.gradient), abs=0.02)
    assert cosine(predicted, problem.gradient) < 0.93
    assert cosine(of_rewards(problem, reward), problem.gradient) > 0.98  # not centred they point where they should


def test_both_problems_are_judged_and_what_points_nowhere_is_a_dash() -> None:
    first, second = gradients(["leave_one_out", "constant"], questions=30, group=4)
    assert [list(report.rows) for report in (first, second)] == [["leave_one_out", "constant"]] * 2
    assert (first.about["groups"], first.about["rollouts of each"]) == (30, 4)
    record = first.record()["gradients"]
    assert record["leave_one_out"]["cost"] == 1.0
    assert math.isnan(record["constant"]["cosine"]["value"])


@pytest.mark.slow
def test_the_recorded_tables_are_up_to_date() -> None:
    """What docs/fidelity.md says of each credit; `sdsearch fidelity --gradients` prints the tables."""
    page = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text()
    section = page.partition("## Where the gradient points")[2].partition("## ")[0]
    tables = section.split("| credit |")[1:]
    for report, table in zip(gradients(questions=400), tables, strict=True):
        recorded = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
        assert {row[0].strip(" `") for row in recorded} == report.rows.keys()
        for name, cell, *_ in recorded:
            found = report.rows[name.strip(" `")].cosine
            if cell.strip() == "-":
                assert math.isnan(found.value) or abs(found.value) < 0.5, name
            else:
                low, high = found.low or found.value, found.high or found.value
                assert low - 0.02 <= float(cell) <= high + 0.02, (name, found)
