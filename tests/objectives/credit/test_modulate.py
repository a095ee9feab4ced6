"""The three forms by hand; what they may and may not do to a credit; what a spec is told that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import log, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sdsearch.config.catalogue import SPECS
from sdsearch.contracts.conditions import Conditions
from sdsearch.contracts.credit import Numbers, Probe
from sdsearch.contracts.hint import Hints, Teacher
from sdsearch.core.tokens import TokenTable
from sdsearch.core.trajectory import Group, Segment, Span, Trajectory, kept
from sdsearch.errors import SpecError
from sdsearch.learning.loss import StepLoss
from sdsearch.objectives.credit.modulate import Modulate
from sdsearch.objectives.terms.clipped_pg import ClippedPG
from sdsearch.spec import load
from sdsearch.testing import ExampleProbe, check_credit, example_groups

Groups = Callable[..., list[Group]]
CENTRED = {"type": "group_mean", "scale": "none"}
"""Of two attempts, one right and one wrong, it says 1/2 and -1/2."""
S = -0.5
"""What the sampler found of each token of `groups_of`."""
WRONG = {"hint": "peer_success", "against": "wrong"}


class Teaching(Probe):
    """Answers each question with the next numbers that it was made with, and keeps whom it was asked about what."""

    def __init__(self, *answers: Sequence[Any], step: int = 0, others: Sequence[Any] = ()) -> None:
        self.answers, self.step, self.others = list(answers), step, others
        self.asked: list[tuple[Hints | None, Teacher]] = []

    def logprobs(self, groups: Sequence[Group], hints: Hints | None = None, teacher: Teacher = "live") -> Numbers:
        """See `Probe`."""
        self.asked.append((hints, teacher))
        return [np.array(numbers, np.float64) for numbers in self.answers.pop(0)]

    def gather(self, value: Any) -> list[Any]:
        """See `Probe`."""
        return [value, *self.others]


def modulated(groups: Sequence[Group], probe: Probe, **settings: Any) -> list[list[float]]:
    """Return what a credit of 1/2 and -1/2 becomes."""
    return [
        part.tolist() for part in Modulate.model_validate({"of": CENTRED, **settings}).advantages(groups, probe).values
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"by": "turn", "rows": "query", "against": "flipped", "decay_steps": 9},
        {"form": "rlcsd", **WRONG},
        {"form": "rlcsd", "against": "question", "means": "one", "of": {"type": "gigpo", "weight": 2}},
        {"form": "agent_opsd", "hint": "gold_answer", "teacher": "frozen"},
        {"form": "agent_opsd", "by": "turn", "of": {"type": "carl"}},
    ],
)
def test_contract(settings: dict[str, Any]) -> None:
    check_credit(Modulate.model_validate(settings))


def test_rlsd_by_hand(groups_of: Groups) -> None:
    """Likelier by a tenth: 1.1 for a reward and, half of it counting, 1.05; the bound is 1.2. Blame is turned round."""
    groups = groups_of([([2, 1], 1.0), ([3], 0.0)])
    taught = [[S + log(1.1), S + 1, np.nan], [S + log(1.1), S - log(1.1), S - 1]]
    probe = Teaching(taught)
    right, wrong = modulated(groups, probe)
    assert right == pytest.approx([0.5 * 1.05, 0.5 * 1.1, 0.5])
    assert wrong == pytest.approx([-0.5 * (0.5 + 0.5 / 1.1), -0.5 * 1.05, -0.5 * 1.1])
    assert [teacher for _, teacher in probe.asked] == ["live"]
    whole = modulated(groups, Teaching(taught), strength=1, reach=1)
    assert whole[0] == pytest.approx([0.5 * 1.1, 0.5 * 2, 0.5])  # e would be above 1 + reach
    assert whole[1] == pytest.approx([-0.5 / 1.1, -0.5 * 1.1, -0.5 * 2])


def test_a_turn_has_the_mean_gap_of_its_tokens(groups_of: Groups) -> None:
    groups = groups_of([([2, 2], 1.0), ([1], 0.0)])
    taught = [[S + 2 * log(1.1), S, S + log(1.1), np.nan], [np.nan]]
    right, wrong = modulated(groups, Teaching(taught), by="turn")
    assert right == pytest.approx([0.5 * 1.05] * 3 + [0.5])
    assert wrong == [-0.5]


def test_the_strength_falls_to_nothing(groups_of: Groups) -> None:
    groups = groups_of([([1], 1.0), ([1], 0.0)])
    taught = [[S + 1], [np.nan]]
    found = [modulated(groups, Teaching(taught, step=n), decay_steps=50)[0][0] for n in (0, 25, 49)]
    assert found == pytest.approx([0.5 * 1.1, 0.5 * 1.05, 0.5 * (1 + 0.5 * 0.2 / 50)])
    for step in (50, 51):
        probe = Teaching(step=step)  # nobody is asked any more
        assert modulated(groups, probe, decay_steps=50) == [[0.5], [-0.5]]


def test_rlcsd_by_hand(groups_of: Groups) -> None:
    """Told of a right attempt a token has 0.6, of two wrong ones 0.2 and 0.4, 0.3 in the mean: e = log 2."""
    groups = groups_of([([3], 1.0), ([3], 0.0)])
    nan = np.nan
    taught = [[log(0.6), log(0.6), log(0.6)], [log(0.3), log(0.3), nan]]
    wrong = [[log(0.2), log(0.6), nan], [log(0.6), log(0.3), S]], [[log(0.4), log(0.6), nan], [nan, log(0.3), S]]
    settings = {"form": "rlcsd", **WRONG, "most": 2, "temperature": 1, "means": "one"}
    probe = Teaching(taught, *wrong)
    right, blamed = modulated(groups, probe, **settings)
    assert right == pytest.approx([0.5 + 0.5 * tanh(log(2)), 0.5, 0.5])
    assert blamed == pytest.approx([-0.5 - 0.5 * tanh(log(2)), -0.5, -0.5])  # one wrong peer alone has 0.6
    # Without an answer nobody is right, and each has one wrong peer.
    assert [[h is not None for h in hints or ()] for hints, _ in probe.asked] == [[False] * 2, [True] * 2, [False] * 2]
    held, _ = modulated(groups, Teaching(taught, *wrong), **{**settings, "threshold": 0.5 * tanh(log(2)) + 1e-9})
    assert held == [0.5] * 3


def test_a_residual_never_turns_a_credit_round(groups_of: Groups) -> None:
    groups = groups_of([([2], 1.0), ([2], 0.0)], [([1], 1.0), ([1], 1.0)])
    taught, other = [[-9.0, -1], [-1, -9], [-1], [-1]], [[-1.0, -9], [-9, -1], [-9], [-9]]
    found = modulated(groups, Teaching(taught, other), form="rlcsd", **WRONG, most=1, strength=1, means="one")
    assert found == [[0, 1.5], [0, -1.5], [0], [0]]


def test_the_two_means_are_exact(groups_of: Groups) -> None:
    """What the term makes of the credit is the mean over the tokens that were changed plus that over the others."""
    groups = groups_of([([3], 1.0), ([2], 0.0)], [([4], 0.0), ([1], 1.0)])
    taught = [[-1.0, -2, -3], [-1, -1], [-1, -1, -1, -1], [-2]]
    other = [[-1.0, -2, -2.9], [-1, -1.5], [-1, -1, -1.02, -1], [-2]]
    settings = {"form": "rlcsd", **WRONG, "most": 1, "of": CENTRED}
    one, two = (
        Modulate.model_validate({**settings, "means": means}).advantages(groups, Teaching(taught, other)).values
        for means in ("one", "two")
    )
    before = np.array([0.5] * 3 + [-0.5] * 2 + [-0.5] * 4 + [0.5])
    changed = np.concatenate(one) != before
    assert changed.sum() == 3
    table = TokenTable.build(groups, two)
    logits = torch.zeros(len(table), 4)
    loss, _ = StepLoss.of(table, [ClippedPG()], 0, 0).loss(torch.arange(len(table)), lambda index: logits[index])
    assert float(loss) == pytest.approx(-(np.concatenate(one)[changed].mean() + before[~changed].mean()), abs=1e-6)


def test_the_two_means_are_those_of_all_processes(groups_of: Groups) -> None:
    groups = groups_of([([1], 1.0), ([2], 0.0)])
    taught, other = [[-1.0], [-1, -1]], [[-9.0], [-1, -1]]
    # Here 1 of 3 tokens is changed, elsewhere 1 of 5: of 8 tokens 2 are, and 6 are not.
    probe = Teaching(taught, other, others=[(5, 1)])
    found = modulated(groups, probe, form="rlcsd", **WRONG, most=1)
    assert found == [[pytest.approx(1.0 * 4)], [pytest.approx(-0.5 * 8 / 6)] * 2]
    nobody = Teaching([], [], others=[(5, 3)])
    assert modulated([], nobody, form="rlcsd", **WRONG, most=1) == []


def test_agent_opsd_by_hand(groups_of: Groups) -> None:
    """From 1/2 the first turn's evidence, log 3, lifts the belief to 3/4; the second keeps it there against forgetting.

    Increments of 1/4 and 0 are 1 and -1 when standardised: 1.2 and 0.8, half of which counts.
    """
    groups = groups_of([([2, 1], 1.0), ([2, 1], 0.0)])
    taught = [[S + log(3) / 4, S + 3 * log(3) / 4, S + log(3) / 2]] * 2
    settings = {"form": "agent_opsd", "by": "turn", "memory": 0.5}
    right, wrong = modulated(groups, Teaching(taught), **settings)
    assert right == pytest.approx([0.55, 0.55, 0.45], rel=1e-4)
    assert wrong == pytest.approx([-0.45, -0.45, -0.55], rel=1e-4)
    credit = Modulate.model_validate(settings)
    assert credit.beliefs(0.5, np.array([log(3), log(3) / 2])) == pytest.approx([0.5, 0.75, 0.75])
    assert credit.beliefs(0.2, np.array([log(4)])) == pytest.approx([0.2, 0.5])


def test_agent_opsd_leaves_alone_what_it_cannot_judge(groups_of: Groups) -> None:
    groups = groups_of([([1, 1, 1], 1.0), ([1], 0.0)])
    taught = [[S + 1, np.nan, S - 1], [S + 5]]
    right, wrong = modulated(groups, Teaching(taught), form="agent_opsd", by="turn", reach=1, strength=1)
    assert right == pytest.approx([1.0, 0.5, 0.0], abs=1e-4)
    assert wrong == [-0.5]  # a single turn has nothing to be compared with


def test_a_turn_is_worth_the_sum_of_its_tokens(groups_of: Groups) -> None:
    """Four tokens of 0.3 move the belief further than one of 1.0 after them; their mean would not."""
    groups = groups_of([([4, 1], 1.0), ([1], 0.0)])
    taught = [[S + 0.3] * 4 + [S + 1], [np.nan]]
    right, _ = modulated(groups, Teaching(taught), form="agent_opsd", by="turn", strength=1)
    assert right == pytest.approx([0.6] * 4 + [0.4], rel=1e-4)


def test_the_belief_begins_at_the_share_of_the_group(groups_of: Groups) -> None:
    """With 1 of 4 right and evidence of log 3 twice, 1/4 -> 1/2 -> 3/4: both moves are alike, and the factors are 1."""
    groups = groups_of([([1, 1], 1.0), ([1], 0.0), ([1], 0.0), ([1], 0.0)])
    taught = [[S + log(3), S + log(3)], [np.nan], [np.nan], [np.nan]]
    right = modulated(groups, Teaching(taught), form="agent_opsd", strength=1, memory=1)[0]
    assert right == pytest.approx([0.75, 0.75])
    sure = modulated(groups_of([([2], 1.0), ([2], 1.0)]), Teaching([[S + 9, S - 9]] * 2), form="agent_opsd")
    assert sure == [[0, 0], [0, 0]]


def test_only_some_rows(groups_of: Groups) -> None:
    groups = example_groups()
    plain, bent = (
        Modulate.model_validate({"strength": strength, "rows": "query"}).advantages(groups, ExampleProbe()).values
        for strength in (0, 1)
    )
    for trajectory, before, after in zip(kept(groups), plain, bent, strict=True):
        spans = np.array([s for a in trajectory.actions for s in a.spans], np.int8)
        assert np.array_equal(before[spans != Span.QUERY], after[spans != Span.QUERY], equal_nan=True)
    assert any((a != b).any() for a, b in zip(plain, bent, strict=True))


def test_the_gap_is_of_two_hints_where_a_twin_is_named(groups_of: Groups) -> None:
    groups, asked = groups_of([([1], 1.0), ([1], 0.0)]), {"hint": "hindsight", "against": "flipped"}
    probe = Teaching([[S + 9], [S]], [[S + 9 - log(1.1)], [S]])
    assert modulated(groups, probe, **asked, teacher="ema")[0] == pytest.approx([0.5 * 1.05])
    (true, one), (turned, other) = probe.asked
    assert (one, other) == ("ema", "ema")
    swapped = {"Incorrect": "Correct", "Correct": "Incorrect"}
    assert re.sub("Incorrect|Correct", lambda found: swapped[found[0]], str(true)) == str(turned)


@pytest.mark.parametrize("form", ["rlsd", "agent_opsd"])
@given(
    gaps=st.lists(st.floats(-1e3, 1e3) | st.just(float("nan")), min_size=6, max_size=6),
    strength=st.floats(0, 1),
    reach=st.floats(0, 1),
    by=st.sampled_from(["token", "turn"]),
)
def test_a_factor_keeps_its_bounds(form: str, gaps: list[float], strength: float, reach: float, by: str) -> None:
    groups = [Group(QUESTION, (played([2, 1], 1.0), played([1, 2], 0.0)))]
    probe = Teaching([[S + e for e in gaps[:3]], [S + e for e in gaps[3:]]])
    found = np.concatenate(modulated(groups, probe, form=form, strength=strength, reach=reach, by=by))
    factors = found / [0.5, 0.5, 0.5, -0.5, -0.5, -0.5]
    assert (abs(factors - 1) <= strength * reach + 1e-9).all()
    assert (factors[np.isnan(gaps)] == 1).all()


QUESTION = example_groups()[0].question


def played(lengths: Sequence[int], reward: float) -> Trajectory:
    """Return an episode with turns of so many tokens."""
    segments = [Segment("prompt", "p", (1,))]
    for n in lengths:
        segments += [Segment("model", "", (2,) * n, (S,) * n, (Span.THINK,) * n), Segment("observation", "", (3,))]
    return Trajectory(QUESTION, tuple(segments[:-1]), (), "answered", reward)


def test_what_it_needs_and_heeds() -> None:
    assert Modulate().needs == set()
    assert Modulate.model_validate({"teacher": "frozen", "of": "gae"}).needs == {"frozen", "critic"}
    assert Modulate().heeds_reward
    assert not Modulate.model_validate({"of": "constant"}).heeds_reward


PARTS = """
from sdsearch.objectives.hints.hindsight import Hindsight

class Same(Hindsight):
    def twins(self):
        return {"same": self}
"""


@pytest.fixture
def twin_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let specs name a hint whose twin is itself."""
    (tmp_path / "twin_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("form: rlcsd", "form: rlcsd is a contrast of two hints: name a twin, such as `against: wrong`"),
        ("form: rlcsd, against: flipped, strength: 0.02", "got strength: 0.02 and threshold: 0.02: no more than"),
        ("temperature: 1", "got temperature: 1.0, which form: rlsd has no use for"),
        (
            "form: agent_opsd, means: one, threshold: 0.1",
            "got threshold: 0.1, means: one, which form: agent_opsd has no",
        ),
        ("form: rlcsd, against: flipped, reach: 0.1, memory: 1", "got reach: 0.1, memory: 1.0, which form: rlcsd"),
        ("against: wrong, hint: null, teacher: frozen", "got against: wrong and no hint that it could be the twin of"),
        (
            "against: fliped",
            'got "fliped", expected a twin that the hint hindsight has as it is set, which are: flipped, ',
        ),
        ("against: fliped", 'did you mean "flipped"?'),
        ("against: flipped, hint: {type: hindsight, labels: off}", "which are: others, question"),
        ("against: flipped, hint: {type: hindsight, right: Yes, wrong: Yes}", "which are: others, question"),
        ("against: question, hint: placebo", 'got "question", expected a twin that the hint placebo has'),
        ("against: same, hint: twin_parts:Same", 'the twin "same" of the hint twin_parts:Same is the hint itself'),
        ("hint: null", "without a hint the live teacher is the policy itself"),
        ("of: {type: group_mean, weight: 0}", "group_mean with weight 0: a credit that is zero cannot be bent"),
    ],
)
def test_what_does_not_fit_is_refused(settings: str, said: str, twin_parts: None) -> None:
    with pytest.raises(SpecError) as error:
        load(SPECS / "grpo.yaml", [f"objective.credit=[{{type: modulate, {settings}}}]"])
    assert said in str(error.value)
    assert "objective.credit[0]" in str(error.value)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"form": "agent_opsd", "hint": "gold_answer"}, {"group": 1}, "train.group is 1"),
        ({"hint": "peer_success"}, {"group": 1}, "train.group is 1"),
        ({"against": "others"}, {"group": 1}, "train.group is 1"),
        ({"of": "carl"}, {}, "got rollouts independent, which never fork"),
        ({"against": "question"}, {"questions": 1}, "train.questions is 1"),
        ({"hint": "gold_answer", "of": "constant"}, {"group": 1}, None),
    ],
)
def test_it_objects_as_its_parts_do(settings: dict[str, Any], changes: dict[str, Any], said: str | None) -> None:
    conditions = Conditions(group=4, questions=2, epochs=1, rollouts="independent", credits=())._replace(**changes)
    why = Modulate.model_validate(settings).objection(conditions)
    assert why is None if said is None else said in str(why)


def test_bounds_of_settings() -> None:
    for settings in ({"strength": 1.1}, {"reach": -0.1}, {"decay_steps": 0}, {"most": 0}, {"form": "sgcd"}):
        with pytest.raises(ValidationError):
            Modulate.model_validate(settings)
