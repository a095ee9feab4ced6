import pytest

from sdsearch.contracts.hint import Hint
from sdsearch.hinting.twin import twin
from sdsearch.objectives.hints.gold_answer import GoldAnswer
from sdsearch.objectives.hints.hindsight import Hindsight
from sdsearch.objectives.hints.peer_success import PeerSuccess
from sdsearch.objectives.hints.placebo import Placebo


@pytest.mark.parametrize(
    ("hint", "name", "expected"),
    [
        (Hindsight(max_words=9), "flipped", Hindsight(max_words=9, labels="flipped")),
        (Hindsight(), "others", Hindsight(include_self="others")),
        (PeerSuccess(pick="random"), "wrong", PeerSuccess(pick="random", which="wrong")),
        (GoldAnswer(), "question", Placebo(hint=GoldAnswer())),
        (Placebo(hint=PeerSuccess()), "wrong", Placebo(hint=PeerSuccess(which="wrong"))),
    ],
)
def test_by_name(hint: Hint, name: str, expected: Hint) -> None:
    assert twin(hint, name) == expected


@pytest.mark.parametrize(
    ("hint", "name", "said"),
    [
        (GoldAnswer(), "flipped", "which are: question"),
        (PeerSuccess(which="wrong"), "wrong", "which are: question"),
        (Placebo(hint=GoldAnswer()), "question", "which are: none"),
        (Hindsight(), "other", 'did you mean "others"'),
        (Hindsight(line="{parts}"), "flipped", "which are: others, question"),  # the labels are not told
    ],
)
def test_names_of_none(hint: Hint, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        twin(hint, name)


def test_a_twin_is_another_hint() -> None:
    class Same(Hindsight):
        def twins(self) -> dict[str, Hint]:
            return {"flipped": self}

    with pytest.raises(ValueError, match=r"the twin \"flipped\" .* is the hint itself"):
        twin(Same(), "flipped")
