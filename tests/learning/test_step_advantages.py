from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from sdsearch.contracts.credit import Advantages, GroupCredit, Probe
from sdsearch.contracts.loss import LossInput, Schedule, Term
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group
from sdsearch.crediting.per_turn import whole
from sdsearch.errors import ComponentError
from sdsearch.learning.credit import step_advantages
from sdsearch.learning.loss import StepLoss
from sdsearch.objectives.credit.group_mean import GroupMean
from sdsearch.objectives.credit.leave_one_out import LeaveOneOut
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.objectives.terms.distill import Distill
from sdsearch.objectives.terms.entropy import Entropy
from sdsearch.objectives.terms.kl import KL
from sdsearch.spec import Objective
from sdsearch.testing import VOCABULARY, example_groups, example_table, example_trajectory

QUESTION = Question("q", "Where?", ("here",))


class FirstToken(GroupCredit):
    """Credits the first token of each trajectory with its reward, and no other."""

    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [np.where(np.arange(t.sampled) == 0, t.reward, np.nan) for t in group.kept]


class OneTooMany(GroupCredit):
    def of_group(self, group: Group) -> list[NDArray[np.float64]]:
        return [np.zeros(t.sampled + 1) for t in group.kept]


def group(*rewards: float, lost: int = 0) -> Group:
    plays = [example_trajectory(QUESTION, [("answer", "here")], r) for r in rewards]
    plays += [example_trajectory(QUESTION, [("search", "x")], 9.0, lost=True)] * lost
    return Group(QUESTION, tuple(plays))


def credits(objective: Objective, *groups: Group) -> list[list[float]]:
    return [c.tolist() for c in step_advantages(objective.credit, groups).values]


def test_credits_are_summed_with_their_weights() -> None:
    objective = Objective(credit=[LeaveOneOut(weight=2.0), GroupMean(scale="none")], terms=[Entropy()])
    assert credits(objective, group(1.0, 0.0)) == [[2.5] * 4, [-2.5] * 4]


@pytest.mark.parametrize("order", [1, -1])
def test_never_credited_is_not_zero(order: int) -> None:
    parts = [FirstToken(), LeaveOneOut(weight=0.5)][::order]
    assert credits(Objective(credit=parts, terms=[Entropy()]), group(1.0, 0.0)) == [
        [1.5, 0.5, 0.5, 0.5],
        [-0.5, -0.5, -0.5, -0.5],
    ]


def test_all_never_credited_stays_so() -> None:
    (found,) = step_advantages(
        Objective(credit=[FirstToken(), FirstToken(weight=2.0)], terms=[Entropy()]).credit, [group(1.0)]
    ).values
    assert found[0] == 3.0
    assert np.isnan(found[1:]).all()
    (found,) = step_advantages(Objective(terms=[Entropy()]).credit, [group(1.0)]).values
    assert np.isnan(found).all()


def test_credit_of_zero_weight_is_zero() -> None:
    assert credits(Objective(credit=[GroupMean(weight=0)], terms=[Entropy()]), group(1.0)) == [[0.0] * 4]


def test_lost_trajectories_are_not_in_the_baseline() -> None:
    objective = Objective(credit=[GroupMean(scale="none")], terms=[Entropy()])
    assert credits(objective, group(lost=3), group(1.0, 0.0, lost=2)) == [[0.5] * 4, [-0.5] * 4]


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_rewards_must_be_finite(reward: float) -> None:
    with pytest.raises(ValueError, match=r"'q': got the rewards .*, expected finite numbers"):
        step_advantages(Objective(credit=[GroupMean()], terms=[Entropy()]).credit, [group(0.0, reward)])


def test_credit_must_fit_its_group() -> None:
    message = r"OneTooMany: trajectory 0 \(question 'q'\): got an array of shape \(5,\), expected one .* its 4 sampled"
    with pytest.raises(ComponentError, match=message):
        step_advantages(Objective(credit=[OneTooMany()], terms=[Entropy()]).credit, [group(1.0)])


def test_the_targets_are_those_of_the_credit_that_has_a_critic() -> None:
    class Taught(FirstToken):
        @property
        def needs(self) -> frozenset[str]:
            return frozenset({"critic"})

        def advantages(self, groups: Sequence[Group], probe: Probe) -> Advantages:
            values, _ = super().advantages(groups, probe)
            return Advantages(values, [np.full(len(v), 7.0) for v in values])

    values, targets, _ = step_advantages([LeaveOneOut(), Taught(weight=0.5)], [group(1.0, 0.0)])
    assert [v.tolist() for v in values] == [[1.5, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]]
    assert targets is not None
    assert [t.tolist() for t in targets] == [[7.0] * 4] * 2
    assert step_advantages([LeaveOneOut()], [group(1.0, 0.0)]).targets is None


def test_whole() -> None:
    assert whole(example_trajectory(QUESTION, [("answer", "here")], 1.0), 0.25).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (Schedule(), [1, 1, 1, 1, 1, 1]),
        (Schedule(from_step=2, value=0.5), [0, 0, 0.5, 0.5, 0.5, 0.5]),
        (Schedule(from_step=2, value=0.5, ramp=1), [0, 0, 0.5, 0.5, 0.5, 0.5]),
        (Schedule(from_step=1, value=3.0, ramp=3), [0, 1, 2, 3, 3, 3]),
        (0.25, [0.25] * 6),
        (0, [0] * 6),
    ],
)
def test_weight_at_a_step(weight: float | Schedule, expected: list[float]) -> None:
    assert [Entropy(weight=weight).weight_at(s) for s in range(6)] == pytest.approx(expected)


def test_fifty_steps_without() -> None:
    term = Entropy(weight=Schedule(from_step=50, value=1e-3))
    assert [s for s in range(60) if term.weight_at(s)] == list(range(50, 60))


@pytest.mark.parametrize(
    "spec",
    [
        {"terms": []},
        {"credit": [{"type": "group_mean"}]},
        {"terms": [{"type": "entropy", "wieght": 1.0}]},
        {"terms": [{"type": "entropy", "weight": float("nan")}]},
        {"terms": [{"type": "entropy", "weight": {"from_step": -1}}]},
        {"terms": [{"type": "entropy", "weight": {"from": 1}}]},
        {"terms": [{"type": "entropy"}], "extra": 1},
        {"terms": [{"type": "distill"}]},
    ],
)
def test_spec_errors(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Objective.model_validate(spec)


def test_the_paper_in_yaml() -> None:
    distill = {
        "type": "distill",
        "hint": {"type": "hindsight"},
        "rows": "query",
        "divergence": "jsd",
        "top_k": 50,
        "weight": {"from_step": 50, "value": 1.0e-3},
    }
    objective = Objective.model_validate(
        {"credit": [{"type": "group_mean"}], "terms": [{"type": "clipped_pg", "clip": 0.2}, distill]}
    )
    assert objective.credit == [GroupMean()]
    assert objective.terms == [ClippedPG(), Distill(hint=Hindsight(), weight=Schedule(from_step=50, value=1e-3))]
    assert Objective.model_validate(objective.model_dump()) == objective


def test_teachers() -> None:
    def teachers(*terms: Term) -> frozenset[str]:
        return Objective(terms=list(terms)).teachers

    late = Schedule(from_step=10**6, ramp=7)
    assert teachers(ClippedPG(), Entropy()) == set()
    assert teachers(KL(), Distill(hint=Hindsight(), teacher="ema", weight=late)) == {"frozen", "ema"}
    assert teachers(KL(weight=0.0), Distill(hint=Hindsight(), weight=Schedule(value=0.0))) == set()
    assert teachers(Distill(hint=Hindsight())) == {"live"}


def test_terms_of_one_kind_have_names_of_their_own() -> None:
    terms: list[Term] = [Entropy(), KL(), Entropy(weight=Schedule(from_step=1)), Entropy(weight=2.0)]
    names = [[t.name for t in StepLoss.of(example_table(), terms, s, 0).parts] for s in (0, 1)]
    assert names == [["entropy", "kl", "entropy_3"], ["entropy", "kl", "entropy_2", "entropy_3"]]


def test_each_step_draws_anew() -> None:
    objective = Objective(terms=[Distill(hint=Hindsight(order="random"))])
    found = [
        StepLoss.of(example_table(), objective.terms, step, seed).parts[0].selection.hints
        for step, seed in ((0, 0), (0, 0))
    ]
    assert found[0] == found[1]
    steps = {
        tuple(StepLoss.of(example_table(), objective.terms, step, 0).parts[0].selection.hints or ())
        for step in range(8)
    }
    assert len(steps) > 1


def test_rows_without_a_teacher() -> None:
    table = example_table()
    rows = LossInput(table, torch.zeros(len(table), VOCABULARY), torch.zeros(len(table)))
    with pytest.raises(ValueError, match="expected a term that names a teacher"):
        _ = rows.teacher


def test_example_groups_run_through() -> None:
    objective = Objective(credit=[GroupMean()], terms=[Entropy()])
    assert len(step_advantages(objective.credit, example_groups()).values) == 8
