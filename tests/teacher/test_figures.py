"""Figures of teachers that are made up: one that reads labels, one that reads only what stands beside them."""

import numpy as np
import pytest

from sdsearch.contracts.credit import Numbers
from sdsearch.contracts.hint import Hints, hint_at
from sdsearch.core.trajectory import Group, Trajectory, kept
from sdsearch.objectives.hints.documents import Documents
from sdsearch.objectives.hints.gold_answer import GoldAnswer
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.peer_success import PeerSuccess
from sdsearch.objectives.hints.placebo import Placebo
from sdsearch.teacher.figures import Heard, spearman


class Reader:
    """Finds each query in the hint and adds to its tokens what it thinks of the label beside it."""

    def __init__(self, groups: list[Group], right: float, wrong: float) -> None:
        self.groups, self.worth = groups, {"Correct": right, "Incorrect": wrong}

    def __call__(self, hints: Hints | None) -> Numbers:
        return [self.of(t, hints[i] if hints else None) for i, t in enumerate(kept(self.groups))]

    def of(self, trajectory: Trajectory, hint: object) -> np.ndarray:
        values = []
        for turn, (did, segment) in enumerate(zip(trajectory.turns, trajectory.actions, strict=True)):
            text = hint_at(hint, turn) or ""  # type: ignore[arg-type]
            value = -1.0
            for line in text.splitlines():
                label, _, queries = line.partition(": ")
                if did.text in queries.split(" | "):
                    value += self.worth.get(label, 0.0)
            values += [value] * len(segment.tokens)
        return np.array(values)


def heard(groups: list[Group], hint: object, right: float, wrong: float) -> dict[str, float]:
    reader = Reader(groups, right, wrong)
    one = Heard.of(groups, hint, reader(None), reader, 0)  # type: ignore[arg-type]
    return {name: estimate.value for name, estimate in one.figures().items()}


def test_a_teacher_that_reads_labels(groups: list[Group]) -> None:
    """Its six queries a group have tokens; under a true label each is worth as many half nats, or as few."""
    found = heard(groups[:3], Hindsight(), 0.5, -0.5)
    lengths = [sum(span == 1 for span in s.spans) for t in kept(groups[:3]) for s in t.actions[:-1]]
    assert found["label_effect"] == pytest.approx(np.mean(lengths))
    assert found["label_effect_per_token"] == pytest.approx(1.0)
    assert found["gap_right"] > 0 > found["gap_wrong"]
    assert found["rank_correlation"] == pytest.approx(np.sqrt(3) / 2)  # one right of three, the rest tie in reward
    # Left out, an attempt's own queries are no longer in its block.
    assert found["label_effect_without_own"] == 0
    assert found["self_copy"] == pytest.approx(np.mean([n * (0.5 if r else -0.5) for n, r in sides(groups[:3])]))
    assert found["answer_in_hint"] == 0
    assert found["moved"] == 0  # by half a nat each


def sides(groups: list[Group]) -> list[tuple[int, bool]]:
    """Return for each query its tokens and whether its attempt was right."""
    return [(sum(span == 1 for span in s.spans), t.reward == 1) for t in kept(groups) for s in t.actions[:-1]]


def test_a_teacher_that_copies_whatever_stands_there(groups: list[Group]) -> None:
    found = heard(groups[:3], Hindsight(), 1.5, 1.5)
    assert found["label_effect"] == 0
    assert found["label_effect_per_token"] == 0
    assert found["gap_right"] > 0
    assert found["gap_wrong"] > 0
    assert found["self_copy"] > 0
    assert found["moved"] == 1


def test_groups_of_one_outcome_do_not_count(groups: list[Group]) -> None:
    assert (
        heard(groups, Hindsight(), 0.5, -0.5)["label_effect"]
        == heard(groups[:3], Hindsight(), 0.5, -0.5)["label_effect"]
    )


def test_each_hint_has_the_figures_that_it_can_have(groups: list[Group]) -> None:
    labels = {"label_effect", "label_effect_per_token"}
    assert labels <= heard(groups, Placebo(), 1, 0).keys()
    assert not labels & heard(groups, Hindsight(labels="off"), 1, 0).keys()
    for hint in (GoldAnswer(), Documents()):
        found = heard(groups, hint, 1, 0)
        assert not (labels | {"self_copy"}) & found.keys()
        assert "question_effect" in found
    assert heard(groups, GoldAnswer(), 1, 0)["answer_in_hint"] == 1


def test_the_gap_ranks_turns_by_their_true_advantage(groups: list[Group]) -> None:
    reader = Reader(groups[:1], 2.0, -1.0)
    one = Heard.of(groups[:1], Hindsight(), reader(None), reader, 0)
    assert one.figures(one.gap**3)["advantage_correlation"].value == pytest.approx(1)
    assert one.figures(-one.gap)["advantage_correlation"].value == pytest.approx(-1)
    assert np.isnan(one.figures(np.full(6, np.nan))["advantage_correlation"].value)


def test_no_rank_where_all_are_alike() -> None:
    assert np.isnan(spearman([1, 1], [0, 1]))
    assert np.isnan(spearman([1], [0]))
    assert spearman([1, 2, 3], [5, 6, 9]) == pytest.approx(1)


def test_a_teacher_that_tells_a_right_attempt_from_a_wrong_one(groups: list[Group]) -> None:
    """Told of a right attempt it finds each token of a wrong one a nat less likely; the right one has no right peer."""

    def score(hints: Hints | None) -> Numbers:
        told = [hint_at(hints[i], 0) if hints else "" for i in range(len(kept(groups[:3])))]
        answers = [
            f"answer: {t.question.answers[0]}" in str(text) for t, text in zip(kept(groups[:3]), told, strict=True)
        ]
        values = [np.nan if text is None else -1.0 - right for text, right in zip(told, answers, strict=True)]
        return [np.full(t.sampled, value) for t, value in zip(kept(groups[:3]), values, strict=True)]

    one = Heard.of(groups[:3], PeerSuccess(), score(None), score, 0)
    assert one.figures()["wrong_effect"].value == pytest.approx(np.mean([n for n, r in sides(groups[:3]) if not r]))
    assert "wrong_effect" not in heard(groups[:3], GoldAnswer(), 1.0, 1.0)
