"""Scores by hand: figures, intervals, kinds, hops, sets of unlike size, and dashes."""

import io

import pytest
from rich.console import Console

from sdsearch.core.question import Hop, Question
from sdsearch.core.trajectory import Group, Segment, Trajectory, Turn
from sdsearch.evaluation.figures import scores
from sdsearch.evaluation.table import show


def group(
    source: str,
    number: int,
    right: bool,
    answer: str | None = "Rome",
    hops: int = 1,
    kind: str = "",
    lost: bool = False,
) -> Group:
    """Return the only attempt at a question, in so many tokens as its number."""
    hop = Hop("Italy", "capital", "Rome", "p")
    question = Question(f"{source}/{number}", "?", ("Rome",), ("p",), (hop,) * hops, kind, source)
    turns = () if answer is None else (Turn("answer", answer),)
    tokens = tuple(range(number))
    segments = (Segment("prompt", "?", (1,)), Segment("model", "x", tokens, (-1.0,) * number, (3,) * number))  # type: ignore[arg-type]
    metrics = {"exact_match": float(right), "no_answer": float(answer is None)} | ({"gold_recall": 0.5} if hops else {})
    stop = "retriever_unavailable" if lost else "answered"
    return Group(question, (Trajectory(question, segments, turns, stop, float(right), metrics),))


def test_a_set_by_hand() -> None:
    made = [
        group("nq", 1, True),
        group("nq", 2, False, "It is Rome.", hops=2, kind="bridge"),
        group("nq", 3, False, None, hops=2, kind="bridge"),
        group("nq", 6, True, hops=0, kind="lookup"),
        group("nq", 9, True, lost=True),
    ]
    found = scores(made)
    score = found.sets["nq"]
    assert (score.questions, score.lost) == (5, 1)
    assert {name: (one.estimate.value, one.n) for name, one in score.figures.items()} == {
        "exact_match": (0.5, 4),
        "cover_exact_match": (0.75, 4),
        "no_answer": (0.25, 4),
        "model_tokens": (3.0, 4),
        "gold_recall": (0.5, 3),
        "reward": (0.5, 4),
    }
    # Wilson at 2 of 4: the middle stays 1/2, the half is z / (1 + z^2 / 4) * sqrt(1 / 16 + z^2 / 64).
    z = 1.959964
    half = z / (1 + z**2 / 4) * (1 / 16 + z**2 / 64) ** 0.5
    assert score.figures["exact_match"].estimate == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    # t of 3 degrees is 3.182446. A reward of zeros and ones could be others: its variance is 1 / 3, that of the tokens
    # 1, 2, 3, 6 is 14 / 3.
    reward, tokens = score.figures["reward"].estimate, score.figures["model_tokens"].estimate
    assert reward.low == pytest.approx(0.5 - 3.182446 * (1 / 3 / 4) ** 0.5)
    assert tokens.low == pytest.approx(3 - 3.182446 * (14 / 3 / 4) ** 0.5)
    assert list(found.kinds["nq"]) == ["bridge", "lookup"]
    assert found.kinds["nq"]["bridge"].figures["exact_match"].estimate.value == 0.0
    assert {count: one.questions for count, one in found.hops["nq"].items()} == {"1": 2, "2": 2}
    assert found.macro == score.figures


def test_each_set_counts_alike_and_one_without_gold_does_not_count() -> None:
    made = [*(group("nq", i, False, hops=0) for i in range(1, 9)), *(group("hotpotqa", i, True) for i in range(1, 3))]
    found = scores(made)
    assert list(found.sets) == ["nq", "hotpotqa"]
    assert (found.values["exact_match"], found.macro["exact_match"].n) == (0.5, 2)
    assert (found.values["gold_recall"], found.macro["gold_recall"].n) == (0.5, 1)
    assert "gold_recall" not in found.sets["nq"].figures
    # 0 of 8 goes up to z^2 / (8 + z^2), 2 of 2 down to 2 / (2 + z^2): squares of the distances, halved.
    z2 = 1.959964**2
    low, high = 0.5 - z2 / (2 + z2) / 2, 0.5 + z2 / (8 + z2) / 2
    assert found.macro["exact_match"].estimate == pytest.approx((0.5, low, high))
    record = found.record()
    assert record["sets"]["nq"]["figures"]["exact_match"]["n"] == 8
    assert record["sets"]["hotpotqa"]["hops"]["1"]["questions"] == 2
    out = io.StringIO()
    show("both", found, Console(file=out))
    (nq,) = [line.split() for line in out.getvalue().splitlines() if line.startswith("nq ")]
    assert nq == ["nq", "8", "0.000", "-", "1.000", "0.000", "-", "4.500", "-"]


def test_questions_without_a_source_are_one_set() -> None:
    assert list(scores([group("", 1, True)]).sets) == ["test"]


def test_an_environment_of_its_own_has_its_own_figures() -> None:
    question = Question("7", "", (), kind="seed")
    one = Trajectory(question, (Segment("prompt", "a"),), (), "won", 0.25, {"steps": 4.0})
    found = scores([Group(question, (one,))])
    assert found.values == {"steps": 4.0, "reward": 0.25}
