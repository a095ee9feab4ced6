"""Two evaluations, question by question: by hand, and on questions that are not the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import ttest_rel

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn, write_groups
from sdsearch.errors import DataError
from sdsearch.evaluation.compare import compare, paired


def made(rewards: Sequence[float | None], source: str = "", first: int = 0) -> list[Group]:
    """Return an episode of each question; None: an outage ended it."""
    groups = []
    for number, reward in enumerate(rewards, first):
        question = Question(f"q{number}", f"{number}?", ("a",), source=source)
        metrics = {"exact_match": reward or 0.0, "no_answer": 1 - (reward or 0.0), "searches": 2 * (reward or 0.0)}
        stop = "answered" if reward is not None else "retriever_unavailable"
        turns = (Turn("answer", "a" if reward else "b"),)
        groups.append(
            Group(question, (Trajectory(question, (Segment("prompt", "?"),), turns, stop, reward or 0.0, metrics),))
        )
    return groups


NAMES = ("a", "b")


def test_by_hand_and_as_scipy_has_it() -> None:
    first, second = [0.0, 0.0, 1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    found = paired(made(first), made(second), NAMES)
    match = found.macro["exact_match"]
    assert (match.first, match.second, match.wins, match.losses, match.ties, match.n) == (0.5, 4 / 6, 2, 1, 3, 6)
    expected = ttest_rel(second, first).confidence_interval(0.95)
    assert match.estimate == pytest.approx((1 / 6, expected.low, expected.high))
    absent, searches = found.macro["no_answer"], found.macro["searches"]
    assert absent.estimate.value == pytest.approx(-1 / 6)
    assert (absent.wins, absent.losses) == (2, 1), "less is better"
    assert (searches.wins, searches.losses, searches.ties) == (None, None, 3)
    assert not found.remarks()


def test_outages_and_questions_of_one_side_are_told() -> None:
    found = paired(made([1.0, None, 0.0, 1.0, 1.0]), made([1.0, 1.0, 1.0], first=1), NAMES)
    assert (found.questions, found.only, found.outages, found.changed) == (3, (2, 0), 1, 0)
    assert (found.macro["exact_match"].n, found.macro["exact_match"].wins) == (2, 1)
    assert [line.split(":")[0] for line in found.remarks()] == [
        "The questions differ",
        "An outage ended 1 of the questions in one of both",
    ]


def test_the_same_id_with_other_answers_is_another_question() -> None:
    first, second = made([1.0, 1.0]), made([1.0, 1.0])
    second[1] = replace(second[1], question=replace(second[1].question, answers=("b",)))
    found = paired(first, second, NAMES)
    assert (found.questions, found.changed, found.only) == (1, 1, (1, 1))
    with pytest.raises(DataError, match=r"none is in both, though 1 ids are"):
        paired(first[1:], second[1:], NAMES)


def test_sets_count_alike_and_their_wins_add_up() -> None:
    first = [*made([0.0] * 6, "nq"), *made([0.0, 1.0], "hotpotqa", 6)]
    second = [*made([1.0] * 6, "nq"), *made([0.0, 0.0], "hotpotqa", 6)]
    match = paired(first, second, NAMES).macro["exact_match"]
    assert (match.first, match.second, match.estimate.value) == (0.25, 0.5, 0.25)
    assert (match.wins, match.losses, match.ties) == (6, 1, 1)


def test_the_newest_evaluations_of_two_folders(tmp_path: Path) -> None:
    for name, rewards in {"one": [0.0, 1.0], "two": [1.0, 1.0]}.items():
        (tmp_path / name / "trajectories").mkdir(parents=True)
        with pytest.raises(DataError, match="holds no run"):
            compare(tmp_path / name, tmp_path / name)
        (tmp_path / name / "spec.yaml").write_text(f"name: {name}\n")
        with pytest.raises(DataError, match="holds no evaluation"):
            compare(tmp_path / name, tmp_path / name)
        write_groups(tmp_path / name / "trajectories" / "step_30.jsonl", made([0.0, 0.0]))
        write_groups(tmp_path / name / "trajectories" / "evaluate_9.jsonl", made([0.0, 0.0]))
        write_groups(tmp_path / name / "trajectories" / "evaluate_10.jsonl", made(rewards))
    record = compare(tmp_path / "one", tmp_path / "two").record()
    assert record["macro"]["exact_match"] | {"low": 0, "high": 0} == {
        "first": 0.5,
        "second": 1.0,
        "difference": 0.5,
        "low": 0,
        "high": 0,
        "n": 2,
        "wins": 1,
        "losses": 0,
        "ties": 1,
    }
