"""What a policy makes of blocks, judged on ones whose readers are made up."""

from collections.abc import Sequence

import numpy as np
import pytest

from sdsearch.agents.scripted import Scripted, ScriptedSession
from sdsearch.contracts.agent import AgentSession, Reply
from sdsearch.contracts.hint import Hints
from sdsearch.core.answers import correct
from sdsearch.core.question import Question
from sdsearch.core.trajectory import Group, Segment, kept
from sdsearch.envs.data.atlas import AtlasPassages, AtlasQuestions
from sdsearch.envs.embedding.hashing import Hashing
from sdsearch.envs.retrieval.exact import Exact
from sdsearch.envs.search import Search
from sdsearch.errors import DataError
from sdsearch.hinting.flip import Numbers
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.warmstart.judge import Hinted, Judge, minority

ENVIRONMENT = Search(retriever=Exact(corpus=AtlasPassages(countries=30), embedder=Hashing()))


class Reads(ScriptedSession):
    """Makes no mistake behind a block that marks an attempt right which ends in the last query of the question."""

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        for row, text in zip(rows, texts, strict=True):
            if text.startswith("Earlier attempts:"):
                last = self.scripts[row].question.hops[-1].query
                good = any(s.startswith("Correct: ") and s.endswith(last) for s in text.splitlines())
                self.scripts[row].settings = Scripted() if good else Scripted(early_answer=1.0, misread=1.0)
        return super().act(rows, texts)


def judge(session: AgentSession) -> Judge:
    def score(groups: Sequence[Group], hints: Hints | None) -> Numbers:
        return [np.full(t.sampled, 1.0) for t in kept(groups)]

    return Judge(ENVIRONMENT.open(), session, score, Hindsight(), 6, seed=0)


QUESTIONS = AtlasQuestions(countries=30, hops=[2], kinds=["bridge"], size=20).questions()


def test_what_blocks_are_worth_to_who_reads_them() -> None:
    noisy = Scripted(wrong_query=0.3, recover=0.5, early_answer=0.4)
    found = judge(Reads(noisy, ENVIRONMENT.grammar)).figures(QUESTIONS)
    assert 0 < found["exact_match"].value < 1
    assert found["gain"].value > 0.2
    assert found["loss"].value > 0.5
    assert found["exact_match_true"].value - found["exact_match_none"].value == pytest.approx(found["gain"].value)
    assert found["exact_match_foreign"].value < 0.2  # this one does worse behind any other block
    assert found["shift"].value < -0.2
    assert found["gain"].low is not None


def test_one_who_reads_nothing_gains_nothing() -> None:
    noisy = Scripted(wrong_query=0.3, recover=0.5, early_answer=0.4)
    found = judge(noisy.open(ENVIRONMENT.grammar)).figures(QUESTIONS)
    assert [found[name].value for name in ("gain", "loss", "shift")] == [0, 0, 0]


def test_a_policy_without_contrast_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="of 20 groups 0 have right and wrong attempts"):
        judge(Scripted().open(ENVIRONMENT.grammar)).figures(QUESTIONS)


def test_a_minority_leaves_right_attempts_out() -> None:
    noisy = Scripted(wrong_query=0.3, recover=0.5, early_answer=0.3)
    groups = judge(noisy.open(ENVIRONMENT.grammar)).play(QUESTIONS, 0)
    for group in groups:
        right = sum(correct(t) for t in group.kept)
        made = minority(group)
        if right == 0 or len(group.kept) - right < 2:
            assert made is None
            continue
        assert made is not None
        few = [correct(t) for t in made.kept]
        assert few.count(False) == len(group.kept) - right
        assert few.count(True) == min(right, few.count(False) - 1)


class Listens:
    """Remembers the texts that it was shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def reset(self, questions: Sequence[Question], seeds: Sequence[int], greedy: bool = False) -> None:
        """Begin."""

    def act(self, rows: Sequence[int], texts: Sequence[str]) -> list[Reply]:
        self.texts += texts
        return [Reply(Segment("prompt", t), Segment("model", "x")) for t in texts]

    def resume(self, rows: Sequence[int], pasts: Sequence[Sequence[Segment]]) -> list[Reply]:
        return self.act(rows, [past[-1].text for past in pasts])


def test_a_hint_stands_before_the_first_text_of_an_episode_only() -> None:
    inner = Listens()
    session = Hinted(inner, ["A ", "B "])
    session.reset([], [])
    session.act([0, 1], ["one", "two"])
    session.act([1], ["three"])
    session.resume([0], [[Segment("prompt", "four")]])
    session.act([0], ["five"])
    session.reset([], [])
    session.act([1], ["six"])
    assert inner.texts == ["A one", "B two", "three", "four", "five", "B six"]
