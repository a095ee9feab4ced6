"""Evaluation: the same questions in the same order, means over what an outage left, and hints shown once."""

from math import isnan
from pathlib import Path

import pytest

from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Trajectory
from sdsearch.rollout.collect import collect
from sdsearch.rollout.evaluate import FIGURES, by_source, evaluate, mean, whole
from sdsearch.rollout.session import open_session
from sdsearch.spec import load
from sdsearch.testing import example_trajectory
from sdsearch.warmstart.judge import Hinted


def test_each_question_is_played_once_in_order(spec: Path) -> None:
    experiment = load(spec)
    session = open_session(experiment)
    questions = experiment.questions("test")
    groups = evaluate(experiment.environment.open(), session, questions, batch=2, seed=0)
    assert [g.question.id for g in groups] == [q.id for q in questions]
    assert all(len(g.trajectories) == 1 for g in groups)
    assert groups == evaluate(experiment.environment.open(), session, questions, batch=2, seed=0)


def test_means_leave_lost_episodes_out() -> None:
    question = Question("q", "", ("a",))

    def made(reward: float, lost: bool) -> Trajectory:
        one = example_trajectory(question, [("answer", "a")], reward, lost)
        return Trajectory(one.question, one.segments, one.turns, one.stop_reason, reward, {"exact_match": reward})

    figures = mean([Group(question, (made(1.0, False), made(0.0, False), made(1.0, True), made(1.0, False)))])
    assert figures == {"exact_match": pytest.approx(2 / 3), "reward": pytest.approx(2 / 3), "outage": 0.25}


def test_sources_count_alike() -> None:
    def made(source: str, reward: float, gold: bool) -> Group:
        question = Question(f"{source}{reward}", "", ("a",), source=source)
        metrics = {"exact_match": reward, **({"gold_recall": 0.5} if gold else {})}
        return Group(question, (Trajectory(question, (), (), "answered", reward, metrics),))

    nq = [made("nq", reward, gold=False) for reward in (0.0, 0.0, 0.0, 1.0)]
    assert by_source(nq) == mean(nq) == {"exact_match": 0.25, "reward": 0.25, "outage": 0.0}
    assert by_source([*nq, made("popqa", 1.0, gold=True)]) == {
        "exact_match": 0.625,
        "reward": 0.625,
        "outage": 0.0,
        "gold_recall": 0.5,
        "exact_match/nq": 0.25,
        "exact_match/popqa": 1.0,
    }


def test_a_hint_is_shown_before_the_prompt_and_only_there(spec: Path) -> None:
    experiment = load(spec)
    session = open_session(experiment)
    questions = experiment.questions("test")[:2]
    groups = collect(experiment.environment.open(), Hinted(session, ["one\n", "", "two\n", ""]), questions, 2, seed=0)
    openings = [t.segments[0].text for g in groups for t in g.trajectories]
    assert [o.split("Question:")[0] for o in openings] == ["one\n", "", "two\n", ""]
    assert not any("one\n" in s.text for g in groups for t in g.trajectories for s in t.segments[1:])


def test_what_the_data_cannot_say_is_no_number_and_the_rest_stays() -> None:
    known = {"exact_match": 0.5, "f1": 0.75, "own": 3.0}
    found = whole(known)
    assert {name: found[name] for name in known} == known
    assert {name for name, value in found.items() if isnan(value)} == {*FIGURES} - {*known}
    assert "gold_recall" in found
    assert whole({"reward": 1.0}) == {"reward": 1.0}, "another environment has figures of its own"
